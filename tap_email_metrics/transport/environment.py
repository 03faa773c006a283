"""Variables of the environment that requests are sent by: certificates and proxies.

requests finds out that one of them is wrong in the middle of a request, and blames the
URL for it or ends in a traceback. Here each is looked at once, before the first request
to a host, and the message names the variable. Values stay unseen: a proxy URL can hold
a password.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import prepend_scheme_if_needed
from urllib3.util import parse_url

from tap_email_metrics.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

CERTIFICATES = (
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""Variables that name trusted certificates; the first that is set counts. requests
itself knows the first two only."""


def certificates(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the file or folder of trusted certificates, None for those of requests.

    Raises:
        AuthenticationFailed: it does not exist, or holds no certificates. No request
            could be sent to any host.
    """
    for name in CERTIFICATES:
        if value := environment.get(name):
            _check_certificates(name, Path(value))
            return value
    return None


# Once a process: it takes some 20 ms, and each host of each run would pay for it.
@cache
def _check_certificates(name: str, path: Path) -> None:
    if path.is_dir():
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        what = "does not exist" if not path.exists() else "holds no certificates"
        raise AuthenticationFailed(
            f"the variable {name} names a file that {what} or cannot be read: correct "
            "it, or unset it"
        ) from error


def check_proxy(
    url: str, proxy: str, environment: Mapping[str, str] = os.environ
) -> None:
    """Check the proxy that requests to a URL go through.

    Raises:
        AuthenticationFailed: it cannot be one; the message names the variable.
    """
    try:
        full = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
        usable = bool(parse_url(full).host)
        HTTPAdapter().proxy_manager_for(full)
    except (RequestException, urllib3.exceptions.HTTPError, ValueError):
        usable = False
    if not usable:
        raise AuthenticationFailed(
            f"the variable {proxy_variable(url, environment)} holds no URL of a proxy "
            "that can be used: write it as http://host:port, or unset it"
        )


def proxy_variable(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of the variable that sends requests to a URL through a proxy."""
    scheme = url.partition(":")[0].lower()
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        # Small letters count first, as in curl.
        for name in sorted(environment, reverse=True):
            if name.lower() == wanted and environment[name]:
                return name
    return f"{scheme}_proxy".upper()
