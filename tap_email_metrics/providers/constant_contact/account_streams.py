"""Constant Contact lists of the whole account, not of one campaign."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl, unquote

from typing_extensions import override

from tap_email_metrics.clock import DAY, from_iso, iso
from tap_email_metrics.errors import Denied, Gone, Skippable
from tap_email_metrics.providers.constant_contact.activities import (
    ACTIVITY,
    ACTIVITY_ID,
    CAMPAIGN,
    activity_ids,
    is_removed,
    nameless_activities,
)
from tap_email_metrics.providers.constant_contact.campaign_snapshot import (
    by_campaign,
    usable_time,
)
from tap_email_metrics.providers.constant_contact.campaign_streams import (
    CampaignStream,
    ConstantContactStream,
)
from tap_email_metrics.providers.constant_contact.client import (
    Trail,
    envelope,
    parse_rows,
)
from tap_email_metrics.providers.constant_contact.closed import (
    Bucket,
    bucket_of,
    by_bucket,
    packed_buckets,
)
from tap_email_metrics.providers.constant_contact.schedule import (
    CURSOR,
    ChangeSchedule,
    CounterMark,
    short_id,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.state.plans import Parent
from tap_email_metrics.state.streams import instant, texts
from tap_email_metrics.streams.digests import digest
from tap_email_metrics.streams.lists import ListStream

if TYPE_CHECKING:
    from collections.abc import (
        Collection,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from tap_email_metrics.providers.constant_contact.campaigns import CampaignCache
    from tap_email_metrics.providers.constant_contact.client import LinkedPage
    from tap_email_metrics.records.pages import Page, Record
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.plans import Policy, Visit
    from tap_email_metrics.state.streams import Keys, StreamState

CURSORS = ("cursor", "next")
"""Query parameters that hold the cursor in a link to the next page."""
WEEK = 7 * DAY
_SEGMENT_TRIES = 4
_BEFORE = "_before"
"""Ends the state key of a cursor as it was in the run before."""
_WEEK = "_week"
"""Ends the state key of a cursor as it was up to a week ago."""
_OPTOUTS = "optouts"
"""State key of the cursor of contacts who opted out."""
_RESUME = "resume"
"""State key of the place at which a list of contacts goes on."""


class CampaignSummaries(ConstantContactStream, ListStream):
    """Unique counts of each campaign that was sent.

    `GET /reports/summary_reports/email_campaign_summaries`.
    """

    name = "constant_contact_campaign_summaries"
    primary_keys = ("account", "campaign_id")
    id_field = "campaign_id"

    @override
    def rows(self) -> Sequence[Row]:
        api = self.constant_contact
        snapshot = api.campaigns().snapshot
        return [*snapshot.summaries.values(), *snapshot.nameless]

    @override
    def count(self, rows: int) -> Count:
        """Return the count, to compare with the sent campaigns in `/emails`."""
        unlisted = self.constant_contact.campaigns().without_summary
        return Count(
            parent="all",
            rows=rows,
            api_rows=rows + unlisted if unlisted else None,
            verified=True,
        )


class CampaignStats(ConstantContactStream):
    """All counters of each campaign. `GET /reports/stats/email_campaigns/{ids}`.

    Each run asks for the campaigns in the window and those whose summary changed. Once
    a week it asks for all. It emits the rows that changed.
    """

    name = "constant_contact_campaign_stats"
    primary_keys = ("account", "campaign_id")
    state_keys: ClassVar[Keys] = {"rows": texts, "closed": packed_buckets}

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records that are new or changed."""
        cache = self.constant_contact.campaigns()
        every = self.run.settings.backfill or self._ignores_marks()
        known = KnownStats(
            self.bookmark.read("rows", texts) or {},
            self.bookmark.read("closed", packed_buckets) or {},
        )
        changed = known.update(cache)
        snapshot = cache.snapshot
        stats = snapshot.stats.items()
        rows = [row for one, row in stats if every or one in changed]
        yield self.records_of(self.maker().page([*rows, *snapshot.others]))
        read = len(snapshot.stats) + len(snapshot.others)
        self.reconcile(Count(parent="all", rows=read))
        self.report.failed += sorted({*snapshot.failed, *cache.without_stats})
        if not self.run.settings.backfill:
            self.bookmark.write("rows", known.rows)
            self.bookmark.write("closed", known.closed)
            self._note_through(cache)
        if snapshot.given_up:
            error = snapshot.given_up
            if isinstance(error, Denied):
                raise self.constant_contact.explain(error)
            raise error

    def _note_through(self, cache: CampaignCache) -> None:
        """Store the time up to which all open campaigns have stats."""
        state = self.bookmark
        now = self.api.now()
        if cache.snapshot.given_up is None:
            since = cache.unanswered_since
            # Since the day before that day's first run, at least.
            through = now if since is None else state.checked_through or since
            state.set_checked_through(min(now, through))
        if state.checked_through is not None and state.checked_through < now:
            self.report.behind_since = state.checked_through


