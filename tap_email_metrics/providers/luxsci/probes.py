"""Probes of LuxSci: small requests whose answers decide an open question.

A probe decides only by what several rows show, or by an answer that no other reading
allows. Everything else raises `CannotTell`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_email_metrics.clock import DAY, from_iso
from tap_email_metrics.contract.questions import Answer, CannotTell
from tap_email_metrics.contract.verify import Check, Probes, Reading, numbered
from tap_email_metrics.errors import AuthenticationFailed, Exhausted
from tap_email_metrics.providers.luxsci.answers import error_text, is_success
from tap_email_metrics.providers.luxsci.api import datetime_text
from tap_email_metrics.providers.luxsci.report import Wanted
from tap_email_metrics.providers.luxsci.shapes import Shape, shape_of
from tap_email_metrics.providers.luxsci.spellings import spellings
from tap_email_metrics.providers.luxsci.streams import (
    STREAMS,
    MarketingReport,
    ReportStream,
)
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.state.windows import Window, touch
from tap_email_metrics.streams.window_reader import MOST_IN_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from random import Random

    from tap_email_metrics.contract.prober import Prober, Status
    from tap_email_metrics.providers.luxsci.api import LuxSciApi, ReportList
    from tap_email_metrics.providers.luxsci.paths import Endpoint
    from tap_email_metrics.records.values import Row

DELIVERY, OPENS = "luxsci_delivery_status", "luxsci_opens"
_DAYS = 60
_YEAR = 360
_LOGINS = 3
"""Logins whose marketing reports are asked: one of them may have no rows."""
_ROWS_ASKED = 500
_FEW = 8
_PAIR = 2
_DENIED = re.compile(r"access|denied|permission|not allowed|not permitted|forbidden")
_DATETIME = re.compile(r"[1-9]\d{3}-\d\d-\d\d \d\d:\d\d:\d\d")
_ZERO = re.compile(r"0000-00-00(?: 00:00:00)?")
_ACCOUNT = re.compile(r"\d{3}")
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A list and its stream."""

    stream: str
    list: ReportList

    @property
    def operation(self) -> str:
        """The vendor's name of the report."""
        return self.list.endpoint.operation


