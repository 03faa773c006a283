"""Personal data: its treatment in records, and the filter that keeps it out of logs.

A schema marks its personal columns with `x-pii`. The setting `pii.mode` decides their
treatment. Null stays null. Blank text stays blank, unless the column is dropped.

| mark         | hash                        | domain                 | drop         |
|--------------|-----------------------------|------------------------|--------------|
| `email`      | HMAC of the address         | part after the last @  | null         |
| `email_list` | like `email`, with ", "     | like `email`, with ", "| null         |
| `name`, `id` | HMAC; a number becomes text | null                   | null         |
| `ip`         | network: /24 (IPv6: /48)    | like hash              | null         |
| `user_agent` | no words with a digit or @  | like hash              | null         |
| `url`        | no query, fragment or user  | like hash              | null         |
| `text`       | addresses like `email`      | addresses like `email` | null         |
| `opaque`     | null                        | null                   | null         |
| `large_domain` | unchanged                 | unchanged              | null         |
| (no mark)    | like `text`                 | like `text`            | no addresses |

Domain mode keeps what describes a group and drops what identifies a person. A value
that does not have the expected form, such as the form of an address, is dropped.
Addresses in the path of a `url` are treated like those in `text`, and links in a `text`
like a `url`. Only text with an at sign, plain or encoded, is recognised as an address.
A mailbox name without a domain in a bounce reason stays.

Columns without a mark are keys, which are never changed, times, counts, and the
vendor's ids and words. These are not personal data, but the tap cannot exclude that
they contain an address. `opaque` is text that someone wrote about a person, or data in
a form of the vendor's.

HMAC is the HMAC-SHA-256 with the key `pii.pepper`, in hex, of the value after Unicode
NFKC, lower case and strip; for `email`, of the address in its canonical spelling (see
`canonical`). It depends on nothing else, so that a person can be joined across streams
and providers.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import json
import logging
import re
import traceback
import unicodedata
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias
from urllib.parse import quote, quote_plus, unquote

import idna
from typing_extensions import override

from tap_email_metrics.errors import InvalidInput, TapError

Treatment: TypeAlias = Callable[[Any], Any]
"""A function that treats the values of a column, except for null."""

MARKS = (
    *("email", "email_list", "name", "id", "ip", "user_agent", "url", "text"),
    *("opaque", "large_domain"),
)
"""Every `x-pii` mark that a schema may use."""

LEAST_SECRET = 8
"""A shorter secret is not masked."""

LEAST_PEPPER = 16
"""Least number of characters of a pepper."""

MODES = ("plain", "hash", "domain", "drop")
"""Every value of the setting `pii.mode`."""

# Each expression can match only from the beginning of a word, so that a long word
# without a match costs linear time, not quadratic.
_WORD = r"[^\s@\uff20\ufe6b<>()\[\]{},;:\"|\\/]"
_QUOTED = r"\"[^\"\r\n]{1,64}\""
_ENTITY = r"&(?:#0{0,9}64|#x0{0,9}40|commat);"
_AT = rf"(?:@|\uff20|\ufe6b|%(?:25){{0,4}}40|{_ENTITY}|\\u0040)"
_COMMENT = r"(?:\([^()\r\n]{0,64}\))?"
_HOST = rf"(?:\[[^\[\]\s]{{1,64}}\]|(?:{_WORD}|@)+)"


def _address(local: str) -> re.Pattern[str]:
    """Return a pattern that finds addresses in a text.

    Args:
        local: pattern of the part before the at sign, if it is not in quotes.
    """
    before = rf"(?:{_QUOTED}|(?<!{_WORD})(?:{local}))"
    # Text that was cut off may end within an address.
    whole = rf"({before}{_COMMENT}{_AT}{_COMMENT}(?:{_HOST}|(?=\s*\Z)))"
    return re.compile(whole, re.IGNORECASE)


_IN_PATH = _address(rf"{_WORD}+?")
"""Finds addresses in a URL, where a slash ends them."""
_IN_TEXT = _address(rf"{_WORD}(?:{_WORD}|/){{0,255}}?|{_WORD}+?")
"""Finds addresses in text, where a slash can be a part: sales/bob@example.com."""
_SIGNS = ("@", "\uff20", "\ufe6b", "%40", "%25", "&#", "&commat;", "\\u0040")
"""A text without any of these contains no address."""
_BEFORE, _AFTER = "'.", "'.!?*-"
"""Punctuation around an address that is not a part of it."""

_SIMPLE = re.compile(r"[a-z0-9][a-z0-9._+=-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_UNSEEN = re.compile(
    r"[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
"""Characters without a shape, which programs add to text that is copied."""
_SCHEME = re.compile(r"^(?:(?:mailto|smtp):|rfc822;)(?://)? *")
_ENCLOSED = re.compile(r'"([^"]*)"|\[([^\[\]]*)\]|\(([^()]*)\)')
_ENTITY_AT = re.compile(rf"{_ENTITY}|\\u0040")
_MOST_ENCODINGS = 5
_IN_PARENTHESES = re.compile(r"\([^()]{0,255}\)")
_NEEDLESS_QUOTES = re.compile(r'"([a-z0-9._+=-]+)"')
_STOPS = " \t\r\n,;."
_AROUND = f"{_STOPS}<>'"
_DOMAIN = re.compile(r"[\w.-]*\w")
_MAILBOX = re.compile(r"<([^<>]*)>\s*$")
_USER_INFO = re.compile(r"^([^/]*//)[^/]*@")
_LINK = re.compile(r"\bhttps?://[^\s\"'<>]+", re.IGNORECASE)
_AGENT_WORD = re.compile(r"/?[^\s;,/()]+")
_AGENT_GAP = re.compile(r" ?[;,](?= ?[;,)])|(?<=\() ?[;,] ?| (?=[;,)])|(?<=\() ")

_URL_USER = re.compile(r"//[^/\s@\"'<>]*@")
_QUERY = re.compile(r"(?<=[\w/])\?(?=[\w%])[^\s\"'<>]*")
_SCHEME_TOKEN = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]+(?:\.[\w-]+){1,2}")

_REMEMBERED = 4096
"""Number of addresses and user agents whose treatment is cached."""

_LOG_FIELDS = frozenset(
    (*vars(logging.makeLogRecord({})), "message", "asctime", "taskName")
)
"""The attributes of every log record; other attributes come from `extra`."""


def normalise(value: str | int) -> str:
    """Return the form of a value that is hashed: NFKC, lower case, no outer space."""
    lower = unicodedata.normalize("NFKC", str(value)).lower()
    return unicodedata.normalize("NFKC", lower).strip()


def mailbox(text: str) -> str:
    """Return the address in `Display Name <address>`, or else the text itself."""
    found = _MAILBOX.search(text)
    return found[1] if found and found[1].strip() else text


def canonical(value: str | int) -> str:
    """Return the canonical spelling of an address, or the normal form of other text.

    Spellings of one mailbox differ in case, width, an outer dot or comma, `mailto:`,
    comments, needless quotes, brackets around it, characters without a shape, an
    encoded at sign, and in Unicode or punycode.
    """
    form = _UNSEEN.sub("", normalise(value)).strip()
    if _SIMPLE.fullmatch(form):
        return form
    address = mailbox(form.rstrip(_STOPS)).strip()
    if enclosed := _ENCLOSED.fullmatch(address):
        address = enclosed[enclosed.lastindex or 0].strip()
    plain = _ENTITY_AT.sub("@", _SCHEME.sub("", address))
    for _ in range(_MOST_ENCODINGS):
        if "@" not in plain:
            plain = unquote(plain)
    local, at, domain = plain.rpartition("@")
    if not at:
        return form
    return f"{_local(local)}@{_ascii(domain)}"


def _local(text: str) -> str:
    bare = _IN_PARENTHESES.sub("", text).lstrip(_AROUND).rstrip(" \t")
    quoted = _NEEDLESS_QUOTES.fullmatch(bare)
    return quoted[1] if quoted else bare


def _ascii(domain: str) -> str:
    """Return a domain in ASCII as in DNS, or unchanged if that is not possible."""
    bare = _IN_PARENTHESES.sub("", domain.partition("?")[0]).strip(_AROUND)
    if bare.isascii():
        return bare
    try:
        return idna.encode(bare, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return bare


def domain_of(value: str | int) -> str | None:
    """Return the domain after the last @ in lower case, or None if there is none."""
    _, at, domain = canonical(value).rpartition("@")
    return domain if at and _DOMAIN.fullmatch(domain) else None


def network_of(value: str | int) -> str | None:
    """Return the /24 (IPv6: /48) network of an IP address, None for other text.

    An IPv4 address inside an IPv6 one (mapped, 6to4) counts as IPv4: its bits are
    among the first 48.
    """
    return _network_of(str(value).strip())


# Many events share a few networks and mail programs.
@functools.lru_cache(_REMEMBERED)
def _network_of(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    prefix = 24 if address.version == 4 else 48  # noqa: PLR2004 - versions of IP
    return str(ipaddress.ip_network((address, prefix), strict=False))


def family_of(value: str | int) -> str:
    """Return a user agent without the words that contain a digit or an @.

    This removes versions, builds and most device models, and keeps the names of
    products and systems.
    """
    return _family_of(str(value))


@functools.lru_cache(_REMEMBERED)
def _family_of(text: str) -> str:
    words = " ".join(_AGENT_WORD.sub(_agent_word, text).split())
    return " ".join(_AGENT_GAP.sub("", words).replace("()", "").split())


def _agent_word(word: re.Match[str]) -> str:
    text = word[0]
    has_at = any(sign in text for sign in _SIGNS)
    return "" if has_at or any(map(str.isdigit, text)) else text


def redact(text: str) -> str:
    """Return text for a log: no addresses, tokens, query strings or URL users."""
    text = _JWT.sub("[token]", _SCHEME_TOKEN.sub(r"\1 [token]", text))
    text = _URL_USER.sub("//[user]@", _QUERY.sub("?[query]", text))
    return _replace_addresses(text, _masked, _IN_PATH)


def _masked(_address: str) -> str:
    return "[address]"


def _replace_addresses(
    text: str,
    treat: Callable[[str], str | None],
    pattern: re.Pattern[str] = _IN_TEXT,
) -> str:
    """Return text with each address replaced by its treatment, or by ""."""
    if not any(sign in text for sign in _SIGNS):
        return text
    return pattern.sub(functools.partial(_replaced, treat=treat), text)


def _replaced(found: re.Match[str], *, treat: Callable[[str], str | None]) -> str:
    text = found[1]
    address = _core(text)
    before, _, after = text.partition(address)
    return f"{before}{treat(address) or ''}{after}"


def _core(text: str) -> str:
    """Return a found address without the punctuation around it."""
    return text.lstrip(_BEFORE).rstrip(_AFTER)


def _dropped(_value: str | int) -> None:
    return None


class Privacy:
    """The treatment of personal columns with a `pii.mode` and `pii.pepper`.

    Raises:
        InvalidInput: the mode does not exist, or it needs a pepper and has none, or a
            short one.
    """

    def __init__(self, mode: str = "plain", pepper: str | None = None) -> None:
        if mode not in MODES:
            raise InvalidInput(f"pii.mode must be one of {', '.join(MODES)}")
        if mode != "plain" and not pepper:
            raise InvalidInput(f"pii.pepper is required where pii.mode is {mode}")
        if mode != "plain" and len(pepper or "") < LEAST_PEPPER:
            raise InvalidInput(
                f"pii.pepper must have at least {LEAST_PEPPER} characters: a shorter "
                "one can be found by trying. openssl rand -hex 32 makes one"
            )
        self.mode = mode
        self._pepper = (pepper or "").encode("utf-8", "surrogatepass")
        self._treatments = self._table()

    def treatment(self, mark: str) -> Treatment | None:
        """Return the treatment of a mark, None if its values stay unchanged.

        Raises:
            ValueError: the mark does not exist.
        """
        if mark not in MARKS:
            raise ValueError(f"x-pii knows no mark {mark!r}")
        return self._treatments.get(mark)

    @property
    def unmarked(self) -> Treatment | None:
        """The treatment of text without a mark, including text in lists and objects."""
        if self.mode == "plain":
            return None
        # If an address is dropped, the rest of the text stays.
        address = _dropped if self.mode == "drop" else self._address
        return functools.partial(_within, treat=address)

    def apply_to_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a packaged schema for the records in this mode.

        The only change is that a hashed numeric column becomes text. All else is shared
        with the packaged schema and must not be changed.
        """
        columns = dict(schema["properties"])
        for name, column in columns.items():
            mark = column.get("x-pii")
            if mark and self.treatment(mark) not in (None, _dropped):
                kinds = [
                    "string" if kind in ("integer", "number") else kind
                    for kind in column["type"]
                ]
                columns[name] = {**column, "type": kinds}
        return {**schema, "properties": columns}

    def hashed(self, value: str | int) -> str:
        """Return the HMAC of a value's normalised form, 64 hex digits; blank stays."""
        return self._mac(normalise(value))

    def _mac(self, form: str) -> str:
        if not form:
            return form
        data = form.encode("utf-8", "surrogatepass")
        return hmac.digest(self._pepper, data, "sha256").hex()

    def _table(self) -> dict[str, Treatment]:
        if self.mode == "plain":
            return {}
        table: dict[str, Treatment] = dict.fromkeys(MARKS, _dropped)
        if self.mode == "drop":
            return table
        address = self._address
        if self.mode == "hash":
            table |= {"name": self.hashed, "id": self.hashed}
        return table | {
            "email": _Unblank(address),
            "email_list": _Unblank(functools.partial(_each_address, treat=address)),
            "ip": _Unblank(network_of),
            "user_agent": family_of,
            "url": functools.partial(_bare_url, treat=address),
            "text": functools.partial(_bare_text, treat=address),
            "large_domain": str,
        }

    def _address(self, value: str | int) -> str | None:
        """Return the treated form of an address, for modes that do not drop it."""
        if self.mode == "domain":
            return domain_of(value)
        return self._mac(canonical(value))


