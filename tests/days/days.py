"""Simulated days: the real tap, killed and cut off, against a world of faults.

`Days(account, seed).run(days)` runs the tap in process, with its real threads, on the
simulated clock. What happens on a day is drawn from the seed and the day's number:

- *faults* of the API, each decided by (seed, request, attempt);
- *kills*, by the index of the message that is written last, or when a token has just
  arrived; the tap is then started again;
- a *target that died*: it took over a part of what was written only, and confirmed
  any STATE of that part.

A run *counts* if it was neither killed nor cut off, and a list was *disturbed* by it
if a fault struck the list or what all lists need. Visits are counted in runs that
count, at lists that were not disturbed; each account's module says which are due.

What is broken is raised as `BrokenError` after the day, with the command that replays
it.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from typing_extensions import override

from simulator.adapter import SimulatorAdapter
from simulator.faults import Faults
from tests.days.promises import Promises, Rows, Shown, Visit
from tests.days.taps import Discovery, KnownTap, copied
from tests.support.encompass import DAY, OWN, MemoryWriter, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from simulator.log import Entry
    from simulator.messages import Reply, Request
    from tests.support.encompass import Record, Site

Written = dict[str, Any]
Weather = Literal["calm", "faults", "storm"]
FINE = {"complete", "empty"}
_KILLED, _TOKEN_KILLED, _CUT_OFF = 0.14, 0.03, 0.08
_LAST_CONFIRMED = 0.6
_STEP = 10.0
"""Seconds between two looks at what a run was shown."""
_BETWEEN = 0.25
"""Days between two runs of a day."""
_LARGEST_KILL = 9
"""Kills come after up to 2 to the power of this many messages."""


class Killed(BaseException):
    """The process is gone, as with `kill -9`."""


class BrokenError(AssertionError):
    """A promise was broken."""


class Journal(MemoryWriter):
    """Keeps what was written, up to the kill."""

    def __init__(self, last: int | None) -> None:
        super().__init__()
        self._last = last

    @override
    def flush(self) -> None:
        super().flush()
        if self._last is not None and len(self.messages) >= self._last:
            del self.messages[self._last :]
            raise Killed


@dataclass(frozen=True)
class Today:
    """What is to happen to one run."""

    weather: Weather = "calm"
    kill_at: int | None = None
    kill_at_token: bool = False
    cut_off: bool = False


@dataclass
class Ran:
    """What one run did, and when.

    Attributes:
        counts: it ended by itself, and the target took all of it.
        spent: a limit of the provider's stopped it, as the simulator knows.
    """

    code: int | None
    messages: list[Written]
    entries: list[Entry]
    outcomes: dict[str, str]
    begun: float
    ended: float
    counts: bool = True

    @property
    def faults(self) -> int:
        """Requests that a fault struck."""
        return sum(entry.fault is not None for entry in self.entries)


@dataclass
class Summary:
    """What came of some days."""

    days: int = 0
    syncs: int = 0
    kills: int = 0
    faults: int = 0
    events: int = 0
    lost: int = 0
    invented: int = 0
    broken: list[str] = field(default_factory=list)

    def __add__(self, other: Summary) -> Summary:
        both = zip(self.__dict__.items(), other.__dict__.values(), strict=True)
        return Summary(**{name: one + two for (name, one), two in both})


class Account:
    """A simulated account of one provider, and what is promised of it.

    Attributes:
        provider: its name.
        site: the account with its tap and its state.
        rows: what the target holds, which upserts by key.
        token_path: of the requests that a token answers.
        outage: the number of the day before which nothing ran, and for how many days.
        settling: seconds after which `shown` tells of a row.
    """

    provider: ClassVar[str]
    token_path: ClassVar[str]

    site: Site
    rows: Rows
    outage: tuple[int, float] | None = None
    settling: ClassVar[float] = 0.0

    def __init__(self, seed: int, days: int) -> None:
        """Build the world of a seed, with so many days to come."""
        raise NotImplementedError

    def faults(self, weather: Weather, seed: int) -> Iterable[Mapping[str, Any]]:
        """Return the rules of a day's weather."""
        raise NotImplementedError

    def shown(self, at: float) -> Shown:
        """Return what each list shows at an instant, UTC seconds."""
        raise NotImplementedError

    def visits(self, ran: Ran, shown: Shown) -> Iterable[Visit]:
        """Return the promises that came due with a run that counts."""
        raise NotImplementedError

    def known(self, stream: str, record: Record) -> Record:  # noqa: ARG002
        """Return a record without what the truth cannot know."""
        return record

    def recover(self, ran: Ran) -> list[str]:  # noqa: ARG002
        """Do after any run what an operator would; return what none could mend."""
        return []

    def complaints(self, ran: Ran, shown: Shown) -> list[str]:
        """Return what else a run broke: its requests, and the rate of them."""
        raise NotImplementedError

    def state_complaints(
        self, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> list[str]:
        """Return what is wrong with a state that follows another."""
        raise NotImplementedError


class Days:
    """Days of one account, one after the other.

    Args:
        account: what is read.
        seed: of what happens on a day.
        length: the days that the account was made for, to tell how to replay it.
    """

    def __init__(self, account: Account, seed: int, length: int) -> None:
        self.account = account
        self._length = length
        self.summary = Summary()
        self._site = account.site
        self._seed = seed
        self._promises = Promises()
        self._rows: Rows = {}
        account.rows = self._rows
        self._fresh: list[tuple[str, Any, Record]] = []
        self._discovery = Discovery()
        self._start = self._site.world.clock.now()

    def run(self, days: int) -> Summary:
        """Let days pass; raise BrokenError at the first promise that is."""
        for number in range(days):
            if self.account.outage and number == self.account.outage[0]:
                self._start += self.account.outage[1] * DAY
            rng = random.Random(f"{self.account.provider} {self._seed} {number}")  # noqa: S311
            broken = self._day(number + rng.uniform(0.0, 0.2), rng)
            self.summary.days += 1
            self.summary.events = self._promises.events
            if broken:
                self._break(number + 1, broken)
        return self.summary

    def _break(self, days: int, broken: list[str]) -> None:
        count = Counter(line.partition(":")[0] for line in broken)
        self.summary.lost += count["lost"] + count["stale"]
        self.summary.invented += count["invented"]
        self.summary.broken += broken
        command = (
            f"python -m scripts.soak --provider {self.account.provider} "
            f"--seed {self._seed} --worlds 1 --days {days} --length {self._length}"
        )
        lines = "\n  ".join([*broken[:8], f"({len(broken)} in all)"])
        raise BrokenError(
            f"on day {days} of seed {self._seed}:\n  {lines}\nreplay: {command}"
        )

    def _to(self, days: float) -> None:
        clock = self._site.world.clock
        clock.advance(max(0.0, self._start + days * DAY - clock.now()))

    # One day

    def _day(self, start: float, rng: random.Random) -> list[str]:
        broken = []
        for number, today in enumerate(_plans(rng)):
            # At an instant that does not hang on how long the run before waited.
            self._to(start + number * _BETWEEN)
            broken += self.sync(today, rng)
        return broken

    def sync(self, today: Today, rng: random.Random) -> list[str]:
        """Run the tap once, with what is drawn of the rest; return what it broke."""
        before = self.account.shown(self._site.world.clock.now())
        self._promises.show(before)
        ran = self._sync(today, rng)
        return self._check(ran, before)

    def _check(self, ran: Ran, shown: Shown) -> list[str]:
        broken = self._invented(ran)
        broken += self.account.recover(ran)
        if not ran.counts:
            return broken
        for visit in self.account.visits(ran, shown):
            if ran.outcomes.get(visit.list_id[0]) not in FINE:
                continue
            rows = shown.get(visit.list_id, {})
            broken += self._promises.visit(visit, rows, self._rows)
        broken += self.account.complaints(ran, shown)
        return broken

    def _invented(self, ran: Ran) -> list[str]:
        """Return what was never shown, not even for a while during the run.

        What is shown takes long to work out: first at the start, then at the end.
        """
        found = self._promises.invented(self._fresh)
        if found:
            self._promises.show(self.account.shown(ran.ended))
            found = self._promises.invented(self._fresh)
        if found:
            seconds = ran.ended + self.account.settling - ran.begun
            steps = min(400, int(seconds / _STEP))
            for step in range(1, steps + 1):
                self._promises.show(self.account.shown(ran.begun + step * _STEP))
            found = self._promises.invented(self._fresh)
        return found

    # One run

    def _sync(self, today: Today, rng: random.Random) -> Ran:
        world = self._site.world
        world.faults = Faults()
        for rule in self.account.faults(today.weather, rng.getrandbits(32)):
            world.faults.add(**rule)
        world.log.reset()
        begun = world.clock.now()
        journal = Journal(today.kill_at)
        forget = world.on_reply(self._killer(today))
        tap = self._tap(journal)
        try:
            code: int | None = tap.execute()
            journal.flush()
        except Killed:
            code = None
        finally:
            forget()
        ran = Ran(
            code,
            journal.messages,
            world.log.entries,
            {name: report.outcome for name, report in tap.run.reports.items()},
            begun,
            world.clock.now(),
            counts=code is not None and not today.cut_off,
        )
        self.summary.syncs += 1
        self.summary.kills += code is None
        self.summary.faults += ran.faults
        self._deliver(ran, today, rng)
        return ran

    def _tap(self, journal: Journal) -> KnownTap:
        return KnownTap(
            self._discovery,
            config=self._site.config(),
            state=copied(self._site.state),
            clock=self._site.world.clock,
            transport=SimulatorAdapter(self._site.world),
            message_writer=journal,
        )

    def _killer(self, today: Today) -> Any:
        return _TokenKiller(self.account.token_path if today.kill_at_token else None)

    def _deliver(self, ran: Ran, today: Today, rng: random.Random) -> None:
        """Let the target take over all of it, or as much as it lived to."""
        taken, state = ran.messages, None
        places = [n for n, one in enumerate(taken) if one["type"] == "STATE"]
        if today.cut_off:
            # Half of those that die do so just after a STATE.
            ends = rng.choice((range(len(taken) + 1), [n + 1 for n in places]))
            taken = taken[: rng.choice(ends) if ends else 0]
            places = [n for n in places if n < len(taken)]
        if places:
            is_last = ran.counts or rng.random() < _LAST_CONFIRMED
            place = places[-1] if is_last else rng.choice(places)
            state = taken[place]["value"]
            if not ran.counts:
                taken = taken[: rng.randint(place + 1, len(taken))]
        self._fresh = []
        for one in taken:
            if one["type"] == "RECORD" and not one["stream"].startswith(OWN):
                stream, record = (
                    one["stream"],
                    self.account.known(one["stream"], one["record"]),
                )
                key = key_of(stream, record)
                self._rows.setdefault(stream, {})[key] = record
                self._fresh.append((stream, key, record))
        if state is not None:
            self._confirm(state)

    def _confirm(self, state: dict[str, Any]) -> None:
        kept = copied(state)
        complaints = self.account.state_complaints(self._site.state, kept)
        self._site.state = kept
        if complaints:
            self._break(self.summary.days + 1, complaints)


class _TokenKiller:
    """Kills the tap when a token has arrived and nothing has stored it."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def __call__(self, request: Request, reply: Reply) -> None:
        if self._path and request.path.endswith(self._path) and reply.status < 300:
            raise Killed


def _plans(rng: random.Random) -> Sequence[Today]:
    """Draw what the runs of a day are: none, one, or one after a kill."""
    draw = rng.random()
    if draw < 0.08:
        return ()
    weather: Weather = rng.choices(("calm", "faults", "storm"), (60, 30, 10))[0]
    draw = rng.random()
    again = Today(weather)
    if draw < _KILLED:
        at = round(2 ** rng.uniform(0, _LARGEST_KILL))
        return Today(weather, kill_at=at), again
    if draw < _KILLED + _TOKEN_KILLED:
        return Today(weather, kill_at_token=True), again
    if draw < _KILLED + _TOKEN_KILLED + _CUT_OFF:
        return (Today(weather, cut_off=True),)
    return (again,)


def quiet() -> None:
    """Say nothing of what the tap says."""
    logging.disable(logging.CRITICAL)