class LuxSciProbes(Probes):
    """The probes of one account. They share the answers that they have read.

    Args:
        api: the provider's API.
        prober: sends the requests.
    """

    def __init__(self, api: LuxSciApi, prober: Prober) -> None:
        super().__init__()
        self._api = api
        self._prober = prober
        self._pages: dict[Source, list[Row]] = {}
        self._at_sign = "@"

    # Evidence

    @cached_property
    def sources(self) -> list[Source]:
        """The lists that the settings offer; of marketing, those of some logins."""
        found = []
        for stream in STREAMS:
            if stream.is_offered(self._api.settings):
                found += [Source(str(stream.name), one) for one in self._lists(stream)]
        return found

    def _lists(self, stream: type[ReportStream]) -> Sequence[ReportList]:
        nothing: Mapping[str, str] = {}
        if issubclass(stream, MarketingReport):
            [(_, operation)] = stream.operations
            return self._api.of_logins(operation, nothing, Wanted(), {})[:_LOGINS]
        return self._api.of_scope(stream.operations, nothing, Wanted(), {})

    def _of(self, stream: str) -> list[Source]:
        return [one for one in self.sources if one.stream == stream]

    def _ask(
        self,
        source: Source,
        params: Mapping[str, int | str],
        endpoint: Endpoint | None = None,
        at_sign: str | None = None,
    ) -> tuple[Status, Any]:
        """Return how a report answers, and the body; a failure in a 200 is one."""
        place = endpoint or source.list.endpoint
        url = self._api.client.url(place, source.list.places, params)
        path, mark, query = url.partition("?")
        url = path.replace("@", at_sign or self._at_sign) + mark + query
        shown = without_values(place.path)
        seen = self._prober.get_url(url, shown)
        status, body = seen.status, seen.body
        if status == "ok" and not isinstance(body, dict):
            status = "failed"
        elif status == "ok" and isinstance(body, dict) and not is_success(body):
            is_denied = _DENIED.search(error_text(body))
            status = "denied" if is_denied else "failed"
        if status == "ok":
            self._api.client.served = True  # whatever is refused now, the key is good
        if at_sign is None:
            self.paths.setdefault(place.operation, {})[shown] = status
        return status, body

    def _shape(self, source: Source, params: Mapping[str, int | str]) -> Shape:
        status, body = self._ask(source, params)
        if status != "ok":
            raise CannotTell(f"a report is {status}")
        shape = shape_of(body, _columns(source.stream))
        self._prober.survey.rows(source.stream, shape.rows)
        return shape

    def _window(self, start: float, end: float) -> dict[str, int | str]:
        return {
            "from_date": datetime_text(int(start)),
            "before_date": datetime_text(int(end)),
        }

    def _recent(self, source: Source) -> Shape:
        now = self._api.now()
        window = self._window(now - _DAYS * DAY, now)
        return self._shape(source, {**window, "first_row": 0, "matches": _ROWS_ASKED})

    @property
    def sample(self) -> tuple[Source, Shape]:
        """A report with at least three rows, and its first page."""
        if self._sample is None:
            raise CannotTell(f"no report has three rows of the last {_DAYS} days")
        return self._sample

    @cached_property
    def _sample(self) -> tuple[Source, Shape] | None:
        for source in self._candidates():
            try:
                shape = self._recent(source)
            except CannotTell:
                continue
            self._pages[source] = shape.rows
            if len(shape.rows) > _PAIR:
                return source, shape
        return None

    def _candidates(self) -> Iterator[Source]:
        """Yield reports that are likely to have rows, a few of them."""
        for name in (DELIVERY, "luxsci_sent", OPENS, "luxsci_marketing_logs"):
            yield from self._of(name)

    def _rows(self, source: Source) -> list[Row]:
        if source not in self._pages:
            try:
                self._pages[source] = self._recent(source).rows
            except CannotTell:
                self._pages[source] = []
        return self._pages[source]

    @property
    def _seen(self) -> Iterator[tuple[str, Row]]:
        """The rows that were read, each with its stream."""
        self.sample  # noqa: B018 - something was read
        for source, rows in self._pages.items():
            for row in rows:
                yield source.stream, row

    # Questions about the form of answers

    def row_form(self) -> Answer:
        """Whether rows are arrays or objects."""
        _, shape = self.sample
        return Answer(shape.row_form, len(shape.rows))

    def header_place(self) -> Answer:
        """Where the header stands."""
        _, shape = self.sample
        if shape.header_at is None:
            return Answer("nowhere", 1)
        return Answer(shape.header_at, 1)

    def header_form(self) -> Answer:
        """Whether the entries of the header are strings or objects."""
        _, shape = self.sample
        if shape.entry_form is None:
            raise CannotTell("the answer has no header")
        return Answer(shape.entry_form, len(shape.names))

    def count_place(self) -> Answer:
        """Where the count stands."""
        shape = self._counted
        if shape.count_at is None:
            raise CannotTell("no count was found")
        return Answer(shape.count_at, 1)

    @cached_property
    def _counted(self) -> Shape:
        """The answer to the same window with `matches=0`."""
        source, _ = self.sample
        now = self._api.now()
        window = self._window(now - _DAYS * DAY, now - 1)
        return self._shape(source, {**window, "first_row": 0, "matches": 0})

    @cached_property
    def _two(self) -> Shape:
        """Two rows of the same window."""
        source, _ = self.sample
        now = self._api.now()
        window = self._window(now - _DAYS * DAY, now - 1)
        return self._shape(source, {**window, "first_row": 0, "matches": _PAIR})

    def count_meaning(self) -> Answer:
        """What the count beside rows counts."""
        total, page = self._counted.count, self._two
        if len(page.rows) != _PAIR or total is None or total <= _PAIR:
            raise CannotTell("no page of two rows out of more")
        if page.count is None:
            return Answer("nothing", 1)
        if page.count == total:
            return Answer("all", 1)
        if page.count == _PAIR:
            return Answer("page", 1)
        raise CannotTell("the count is another number")

    def page_size(self) -> Answer:
        """Whether `matches` is heeded."""
        total, page = self._counted.count, self._two
        _, sample = self.sample
        if page.rows[-1:] == page.rows[-2:-1]:
            raise CannotTell("a row came twice")
        if len(page.rows) > _PAIR:
            return Answer("ignored", 1)
        if len(page.rows) < _PAIR:
            return Answer("cut", 1)
        if total is not None and len(sample.rows) < min(total, _ROWS_ASKED) - _PAIR:
            return Answer("cut", 1)
        return Answer("heeded", 1)

    def page_limit(self) -> Answer:
        """Whether a page holds the 50,000 rows that may be asked for.

        A short page alone proves nothing, because the count may be wrong. Rows that
        follow it prove that the page is smaller.
        """
        source, _ = self.sample
        now = self._api.now()
        for days in (_YEAR, _DAYS):
            window = self._window(now - days * DAY, now - 1)
            counted = self._shape(source, {**window, "first_row": 0, "matches": 0})
            if counted.count is not None and counted.count <= MOST_IN_PAGE:
                break
        asked = {**window, "first_row": 0, "matches": MOST_IN_PAGE}
        page = self._shape(source, asked).rows
        rows = len(page)
        if rows >= MOST_IN_PAGE:
            return Answer("50000", rows)
        behind = self._shape(source, {**asked, "first_row": rows, "matches": _PAIR})
        if rows and behind.rows and all(row not in page for row in behind.rows):
            return Answer("fewer", rows)
        raise CannotTell(f"a page of {rows} rows held the whole report")

    def no_date(self) -> Answer:
        """What stands for no date."""
        found: Counter[str] = Counter()
        for stream, row in self._seen:
            for name, column in _columns(stream).items():
                if column.get("format") != "date-time" or name not in row:
                    continue
                value = row[name]
                if value is None:
                    found["null"] += 1
                elif value == "":
                    found["empty"] += 1
                elif isinstance(value, str) and _ZERO.fullmatch(value):
                    found["zero"] += 1
        if not found:
            raise CannotTell("each date of the rows is set")
        if len(found) > 1:
            raise CannotTell("several spellings occur")
        [(reading, rows)] = found.items()
        return Answer(reading, rows)

    def numbers(self) -> Answer:
        """Whether whole numbers come as numbers or as texts."""
        found = {"numbers": 0, "texts": 0}
        for stream, row in self._seen:
            for name, column in _columns(stream).items():
                if "integer" not in column["type"]:
                    continue
                value = row.get(name)
                found["numbers"] += type(value) is int
                is_text = isinstance(value, str) and _NUMBER.fullmatch(value)
                found["texts"] += bool(is_text)
        if min(found.values()) or not any(found.values()):
            raise CannotTell("both occur, or neither")
        reading = max(found, key=lambda name: found[name])
        return Answer(reading, found[reading])

    # Questions about dates and order

    def delivery_date(self) -> Answer:
        """Which date bounds the report of deliveries."""
        return self._delivery_date

    @cached_property
    def _delivery_date(self) -> Answer:
        return self._filter(
            DELIVERY, ("last_updated", "date_sent"), "sendmail_id", "to"
        )

    def event_date(self) -> Answer:
        """Which date bounds the reports of events."""
        return self._filter(OPENS, ("open_date", "date_sent"), "sendmail_id", "to")

    def _filter(self, stream: str, columns: tuple[str, str], *key: str) -> Answer:
        """Ask for the seconds around the two dates of up to two rows."""
        found = []
        for source, row in self._apart(stream, columns):
            inside = []
            for name in columns:
                start = _seconds(row[name])
                window = self._window(start, start + 1)
                shape = self._shape(source, {**window, "first_row": 0, "matches": 50})
                keys = [tuple(one.get(k) for k in key) for one in shape.rows]
                if tuple(row.get(k) for k in key) in keys:
                    inside.append(name)
            if len(inside) != 1:
                raise CannotTell("a row is in the windows of both dates, or of neither")
            found += inside
            if len(found) == _PAIR:
                break
        if not found:
            raise CannotTell("no row has two dates that differ")
        if len(set(found)) > 1:
            raise CannotTell("two rows speak for two readings")
        return Answer("send" if found[0] == "date_sent" else "own", len(found))

    def _apart(
        self, stream: str, columns: tuple[str, str]
    ) -> Iterator[tuple[Source, Row]]:
        """Yield rows whose two dates are more than a minute apart."""
        for source in self._of(stream):
            for row in self._rows(source):
                dates = [row.get(name) for name in columns]
                if not all(
                    isinstance(d, str) and _DATETIME.fullmatch(d) for d in dates
                ):
                    continue
                own, sent = map(_seconds, dates)
                if abs(own - sent) > 60 and row.get("sendmail_id"):  # noqa: PLR2004 - a minute
                    yield source, row

    def order(self) -> Answer:
        """In which order rows come."""
        filtered = "date_sent" if self._delivery_date.reading == "send" else None
        own, other = "last_updated", "date_sent"
        for source in self._of(DELIVERY):
            rows = self._rows(source)
            dates = [row.get(filtered or own) for row in rows]
            others = [row.get(other if filtered is None else own) for row in rows]
            if len(set(dates)) < _FEW or not all(isinstance(d, str) for d in dates):
                continue
            if _falls(dates):
                return Answer("falling", len(rows))
            if not _rises(dates):
                return Answer("another", len(rows))
            if filtered is None and not _rises(others):
                return Answer("rising", len(rows))
            raise CannotTell("rows that rise by date may also be in order of insertion")
        raise CannotTell(f"no report of deliveries with at least {_FEW} dates")

    # Questions about requests

    def at_sign(self) -> Answer:
        """How the `@` of a login is to be written in a path."""
        of_logins = [s for s in self.sources if "{login}" in s.list.endpoint.path]
        if not of_logins:
            raise CannotTell("no login is set")
        named = {str(s.list.places.get("login")): s for s in reversed(of_logins)}
        some = [source for login, source in reversed(named.items()) if "@" in login]
        if not some:
            raise CannotTell("no login has an @")
        refused: list[AuthenticationFailed] = []
        for source in some:
            good = self._accepted_signs(source, refused)
            if good:
                self._at_sign = good[0]
                self._prefer(source.list.places["login"])
                name = {"@": "plain", "%40": "encoded"}[good[0]]
                return Answer("both" if len(good) > 1 else name, 1)
        if refused:
            raise refused[0]
        raise CannotTell("neither is answered")

    def _prefer(self, login: object) -> None:
        """Ask for this login first, because it was answered."""
        self.sources.sort(key=lambda one: one.list.places["login"] not in {None, login})

    def _accepted_signs(
        self, source: Source, refused: list[AuthenticationFailed]
    ) -> list[str]:
        """Return the spellings with which a report of a login is answered.

        A refusal is kept: the path may be what is signed wrongly, or this login may be
        unknown.
        """
        good = []
        for sign in ("@", "%40"):
            try:
                status, _ = self._ask(
                    source, {"first_row": 0, "matches": 0}, at_sign=sign
                )
            except AuthenticationFailed as error:
                refused.append(error)
            else:
                good += [sign] * (status == "ok")
        return good

    def tracked_headers(self) -> Answer:
        """Whether `tracked_headers=1` adds columns."""
        source, shape = self.sample
        now = self._api.now()
        window = self._window(now - _DAYS * DAY, now)
        params = {**window, "first_row": 0, "matches": _PAIR, "tracked_headers": 1}
        more = self._shape(source, params).labels - shape.labels
        if any("header" in label for label in more):
            return Answer("adds", len(more))
        raise CannotTell("no column came: no header is tracked, or the name is another")

    def detail(self) -> Answer:
        """Whether `detail=1` adds columns to the marketing reports."""
        logs = self._of("luxsci_marketing_logs")
        if not logs:
            raise CannotTell("no login is set")
        for source in logs:
            params = {"first_row": 0, "matches": 1}
            try:
                before = self._shape(source, params).labels
                more = self._shape(source, {**params, "detail": 1}).labels - before
            except CannotTell:
                continue  # another login may be answered
            if more:
                return Answer("adds", len(more))
        raise CannotTell("no column came: no custom field, or the name is another")

    # Paths

    def where(self) -> Answer:
        """Where the reports are: the built-in path, then other spellings of it."""
        reports: dict[str, list[Source]] = defaultdict(list)
        for source in self.sources:
            reports[source.operation].append(source)
        left: list[Source] = []
        try:
            left = [some[0] for some in reports.values() if self._is_missing(some)]
            left = [source for source in left if not self._search(source)]
        except Exhausted as error:
            if not self.path_overrides:
                text = f"{error}: not every report was asked for"
                raise CannotTell(text) from error
        if self.path_overrides:
            return Answer("elsewhere", len(self.path_overrides))
        good = [one for one in self.paths.values() if "ok" in one.values()]
        if left or not good:
            raise CannotTell(f"{len(left)} reports answer 404 under each spelling")
        return Answer("as assumed", len(good))

    def _is_missing(self, sources: Sequence[Source]) -> bool:
        """Return whether a report is missing; one login alone may be unknown."""
        path = without_values(sources[0].list.endpoint.path)
        for source in sources:
            if self._status(source, source.list.endpoint) != "missing":
                return False
            self.paths[source.operation].pop(path)
        self.paths[sources[0].operation][path] = "missing"
        return True

    def _search(self, source: Source) -> bool:
        """Look for a report under other spellings; return whether it is there."""
        place = source.list.endpoint
        for path in spellings(place.path):
            if self._status(source, replace(place, path=path)) in {"ok", "denied"}:
                self.path_overrides[place.operation] = path
                return True
        return False

    def _status(self, source: Source, place: Endpoint) -> Status:
        shown = without_values(place.path)
        known = self.paths.get(place.operation, {}).get(shown)
        if known is not None:
            return known
        params: dict[str, int | str] = {"first_row": 0, "matches": 0}
        if source.stream.endswith("_summary"):
            now = self._api.now()
            params |= self._window(now - DAY, now)
        return self._ask(source, params, place)[0]

    # Verification

    @override
    def checks(self, number: int, rng: Random) -> Iterator[Check]:
        """Yield reports to be read twice; see `verify`.

        Args:
            number: how many.
            rng: chooses the reports and weeks.
        """
        dated = list(self._candidates())
        for turn in range(number):
            source = rng.choice(dated)
            days = rng.randint(*((8, 20), (30, _DAYS))[turn % 2])
            yield Check(
                f"{source.stream} of a week, from {days} days ago on",
                "the whole week; its two halves, in pages of 100 rows",
                partial(self._twice, source, days),
            )

    def _twice(self, source: Source, days: int) -> Reading:
        """Read a week at once, and in halves with smaller pages."""
        start = int(self._api.now() // DAY - days) * DAY
        middle, end = start + 3 * DAY, start + 7 * DAY
        params = {"first_row": 0, "matches": 0}
        counted = self._shape(source, {**self._window(start, end), **params}).count
        one = self._read(source, start, end, 5000)
        two = self._read(source, start, middle, 100)
        two += self._read(source, middle, end, 100)
        window = Window(start, end)
        in_state, wrong = self._stored(source, window, one)
        return Reading(numbered(one), numbered(two), counted, in_state, wrong)

    def _stored(
        self, source: Source, window: Window, rows: list[Row]
    ) -> tuple[str | None, str]:
        """Return what the state says of a window, and what is wrong with that.

        The state has no numbers of rows. It says which windows were read whole, and
        after which day it knows of no row.
        """
        state = self._api.state(source.stream)
        coverage = state.coverages.get(source.list.key) if state else None
        if coverage is None:
            return None, ""
        is_read = coverage.start <= window.start and window.end <= coverage.through
        if not is_read or touch(coverage.todo, window):
            return "not read yet", ""
        if touch(coverage.short, window):
            return "read, some rows are missing", ""
        dates = [row.get(_date_of(source.stream)) for row in rows]
        newest = coverage.newest or 0
        later = sum(_moment(date) >= newest for date in dates)
        wrong = f"the state says read whole, and knows of no row as new as {later}"
        return "read whole", wrong if later else ""

    def _read(self, source: Source, start: int, end: int, size: int) -> list[Row]:
        """Return all rows of a window."""
        rows: list[Row] = []
        window = self._window(start, end)
        while True:
            page = self._shape(
                source, {**window, "first_row": len(rows), "matches": size}
            )
            rows += page.rows
            is_last = len(page.rows) < size and page.count == len(rows)
            if is_last or not page.rows:
                return rows


def without_values(path: str) -> str:
    """Return a path without a login or a number that a setting may have put there."""
    parts = path.split("/")
    return "/".join(
        "{login}" if "@" in part else "{account}" if _ACCOUNT.search(part) else part
        for part in parts
    )


def _columns(stream: str) -> dict[str, Any]:
    """Return the columns of a stream that come from the vendor, by its names."""
    columns = load_schema(stream)["properties"].values()
    return {
        one["x-source"]: one
        for one in columns
        if one.get("x-source") and not one.get("x-derived")
    }


def _date_of(stream: str) -> str:
    """Return the vendor's name of the date of a stream's rows."""
    [key] = [one.replication_key for one in STREAMS if one.name == stream]
    source: str = load_schema(stream)["properties"][key]["x-source"]
    return source


def _moment(text: object) -> float:
    """Return the UTC seconds of a date, 0 for anything else."""
    is_date = isinstance(text, str) and _DATETIME.fullmatch(text)
    return _seconds(text) if is_date else 0.0


def _seconds(text: Any) -> int:  # noqa: ANN401 - checked by the caller
    """Return the UTC seconds of a date as LuxSci writes it."""
    return int(from_iso(text))


def _rises(values: Sequence[Any]) -> bool:
    return all(one <= two for one, two in pairwise(values))


def _falls(values: Sequence[Any]) -> bool:
    return all(one >= two for one, two in pairwise(values))