class _Unblank:
    """A treatment that leaves blank text blank."""

    def __init__(self, treat: Treatment) -> None:
        self._treat = treat

    def __call__(self, value: str | int) -> str | None:
        text = str(value)
        return self._treat(text) if text.strip() else ""


def _each_address(value: str | int, *, treat: Treatment) -> str | None:
    """Return the treated addresses of a list, joined by ", "; None if there is none."""
    treated = (treat(_core(text)) for text in _IN_TEXT.findall(str(value)))
    return ", ".join(filter(None, treated)) or None


def _bare_text(value: str | int, *, treat: Treatment) -> str:
    text = str(value)
    if "://" in text:
        text = _LINK.sub(functools.partial(_bare_link, treat=treat), text)
    return _replace_addresses(text, treat)


def _bare_link(found: re.Match[str], *, treat: Treatment) -> str:
    return _bare_url(found[0], treat=treat)


def _within(value: object, *, treat: Treatment) -> object:
    """Return a JSON value with all its texts treated, including names of fields."""
    if isinstance(value, str):
        return _bare_text(value, treat=treat)
    if isinstance(value, list):
        return [_within(item, treat=treat) for item in value]
    if isinstance(value, dict):
        return {
            _bare_text(name, treat=treat): _within(item, treat=treat)
            for name, item in value.items()
        }
    return value


