"""The fenced blocks of the project's pages, and how each one is tested."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
GUIDE = DOCS / "first-sync.md"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))
#: A heading, a mark that a block is not run and why, or a block.
PART = re.compile(
    r"^#+ (?P<heading>.+)$"
    r"|(?:^<!-- not run: (?P<reason>.+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>[\s\S]*?)^```$",
    re.MULTILINE,
)
#: What a command of a block is given to read.
INPUT = re.compile(r"<<'END'\n.*?^END$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        heading: the one above it.
        language: what the fence says.
        text: its lines.
        reason: why it is not run; empty if it is.
    """

    heading: str
    language: str
    text: str
    reason: str

    @property
    def commands(self) -> list[str]:
        """The commands of the block: continued lines joined, no comments or input."""
        lines = INPUT.sub("", self.text).replace("\\\n", " ").splitlines()
        return [line.split(" #")[0].strip() for line in lines if line.strip()]


def runnable() -> dict[tuple[str, str], list[Block]]:
    """Return the blocks that a test runs, by page and heading.

    The guide has a test of its own.
    """
    found: dict[tuple[str, str], list[Block]] = {}
    for page in PAGES:
        for block in blocks(page):
            if page != GUIDE and block.language == "sh" and not block.reason:
                found.setdefault((page.name, block.heading), []).append(block)
    return found


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks in order."""
    found, heading = [], ""
    for part in PART.finditer(page.read_text(encoding="utf-8")):
        if part["heading"]:
            heading = part["heading"]
        else:
            reason = part["reason"] or ""
            found.append(Block(heading, part["language"], part["text"], reason))
    return found
