"""Probes of Constant Contact: small requests whose answers decide an open question.

A probe decides only by what several rows or lists show, or by an answer that no other
reading allows. Everything else raises `CannotTell`, but an app that is denied
everything raises `AuthenticationFailed`.
"""

from __future__ import annotations

from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.contract.questions import Answer, CannotTell
from tap_email_metrics.contract.survey import kind_of
from tap_email_metrics.contract.verify import Check, Probes, Reading, numbered, too_many
from tap_email_metrics.providers.constant_contact.api import PRIVILEGES, deactivated
from tap_email_metrics.providers.constant_contact.client import link_of
from tap_email_metrics.providers.constant_contact.observers import (
    TIMES,
    ending,
    instant,
    orders,
    place_of_link,
    spelling,
    type_of_counts,
    unsubscribed,
)
from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from tap_email_metrics.contract.prober import Prober
    from tap_email_metrics.providers.constant_contact.api import ConstantContactApi
    from tap_email_metrics.records.values import Row

SUMMARIES = "/reports/summary_reports/email_campaign_summaries"
STATS = "/reports/stats/email_campaigns/{}"
TRACKING = "/reports/email_reports/{}/tracking/"
COUNTED_BY = {
    "sends": ("em_sends", None),
    "opens": ("em_opens_all", None),
    "clicks": ("em_clicks_all", None),
    "forwards": ("em_forwards", "contact_id"),
    "optouts": ("em_optouts", "contact_id"),
    "bounces": ("em_bounces", "contact_id"),
}
"""The counter of each report, and what it counts distinct values of."""
LARGEST = 500
_SMALL = (
    ("contact_lists", "/contact_lists", "lists"),
    ("contact_tags", "/contact_tags", "tags"),
    ("contact_custom_fields", "/contact_custom_fields", "custom_fields"),
    ("segments", "/segments", "segments"),
)
_QUIET = 3 * DAY
_FEW = 8
_ENDINGS = 6
"""Lists whose ends must agree before one is taken for the only one."""
_PAIR = 2
_HOUR = 3600.0


