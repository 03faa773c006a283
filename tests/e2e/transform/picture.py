"""Make the report's picture for the README: `python -m tests.e2e.transform.picture`.

The picture contains a digest of a page of samples, so a test can tell when it is out of
date.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from simulator.clock import DAY
from simulator.truth import truth
from simulator.world import World
from tap_email_metrics.report.marts import Marts
from tap_email_metrics.report.page import page
from tap_email_metrics.report.sections import SECTIONS
from tests.e2e.transform.browser import chromium
from tests.e2e.transform.test_transform import NOW, STEPS, Load, run_dbt
from tests.support.project import ROOT
from tests.support.world import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_email_metrics.report.marts import MartRow, MartRows
    from tap_email_metrics.report.sections import ReportSection

PICTURE = ROOT / "docs" / "report.png"
KEYWORD = b"Made from"
SIZE = (1100, 1400)


@dataclass(frozen=True)
class Sample(Marts):
    """Marts with one row in each section, which note the queries."""

    queries: list[str] = field(default_factory=list)

    @override
    def read(self, queries: Mapping[str, str]) -> MartRows:
        self.queries.extend(queries.values())
        return {one.name: [sample(one)] for one in SECTIONS}


def sample(section: ReportSection) -> MartRow:
    """Return a row with a value in each column."""
    row: MartRow = {"provider": "encompass"}
    for column in section.columns:
        if column.kind != "provider":
            row[column.name] = "text" if column.kind == "text" else 0.5
    return row


def digest() -> str:
    """Return a digest of the page of a sample, and of the queries."""
    marts = Sample("", "email_marts")
    html = page(marts, datetime(2026, 1, 1, tzinfo=UTC))
    return hashlib.sha256((html + str(marts.queries)).encode()).hexdigest()


def said(picture: bytes) -> str:
    """Return the digest stored in a picture."""
    place = picture.index(KEYWORD + b"\0") + len(KEYWORD) + 1
    return picture[place : place + 64].decode()


def signed(picture: bytes, text: str) -> bytes:
    """Return a PNG with a text chunk before its last chunk."""
    body = b"tEXt" + KEYWORD + b"\0" + text.encode()
    chunk = struct.pack(">I", len(body) - 4) + body
    chunk += struct.pack(">I", zlib.crc32(body))
    end = picture.rindex(b"IEND") - 4
    return picture[:end] + chunk + picture[end:]


def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = World.generate(
            *(5, 14, NOW), days_ahead=5, campaigns=14, luxsci=120, audience=400
        )
        load = Load()
        for stream in KEYS:
            for row in truth(world, stream, [NOW - 6 * DAY, NOW]):
                load.add(stream, row)
        load.write(folder / "load")
        database = str(folder / "one.duckdb")
        steps = [
            {"database": database, "load": str(folder / "load")},
            {"database": database, "dbt": ["seed"]},
            {"database": database, "dbt": ["run"]},
        ]
        (folder / "steps.json").write_text(json.dumps(steps))
        run_dbt(folder, "dbt", STEPS, folder / "steps.json", DBT_TARGET="duckdb")
        html = folder / "page.html"
        made = datetime.fromtimestamp(NOW, UTC)
        html.write_text(page(Marts(database, "email_marts"), made))
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        shot = folder / "shot.png"
        chromium(folder, size, f"--screenshot={shot}", html.as_uri())
        PICTURE.write_bytes(signed(shot.read_bytes(), digest()))


if __name__ == "__main__":
    main()
