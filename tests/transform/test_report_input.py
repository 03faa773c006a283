"""What the report does with a database that is none, and with texts of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from report.charts import bounces, svg
from report.marts import Marts, MartsError, plain

if TYPE_CHECKING:
    from pathlib import Path


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
