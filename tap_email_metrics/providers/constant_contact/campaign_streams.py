"""Constant Contact reports by campaign, which are read when a counter has changed."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from typing_extensions import override

from tap_email_metrics.errors import Denied, Gone
from tap_email_metrics.providers.constant_contact.activities import ACTIVITY_ID
from tap_email_metrics.providers.constant_contact.activity_stats import ActivityStats
from tap_email_metrics.providers.constant_contact.client import envelope, parse_rows
from tap_email_metrics.providers.constant_contact.reading import (
    EventList,
    EventReader,
    doubt_strays,
)
from tap_email_metrics.providers.constant_contact.readings import (
    PENDING,
    pending_readings,
)
from tap_email_metrics.providers.constant_contact.schedule import (
    BY_CAMPAIGN,
    CampaignSchedule,
    CounterMark,
)
from tap_email_metrics.records.values import to_instant, to_integer
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.streams.base import EmailMetricsStream
from tap_email_metrics.streams.fan_out import FanOutStream

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.errors import TapError
    from tap_email_metrics.providers.constant_contact.api import (
        ConstantContactApi,
    )
    from tap_email_metrics.providers.constant_contact.client import LinkedPage
    from tap_email_metrics.records.pages import Page, Record
    from tap_email_metrics.run.report import Outcome
    from tap_email_metrics.state.plans import Parent, Plan, Policy, Visit
    from tap_email_metrics.state.streams import Keys, StreamState

TRACKED = "tracking_activities"
"""The field of a tracking response that holds its rows."""
SNAPSHOTS = "constant_contact_snapshots"
_LARGEST = 500


class ConstantContactStream(EmailMetricsStream):
    """A stream of this provider."""

    provider = "constant_contact"

    @property
    def constant_contact(self) -> ConstantContactApi:
        """The API object that the Constant Contact streams of this run share."""
        return cast("ConstantContactApi", self.api)


class CampaignStream(ConstantContactStream, FanOutStream[str, CounterMark]):
    """A report that exists once per sent campaign.

    Attributes:
        once_a_day: the report is read at most once a UTC day.
    """

    marks = BY_CAMPAIGN
    parent_noun = "campaign"
    once_a_day: ClassVar[bool] = False

    @override
    def parents(self) -> Sequence[Parent[str]]:
        parents = super().parents()
        if count := self.constant_contact.count_of_emails():
            self.reconcile(count, "constant_contact_campaigns")
        return parents

    def counter(self, campaign_id: str) -> int | None:
        """Return the number that gates this stream for a campaign, None if unknown."""
        return self.constant_contact.campaigns().snapshot.counter(
            self.name, campaign_id
        )

    @cached_property
    @override
    def schedule(self) -> CampaignSchedule:
        return CampaignSchedule(
            self.counter,
            self.has_moved,
            self.constant_contact.campaigns().is_forgotten,
            once_a_day=self.once_a_day,
        )

    def has_moved(self, campaign_id: str) -> bool:
        """Return whether the summary of a campaign may have changed."""
        return self.constant_contact.campaigns().has_moved(campaign_id)

    def activities(self, visit: Visit[str, CounterMark]) -> list[str]:
        """Return the activities to read; ask the API again if rows may be missing.

        Raises:
            Skippable: the activities cannot be read.
        """
        mark = visit.mark
        anew = mark is not None and (visit.everything or not mark.settled)
        return self.constant_contact.campaigns().activities(visit.parent.id, anew=anew)

    def is_quiet(self, campaign_id: str) -> bool:
        """Return whether no counter indicates rows in a campaign's lists."""
        return not self.constant_contact.campaigns().snapshot.announced(
            self.name, campaign_id
        )

    @override
    def lacks_parents(
        self, state: StreamState[str, CounterMark], parents: Sequence[Parent[str]]
    ) -> bool:
        # Without a counter, nothing contradicts a list that is empty for once.
        listed = {parent.id for parent in parents}
        return any(campaign_id not in listed for campaign_id in state.marks)

    @override
    def after(self, parent: Parent[str], mark: CounterMark) -> None:
        cache = self.constant_contact.campaigns()
        cache.keep(parent.id)
        self.set_aside("activity without an id", cache.nameless(parent.id))
        self.set_aside("activity of an unknown role", cache.of_unknown_role(parent.id))

    @override
    def explained(self, error: TapError) -> TapError:
        if not isinstance(error, Denied):
            return error
        api = self.constant_contact
        # One denied campaign says nothing about the others.
        return api.explain_all(error) or Denied(api.explain_one(error))

    @override
    def _good_end(self) -> Outcome:
        given_up = self.constant_contact.campaign_cache.snapshot.given_up
        if given_up is None:
            return super()._good_end()
        self.report.message = (
            "the counters of campaigns cannot be read, so that its reports are read "
            f"once a day and are compared with nothing: {given_up}"
        )
        return "incomplete"

    def counted(
        self,
        campaign_id: str,
        rows: int,
        *,
        contacts: int | None = None,
        verified: bool,
    ) -> Count:
        """Return the count of all lists of a campaign together.

        The lists have no totals, only the campaign has counters.
        """
        known = self.constant_contact.campaigns().snapshot.aggregate(
            self.name, campaign_id, rows if contacts is None else contacts
        )
        name, aggregate = known or (None, None)
        return Count(
            parent=campaign_id,
            rows=rows,
            aggregate=aggregate,
            aggregate_name=name,
            contacts=contacts,
            verified=verified,
        )

    def done(self, visit: Visit[str, CounterMark], since: float) -> CounterMark:
        """Return the mark of a campaign whose complete read began at a time."""
        counter = self.counter(visit.parent.id)
        return CounterMark(counter=counter, checked=since, verified=since)


