"""The doctor: its report on accounts with and without trouble."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import requests
from click.testing import CliRunner

from simulator.adapter import SimulatorAdapter
from simulator.server import serve
from simulator.world import World
from tap_email_metrics.doctor import (
    Doctor,
    _cost,
    _streams,
    as_json,
    as_text,
    main,
)
from tests.support.cli import COMMAND, config, small_world, write
from tests.support.constant_contact import Account
from tests.support.encompass import NOW, STREAMS, Site
from tests.support.luxsci import Clinic

DAY = 86_400.0
CANARY = "canary-4711"
Report = dict[str, Any]


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def world() -> World:
    return World.generate(3, 6, NOW, campaigns=3, luxsci=8, days_ahead=0)


def examined(*sites: Site, transport: Any = None, state: bool = False) -> Report:
    """Examine accounts of one world together and check that text and JSON agree."""
    first, *others = sites
    first.common |= {site.provider: site.settings for site in others}
    first.world.log.reset()
    tap = first.tap(transport=transport)
    before = json.dumps(tap.state)
    doctor = Doctor(tap, has_state=state)
    found = doctor.examine()
    report = as_json(found, doctor.exit_code(found), first.world.clock.now())
    text = click.unstyle("\n".join(as_text(report)))
    said = text + json.dumps(report)
    for site in sites:
        for name in ("client_secret", "refresh_token", "secret", "token", "password"):
            assert site.settings.get(name, CANARY) not in said
    assert "@" not in said
    assert not tap.output._buffer  # noqa: SLF001 - no message was written
    assert state or "bookmarks" in before or before == "{}"
    for one in report["providers"].values():
        for stream, finding in one["streams"].items():
            assert stream in text
            assert finding["access"] in text
    return report


def access(report: Report, provider: str) -> dict[str, str]:
    streams = report["providers"][provider]["streams"]
    return {
        name.removeprefix(f"{provider}_"): finding["access"]
        for name, finding in streams.items()
    }


# Good accounts


@pytest.mark.parametrize(
    ("kind", "most"), [(Site, 8), (Account, 16), (Clinic, 34)], ids=str
)
def test_an_account_without_trouble_is_reported_well_with_few_requests(
    kind: type[Site], most: int
) -> None:
    site = kind(world())
    report = examined(site)
    said = report["providers"][site.provider]
    assert report["exit_code"] == 0
    assert (said["outcome"], said["problems"]) == ("well", [])
    assert set(access(report, site.provider).values()) == {"allowed"}
    assert abs(said["clock_skew_seconds"]) <= 1
    assert site.world.log.count() <= most
    for estimate in said["estimates"].values():
        assert "measured: " in estimate["basis"]
        assert "assumed: " in estimate["basis"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Site, Account, Clinic])
def test_estimated_requests_are_close_to_those_of_a_run(kind: type[Site]) -> None:
    site = kind(world())
    if kind is Clinic:
        site.common["start_date"] = "2026-08-20"
    first = examined(site)["providers"][site.provider]["estimates"]
    assert first["next_run"]["requests"] == first["backfill"]["requests"]
    taken = site.sync().requests
    # A list that changed is read twice, a campaign may have a second activity, and
    # windows grow faster than the estimate assumes.
    assert 0.6 * taken <= first["backfill"]["requests"] <= 1.4 * taken
    site.advance(1)
    again = examined(site, state=True)["providers"][site.provider]["estimates"]
    taken = site.sync().requests
    assert 0.6 * taken <= again["next_run"]["requests"] <= 1.4 * taken


def test_the_doctor_sends_one_request_of_each_kind() -> None:
    site = Site(world())
    examined(site)
    counts = {path: n for (_, path, _), n in site.world.log.counts().items()}
    kinds = [stream.removeprefix("encompass_") for stream in STREAMS[1:]]
    lists = [f"/v2/messages/{{id}}/{kind}" for kind in kinds]
    assert counts == {
        "/apiservices/authenticate": 1,
        "/v2/messages": 1,
        **dict.fromkeys(lists, 1),
    }


def test_without_a_message_no_list_is_requested() -> None:
    report = examined(Site(World(NOW)))
    assert report["exit_code"] == 0
    found = access(report, "encompass")
    assert (found["messages"], found["opens"]) == ("allowed", "not asked")
    said = report["providers"]["encompass"]
    assert "there is no message yet, so no list was checked" in said["notes"]


def test_estimated_hours_and_days_follow_from_the_limits() -> None:
    clinic = Clinic(world(), requests_per_minute=60, daily_requests=800)
    estimate = examined(clinic)["providers"]["luxsci"]["estimates"]["backfill"]
    requests = estimate["requests"]
    assert requests > 800
    assert estimate["hours"] == round(requests / 3600, 2)
    left = 800 - clinic.world.log.count()
    days = 1 + (requests - left) / 800
    assert estimate["days"] == pytest.approx(days, abs=0.02)


@pytest.mark.parametrize(
    ("requests", "rate", "days", "expected"),
    [
        (86, 10.0, 0.0, "86 requests, about 9 seconds (measured)"),
        (2, 10.0, 0.0, "2 requests, about a second (measured)"),
        (3_400, 1.0, 0.1, "3,400 requests, about 57 minutes (measured)"),
        (
            90_000,
            4.0,
            9.4,
            "90,000 requests, about 6.2 hours of reading, done in 9.4 days (measured)",
        ),
    ],
)
def test_an_estimate_is_shown_in_a_readable_unit(
    requests: int, rate: float, days: float, expected: str
) -> None:
    estimate = {"requests": requests, "days": days, "basis": "measured"}
    assert _cost(estimate, rate) == expected


def test_streams_with_nothing_to_report_share_a_line() -> None:
    def finding(access: str, *why: str) -> dict[str, Any]:
        return {"access": access, "headroom_days": None, "why": list(why)}

    streams = {
        "a": finding("allowed"),
        "b": finding("denied", "403"),
        "c": finding("allowed"),
        "d": finding("allowed") | {"headroom_days": 3},
    }
    assert list(_streams(streams)) == [
        "  allowed: a, c",
        "  b  denied; 403",
        "  d  allowed; 3 days of headroom",
    ]


def test_requests_of_the_doctor_count_in_the_ledger() -> None:
    clinic = Clinic(world(), daily_requests=1000)
    first = examined(clinic)["providers"]["luxsci"]["limits"]["left_today"]
    second = examined(clinic)["providers"]["luxsci"]["limits"]["left_today"]
    asked = clinic.world.log.count()
    assert (first, second) == (1000 - asked, 1000 - 2 * asked)


# State


@pytest.mark.slow
def test_headroom_comes_from_the_state() -> None:
    site = Site(world())
    note = "pass --state to see the archive headroom"
    said = examined(site)["providers"]["encompass"]
    assert note in said["notes"]
    site.sync()
    site.advance(30)
    said = examined(site, state=True)["providers"]["encompass"]
    assert note not in said["notes"]
    assert 145 <= said["streams"]["encompass_opens"]["headroom_days"] <= 151
    assert said["streams"]["encompass_links"]["headroom_days"] is None


@pytest.mark.parametrize(("setting", "code"), [("warn", 0), ("fail", 1)])
def test_an_archive_gap_is_reported_with_the_exit_code_of_a_run(
    setting: str, code: int
) -> None:
    site = Site(world())
    site.sync()
    site.advance(200)
    site.settings["on_archive_gap"] = setting
    before = json.dumps(site.state)
    report = examined(site, state=True)
    assert report["exit_code"] == code
    said = report["providers"]["encompass"]
    [text] = [t for t in said["notes"] + said["problems"] if "encompass_opens" in t]
    assert "were archived and may be gone unread" in text
    assert bool(said["problems"]) == (setting == "fail")
    assert json.dumps(site.state) == before
    # A run with that setting has the same exit code.
    assert site.sync().code == code


# Accounts that are not well


@pytest.mark.parametrize(
    ("kind", "setting", "said"),
    [
        (Site, "client_secret", "check encompass.client_secret"),
        (Account, "client_secret", "check constant_contact.client_id"),
        (Account, "refresh_token", "authorise again"),
        (Clinic, "secret", "check luxsci.secret"),
    ],
)
def test_a_refused_secret_names_the_setting_to_check(
    kind: type[Site], setting: str, said: str
) -> None:
    site = kind(world())
    site.settings[setting] = CANARY
    report = examined(site)
    one = report["providers"][site.provider]
    assert (report["exit_code"], one["outcome"]) == (2, "refused")
    assert said in one["message"]
    assert set(access(report, site.provider).values()) == {"not asked"}
    assert one["estimates"] == {"next_run": None, "backfill": None}
    assert site.sync().code == 2


def test_a_missing_scope_names_the_streams_that_need_it() -> None:
    account = Account(world())
    scopes = "campaign_data offline_access"
    account.settings["refresh_token"] = account.api.consent(scopes)
    report = examined(account)
    found = access(report, "constant_contact")
    assert report["exit_code"] == 0
    assert found["opens"] == found["campaigns"] == "allowed"
    denied = {name for name, one in found.items() if one == "denied"}
    assert denied == {
        *("contacts", "contact_lists", "contact_tags", "contact_custom_fields"),
        *("segments", "account"),
    }
    why = report["providers"]["constant_contact"]["streams"]
    assert "lacks the scope contact_data" in why["constant_contact_contacts"]["why"][0]
    assert "lacks the scope account_read" in why["constant_contact_account"]["why"][0]


def test_a_missing_privilege_names_the_streams_that_need_it() -> None:
    account = Account(world())
    account.api.set_policy(privileges=("campaign:read", "contacts:read"))
    report = examined(account)
    said = report["providers"]["constant_contact"]
    assert said["facts"]["privileges"]["ui:campaign:metrics"] is False
    assert said["facts"]["privileges"]["campaign:read"] is True
    finding = said["streams"]["constant_contact_campaign_summaries"]
    assert finding["access"] == "denied"
    assert "lacks the privilege ui:campaign:metrics" in finding["why"][0]
    assert access(report, "constant_contact")["contacts"] == "allowed"


def test_encompass_lists_that_are_denied_missing_or_failing_are_reported() -> None:
    site = Site(world())
    site.world.faults.add("status", status=403, path="/clicks$")
    site.world.faults.add("status", status=404, path="/delivers$")
    site.world.faults.add("status", status=500, path="/bounces$")
    report = examined(site)
    found = access(report, "encompass")
    assert found["opens"] == "allowed"
    assert (found["clicks"], found["delivers"]) == ("denied", "missing")
    assert found["bounces"] == "failed"
    assert report["exit_code"] == 1


def test_luxsci_reports_that_are_denied_or_missing_are_reported() -> None:
    clinic = Clinic(world())
    clinic.world.faults.add("status", status=404, path="/email/smtp/tempfail$")
    clinic.world.faults.add("status", status=403, path="/email/fbl$")
    clinic.world.faults.add("status", status=403, path="/email/webmail/opens$")
    report = examined(clinic)
    found = access(report, "luxsci")
    assert report["exit_code"] == 0
    assert found["temporary_failures"] == "missing"
    assert (found["complaints"], found["opens"]) == ("denied", "allowed")
    streams = report["providers"]["luxsci"]["streams"]
    [why] = streams["luxsci_temporary_failures"]["why"]
    assert "luxsci.path_overrides.getEmailSMTPTempFailReportAccount" in why
    [why] = streams["luxsci_opens"]["why"]
    assert "Allow getEmailWebMailOpenReportAccount" in why


class Skewed(SimulatorAdapter):
    """Sends answers with another time than that of the world."""

    seconds = 300.0

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        response = super().send(*arguments, **options)
        moment = self._world.clock.now() + self.seconds
        response.headers["Date"] = formatdate(moment, usegmt=True)
        return response


@pytest.mark.parametrize(
    ("seconds", "how_far"),
    [(300, "5 minutes behind"), (-300, "5 minutes ahead of")],
)
def test_a_clock_that_is_minutes_off_is_a_note(seconds: float, how_far: str) -> None:
    site = Site(world())
    transport = Skewed(site.world)
    transport.seconds = seconds
    report = examined(site, transport=transport)
    said = report["providers"]["encompass"]
    assert said["clock_skew_seconds"] == pytest.approx(seconds, abs=1)
    assert f"this machine's clock is {how_far} the API's: set it" in said["notes"]
    assert (report["exit_code"], said["outcome"], said["problems"]) == (0, "well", [])


@pytest.mark.parametrize(
    ("seconds", "how_far"),
    [
        (4 * 3600, "4.0 hours behind"),
        (-20 * DAY, "20.0 days ahead of"),
        (20 * DAY, "20.0 days behind"),
    ],
)
def test_a_clock_that_is_hours_off_is_a_problem(seconds: float, how_far: str) -> None:
    site = Site(world())
    transport = Skewed(site.world)
    transport.seconds = seconds
    report = examined(site, transport=transport)
    said = report["providers"]["encompass"]
    problem = f"this machine's clock is {how_far} the API's: set it"
    assert said["problems"] == [problem]
    assert (report["exit_code"], said["outcome"]) == (1, "not well")
    text = click.unstyle("\n".join(as_text(report))).splitlines()
    assert text[0] == "encompass: not well"
    assert f"  clock: {how_far} the API's" in text
    assert f"  PROBLEM: {problem}" in text


def test_a_spent_quota_is_reported_with_its_reset_time() -> None:
    clinic = Clinic(world(), daily_requests=10)
    report = examined(clinic)
    one = report["providers"]["luxsci"]
    assert (report["exit_code"], one["outcome"]) == (0, "paused")
    assert "the budget of 2026-09-21 is spent" in one["message"]
    assert one["limits"]["left_today"] == 0
    assert one["limits"]["resets_at"] == "2026-09-22T00:00:00Z"
    assert clinic.world.log.count() <= 10
    found = set(access(report, "luxsci").values())
    assert found == {"allowed", "not asked"}


class Nowhere(SimulatorAdapter):
    """A network in which some hosts cannot be reached."""

    hosts: tuple[str, ...] = ()

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        request: requests.PreparedRequest = arguments[0]
        if urlsplit(request.url or "").hostname in self.hosts:
            raise requests.ConnectTimeout("no route", request=request)
        return super().send(*arguments, **options)


@pytest.mark.parametrize(
    ("host", "outcome", "code"),
    [("site.example.edu", "refused", 2), ("emapi.imodules.com", "failed", 1)],
)
def test_an_unreachable_host_is_named(host: str, outcome: str, code: int) -> None:
    site = Site(world())
    transport = Nowhere(site.world)
    transport.hosts = (host,)
    report = examined(site, transport=transport)
    one = report["providers"]["encompass"]
    assert (report["exit_code"], one["outcome"]) == (code, outcome)
    assert f"cannot connect to {host}" in one["message"]


def test_other_providers_are_examined_though_one_fails() -> None:
    shared = world()
    site, account, clinic = Site(shared), Account(shared), Clinic(shared)
    clinic.settings["secret"] = CANARY
    report = examined(site, account, clinic)
    outcomes = {name: one["outcome"] for name, one in report["providers"].items()}
    assert outcomes == {
        "encompass": "well",
        "constant_contact": "well",
        "luxsci": "refused",
    }
    assert report["exit_code"] == 1


def test_a_configured_backfill_is_a_note() -> None:
    site = Site(world())
    interval = {"start_date": "2026-09-01", "end_date": "2026-09-10"}
    site.common |= {"backfill": True, **interval}
    notes = examined(site)["providers"]["encompass"]["notes"]
    assert "backfill is set: the next run reads only its interval" in notes


# The command


def called(*arguments: str | Path, env: dict[str, str] | None = None) -> Any:
    logging.disable(logging.INFO)
    return CliRunner().invoke(main, list(map(str, arguments)), env=env)


def test_wrong_settings_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    file = write(tmp_path, "c.json", {"encompass": {"client_secret": CANARY}})
    result = called("--config", file)
    assert result.exit_code == 2
    assert "encompass.site_url is missing" in result.stderr
    assert result.stdout == ""
    result = called("--config", file, "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["exit_code"]) == (2, 2)
    assert "encompass.site_url is missing" in said["message"]
    assert CANARY not in result.output


def test_no_configured_provider_is_exit_code_2() -> None:
    result = called()
    assert result.exit_code == 2
    assert "no provider is configured" in result.stderr


def test_the_state_of_another_tap_is_refused(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        file = write(tmp_path, "c.json", config(server))
        state = write(tmp_path, "s.json", {"bookmarks": {"other_tap": {}}})
        result = called("--config", file, "--state", state)
    assert result.exit_code == 2
    assert "is not a stream of tap-email-metrics" in result.stderr
    assert server.world.log.count() == 0


@pytest.mark.slow
def test_the_installed_command_prints_the_report() -> None:
    doctor = str(Path(COMMAND).with_name("tap-email-metrics-doctor"))
    with serve(small_world(days_ago=0)) as server:
        settings = json.dumps(config(server)["encompass"])
        env = os.environ | {"TAP_EMAIL_METRICS_ENCOMPASS": settings}
        done = [
            subprocess.run(  # noqa: S603 - our own command
                [doctor, "--config", "ENV", *options],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
                env=env,
            )
            for options in ([], ["--json"])
        ]
        secret = server.world.encompass.client_secret
        assert server.world.log.count() == 16
    plain, machine = done
    assert (plain.returncode, machine.returncode) == (0, 0), plain.stderr
    assert plain.stdout.startswith("encompass: well\n")
    assert plain.stdout.endswith("exit code 0\n")
    assert "\x1b" not in plain.stdout + plain.stderr
    said = json.loads(machine.stdout)
    assert said["event"] == "doctor"
    assert set(access(said, "encompass").values()) == {"allowed"}
    everything = "".join(one.stdout + one.stderr for one in done)
    assert secret not in everything
    assert "@" not in everything
    assert "eyJ" not in everything