@dataclass(slots=True)
class KnownStats:
    """Digests of the stats that were emitted.

    Attributes:
        rows: a digest for each open campaign, by its short id.
        closed: packed buckets of closed campaigns, by name.
    """

    rows: Mapping[str, str]
    closed: dict[str, str]

    def update(self, cache: CampaignCache) -> set[str]:
        """Store the stats of a run; return the ids of rows that may have changed."""
        stats = cache.snapshot.stats
        new = {one: digest(row)[:8] for one, row in stats.items()}
        changed = {one for one in new if self.rows.get(short_id(one)) != new[one]}
        rows: dict[str, str] = {}
        ended: dict[str, str] = {}
        folded = []
        for one in cache.snapshot.parents:
            is_open = cache.is_open(one)
            last = new.get(one, self.rows.get(short_id(one)))
            if not is_open and short_id(one) not in self.rows:
                folded.append(one)
            elif last is not None:
                group = rows if is_open else ended
                group[one] = last
        changed -= self._unchanged(folded, new)
        for one, last in ended.items():
            self._fold(one, last)
        self.rows = {short_id(one): last for one, last in rows.items()}
        return changed

    def _unchanged(self, folded: Iterable[str], new: Mapping[str, str]) -> set[str]:
        """Return the ids in buckets that have not changed; store the others."""
        unchanged = set()
        for name, ids in by_bucket(folded).items():
            if not new.keys() >= set(ids):
                continue  # without all its campaigns a bucket cannot be compared
            before = self.closed.pop(name, None)
            for one in ids:
                self._fold(one, new[one])
            if before == self.closed[name]:
                unchanged.update(ids)
        return unchanged

    def _fold(self, campaign_id: str, text: str) -> None:
        name = bucket_of(campaign_id)
        packed = self.closed.get(name)
        bucket = Bucket.unpack(packed) if packed else Bucket()
        self.closed[name] = bucket.plus(campaign_id, text, "").pack()


def cursor_keys(key: str) -> Keys:
    """Return the keys of a cursor in the state; see `move`."""
    ends = ("", _BEFORE, _WEEK, f"{_WEEK}{_BEFORE}")
    return dict.fromkeys((f"{key}{end}" for end in ends), instant)


