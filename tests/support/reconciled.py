"""Compares the streams about runs, in a target, with the truth."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.support.comparison import SHOWN, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LISTS = "email_metrics_reconciliation"
RUNS = "email_metrics_runs"
#: The date by which a list of LuxSci is asked for.
DATES = {
    "luxsci_sent": "date_sent",
    "luxsci_opens": "open_date",
    "luxsci_clicks": "click_date",
}
ACTIVITIES = "constant_contact_campaign_activities"
#: Streams of Constant Contact that have a row a row of a list.
BY_CAMPAIGN = tuple(
    f"constant_contact_{name}"
    for name in (
        *("sends", "opens", "clicks", "forwards", "optouts", "bounces"),
        *("unique_opens", "links"),
    )
)


def complaints(
    held: Callable[[str], Iterable[Row]],
    truth: Callable[[str], Iterable[Row]],
    records: Sequence[Mapping[str, int]],
) -> list[str]:
    """Return the errors in the rows about lists and runs.

    Args:
        held: returns the target's rows of a stream.
        truth: returns the rows that the API shows of a stream at the last run.
        records: how many each run emitted, by stream, first run first.
    """
    found = list(_of_runs(held(RUNS), records))
    rows = list(held(LISTS))
    odd = [row for row in rows if row["verdict"] in {"differs", "unsettled"}]
    found += [f"{LISTS}: {row}" for row in odd[:SHOWN]]
    last = max((row["run"] for row in rows), default="")
    checked = 0
    for row in (row for row in rows if row["run"] == last):
        expected = _rows_of(row, truth)
        checked += expected is not None
        if expected not in {None, row["rows_read"]}:
            found.append(f"{LISTS}: {expected} rows in the truth: {row}")
    return found if checked else [*found, f"{LISTS}: no list of the last run"]


def verdicts(rows: Iterable[Row]) -> dict[str, int]:
    """Return the number of lists by verdict."""
    return dict(sorted(Counter(row["verdict"] for row in rows).items()))


def _of_runs(
    rows: Iterable[Row], records: Sequence[Mapping[str, int]]
) -> Iterator[str]:
    runs: dict[str, dict[str, int]] = {}
    for row in rows:
        runs.setdefault(row["run"], {})[row["stream"]] = row["records"]
    if [runs[name] for name in sorted(runs)] != [dict(one) for one in records]:
        yield f"{RUNS}: not what the {len(records)} run summaries say"


def _rows_of(row: Row, truth: Callable[[str], Iterable[Row]]) -> int | None:
    """Return the rows of a list in the truth, None if unknown."""
    stream, parent = row["stream"], row["parent"]
    if stream == "encompass_messages":
        return len(list(truth(stream)))
    if row["provider"] == "encompass":
        return _count(str(one["message_id"]) == parent for one in truth(stream))
    if stream in BY_CAMPAIGN:
        known = {one["campaign_activity_id"]: one for one in truth(ACTIVITIES)}
        owners = (known.get(one["campaign_activity_id"]) for one in truth(stream))
        return _count(one and one["campaign_id"] == parent for one in owners)
    if stream in DATES and "/" in parent:
        return _count(_is_in(one, DATES[stream], parent) for one in truth(stream))
    return None


def _count(fits: Iterable[object]) -> int:
    return sum(bool(one) for one in fits)


def _is_in(row: Mapping[str, Any], date: str, parent: str) -> bool:
    channel, _, time = parent.partition(" ")
    start, _, end = time.partition("/")
    # In seconds: the milliseconds of the rows are all 0.
    return bool(row["channel"] == channel and start[:19] <= row[date][:19] < end[:19])
