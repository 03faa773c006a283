"""The dbt tests find broken marts and a schema without streams."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from simulator.truth import truth
from simulator.world import World
from tests.e2e.transform.test_transform import NOW, STEPS, first_load, run_dbt
from tests.support.world import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.transform.expected import Row

pytestmark = pytest.mark.meltano

#: Statements that break the marts, by the one test that finds it.
BREAKS = {
    "unique_email_events_event_key": (
        "insert into email_events select * from email_events "
        "where event_type = 'clicked' order by event_key limit 1"
    ),
    "not_null_email_events_event_key": (
        "insert into email_events (provider, account, event_type, stream) "
        "values ('encompass', '10055', 'sent', 'x')"
    ),
    "accepted_values_email_events_event_type": (
        "insert into email_events (event_key, provider, account, event_type, stream) "
        "values ('new', 'encompass', '10055', 'licked', 'x')"
    ),
    "relationships_email_events_message_key": (
        "insert into email_events "
        "(event_key, provider, account, event_type, stream, message_key) "
        "values ('lost', 'encompass', '10055', 'sent', 'x', 'no message')"
    ),
    "no_event_is_missing": (
        "delete from email_events where event_key = "
        "(select max(event_key) from email_events where event_type = 'opened')"
    ),
    "not_null_email_message_daily_message_key": (
        "update email_message_daily set message_key = null where rowid = 0"
    ),
}
ONE_MORE = (
    "update email_message_daily set event_count = event_count + 1 where rowid = 1"
)
USE = "use email_marts"
EVENTS = ["email_events", "email_message_daily"]
Failing = dict[str, list[Any]]


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Failing, ...]:
    """Return the failures by test, in four builds.

    They are of intact marts, of a wrong sum, of all breaks, and of the alerts.
    """
    folder = tmp_path_factory.mktemp("broken")
    world = World.generate(7, 2, NOW, days_ahead=30, campaigns=2, luxsci=10)
    load = first_load({stream: truth(world, stream, [NOW]) for stream in KEYS})
    for stream, row in runs():
        load.add(stream, row)
    load.write(folder / "load")
    files = [folder / f"{number}.json" for number in range(4)]
    steps: list[dict[str, Any]] = [
        {"load": str(folder / "load")},
        {"dbt": ["seed"]},
        {"dbt": ["run"]},
        {"test": str(files[0]), "select": EVENTS},
        {"sql": [USE, ONE_MORE]},
        {"test": str(files[1]), "select": EVENTS},
        {"sql": [USE, *BREAKS.values()]},
        {"test": str(files[2]), "select": EVENTS},
        {"test": str(files[3]), "select": ["tag:alert"]},
    ]
    steps = [{"database": str(folder / "one.duckdb"), **step} for step in steps]
    (folder / "steps.json").write_text(json.dumps(steps))
    run_dbt(folder, "dbt", STEPS, folder / "steps.json", DBT_TARGET="duckdb")
    return tuple(json.loads(file.read_text()) for file in files)


def runs() -> Iterator[tuple[str, Row]]:
    """Yield runs, some of which must raise an alert, and a list that differs."""
    now = datetime.now(UTC)
    for name, hours, outcome, headroom in (
        ("opens", 30, "complete", 20.0),
        ("clicks", 100, "complete", 5.0),
        ("bounces", 1, "complete", 170.0),
        ("delivers", 1, "paused", None),
        ("links", 1, "unavailable", None),
        ("recipients", -1000, "complete", 170.0),
    ):
        at = (now - timedelta(hours=hours)).replace(tzinfo=None).isoformat()
        run: Row = {"account": "10055", "provider": "encompass", "run": at}
        run |= {"stream": f"encompass_{name}", "outcome": outcome, "backfill": False}
        run |= {"started_at": at, "finished_at": at, "headroom_days": headroom}
        yield "email_metrics_runs", run
    for parent, verdict in (("1", "differs"), ("2", "equal"), ("3", "unsettled")):
        row = {"account": "10055", "run": "1", "provider": "encompass"}
        row |= {"stream": "encompass_opens", "parent": parent, "verdict": verdict}
        yield "email_metrics_reconciliation", row


def test_alerts_are_raised_for_late_failed_and_differing_streams(
    failing: tuple[Failing, ...],
) -> None:
    """Each alert counts its streams or lists, and only the worst alerts fail."""
    assert failing[3] == {
        "a_stream_is_late": ["warn", 2],
        "a_stream_is_very_late": ["fail", 1],
        "a_stream_was_never_complete": ["warn", 1],
        "archive_headroom_is_low": ["warn", 2],
        "archive_headroom_is_nearly_used_up": ["fail", 1],
        "a_run_is_in_the_future": ["fail", 1],
        "archive_headroom_was_measured_in_the_future": ["fail", 1],
        "a_list_has_other_rows_than_the_vendor_counts": ["warn", 1],
    }


def test_intact_marts_pass_every_test(failing: tuple[Failing, ...]) -> None:
    assert failing[0] == {}


def test_a_wrong_sum_is_found(failing: tuple[Failing, ...]) -> None:
    [(name, (_, rows))] = failing[1].items()
    assert name.startswith("same_sum_email_message_daily_event_count")
    assert rows == 1


@pytest.mark.parametrize("name", BREAKS)
def test_each_break_of_a_mart_is_found_by_its_test(
    failing: tuple[Failing, ...], name: str
) -> None:
    found = [rows for test, (_, rows) in failing[2].items() if test.startswith(name)]
    assert found == [1]


def test_a_schema_without_a_stream_is_refused(tmp_path: Path) -> None:
    """Otherwise all marts would be empty and pass."""
    step = {"database": str(tmp_path / "empty.duckdb"), "dbt": ["build"]}
    (tmp_path / "steps.json").write_text(json.dumps([step]))
    with pytest.raises(AssertionError, match="Schema elsewhere holds no stream"):
        run_dbt(
            *(tmp_path, "dbt", STEPS, tmp_path / "steps.json"),
            DBT_TARGET="duckdb",
            EMAIL_METRICS_SCHEMA="elsewhere",
        )
