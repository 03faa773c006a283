"""Failures of the Encompass API, temporary and permanent."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.faults import SHAPES
from simulator.world import World
from tests.support.encompass import DAY, NOW, STREAMS, Site

OPENS = "encompass_opens"
TOKENS = "/apiservices/authenticate"

FAULTS: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "429-wait": {"kind": "status", "status": 429, "retry_after": "7"},
    "429-date": {
        "kind": "status",
        "status": 429,
        "retry_after": "Mon, 21 Sep 2026 14:14:00 GMT",
    },
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503-wait": {"kind": "status", "status": 503, "retry_after": "3"},
    "504": {"kind": "status", "status": 504},
    "507": {"kind": "status", "status": 507},
    "408": {"kind": "status", "status": 408},
    "message": {"kind": "message_body"},
    "not_json": {"kind": "not_json"},
    "cut": {"kind": "cut"},
    "half_body": {"kind": "half_body"},
    "slow": {"kind": "slow", "seconds": 90.0},
    **{f"shape-{s}": {"kind": "wrong_shape", "shape": s} for s in SHAPES},
}
HARMLESS = ("shape-no_total",)
TIME_OUTS = ("504", "408", "message", "slow")


def busy_site(messages: int = 6, opens: int = 30, **settings: Any) -> Site:
    """Return a site with some messages, each with rows in all lists."""
    world = World(NOW)
    for number in range(messages):
        sent = NOW - (number + 1) * DAY
        message = world.encompass.add_message(sent=sent)
        for _ in range(opens):
            world.encompass.add_row("opens", message, date_added=sent + 60)
        for kind in ("clicks", "bounces", "delivers", "recipients", "links"):
            world.encompass.add_row(kind, message, date_added=sent + 30)
    return Site(world, **settings)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in HARMLESS])
def test_a_temporary_fault_costs_retries_but_no_row(name: str) -> None:
    site = busy_site(messages=4, opens=5)
    # After a timeout the tap requests fewer rows: a new request can fail again.
    often = {"probability": 0.3} if name in TIME_OUTS else {"times": 2}
    site.world.faults.add(**FAULTS[name], **often)
    run = site.sync()
    assert run.code == 0
    assert not site.differences()
    assert not any("failed" in report for report in run.reports.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAULTS if name not in HARMLESS])
def test_a_permanent_fault_of_one_message_fails_only_that_message(name: str) -> None:
    site = busy_site(messages=4, opens=5)
    site.world.faults.add(**FAULTS[name], message_id=3)
    run = site.sync()
    assert run.code == 0
    for stream in STREAMS[1:]:
        assert run.reports[stream]["failed"] == [3], stream
        rows = site.target.rows[stream].values()
        assert {row["message_id"] for row in rows} == {1, 2, 4}
        assert site.mark(stream.removeprefix("encompass_"), 3).failures == 1
    assert site.target.rows["encompass_messages"]
    site.world.faults.clear()
    site.advance(0.1)
    site.sync()
    assert not site.differences()


@pytest.mark.parametrize("status", [400, 404, 410, 405])
def test_a_refused_list_is_not_retried_and_fails_alone(
    status: int,
) -> None:
    site = busy_site()
    site.world.faults.add("status", message_id=3, path="/opens$", status=status)
    run = site.sync()
    assert run.code == 0
    assert run.reports[OPENS]["failed"] == [3]
    assert len(site.asked("opens", 3)) == 1


def test_an_envelope_without_a_total_hides_no_row_for_good() -> None:
    site = busy_site(messages=1)
    site.world.faults.add(**FAULTS["shape-no_total"], path="/opens$", times=1)
    site.sync()
    site.advance(0.1)
    site.sync()
    assert not site.differences()


def test_a_page_without_a_total_does_not_end_a_list() -> None:
    site = busy_site(messages=1, opens=1_500)

    def hook(_method: str, path: str, query: Any) -> None:
        if path.endswith("/opens") and query["startAt"] != "0":
            remove()
            site.world.faults.add(**FAULTS["shape-no_total"], path="/opens$", times=1)

    remove = site.world.on_request(hook)
    site.sync()
    assert not site.differences()


# Tokens


def test_a_run_requests_one_token() -> None:
    site = busy_site()
    assert site.sync().lists[TOKENS] == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_token_refused_during_a_run_is_replaced_once(
    status: int, workers: int
) -> None:
    site = busy_site(max_concurrency=workers)
    site.api.set_policy(auth_failure_status=status)
    site.world.faults.add("expire_token", message_id=3, path="/clicks$", times=1)
    run = site.sync()
    assert run.code == 0
    assert run.lists[TOKENS] == 2
    assert not any("failed" in report for report in run.reports.values())
    assert not site.differences()


@pytest.mark.parametrize("lifetime", [10.0, 3_600.0])
def test_a_token_is_renewed_before_it_expires(lifetime: float) -> None:
    # With several threads on one clock a request may be late, so there is one here.
    rate = 0.01 if lifetime > 100 else 3
    site = busy_site(requests_per_second=rate, max_concurrency=1)
    site.api.set_policy(token_lifetime=lifetime)
    run = site.sync()
    assert run.code == 0
    assert not site.differences()
    assert not [e for e in site.world.log.entries if e.status in {401, 403}]
    assert run.lists[TOKENS] > 1


def test_a_permanently_forbidden_message_fails_alone() -> None:
    site = busy_site()
    site.world.faults.add("status", status=403, message_id=3, path="/opens$")
    run = site.sync()
    assert run.code == 0
    assert run.reports[OPENS]["failed"] == [3]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_replaced_though_one_message_is_forbidden(
    status: int,
) -> None:
    site = busy_site(messages=20, opens=1, max_concurrency=1)
    site.api.set_policy(auth_failure_status=status)
    site.world.faults.add("status", status=403, message_id=2, path="/opens$")
    site.world.faults.add("expire_token", message_id=5, path="/opens$", times=1)
    run = site.sync()
    assert run.code == 0
    assert run.reports[OPENS]["failed"] == [2]


def test_the_run_stops_if_every_token_is_refused() -> None:
    site = busy_site()
    site.world.faults.add("expire_token", path="^/v2/")
    run = site.sync()
    assert run.code == 2
    assert run.requests <= 10
    assert not [m for m in run.messages if m["type"] == "RECORD"]


# Waits


def test_retry_after_is_honoured() -> None:
    site = busy_site(messages=1)
    site.world.faults.add(
        "status", path="/opens$", status=429, retry_after="40", times=1
    )
    site.sync()
    one, two = site.asked("opens")
    assert 40 <= two.at - one.at < 41


def test_no_request_is_sent_during_a_retry_after() -> None:
    site = busy_site(messages=40, opens=1, max_concurrency=4)
    site.world.faults.add(
        "status", message_id=1, path="/opens$", status=429, retry_after="40", times=1
    )
    site.sync()
    entries = site.world.log.entries
    struck = next(e.at for e in entries if e.status == 429)
    later = [e.at for e in entries if e.at > struck + 0.1]
    assert min(later) >= struck + 40


def test_waits_without_retry_after_are_bounded() -> None:
    site = busy_site(messages=1)
    site.world.faults.add("status", path="/opens$", status=429, times=5)
    site.sync()
    asked = [e.at for e in site.asked("opens")]
    assert len(asked) == 6
    assert asked[-1] - asked[0] <= 2 + 4 + 8 + 16 + 32 + 1


# Sizes


def sizes(site: Site) -> list[int]:
    """Return the page sizes that the last run requested from opens."""
    return [int(entry.query["maxResults"]) for entry in site.asked("opens")]


@pytest.mark.parametrize("name", ["504", "message", "slow"])
def test_the_page_size_is_halved_after_a_timeout_and_then_grows_again(
    name: str,
) -> None:
    site = busy_site(messages=1, opens=3_000)
    site.world.faults.add(**FAULTS[name], path="/opens$")

    def hook(_method: str, _path: str, _query: object) -> None:
        if len(site.asked("opens")) == 2:
            site.world.faults.clear()

    site.world.on_request(hook)
    site.sync(streams=(OPENS,))
    assert site.target_ids("opens") == set(range(1, 3_001))
    # The last page is full, so one more looks whether rows follow.
    assert sizes(site) == [1_000, 500, *[250] * 8, 500, 500, 500]
    assert site.starts("opens") == [0, 0, *range(0, 2_000, 250), 2_000, 2_500, 3_000]


def test_a_list_that_times_out_with_large_pages_is_read_in_small_ones() -> None:
    site = busy_site(messages=2, opens=1_000)
    site.world.faults.add("max_rows", rows=60, message_id=1, path="/opens$")
    run = site.sync(streams=(OPENS,))
    assert "failed" not in run.reports[OPENS]
    assert site.target_ids("opens") == set(range(1, 2_001))


@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_lost_though_a_third_of_the_requests_fail(seed: int) -> None:
    site = busy_site(messages=12, opens=10)
    for number, name in enumerate(("500", "cut", "half_body", "429", "message")):
        site.world.faults.add(**FAULTS[name], probability=0.08, seed=10 * seed + number)
    for _ in range(4):
        assert site.sync().code == 0
        site.advance(0.3)
    assert not site.differences()


def test_a_permanent_failure_of_the_message_list_fails_all_streams() -> None:
    site = busy_site()
    site.world.faults.add("status", path="/v2/messages$", status=500)
    run = site.sync()
    assert run.code == 1
    assert {report["outcome"] for report in run.reports.values()} == {"failed"}
    # Parts of the page are tried, too: a single message could make it fail.
    assert run.lists["/v2/messages"] < 30
