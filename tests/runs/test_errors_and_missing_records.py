"""Reports of a run about rows without a record, unexpected errors, and lag."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from simulator.adapter import SimulatorAdapter
from simulator.world import World
from tap_email_metrics.clock import iso
from tap_email_metrics.errors import Exhausted
from tap_email_metrics.providers.encompass.streams import Messages, Opens
from tests.support.constant_contact import Account
from tests.support.encompass import DAY, NOW, Site, site_of
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from collections.abc import Callable

LISTS = "email_metrics_reconciliation"
RUNS = "email_metrics_runs"
OPENS = "encompass_opens"
SECRET = "canary-4711"
HUGE = 2**63


def account_of(provider: str) -> Site:
    """Return a small account of a provider."""
    if provider == "encompass":
        return site_of(3, 4)[0]
    if provider == "constant_contact":
        return Account(World.generate(4, 0, NOW, campaigns=3))
    clinic = Clinic(World.generate(4, 0, NOW, luxsci=12))
    clinic.api.set_policy(rows="objects")
    clinic.common["start_date"] = iso(NOW - 20 * DAY)
    return clinic


def change(site: Site, path: str, rows: str, edit: Callable[[list[Any]], None]) -> None:
    """Change the rows of each answer to a path that ends so."""

    def tamper(request: Any, reply: Any) -> None:
        if request.path.endswith(path):
            answer = json.loads(reply.body)
            edit(answer.get(rows, []))
            reply.body = json.dumps(answer).encode()

    site.world.on_reply(tamper)


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


def summary(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the only run summary."""
    lines = [record.getMessage() for record in caplog.records]
    [line] = [line for line in lines if "run_summary" in line]
    found: dict[str, Any] = json.loads(line)
    return found


# Rows without a record


