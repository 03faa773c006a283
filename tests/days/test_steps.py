"""Events of a site in any order, and the promises of the tap after them.

Hypothesis draws the steps: it finds orders that do not occur in simulated days, and
shrinks one that breaks a promise to the few steps that matter. The site is one of
Encompass: its lists have neither a date of change nor a reliable counter, so rows are
lost most easily there, and its runs are the cheapest.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from simulator.encompass.account import ms
from tests.days.broken import broken
from tests.days.days import Days, Today, quiet
from tests.days.encompass import KINDS, EncompassDays
from tests.days.mutations import MUTATIONS
from tests.days.taps import in_a_hurry
from tests.support.encompass import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.days.days import Weather

pytestmark = pytest.mark.slow

KNOWN = ("_places", "_ends", "_late", "_actions")
"""Values that the account computes once from all its rows."""
MINUTE = 60.0
ORDERS = ("ascending", "descending", "shuffled")
SETTINGS = settings(
    max_examples=16,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class GrowingSite(EncompassDays):
    """A site without events of its own."""

    @override
    def _build(self, days: int) -> None:
        """Add nothing."""

    def send(self) -> int:
        """Add a message that was just sent; return its number."""
        api, now = self.site.api, self.site.world.clock.now()
        sent = float(round(now - 2 * MINUTE))
        message: int = api.add_message(sent=sent, date_added=sent, visible_from=now)
        api.add_row("links", message)
        for kind in KINDS:
            api.set_order(self._rng.choice(ORDERS), kind, message)
        self._forget()
        return message

    def show(self, kind: str, message: int, late: float) -> int:
        """Add a row dated `late` days ago, but not before the send."""
        now = self.site.world.clock.now()
        dated = round(max(self._sent(message, now) + MINUTE, now - late * DAY), 3)
        fields = {} if kind == "recipients" else {"timestamp": ms(dated)}
        row: int = self.site.api.add_row(
            kind, message, date_added=dated, visible_from=now, **fields
        )
        self._forget()
        return row

    def correct(self, kind: str, row: int, **fields: object) -> None:
        """Change a row from now on."""
        now = self.site.world.clock.now()
        self.site.api.correct(kind, row, at=now, **fields)
        self._forget()

    def _forget(self) -> None:
        for name in KNOWN:
            self.__dict__.pop(name, None)
        _ = self._places


class HidingSite(GrowingSite):
    """A site whose lists count a row that they do not show."""

    hides = True

    @override
    def faults(self, weather: Weather, seed: int) -> Iterable[Mapping[str, Any]]:
        return [{"kind": "skip_row", "path": "/bounces"}] if self.hides else []


class Steps(RuleBasedStateMachine):
    """A site, its tap and its target; each run checks the promises."""

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        self.site = GrowingSite(seed, 0)
        self.days = Days(self.site, seed, 0)
        self.random = random.Random(seed)  # noqa: S311 -- reproducible
        self.messages = [self.site.send()]
        self.recipients: list[tuple[int, int]] = []

    # Events of the site

    @precondition(lambda self: len(self.messages) < 4)
    @rule()
    def send(self) -> None:
        self.messages.append(self.site.send())

    @rule(
        kind=st.sampled_from(KINDS),
        late=st.sampled_from((0.0, 1.0, 9.0, 50.0)),
        count=st.integers(1, 12),
        data=st.data(),
    )
    def events(self, kind: str, late: float, count: int, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.messages))
        rows = [self.site.show(kind, message, late) for _ in range(count)]
        if kind == "recipients":
            self.recipients += [(message, row) for row in rows]

    @rule(count=st.integers(1, 99), data=st.data())
    def message_changes(self, count: int, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.messages))
        self.site.correct("messages", message, sentCount=count)

    @precondition(lambda self: self.recipients)
    @rule(data=st.data())
    def recipient_changes(self, data: st.DataObject) -> None:
        message, row = data.draw(st.sampled_from(self.recipients))
        address = f"new{row}@example.com"
        self.site.correct("recipients", row, message_id=message, emailAddress=address)

    @rule(days=st.sampled_from((0.25, 1.0, 4.0, 9.0, 33.0)))
    def time_passes(self, days: float) -> None:
        self.site.site.advance(days)

    # Runs of the tap

    @rule(weather=st.sampled_from(("calm", "calm", "faults", "storm")))
    def run(self, weather: Weather) -> None:
        self._run(Today(weather))

    @rule(last=st.integers(1, 150))
    def run_is_killed(self, last: int) -> None:
        self._run(Today(kill_at=last))

    @rule()
    def run_is_killed_at_the_token(self) -> None:
        self._run(Today(kill_at_token=True))

    @rule()
    def target_dies(self) -> None:
        self._run(Today(cut_off=True))

    @override
    def teardown(self) -> None:
        """Let everything become due twice more."""
        if hasattr(self, "days"):
            for _ in "ab":
                self._run(Today())

    def _run(self, today: Today) -> None:
        # Two runs are never at the same time, and rows appear between them.
        self.site.site.advance(0.1)
        assert self.days.sync(today, self.random) == []


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    quiet()
    with in_a_hurry():
        yield


def test_a_row_that_was_hidden_until_it_was_archived_is_not_lost() -> None:
    site = HidingSite(0, 0)
    site.site.api.set_policy(archive_on="date_added")
    days, rng = Days(site, 0, 0), random.Random(0)  # noqa: S311 -- reproducible
    message = site.send()
    for _ in range(9):
        site.show("bounces", message, 0.0)
    site.site.advance(2.0)
    assert days.sync(Today(), rng) == []
    assert len(site.rows["encompass_bounces"]) == 8
    site.hides = False
    site.site.advance(200.0)
    assert days.sync(Today(), rng) == []


def test_no_order_of_steps_loses_or_invents_a_row() -> None:
    run_state_machine_as_test(Steps, settings=SETTINGS)


@pytest.mark.parametrize("fault", ["skip_last_page", "state_first"])
def test_random_steps_find_a_broken_tap(fault: str) -> None:
    found = partial(
        run_state_machine_as_test,
        settings=settings(
            SETTINGS, phases=[Phase.generate], max_examples=160, derandomize=True
        ),
    )
    with broken(MUTATIONS[fault]), pytest.raises(AssertionError):
        found(Steps)