class EventStream(CampaignStream):
    """Events of one kind, from all activities of a campaign.

    Attributes:
        path: path of the list, with a `{}` for the activity.
        counted_once: the vendor's field whose distinct values the counter counts; None
            if it counts rows.
        has_twins: two rows of a list may be equal.
    """

    primary_keys = ("account", "event_id")
    replication_key = "created_time"
    envelope = envelope(TRACKED)
    reader_fields: ClassVar[tuple[str, ...]] = (
        *(ACTIVITY_ID, "contact_id", "tracking_activity_type"),
    )
    path: ClassVar[str]
    counted_once: ClassVar[str | None] = None
    has_twins: ClassVar[bool] = True

    @override
    def read(
        self, visit: Visit[str, CounterMark], policy: Policy
    ) -> Generator[Page | Count, None, CounterMark]:
        api = self.constant_contact
        now = api.now()
        campaign_id = visit.parent.id
        since = visit.mark.newest if visit.mark else None
        may_lack = self.is_quiet(campaign_id)
        lists = [
            EventList(
                partial(self._page, one, may_lack=may_lack),
                since,
                self.counted_once,
                has_twins=self.has_twins,
            )
            for one in self.activities(visit)
        ]
        counter = self.counter(campaign_id)
        lookback = api.settings.lookback_days
        reader = EventReader(self.name, lists, counter, lookback, now)
        try:
            mark = yield from reader.read(visit)
        except Gone:
            # The activity may have a new id.
            api.campaigns().forget(campaign_id)
            raise
        if reader.rows is not None:
            # Rows that were missing in several reads in a row are not expected.
            count = self.counted(
                campaign_id,
                reader.rows,
                contacts=reader.distinct,
                verified=mark.settled,
            )
            before = visit.mark.missing if visit.mark else 0
            count = replace(
                count,
                moved=reader.unresolved and not mark.settled,
                noted=0 < mark.missing == before,
            )
            if count.verdict == "differs":
                api.contradictions.saw("gates", "otherwise")
            yield count
        return mark

    def _page(
        self, activity_id: str, href: str | None, *, may_lack: bool
    ) -> LinkedPage[Page]:
        page = self.constant_contact.client.page(
            self.path,
            [activity_id],
            {"limit": _LARGEST},
            parse=partial(parse_rows, field=TRACKED, maker=self.maker()),
            href=href,
            may_lack=may_lack,
        )
        times = [at for at in page.rows.times if at is not None]
        if any(one < two for one, two in pairwise(times)):
            self.api.contradictions.saw("tracking_order", "another")
        doubt_strays(page.rows, ACTIVITY_ID, activity_id, self.reader_fields)
        return page


class Sends(EventStream):
    """Emails sent. `GET /reports/email_reports/{id}/tracking/sends`."""

    name = "constant_contact_sends"
    path = "/reports/email_reports/{}/tracking/sends"
    has_twins = False


class Opens(EventStream):
    """All opens. `GET /reports/email_reports/{id}/tracking/opens`."""

    name = "constant_contact_opens"
    path = "/reports/email_reports/{}/tracking/opens"


class Forwards(EventStream):
    """Forwards. `GET /reports/email_reports/{id}/tracking/forwards`."""

    name = "constant_contact_forwards"
    path = "/reports/email_reports/{}/tracking/forwards"
    has_twins = False
    counted_once = "contact_id"


