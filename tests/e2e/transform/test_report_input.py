"""The report: databases that cannot be read, odd texts, and rare rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import duckdb
import pytest

from tap_email_metrics.report.charts import trend
from tap_email_metrics.report.command import text_of, write
from tap_email_metrics.report.marts import Marts, MartsError, plain
from tests.e2e.transform.picture import PICTURE, digest, said

if TYPE_CHECKING:
    from pathlib import Path


def error_of(database: object) -> str:
    """Return the error of a query of this database."""
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
def test_an_argument_that_is_not_a_database_is_refused_without_quoting_it(
    database: str,
) -> None:
    found = error_of(database)
    assert "URL of" in found
    assert "canary" not in found
    assert "dbt" not in found


def test_an_unreachable_server_is_an_error_that_does_not_mention_dbt() -> None:
    found = error_of("postgresql://reader@127.0.0.1:1/email")
    assert found.startswith("The database cannot be read: ")
    assert "dbt" not in found


def test_a_file_without_marts_is_an_error_that_mentions_dbt(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    assert "Build them with dbt first" in error_of(tmp_path / "empty.duckdb")
    (tmp_path / "text").write_text("no database")
    assert "dbt" not in error_of(tmp_path / "text")


@pytest.mark.parametrize("character", "\0\x1b\x85\u2028\u202e\ufffe\n")
def test_a_character_that_svg_cannot_hold_becomes_a_space(character: str) -> None:
    text = plain(f"mailbox{character}full")
    assert text == "mailbox full"
    row = {"provider": "encompass", "name": text, "open_rate": 0.5}
    assert "mailbox full, all: 50.0 %" in trend([row | {"human_open_rate": None}])


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "report.html"):
        with pytest.raises(SystemExit, match="The report cannot be written: ") as ended:
            write("", out)
        assert str(tmp_path) in str(ended.value.code)
    out = tmp_path / "new" / "report.html"
    write("a report", out)
    assert out.read_text() == "a report"


def test_an_unknown_rate_has_no_dot() -> None:
    rows: list[dict[str, object]] = [
        {
            "provider": "luxsci",
            "name": "one",
            "human_open_rate": None,
            "open_rate": 0.5,
        },
        {"provider": "luxsci", "name": "two", "human_open_rate": 0.25, "open_rate": 1},
    ]
    drawn = trend(rows)
    assert drawn.count("<circle") == 3
    assert "two, human: 25.0 %" in drawn
    assert "None" not in drawn


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "tap_email_metrics.report.marts")
    with pytest.raises(SystemExit) as ended:
        text_of("any.duckdb", "email_marts", 7)
    assert "pip install 'tap-email-metrics[report]'" in str(ended.value.code)
    assert "duckdb" in str(ended.value.code)


def test_the_picture_in_the_readme_shows_the_present_report() -> None:
    """If this fails, run `python -m tests.e2e.transform.picture`."""
    assert said(PICTURE.read_bytes()) == digest()
