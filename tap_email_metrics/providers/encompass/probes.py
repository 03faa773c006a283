"""Probes of Encompass: small requests whose answers decide an open question.

A probe decides only by what an account shows twice, or by an answer that no other
reading allows. Everything else raises `CannotTell`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.contract.questions import Answer, CannotTell
from tap_email_metrics.contract.verify import Check, Probes, Reading, too_many
from tap_email_metrics.providers.encompass.api import ALL_TIME, MESSAGES
from tap_email_metrics.providers.encompass.observers import (
    DELIVER_FIELDS,
    life_of,
    opens,
)
from tap_email_metrics.records.values import to_integer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from tap_email_metrics.contract.prober import Prober
    from tap_email_metrics.providers.encompass.api import EncompassApi
    from tap_email_metrics.records.values import Row

LISTS = ("recipients", "opens", "clicks", "bounces", "delivers", "links")
FIELDS = {
    "sent": "actualSendTimestamp",
    "date_added": "dateAdded",
    "scheduled": "scheduledDateTimestamp",
}
MAX_RESULTS = 1000
_ARCHIVED = 182 * DAY
"""Age from which on the archive has taken a row, if it goes by that row's date."""
_OLDEST = 500 * DAY
_YOUNG = 170 * DAY
_FEW = 8
"""Rows that show an order: fewer are in one by chance."""
_SEEN_TWICE = 2
_MISSED = 20
"""Rows that would be there, if the archive went by another date, and are not."""
_MOST = 0.9
_SMALL = 250
_FAR = 1_000_000
"""Rows behind a total that no list has: the total itself may be too low."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list.

    Attributes:
        rows: the rows of the page, with different ids.
        total: number of rows in the list, None for a bare array.
        size: the page size in the answer.
    """

    rows: list[Row]
    total: int | None
    size: int | None

    @property
    def ids(self) -> list[int]:
        """The ids, in order."""
        return [int(row["id"]) for row in self.rows]