class Clicks(EventStream):
    """All clicks. `GET /reports/email_reports/{id}/tracking/clicks`."""

    name = "constant_contact_clicks"
    path = "/reports/email_reports/{}/tracking/clicks"
    reader_fields = (*EventStream.reader_fields, "url_id")


class Optouts(EventStream):
    """Contacts who opted out. `GET /reports/email_reports/{id}/tracking/optouts`."""

    name = "constant_contact_optouts"
    path = "/reports/email_reports/{}/tracking/optouts"
    has_twins = False
    counted_once = "contact_id"


class Bounces(EventStream):
    """Bounces. `GET /reports/email_reports/{id}/tracking/bounces`."""

    name = "constant_contact_bounces"
    path = "/reports/email_reports/{}/tracking/bounces"
    counted_once = "contact_id"


# Read activity by activity


class ReadRows(NamedTuple):
    """Numbers of a list that was read.

    Attributes:
        rows: number of distinct rows.
        misunderstood: number of rows that have no record.
    """

    rows: int = 0
    misunderstood: int = 0


class ActivityStream(CampaignStream):
    """A report that exists once per activity of a campaign.

    Attributes:
        path: path of the report, with a `{}` for the activity.
    """

    path: ClassVar[str]

    @abc.abstractmethod
    def read_activity(
        self, activity_id: str, *, may_lack: bool
    ) -> Generator[Page, None, ReadRows]:
        """Yield the rows of an activity; return their numbers.

        Args:
            activity_id: id of the activity.
            may_lack: a response without a list counts as an empty list.
        """

    def read_activities(
        self, visit: Visit[str, CounterMark]
    ) -> Generator[Page, None, ReadRows]:
        """Yield the rows of all activities of a campaign; return their numbers."""
        campaign_id = visit.parent.id
        may_lack = self.is_quiet(campaign_id)
        rows = misunderstood = 0
        try:
            for one in self.activities(visit):
                found = yield from self.read_activity(one, may_lack=may_lack)
                rows += found.rows
                misunderstood += found.misunderstood
        except Gone:
            # The activity may have a new id.
            self.constant_contact.campaigns().forget(campaign_id)
            raise
        return ReadRows(rows, misunderstood)


@dataclass(frozen=True, slots=True)
class SnapshotReading:
    """A read of one list of one activity.

    Attributes:
        activity_id: of the activity.
        as_of: start of the read, as records have it.
        rows: number of distinct rows.
        served: number of rows, with those that came twice.
        total: the number to compare with the counter `least`.
        is_listed: the answer had a list.
    """

    activity_id: str
    as_of: str
    rows: int
    served: int
    total: int
    is_listed: bool


