"""A page in headless Chromium, with the sizes of its charts."""

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
#: Writes into attributes the drawn length of each bar, the width of the page, how much
#: of a table is out of sight, and the page's colours.
MEASURE = """<script>
for (const bar of document.querySelectorAll(".bar")) {
  bar.dataset.width = bar.getBoundingClientRect().width;
  bar.dataset.room = bar.parentElement.getBoundingClientRect().width;
}
const page = document.body.dataset, colours = getComputedStyle(document.body);
page.overflow = document.documentElement.scrollWidth - innerWidth;
page.hidden = Math.max(0, ...[...document.querySelectorAll(".scroll")].map(
  one => one.scrollWidth - one.clientWidth));
page.colours = `${colours.color} on ${colours.backgroundColor}`;
</script>"""


@dataclass(frozen=True)
class Bar:
    """A bar in a table: text of its cell, and lengths of bar and cell in pixels."""

    heading: str
    text: str
    width: float
    room: float


@dataclass(frozen=True)
class Dot:
    """A dot of a chart: its title and its position."""

    said: str
    who: str
    y: float


@dataclass
class Shown:
    """A section of the page."""

    text: str = ""
    charts: int = 0
    bars: list[Bar] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)


class Page(HTMLParser):
    """Collects the content of a page.

    Attributes:
        sections: sections by name.
        tags: names of all elements.
        attributes: names and values of all attributes.
        overflow: pixels by which the page is wider than the window.
        hidden: pixels of the widest table that are out of sight.
        colours: of the text and of the background.
    """

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.sections: dict[str, Shown] = {}
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.overflow = self.hidden = 0.0
        self.colours = ""
        self._now = Shown()
        self._cells: list[str] | None = None
        self._heading = ""
        self._dot: tuple[str, float] | None = None
        self.feed(dom)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += facts.items()
        if tag == "body":
            self.overflow = float(facts["data-overflow"])
            self.hidden = float(facts["data-hidden"])
            self.colours = facts["data-colours"]
        elif tag == "section":
            self._now = self.sections[facts["id"]] = Shown()
        elif tag == "tr":
            self._now.table.append([])
        elif tag in {"td", "th"}:
            self._cells = self._now.table[-1]
            self._cells.append("")
            self._heading = facts.get("data-heading", "")
        elif tag == "svg":
            self._now.charts += 1
        elif tag == "circle":
            self._dot = (facts["class"], float(facts["cy"]))
        elif facts.get("class") == "bar" and self._cells:
            sizes = (float(facts["data-width"]), float(facts["data-room"]))
            self._now.bars.append(Bar(self._heading, self._cells[-1], *sizes))

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._cells = None

    @override
    def handle_data(self, data: str) -> None:
        if self._dot:
            self._now.dots.append(Dot(data, *self._dot))
            self._dot = None
        self._now.text += data
        if self._cells is not None:
            self._cells[-1] += data


def opened(html: str, folder: Path, width: int = 1280, *options: str) -> Page:
    """Return the page as shown in a window of a width; only our script may run."""
    folder.mkdir()
    file = folder / "page.html"
    assert html.count(POLICY) == 1
    measured = html.replace(POLICY, "default-src * 'unsafe-inline'")
    file.write_text(measured.replace("</body>", f"{MEASURE}</body>"))
    size = f"--window-size={width},2000"
    return Page(chromium(folder, size, *options, "--dump-dom", file.as_uri()))


def chromium(folder: Path, *arguments: str) -> str:
    """Run the browser that `make chromium` installs; return its output."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "There is no Chromium here: make chromium."
    command = [program, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--disable-quic", "--disable-sync", "--disable-component-update"]
    command += ["--disable-background-networking", "--no-first-run"]
    # No host name resolves.
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(  # noqa: S603 - Debian's browser
        command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
