"""The API object of the LuxSci streams: the client, and the lists to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from typing_extensions import override

from tap_email_metrics.clock import DAY
from tap_email_metrics.providers.luxsci.auth import (
    KeyAuthenticator,
    SecureAuthenticator,
)
from tap_email_metrics.providers.luxsci.client import LuxSciClient
from tap_email_metrics.providers.luxsci.paths import offered, resolve
from tap_email_metrics.providers.luxsci.report import Wanted
from tap_email_metrics.providers.luxsci.settings import LuxSciSettings, login_digest
from tap_email_metrics.run.api import Api
from tap_email_metrics.state.windows import Window, merged, touch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.contract.contradictions import Contradictions
    from tap_email_metrics.providers.luxsci.auth import ReportAuthenticator
    from tap_email_metrics.providers.luxsci.client import LuxSciAnswer
    from tap_email_metrics.providers.luxsci.paths import Endpoint
    from tap_email_metrics.run.api import ApiContext
    from tap_email_metrics.streams.window_reader import WindowPart

FIRST_DAYS = 365
"""Days that the first run reads if there is no start date."""


@dataclass(frozen=True, slots=True)
class ReportList:
    """One report of an account or login: a list that is read in windows.

    Attributes:
        client: sends the requests.
        key: the channel, or a digest of the login.
        endpoint: the report's path.
        places: values of the parameters in the path.
        columns: values that all its records have from the request.
        names: the vendor's names of its columns, by lower-case name.
        wanted: the columns that its rows must have.
        query: further query parameters.
    """

    client: LuxSciClient
    key: str
    endpoint: Endpoint
    places: Mapping[str, object]
    columns: Mapping[str, object]
    names: Mapping[str, str]
    wanted: Wanted = field(default_factory=Wanted)
    query: Mapping[str, int | str] = field(default_factory=dict)

    def open(self, window: Window | None, first_row: int, most: int) -> LuxSciAnswer:
        """Return the page that begins at a row of a window, or of all rows for None."""
        params = {"first_row": first_row, "matches": most}
        return self._ask(window, params, self.wanted)

    def count(self, window: Window | None) -> int | None:
        """Return the number of rows, None if the response does not say."""
        answer = self._ask(window, {"first_row": 0, "matches": 0}, Wanted())
        try:
            return answer.sole_count()
        finally:
            answer.close()

    def _ask(
        self, window: Window | None, params: Mapping[str, int | str], wanted: Wanted
    ) -> LuxSciAnswer:
        dates: dict[str, int | str] = {}
        if window is not None:
            dates = {
                "from_date": datetime_text(window.start),
                "before_date": datetime_text(window.end),
            }
        query = {**dates, **params, **self.query}
        url = self.client.url(self.endpoint, self.places, query)
        return self.client.report(self.endpoint, url, self.names, wanted)


def datetime_text(seconds: int) -> str:
    """Return an instant in LuxSci's format, in GMT."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")[:19]


@dataclass(slots=True)
class Days:
    """Rows per UTC day of their own date, in the windows that were read whole.

    Attributes:
        doubtful: the windows of the list use another date, so the days prove nothing.
    """

    doubtful: bool = False
    _windows: tuple[Window, ...] = ()
    _rows: Counter[int] = field(default_factory=Counter)

    def add(self, part: WindowPart) -> None:
        """Add the rows of a window."""
        if part.window is None or not part.whole:
            return
        # A row in two windows would count twice.
        again = touch(self._windows, part.window)
        self.doubtful = self.doubtful or again or part.outside > 0
        self._windows = merged([*self._windows, part.window])
        self._rows.update(part.days)

    def rows(self, day: Window) -> int | None:
        """Return the rows of a day, None if not all of it was read."""
        if self.doubtful or not any(
            one.start <= day.start and day.end <= one.end for one in self._windows
        ):
            return None
        return self._rows[day.start]


class LuxSciApi(Api[LuxSciSettings]):
    """Shared by the LuxSci streams of one run.

    Attributes:
        days: rows per day that were read in this run, by stream and list.
    """

    name = "luxsci"
    headroom = 0.02

    def __init__(self, settings: LuxSciSettings, context: ApiContext) -> None:
        super().__init__(settings, context)
        control = context.control
        self.days: dict[tuple[str, str], Days] = defaultdict(Days)
        has_key = settings.auth == "api_key"
        self._authenticator: ReportAuthenticator = (
            KeyAuthenticator(settings)
            if has_key
            else SecureAuthenticator(settings, self._http, control)
        )
        self._client = LuxSciClient(
            settings.api_url,
            self._authenticator,
            self.limits,
            control,
            self._http,
            has_key=has_key,
            has_logins=settings.scope == "account",
        )

    @property
    @override
    def client(self) -> LuxSciClient:
        return self._client

    @override
    def watch(self, contradictions: Contradictions) -> None:
        super().watch(contradictions)
        self._client.saw = contradictions.saw

    @override
    def close(self) -> None:
        self._authenticator.close(self._client)
        super().close()

    @property
    def first_start(self) -> int:
        """Start of the first read of a list, in UTC seconds."""
        if self.common.start is not None:
            return int(self.common.start)
        return int(self._control.started) - FIRST_DAYS * DAY

    def of_scope(
        self,
        operations: Sequence[tuple[str | None, str]],
        names: Mapping[str, str],
        wanted: Wanted,
        query: Mapping[str, int | str],
    ) -> list[ReportList]:
        """Return the lists of a report in the scope of the settings.

        Args:
            operations: pairs of a channel and the vendor's name of its report, with
                `{}` for the scope.
            names: the vendor's names of its columns, by lower-case name.
            wanted: the columns that its rows must have.
            query: further query parameters.
        """
        settings = self.settings
        login = settings.user if settings.scope == "user" else None
        return [
            ReportList(
                self._client,
                channel or "all",
                self._endpoint(operation),
                {"account": settings.account_id, "login": login},
                {"login": login, "channel": channel, "scope": settings.scope},
                names,
                wanted,
                query,
            )
            for channel, name in operations
            if (operation := offered(name, settings.scope)) is not None
        ]

    def of_logins(
        self,
        operation: str,
        names: Mapping[str, str],
        wanted: Wanted,
        query: Mapping[str, int | str],
    ) -> list[ReportList]:
        """Return the lists of a report that exists once per login; see `of_scope`."""
        return [
            ReportList(
                self._client,
                login_digest(login),
                self._endpoint(operation),
                {"account": self.settings.account_id, "login": login},
                {"login": login},
                names,
                wanted,
                query,
            )
            for login in self.settings.logins
        ]

    def _endpoint(self, operation: str) -> Endpoint:
        settings = self.settings
        return resolve(operation, settings.path_overrides, settings.described)
