"""A run: opening APIs, writing state, and sharing the requests of the day."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from simulator.clock import SimClock
from tap_email_metrics.control import Control, Stop
from tap_email_metrics.errors import Exhausted, Terminated, Unavailable
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.run.run import Connection, Run
from tap_email_metrics.settings.common import CommonSettings
from tap_email_metrics.state.generations import Loaded
from tests.support.encompass import MemoryWriter

if TYPE_CHECKING:
    from tap_email_metrics.run.api import Api, ApiContext

NOW = 1_790_000_000.0
STREAMS = ("north_opens", "north_clicks", "north_sends")


class StubApi:
    """An API that sends nothing and keeps the context it was opened with."""

    budget = 90
    closed = False

    def __init__(self, context: ApiContext) -> None:
        self.context = context

    def close(self) -> None:
        self.closed = True


class Rig:
    """A run of one provider, `north`."""

    def __init__(self, state: dict[str, Any] | None = None, **settings: Any) -> None:
        self.clock = SimClock(NOW)
        self.opened: list[StubApi] = []
        self.writer = MemoryWriter()
        self.run = Run(
            control=Control(self.clock, logging.getLogger("tap-email-metrics")),
            settings=CommonSettings.parse(settings, NOW),
            output=self.writer,
            state=Loaded("g", {} if state is None else state),
            connections={
                "north": Connection(self.open, "4711", "host 12", NOW - 86_400)
            },
            keys={},
            marks={str(s.name): s.marks for p in PROVIDERS for s in p.streams},  # type: ignore[misc]
            selected=lambda provider: [s for s in STREAMS if s.startswith(provider)],
        )

    def open(self, context: ApiContext) -> Api[Any]:
        self.opened.append(StubApi(context))
        return cast("Api[Any]", self.opened[-1])

    def states(self) -> int:
        self.writer.flush()
        return sum(message["type"] == "STATE" for message in self.writer.messages)


def test_an_api_is_opened_once_and_closed_at_the_end() -> None:
    rig = Rig()
    assert rig.run.api("north") is rig.run.api("north")
    [api] = rig.opened
    assert not api.closed
    rig.run.close()
    assert api.closed


def test_an_api_that_no_stream_used_is_never_opened() -> None:
    rig = Rig()
    assert rig.run.requests_sent("north") == 0
    assert rig.run.quota_left("north") is None
    rig.run.close()
    assert rig.opened == []


def test_an_api_gets_the_state_of_selected_and_of_other_streams_separately() -> None:
    rig = Rig({"north_lists": {}, "south_opens": {}, "north_opens": {}})
    rig.run.api("north")
    memory = rig.opened[0].context.memory
    assert list(memory.selected) == [*STREAMS]
    assert list(memory.others) == ["north_lists"]
    assert memory.selected["north_opens"] is rig.run.stream_state("north_opens")


def test_streams_that_have_not_ended_share_the_rest_of_the_day() -> None:
    run = Rig().run
    assert run.history_share("north") == 30
    run.report("north_opens").outcome = "complete"
    assert run.history_share("north") == 45


def test_a_state_is_written_after_a_minute_or_ten_times_its_size_in_records() -> None:
    rig = Rig()
    rig.run.write_state_in_time()
    assert rig.states() == 0
    rig.clock.advance(60)
    rig.run.write_state_in_time()
    assert rig.states() == 1
    rig.run.write_state_in_time()
    assert rig.states() == 1
    rig.writer.write_records("north_opens", [{"text": "x" * 10_001}], NOW)
    rig.run.write_state_in_time()
    assert rig.states() == 1  # no record of a stream was counted since the last STATE
    rig.run.report("north_opens").records += 1
    rig.run.write_state_in_time()
    assert rig.states() == 2


def test_the_deadline_counts_from_the_start_of_the_run() -> None:
    assert Rig().run.control.deadline is None
    assert Rig(max_run_minutes=2).run.control.deadline == NOW + 120


def test_a_run_ends_in_time_though_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(max_run_minutes=2)
    monkeypatch.setattr(rig.clock, "now", lambda: NOW - 3_600)
    rig.clock.advance(119)
    rig.run.control.check()
    rig.clock.advance(1)
    with pytest.raises(Exhausted):
        rig.run.control.check()


def test_a_start_before_the_first_row_of_the_api_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(start_date="2020-01-01")
    rig.run.api("north")
    rig.run.api("north")
    [record] = caplog.records
    assert record.getMessage().startswith("start_date is before 2026-09-20, and north")


def test_a_reason_that_streams_share_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Rig().run
    for stream in STREAMS:
        run.complain(stream, "left out", Unavailable("no access"))
    [record] = caplog.records
    assert record.levelno == logging.WARNING


def test_provider_of_a_stream_is_found_by_its_name() -> None:
    assert Rig().run.provider_of("north_opens") == "north"


def test_the_first_of_two_signals_counts_as_the_one_that_ended_the_run() -> None:
    stop = Stop()
    stop.check()
    stop.by_signal(15)
    stop.by_signal(2)
    assert stop.signal == 15
    with pytest.raises(Terminated):
        stop.check()
