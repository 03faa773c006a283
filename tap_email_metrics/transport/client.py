"""HTTP client: session, authentication, limits, retries. Each provider has one per run.

`Client.check` decides what a response means. A provider overrides that method if its
API differs.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections import Counter
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import backoff
import requests
from requests.utils import select_proxy
from typing_extensions import override

from tap_email_metrics.errors import (
    Denied,
    Fatal,
    Gone,
    Retriable,
    Skippable,
    TapError,
    Throttled,
    TimedOut,
)
from tap_email_metrics.transport import environment
from tap_email_metrics.transport.bounds import TooLong, bounded
from tap_email_metrics.transport.sockets import WatchedAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    from requests.adapters import BaseAdapter

    from tap_email_metrics.clock import Clock
    from tap_email_metrics.control import Control
    from tap_email_metrics.transport.limits import Limits
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("tap-email-metrics")

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for bytes. API gateways give up after 29 s."""
_HELPLESS = 3
TRIES = 6
THROTTLED_TRIES = 12
"""Tries after a 429. Without a Retry-After they take about seven minutes."""
MAX_WAIT = 60.0
LONGEST_ASKED = 300.0
"""A longer Retry-After is cut to this many seconds."""
_DATES = 5
"""Number of responses whose dates are compared; the median ignores a wrong one."""
_LONGEST_HEADER = 100
"""Most characters of a header that are read; dates and ids are shorter."""
_REQUEST_IDS = ("x-amzn-requestid", "x-request-id", "x-amz-cf-id")
_REQUEST_ID = re.compile(r"(?=.*[0-9])[A-Za-z0-9_=+/:.-]{1,64}")
"""The form of an id. Other values of the header are ignored, as they may hold data."""


class Unreachable(Retriable):
    """The host cannot be reached, so no other path of it can be read."""


_CAUSES: dict[str, type[Retriable]] = {
    "ReadTimeoutError": TimedOut,
    **dict.fromkeys(
        (
            "NewConnectionError",
            "NameResolutionError",
            "SSLError",
            "ProxyError",
            "SSLCertVerificationError",
            "gaierror",
            "ConnectionRefusedError",
        ),
        Unreachable,
    ),
}
"""The error for a failed connection, by the class of its innermost cause."""

Parsed = TypeVar("Parsed")


class Authenticator(Protocol):
    """Provides the headers of requests, and renews them when they are refused."""

    def headers(self, client: Client, url: str) -> Mapping[str, str]:
        """Return the headers that authenticate a GET.

        Args:
            client: sends the requests that obtain credentials.
            url: of the request, to sign it.

        Raises:
            AuthenticationFailed: no credentials can be obtained.
        """

    def renew(self, refused: Mapping[str, str], client: Client) -> None:
        """Replace the credentials, unless another thread has done so.

        Args:
            refused: the headers that the server refused.
            client: sends the requests that obtain credentials.
        """