class Campaigns(ConstantContactStream):
    """Campaigns, including drafts and removed ones. `GET /emails`."""

    name = "constant_contact_campaigns"
    primary_keys = ("account", "campaign_id")
    replication_key = "updated_at"
    state_keys: ClassVar[Keys] = cursor_keys(CURSOR)

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of campaigns that changed since the last run."""
        api = self.constant_contact
        backfill = self.run.settings.backfill
        self.begin()
        emails = api.emails(after(self), may_lack=is_new(self))
        following = api.cursor()
        made = self.maker().page(emails.rows)
        yield self.records_of(self.within(made, self.interval()))
        if not backfill and emails.is_listed:
            move(self, following)
            self.promote(self.bookmark)
            self.bookmark.set_checked_through(self.api.now())


def after(stream: ConstantContactStream, key: str = CURSOR) -> str | None:
    """Return the time after which a stream asks for changes, None for everything."""
    api = stream.constant_contact
    start = api.common.start
    # It is not known whether the API includes rows of exactly this time.
    first = None if start is None else iso(start - 1)
    if api.common.backfill or stream._ignores_marks():  # noqa: SLF001 - of its base
        return first
    kept = stream.bookmark.read(f"{key}{_BEFORE}", instant)
    if kept is None:
        return first
    week = stream.bookmark.read(f"{key}{_WEEK}", from_iso)
    if week is not None and api.now() - week >= WEEK:
        since = stream.bookmark.read(f"{key}{_WEEK}{_BEFORE}", instant) or iso(week)
        return min(kept, since)
    return kept


def move(
    stream: ConstantContactStream, following: str | None, key: str = CURSOR
) -> None:
    """Advance a cursor of a stream.

    A run asks for the changes since the second-last run; the second run asks for all
    rows. So a list that was wrongly empty or short once is requested again. Once a
    week, a run asks for the changes of the last two weeks, because a list may be wrong
    for days.
    """
    state = stream.bookmark
    state.write(f"{key}{_BEFORE}", state.read(key, instant))
    state.write(key, following)
    week = state.read(f"{key}{_WEEK}", from_iso)
    if following and (week is None or from_iso(following) - week >= WEEK):
        state.write(f"{key}{_WEEK}{_BEFORE}", None if week is None else iso(week))
        state.write(f"{key}{_WEEK}", following)


def is_new(stream: ConstantContactStream) -> bool:
    """Return whether a stream has never read its list."""
    return stream.bookmark.read(CURSOR, instant) is None


class CampaignActivities(CampaignStream):
    """The emails of a campaign. `GET /emails/activities/{id}`.

    Read for each campaign that changed, including drafts. The API has no emails of
    removed campaigns.
    """

    name = "constant_contact_campaign_activities"
    primary_keys = ("account", "campaign_activity_id")
    state_keys: ClassVar[Keys] = cursor_keys(CURSOR)

    @override
    def parents(self) -> Sequence[Parent[str]]:
        api = self.constant_contact
        self.begin()
        parents = []
        emails = api.emails(after(self), may_lack=is_new(self))
        self._following = api.cursor() if emails.is_listed else None
        named, nameless = by_campaign(emails.rows)
        self._nameless = len(nameless)
        self._updated = {}
        for campaign_id, row in named.items():
            updated = usable_time(row.get("updated_at"))
            self._updated[campaign_id] = updated
            at = (updated or 0) / 1000
            parents.append(Parent(campaign_id, sent=at, newest=at, oldest=at))
        return parents

    @override
    def nameless(self) -> int:
        return self._nameless

    @override
    def counter(self, campaign_id: str) -> int | None:
        return self._updated.get(campaign_id)

    @override
    def lacks_parents(
        self, state: StreamState[str, CounterMark], parents: Sequence[Parent[str]]
    ) -> bool:
        return False  # the API was asked for changed campaigns only

    @property
    @override
    def schedule(self) -> ChangeSchedule:
        return ChangeSchedule(self._updated)

    @override
    def read(
        self, visit: Visit[str, CounterMark], policy: Policy
    ) -> Generator[Page, None, CounterMark]:
        api = self.constant_contact
        start = api.now()
        campaign_id = visit.parent.id
        client = api.client
        campaign = client.one(CAMPAIGN, [campaign_id], id_field="campaign_id")
        ids = activity_ids(campaign)
        yield self.maker().page(nameless_activities(campaign))
        api.campaign_cache.learn(campaign_id, campaign)
        missing: Gone | None = None
        for activity_id in ids:
            try:
                row = client.one(ACTIVITY, [activity_id], id_field=ACTIVITY_ID)
            except Gone as error:
                missing = error
                continue
            yield self.maker().page([row])
        if missing and not is_removed(campaign):
            raise Skippable(str(missing)) from missing  # the campaign is there
        return self.done(visit, start)

    @override
    def after(self, parent: Parent[str], mark: CounterMark) -> None:
        self.constant_contact.campaign_cache.keep(parent.id)

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        yield from super().batches()
        if not self.run.settings.backfill and self._following:
            # Every campaign that changed was read, or has a mark if it failed.
            move(self, self._following)


# Contacts


def resumption(value: object) -> dict[str, str]:
    """Return the place at which a list goes on; raise ValueError or TypeError else.

    It has the link to the next page, and the cursor of the run that began the list.
    """
    found = texts(value)
    if found.keys() != {"href", "cursor"}:
        raise ValueError("no place in a list")
    instant(found["cursor"])
    return found


class Contacts(ConstantContactStream):
    """Contacts, including deleted ones. `GET /contacts`.

    An unsubscribe does not change `updated_at`, so a second pass asks for opt-outs.
    """

    name = "constant_contact_contacts"
    primary_keys = ("account", "contact_id")
    replication_key = "updated_at"
    envelope = envelope("contacts")
    state_keys: ClassVar[Keys] = {
        **cursor_keys(CURSOR),
        **cursor_keys(_OPTOUTS),
        _RESUME: resumption,
    }

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of contacts that changed, then of those who opted out."""
        backfill = self.run.settings.backfill
        state = self.bookmark
        self.begin()
        resume = None if backfill else state.read(_RESUME, resumption)
        self._following = resume["cursor"] if resume else None
        self._is_listed = True
        optouts = after(self, _OPTOUTS)
        yield from self._pass("updated_after", after(self), resume)
        # A pass without a cursor shows the current state of all contacts.
        if optouts is not None:
            yield from self._pass("optout_after", optouts, None, resumable=False)
        if not backfill:
            state.write(_RESUME, None)
            if self._is_listed:
                move(self, self._following)
                move(self, self._following, _OPTOUTS)
            self.promote(state)
            state.set_checked_through(self.api.now())

    def _pass(
        self,
        parameter: str,
        since: str | None,
        resume: Mapping[str, str] | None,
        *,
        resumable: bool = True,
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the pages of one pass; a resumable pass stores its place after each."""
        params: dict[str, int | str] = {
            "status": "all",
            "include": "custom_fields,list_memberships,taggings",
            "limit": 500,
        }
        if since is not None:
            params[parameter] = since
        page = self._first(params, resume)
        trail = Trail()
        self._is_listed = page.is_listed
        while True:
            api = self.constant_contact
            self._following = self._following or api.cursor()
            # No start, because a contact who opted out may have an old `updated_at`.
            until = replace(self.interval(), start=None)
            yield self.records_of(self.within(page.rows, until))
            try:
                href = trail.follow(page)
            except Skippable:
                self.bookmark.write(_RESUME, None)  # it may lead into the circle
                raise
            if href is None:
                return
            if resumable and not self.run.settings.backfill:
                place = {"href": href, "cursor": self._following}
                kept = is_cursor(href, params)
                self.bookmark.write(_RESUME, place if kept else None)
            page = self._page(params, href)

    def _first(
        self, params: Mapping[str, int | str], resume: Mapping[str, str] | None
    ) -> LinkedPage[Page]:
        """Return the first page; start over if the link of an earlier run expired."""
        if resume:
            try:
                return self._page(params, resume["href"])
            except Skippable as error:
                self.logger.warning("%s: starting over: %s", self.name, error)
        return self._page(params, None)

    def _page(
        self, params: Mapping[str, int | str], href: str | None
    ) -> LinkedPage[Page]:
        api = self.constant_contact
        parse = partial(parse_rows, field=self.envelope.rows, maker=self.maker())
        may_lack = is_new(self)
        ask = partial(api.client.page, parse=parse, href=href, may_lack=may_lack)
        return api.wait(partial(ask, "/contacts", (), params))


def is_cursor(href: str, asked: Collection[str]) -> bool:
    """Return whether a link adds only a cursor to the parameters that were asked for.

    Only such a link is stored in the state: others may hold secrets or personal data.
    """
    query = href.partition("#")[0].partition("?")[2]
    names = {name for name, _ in parse_qsl(query)}
    may_name_someone = "@" in unquote(unquote(href))
    return names <= {*CURSORS, *asked} and not may_name_someone


# Small lists


class AccountList(ConstantContactStream, ListStream):
    """A small list that is read whole in each run.

    Attributes:
        path: path of the list.
        field: field of the response that holds the rows.
        query: parameters of the request for the first page.
        tries: the largest number of tries.
    """

    path: ClassVar[str]
    field: ClassVar[str]
    query: ClassVar[tuple[tuple[str, int | str], ...]]
    tries: ClassVar[int] = 6

    @override
    def rows(self) -> Sequence[Row]:
        return self.constant_contact.listing(
            self.path,
            self.field,
            dict(self.query),
            self.tries,
            may_lack=not any(base64.b64decode(self.bookmark.digests)),
        )


class ContactLists(AccountList):
    """Lists of contacts, including deleted ones. `GET /contact_lists`."""

    name = "constant_contact_contact_lists"
    primary_keys = ("account", "list_id")
    path = "/contact_lists"
    field = "lists"
    id_field = "list_id"
    query = (("limit", 1000), ("status", "all"), ("include_membership_count", "all"))


class ContactTags(AccountList):
    """Tags of contacts. `GET /contact_tags`."""

    name = "constant_contact_contact_tags"
    primary_keys = ("account", "tag_id")
    path = "/contact_tags"
    field = "tags"
    id_field = "tag_id"
    query = (("limit", 500), ("include_count", "true"))


class ContactCustomFields(AccountList):
    """Fields that the account added. `GET /contact_custom_fields`."""

    name = "constant_contact_contact_custom_fields"
    primary_keys = ("account", "custom_field_id")
    path = "/contact_custom_fields"
    field = "custom_fields"
    id_field = "custom_field_id"
    query = (("limit", 100),)


class Segments(AccountList):
    """Segments of contacts. `GET /segments`; the response may be slow."""

    name = "constant_contact_segments"
    primary_keys = ("account", "segment_id")
    path = "/segments"
    field = "segments"
    id_field = "segment_id"
    query = (("limit", 1000),)
    tries = _SEGMENT_TRIES


class Account(ConstantContactStream, ListStream):
    """The account itself, one row. `GET /account/summary`."""

    name = "constant_contact_account"
    primary_keys = ("account",)
    id_field = "encoded_account_id"

    @override
    def rows(self) -> Sequence[Row]:
        return [self.constant_contact.account_summary()]
