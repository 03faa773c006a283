"""A page as headless Chromium has it, its charts measured."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
#: Writes beside each mark how large it is drawn, and beside the page how wide it is.
MEASURE = """<script>
for (const mark of document.querySelectorAll("[aria-roledescription=bar]")) {
  const { width, height } = mark.getBoundingClientRect();
  Object.assign(mark.dataset, { width, height });
}
document.body.dataset.overflow = document.documentElement.scrollWidth - innerWidth;
</script>"""


@dataclass(frozen=True)
class Mark:
    """A bar: what it says of itself, and its size in pixels."""

    facts: dict[str, str]
    width: float
    height: float


@dataclass
class Shown:
    """A section as it is shown."""

    text: str = ""
    charts: int = 0
    marks: list[Mark] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """Collects what a page shows.

    Attributes:
        sections: by name.
        tags: all elements that there are.
        attributes: all attributes, as name and value.
        overflow: how many pixels it is wider than the window.
    """

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.sections: dict[str, Shown] = {}
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.overflow = 0.0
        self._now = Shown()
        self._cells: list[str] | None = None
        self.feed(dom)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += facts.items()
        if tag == "body":
            self.overflow = float(facts["data-overflow"])
        elif tag == "section":
            self._now = self.sections[facts["id"]] = Shown()
        elif tag == "tr":
            self._now.table.append([])
        elif tag in {"td", "th"}:
            self._cells = self._now.table[-1]
            self._cells.append("")
        elif tag == "svg":
            self._now.charts += 1
        elif facts.get("aria-roledescription") == "bar":
            self._now.marks.append(mark(facts))

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._cells = None

    @override
    def handle_data(self, data: str) -> None:
        self._now.text += data
        if self._cells is not None:
            self._cells[-1] += data


def mark(facts: dict[str, str]) -> Mark:
    said = dict(part.split(": ", 1) for part in facts["aria-label"].split("; "))
    return Mark(said, float(facts["data-width"]), float(facts["data-height"]))


def opened(html: str, folder: Path) -> Page:
    """Return the page as the browser has it, that may run one script: ours."""
    folder.mkdir()
    file = folder / "page.html"
    assert html.count(POLICY) == 1
    measured = html.replace(POLICY, "default-src * 'unsafe-inline'")
    file.write_text(measured.replace("</body>", f"{MEASURE}</body>"))
    return Page(chromium(folder, "--dump-dom", file.as_uri()))


def chromium(folder: Path, *arguments: str) -> str:
    """Run the browser, which `make chromium` installs; return what it prints."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "There is no Chromium here: make chromium."
    command = [program, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--disable-quic", "--disable-sync", "--disable-component-update"]
    command += ["--disable-background-networking", "--no-first-run"]
    # No host has an address.
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(  # noqa: S603 - Debian's browser
        command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