class EncompassProbes(Probes):
    """The probes of one account. They share the answers that they have read.

    Args:
        api: the provider's API, for its clock and its token.
        prober: sends the requests.
    """

    def __init__(self, api: EncompassApi, prober: Prober) -> None:
        super().__init__()
        self._api = api
        self._prober = prober
        self._pages: dict[tuple[int, str, int, int], Listed] = {}
        self._total: str | None = None

    # Evidence

    def messages(self, start: int = 0, **query: int) -> Listed:
        """Return a page of the list of messages."""
        params = {**ALL_TIME, "startAt": start, "maxResults": MAX_RESULTS, **query}
        return self._listed("messages", MESSAGES, (), params)

    @cached_property
    def first(self) -> Listed:
        """The first page of all messages."""
        page = self.messages()
        if not page.rows:
            raise CannotTell("the account shows no message")
        return page

    @cached_property
    def known(self) -> list[Row]:
        """Messages of the first page and, of a long list, of the last page."""
        total = self.first.total or 0
        rows = {row["id"]: row for row in self.first.rows}
        if total > len(rows):
            last = self.messages(max(0, total - MAX_RESULTS))
            rows |= {row["id"]: row for row in last.rows}
        return list(rows.values())

    def page(
        self, message: Row, kind: str, start: int = 0, size: int = MAX_RESULTS
    ) -> Listed:
        """Return a page of a list of a message, asked for once."""
        key = (int(message["id"]), kind, start, size)
        if key not in self._pages:
            self._pages[key] = self.fresh(message, kind, start, size)
        return self._pages[key]

    def fresh(
        self,
        message: Row,
        kind: str,
        start: int = 0,
        size: int = MAX_RESULTS,
        **query: int,
    ) -> Listed:
        """Return a page of a list of a message, asked for again."""
        params = {"startAt": start, "maxResults": size, **query}
        template = f"{MESSAGES}/{{}}/{kind}"
        return self._listed(kind, template, (message["id"],), params)

    def _listed(
        self, kind: str, template: str, ids: Sequence[object], params: dict[str, int]
    ) -> Listed:
        seen = self._prober.get(template, ids, dict(params))
        if seen.status != "ok":
            raise CannotTell(f"the list of {kind} is {seen.status}")
        page = _parsed(seen.body)
        if page is None:
            raise CannotTell(f"an answer about {kind} was not understood")
        self._prober.survey.rows(f"encompass_{kind}", page.rows)
        return page

    def age(self, message: Row) -> float:
        """Return the seconds since a message was sent."""
        return self._api.now() - _sent_at(message)

    def _between(self, youngest: float, oldest: float) -> list[Row]:
        """Return the messages of an age, the largest first."""
        found = [row for row in self.known if youngest <= self.age(row) < oldest]
        return sorted(found, key=_sent_count, reverse=True)

    def young(self) -> list[Row]:
        """Return the messages that no archive has touched, the largest first."""
        return self._between(DAY, _YOUNG)

    def old(self) -> list[Row]:
        """Return the messages that the archive may have touched."""
        return self._between(_ARCHIVED + DAY, _OLDEST)

    def _long_lists(self) -> Iterator[tuple[Row, str, Listed]]:
        """Yield lists of young messages that have enough rows to show an order.

        First come lists of two messages that fit into a page, if there are such, then
        the lists of the largest message.
        """
        young = self.young()
        fit = [row for row in young if _sent_count(row) <= MAX_RESULTS][:_SEEN_TWICE]
        for message in [*fit, *(row for row in young if row not in fit)][:3]:
            for kind in ("recipients", "opens", "delivers"):
                page = self._tolerant(message, kind)
                if page and page.total is not None and len(page.rows) >= _FEW:
                    yield message, kind, page

    def _tolerant(self, message: Row, kind: str) -> Listed | None:
        try:
            return self.page(message, kind)
        except CannotTell:
            return None

    # Questions

    def range_field(self) -> Answer:
        """Which date `fromTimestamp` and `toTimestamp` filter."""
        return self._filter

    @cached_property
    def _filter(self) -> Answer:
        found: list[str] = []
        for message in self._distinct()[:2]:
            inside = [
                name
                for name, field in FIELDS.items()
                if self._is_within(message, -1, +1, field)
            ]
            if len(inside) == len(FIELDS):
                found.append("ignored")
            elif len(inside) == 1:
                found += inside
            else:
                raise CannotTell("the answers to three ranges contradict each other")
        if not found:
            raise CannotTell("no message has three different dates")
        if len(set(found)) > 1:
            raise CannotTell("two messages speak for two readings")
        return Answer(found[0], len(found))

    def range_bounds(self) -> Answer:
        """Whether the bounds of the range are inside of it."""
        field = self._filter.reading
        if field is None or field == "ignored":
            raise CannotTell("the range is not heeded")
        found: set[tuple[bool, bool]] = set()
        messages = self._distinct()[:2]
        for message in messages:
            low = self._is_within(message, 0, +1, FIELDS[field])
            high = self._is_within(message, -1, 0, FIELDS[field])
            found.add((low, high))
        if len(found) != 1:
            raise CannotTell("two messages speak for two readings")
        names = {
            (True, True): "both",
            (False, False): "neither",
            (True, False): "from",
            (False, True): "to",
        }
        return Answer(names[found.pop()], len(messages))

    def _distinct(self) -> list[Row]:
        """Return messages whose dates differ, and differ from all other dates."""
        times = [_times(row) for row in self.known]
        taken = [one for some in times for one in set(some)]
        found = []
        for row, own in zip(self.known, times, strict=True):
            near = sum(
                any(abs(one - two) <= _SEEN_TWICE for one in own) for two in taken
            )
            if len(set(own)) == len(FIELDS) == near and min(own) > 0:
                found.append(row)
        return found

    def _is_within(self, message: Row, low: int, high: int, field: str) -> bool:
        """Return whether a range around a date of a message has the message in it."""
        at = int(message[field])
        page = self.messages(fromTimestamp=at + low, toTimestamp=at + high)
        return message["id"] in page.ids

    def order(self) -> Answer:
        """In which order the rows of lists come."""
        found: list[str] = []
        lists: list[tuple[Row | None, str, Listed]] = [
            (None, "messages", self.first),
            *self._long_lists(),
        ]
        for message, kind, page in lists[:4]:
            again = self.messages() if message is None else self.fresh(message, kind)
            reading = _order(page.ids, again.ids)
            if reading:
                found.append(reading)
        if not found:
            raise CannotTell(f"no list with at least {_FEW} rows")
        reading = found[0] if len(set(found)) == 1 else "by list"
        return Answer(reading, len(found))

    def total(self) -> Answer:
        """Whether `total` is the number of rows, on each page."""
        found: list[str] = []
        for message, kind, whole in self._long_lists():
            total = whole.total or 0
            if total > (whole.size or MAX_RESULTS) or len(found) == _SEEN_TWICE:
                continue
            half = (total + 1) // 2
            parts = [self.fresh(message, kind, start, half) for start in (0, half)]
            if {part.total for part in parts} != {total}:
                found.append("moves")
            elif len(whole.rows) == total:
                found.append("rows")
            elif {*self.fresh(message, kind).ids} == {*whole.ids}:
                found.append("differs")
        if not found:
            raise CannotTell("no list of a young message that fits into one page")
        if len(set(found)) > 1:
            raise CannotTell("two lists speak for two readings")
        self._total = found[0]
        return Answer(found[0], len(found))

    def _trust_totals(self) -> None:
        """Check that the question about totals was answered.

        Raises:
            CannotTell: a total may differ from the number of rows.
        """
        if self._total != "rows":
            raise CannotTell("it is not known that `total` is the number of rows")

    def archived_total(self) -> Answer:
        """Whether archived rows stay in `total`."""
        self._trust_totals()
        share = self._share("delivers")
        stays = leaves = 0
        for message in self.old()[:4]:
            page = self._tolerant(message, "delivers")
            if page is None or page.total is None or page.total > MAX_RESULTS:
                continue
            expected = share * _sent_count(message)
            if page.total > len(page.rows) and page.total >= expected / 2:
                stays += 1
            elif page.total == len(page.rows) and page.total < expected / 2:
                leaves += 1
        if not stays and not leaves:
            raise CannotTell("no list of an old message lacks rows")
        if stays and leaves:
            raise CannotTell("two lists speak for two readings")
        return Answer("stays" if stays else "leaves", stays + leaves)

    def _share(self, kind: str) -> float:
        """Return the share of the sent that a list of a young message shows."""
        for message in self.young()[:2]:
            sent = _sent_count(message)
            page = self._tolerant(message, kind)
            if sent >= _FEW and page and page.total and page.total >= sent / 2:
                return min(1.0, page.total / sent)
        raise CannotTell(f"no young message whose {kind} say what is usual")

    def archived_recipients(self) -> Answer:
        """Whether the archive takes recipients, too."""
        self._trust_totals()
        share = self._share("recipients")
        found: list[str] = []
        for message in self.old()[:4]:
            page = self._tolerant(message, "recipients")
            expected = share * _sent_count(message)
            if page is None or page.total is None or expected < _FEW:
                continue
            first = min(page.total, page.size or MAX_RESULTS)
            if len(page.rows) < first / 2 or page.total < expected / 2:
                found.append("thin out")
            elif len(page.rows) == first and page.total >= _MOST * expected:
                found.append("stay")
        if len(found) < _SEEN_TWICE:
            raise CannotTell("fewer than two old messages tell")
        if len(set(found)) > 1:
            raise CannotTell("two messages speak for two readings")
        return Answer(found[0], len(found))

    def archive_clock(self) -> Answer:
        """Which date the archive uses: a date by which rows are too old is excluded.

        The date of the send is the answer if rows are missing that any other date
        would keep.
        """
        self.archived_total()  # something was archived at all
        old = sorted(self.old(), key=self.age)[:3]
        rows = [
            row
            for m in old
            for kind in ("opens", "delivers")
            for row in self._rows(m, kind)
        ]
        if not rows:
            return self._by_send(old)
        oldest = self._api.now() - _ARCHIVED
        outlived = {
            "send": len(rows),
            "action": _before(oldest, rows, "timestamp"),
            "date_added": _before(oldest, rows, "dateAdded"),
        }
        left = [name for name, number in outlived.items() if number < _SEEN_TWICE]
        if len(left) != 1:
            raise CannotTell(
                f"the rows that are left allow {' and '.join(left) or 'no reading'}"
            )
        return Answer(left[0], min(number for number in outlived.values() if number))

    def _by_send(self, old: list[Row]) -> Answer:
        """Return that the archive goes by the send, if enough late opens are gone."""
        expected = 0.0
        for message in old:
            kept = self.age(message) - 180 * DAY + DAY
            for other in self.young()[:3]:
                opens = self._tolerant(other, "opens")
                sent = _sent_count(other)
                if not sent or self.age(other) < kept + DAY or opens is None:
                    continue
                late = len(opens.rows) - _before(_sent_at(other) + kept, opens.rows)
                expected += late / sent * _sent_count(message)
                break
        if expected < _MISSED:
            raise CannotTell("no row is left, and few would be by any date")
        return Answer("send", int(expected))

    def token_life(self) -> Answer:
        """How long a token lives by the answer that brings it."""
        self.first  # noqa: B018 - it takes a token
        life = self._api.token_life
        if life is None:
            return Answer("unsaid", 1)
        return Answer(life_of(life), 1)

    def links(self) -> Answer:
        """Whether links come in pages."""
        tried = 0
        for message in self.young()[:6]:
            params = {"startAt": 0, "maxResults": MAX_RESULTS}
            seen = self._prober.get(f"{MESSAGES}/{{}}/links", (message["id"],), params)
            page = _parsed(seen.body) if seen.status == "ok" else None
            tried += 1
            if page is None or len(page.rows) < _SEEN_TWICE:
                continue
            self._prober.survey.rows("encompass_links", page.rows)
            if page.total is not None:
                return Answer("envelope", 1)
            one = self.fresh(message, "links", 0, 1)
            if len(one.rows) == 1:
                return Answer("paged array", 1)
            if sorted(one.ids) == sorted(page.ids):
                return Answer("whole array", 1)
        raise CannotTell(f"none of {tried} messages has two links")

    def open_fields(self) -> Answer:
        """Whether opens have `dateAdded` and `userAgent`."""
        rows = [row for m in self.young()[:2] for row in self._rows(m, "opens")]
        if len(rows) < _SEEN_TWICE:
            raise CannotTell("no message with two opens")
        return Answer(opens(name for row in rows for name in row), len(rows))

    def deliver_fields(self) -> Answer:
        """Whether delivers have all the fields that the tap reads."""
        rows = [row for m in self.young()[:2] for row in self._rows(m, "delivers")]
        if len(rows) < _SEEN_TWICE:
            raise CannotTell("no message with two delivers")
        named = {name for row in rows for name in row}
        has_all = named >= DELIVER_FIELDS
        return Answer("all" if has_all else "some", len(rows))

    def _rows(self, message: Row, kind: str) -> list[Row]:
        page = self._tolerant(message, kind)
        return page.rows if page else []

    def child_range(self) -> Answer:
        """Whether lists of a message heed `fromTimestamp` and `toTimestamp`."""
        for message, kind, page in self._long_lists():
            if kind == "recipients":
                continue
            early = self.fresh(message, kind, fromTimestamp=0, toTimestamp=1)
            if not early.rows and not early.total:
                return Answer("heeded", 1)
            if {*early.ids} & {*page.ids}:
                return Answer("ignored", 1)
        raise CannotTell(f"no list with at least {_FEW} rows")

    def beyond_end(self) -> Answer:
        """What an index behind the last row answers."""
        for message, kind, page in self._long_lists():
            start = (page.total or 0) + _FAR
            params = {"startAt": start, "maxResults": 1}
            seen = self._prober.get(f"{MESSAGES}/{{}}/{kind}", (message["id"],), params)
            body = _parsed(seen.body)
            if seen.status == "ok" and body is not None:
                return Answer("rows" if body.rows else "empty", 1)
            if seen.status in {"missing", "denied"}:
                return Answer("error", 1)
        raise CannotTell(f"no list with at least {_FEW} rows")

    def site_lists(self) -> Answer:
        """Whether there is a list of all opens of the site."""
        self.first  # noqa: B018 - nothing is told by an account that answers nothing
        seen = self._prober.get("/v2/opens", (), {"startAt": 0, "maxResults": 1})
        if seen.status == "missing":
            return Answer("absent", 1)
        if seen.status == "ok" and _parsed(seen.body) is not None:
            return Answer("there", 1)
        raise CannotTell(f"the request is {seen.status}")

    def page_limit(self) -> Answer:
        """Whether a page holds 1,000 rows."""
        found = set()
        pages = [self.first, *(page for _, _, page in self._long_lists())]
        for page in pages:
            if page.size is None or page.total is None:
                continue
            if page.size >= MAX_RESULTS and len(page.rows) >= MAX_RESULTS:
                found.add("1000")
            elif page.size < MAX_RESULTS:
                found.add("fewer")
        if len(found) != 1:
            raise CannotTell("no list has 1,000 rows, or two page sizes are named")
        return Answer(found.pop(), len(pages))

    def recipient_ids(self) -> Answer:
        """Whether a recipient has the same id in two messages."""
        people: list[dict[str, int]] = []
        for message in self.young()[:2]:
            rows = self._rows(message, "recipients")
            people.append(
                {
                    row["emailAddress"]: row["id"]
                    for row in rows
                    if isinstance(row.get("emailAddress"), str) and row["emailAddress"]
                }
            )
        if len(people) < _SEEN_TWICE:
            raise CannotTell("no two messages with recipients")
        both = people[0].keys() & people[1].keys()
        same = sum(people[0][one] == people[1][one] for one in both)
        if len(both) < _FEW:
            raise CannotTell(f"fewer than {_FEW} people received both of two messages")
        # Some people share an address, or have several records.
        if same >= _MOST * len(both):
            return Answer("recur", same)
        if same <= (1 - _MOST) * len(both):
            return Answer("differ", len(both) - same)
        raise CannotTell("it differs from person to person")

    def limit_headers(self) -> Answer:
        """Whether headers say how many requests are allowed."""
        self.first  # noqa: B018 - an answer, for its headers
        names = self._prober.survey.limiting_headers
        return Answer("announced" if names else "silent", self._prober.sent)

    # Verification

    @override
    def checks(self, number: int, rng: Random) -> Iterator[Check]:
        """Yield lists to read in two ways, in turn of a recent and of an old message.

        Args:
            number: number of lists.
            rng: chooses the messages and lists.
        """
        recent, old = self.young(), self._between(_YOUNG, _OLDEST)
        for turn in range(number):
            some = (recent, old)[turn % 2] or recent or old
            if not some:
                raise CannotTell("no message was sent in the last 500 days")
            message, kind = rng.choice(some), rng.choice(LISTS[:-1])
            yield Check(
                f"{kind} of a message sent {self.age(message) / DAY:.0f} days ago",
                "pages of 1,000 from the start; pages of 250 from the end",
                partial(self._twice, message, kind),
            )

    def _twice(self, message: Row, kind: str) -> Reading:
        """Read a list from its start, and in smaller pages from its end."""
        first = self.fresh(message, kind)
        if first.total is None:
            raise CannotTell("the list has no total")
        one = self._all(message, kind, first)
        two: list[int] = []
        for start in range(first.total - _SMALL, -_SMALL, -_SMALL):
            size = min(_SMALL, start + _SMALL)
            two += self.fresh(message, kind, max(0, start), size).ids
        # The archive may have taken rows that are still counted.
        counted = first.total if self.age(message) < _YOUNG else None
        stored = self._stored(message, kind)
        return Reading(one, two, counted, stored, too_many(stored, len({*one})))

    def _all(self, message: Row, kind: str, first: Listed) -> list[int]:
        ids, start = first.ids, len(first.rows) or MAX_RESULTS
        while start < (first.total or 0):
            page = self.fresh(message, kind, start)
            ids += page.ids
            start += len(page.rows) or MAX_RESULTS
        return ids

    def _stored(self, message: Row, kind: str) -> int | None:
        """Return the rows that the mark of a list says were read."""
        state = self._api.state(f"encompass_{kind}")
        mark = state.marks.get(int(message["id"])) if state else None
        return None if mark is None or mark.checked is None else mark.rows


