"""The report: databases that cannot be read, odd texts, and rare rows."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from typing import TYPE_CHECKING

import duckdb
import pytest

from tap_email_metrics.report.charts import trend
from tap_email_metrics.report.command import main, text_of, write
from tap_email_metrics.report.marts import Marts, MartsError, plain
from tests.e2e.transform.picture import PICTURE, digest, said

if TYPE_CHECKING:
    from pathlib import Path


UNKNOWN_RATES: dict[str, object] = dict.fromkeys(
    ("human_open_rate", "open_rate", "human_click_rate", "click_rate")
)


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
        "postgresql://reader:1/canary@127.0.0.1/email",
        "postgresql://reader:1@canary@127.0.0.1/email",
        "host=127.0.0.1 password=canary" + " " * 300,
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
    row = {**UNKNOWN_RATES, "provider": "encompass", "name": text, "open_rate": 0.5}
    assert "mailbox full, opened, all: 50.0 %" in trend([row])


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
    one = {**UNKNOWN_RATES, "provider": "luxsci", "name": "one", "open_rate": 0.5}
    two = one | {"name": "two", "human_open_rate": 0.25, "open_rate": 1}
    drawn = trend([one, two])
    assert drawn.count("<circle") == 3
    assert "two, opened, people: 25.0 %" in drawn
    assert "None" not in drawn


def test_small_rates_fill_a_chart_of_their_own_scale() -> None:
    one = {**UNKNOWN_RATES, "provider": "luxsci", "name": "one"}
    rates = {"human_click_rate": 0.01, "click_rate": 0.02, "open_rate": 0.3}
    drawn = trend([one | rates])
    marks = re.findall(r">([\d.]+) %</text>", drawn)
    assert " ".join(marks) == "0 25 50 0 2.5 5"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_of_text_have_the_contrast_of_wcag_level_aa(mode: str) -> None:
    page = files("tap_email_metrics.report").joinpath("page.html.j2").read_text()
    light, dark = re.findall(r":root \{([^}]*--page[^}]*)\}", page)
    colours = dict(re.findall(r"--(\w+): #(\w{6})", light if mode == "light" else dark))
    behind = colours.pop("page")
    for name in ("text", "quiet", "encompass", "constant_contact", "luxsci", "all"):
        assert contrast(colours[name], behind) >= 4.5, name


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4
        for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "tap_email_metrics.report.marts")
    with pytest.raises(SystemExit) as ended:
        text_of("any.duckdb", "email_marts", 7)
    assert "pip install 'tap-email-metrics[report]'" in str(ended.value.code)
    assert "duckdb" in str(ended.value.code)


@pytest.mark.parametrize("days", ["0", "-1", "3651", "999999999999"])
def test_a_number_of_days_outside_the_calendar_is_refused(
    days: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "--database", "x", "--days", days])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--days must be 1 to 3650." in capsys.readouterr().err


def test_the_picture_in_the_readme_shows_the_present_report() -> None:
    """If this fails, run `python -m tests.e2e.transform.picture`."""
    assert said(PICTURE.read_bytes()) == digest()
