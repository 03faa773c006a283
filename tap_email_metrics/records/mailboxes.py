"""The domains of the large mailbox providers.

The tap writes the domain of a recipient before `pii.mode` treats the address, so that
complaints and bounces can be counted by mailbox provider in every mode but drop. A rare
domain can identify its one user, so only the domains listed here are written. A domain
is listed if its provider gives mailboxes to the public and has millions of users. All
others become `other`.
"""

from __future__ import annotations

import functools

from tap_email_metrics.records.privacy import domain_of

OTHER = "other"
"""Stands for every domain that is not listed."""

LARGE_DOMAINS = frozenset(
    (
        # Google
        *("gmail.com", "googlemail.com"),
        # Yahoo and AOL
        *("yahoo.com", "ymail.com", "rocketmail.com", "aol.com", "aim.com"),
        *("yahoo.ca", "yahoo.co.uk", "yahoo.de", "yahoo.es", "yahoo.fr", "yahoo.it"),
        *("yahoo.co.in", "yahoo.in", "yahoo.com.ar", "yahoo.com.au", "yahoo.com.br"),
        *("yahoo.com.mx", "verizon.net"),
        # Yahoo Japan
        "yahoo.co.jp",
        # AT&T
        *("att.net", "bellsouth.net", "sbcglobal.net"),
        # Microsoft
        *("outlook.com", "hotmail.com", "live.com", "msn.com", "hotmail.ca", "live.ca"),
        *("hotmail.co.uk", "hotmail.de", "hotmail.es", "hotmail.fr", "hotmail.it"),
        *("live.co.uk", "live.fr", "live.nl", "outlook.de", "outlook.fr"),
        # Apple
        *("icloud.com", "me.com", "mac.com"),
        # Proton
        *("proton.me", "protonmail.com"),
        # Access providers in North America
        *("comcast.net", "charter.net", "cox.net", "rogers.com"),
        # Europe
        *("btinternet.com", "sky.com", "orange.fr", "wanadoo.fr", "free.fr", "sfr.fr"),
        *("laposte.net", "gmx.de", "gmx.net", "gmx.at", "gmx.ch", "gmx.com", "web.de"),
        *("mail.com", "t-online.de", "freenet.de", "libero.it", "virgilio.it"),
        *("seznam.cz", "wp.pl", "o2.pl", "onet.pl", "interia.pl", "ukr.net"),
        *("mail.ru", "yandex.ru"),
        # Asia, Australia and South America
        *("qq.com", "163.com", "126.com", "naver.com", "hanmail.net", "rediffmail.com"),
        *("bigpond.com", "uol.com.br", "bol.com.br", "terra.com.br"),
    )
)
"""Domains that a record may name, whatever `pii.mode` does to the address."""

_REMEMBERED = 4096


def recipient_domain(value: object) -> str | None:
    """Return the domain of an address if it is a large one, else `other`.

    Returns:
        None for anything that is not an address.
    """
    if not isinstance(value, str):
        return None
    _, at, domain = value.rpartition("@")
    return _of_text(domain) if at else _folded(domain_of(value))


# Many addresses share a domain, and to find it takes longer than to look it up.
@functools.lru_cache(_REMEMBERED)
def _of_text(after_at: str) -> str | None:
    return _folded(domain_of(f"x@{after_at}"))


def _folded(domain: str | None) -> str | None:
    return domain if domain is None or domain in LARGE_DOMAINS else OTHER