class SnapshotStream(ActivityStream):
    """A list that shows the current state, read at most once a day per activity.

    Attributes:
        events: names of the streams whose events change the list.
        query: parameters of the request for the first page.
        id_field: the vendor's field that identifies a row.
        least: the counter that a complete list comes up to.
        summed: the vendor's field whose sum is compared with `least`; None: the number
            of rows is compared, so that `least` tells whether rows are missing.
    """

    envelope = envelope(TRACKED)
    reader_fields: ClassVar[tuple[str, ...]] = ("contact_id",)
    once_a_day = True
    events: ClassVar[tuple[str, ...]]
    query: ClassVar[tuple[tuple[str, int | str], ...]] = (("limit", _LARGEST),)
    id_field: ClassVar[str] = "contact_id"
    least: ClassVar[str]
    summed: ClassVar[str | None] = None

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the base's
        super().__init__(*arguments, **options)
        self._readings: dict[str, SnapshotReading] = {}

    @override
    def read(
        self, visit: Visit[str, CounterMark], policy: Policy
    ) -> Generator[Page | Count, None, CounterMark]:
        start = self.constant_contact.now()
        campaign_id, before = visit.parent.id, visit.mark or CounterMark()
        rows, misunderstood = yield from self.read_activities(visit)
        readings = self._readings_of(campaign_id)
        missing = max(misunderstood, self._missing(campaign_id, readings))
        mark = self._judged(visit, readings, missing, start)
        count = self.counted(campaign_id, rows, verified=mark.settled)
        served = sum(one.served for one in readings)
        total, least = sum(one.total for one in readings), self._least(campaign_id)
        if missing and served > rows:
            count = replace(count, api_rows=served)
        elif self.summed and total < (least or 0):
            count = replace(
                count, aggregate_name=self.least, aggregate=least, contacts=total
            )
        yield replace(count, noted=0 < mark.missing == before.missing)
        return mark

    def _readings_of(self, campaign_id: str) -> list[SnapshotReading]:
        activities = self.constant_contact.campaigns().activities(campaign_id)
        return [self._readings[one] for one in dict.fromkeys(activities)]

    def _least(self, campaign_id: str) -> int | None:
        counters = self.constant_contact.campaigns().snapshot.counters
        return counters.get(campaign_id, {}).get(self.least)

    def _missing(self, campaign_id: str, readings: Sequence[SnapshotReading]) -> int:
        """Return how many rows a campaign's lists lack, as far as numbers tell."""
        least = self._least(campaign_id)
        short = max(0, (least or 0) - sum(one.total for one in readings))
        # A row that came twice may have taken the place of another one.
        twice = sum(one.served - one.rows for one in readings)
        return max(short, twice) if least is None or self.summed else short

    def _judged(
        self,
        visit: Visit[str, CounterMark],
        readings: Sequence[SnapshotReading],
        missing: int,
        start: float,
    ) -> CounterMark:
        """Return the mark after a read that began at a time and may lack rows."""
        campaign_id, before = visit.parent.id, visit.mark or CounterMark()
        mark = replace(self.done(visit, start), missing=missing)
        lacks = missing > before.missing
        is_uncounted = self._least(campaign_id) is None
        # Nothing else says whether a list that is absent would be empty.
        if self.summed or is_uncounted:
            lacks = lacks or not all(one.is_listed for one in readings)
        # An unknown counter is not 0, and the last known one was not 0 either.
        if is_uncounted and before.counter:
            lacks = lacks or not any(one.rows for one in readings)
        if not (lacks or self._lags(campaign_id)):
            return mark
        doubted = before.doubted(start)
        if doubted:
            return doubted if lacks else replace(doubted, checked=start)
        if missing:
            self.logger.warning(
                "%s: the lists of campaign %s lack %d rows after %d tries",
                self.name,
                campaign_id,
                missing,
                before.tries + 1,
            )
        return mark

    def _lags(self, campaign_id: str) -> bool:
        """Return whether events that change the list are counted but not yet listed.

        The streams of the events know that, if they are selected: they come first.
        """
        if self.run.settings.backfill:
            return False
        campaigns = self.constant_contact.campaigns()
        for name in {*self.events}.intersection(self.run.selected(self.provider)):
            mark = self.run.stream_state(name).marks.get(campaign_id)
            counter = campaigns.snapshot.counter(name, campaign_id)
            if mark and not (mark.settled and mark.counter == counter):
                return True
        return False

    @override
    def read_activity(
        self, activity_id: str, *, may_lack: bool
    ) -> Generator[Page, None, ReadRows]:
        api = self.constant_contact
        as_of = to_instant(int(api.now() * 1000))
        maker = self.maker(campaign_activity_id=activity_id, as_of=as_of)
        parse = partial(parse_rows, field=self.envelope.rows, maker=maker)
        seen: set[str] = set()
        served = total = misunderstood = 0
        is_listed = True
        for page in api.client.pages(
            self.path, [activity_id], dict(self.query), parse=parse, may_lack=may_lack
        ):
            seen.update(map(str, page.rows.values(self.id_field)))
            served += len(page.rows)
            misunderstood += page.rows.misunderstood
            if self.summed:
                total += sum(to_integer(n) or 0 for n in page.rows.values(self.summed))
            is_listed = page.is_listed
            yield page.rows
        rows = len(seen)
        self._readings[activity_id] = SnapshotReading(
            activity_id, as_of, rows, served, total if self.summed else rows, is_listed
        )
        return ReadRows(rows, misunderstood)

    @override
    def after(self, parent: Parent[str], mark: CounterMark) -> None:
        super().after(parent, mark)
        readings = self._readings_of(parent.id)
        for one in readings:
            del self._readings[one.activity_id]
        if SNAPSHOTS in self.run.selected(self.provider):
            report = str(self.name).removeprefix("constant_contact_")
            pending = self.constant_contact.readings(self.run.stream_state(SNAPSHOTS))
            for one in readings:
                # Rows that were emitted are the current ones, even if some are missing.
                if one.rows or not mark.unsettled:
                    pending.add(report, one.activity_id, one.as_of, one.rows)


class UniqueOpens(SnapshotStream):
    """The last open of each contact.

    `GET /reports/email_reports/{id}/tracking/unique_opens`.
    """

    name = "constant_contact_unique_opens"
    primary_keys = ("account", "campaign_activity_id", "contact_id")
    path = "/reports/email_reports/{}/tracking/unique_opens"
    events = ("constant_contact_opens",)
    least = "em_opens"