def _parsed(body: object) -> Listed | None:
    """Return a page; None where it is none, or an id is no number or comes twice."""
    total = size = None
    rows: Any = body
    if isinstance(body, dict):
        total, size = _whole(body.get("total")), _whole(body.get("maxResults"))
        rows = body.get("data")
        if total is None:
            return None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    ids = [row.get("id") for row in rows]
    if not all(type(row_id) is int for row_id in ids) or len(set(ids)) < len(ids):
        return None
    return Listed(rows, total, size)


def _whole(value: object) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and value >= 0 else None  # type: ignore[return-value, operator]


def _order(ids: list[int], again: list[int]) -> str | None:
    """Return the order of a list that was read twice; None if too few rows tell."""
    both = {*ids} & {*again}
    one, two = ([i for i in some if i in both] for some in (ids, again))
    if len(one) < _FEW:
        return None
    if one != two:
        return "changes"
    steps = {first < second for first, second in pairwise(one)}
    if len(steps) > 1:
        return "fixed"
    return "ascending" if steps.pop() else "descending"


def _sent_count(message: Row) -> int:
    return max(0, to_integer(message.get("sentCount")) or 0)


def _sent_at(message: Row) -> float:
    return (to_integer(message.get("actualSendTimestamp")) or 0) / 1000


def _before(moment: float, rows: list[Row], field: str = "timestamp") -> int:
    """Return how many rows have a date before a moment."""
    dates = (to_integer(row.get(field)) for row in rows)
    return sum(at is not None and 0 < at / 1000 < moment for at in dates)


def _times(message: Row) -> list[int]:
    return [to_integer(message.get(field)) or 0 for field in FIELDS.values()]
