"""No regular expression takes time by the square of the length of its text."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import pkgutil
import re
import time

import pytest

import tap_email_metrics
from tap_email_metrics.providers.luxsci import answers
from tap_email_metrics.transport.bounds import LONGEST_TEXT

HAS_REPORT = importlib.util.find_spec("jinja2") is not None
"""The report is left out: it needs the packages of its extra."""

PIECES = (
    *("a", "0", " ", "\t", "\n", ".", "-", "_", "@", "%", "/", "\\", "?", ":", ";"),
    *("<", ">", '"', "'", "(", ")", "[", "{", ",", "=", "+", "é", "\u200b", "\0"),
    *("%40", "<>", "a@", "@a", "a.", "a@b.", "//", "a//", "http://", "https://a"),
    *("Bearer ", "Basic a", "eyJ", "eyJa.", "a?", "/a", "a;", "( ;", ") ", "mailto:"),
    *("daily ", "per day ", "limit", "quota ", "1.", "1e", "-1", "2026-", "T00:"),
    *(
        '"a"',
        '\\"',
        "\\u",
        "\\ud800",
        "a ",
        " a",
        '" ',
        "''",
        "xn--",
        "\uff20",
        "&#64;",
    ),
)
ENDS = ("", "!", "\n", "x", "@", ">", '"')
SHORT, FACTOR = 1_000, 8
BOUNDED = ("_THROTTLED", "_SPENT", "_DENIED")
"""Patterns that are only used on the short text of `error_text`."""
ANCHORED = ("_GAP", "_COLON", "_DOMAIN", "_REQUEST_ID", "_SIMPLE")
"""Patterns that are matched at one place and never searched for."""
FEW = 0.02
"""Processor time in seconds that is too short to compare."""


def patterns() -> dict[str, re.Pattern[str]]:
    """Return the patterns of all modules by module and name."""
    found = {}
    for info in pkgutil.walk_packages(
        tap_email_metrics.__path__, f"{tap_email_metrics.__name__}."
    ):
        if ".report." in info.name and not HAS_REPORT:
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                found[f"{info.name}.{name}"] = value
    return found


def seconds(pattern: re.Pattern[str], text: str, *, anchored: bool) -> float:
    """Return the processor time of a search through the text."""
    began = time.process_time()
    if anchored:
        pattern.match(text)
    else:
        for _ in pattern.finditer(text):
            pass
    return time.process_time() - began


PATTERNS = patterns()


@pytest.mark.parametrize("name", [n for n in PATTERNS if not n.endswith(BOUNDED)])
def test_the_time_of_a_pattern_grows_linearly_with_the_text(name: str) -> None:
    pattern, anchored = PATTERNS[name], name.endswith(ANCHORED)
    for piece, end in itertools.product(PIECES, ENDS):
        text = piece * (SHORT // len(piece))
        if seconds(pattern, text * FACTOR + end, anchored=anchored) < FEW:
            continue
        # Linear time grows 8 times, quadratic time 64 times.
        large, small = (
            min(seconds(pattern, one, anchored=anchored) for _ in range(5))
            for one in (text * FACTOR + end, text + end)
        )
        assert large < 24 * small, (piece, end)


def test_only_the_beginning_of_an_error_text_is_searched() -> None:
    long = "daily " * 100_000
    assert len(answers.error_text({"error_message": long})) == LONGEST_TEXT
    assert answers.error_text({"error": "Daily LIMIT reached"}) == "daily limit reached"
