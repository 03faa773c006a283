"""One run: its settings, state, output and reports, and the APIs that it opens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from logging import ERROR, WARNING
from typing import TYPE_CHECKING, Any

from singer_sdk.singerlib import StateMessage

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import Exhausted, TapError, Unavailable
from tap_email_metrics.records.values import to_instant
from tap_email_metrics.run.api import ApiContext
from tap_email_metrics.run.reconciliation import Verdicts
from tap_email_metrics.run.report import StreamReport, table
from tap_email_metrics.state.generations import TAP_KEY, begin_of, check_account, packed
from tap_email_metrics.state.streams import Memory, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from requests.adapters import BaseAdapter

    from tap_email_metrics.clock import Clock
    from tap_email_metrics.control import Control, Stop
    from tap_email_metrics.records.privacy import Privacy
    from tap_email_metrics.records.writer import Writer
    from tap_email_metrics.run.api import Api
    from tap_email_metrics.run.reconciliation import Count
    from tap_email_metrics.settings.common import CommonSettings
    from tap_email_metrics.state.generations import Loaded
    from tap_email_metrics.state.marks import MarkFormat
    from tap_email_metrics.state.streams import Keys

STATE_SECONDS = 60.0
STATE_SHARE = 10  # bytes of records for each byte of STATE


@dataclass(frozen=True, slots=True)
class Connection:
    """The facts about a provider that a run needs.

    Attributes:
        open: makes the API object, without a request.
        account: value of the `account` column.
        identity: host and fingerprint of the account.
        earliest: UTC seconds before which the API has no data, None if unknown.
    """

    open: Callable[[ApiContext], Api[Any]]
    account: str
    identity: str
    earliest: float | None


@dataclass(eq=False, kw_only=True)
class Run:
    """One run of the tap, shared by its providers and streams.

    Attributes:
        control: the run's clock, end and log.
        settings: the settings that belong to no provider.
        output: writes the messages.
        state: the state of all streams, and its generation; changed in place.
        connections: the providers that are switched on, by name.
        marks: the format of each stream's marks, by stream name.
        keys: the further keys of each stream in the state, by stream name.
        selected: returns the names of a provider's selected streams.
        transport: carries all requests; the network if None.
        tell: called for each list that was read to its end, with the provider, the
            stream, the count and the UTC seconds.
        reports: the report of each stream.
        verdicts: the reconciliation of the lists that were read.
        identities: host and fingerprint of each provider's account. The API may name
            the account only during the run.
    """

    control: Control
    settings: CommonSettings
    output: Writer
    state: Loaded
    connections: Mapping[str, Connection]
    marks: Mapping[str, MarkFormat[Any, Any] | None]
    keys: Mapping[str, Keys]
    selected: Callable[[str], Sequence[str]]
    transport: BaseAdapter | None = None
    tell: Callable[[str, str, Count, float], None] | None = None
    reports: dict[str, StreamReport] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=Verdicts)

    def __post_init__(self) -> None:
        minutes, started = self.settings.max_run_minutes, self.control.started
        self.control.deadline = started + minutes * 60 if minutes else None
        self.control.idle = self.output.check
        self.output.stop = self.control.stop
        self._apis: dict[str, Api[Any]] = {}
        self._stream_states: dict[str, StreamState[Any, Any]] = {}
        self._state_written = self.clock.monotonic()
        self._records_covered = 0
        self._logged: set[str] = set()
        self.identities = {n: one.identity for n, one in self.connections.items()}

    @property
    def clock(self) -> Clock:
        """This machine's clock."""
        return self.control.clock

    @property
    def stop(self) -> Stop:
        """Set when the run has to end."""
        return self.control.stop

    @property
    def started(self) -> float:
        """Start of the run in UTC seconds."""
        return self.control.started

    @property
    def privacy(self) -> Privacy:
        """Decides how personal data is emitted."""
        return self.settings.privacy

    @property
    def id(self) -> str:
        """Name of the run in tables: its start, in UTC.

        The keys of these tables also have the account and the stream. Two runs of one
        account would need to start in the same millisecond to share a key.
        """
        return to_instant(int(self.started * 1000))

    def idle(self) -> None:
        """Notice, while the run waits, that stdout is no longer read."""
        self.control.idle()

    # State

    @property
    def bookmarks(self) -> dict[str, Any]:
        """The part of each stream in the state, by name."""
        return self.state.bookmarks

    @property
    def shared_state(self) -> dict[str, Any]:
        """The part of the state that belongs to no stream."""
        found: dict[str, Any] = self.bookmarks.setdefault(TAP_KEY, {})
        return found

    def stream_state(self, name: str) -> StreamState[Any, Any]:
        """Return the state of a stream.

        Raises:
            InvalidInput: the state is damaged.
        """
        if name not in self._stream_states:
            entry = self.bookmarks.setdefault(name, {})
            marks, keys = self.marks.get(name), self.keys.get(name)
            place = self.state.places.get(name, name)
            self._stream_states[name] = StreamState(place, entry, marks, keys)
        return self._stream_states[name]

    def write_state(self) -> None:
        """Write a STATE. It covers exactly the records written before it."""
        self.shared_state.setdefault("accounts", {}).update(self.identities)
        bookmarks = packed(self.bookmarks, self.state.generation)
        self.output.write_message(StateMessage(value={"bookmarks": bookmarks}))
        self._state_written = self.clock.monotonic()
        self._records_covered = self._records()

    def _records(self) -> int:
        return sum(report.records for report in self.reports.values())

    def write_state_of_records(self) -> None:
        """Write a STATE if records were written since the last one."""
        if self._records() != self._records_covered:
            self.write_state()

    def write_state_in_time(self) -> None:
        """Write a STATE after a minute, or if it is small compared to the records."""
        waited = self.clock.monotonic() - self._state_written
        if waited >= STATE_SECONDS:
            self.write_state()
        elif self.output.written > STATE_SHARE * max(self.output.state_size, 1_000):
            self.write_state_of_records()

    # The APIs

    def api(self, provider: str) -> Api[Any]:
        """Return a provider's API; it is opened once per run."""
        if provider not in self._apis:
            connection = self.connections[provider]
            self._log_begin(provider)
            self._warn_of_start(provider, connection.earliest)
            self._apis[provider] = connection.open(
                ApiContext(
                    common=self.settings,
                    control=self.control,
                    memory=self._memory(provider),
                    report=self.report,
                    transport=self.transport,
                    known=max(self._known(provider), key=len, default=""),
                    identify=partial(self._identify, provider),
                )
            )
        return self._apis[provider]

    def check_accounts(self) -> None:
        """Check that the state belongs to the accounts in the settings.

        Raises:
            InvalidInput: it belongs to another account.
        """
        for provider, connection in self.connections.items():
            self._identify(provider, connection.identity)

    def _identify(self, provider: str, identity: str) -> None:
        known = self._known(provider)
        self.identities[provider] = check_account(known, provider, identity)

    def _known(self, provider: str) -> Collection[str]:
        """Return host and fingerprint of the accounts that the state belongs to."""
        return self.state.accounts.get(provider, ())

    def _log_begin(self, provider: str) -> None:
        """Log one line when a provider's first stream begins."""
        names = self.selected(provider)
        known = sum(bool(self.bookmarks.get(name)) for name in names)
        how = f"{known} continue from the state" if known else "read for the first time"
        self.control.logger.info("%s: %d streams, %s", provider, len(names), how)

    def _memory(self, provider: str) -> Memory:
        selected = self.selected(provider)
        others = [
            name
            for name in self.bookmarks
            if name.startswith(f"{provider}_") and name not in selected
        ]
        return Memory(
            {name: self.stream_state(name) for name in selected},
            {name: self.stream_state(name) for name in others},
            self.shared_state,
        )

    def _warn_of_start(self, provider: str, earliest: float | None) -> None:
        start = self.settings.start
        if start is not None and earliest is not None and start < earliest:
            self.control.logger.warning(
                "start_date is before %s, and %s has nothing earlier: reading begins "
                "there; set start_date to it or later, or leave it out",
                iso(earliest)[:10],
                provider,
            )

    def close(self) -> None:
        """Close the APIs that were opened."""
        for api in self._apis.values():
            api.close()

    def account(self, provider: str) -> str:
        """Return the `account` of a provider that is switched on."""
        return self.connections[provider].account

    def provider_of(self, stream: str) -> str:
        """Return the name of the provider that a stream belongs to.

        Raises:
            StopIteration: the stream belongs to none that is switched on.
        """
        return next(one for one in self.connections if stream.startswith(f"{one}_"))

    def streams_left(self, provider: str) -> int:
        """Return the number of a provider's selected streams that have not ended."""
        names = self.selected(provider)
        return sum(self.report(name).outcome == "pending" for name in names)

    def history_share(self, provider: str) -> int | None:
        """Return the number of requests that a stream may spend on history.

        Returns None if the provider has no daily limit.
        """
        budget = self.api(provider).budget
        return None if budget is None else budget // max(1, self.streams_left(provider))

    def requests_sent(self, provider: str) -> int:
        """Return the number of requests sent to a provider so far."""
        api = self._apis.get(provider)
        return api.limits.sent if api else 0

    def quota_left(self, provider: str) -> int | None:
        """Return the number of requests left of a provider's day, None if unlimited.

        Also returns None if the ledger cannot be read.
        """
        api = self._apis.get(provider)
        try:
            return api.budget if api else None
        except (TapError, OSError):
            return None  # the streams have reported the error

    def now(self, provider: str) -> float:
        """Return the current time of a provider's API.

        Returns this machine's time if the API was not opened, and does not open it.
        """
        api = self._apis.get(provider)
        return api.now() if api else self.clock.now()

    # Reports

    def report(self, stream: str) -> StreamReport:
        """Return the report of a stream."""
        if stream not in self.reports:
            self.reports[stream] = StreamReport()
        return self.reports[stream]

    def lags(self, stream: str) -> bool:
        """Return whether a stream is further behind than `max_lag_days` allows.

        A stream of which no run has read anything is behind since the first run.
        """
        limit, report = self.settings.max_lag_days, self.report(stream)
        since = report.behind_since
        if since is None and self._was_never_read(stream):
            since = begin_of(self.state.generation)
        if not limit or since is None:
            return False
        return self.now(self.provider_of(stream)) - since > limit * DAY

    def _was_never_read(self, stream: str) -> bool:
        """Return whether neither this run nor an earlier one could read a stream."""
        if self.settings.backfill:
            return False
        cut = self.report(stream).outcome in {"paused", "terminated"}
        return cut and self.stream_state(stream).read_all_due is None

    def log_end(self, stream: str) -> None:
        """Log one line at the end of a stream."""
        report = self.report(stream)
        about = {"outcome": report.outcome}
        self.control.logger.info("%s: %s", stream, report.line(), extra=about)

    def reconcile(self, provider: str, stream: str, count: Count, at: float) -> None:
        """Note the count of a list whose rows were written."""
        self.verdicts.note(stream, count)
        if self.tell:
            self.tell(provider, stream, count, at)

    def complain(self, stream: str, what: str, error: TapError) -> None:
        """Log why a stream did not complete; a reason is logged only once."""
        if str(error) not in self._logged:
            self._logged.add(str(error))
            # Missing access and a spent budget are expected: a warning, not an error.
            expected = isinstance(error, (Unavailable, Exhausted))
            level = WARNING if expected else ERROR
            self.control.logger.log(level, "%s: %s: %s", stream, what, error)

    def fail(self, stream: str, error: TapError) -> None:
        """End a stream as failed."""
        report = self.report(stream)
        report.outcome, report.message = "failed", str(error)
        self.complain(stream, "failed", error)

    def remember_last(self) -> None:
        """Store in the state which stream the next run begins with."""
        self.shared_state.pop("last_stream", None)
        names = list(self.reports)
        stopped = [
            name
            for name, report in self.reports.items()
            if report.outcome in {"paused", "terminated"}
        ]
        cut = [name for name in stopped if self.reports[name].cut]
        if stopped:
            last = (cut or stopped)[0]
            # The first stream had the whole run to itself and still did not end. The
            # next stream begins, or this one would take all of every run.
            alone = cut and names.index(last) == 0
            self.shared_state["last_stream"] = names[1 % len(names)] if alone else last

    @property
    def was_refused(self) -> bool:
        """Whether every provider refused the credentials, so that nothing was read."""
        reports = self.reports.values()
        return bool(reports) and all(r.refused and not r.records for r in reports)

    def log_summary(self) -> None:
        """Log what all streams did: a table for people, then one line of JSON."""
        log = self.control.logger
        if differing := self.verdicts.new:
            log.warning(
                "lists whose rows still differ from the vendor's count after another "
                "read: %d; the run summary names the first ones under differing",
                differing,
            )
        for line, outcome in table(self.reports):
            log.info("%s", line, extra={"outcome": outcome})
        log.info("%s", self.summary())

    def summary(self) -> str:
        """Return the run summary: one line of JSON."""
        behind = [
            report.behind_since
            for report in self.reports.values()
            if report.behind_since is not None
        ]
        paused = [
            name
            for name, report in self.reports.items()
            if report.outcome in {"paused", "terminated"}
        ]
        return json.dumps(
            {
                "event": "run_summary",
                "streams": {
                    name: report.summary() for name, report in self.reports.items()
                },
                "paused": paused,
                "behind_since": iso(min(behind)) if behind else None,
                "requests": sum(report.requests for report in self.reports.values()),
                "seconds": round(self.clock.now() - self.started, 1),
                **self.verdicts.summary(),
            }
        )
