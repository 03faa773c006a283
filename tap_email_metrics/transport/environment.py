"""Checks the environment variables for certificates and proxies.

If one of them is wrong, requests blames the URL or ends with a traceback. This module
checks them before the first request to a host, and its messages name the variable. They
never show a value, because a proxy URL can contain a password.
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
"""Variables that name trusted certificates; the first one that is set counts. requests
itself reads only the first two."""


def certificates(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the file or folder of trusted certificates, None to use those of requests.

    Raises:
        AuthenticationFailed: the file does not exist or has no certificates, so no
            request could be sent.
    """
    for name in CERTIFICATES:
        if value := environment.get(name):
            _check_certificates(name, Path(value))
            return value
    return None


# Once a process: it takes some 20 ms, and each host of each run would pay for it.
@cache
def _check_certificates(name: str, path: Path) -> None:
    try:
        if path.is_dir():
            return
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        what = "does not exist" if missing else "holds no certificates"
        raise AuthenticationFailed(
            f"the variable {name} names a file that {what} or cannot be read: correct "
            "it, or unset it"
        ) from error


def check_proxy(
    url: str, proxy: str, environment: Mapping[str, str] = os.environ
) -> None:
    """Check the proxy for requests to a URL.

    Raises:
        AuthenticationFailed: the value is not a proxy URL; the message names the
            variable.
    """
    try:
        full = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
        usable = bool(parse_url(full).host)
        HTTPAdapter().proxy_manager_for(full)
    except (RequestException, urllib3.exceptions.HTTPError, ValueError):
        usable = False
    if not usable:
        raise AuthenticationFailed(
            f"the variable {proxy_variable(url, environment)} is not a usable proxy "
            "URL: write it as http://host:port, or unset it"
        )


def proxy_variable(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of the variable that holds the proxy for a URL."""
    scheme = url.partition(":")[0].lower()
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        # The lower-case name takes precedence, as in curl.
        for name in sorted(environment, reverse=True):
            if name.lower() == wanted and environment[name]:
                return name
    return f"{scheme}_proxy".upper()
