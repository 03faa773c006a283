"""Simulated days: the real tap, killed and cut off, in a world of faults.

`Days(account, seed).run(days)` runs the tap in this process, with its real threads, on
the simulated clock. The events of a day are drawn from the seed and its number:

- *faults* of the API, each decided by (seed, request, attempt);
- *kills* after a message of the output, or when a token has just arrived; the tap is
  then started again;
- a *target that died*: it loaded only a part of the output and confirmed any STATE in
  that part;

- *oddities* of the API, which last some days each (see `spells`).

A run *counts* if it was neither killed nor cut off. A list was *disturbed* if a fault
hit the list or a request that all lists need. Visits are counted in runs that count, at
undisturbed lists; the module of each account says which lists are due.

A list that an oddity changed is not promised on that day. But if a careful reader can
notice the oddity and rows are missing after the run, the run must report it: by its
exit code, by the outcome of the stream or a number in its summary, by the verdict on
the list, or by a `behind_since` before the rows were first shown. Otherwise the rows
are `unsaid`.

A broken promise is raised as `BrokenError` after the day, with the command that replays
it.
"""

from __future__ import annotations

import logging
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from typing_extensions import override

from simulator.adapter import SimulatorAdapter
from simulator.faults import Faults
from simulator.oddities.names import ODDITIES
from tap_email_metrics.clock import from_iso
from tests.days.promises import Promises, Rows, Shown, Visit
from tests.days.taps import Discovery, KnownTap, copied
from tests.support.encompass import DAY, OWN, MemoryWriter, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from simulator.log import Entry
    from simulator.messages import Reply, Request
    from simulator.oddities.base import Odd, Oddity
    from tests.days.promises import ListId
    from tests.days.spells import Spell
    from tests.support.encompass import Key, Record, Site

Written = dict[str, Any]
Weather = Literal["calm", "faults", "storm"]
FINE = {"complete", "incomplete", "empty"}
_ODD = "odd"
"""Prefix of the names of oddities in the log."""
_EMPTIED = ["list_empty", "total_of_page"]
"""Two oddities that together, in this order, leave an empty list with a total of 0."""
_QUIET = {
    *("outcome", "records", "requests", "parents"),
    *("behind_since", "headroom_days", "message"),
}
"""Names in the summary of a stream that do not mean that rows are missing."""
_CLAIMS = {"equal", "above"}
"""Verdicts that claim that no row is missing."""
_CONTENT = {*_CLAIMS, "unknown"}
"""Verdicts that do not report missing rows."""
_PATIENCE = 3
"""The most runs in which other lists of a stream may keep a list unread."""
_KILLED, _TOKEN_KILLED, _CUT_OFF = 0.14, 0.03, 0.08
_LAST_CONFIRMED = 0.6
_RECONCILIATION = "email_metrics_reconciliation"
_STEP = 10.0
"""Seconds between two snapshots of the rows shown during a run."""
_MOST_SNAPSHOTS = 400
"""The most snapshots of the rows shown during a run."""
_BETWEEN = 0.25
"""Days between two runs of a day."""
_LARGEST_KILL = 9
"""Kills come after up to 2 to the power of this many messages."""


class Killed(BaseException):
    """The end of the process, as with `kill -9`."""


class BrokenError(AssertionError):
    """A promise was broken."""


class Journal(MemoryWriter):
    """Keeps the output up to the kill."""

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
    """The events planned for one run."""

    weather: Weather = "calm"
    kill_at: int | None = None
    kill_at_token: bool = False
    cut_off: bool = False


