"""Base URLs in the settings."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from tap_email_metrics.errors import InvalidInput


def base_url(name: str, url: str) -> str:
    """Return a URL that secrets may be sent to, without a slash at its end.

    Args:
        name: of the setting that holds it.
        url: https, but for this machine itself.

    Raises:
        InvalidInput: it is unfit.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port is None or parts.port else None
        requests.Request("GET", url).prepare()
    except ValueError:  # also what requests raises for a URL
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InvalidInput(f"{name} is no URL: write it as https://your.site.example")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidInput(
            f"{name} must be a plain base URL, without user, query or fragment"
        )
    if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        raise InvalidInput(
            f"{name} must start with https://: the secret and the data travel over it"
        )
    return url.rstrip("/")
