"""LuxSci client: signed URLs, errors in a 200, responses decoded while they arrive."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import requests
from typing_extensions import override

from tap_email_metrics.errors import (
    AuthenticationFailed,
    Denied,
    Gone,
    NotUnderstood,
    Retriable,
    Skippable,
    TapError,
    Unavailable,
)
from tap_email_metrics.providers.luxsci.answers import (
    error_text,
    heed_pace,
    parsed,
    reason_of,
)
from tap_email_metrics.providers.luxsci.report import Report, Wanted
from tap_email_metrics.streams.window_reader import MOST_IN_PAGE
from tap_email_metrics.transport.bounds import TooLong
from tap_email_metrics.transport.client import (
    Client,
    explained,
    request_id,
    retry_after,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tap_email_metrics.control import Control
    from tap_email_metrics.providers.luxsci.paths import Endpoint
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.transport.client import Authenticator
    from tap_email_metrics.transport.limits import Limits

    Saw = Callable[..., None]

_CHUNK = 64 * 1024
_DENIED = re.compile(r"access|denied|permission|not allowed|not permitted|forbidden")
_KEY_HINT = "check luxsci.token and luxsci.secret, and luxsci.auth"


class FailedReport(Retriable):
    """A 200 whose body says that the request failed. One retry with a new auth code.

    Attributes:
        headers: of the request.
    """

    most_tries = 2

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


class DoubtedCredentials(FailedReport):
    """The error text points to the credentials, and no report was served so far."""

    ends_as = AuthenticationFailed


class DeniedReport(FailedReport):
    """The error text says that access is denied: the auth code may have expired."""

    ends_as = Denied


class _PageTooLong(Skippable):
    """A page exceeds the size limit before its first row; a smaller page may fit.

    Unlike `TooLong` it is not retried: the same request gets the same response.
    """


class LuxSciAnswer:
    """One page of a report. If the connection breaks, the rows received are a page.

    Args:
        response: is read while it arrives.
        report: decodes it.
        what: method and path template, for messages.
        control: has the log.
        saw: takes note of the shape of a page that was read to its end.
    """

    def __init__(
        self,
        response: requests.Response,
        report: Report,
        what: str,
        control: Control,
        saw: Saw,
    ) -> None:
        self._response = response
        self._report = report
        self._what = what
        self._control = control
        self._saw = saw

    @property
    def count(self) -> int | None:
        """Number of rows in the whole window, None if it was not read so far."""
        return self._report.count

    @property
    def has_list(self) -> bool:
        """Whether the response has a list of rows, even an empty one."""
        return self._report.has_list

    def sole_count(self) -> int | None:
        """Read the response to its end; return its count if it has no other rows.

        Raises:
            Skippable: the body says at its end that the request failed, or is cut.
        """
        for _ in self.rows():
            pass
        return self._report.sole_count()

    def sole_row(self) -> Row | None:
        """Return the only row of a response without a list. Call it after `rows`."""
        return self._report.sole_row()

    def rows(self) -> Iterator[list[Row | None]]:
        """Yield the rows of the page in batches; None for an entry that is not a row.

        Raises:
            TooLong: the body exceeds the size limit before its first row.
            Skippable: the body says at its end that the request failed, or it is cut
                before its first row.
        """
        received = 0
        try:
            for rows in self._report.rows():
                received += len(rows)
                yield rows
        except Retriable as error:
            if not received:
                if isinstance(error, TooLong):
                    raise
                raise Skippable(f"{self._what}: {error}") from error
            # The rows received are good. The next page begins after them.
            self._control.logger.info("%s: the response was cut: %s", self._what, error)
            return
        if self._report.failed:
            raise Skippable(
                f"{self._what} answered 200, but the body says that the request failed"
            )
        self._observe(received)

    def _observe(self, received: int) -> None:
        """Say what a page shows of its shape, and of the number that was asked for."""
        report, saw = self._report, self._saw
        if report.count_at is not None:
            saw("count_place", report.count_at)
        query = dict(parse_qsl(urlsplit(self._response.request.url or "").query))
        first, most = (int(query.get(name, 0)) for name in ("first_row", "matches"))
        if report.count is not None and report.count < first + received:
            saw("count_meaning", "page")
        if not received:
            return
        if report.row_form is not None:
            saw("row_form", report.row_form)
        if report.entry_form is not None:
            saw("header_form", report.entry_form)
        saw("header_place", report.header_at or "nowhere")
        if report.count is None:
            saw("count_meaning", "nothing")
        if 0 < most < received:
            saw("page_size", "ignored")
        # A second page as long as the first is no late row: the first one was cut.
        if 0 < first < most == MOST_IN_PAGE and received >= first:
            saw("page_limit", "fewer")

    def close(self) -> None:
        """Release the connection."""
        self._response.close()


class LuxSciClient(Client):
    """Reads reports.

    Args:
        has_key: whether an API key signs the requests.
        has_logins: whether a login in a path is one of several, not the API user.

    Attributes:
        served: whether any report was read in this run.
        saw: takes note of the shapes of answers; see `Contradictions.saw`.
    """

    def __init__(  # noqa: PLR0913 - the base's, and who may sign
        self,
        base_url: str,
        authenticator: Authenticator,
        limits: Limits,
        control: Control,
        session: requests.Session,
        *,
        has_key: bool,
        has_logins: bool,
    ) -> None:
        super().__init__(base_url, authenticator, limits, control, session)
        self._control = control
        self._has_key = has_key
        self._has_logins = has_logins
        self._denied: set[str] = set()
        self.served = False
        self.saw: Saw = _ignored

    def url(
        self,
        endpoint: Endpoint,
        places: Mapping[str, object],
        params: Mapping[str, int | str],
    ) -> str:
        """Return the URL of a report, exactly as it is signed and sent.

        Spaces become `%20`, which no library rewrites after the signing. The `@` of a
        login is not escaped, as in the vendor's samples.
        """
        quoted = {name: quote(str(value), safe="@") for name, value in places.items()}
        path = endpoint.path.format(**quoted)
        query = urlencode(params, quote_via=quote, safe="")
        return f"{self._base_url}{path}?{query}" if query else self._base_url + path

    def report(
        self,
        endpoint: Endpoint,
        url: str,
        columns: Mapping[str, str],
        wanted: Wanted,
    ) -> LuxSciAnswer:
        """Return one page of a report, with its first rows decoded.

        Args:
            endpoint: the report.
            url: the result of `url`.
            columns: the vendor's names of the known columns, by lower-case name.
            wanted: the columns that the rows must have.

        Raises:
            NotUnderstood: the rows are not understood.
            TooLong: the body exceeds the size limit before its first row.
            Unavailable: access is denied, or the assumed path is wrong.
            Skippable: the report cannot be read now.
            AuthenticationFailed: the credentials are refused.
        """
        try:
            response, report = self.retrying(
                partial(self._open, endpoint, url, columns, wanted),
                before_retry=self._before_retry,
            )
        except Denied as error:
            # Another new code for each login would help as little.
            self._denied.add(f"GET {endpoint.path}")
            raise _denied(endpoint, error) from error
        except Gone as error:
            raise _missing(endpoint, error) from error
        except _PageTooLong as error:
            raise TooLong(str(error)) from error
        self.served = True
        what = f"GET {endpoint.path}"
        return LuxSciAnswer(response, report, what, self._control, self.saw)

    def _open(
        self,
        endpoint: Endpoint,
        url: str,
        columns: Mapping[str, str],
        wanted: Wanted,
    ) -> tuple[requests.Response, Report]:
        what = f"GET {endpoint.path}"
        response = self.exchange(url, endpoint.path, stream=True)
        try:
            report = Report(self._chunks(response, what, url), columns, wanted)
            self._judge(report, response, what)
        except TooLong as error:
            response.close()
            # The same request would get the same response.
            raise _PageTooLong(f"{what}: {error}") from error
        except NotUnderstood as error:
            response.close()
            raise NotUnderstood(
                f"{what} answered 200{request_id(response)} with {error}"
            ) from error
        except TapError:
            response.close()
            raise
        return response, report

    def _chunks(
        self, response: requests.Response, what: str, url: str
    ) -> Iterator[bytes]:
        """Yield the parts of a body as they arrive.

        Raises:
            TooLong: the body exceeds the size limit.
            Retriable: the connection broke.
        """
        try:
            for chunk in response.iter_content(_CHUNK):
                self.received.add(len(chunk))
                yield chunk
        except requests.exceptions.RequestException as error:
            raise explained(error, what, url) from error

    def _judge(self, report: Report, response: requests.Response, what: str) -> None:
        """Check that a 200 holds a report.

        Raises:
            Denied, Throttled, Exhausted, FailedReport: the body says that the request
                failed.
            Retriable: the body is not a report.
        """
        where = f"{what} answered 200{request_id(response)}"
        if report.failed:
            text = error_text(report.about)
            wait = retry_after(response, self._clock.now())
            heed_pace(text, where, self.limits, wait)
            headers = response.request.headers
            if _DENIED.search(text):
                if self._has_key or what in self._denied:
                    raise Denied(f"{where}, denied")
                raise DeniedReport(f"{where}, denied", headers)
            if hint := self._hint(text, what):
                raise DoubtedCredentials(f"LuxSci refused {where}; {hint}", headers)
            raise FailedReport(f"{where} with success 0, or with an error", headers)
        if not report.is_one:
            raise Retriable(f"{where} with a body that is not a report")

    def _hint(
        self, text: str, what: str, status: int = requests.codes.ok
    ) -> str | None:
        """Return which credential to check, None if the error is about another thing.

        Once a report was served in this run, the credentials are right. With an auth
        code they are, too, so that a refusal of one of several logins is about it.
        """
        if self.served or _DENIED.search(text):
            return None
        if self._has_logins and not self._has_key and "{login}" in what:
            return None
        # A 401 to a signed request is not about the credentials: they have obtained
        # the auth code.
        is_of_key = self._has_key and status == requests.codes.unauthorized
        return reason_of(text) or (_KEY_HINT if is_of_key else None)

    def _before_retry(self, error: Retriable) -> None:
        if isinstance(error, FailedReport):
            self._authenticator.renew(error.headers, self)

    @override
    def check(self, response: requests.Response, what: str) -> None:
        """Raise the error that tells the caller what to do; see the base class.

        Raises:
            Exhausted: the quota of the day is spent.
            AuthenticationFailed: the error text points to the credentials.
        """
        status = response.status_code
        if status != requests.codes.ok:
            where = f"{what} answered {status}{request_id(response)}"
            text = error_text(_body(response))
            heed_pace(
                text, where, self.limits, retry_after(response, self._clock.now())
            )
            if status in self.refusals and (hint := self._hint(text, what, status)):
                raise AuthenticationFailed(
                    f"LuxSci refused the credentials: {where}; {hint}"
                )
        super().check(response, what)


def _ignored(_question: str, *_readings: str) -> None:
    """Take no note of a shape."""


def _body(response: requests.Response) -> object:
    """Return the decoded body of an error response, None if it is not JSON."""
    try:
        return parsed(response.content)
    except (requests.exceptions.RequestException, TooLong):
        return None


def _denied(endpoint: Endpoint, error: Denied) -> Unavailable:
    return Unavailable(
        f"{error}. Allow {endpoint.operation} in the access controls of the API "
        "integration, or deselect the stream"
    )


def _missing(endpoint: Endpoint, error: Gone) -> TapError:
    """Map a 404 to an error: it depends on where the path comes from."""
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
