"""Numbers and times as short text, for the marks in the state."""

from __future__ import annotations

from functools import lru_cache

_EPOCH_MINUTE = 24_192_000  # whole minutes up to 2015-12-31T00:00:00Z
_LAST_MINUTE = 4_223_371_680  # the end of the year 9999
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_$"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}


# The marks of a run have many minutes and small numbers in common.
@lru_cache(maxsize=4096)
def encode_number(number: int) -> str:
    """Return a whole number in base 64."""
    digits = ""
    rest = abs(number)
    while rest or not digits:
        rest, digit = divmod(rest, 64)
        digits = _DIGITS[digit] + digits
    return f"-{digits}" if number < 0 else digits


@lru_cache(maxsize=4096)
def decode_number(text: str) -> int:
    """Return the number that `encode_number` wrote.

    Raises:
        ValueError: the text is empty, or a character is not a digit.
    """
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not digits:
        raise ValueError("no digits")
    number = 0
    for digit in digits:
        if digit not in _VALUES:
            raise ValueError(f"unknown digit {digit!r}")
        number = number * 64 + _VALUES[digit]
    return sign * number


def encode_optional(number: int | None) -> str:
    """Return a whole number in base 64, "" for None."""
    return "" if number is None else encode_number(number)


def decode_optional(text: str) -> int | None:
    """Return the number that `encode_optional` wrote.

    Raises:
        ValueError: a character is not a digit.
    """
    return decode_number(text) if text else None


def join_parts(*parts: str) -> str:
    """Return texts as one text; empty ones at the end take no room."""
    return ".".join(parts).rstrip(".")


def split_parts(text: str, count: int) -> list[str]:
    """Return the texts that `join_parts` joined.

    Args:
        text: the joined texts.
        count: their number.

    Raises:
        ValueError: there are more.
    """
    parts = text.split(".")
    if len(parts) > count:
        raise ValueError(f"more than {count} parts")
    return parts + [""] * (count - len(parts))


def whole_minute(seconds: float | None) -> float | None:
    """Return UTC seconds cut to a whole minute, as `encode_time` keeps them."""
    # A time before 1970, from a wrong clock or an odd row, counts as 1970.
    return None if seconds is None else max(0, int(seconds // 60)) * 60.0


def encode_time(seconds: float | None) -> str:
    """Return UTC seconds, cut to a whole minute, as text; "" for None."""
    minute = whole_minute(seconds)
    return "" if minute is None else encode_number(int(minute // 60) - _EPOCH_MINUTE)


def decode_time(text: str) -> float | None:
    """Return the UTC seconds that `encode_time` wrote.

    Raises:
        ValueError: the time is after the year 9999, or a character is not a digit.
    """
    if not text:
        return None
    minute = decode_number(text) + _EPOCH_MINUTE
    if not 0 <= minute < _LAST_MINUTE:
        raise ValueError("a time beyond all calendars")
    return minute * 60.0
