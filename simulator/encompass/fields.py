"""Field values for generated rows: mostly plain, sometimes odd.

Odd values come in turn and not by chance, so that every account has each of them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.encompass.account import ms
from simulator.rows import ABSENT

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Fields = dict[str, Any]

_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com)",
)
_BOUNCES: tuple[Fields, ...] = (
    {"type": "Hard Bounce", "reason": "550 5.1.1 no such user"},
    {"type": "Soft Bounce", "reason": "452 4.2.2 mailbox full"},
    {"type": "", "reason": "421 try again"},
    {"type": None, "reason": None},
    {"type": "Soft Bounce", "reason": "554 blocked: " + "x" * 1200},
)
_CATEGORIES = ("Newsletter", "Events", "Giving", "", None)
_FIRST = ("Ada", "Grace", "José", "Zoë", "", "Linus", "佳", "Nia")
_LAST = ("Lovelace", "Hopper", "O'Neill", "", "Müller", "Okafor", "王")
_SUBJECTS = (
    "News from campus",
    "\U0001f393 Commencement is here \U0001f389",
    "Half an emoji \ud83d, cut off",
    "",
    "Dîner des anciens, Montréal",
    None,
)

# (turn, length, fields): in each run of `length` rows, row `turn` has these fields.
_Odds = tuple[tuple[int, int, Fields], ...]
_MESSAGE_ODDS: _Odds = (
    (1, 4, {"emailName": ""}),
    (2, 9, {"abTest": {"group": "B", "share": 0.5, "tags": ["x", None]}}),
    (2, 5, {"subCommunityId": "12"}),
    (0, 7, {"fromName": None, "preHeader": ABSENT}),
)
_RECIPIENT_ODDS: _Odds = (
    (3, 40, {"emailAddress": "nul\x00byte@example.com"}),
    (5, 40, {"emailAddress": ""}),
    (7, 40, {"classYear": 2004}),
    (9, 40, {"memberId": "700123"}),
    (11, 40, {"constituentId": None, "memberId": None}),
    (13, 40, {"memberId": "n/a"}),
    (15, 40, {"preferredName": "Lovey", "vip": True}),
    (17, 40, {"classYear": ABSENT}),
)
_ACTION_ODDS: _Odds = (
    (4, 97, {"recipientId": "41"}),
    (9, 211, {"dateAdded": None}),
    (16, 97, {"source": "proxy\x00"}),
)
_AGENT_ODDS: _Odds = (
    (2, 23, {"userAgent": ABSENT}),
    (3, 61, {"userAgent": "Mozilla/5.0 " + "(compatible) " * 40}),
    (5, 29, {"ipAddress": None}),
    (6, 61, {"userAgent": ""}),
)
_LINK_ODDS: _Odds = (
    (1, 8, {"name": ""}),
    (2, 8, {"url": "https://example.edu/?utm=" + "a" * 950}),
    (3, 8, {"name": None}),
)


class FieldMaker:
    """Makes the fields of rows; turns are counted for each kind."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._turns: Counter[str] = Counter()

    def message(self) -> Fields:
        """Return the fields of a message without ids and times."""
        turn = self._turn("messages")
        return {
            "emailName": f"Mailing {turn}",
            "subjectLine": _SUBJECTS[turn % len(_SUBJECTS)],
            "categoryName": _CATEGORIES[turn % len(_CATEGORIES)],
        } | _odd(_MESSAGE_ODDS, turn)

    def link(self) -> Fields:
        """Return the fields of a link without its id."""
        turn = self._turn("links")
        fields: Fields = {"name": f"Story {turn}", "url": f"https://example.edu/{turn}"}
        return fields | _odd(_LINK_ODDS, turn)

    def recipient(self, person: int) -> Fields:
        """Return the fields of a recipient without times, the same for each person."""
        return {
            "id": person,
            "emailAddress": f"person{person}@example.com",
            "firstName": _FIRST[person % len(_FIRST)],
            "lastName": _LAST[person % len(_LAST)],
            "classYear": str(1960 + person % 64),
            "memberId": 700_000 + person,
            "constituentId": f"{person:08d}",
        } | _odd(_RECIPIENT_ODDS, self._turn("recipients"))

    def action(
        self, kind: str, person: int, at: float, link_ids: Sequence[int]
    ) -> Fields:
        """Return the fields of an open, click, bounce or deliver without dateAdded."""
        turn = self._turn(kind)
        fields: Fields = {"recipientId": person, "timestamp": ms(at)}
        if kind == "bounces":
            fields |= _BOUNCES[turn % len(_BOUNCES)]
        if kind == "clicks":
            fields["linkId"] = self._rng.choice(link_ids)
        if kind in ("opens", "clicks"):
            fields["ipAddress"] = f"198.51.100.{person % 256}"
            fields["userAgent"] = _AGENTS[person % len(_AGENTS)]
            fields |= _odd(_AGENT_ODDS, turn)
        return fields | _odd(_ACTION_ODDS, turn)

    def _turn(self, kind: str) -> int:
        self._turns[kind] += 1
        return self._turns[kind]


def _odd(odds: _Odds, turn: int) -> Fields:
    found: Fields = {}
    for remainder, every, fields in odds:
        if turn % every == remainder:
            found |= fields
    return found
