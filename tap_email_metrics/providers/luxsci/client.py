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
from tap_email_metrics.transport.bounds import TooLong
from tap_email_metrics.transport.client import (
    Client,
    explained,
    request_id,
    retry_after,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_email_metrics.control import Control
    from tap_email_metrics.providers.luxsci.paths import Endpoint
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.transport.client import Authenticator
    from tap_email_metrics.transport.limits import Limits


_CHUNK = 64 * 1024
_DENIED = re.compile(r"access|denied|permission|not allowed|not permitted|forbidden")
_KEY_HINT = "check luxsci.token and luxsci.secret, and luxsci.auth"


class Refused(Retriable):
    """A failure in a 200: a new auth code may help, once.

    Attributes:
        headers: those of the request.
    """

    most_tries = 2

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


class RefusedCredentials(Refused):
    """Likewise, by the words of it; nothing was served so far."""

    ends_as = AuthenticationFailed


class _TooLong(Skippable):
    """No row came within the limit of an answer: a smaller page is worth a try."""


class LuxSciAnswer:
    """One page of a report; what a cut connection left of it counts as a short one."""

    def __init__(
        self, response: requests.Response, report: Report, what: str, control: Control
    ) -> None:
        self._response = response
        self._report = report
        self._what = what
        self._control = control

    @property
    def count(self) -> int | None:
        """Rows in the whole window, as far as the answer has said so by now."""
        return self._report.count

    @property
    def has_list(self) -> bool:
        """Whether the answer has a list of rows, if only an empty one."""
        return self._report.has_list

    def sole_count(self) -> int | None:
        """Read the answer to its end; return its count if it has no other rows.

        Raises:
            Skippable: the answer says at its end that it is none, or has no end.
        """
        for _ in self.rows():
            pass
        return self._report.sole_count()

    def sole_row(self) -> Row | None:
        """Return the row of an answer without a list, after `rows` has ended."""
        return self._report.sole_row()

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows of the page, some at a time.

        Raises:
            TooLong: the answer goes on behind the limit, and none of its rows came.
            Skippable: the answer says at its end that it is none, or has no end.
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
            # What came is good, and the next page begins behind it.
            self._control.logger.info("%s: the answer was cut: %s", self._what, error)
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
        control: Control,
        session: requests.Session,
        *,
        has_key: bool,
    ) -> None:
        super().__init__(base_url, authenticator, limits, control, session)
        self._control = control
        self._has_key = has_key
        self.served = False

    def url(
        self,
        endpoint: Endpoint,
        places: Mapping[str, object],
        params: Mapping[str, int | str],
    ) -> str:
        """Return the URL of a report, in the very form that is signed and sent.

        A space is `%20`: what is signed must not change on the way. The `@` of a login
        stays: the vendor's own samples sign and send it so.
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
        """Return an answer of a report, its first rows decoded.

        Args:
            endpoint: what is read.
            url: as `url` returns it.
            columns: the vendor's names of known columns, by lower case.
            wanted: the columns that its rows must have.

        Raises:
            NotUnderstood: its rows are not understood.
            TooLong: it goes on behind the limit, and none of its rows came.
            Unavailable: it may not be read, or is not where it was assumed to be.
            Skippable: it cannot be read now.
            AuthenticationFailed: the key is refused.
        """
        try:
            response, report = self.retrying(
                partial(self._open, endpoint, url, columns, wanted),
                before_retry=self._before_retry,
            )
        except Denied as error:
            raise _denied(endpoint, error) from error
        except Gone as error:
            raise _missing(endpoint, error) from error
        except _TooLong as error:
            raise TooLong(str(error)) from error
        self.served = True
        return LuxSciAnswer(response, report, f"GET {endpoint.path}", self._control)

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
            # The same request would have the same answer.
            raise _TooLong(f"{what}: {error}") from error
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
        """Yield a body as it comes.

        Raises:
            TooLong: it goes on behind the limit.
            Retriable: the connection broke.
        """
        try:
            for chunk in response.iter_content(_CHUNK):
                self.received.add(len(chunk))
                yield chunk
        except requests.exceptions.RequestException as error:
            raise explained(error, what, url) from error

    def _judge(self, report: Report, response: requests.Response, what: str) -> None:
        """Return where an answer is a report.

        Raises:
            Denied, Throttled, Exhausted, Refused: it says that it is none.
            Retriable: it is nothing of the kind.
        """
        where = f"{what} answered 200{request_id(response)}"
        if report.failed:
            text = error_text(report.about)
            wait = retry_after(response, self._clock.now())
            heed_pace(text, where, self.limits, wait)
            if _DENIED.search(text):
                raise Denied(f"{where}, denied")
            headers = response.request.headers
            if hint := self._hint(text):
                raise RefusedCredentials(f"LuxSci refused {where}; {hint}", headers)
            raise Refused(f"{where} with success 0", headers)
        if not report.is_one:
            raise Retriable(f"{where} with a body that is no report")

    def _hint(self, text: str, status: int = requests.codes.ok) -> str | None:
        """Return what is wrong with the credentials, if an error says so.

        Once something was served in this run there is nothing wrong with them.
        """
        if self.served or _DENIED.search(text):
            return None
        # Where requests are signed, a 401 comes after a fresh auth code.
        is_of_key = self._has_key and status == requests.codes.unauthorized
        return reason_of(text) or (_KEY_HINT if is_of_key else None)

    def _before_retry(self, error: Retriable) -> None:
        if isinstance(error, Refused):
            self._authenticator.renew(error.headers, self)

    @override
    def check(self, response: requests.Response, what: str) -> None:
        """Decide what a response means; see the base.

        Raises:
            Exhausted: the day's quota is spent.
            AuthenticationFailed: the words are about the credentials.
        """
        status = response.status_code
        if status != requests.codes.ok:
            where = f"{what} answered {status}{request_id(response)}"
            text = error_text(_body(response))
            heed_pace(
                text, where, self.limits, retry_after(response, self._clock.now())
            )
            if status in self.refusals and (hint := self._hint(text, status)):
                raise AuthenticationFailed(
                    f"LuxSci refused the credentials: {where}; {hint}"
                )
        super().check(response, what)


def _body(response: requests.Response) -> object:
    """Return what an error says, unless it is no JSON."""
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
