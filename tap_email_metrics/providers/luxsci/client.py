"""LuxSci quirks: signed URLs, failures in a 200, answers read as they come."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import requests
from typing_extensions import override

from tap_email_metrics.errors import (
    AuthenticationFailed,
    Denied,
    Exhausted,
    Gone,
    Retriable,
    Skippable,
    TapError,
    Throttled,
    Unavailable,
)
from tap_email_metrics.http import Client, explained, request_id
from tap_email_metrics.providers.luxsci.auth import error_text
from tap_email_metrics.providers.luxsci.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_email_metrics.http import Authenticator
    from tap_email_metrics.limits import Limits
    from tap_email_metrics.providers.luxsci.paths import Endpoint
    from tap_email_metrics.run import Run

Row = dict[str, object]

_CHUNK = 64 * 1024
_DENIED = re.compile(r"access|denied|permission|not allowed|not permitted|forbidden")
_THROTTLED = re.compile(r"too many|rate limit|throttl")
_SPENT = re.compile(r"(daily|per day|day's) .*(limit|quota)|quota")
_UNAUTHORISED = 401


class Refused(Retriable):
    """A failure in a 200: a new auth code may help, once."""

    most_tries = 2


class LuxSciAnswer:
    """One page of a report; what a cut connection left of it counts as a short one."""

    def __init__(
        self, response: requests.Response, report: Report, what: str, run: Run
    ) -> None:
        self._response = response
        self._report = report
        self._what = what
        self._run = run

    @property
    def count(self) -> int | None:
        """Rows in the whole window, as far as the answer has said so by now."""
        return self._report.count

    def sole_count(self) -> int | None:
        """Return the count of an answer without rows, wherever it is."""
        return self._report.sole_count()

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows of the page, some at a time.

        Raises:
            Skippable: the answer says at its end that it is none.
        """
        try:
            yield from self._report.rows()
        except Retriable as error:
            # What came is good, and the next page begins behind it.
            self._run.logger.info("%s: the answer was cut: %s", self._what, error)
            return
        if self._report.failed:
            raise Skippable(f"{self._what} answered that it failed")

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()


class LuxSciClient(Client):
    """Reads reports.

    Attributes:
        served: whether any report was answered in this run.
    """

    def __init__(  # noqa: PLR0913 - the base's, and who may sign
        self,
        base_url: str,
        authenticator: Authenticator,
        limits: Limits,
        run: Run,
        session: requests.Session,
        *,
        has_key: bool,
    ) -> None:
        super().__init__(base_url, authenticator, limits, run, session)
        self._run = run
        self._has_key = has_key
        self.served = False

    def url(
        self,
        endpoint: Endpoint,
        places: Mapping[str, object],
        params: Mapping[str, int | str],
    ) -> str:
        """Return the URL of a report, in the very form that is signed and sent.

        A space is `%20`: what is signed must not change on the way.
        """
        quoted = {name: quote(str(value), safe="") for name, value in places.items()}
        path = endpoint.path.format(**quoted)
        query = urlencode(params, quote_via=quote, safe="")
        return f"{self._base_url}{path}?{query}" if query else self._base_url + path

    def report(
        self, endpoint: Endpoint, url: str, columns: Mapping[str, str]
    ) -> LuxSciAnswer:
        """Return an answer of a report, its first rows decoded.

        Args:
            endpoint: what is read.
            url: as `url` returns it.
            columns: the vendor's names of known columns, by lower case.

        Raises:
            Unavailable: it may not be read, or is not where it was assumed to be.
            Skippable: it cannot be read now.
            AuthenticationFailed: the key is refused.
        """
        try:
            response, report = self.retrying(
                partial(self._open, endpoint, url, columns),
                before_retry=partial(self._before_retry, url),
            )
        except Denied as error:
            raise self._denied(endpoint, error) from error
        except Gone as error:
            raise _missing(endpoint, error) from error
        self.served = True
        return LuxSciAnswer(response, report, f"GET {endpoint.path}", self._run)

    def _open(
        self, endpoint: Endpoint, url: str, columns: Mapping[str, str]
    ) -> tuple[requests.Response, Report]:
        what = f"GET {endpoint.path}"
        response = self.exchange(url, endpoint.path, stream=True)
        try:
            report = Report(_chunks(response, what, url), columns)
            _judge(report, f"{what} answered 200{request_id(response)}", self.limits)
        except TapError:
            response.close()
            raise
        return response, report

    def _before_retry(self, url: str, error: Retriable) -> None:
        if isinstance(error, Refused):
            headers = self._authenticator.headers(self, url)
            self._authenticator.renew(headers, self)

    def _denied(self, endpoint: Endpoint, error: Denied) -> TapError:
        if self._has_key and not self.served and f" {_UNAUTHORISED}" in str(error):
            return AuthenticationFailed(
                f"LuxSci refused the API key: {error}; check luxsci.token and "
                "luxsci.secret, and luxsci.auth (api_key or secure)"
            )
        return Unavailable(
            f"{error}. Allow {endpoint.operation} in the access controls of the API "
            "integration, or deselect the stream"
        )

    @override
    def check(self, response: requests.Response, what: str) -> None:
        """Decide what a response means; see the base.

        Raises:
            Exhausted: the day's quota is spent.
        """
        if response.status_code == requests.codes.too_many_requests:
            text = error_text(_small_json(response))
            if _SPENT.search(text):
                self.limits.spend_day()
                raise Exhausted(f"{what} answered 429: the quota of this day is spent")
        super().check(response, what)


def _chunks(response: requests.Response, what: str, url: str) -> Iterator[bytes]:
    """Yield a body as it comes.

    Raises:
        Retriable: the connection broke.
    """
    try:
        yield from response.iter_content(_CHUNK)
    except requests.exceptions.RequestException as error:
        raise explained(error, what, url) from error


def _small_json(response: requests.Response) -> object:
    """Return what an error says, unless it is no JSON."""
    try:
        return response.json()
    except requests.exceptions.RequestException:
        return None


def _judge(report: Report, where: str, limits: Limits) -> None:
    """Return where an answer is a report.

    Raises:
        Denied, Throttled, Exhausted, Refused: it says that it is none.
        Retriable: it is nothing of the kind.
    """
    if report.failed:
        text = error_text(report.about)
        if _SPENT.search(text):
            limits.spend_day()
            raise Exhausted(f"{where}: the quota of this day is spent")
        if _THROTTLED.search(text):
            raise Throttled(f"{where}, throttled")
        if _DENIED.search(text):
            raise Denied(f"{where}, denied")
        raise Refused(f"{where} with success 0")
    if not report.is_one:
        raise Retriable(f"{where} with a body that is no report")


def _missing(endpoint: Endpoint, error: Gone) -> TapError:
    """Return what a 404 means: it depends on how the path is known."""
    if endpoint.is_a_guess:
        return Unavailable(
            f"{error}. That path is {endpoint.mark}, not documented: set "
            f"luxsci.path_overrides.{endpoint.operation} to the right one, or "
            "luxsci.openapi_path to your copy of the vendor's OpenAPI file"
        )
    hint = "luxsci.account_id, luxsci.user or luxsci.logins"
    if endpoint.mark != "confirmed":
        hint = f"luxsci.{endpoint.mark}, {hint}"
    return Skippable(f"{error}; check {hint}")