class ConstantContactProbes(Probes):
    """The probes of one account. They share the answers that they have read.

    Args:
        api: the provider's API, for its clock.
        prober: sends the requests.
    """

    def __init__(self, api: ConstantContactApi, prober: Prober) -> None:
        super().__init__()
        self._api = api
        self._prober = prober
        self._ends: dict[str, str] = {}
        self._tracked: dict[tuple[str, str], list[Row]] = {}
        self._details: dict[str, list[str]] = {}

    # Evidence

    def _body(
        self, template: str, ids: tuple[str, ...] = (), **query: int | str
    ) -> dict[str, Any]:
        seen = self._prober.get(template, ids, query)
        if seen.status == "denied" and self._is_deactivated:
            raise deactivated(f"GET {template} is denied")
        if seen.status != "ok":
            raise CannotTell(f"{template} is {seen.status}")
        if not isinstance(seen.body, dict):
            raise CannotTell(f"an answer of {template} was not understood")
        return seen.body

    @cached_property
    def _is_deactivated(self) -> bool:
        """Whether the app is denied even the privileges of its user."""
        return self._prober.get(PRIVILEGES).status == "denied"

    def _rows(self, stream: str, body: Mapping[str, Any], field: str) -> list[Row]:
        rows = body.get(field)
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise CannotTell(f"an answer has no list of {field}")
        self._prober.survey.rows(f"constant_contact_{stream}", rows)
        return rows

    def _whole(
        self, stream: str, template: str, field: str, *ids: str, **query: int | str
    ) -> list[Row]:
        """Return the rows of a list that fits into one page, and note how it ends."""
        body = self._body(template, ids, **query)
        rows = self._rows(stream, body, field)
        if (end := ending(body)) != "link":
            self._ends[template.format(*ids)] = end
        return rows

    @cached_property
    def emails(self) -> list[Row]:
        """The first page of the campaigns."""
        return self._whole("campaigns", "/emails", "campaigns", limit=LARGEST)

    @cached_property
    def summaries_body(self) -> dict[str, Any]:
        """The first page of the summaries, with what is around its rows."""
        body = self._body(SUMMARIES, limit=LARGEST)
        if (end := ending(body)) != "link":
            self._ends[SUMMARIES] = end
        return body

    @cached_property
    def summaries(self) -> list[Row]:
        """The first page of the summaries."""
        field = "bulk_email_campaign_summaries"
        return self._rows("campaign_summaries", self.summaries_body, field)

    @cached_property
    def quiet(self) -> list[str]:
        """Sent campaigns whose lists fit into one page, those with most opens first."""
        found = []
        for row in self.summaries:
            sent = instant(row.get("last_sent_date"))
            counts = row.get("unique_counts")
            if sent is None or not isinstance(counts, dict):
                continue
            sends = to_integer(counts.get("sends")) or 0
            opens = to_integer(counts.get("opens")) or 0
            if self._api.now() - sent > _QUIET and 0 < sends < LARGEST // 2:
                found.append((opens, str(row.get("campaign_id"))))
        if not found:
            raise CannotTell("no sent campaign that is quiet and small")
        return [campaign for _, campaign in sorted(found, reverse=True)]

    @cached_property
    def stats(self) -> dict[str, dict[str, Any]]:
        """The counters of up to ten quiet campaigns, as they are spelled."""
        ids = ",".join(self.quiet[:10])
        rows = self._rows("campaign_stats", self._body(STATS, (ids,)), "results")
        return {
            str(row.get("campaign_id")): row["stats"]
            for row in rows
            if isinstance(row.get("stats"), dict)
        }

    def activities(self, campaign: str) -> list[str]:
        """Return the activities of a campaign that have data."""
        if campaign not in self._details:
            body = self._body("/emails/{}", (campaign,))
            rows = body.get("campaign_activities")
            if not isinstance(rows, list):
                raise CannotTell("a campaign has no list of activities")
            self._details[campaign] = [
                str(row.get("campaign_activity_id"))
                for row in rows
                if isinstance(row, dict)
                and str(row.get("role")).lower() in {"primary_email", "resend"}
            ]
        return self._details[campaign]

    def tracked(self, activity: str, report: str) -> list[Row]:
        """Return a report of an activity; it has to fit into one page."""
        key = (activity, report)
        if key not in self._tracked:
            template = f"{TRACKING}{report}"
            body = self._body(template, (activity,), limit=LARGEST)
            rows = self._rows(report, body, "tracking_activities")
            end = ending(body)
            if end == "link" and len(rows) < LARGEST:
                raise CannotTell(f"a page of {report} is short and not the last")
            if end == "link":
                raise CannotTell(f"{report} take more than one page")
            self._ends[template.format(activity)] = end
            self._tracked[key] = rows
        return self._tracked[key]

    def _opens(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield the opens of quiet campaigns with one activity."""
        for campaign in self.quiet[:3]:
            activities = self.activities(campaign)
            if len(activities) == 1:
                yield campaign, self.tracked(activities[0], "opens")

    # Questions

    def next_link(self) -> Answer:
        """Where the link to the next page stands."""
        if len(self.emails) < _PAIR:
            raise CannotTell("fewer than two campaigns: no list has two pages")
        body = self._body("/emails", limit=1)
        place = place_of_link(body)
        if place is None:
            raise CannotTell("a page of one campaign has no link")
        return Answer(place, 1)

    def last_page(self) -> Answer:
        """How the last page says that it is the last."""
        self._read_small_lists()
        ends = set(self._ends.values())
        if len(ends) > 1:
            return Answer("varied", len(self._ends))
        if len(self._ends) < _ENDINGS:
            raise CannotTell(f"fewer than {_ENDINGS} lists")
        return Answer(ends.pop(), len(self._ends))

    def _read_small_lists(self) -> None:
        for stream, path, field in _SMALL:
            try:
                self._whole(stream, path, field)
            except CannotTell:
                continue
        for campaign in self.quiet[:1]:
            for activity in self.activities(campaign)[:1]:
                for report in COUNTED_BY:
                    self.tracked(activity, report)

    def full_page(self) -> Answer:
        """Whether an empty page follows one that is just full."""
        for campaign, _ in self._opens():
            [activity] = self.activities(campaign)
            rows = self.tracked(activity, "sends")
            if len(rows) < _PAIR:
                continue
            body = self._body(f"{TRACKING}sends", (activity,), limit=len(rows))
            again = self._rows("sends", body, "tracking_activities")
            if len(again) != len(rows):
                raise CannotTell("the list changed while it was read")
            return Answer("follows" if ending(body) == "link" else "ends", 1)
        raise CannotTell("no small campaign with sends")

    def stats_keys(self) -> Answer:
        """How the names of counters are spelled."""
        found = spelling(name for stats in self.stats.values() for name in stats)
        if found is None:
            raise CannotTell("no counters of all opens, or both spellings")
        return Answer(found, len(self.stats))

    def counts(self) -> Answer:
        """Whether counters are numbers or texts."""
        found = type_of_counts(v for one in self.stats.values() for v in one.values())
        if found is None:
            raise CannotTell("the counters are of several types, or there are none")
        return Answer(found, len(self.stats))

    def aggregate(self) -> Answer:
        """What `aggregate_percents` is."""
        self.summaries  # noqa: B018 - the answer has to be one
        value = self.summaries_body.get("aggregate_percents")
        match value:
            case None:
                return Answer("absent", 1)
            case dict():
                return Answer("object", 1)
            case list():
                return Answer("array", 1)
        raise CannotTell("it is neither an object nor a list")

    def times(self) -> Answer:
        """How `created_time` is written."""
        kinds = {
            kind_of(row.get("created_time"))
            for campaign in self.quiet[:1]
            for activity in self.activities(campaign)[:1]
            for report in ("sends", "opens")
            for row in self.tracked(activity, report)
        }
        if len(kinds) != 1:
            raise CannotTell("there are no rows, or several formats")
        [kind] = kinds
        if kind not in TIMES:
            raise CannotTell("the format is another one")
        return Answer(TIMES[kind], 1)

    def tracking_order(self) -> Answer:
        """In which order tracking rows come."""
        found = []
        for _, rows in self._opens():
            times = [instant(row.get("created_time")) for row in rows]
            if len(times) < _FEW or None in times or times[0] == times[-1]:
                continue
            falls = all(one >= two for one, two in pairwise(times))  # type: ignore[operator]
            found.append("newest first" if falls else "another")
        if not found:
            raise CannotTell(f"no list with at least {_FEW} opens")
        if len(set(found)) > 1:
            raise CannotTell("two lists speak for two readings")
        return Answer(found[0], len(found))

    def emails_order(self) -> Answer:
        """By which date campaigns are listed, newest first."""
        found = orders(self.emails)
        if found is None:
            raise CannotTell("too few campaigns, or some without dates")
        if len(found) > 1:
            raise CannotTell("both dates give the same order")
        return Answer(found[0], len(self.emails))

    def bounds(self) -> Answer:
        """Whether the bound of `after_date` is inside of it."""
        found: list[str] = []
        for row in self.emails[::3]:
            after = row.get("updated_at")
            # A bound that is cut to seconds lies before the row's own time.
            if kind_of(after) != "YYYY-MM-DDThh:mm:ss.fZ" or len(found) == _PAIR:
                continue
            body = self._body("/emails", after_date=str(after), limit=LARGEST)
            rows = self._rows("campaigns", body, "campaigns")
            ids = {one.get("campaign_id") for one in rows}
            found.append("inclusive" if row.get("campaign_id") in ids else "exclusive")
        if not found:
            raise CannotTell("no campaign shows a change to a fraction of a second")
        if len(set(found)) > 1:
            raise CannotTell("two campaigns speak for two readings")
        return Answer(found[0], len(found))

    def gates(self) -> Answer:
        """Whether each counter counts what its report lists."""
        agree: list[bool] = []
        for campaign in self.quiet[:3]:
            activities = self.activities(campaign)
            counters = _plain(self.stats.get(campaign, {}))
            if len(activities) != 1 or not counters:
                continue
            agree.append(
                all(
                    self._counted(activities[0], report) == counters.get(name)
                    for report, (name, _) in COUNTED_BY.items()
                )
            )
        if agree.count(True) >= 1 and False not in agree:
            return Answer("as listed", len(agree))
        if agree.count(False) >= _PAIR and True not in agree:
            return Answer("otherwise", len(agree))
        raise CannotTell("too few campaigns, or they speak for two readings")

    def _counted(self, activity: str, report: str) -> int:
        rows, field = self.tracked(activity, report), COUNTED_BY[report][1]
        return len(rows) if field is None else len({row.get(field) for row in rows})

    def resends(self) -> Answer:
        """Whether the counters of a campaign add up its two emails."""
        for campaign in self.quiet[:6]:
            activities = self.activities(campaign)
            count = _plain(self.stats.get(campaign, {})).get("em_sends")
            if len(activities) != _PAIR or not count:
                continue
            rows = [len(self.tracked(one, "sends")) for one in activities]
            if 0 in rows:
                continue
            if count == sum(rows):
                return Answer("sum", 1)
            if count in rows:
                return Answer("one", 1)
        raise CannotTell("no quiet campaign with a resend")

    def updates(self) -> Answer:
        """Whether `updated_at` moves when engagement arrives."""
        updated = {
            str(r.get("campaign_id")): instant(r.get("updated_at")) for r in self.emails
        }
        stays = 0
        for campaign, rows in self._opens():
            times = [instant(row.get("created_time")) for row in rows]
            newest = max((one for one in times if one is not None), default=None)
            moved = updated.get(campaign)
            if newest is not None and moved is not None and newest > moved + _HOUR:
                stays += 1
        if stays:
            return Answer("stays", stays)
        raise CannotTell("no campaign has an open after its last change")

    def unsubscribes(self) -> Answer:
        """Whether `updated_at` of a contact moves when it unsubscribes."""
        body = self._body("/contacts", status="unsubscribed", limit=LARGEST)
        stays, moves = unsubscribed(self._rows("contacts", body, "contacts"))
        if stays:
            return Answer("stays", stays)
        if moves >= _PAIR:
            return Answer("moves", moves)
        raise CannotTell("too few contacts have unsubscribed")

    def limit_headers(self) -> Answer:
        """Whether headers say how many requests are allowed."""
        self.emails  # noqa: B018 - an answer, for its headers
        names = self._prober.survey.limiting_headers
        return Answer("announced" if names else "silent", self._prober.sent)

    # Verification

    @override
    def checks(self, number: int, rng: Random) -> Iterator[Check]:
        """Yield reports to read in two ways; see `verify`.

        Args:
            number: number of reports.
            rng: chooses the campaigns and reports.
        """
        campaigns = self.quiet
        half = max(1, len(campaigns) // 2)
        for turn in range(number):
            some = (campaigns[:half], campaigns[half:])[turn % 2] or campaigns
            campaign, report = rng.choice(some), rng.choice([*COUNTED_BY])
            yield Check(
                f"{report} of a campaign",
                "one page; pages of 100 rows, or of a third of them",
                partial(self._twice, campaign, report),
            )

    def _twice(self, campaign: str, report: str) -> Reading:
        """Read a report of all activities of a campaign in pages of two sizes."""
        one: list[Row] = []
        two: list[Row] = []
        for activity in self.activities(campaign):
            rows = self.tracked(activity, report)
            one += rows
            two += self._paged(activity, report, max(1, min(100, len(rows) // 3)))
        name, field = COUNTED_BY[report]
        counted = _plain(self.stats.get(campaign, {})).get(name)
        shown = len(one) if field is None else len({row.get(field) for row in one})
        stored = self._stored(campaign, report)
        return Reading(
            numbered(one),
            numbered(two),
            len(one) if counted == shown else counted,
            stored,
            too_many(stored, shown),
        )

    def _stored(self, campaign: str, report: str) -> int | None:
        """Return what the mark says was read: rows, or contacts if it counts those."""
        state = self._api.state(f"constant_contact_{report}")
        mark = state.marks.get(campaign) if state else None
        if mark is None or mark.checked is None or mark.counter is None:
            return None
        return int(mark.counter - mark.missing)

    def _paged(self, activity: str, report: str, size: int) -> list[Row]:
        template = f"{TRACKING}{report}"
        body = self._body(template, (activity,), limit=size)
        rows = self._rows(report, body, "tracking_activities")
        while (href := link_of(body)) is not None:
            url = self._api.client.link(template, href, (activity,))
            seen = self._prober.get_url(url, template)
            if not isinstance(seen.body, dict):
                raise CannotTell(f"a page of {report} is {seen.status}")
            body = seen.body
            rows = [*rows, *self._rows(report, body, "tracking_activities")]
        return rows


def _plain(stats: Mapping[str, Any]) -> dict[str, int | None]:
    return {name.replace(".", "_"): to_integer(v) for name, v in stats.items()}
