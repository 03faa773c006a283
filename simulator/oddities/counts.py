"""Totals, counts and counters that are wrong, absent, of another type, or late."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.oddities.base import Oddity, chance, of_json
from simulator.oddities.pages import LISTS, Page, of_page

if TYPE_CHECKING:
    from simulator.messages import Reply
    from simulator.oddities.base import Case, Change

_STATS = "/stats/"
_COUNTERS = (
    *("em_sends", "em_bounces", "em_forwards", "em_optouts"),
    *("em_opens_all", "em_opens.all", "em_clicks_all", "em_clicks.all"),
)
"""Counters with which a reader compares lists, in both spellings."""
_LAG = DAY
_OFF = 0.5
"""Share of the campaigns with a wrong counter."""
_GONE = object()
"""Stands for a value whose key is left out."""
Value = Callable[["Case", object, object], object]
"""Function that returns the new value, given the case, the owner and the old value."""


def _by(number: int) -> Value:
    def shifted(_case: Case, _of: object, value: object) -> object:
        if isinstance(value, str):
            return str(int(value) + number) if value.isdecimal() else value
        return value + number if isinstance(value, int) else value

    return shifted


def _always(value: object) -> Value:
    def fixed(_case: Case, _of: object, _value: object) -> object:
        return value

    return fixed


def _as_text(_case: Case, _of: object, value: object) -> object:
    return str(value)


def _late(case: Case, of: object, value: object) -> object:
    """Return the value of a day ago, or the oldest requested value."""
    seen = case.memory.setdefault(of, [])
    seen.append((case.now, value))
    while len(seen) > 1 and seen[1][0] <= case.now - _LAG:
        del seen[0]
    return seen[0][1]


def _totals(value: Value) -> Change:
    return of_page(partial(_change_totals, value))


def _change_totals(value: Value, case: Case, page: Page) -> None:
    for holder, name in page.totals:
        _put(holder, name, value(case, case.request.path, holder[name]))


def _own_count(_case: Case, page: Page) -> None:
    for holder, name in page.totals:
        _put(holder, name, len(page.rows))


def _with_an_empty_list(case: Case, body: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Add an empty header and list to an answer that only counts."""
    if isinstance(body, dict) and case.request.query.get("matches") == "0":
        count = {name: body.pop(name) for name in ("count",) if name in body}
        return {"header": [], "data": [], **body, **count}
    return body


def _counters(value: Value) -> Change:
    return of_json(partial(_change_counters, value))


def _change_counters(value: Value, case: Case, body: Any) -> Any:  # noqa: ANN401
    for row in body.get("results", ()) if isinstance(body, dict) else ():
        stats = row.get("stats", {})
        one = row.get("campaign_id")
        known = [name for name in _COUNTERS if name in stats]
        if known and chance(case.seed, f"{one}") < _OFF:
            name = known[int(chance(case.seed, f"{one} counter") * len(known))]
            _put(stats, name, value(case, (one, name), stats[name]))
    return body


def _left_out(case: Case, body: Any) -> Any:  # noqa: ANN401 -- any JSON
    rows = body.get("results") if isinstance(body, dict) else None
    if rows:
        del rows[case.rng.randrange(len(rows))]
    return body


def _among_errors(case: Case, body: Any) -> Any:  # noqa: ANN401 -- any JSON
    rows = body.get("results") if isinstance(body, dict) else None
    if rows:
        row = rows.pop(case.rng.randrange(len(rows)))
        one = row.get("campaign_activity_id") or row.get("campaign_id")
        text = f"{one} could not be computed."
        body["errors"] = [{"error_key": "internal_error", "error_message": text}]
    return body


def _not_a_number(_case: Case, reply: Reply) -> None:
    """Replace the first percentage by NaN, which is not valid JSON."""
    for name in (b'"percents":{"bounce":', b'"em_bounces":'):
        place = reply.body.find(name)
        if place >= 0:
            head = reply.body[: place + len(name)]
            tail = reply.body[place + len(name) :].lstrip(b'"0123456789.')
            reply.body = head + b"NaN" + tail
            return


def _put(holder: dict[str, Any], name: str, value: object) -> None:
    if value is _GONE:
        del holder[name]
    else:
        holder[name] = value


_WAYS: tuple[tuple[str, str, Value], ...] = (
    ("high", "one too high", _by(1)),
    ("low", "one too low", _by(-1)),
    ("absent", "absent", _always(_GONE)),
    ("null", "null", _always(None)),
    ("text", "a number as text", _as_text),
    ("words", "words", _always("many")),
    ("zero", "0", _always(0)),
    ("late", "as it was a day ago", _late),
)
_TELLING = ("absent", "null", "text", "words")


ODDITIES = (
    *(
        Oddity(
            name=f"total_{name}",
            says=f"a list's total or count: {says}",
            change=_totals(value),
            faces=("encompass", "luxsci"),
            paths=LISTS,
        )
        for name, says, value in _WAYS
    ),
    Oddity(
        name="total_of_page",
        says="a list's total or count is that of the page",
        change=of_page(_own_count),
        faces=("encompass", "luxsci"),
        paths=LISTS,
    ),
    Oddity(
        name="count_with_list",
        says="an answer that only counts has an empty header and list, then the count",
        change=of_json(_with_an_empty_list),
        faces=("luxsci",),
        paths="/report/|/marketing/",
    ),
    *(
        Oddity(
            name=f"counter_{name}",
            says=f"a campaign's counter of events: {says}",
            change=_counters(value),
            faces=("constant_contact",),
            paths=_STATS,
            telling="" if name in _TELLING else "$^",
            changes_values=True,
        )
        for name, says, value in _WAYS
    ),
    Oddity(
        name="stats_left_out",
        says="one of the campaigns or activities left out of the stats",
        change=of_json(_left_out),
        faces=("constant_contact",),
        paths="/stats/",
    ),
    Oddity(
        name="stats_among_errors",
        says="one of the campaigns or activities among the errors of the stats",
        change=of_json(_among_errors),
        faces=("constant_contact",),
        paths="/stats/",
    ),
    Oddity(
        name="stats_nan",
        says="NaN in a number of the stats",
        change=_not_a_number,
        faces=("constant_contact",),
        paths="/stats/",
    ),
)