class _Session(requests.Session):
    """Reads proxies and certificates from the environment once per host.

    Raises:
        AuthenticationFailed: a variable of the environment makes requests impossible.
    """

    def __init__(self) -> None:
        super().__init__()
        self._environment: dict[tuple[str, str], dict[str, Any]] = {}

    @override
    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        parts = urlsplit(url)
        place = parts.scheme, parts.netloc
        if place not in self._environment:
            trusted = environment.certificates()
            found = super().merge_environment_settings(
                url, proxies, stream, trusted or verify, cert
            )
            if proxy := select_proxy(url, found["proxies"]):
                environment.check_proxy(url, proxy)
            self._environment[place] = dict(found)
        return {**self._environment[place], "stream": stream}

    @override
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: redirects are not followed, so their Location is not parsed."""


def new_session(
    transport: BaseAdapter | None, check: Callable[[], None]
) -> requests.Session:
    """Return a session without cookies whose responses are limited in size and time.

    Args:
        transport: carries the requests; the network if None.
        check: called while waiting for a response; raises once the run ends.
    """
    session = _Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # Otherwise a .netrc on the machine would replace the Authorization header.
    session.auth = _no_netrc
    session.hooks["response"].append(bounded)
    session.headers["Accept"] = "application/json"
    session.headers["User-Agent"] = "tap-email-metrics"
    for scheme in ("https://", "http://"):
        session.mount(scheme, transport or WatchedAdapter(check))
    return session


def _ignore(_template: str, _response: requests.Response) -> None:
    """Do nothing with a response."""


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def wait_times(retry: Retriable, attempt: int) -> float:
    """Return the seconds to wait before the next try.

    Args:
        retry: the error. Its `retry_after` can make the wait longer, up to five
            minutes, but not shorter.
        attempt: number of tries so far, from 1.
    """
    longest = min(2.0**attempt, MAX_WAIT)
    # A throttled provider is asked by no thread, so jitter would not help.
    throttled = isinstance(retry, Throttled)
    own = longest if throttled else float(backoff.full_jitter(longest))
    return max(own, min(retry.retry_after or 0.0, LONGEST_ASKED))


class Client:
    """Sends requests to one provider and returns bodies.

    Safe to share between threads.

    Attributes:
        limits: the rate, budget and concurrency of all requests.
        received: counts the bytes of bodies, for code that limits them.
        refusals: the statuses after which new credentials may help.
        watch: called with each response of a known shape, and its path template.
    """

    refusals: ClassVar[frozenset[int]] = frozenset({401, 403})

    def __init__(
        self,
        base_url: str,
        authenticator: Authenticator,
        limits: Limits,
        control: Control,
        session: requests.Session,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._authenticator = authenticator
        self.limits = limits
        self.received = Received()
        self.watch: Callable[[str, requests.Response], None] = _ignore
        self._clock: Clock = control.clock
        self._check_run = control.check
        self._dates: tuple[float, ...] = ()
        self._session = session
        self._helpless: Counter[str] = Counter()

    def get(  # noqa: PLR0913 - the parts of a request
        self,
        template: str,
        ids: Sequence[object] = (),
        params: MutableMapping[str, int | str] | None = None,
        *,
        parse: Callable[[bytes], Parsed],
        tries: int = TRIES,
        before_retry: Callable[[Retriable], None] | None = None,
    ) -> Parsed:
        """Send a GET and return the parsed body.

        Args:
            template: path with a `{}` for each id; messages show it as it is.
            ids: values for the path; they are quoted.
            params: the query; it is read again for each try.
            parse: parses a body; raises Retriable if it cannot.
            tries: total number of tries.
            before_retry: called before the next try; may change `params`.

        Raises:
            Skippable: this path cannot be read, even after all tries.
            Fatal: no request of this kind can succeed.
            Exhausted: the budget is spent.
            Terminated: the run is ending.
        """
        url = self.url_of(template, ids)
        return self.retrying(
            lambda: self.once(url, template, params, parse),
            tries=tries,
            before_retry=before_retry,
        )

    def url_of(self, template: str, ids: Sequence[object] = ()) -> str:
        """Return the URL of a path with its ids, which are quoted."""
        return self._base_url + template.format(*(quote(str(i), safe=",") for i in ids))

    def retrying(
        self,
        request: Callable[[], Parsed],
        *,
        tries: int = TRIES,
        before_retry: Callable[[Retriable], None] | None = None,
    ) -> Parsed:
        """Return the result of a request; try again after a `Retriable` error.

        Raises:
            Fatal: the host could not be reached in any try.
            Skippable: the request failed in another way in every try.
            Terminated: the run is ending.
        """
        for attempt in itertools.count(1):
            try:
                result = request()
            except Retriable as error:
                self.limits.slow_down()
                asks_less = before_retry is not None
                if attempt >= _patience(error, tries, asks_less=asks_less):
                    raise _given_up(error, attempt) from error
                logger.info("%s; trying again", error)
                self._wait(error, attempt)
                if before_retry:
                    before_retry(error)
            else:
                self.limits.speed_up()
                return result
        raise AssertionError("unreachable")

    def once(
        self,
        url: str,
        template: str,
        params: Mapping[str, int | str] | None,
        parse: Callable[[bytes], Parsed],
    ) -> Parsed:
        """Send one GET, again with new credentials if refused; return the parsed body.

        Raises:
            Retriable: the same request may succeed after a wait.
            TapError: what `check` and `parse` raise.
        """
        response = self.exchange(url, template, params)
        self.received.add(len(response.content))
        try:
            parsed = self.parsed(response, parse)
        except Retriable as error:
            where = f"GET {template} answered 200{request_id(response)}"
            raise type(error)(f"{where} with {error}", error.retry_after) from error
        self.watch(template, response)
        return parsed

    def parsed(
        self, response: requests.Response, parse: Callable[[bytes], Parsed]
    ) -> Parsed:
        """Return the parsed body of a response.

        Raises:
            TapError: what `parse` raises.
        """
        return parse(response.content)

    def exchange(
        self,
        url: str,
        template: str,
        params: Mapping[str, int | str] | None = None,
        *,
        stream: bool = False,
    ) -> requests.Response:
        """Send one GET, again with new credentials if refused; return the response.

        Args:
            url: of the request.
            template: its path, for messages.
            params: its query, unless the URL has it.
            stream: whether the caller reads the body and closes the response.

        Raises:
            TapError: what `check` raises.
        """
        headers = self._authenticator.headers(self, url)
        response = self._send(url, template, params, headers, stream=stream)
        refused = response.status_code in self.refusals
        if refused and self._may_help(template):
            response.close()
            self._authenticator.renew(headers, self)
            headers = self._authenticator.headers(self, url)
            response = self._send(url, template, params, headers, stream=stream)
            if response.status_code in {401, 403}:
                self._helpless[template] += 1
        try:
            self.check(response, f"GET {template}")
        except TapError:
            response.close()
            raise
        self._helpless.pop(template, None)
        return response

    def _may_help(self, template: str) -> bool:
        """Return whether new credentials may help after a refusal.

        They will not, if they did not help for the last few parents. Without this
        limit, a list that the account may not read would cost one token per parent.
        """
        return self._helpless[template] < _HELPLESS

    def _send(
        self,
        url: str,
        template: str,
        params: Mapping[str, int | str] | None,
        headers: Mapping[str, str],
        *,
        stream: bool,
    ) -> requests.Response:
        with self.limits.request():
            response = send(
                self._session,
                "GET",
                url,
                f"GET {template}",
                params,
                headers=headers,
                stream=stream,
            )
        self.note_time(response)
        return response

    def note_time(self, response: requests.Response) -> None:
        """Note the server's time from the Date header of a response."""
        moment = http_date(response.headers.get("Date"))
        if moment is not None:
            since = moment - self._clock.monotonic()
            self._dates = (*self._dates, since)[-_DATES:]

    @property
    def server_time(self) -> float | None:
        """The server's clock minus this machine's, in seconds.

        This is the median of the last few responses, None before the first. The time
        since then is counted by the monotonic clock, because this machine's clock may
        be set within a run.
        """
        dates = sorted(self._dates)
        if not dates:
            return None
        server = dates[len(dates) // 2] + self._clock.monotonic()
        return server - self._clock.now()

    def _wait(self, error: Retriable, attempt: int) -> None:
        seconds = wait_times(error, attempt)
        if error.retry_after or isinstance(error, Throttled):
            self.limits.hold(seconds)
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            self._check_run()
            self._clock.sleep(min(left, 0.5))

    def check(self, response: requests.Response, what: str) -> None:
        """Raise the error for a response, unless its body is usable.

        Args:
            response: the response.
            what: method and path template, for messages.

        Raises:
            Retriable: 5xx; `TimedOut` for 408 and 504, `Throttled` for 429.
            Gone: 404 and 410.
            Denied: 401 and 403.
            Skippable: another 4xx or a redirect, for this path only.
            Fatal: a redirect of a path without a parent.
        """
        status = response.status_code
        where = f"{what} answered {status}{request_id(response)}"
        if status == requests.codes.ok:
            return
        if status in {408, 504}:
            raise TimedOut(where, retry_after(response, self._clock.now()))
        if status == requests.codes.too_many_requests:
            raise Throttled(where, retry_after(response, self._clock.now()))
        if status in {404, 410}:
            raise Gone(where)
        if status in {401, 403}:
            raise Denied(f"{where} with a fresh token: the account may not read this")
        if 300 <= status < 400:  # noqa: PLR2004
            # A single parent may have moved. If a list without parent has moved, the
            # URL in the settings is wrong.
            kind = Skippable if "{" in what else Fatal
            raise kind(f"{where}: redirects are not followed; check the URL settings")
        if status >= 500:  # noqa: PLR2004
            raise Retriable(where, retry_after(response, self._clock.now()))
        raise Skippable(where)


def _patience(error: Retriable, tries: int, *, asks_less: bool) -> int:
    """Return the number of tries after an error."""
    if isinstance(error, Throttled):
        return THROTTLED_TRIES
    if error.most_tries is not None:
        return min(tries, error.most_tries)
    # The retry after a timeout asks for fewer rows, so it gets the full number.
    return TRIES if asks_less and isinstance(error, TimedOut) else tries


def _given_up(error: Retriable, tries: int) -> TapError:
    if isinstance(error, Unreachable):
        return Fatal(f"{error} ({tries} tries); check the URL settings and the network")
    return error.ends_as(f"{error} ({tries} tries)")


def send(  # noqa: PLR0913 - one request has that many parts
    session: requests.Session,
    method: str,
    url: str,
    what: str,
    params: Mapping[str, int | str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    json: Mapping[str, object] | None = None,
    auth: tuple[str, str] | None = None,
    stream: bool = False,
) -> requests.Response:
    """Send one request, without retries.

    Args:
        session: the result of `new_session`.
        method: GET, POST or DELETE.
        url: without the query.
        what: method and path template, for messages.
        params: the query.
        headers: the headers that authenticate the request.
        data: a form to send.
        json: a JSON body to send.
        auth: user and password for HTTP Basic.
        stream: whether the caller reads the body.

    Raises:
        TimedOut: there was no response in time.
        TooLong: the body exceeds the size limit.
        Retriable: the connection failed, or broke in the middle of the body.
    """
    try:
        return session.request(
            method,
            url,
            params=params,
            headers=headers,
            data=data,
            json=json,
            auth=auth,
            stream=stream,
            timeout=TIMEOUT,
            allow_redirects=False,
        )
    except TooLong as error:
        raise TooLong(f"{what}: {error}") from error
    except (requests.exceptions.RequestException, ValueError) as error:
        raise explained(error, what, url) from error


def explained(error: Exception, what: str, url: str) -> TapError:
    """Map an exception of requests to the error that tells the caller what to do.

    Args:
        error: the exception; requests raises a ValueError for an invalid URL, and also
            for invalid headers of a response.
        what: method and path template, for messages.
        url: of the request.
    """
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Unreachable(f"{what}: cannot connect to {host(url)}")
    if isinstance(error, requests.exceptions.ProxyError):
        name = environment.proxy_variable(url)
        return Unreachable(
            f"{what}: no connection to {host(url)} through the proxy that the variable "
            f"{name} names ({_cause(error)})"
        )
    if isinstance(error, requests.exceptions.Timeout):
        return TimedOut(f"{what}: no answer within {TIMEOUT[1]:.0f} s")
    if isinstance(error, requests.exceptions.ConnectionError):
        cause = _cause(error)
        kind = _CAUSES.get(cause, Retriable)
        return kind(f"{what}: the connection to {host(url)} failed ({cause})")
    headers = requests.exceptions.InvalidHeader
    if isinstance(error, ValueError) and not isinstance(error, headers):
        return Fatal(f"{what}: {host(url)} is not a valid URL; check the settings")
    return Retriable(f"{what}: {type(error).__name__}")


def host(url: str) -> str:
    """Return the host of a URL, which a message may name."""
    return urlsplit(url).hostname or "an invalid URL"


def _cause(error: BaseException) -> str:
    """Return the class of the innermost cause; its text may contain a query."""
    reason: object = error
    while isinstance(reason, BaseException):
        inner = getattr(reason, "reason", None) or (
            reason.args[0] if reason.args else None
        )
        if not isinstance(inner, BaseException):
            return type(reason).__name__
        reason = inner
    return type(error).__name__


def request_id(response: requests.Response) -> str:
    """Return the server's id of the request as part of a message, or an empty text."""
    for name in _REQUEST_IDS:
        value = response.headers.get(name, "")[:_LONGEST_HEADER]
        if _REQUEST_ID.fullmatch(value):
            return f" (request {value!a})"
    return ""


def retry_after(response: requests.Response, now: float) -> float | None:
    """Return the seconds in the Retry-After header, None without a usable one.

    Args:
        response: its Retry-After has seconds, or a date by the server's clock.
        now: this machine's UTC seconds, used if the response has no Date.
    """
    text = response.headers.get("Retry-After", "").strip()[:_LONGEST_HEADER]
    moment = http_date(text)
    if moment is not None:
        own = http_date(response.headers.get("Date"))
        return max(0.0, moment - (now if own is None else own))
    try:
        seconds = float(text)
    except ValueError:
        return None
    return None if math.isnan(seconds) or seconds < 0 else seconds


def http_date(text: str | None) -> float | None:
    """Return the UTC seconds of an HTTP date, None for other text."""
    if not text or len(text) > _LONGEST_HEADER:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # A date without a zone, or with -0000, is in UTC.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class Received(threading.local):
    """Counts the bytes that the current thread has received since the last `take`."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, count: int) -> None:
        """Count received bytes."""
        self._bytes += count

    @property
    def bytes(self) -> int:
        """Bytes since the last `take`."""
        return self._bytes

    def take(self) -> int:
        """Return the bytes since the last call."""
        count, self._bytes = self._bytes, 0
        return count
