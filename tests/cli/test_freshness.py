"""Freshness of data: `tap-email-metrics-doctor` with limits and a state."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.doctor import main
from tap_email_metrics.freshness import Freshness, FreshnessLimits, judge, trouble
from tests.support.cli import write
from tests.support.constant_contact import Account
from tests.support.encompass import NOW, Site, site_of
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from pathlib import Path

DAILY = FreshnessLimits(max_hours=26)
HOUR = 1 / 24


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def judged(site: Site, limits: FreshnessLimits = DAILY) -> dict[str, Freshness]:
    site.world.log.reset()
    found = {one.stream: one for one in judge(site.tap(), limits)}
    assert site.world.log.count() == 0
    return found


def stale(site: Site, limits: FreshnessLimits = DAILY) -> set[str]:
    return {name for name, one in judged(site, limits).items() if one.problems}


# When a stream counts as fresh


@pytest.mark.parametrize("kind", [Site, Account, Clinic])
def test_every_stream_is_fresh_after_a_run_and_stale_after_a_day(
    kind: type[Site],
) -> None:
    site = kind(World.generate(3, 6, NOW, campaigns=3, luxsci=8, days_ahead=0))
    site.sync()
    selected = {stream.name for stream in site.tap().selected()}
    assert judged(site).keys() == selected
    assert stale(site) == set()
    site.advance(25 * HOUR)
    assert stale(site) == set()
    site.advance(2 * HOUR)
    assert stale(site) == selected
    assert all(one.hours == pytest.approx(27, abs=0.2) for one in judged(site).values())


def test_a_stream_that_later_runs_do_not_read_becomes_stale() -> None:
    site, _ = site_of(3, 40)
    site.sync()
    site.advance(2)
    site.sync(streams=("messages", "opens"))
    fresh = judged(site).keys() - stale(site)
    assert fresh == {"encompass_messages", "encompass_opens"}


def test_a_refused_run_makes_no_stream_fresh() -> None:
    site, _ = site_of(3)
    site.sync()
    site.advance(2)
    site.settings["client_secret"] = "another"
    assert site.sync().code == 2
    assert "encompass_opens" in stale(site)


def test_a_stream_with_one_failing_list_is_fresh() -> None:
    """The run summary reports the list: it must not raise an alarm for ever."""
    site, [first, _] = site_of(3, 4)
    site.sync()
    site.advance(2)
    site.world.faults.add("status", message_id=first, path="/opens$", status=404)
    outcome = site.sync().reports["encompass_opens"]
    assert (outcome["outcome"], outcome["failed"]) == ("incomplete", [first])
    assert "encompass_opens" not in stale(site)


def test_a_run_that_pauses_before_its_due_lists_makes_no_stream_fresh() -> None:
    site, _ = site_of(3, 4, 5, 6)
    site.sync()
    site.advance(2)
    site.settings["daily_requests"] = 3
    assert site.sync().reports["encompass_clicks"]["outcome"] == "paused"
    assert "encompass_clicks" in stale(site)


def test_a_backfill_makes_no_stream_fresh() -> None:
    site, _ = site_of(3, 40)
    site.sync()
    site.advance(2)
    before = stale(site)
    interval = {"start_date": "2026-08-01", "end_date": "2026-09-01"}
    site.common |= {"backfill": True, **interval}
    site.sync()
    assert stale(site) == before


def test_a_read_in_the_future_is_reported_as_a_wrong_clock() -> None:
    site, _ = site_of(3)
    site.sync()
    site.entry("opens")["read_all_due"] = iso(NOW + 3600)
    [problem] = judged(site)["encompass_opens"].problems
    assert problem == "read in the future: check this machine's clock"


# Headroom


def test_headroom_is_the_time_until_the_archive_takes_unread_rows() -> None:
    site, _ = site_of(3)
    site.sync()
    limits = FreshnessLimits(min_headroom_days=30)
    assert stale(site, limits) == set()
    site.advance(151)
    found = judged(site, limits)
    assert found["encompass_opens"].headroom_days == pytest.approx(29, abs=0.1)
    assert found["encompass_messages"].headroom_days is None
    assert stale(site, limits) == {
        f"encompass_{kind}" for kind in ("opens", "clicks", "bounces", "delivers")
    }


def test_only_encompass_has_headroom() -> None:
    account = Account(World.generate(3, 0, NOW, campaigns=2, days_ahead=0))
    account.sync()
    account.advance(999)
    assert stale(account, FreshnessLimits(min_headroom_days=30)) == set()


# The command


def called(folder: Path, state: object, *options: str) -> Any:
    logging.disable(logging.INFO)
    config = write(folder, "config.json", site_of()[0].config())
    file = write(folder, "state.json", state)
    arguments = ["--config", str(config), "--state", str(file), *options]
    return CliRunner().invoke(main, arguments)


def state_of(hours: float) -> dict[str, Any]:
    """Return a state whose opens were read `hours` hours ago."""
    site, _ = site_of(3)
    site.sync(streams=("opens",))
    read = datetime.now(UTC) - timedelta(hours=hours)
    site.entry("opens")["read_all_due"] = iso(read.timestamp())
    site.entry("opens")["checked_through"] = iso(read.timestamp())
    return site.state


def test_fresh_data_is_exit_code_0(tmp_path: Path) -> None:
    limits = ("--max-hours", "26", "--min-headroom-days", "30")
    result = called(tmp_path, state_of(2), *limits)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "encompass_opens: read 2.0 hours ago, 179.9 days of headroom\n"
    )


def test_stale_data_is_exit_code_1_and_one_line(tmp_path: Path) -> None:
    result = called(tmp_path, state_of(30), "--max-hours", "26")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: encompass_opens: read 30.0 hours ago, more than 26\n"
    )
    result = called(tmp_path, state_of(24 * 170), "--min-headroom-days", "30")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: encompass_opens: 10.0 days of headroom, less than 30\n"
    )


def test_json_output_is_one_object(tmp_path: Path) -> None:
    result = called(tmp_path, state_of(30), "--max-hours", "26", "--json")
    said = json.loads(result.stdout)
    assert (said["event"], said["exit_code"], result.exit_code) == ("freshness", 1, 1)
    opens = said["streams"]["encompass_opens"]
    assert opens["hours"] == pytest.approx(30, abs=0.1)
    assert opens["problems"] == ["read 30.0 hours ago, more than 26"]


def test_a_stream_that_the_catalog_leaves_out_is_not_stale(tmp_path: Path) -> None:
    site, _ = site_of(3)
    catalog = site.tap().catalog_dict
    for stream in catalog["streams"]:
        [of_stream] = [e for e in stream["metadata"] if e["breadcrumb"] == []]
        of_stream["metadata"]["selected"] = stream["stream"] == "encompass_messages"
    site.sync(streams=("messages", "opens"))
    for name, hours in (("messages", 2), ("opens", 30)):
        read = datetime.now(UTC) - timedelta(hours=hours)
        site.entry(name)["read_all_due"] = iso(read.timestamp())
    assert called(tmp_path, site.state, "--max-hours", "26").exit_code == 1
    file = write(tmp_path, "catalog.json", catalog)
    options = ("--max-hours", "26", "--catalog", str(file))
    result = called(tmp_path, site.state, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "encompass_messages: read 2.0 hours ago\n"


def test_a_state_as_meltano_prints_it_is_accepted(tmp_path: Path) -> None:
    result = called(tmp_path, {"singer_state": state_of(2)}, "--max-hours", "26")
    assert result.exit_code == 0
    assert "encompass_opens" in result.stdout


def test_a_state_without_the_streams_is_stale(tmp_path: Path) -> None:
    result = called(tmp_path, {}, "--max-hours", "26")
    assert result.exit_code == 1
    assert "the state has none of the selected streams" in result.stderr


def test_a_stream_that_was_never_read_to_the_end_is_stale() -> None:
    never = Freshness("s", None, None, ("no run has read it completely",))
    assert trouble([never]) == "s: no run has read it completely"
    assert str(never) == "s: never read completely"
    site, _ = site_of(3)
    site.sync()
    del site.entry("opens")["read_all_due"]
    assert judged(site)["encompass_opens"].problems == never.problems


def test_limits_without_a_state_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path, "config.json", site_of()[0].config())
    for option in ("--max-hours", "--min-headroom-days"):
        result = CliRunner().invoke(main, ["--config", str(config), option, "1"])
        assert result.exit_code == 2
        assert "need --state" in result.stderr


@pytest.mark.parametrize(
    "state",
    [
        {"bookmarks": {"other_tap": {}}},
        {"bookmarks": {"encompass_opens": {"read_all_due": 12}}},
        {"singer_state": []},
    ],
)
def test_a_damaged_state_is_exit_code_2(tmp_path: Path, state: object) -> None:
    result = called(tmp_path, state, "--max-hours", "26")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
