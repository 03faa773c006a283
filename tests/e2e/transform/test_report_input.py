"""What the report does with no database, with texts of any kind, and with rare rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from tap_email_metrics.report.__main__ import write
from tap_email_metrics.report.charts import bounces, svg
from tap_email_metrics.report.marts import Marts, MartsError, plain
from tap_email_metrics.report.sections import BOUNCES, FUNNEL

if TYPE_CHECKING:
    from pathlib import Path

    from tap_email_metrics.report.marts import Rows


def said(database: object) -> str:
    """Return the error that a query of this database ends in."""
    with pytest.raises(MartsError) as caught:
        Marts(str(database), "email_marts").read({"rows": "select * from email_events"})
    return str(caught.value)


@pytest.mark.parametrize(
    "database",
    [
        "",
        ":memory:",
        "postgresql+psycopg://reader:canary@127.0.0.1/email",
        "host=127.0.0.1 password=canary",
        "postgresql://reader:%xcanary@127.0.0.1/email",
    ],
)
def test_what_is_no_database_is_said_and_not_repeated(database: str) -> None:
    found = said(database)
    assert "URL of" in found
    assert "canary" not in found
    assert "dbt" not in found


def test_a_server_that_is_not_there_is_no_matter_of_dbt() -> None:
    found = said("postgresql://reader@127.0.0.1:1/email")
    assert found.startswith("The database cannot be read: ")
    assert "dbt" not in found


def test_a_file_without_marts_is(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    assert "Build them with dbt first" in said(tmp_path / "empty.duckdb")
    (tmp_path / "text").write_text("no database")
    assert "dbt" not in said(tmp_path / "text")


@pytest.mark.parametrize("character", "\0\x1b\x85\u2028\u202e\ufffe\n")
def test_a_character_that_no_chart_can_hold_is_a_space(character: str) -> None:
    text = plain(f"mailbox{character}full")
    assert text == "mailbox full"
    assert "mailbox full" in svg(
        bounces([{"provider": "encompass", "class": text, "bounces": 1}])
    )


def read(folder: Path, events: list[tuple[str, str | None, str | None]]) -> Rows:
    """Return what is shown of events, each a type, a recipient and a class."""
    database = str(folder / "marts.duckdb")
    with duckdb.connect(database) as connection:
        for schema in ("email_marts_staging", "email_marts"):
            connection.execute(f"create schema {schema}; use {schema}")
        connection.execute(
            "create table email_events (provider text, account text, message_key text,"
            " event_type text, recipient_key text, bounce_class text)"
        )
        connection.executemany(
            "insert into email_events values ('encompass', 'a', 'm', ?, ?, ?)", events
        )
    queries = {one.name: one.query for one in (BOUNCES, FUNNEL)}
    return Marts(database, "email_marts").read(queries)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "report.html"):
        with pytest.raises(SystemExit, match="The report cannot be written: ") as ended:
            write("", out)
        assert str(tmp_path) in str(ended.value.code)
    out = tmp_path / "new" / "report.html"
    write("a report", out)
    assert out.read_text() == "a report"


def test_rare_classes_of_bounces_are_added_up(tmp_path: Path) -> None:
    classes = [f"class {number:02}" for number in range(13) for _ in range(number)]
    found = read(tmp_path, [("bounced", "x", one) for one in [*classes, None]])
    shown = {row["class"]: row["bounces"] for row in found["bounces"]}
    assert shown.pop("all others") == 1 + 2 + 1
    assert shown == {f"class {number:02}": number for number in range(3, 13)}


def test_events_without_a_recipient_are_no_recipients(tmp_path: Path) -> None:
    found = read(tmp_path, [("opened", None, None)] * 2 + [("opened", "x", None)] * 3)
    [row] = found["funnel"]
    assert (row["recipients"], row["events"]) == (1, 5)