@pytest.mark.parametrize("odd", ["ten", HUGE, None, True, ()])
@pytest.mark.parametrize(
    ("provider", "stream", "path", "rows", "field"),
    [
        ("encompass", "opens", "/opens", "data", "id"),
        ("encompass", "messages", "/v2/messages", "data", "id"),
        (
            *("constant_contact", "unique_opens", "/unique_opens"),
            *("tracking_activities", "contact_id"),
        ),
        (
            *("constant_contact", "contact_lists", "/contact_lists"),
            *("lists", "list_id"),
        ),
        ("constant_contact", "contacts", "/contacts", "contacts", "contact_id"),
        ("luxsci", "users", "/report/users", "data", "user_id"),
    ],
)
def test_rows_without_a_usable_id_are_counted_and_reported(  # noqa: PLR0913, PLR0917
    provider: str,
    stream: str,
    path: str,
    rows: str,
    field: str,
    odd: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if provider == "constant_contact" and odd in {"ten", HUGE, True}:
        pytest.skip("any text or number is an id there")
    site = account_of(provider)
    site.common.clear()  # no row is outside an interval

    def spoil(found: list[Any]) -> None:
        for row in found[:1]:
            row[field] = odd

    change(site, path, rows, spoil)
    caplog.set_level(logging.INFO)
    run = site.sync(streams=(stream, LISTS, RUNS))
    name = f"{provider}_{stream}"
    report = run.reports[name]
    count = sum(report["set_aside"].values())
    assert run.code == 0
    assert count > 0
    assert report["outcome"] == "incomplete"
    assert summary(caplog)["streams"][name]["set_aside"] == report["set_aside"]
    [row] = [row for row in run.records(RUNS) if row["stream"] == name]
    assert (row["set_aside"], row["outcome"]) == (count, "incomplete")
    lists = [row for row in run.records(LISTS) if row["stream"] == name]
    assert sum(row["set_aside"] for row in lists) == (count if lists else 0)
    for row in lists:
        assert (row["verdict"] == "set_aside") == bool(row["set_aside"])
    for reason in report["set_aside"]:
        assert said(caplog, f"{name}: rows without a record: ") == 1
        assert said(caplog, reason) >= 1


def test_a_row_without_a_record_is_counted_at_each_read_of_its_list() -> None:
    """It was never emitted, so it does not count as unchanged."""
    site, (message, _) = site_of(3, 4, revisit="always", lookback_days=0)
    change(site, f"/{message}/opens", "data", lambda rows: rows[0].update(id="ten"))
    for _ in range(3):
        run = site.sync(streams=("opens", LISTS))
        [row] = [r for r in run.records(LISTS) if r["parent"] == str(message)]
        assert (row["set_aside"], row["verdict"]) == (1, "set_aside")
        assert run.reports[OPENS]["outcome"] == "incomplete"
        site.advance(1)


def test_a_row_outside_the_interval_is_not_counted_as_set_aside() -> None:
    site, _ = site_of(3)
    change(site, "/opens", "data", lambda rows: rows[0].update(id="ten"))
    site.common["start_date"] = iso(NOW)
    run = site.sync(streams=("opens", LISTS))
    assert "set_aside" not in run.reports[OPENS]


def test_messages_without_any_field_are_counted() -> None:
    site, _ = site_of(3, 4, 5)

    def empty(rows: list[Any]) -> None:
        rows[:2] = [{}, {}]

    change(site, "/v2/messages", "data", empty)
    run = site.sync(streams=("messages", LISTS))
    assert run.reports["encompass_messages"]["set_aside"] == {"key missing": 2}
    [row] = run.records(LISTS)
    assert (row["set_aside"], row["verdict"]) == (2, "set_aside")


# Unexpected errors


@pytest.mark.parametrize(
    ("stream_map", "column"),
    [
        ({"ip": "int(ip_address)"}, "ip"),
        ({"x": "'1'", "y": "no_such_column + 1"}, "y"),
        ({"__filter__": "int(ip_address) > 1"}, "__filter__"),
    ],
)
def test_a_failing_stream_map_fails_only_its_stream(
    stream_map: dict[str, str], column: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site, _ = site_of(3, 4)
    site.common["stream_maps"] = {OPENS: stream_map}
    run = site.sync()
    assert run.code == 1
    report = run.reports[OPENS]
    assert report["outcome"] == "failed"
    assert f"stream map fails for {column} (" in report["message"]
    others = {r["outcome"] for name, r in run.reports.items() if name != OPENS}
    assert others <= {"complete", "empty"}
    assert run.records("encompass_recipients") == []
    assert [row["outcome"] for row in run.records(RUNS) if row["stream"] == OPENS] == [
        "failed"
    ]
    assert summary(caplog)["streams"][OPENS]["outcome"] == "failed"
    del site.common["stream_maps"]
    assert site.sync().code == 0
    assert site.wrong("opens", "clicks") == []


@pytest.mark.parametrize("stream", [LISTS, RUNS])
def test_a_failing_stream_map_of_a_stream_about_the_run_fails_only_it(
    stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site, _ = site_of(3, 4)
    site.common["stream_maps"] = {stream: {"x": "int(stream)"}}
    run = site.sync()
    assert run.code == 1
    assert site.wrong("opens", "clicks") == []
    assert said(caplog, f"{stream}: failed: its stream map fails for x (") == 1
    found = summary(caplog)["streams"]
    assert {r["outcome"] for n, r in found.items() if n != stream} <= {
        "complete",
        "empty",
    }
    assert bool(run.records(RUNS)) == (stream == LISTS)


@pytest.mark.parametrize("where", ["in a reader", "in the stream"])
def test_an_unexpected_error_fails_only_its_stream_and_shows_no_value(
    where: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(Opens, "read" if where == "in a reader" else "prepare", broken)
    site, _ = site_of(3, 4)
    run = site.sync()
    assert run.code == 1
    assert run.reports[OPENS]["outcome"] == "failed"
    assert "ZeroDivisionError" in run.reports[OPENS]["message"]
    assert run.reports["encompass_recipients"]["outcome"] == "empty"
    assert run.reports["encompass_recipients"]["parents"] == 2
    assert run.records(RUNS)
    assert summary(caplog)
    assert SECRET not in caplog.text
    monkeypatch.undo()
    assert site.sync().code == 0
    assert site.wrong("opens", "clicks") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exceptions_that_end_the_process_are_not_caught(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(_: object) -> Any:
        raise error

    monkeypatch.setattr(Messages, "rows", ends)
    with pytest.raises(error):
        site_of(3)[0].sync()


def test_a_provider_that_cannot_be_opened_is_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)

    def damaged(_: object) -> Any:
        raise OSError(SECRET)

    monkeypatch.setattr("tap_email_metrics.run.api.Api._open_ledger", damaged)
    site, _ = site_of(3)
    run = site.sync()
    assert run.code == 1
    assert {r["outcome"] for r in summary(caplog)["streams"].values()} == {"failed"}
    assert {row["outcome"] for row in run.records(RUNS)} == {"failed"}
    assert len(run.records(RUNS)) == len(run.reports)
    assert SECRET not in caplog.text


# Lag


@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
@pytest.mark.parametrize("why", ["quota", "refused", "time"])
def test_a_run_without_new_rows_reports_how_far_behind_it_is(
    provider: str,
    why: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def spent_quota(*_: object, **__: object) -> Any:
        raise Exhausted("the quota of this day is spent")

    caplog.set_level(logging.INFO)
    site = account_of(provider)
    streams = {
        "encompass": ("messages", "opens", RUNS),
        "constant_contact": ("campaigns", "opens", "contacts", RUNS),
        "luxsci": ("sent", "users", RUNS),
    }[provider]
    assert site.sync(streams=streams).code == 0
    through = {
        f"{provider}_{stream}": site.entry(stream)["checked_through"]
        for stream in streams
        if stream != RUNS
    }
    assert all(through.values())
    site.advance(100)
    site.common["max_lag_days"] = 2
    options: dict[str, Any] = {}
    if why == "quota":
        monkeypatch.setattr(
            "tap_email_metrics.transport.limits.Limits.request", spent_quota
        )
    elif why == "time":
        site.common["max_run_minutes"] = 0.0001
        options["transport"] = SimulatorAdapter(site.world, latency=1.0)
    else:
        site.world.faults.add("status", path=".", status=403)
    caplog.clear()
    run = site.sync(streams=streams, **options)
    assert run.code in {1, 2}
    for name, instant in through.items():
        assert run.reports[name]["behind_since"] == instant, name
    assert summary(caplog)["behind_since"] == min(through.values())
    for row in run.records(RUNS):
        assert row["behind_since"][:19] == through[row["stream"]][:19]
    # Refused credentials end the run with exit code 2.
    assert (why == "refused") or run.code == 1


@pytest.mark.parametrize("provider", ["encompass", "constant_contact"])
def test_a_stream_that_was_never_read_is_behind_since_the_first_run(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each day, another program has spent the quota before the run."""

    def spent_quota(*_: object, **__: object) -> Any:
        raise Exhausted("the quota of this day is spent")

    site = account_of(provider)
    site.common["max_lag_days"] = 2
    chosen = ("contacts", "opens") if provider != "encompass" else ("messages", "opens")
    with monkeypatch.context() as spent:
        spent.setattr("tap_email_metrics.transport.limits.Limits.request", spent_quota)
        codes = []
        for _ in range(4):
            codes.append(site.sync(streams=chosen).code)
            site.advance(1)
        assert codes == [0, 0, 0, 1]
    assert site.sync(streams=chosen).code == 0
