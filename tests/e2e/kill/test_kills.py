"""A few kills of tap and target under the real Meltano, as in `make kill-test`.

The queries of the page on differing numbers are run on the resulting database.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from tests.e2e.kill.kills import SCHEMA, TAP, TRIES, VICTIMS, KillTest, Outcome
from tests.support.pages import DOCS, blocks
from tests.support.postgres import Postgres
from tests.support.project import CommandFailedError
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first two kills of this seed come soon after the first request: of the target, and
# of everything.
KILLS, SEED = 2, 2255
DISAGREE, HELD = (
    block.text for block in blocks(DOCS / "screen.md") if block.language == "sql"
)
# The simulated clock is days behind that of this machine.
DISAGREE = DISAGREE.replace(
    "now()", "(select max(checked_at) from email_metrics_reconciliation)"
)


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Postgres, Outcome]]:
    folder = tmp_path_factory.mktemp("kills")
    with (
        Postgres(folder / "postgres") as postgres,
        World(folder, seed=SEED, size=4, campaigns=2, luxsci=5, largest=120) as world,
    ):
        yield postgres, KillTest(folder, world, postgres, SEED).run(KILLS)


def ask(postgres: Postgres, *statements: str) -> list[dict[str, Any]]:
    """Run statements; return the rows of the last one."""
    path = sql.SQL("set search_path to {}").format(sql.Identifier(SCHEMA))
    url = postgres.sqlalchemy_url.replace("+psycopg", "")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(path)
        for statement in statements:
            found = connection.execute(statement.encode())
        return found.fetchall()


def test_only_runs_that_were_killed_count_as_kills() -> None:
    outcome = Outcome(SEED)
    ends = iter(
        [
            (0, "", "mid_run"),
            (1, TAP, "mid_run"),
            (0, "everything", "mid_run"),  # the kill came too late
            (1, "", "mid_run"),  # the run failed by itself
            (-9, "everything", "before_first_record"),
        ]
    )
    said = [outcome.count(*next(ends)) for _ in outcome.runs(2)]
    assert said == [
        "nothing (ended)",
        f"{TAP} (mid run)",
        "nothing (ended)",
        "nothing (failed)",
        "everything (before first record)",
    ]
    line = json.loads(outcome.line())
    assert line.pop("victims") == {TAP: 1, "everything": 1}
    assert (line["kills"], line["ended"], line["failed"]) == (2, 2, 1)
    assert (line["before_first_record"], line["mid_run"]) == (1, 1)


def test_the_test_gives_up_after_many_runs_without_a_kill() -> None:
    outcome = Outcome(SEED)
    runs = outcome.runs(2)
    for _ in range(2 * TRIES):
        next(runs)
        outcome.count(0, "", "mid_run")
    with pytest.raises(CommandFailedError, match="0 of 6 runs were killed, not 2: 6"):
        next(runs)


@pytest.mark.meltano
def test_postgres_holds_the_truth_after_kills(killed: tuple[Postgres, Outcome]) -> None:
    _, found = killed
    assert found.differences == []
    assert found.kills == found.victims.total() == KILLS
    assert found.before_first_record + found.mid_run == KILLS
    assert found.victims.keys() <= VICTIMS.keys()
    assert found.failed == 0
    assert found.rows > 0


@pytest.mark.meltano
def test_the_documented_query_finds_a_list_that_differs(
    killed: tuple[Postgres, Outcome],
) -> None:
    postgres, _ = killed
    assert "max(checked_at)" in DISAGREE
    assert "differs" not in {row["verdict"] for row in ask(postgres, DISAGREE)}
    found = ask(
        postgres,
        "update email_metrics_reconciliation set verdict = 'differs'"
        " where stream = 'encompass_clicks'",
        DISAGREE,
    )
    assert {r["stream"] for r in found if r["verdict"] == "differs"} == {
        "encompass_clicks"
    }


@pytest.mark.meltano
def test_the_documented_query_finds_a_table_that_lost_rows(
    killed: tuple[Postgres, Outcome],
) -> None:
    postgres, _ = killed
    before = {row["parent"]: row for row in ask(postgres, HELD)}
    [gone, *_] = ask(postgres, "delete from encompass_opens returning message_id, id")
    after = {row["parent"]: row for row in ask(postgres, HELD)}
    lost = str(gone["message_id"])
    assert lost not in before
    assert after[lost]["in_table"] < after[lost]["rows_read"]
