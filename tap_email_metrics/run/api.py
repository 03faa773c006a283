"""Base of the providers' APIs in one run: limits, budget, time."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from tap_email_metrics.clock import DAY
from tap_email_metrics.contract.contradictions import Contradictions
from tap_email_metrics.contract.watch import Watch
from tap_email_metrics.errors import Fatal
from tap_email_metrics.settings.section import Section
from tap_email_metrics.transport.client import new_session
from tap_email_metrics.transport.files import state_directory
from tap_email_metrics.transport.ledger import Ledger, fingerprint
from tap_email_metrics.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from requests.adapters import BaseAdapter

    from tap_email_metrics.contract.watch import Observer
    from tap_email_metrics.control import Control
    from tap_email_metrics.run.report import StreamReport
    from tap_email_metrics.settings.common import CommonSettings
    from tap_email_metrics.state.plans import Parent, Policy
    from tap_email_metrics.state.streams import Memory, StreamState
    from tap_email_metrics.transport.client import Client

SomeSection = TypeVar("SomeSection", bound=Section)

TOLERATED_SKEW = 60.0
"""If the API's clock is further behind this machine's, the tap uses the API's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The parts of a run that each API object gets.

    Attributes:
        common: the settings that belong to no provider.
        control: the run's clock, end and log.
        memory: the state of the provider's streams.
        report: returns the report of a stream, by its name.
        transport: carries the requests; the network if None.
        known: host and fingerprint of the account that the state belongs to, empty for
            a new state.
        identify: notes the fingerprint once the API has named the account; raises
            InvalidInput if the state belongs to another account.
    """

    common: CommonSettings
    control: Control
    memory: Memory
    report: Callable[[str], StreamReport]
    transport: BaseAdapter | None = None
    known: str
    identify: Callable[[str], None]


class Api(abc.ABC, Generic[SomeSection]):
    """A provider's API with one login and one set of limits, shared by its streams.

    The constructor sends no request.

    Attributes:
        name: name of the provider.
        headroom: extra seconds between requests to absorb network jitter; it lowers
            the rate accordingly.
        settings: the settings of the provider.
        common: the settings that belong to no provider.
        limits: the rate limits and the budget of all requests.
        parents_whole: whether the list of parents is complete.
        lacking: what the list of parents is known to lack, in words; empty if nothing.
        nameless: number of parents that were listed without a usable id.
        unreadable: number of parents that no request for the list of parents can read.
        contradictions: compares what is seen with what is known of the API.
        observers: what answers say about open questions, by the question.
    """

    name: ClassVar[str]
    observers: ClassVar[Mapping[str, Observer]] = {}
    headroom: ClassVar[float] = 0.0

    def __init__(self, settings: SomeSection, context: ApiContext) -> None:
        control = context.control
        self.settings = settings
        self.common = context.common
        self.parents_whole = True
        self.lacking = ""
        self.nameless = 0
        self.unreadable = 0
        self.contradictions = Contradictions(self.name, (), control.logger)
        self._memory = context.memory
        self._control = control
        self._http = new_session(context.transport, control.check)
        self._ledger = self._open_ledger()
        self.limits = Limits(
            clock=control.clock,
            check=control.check,
            requests_per_second=settings.rate,
            max_concurrency=settings.max_concurrency,
            ledger=self._ledger,
            headroom=self.headroom,
        )

    def _open_ledger(self) -> Ledger | None:
        settings = self.settings
        if settings.daily_requests is None:
            return None
        return Ledger(
            # One ledger per API key, wherever tokens are stored: the key has one quota.
            state_directory(),
            fingerprint(f"{self.name} {settings.api_key}"),
            settings.daily_requests,
            self._control.clock,
            self._control.check,
        )

    @property
    @abc.abstractmethod
    def client(self) -> Client:
        """The client that sends the requests."""

    @property
    def account(self) -> str:
        """Value of the `account` column."""
        return self.settings.account

    @property
    def max_concurrency(self) -> int:
        """Largest number of requests in flight."""
        return self.settings.max_concurrency

    @property
    def budget(self) -> int | None:
        """Requests left of the day, None for no limit."""
        return None if self._ledger is None else self._ledger.left()

    def state(self, stream: str) -> StreamState[Any, Any] | None:
        """Return what earlier runs left of a stream, None if it is not selected."""
        return self._memory.selected.get(stream)

    def now(self) -> float:
        """Return the current time in UTC seconds.

        This is this machine's time, or the API's if that is behind, or more than a day
        ahead. The API's clock dates new rows: to a machine that is ahead they look
        old. On a machine that is days behind, earlier checks lie in the future.
        """
        skew = self.client.server_time
        moment = self._control.clock.now()
        if skew is None or -TOLERATED_SKEW <= skew <= DAY:
            return moment
        return moment + skew

    @cached_property
    def policy(self) -> Policy:
        """The settings that decide when a parent's list is due."""
        raise Fatal(f"{self.name} has no streams that fan out")

    def parents(self) -> Sequence[Parent[Any]]:
        """Return the parents of the fan-out streams."""
        return ()

    def watch(self, contradictions: Contradictions) -> None:
        """Let what the run sees be compared with what is known of the API."""
        self.contradictions = contradictions
        self.client.watch = Watch(contradictions, self.observers)

    def close(self) -> None:
        """Release files and connections at the end of the run."""
        if self._ledger:
            self._ledger.close()