@dataclass
class Ran:
    """The result of one run.

    Attributes:
        counts: whether it ended by itself and the target loaded all of it.
        spent: whether a limit of the provider stopped it, according to the simulator.
    """

    code: int | None
    messages: list[Written]
    entries: list[Entry]
    reports: dict[str, dict[str, Any]]
    begun: float
    ended: float
    counts: bool = True

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of each stream."""
        return {name: report["outcome"] for name, report in self.reports.items()}

    @property
    def faults(self) -> int:
        """The number of requests with a fault or an oddity."""
        return sum(entry.fault is not None for entry in self.entries)

    def odd(self) -> Iterator[tuple[str, Oddity]]:
        """Yield (path, oddity) of the requests with an oddity."""
        for entry in self.entries:
            names = (entry.fault or "").split()
            if _ODD in names:
                names = names[names.index(_ODD) + 1 :]
                if [name for name in names if name in _EMPTIED] == _EMPTIED:
                    names.append("list_emptied")
                for name in names:
                    yield entry.path, ODDITIES[name]

    def says(self, list_id: ListId, since: float) -> bool:
        """Return True if the run reports that rows of a list are missing.

        A `behind_since` reports it unless the run claims to have the whole list. A
        window that ends at that time claims nothing of what came later.

        Args:
            list_id: the list.
            since: UTC seconds at which the first missing row was shown.
        """
        stream, parent = list_id
        report = self.reports.get(stream)
        if self.code != 0 or report is None or report["outcome"] not in FINE:
            return True
        if any(value for name, value in report.items() if name not in _QUIET):
            return True
        verdicts = {*self.verdicts(stream)}
        if any(verdict not in _CONTENT for _, verdict in verdicts):
            return True
        behind = report.get("behind_since")
        if behind is None or from_iso(behind) > since + 1:
            return False
        claimed = {one for one, verdict in verdicts if verdict in _CLAIMS}
        if parent is not None:
            return str(parent) not in claimed
        return not any(_reaches(one, from_iso(behind)) for one in claimed)

    def verdicts(self, stream: str) -> Iterator[tuple[str, str]]:
        """Yield (parent, verdict) of the read lists of a stream."""
        for one in self.messages:
            if one["type"] == "RECORD" and one["stream"] == _RECONCILIATION:
                record = one["record"]
                if record["stream"] == stream:
                    yield record["parent"], record["verdict"]


@dataclass
class Summary:
    """The results of some days."""

    days: int = 0
    syncs: int = 0
    kills: int = 0
    faults: int = 0
    events: int = 0
    lost: int = 0
    unsaid: int = 0
    invented: int = 0
    broken: list[str] = field(default_factory=list)

    def __add__(self, other: Summary) -> Summary:
        both = zip(self.__dict__.items(), other.__dict__.values(), strict=True)
        return Summary(**{name: one + two for (name, one), two in both})


class Account:
    """A simulated account of one provider, with the promises about it.

    Attributes:
        provider: name of the provider.
        site: the account with its tap and its state.
        rows: the rows of the target, which upserts by key.
        token_path: path of the requests for a token.
        outage: number of the day before which nothing ran, and length in days.
    """

    provider: ClassVar[str]
    token_path: ClassVar[str]

    site: Site
    rows: Rows
    outage: tuple[int, float] | None = None

    def __init__(self, seed: int, days: int) -> None:
        """Build the world of a seed with events for `days` days."""
        raise NotImplementedError

    def faults(self, weather: Weather, seed: int) -> Iterable[Mapping[str, Any]]:
        """Return the rules for the faults of a day."""
        raise NotImplementedError

    def shown(self, at: float) -> Shown:
        """Return the rows of each list at an instant in UTC seconds."""
        raise NotImplementedError

    def served(self, at: float) -> Shown:
        """Return the rows of each list that an answer at an instant may hold.

        They include the rows that are so new that `shown` leaves them to a later run.
        """
        return self.shown(at)

    def visits(self, ran: Ran, shown: Shown) -> Iterable[Visit]:
        """Return the promises that come due with a run that counts."""
        raise NotImplementedError

    def known(self, stream: str, record: Record) -> Record:  # noqa: ARG002
        """Return a record without the values that the truth does not know."""
        return record

    def lists_of(self, path: str) -> Iterable[ListId]:
        """Return the lists that cannot be read without the answer of a path."""
        raise NotImplementedError

    def not_due(
        self,
        list_id: ListId,  # noqa: ARG002
        rows: Mapping[Key, Record],  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> Iterable[Key]:
        """Return the shown keys that a run at an instant need not read."""
        return ()

    def derived(self, path: str) -> Iterable[str]:  # noqa: ARG002
        """Return the streams whose records count the rows in the answer of a path."""
        return ()

    def may_serve(self, path: str, row: Record) -> bool:  # noqa: ARG002
        """Return whether an answer of a path could have a row of one of its lists."""
        return True

    def excuse(self, list_id: ListId, missing: Iterable[Key], now: float) -> None:
        """Note that a run could not notice that a list was odd.

        Args:
            list_id: the list.
            missing: keys of rows that the target lacks or has with other values.
            now: start of the run in UTC seconds.
        """
        raise NotImplementedError

    def settled(self, ran: Ran) -> Iterable[ListId]:  # noqa: ARG002
        """Return the lists that a run counted as read though it missed some rows."""
        return ()

    def recover(self, ran: Ran) -> list[str]:  # noqa: ARG002
        """Act like an operator after a run; return problems that nobody could mend."""
        return []

    def complaints(self, ran: Ran, shown: Shown) -> list[str]:
        """Return other broken promises of a run: number and rate of its requests."""
        raise NotImplementedError

    def state_complaints(
        self, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> list[str]:
        """Return the errors of a state that follows another."""
        raise NotImplementedError


class Days:
    """Successive days of one account.

    Args:
        account: the account to read.
        seed: seed of the events of the days.
        length: number of days for which the account was made, for the replay command.
        spells: the spells of oddities of its API.
        options: further options of the replay command.
        calm: whether there are no other faults and no kills.
    """

    def __init__(  # noqa: PLR0913 -- what a world is made of
        self,
        account: Account,
        seed: int,
        length: int,
        *,
        spells: Sequence[Spell] = (),
        options: str = "",
        calm: bool = False,
    ) -> None:
        self.account = account
        self._spells = spells
        self._options = options
        self._calm = calm
        self._odds: dict[Spell, Odd] = {}
        self._unread: Counter[ListId] = Counter()
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
        """Let days pass; raise BrokenError at the first broken promise."""
        for number in range(days):
            if self.account.outage and number == self.account.outage[0]:
                self._start += self.account.outage[1] * DAY
            rng = random.Random(f"{self.account.provider} {self._seed} {number}")  # noqa: S311
            self._turn_odd(number)
            broken = self._day(number + rng.uniform(0.0, 0.2), rng)
            self.summary.days += 1
            self.summary.events = self._promises.events
            if broken:
                self._break(number + 1, broken)
        return self.summary

    def _turn_odd(self, number: int) -> None:
        """Begin and end the spells of a day."""
        world = self._site.world
        for spell in self._spells:
            if spell.start <= number < spell.end and spell not in self._odds:
                self._odds[spell] = world.odd(
                    spell.name, times=spell.times, share=spell.share, seed=spell.seed
                )
            elif number >= spell.end and spell in self._odds:
                world.odds.remove(self._odds.pop(spell))

    def _break(self, days: int, broken: list[str]) -> None:
        count = Counter(line.partition(":")[0] for line in broken)
        self.summary.lost += count["lost"] + count["stale"] + count["starved"]
        self.summary.unsaid += count["unsaid"]
        self.summary.invented += count["invented"]
        self.summary.broken += broken
        command = (
            f"python -m scripts.soak --provider {self.account.provider} "
            f"--seed {self._seed} --worlds 1 --days {days} --length {self._length}"
            f"{self._options}"
        )
        odd = [f"odd: {spell}" for spell in self._spells if spell.start < days]
        lines = "\n  ".join([*broken[:8], f"({len(broken)} in all)", *odd[-6:]])
        raise BrokenError(
            f"on day {days} of seed {self._seed}:\n  {lines}\nreplay: {command}"
        )

    def _to(self, days: float) -> None:
        clock = self._site.world.clock
        clock.advance(max(0.0, self._start + days * DAY - clock.now()))

    # One day

    def _day(self, start: float, rng: random.Random) -> list[str]:
        broken = []
        plans = (Today(),) if self._calm else _plans(rng)
        for number, today in enumerate(plans):
            # At a time that does not depend on the waits of the run before.
            self._to(start + number * _BETWEEN)
            broken += self.sync(today, rng)
        return broken

    def sync(self, today: Today, rng: random.Random) -> list[str]:
        """Run the tap once with further random events; return broken promises."""
        now = self._site.world.clock.now()
        before = self.account.shown(now)
        self._promises.show(before, now)
        ran = self._sync(today, rng)
        return self._check(ran, before)

    def _check(self, ran: Ran, shown: Shown) -> list[str]:
        broken = self._invented(ran)
        broken += self.account.recover(ran)
        self._excuse(ran, shown)
        if not ran.counts:
            return broken
        broken += self._unsaid(ran, shown)
        outcomes = ran.outcomes
        for visit in self.account.visits(ran, shown):
            rows = shown.get(visit.list_id, {})
            if outcomes.get(visit.list_id[0]) not in FINE:
                broken += self._starved(visit.list_id, rows, ran)
                continue
            self._unread.pop(visit.list_id, None)
            broken += self._promises.visit(visit, rows, self._rows)
        broken += self.account.complaints(ran, shown)
        return broken

    def _excuse(self, ran: Ran, shown: Shown) -> None:
        """Note the lists that no reader could recognise as odd.

        A killed run has also read them, and its state may have been kept.
        """
        hiding = self._struck(ran, is_telling=False)
        for list_id in self.account.settled(ran):
            hiding.setdefault(list_id, {})
        for list_id, paths in hiding.items():
            rows = shown.get(list_id, {})
            have = self._rows.get(list_id[0], {})
            missing = {key for key, row in rows.items() if have.get(key) != row}
            hidden = self._served(paths, rows, missing) if paths else missing
            self.account.excuse(list_id, hidden, ran.begun)

    def _unsaid(self, ran: Ran, shown: Shown) -> list[str]:
        """Return the rows missing in odd lists that the run does not report."""
        lines = []
        hiding = self._struck(ran, is_telling=False)
        for list_id, paths in self._struck(ran, is_telling=True).items():
            rows = shown.get(list_id, {})
            missing = self._missing(list_id, rows, ran.begun)
            # All missing rows may be hidden by the other oddity.
            missing -= self._served(hiding.get(list_id, ()), rows, missing)
            if missing and not ran.says(list_id, self._since(list_id, missing)):
                first = min(missing, key=repr)
                names = ", ".join(sorted({*paths.values()}))
                lines.append(
                    f"unsaid: {list_id[0]} {first} and {len(missing) - 1} others of "
                    f"{list_id[1]}, {names}"
                )
        return lines

    def _struck(self, ran: Ran, *, is_telling: bool) -> dict[ListId, dict[str, str]]:
        """Return the name of the oddity by list and path.

        Args:
            ran: the run.
            is_telling: return those that a reader can notice, otherwise the others.
        """
        found: defaultdict[ListId, dict[str, str]] = defaultdict(dict)
        for path, oddity in ran.odd():
            if (re.search(oddity.telling, path) is not None) == is_telling:
                for list_id in self.account.lists_of(path):
                    found[list_id][path] = oddity.name
        return found

    def _served(
        self, paths: Iterable[str], rows: Mapping[Key, Record], keys: Iterable[Key]
    ) -> set[Key]:
        """Return the keys whose rows could be in the answers of some paths."""
        may_serve = self.account.may_serve
        return {k for k in keys if any(may_serve(path, rows[k]) for path in paths)}

    def _missing(
        self, list_id: ListId, rows: Mapping[Key, Record], now: float
    ) -> set[Key]:
        """Return the keys that a run at an instant should have read but did not."""
        have = self._rows.get(list_id[0], {})
        missing = rows.keys() - have.keys()
        return (
            missing - {*self.account.not_due(list_id, rows, now)}
            if missing
            else missing
        )

    def _since(self, list_id: ListId, keys: Iterable[Key]) -> float:
        return min(self._promises.first_shown[list_id[0], key] for key in keys)

    def _starved(
        self, list_id: ListId, rows: Mapping[Key, Record], ran: Ran
    ) -> list[str]:
        """Return the lists that others kept unread for too many runs."""
        self._unread[list_id] += 1
        missing = self._missing(list_id, rows, ran.begun)
        if self._unread[list_id] <= _PATIENCE or not missing or not self._odds:
            return []
        outcome = ran.outcomes.get(list_id[0])
        return [f"starved: {list_id} of {len(missing)} rows, {outcome}"]

    def _invented(self, ran: Ran) -> list[str]:
        """Return the rows that were never shown, not even for a while during the run.

        Computing the shown rows is slow: it is done at the start, then at the end.
        """
        self._taint(ran)
        found = self._promises.invented(self._fresh)
        if found:
            self._promises.show(self.account.served(ran.ended), ran.ended)
            found = self._promises.invented(self._fresh)
        for times in self._snapshot_times(ran):
            if not found:
                break
            for at in times:
                self._promises.show(self.account.served(at), at)
            found = self._promises.invented(self._fresh)
        return found

    def _snapshot_times(self, ran: Ran) -> Iterator[Sequence[float]]:
        """Yield the times at which lists with seemingly invented rows were answered.

        For a run of many requests, steps of its time come first, which are fewer. They
        do not reach the end of a run that waited for days.
        """
        streams = self._promises.unshown(self._fresh)
        answered = {
            entry.at
            for entry in ran.entries
            if any(stream in streams for stream, _ in self.account.lists_of(entry.path))
        }
        if not 0 < len(answered) <= _MOST_SNAPSHOTS:
            steps = min(_MOST_SNAPSHOTS, int((ran.ended - ran.begun) / _STEP))
            yield [ran.begun + step * _STEP for step in range(1, steps + 1)]
        yield sorted(answered)

    def _taint(self, ran: Ran) -> None:
        """Exclude records with values from odd answers from the comparison."""
        streams = {
            list_id[0]
            for path, oddity in ran.odd()
            if oddity.changes_values
            for list_id in self.account.lists_of(path)
        }
        streams |= {one for path, _ in ran.odd() for one in self.account.derived(path)}
        clean = []
        for one in self._fresh:
            place = one[0], one[1]
            if one[0] in streams:
                self._promises.tainted.add(place)
            else:
                self._promises.tainted.discard(place)
                clean.append(one)
        self._fresh = clean

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
            {name: report.summary() for name, report in tap.run.reports.items()},
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
        """Load the output into the target, up to its death if it dies."""
        taken, state = ran.messages, None
        places = [n for n, one in enumerate(taken) if one["type"] == "STATE"]
        if today.cut_off:
            # Half of the targets that die do so just after a STATE.
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
    """Kills the tap when a token has arrived but is not stored yet."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def __call__(self, request: Request, reply: Reply) -> None:
        if self._path and request.path.endswith(self._path) and reply.status < 300:
            raise Killed


def _plans(rng: random.Random) -> Sequence[Today]:
    """Draw the runs of a day: none, one, or one after a kill."""
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


def _reaches(claimed: str, behind: float) -> bool:
    """Return whether a list claimed to be whole, or its window, ends after a time.

    The name of a window is that of its list, then `start/end`.
    """
    _, slash, end = claimed.rpartition("/")
    return not slash or from_iso(end) > behind


def quiet() -> None:
    """Silence the log of the tap."""
    logging.disable(logging.CRITICAL)