def _bare_url(value: str | int, *, treat: Treatment) -> str:
    bare = re.split(r"[?#]", str(value), maxsplit=1)[0]
    return _replace_addresses(_USER_INFO.sub(r"\1", bare), treat, _IN_PATH)


class RedactingFilter(logging.Filter):
    """Masks secrets, addresses and tokens in log records.

    It covers the message, its arguments, `extra`, tracebacks and stacks. For an
    exception of another program it keeps the class and the lines of code, but not the
    text, which may quote a row, a header or a response. Attach the filter to handlers:
    filters of a logger do not see the records of its children. A record with nothing to
    mask stays unchanged, because the SDK's metrics need their objects.

    Args:
        secrets: secrets to mask. A secret that is too short, or is part of a public
            word, is not masked: that would hide words of the log and reveal the secret.
        public: words that other programs read in the log: streams, settings, keys.
    """

    def __init__(
        self, secrets: Collection[str] = (), public: Collection[str] = ()
    ) -> None:
        super().__init__()
        self._public = "\n".join(public)
        self._spellings: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Also mask these secrets from now on, such as a token that was just issued."""
        stripped = (secret.strip() for secret in secrets)
        new = frozenset(
            form
            for secret in stripped
            if len(secret) >= LEAST_SECRET and secret not in self._public
            for form in _spellings(secret)
        )
        self._spellings |= new
        # Longest first, because a secret can be the beginning of another one.
        longest = sorted(self._spellings, key=len, reverse=True)
        if longest:
            self._pattern = re.compile("|".join(map(re.escape, longest)))

    def mask(self, text: str) -> str:
        """Return text without the secrets and without what `redact` masks."""
        if self._pattern is not None:
            text = self._pattern.sub("[secret]", text)
        return redact(text)

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        self._mask_message(record)
        self._mask_exception(record)
        if record.stack_info:
            record.stack_info = self.mask(record.stack_info)
        for name in vars(record).keys() - _LOG_FIELDS:
            text = str(vars(record)[name])
            masked = self.mask(str(_shown(vars(record)[name])))
            if masked != text:
                setattr(record, name, masked)
        return True

    def _mask_message(self, record: logging.LogRecord) -> None:
        record.msg = _shown(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(map(_shown, record.args))
        try:
            text = record.getMessage()
        except (KeyError, TypeError, ValueError):
            # The logging module would print the arguments with the error.
            text, masked = "", f"{self.mask(str(record.msg))} (arguments do not fit)"
        else:
            masked = self.mask(_unquoted(text, record))
        if masked != text:
            record.msg, record.args = masked, None

    def _mask_exception(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            record.exc_text = record.exc_text and self.mask(record.exc_text)
        elif not isinstance(error, _Shown):
            record.exc_text = self.mask("".join(_lines(error))).rstrip("\n")
            # A structured formatter uses the exception instead of the text.
            shown = _Shown(self.mask(str(_shown(error))))
            record.exc_info = (type(error), shown, error.__traceback__)


class _Shown(Exception):  # noqa: N818 - stands for another
    """Replaces an exception in a log record; it has the masked text."""


def _shown(value: object) -> object:
    """Return a value for the log; an exception of another program becomes its class."""
    if isinstance(value, BaseException) and not isinstance(value, TapError):
        return type(value).__name__
    return value


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    while error is not None:
        yield error
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


def _unquoted(text: str, record: logging.LogRecord) -> str:
    """Return a message without the texts of its exceptions.

    The SDK's hook for exceptions includes them.
    """
    for error in _chain(record.exc_info[1] if record.exc_info else None):
        if not isinstance(error, (TapError, _Shown)):
            for quoted in filter(None, (str(error), *map(str, error.args))):
                text = text.replace(quoted, type(error).__name__)
    return text


def _lines(error: BaseException) -> Iterator[str]:
    """Yield a traceback, with the text only of the tap's own exceptions."""
    first, *led_to_it = _chain(error)
    for cause in (*reversed(led_to_it), first):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(cause.__traceback__)
        kind = type(cause).__name__
        yield f"{kind}: {cause}\n" if isinstance(cause, TapError) else f"{kind}\n"


def _spellings(secret: str) -> frozenset[str]:
    """Return the spellings of a secret: plain, in URLs and forms, in JSON, in repr."""
    raw = secret.encode("utf-8", "surrogatepass")
    forms = (quote(raw, safe=""), quote_plus(raw), json.dumps(secret)[1:-1])
    return frozenset((secret, repr(secret)[1:-1], *forms))