class DidNotOpens(SnapshotStream):
    """Contacts who have not opened.

    `GET /reports/email_reports/{id}/tracking/didnotopens`.
    """

    name = "constant_contact_did_not_opens"
    primary_keys = ("account", "campaign_activity_id", "contact_id")
    path = "/reports/email_reports/{}/tracking/didnotopens"
    events = (
        "constant_contact_sends",
        "constant_contact_opens",
        "constant_contact_bounces",
    )
    least = "em_not_opened"
    selected_by_default = False


class Links(SnapshotStream):
    """Links and their clicks. `GET /reports/email_reports/{id}/links`."""

    name = "constant_contact_links"
    primary_keys = ("account", "campaign_activity_id", "url_id")
    path = "/reports/email_reports/{}/links"
    events = ("constant_contact_clicks",)
    envelope = envelope("link_click_counts")
    reader_fields = ("url_id", "unique_clicks")
    id_field = "url_id"
    least = "em_clicks"
    summed = "unique_clicks"
    query = (("no_clicks", "true"),)


class Snapshots(ConstantContactStream):
    """One row per complete read of a snapshot list (links, unique opens, non-openers).

    An empty list has a row here, too. A row of a list is current if its `as_of` equals
    the `as_of` of the list's row here. This stream sends no request of its own: the
    lists are those of `GET /reports/email_reports/{id}/links` and two tracking reports.
    """

    name = SNAPSHOTS
    primary_keys = ("account", "report", "campaign_activity_id")
    state_keys: ClassVar[Keys] = {PENDING: pending_readings}

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield a record for each complete read since the last run of this stream."""
        pending = self.constant_contact.readings(self.bookmark)
        yield [
            self.maker(
                report=report, campaign_activity_id=activity, as_of=as_of, rows=rows
            ).record()
            for report, activity, as_of, rows in pending
        ]
        pending.clear()
        self.constant_contact.check()


# Activities by their counters


class CampaignActivityStats(CampaignStream):
    """All counters of each activity.

    `GET /reports/stats/email_campaign_activities/{ids}`.
    """

    name = "constant_contact_campaign_activity_stats"
    primary_keys = ("account", "campaign_activity_id")

    @override
    def prepare(self, plan: Plan[str, CounterMark]) -> None:
        visits = [*plan.live, *plan.history]
        order = [visit.parent.id for visit in visits]
        failed = {v.parent.id for v in visits if v.mark and v.mark.failures}
        api = self.constant_contact
        self._stats = ActivityStats(api.client, api.campaigns(), order, failed)

    @override
    def read(
        self, visit: Visit[str, CounterMark], policy: Policy
    ) -> Generator[Page, None, CounterMark]:
        start = self.constant_contact.now()
        answer = self._stats.of(visit.parent.id)
        yield self.maker().page(answer.rows)
        if answer.error:
            self.constant_contact.campaigns().forget(visit.parent.id)
            raise answer.error
        return self.done(visit, start)


class SendHistory(ActivityStream):
    """When each activity was sent. `GET /emails/activities/{id}/send_history`."""

    name = "constant_contact_send_history"
    primary_keys = ("account", "campaign_activity_id", "send_id")
    path = "/emails/activities/{}/send_history"

    @override
    def read(
        self, visit: Visit[str, CounterMark], policy: Policy
    ) -> Generator[Page | Count, None, CounterMark]:
        api = self.constant_contact
        start = api.now()
        campaign_id = visit.parent.id
        may_be_empty = self.is_quiet(campaign_id)
        found = ReadRows()
        try:
            found = yield from self.read_activities(visit)
        except Gone:
            # A campaign that is removed loses its history.
            if not api.campaigns().was_removed(campaign_id):
                raise
            may_be_empty = True
        yield self.counted(campaign_id, found.rows, verified=False)
        # A campaign that was sent has a send.
        lacks = bool(found.misunderstood) or not (found.rows or may_be_empty)
        doubted = (visit.mark or CounterMark()).doubted(start)
        return doubted if lacks and doubted else self.done(visit, start)

    @override
    def read_activity(
        self, activity_id: str, *, may_lack: bool
    ) -> Generator[Page, None, ReadRows]:
        rows = self.constant_contact.client.many(self.path, [activity_id])
        page = self.maker(campaign_activity_id=activity_id).page(rows)
        yield page
        return ReadRows(len(rows), page.misunderstood)
