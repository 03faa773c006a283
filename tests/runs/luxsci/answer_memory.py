"""Measure decoding a LuxSci answer of 24 MB, and check every row.

The path of the tap, from the chunks of a body to encoded RECORD lines, is compared with
`json.loads` of the whole body. Each is measured in separate processes: once for the
memory that Python allocates (tracemalloc), and once for that of the process (VmHWM, on
Linux only). Run `python -m tests.runs.luxsci.answer_memory`; the last line is a JSON
object.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_email_metrics.providers.luxsci.report import Report
from tap_email_metrics.records.builder import PageMaker, RecordBuilder
from tap_email_metrics.records.columns import EXTRACTED_AT
from tap_email_metrics.records.pages import Page
from tap_email_metrics.records.privacy import Privacy
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.streams.window_reader import WindowReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_email_metrics.state.windows import Window

STREAM, ACCOUNT, ROWS = "luxsci_delivery_status", "4711", 50_000
MOST_MB = 10.0
"""The most MB that the tap may take at its peak above the rest of the process."""
MB = 1e6
_CHUNK = 64 * 1024
_NEW_NAMES = {
    "from": "from_address",
    "to": "to_address",
    "user": "user_login",
    "Opens": "opens",
    "Clicks": "clicks",
    "Unsubscribed": "unsubscribed",
}
_DATES = ("date_sent", "last_updated", "delivery_status_updated")
_CODE_WORD = "member_no"
"""A column that is not in the schema."""
_IDENTITY = ("channel", "sendmail_id", "to_address", "date_sent")
_COLUMNS = {"login": None, "channel": "smtp"}
"""Columns of a record that come from the request."""


# The answer and the expected records


def source(number: int) -> dict[str, Any]:
    """Return a row of the answer with the vendor's names."""
    second = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02} 10:{number % 60:02}:07"
    to = f"patient{number}@example.org"
    return {
        "date_sent": second,
        "from": "clinic@clinic.example",
        "from_ip": None if number % 7 == 0 else f"192.0.2.{number % 250}",
        "header1": "x-clinic",
        "header1_value": f"Größe {number} \U0001f389",
        "header2": 'x-"quoted"\\',
        "header2_value": None,
        "header3": "",
        "header3_value": None,
        "last_updated": second,
        "delivery_status_updated": None,
        "delivery_seconds": number % 900,
        "n_recipients": 1,
        "secureline": number % 7 - 2,
        "sendmail_id": f"17900{number:05}-{number:07}",
        "size_bytes": 20_000 + number,
        "smtp_code": 250,
        "spam": 0,
        "Opens": number % 5 - 1,
        "Clicks": 0,
        "Unsubscribed": 0,
        "status": "Delivered" if number % 3 else "Soft Bounce",
        "details": f"250 2.0.0 OK {number} {'queued for retry, ' * (number % 4 + 6)}",
        "tls_delivery": 1,
        "tls_info": None,
        "to": to,
        "user": "clinic@clinic.example",
        "user_id": 7,
        "template_id": 0,
        _CODE_WORD: f"m{number}",
    }


def expected(number: int) -> dict[str, Any]:
    """Return the record of a row, made without code of the tap."""
    row = source(number)
    beside = {_CODE_WORD: row.pop(_CODE_WORD)}
    for name in _DATES:
        row[name] = row[name] and row[name].replace(" ", "T") + ".000Z"
    record = {_NEW_NAMES.get(name, name): value for name, value in row.items()}
    record = {"account": ACCOUNT, **_COLUMNS, **record, "additional_fields": beside}
    parts = [ACCOUNT, STREAM, None, *(record[name] for name in _IDENTITY), 0]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    event_id = hashlib.sha256(text.encode()).hexdigest()[:32]
    return record | {"event_id": event_id, "recipient_domain": "other"}


def chunks(rows: int) -> Iterator[bytes]:
    """Yield the body of an answer of `rows` rows, in chunks as from a socket."""
    header = json.dumps(list(source(0)))
    held = bytearray(f'{{"success": 1, "header": {header}, "data": ['.encode())
    for number in range(rows):
        held += json.dumps(list(source(number).values())).encode()
        held += b"," if number < rows - 1 else b""
        while len(held) >= _CHUNK:
            yield bytes(held[:_CHUNK])
            del held[:_CHUNK]
    yield bytes(held) + f'], "count": {rows}}}'.encode()


# The contestants


class _Answer:
    """One page as the client returns it."""

    def __init__(self, rows: int, names: dict[str, str]) -> None:
        self._report = Report(chunks(rows), names)

    @property
    def count(self) -> int | None:
        return self._report.count

    @property
    def has_list(self) -> bool:
        return self._report.has_list

    def rows(self) -> Iterator[list[dict[str, Any] | None]]:
        return self._report.rows()

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _Source:
    """A list with one window of one page."""

    size: int
    names: dict[str, str]
    key: str = "smtp"

    @property
    def columns(self) -> dict[str, object]:
        return dict(_COLUMNS)

    def open(self, window: Window | None, first_row: int, most: int) -> _Answer:  # noqa: ARG002 - there is one
        return _Answer(self.size, self.names)

    def count(self, window: Window | None) -> int | None:  # noqa: ARG002 - likewise
        return self.size


def by_the_tap(rows: int) -> Iterator[bytes]:
    """Yield RECORD lines as the tap makes them, including the check of the window."""
    schema = load_schema(STREAM)
    columns = schema["properties"]
    builder = RecordBuilder(
        schema,
        key=("account", "event_id"),
        selected=set(columns) - {EXTRACTED_AT},
        account=ACCOUNT,
        privacy=Privacy(),
    )
    sources = [part["x-source"] for part in columns.values() if "x-source" in part]
    reader = WindowReader(
        _Source(rows, {name.lower(): name for name in sources}),
        PageMaker(builder, _COLUMNS),
        counts_equals=False,
    )
    writer = _Lines()
    with closing(reader.read(None)) as batches:
        for batch in batches:
            if isinstance(batch, Page):
                writer.write_records(STREAM, batch.made().records, 0)
                yield from writer.taken()


class _Lines(Writer):
    """Keeps the lines instead of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[bytes] = []

    @override
    def flush(self) -> None:
        self._lines += bytes(self._buffer).splitlines()
        self._buffer.clear()

    def taken(self) -> list[bytes]:
        """Return the lines since the last call."""
        self.flush()
        lines, self._lines = self._lines, []
        return lines


def by_json_loads(rows: int) -> Iterator[bytes]:
    """Yield the rows of a body that was decoded at once, each as a line."""
    body = b"".join(chunks(rows))
    answer = json.loads(body)
    for row in answer["data"]:
        record = dict(zip(answer["header"], row, strict=True))
        yield json.dumps({"type": "RECORD", "record": record}).encode()


CONTESTANTS: dict[str, Callable[[int], Iterator[bytes]]] = {
    "tap": by_the_tap,
    "json.loads": by_json_loads,
}


# Measuring


def differences(rows: int) -> int:
    """Return the number of rows of the tap that differ from the source."""
    wrong = 0
    found = 0
    for number, line in enumerate(by_the_tap(rows)):
        found += 1
        wrong += json.loads(line)["record"] != expected(number)
    return wrong + abs(rows - found)


def allocated(contestant: str, rows: int) -> float:
    """Return the peak of the MB that Python allocates above the start."""
    _consume(contestant, 100)  # objects that are made once and kept
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        _consume(contestant, rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - before) / MB


def resident(contestant: str, rows: int) -> float:
    """Return the peak of the MB of the process above the start."""
    _consume(contestant, 100)
    gc.collect()
    before = _status("VmRSS")
    # Linux resets the peak of the process.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    _consume(contestant, rows)
    return max(0.0, _status("VmHWM") - before)


def _consume(contestant: str, rows: int) -> None:
    for _ in CONTESTANTS[contestant](rows):
        pass


def _status(name: str) -> float:
    """Return a line of the status of the process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MB
    raise RuntimeError(f"no {name}")


def main() -> None:
    """Measure and compare; exit with 1 if the tap takes too much or a row is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        contestant, what = options.alone
        _say(json.dumps(_alone(contestant, what, options.rows)))
        return
    size = sum(map(len, chunks(options.rows))) / MB
    _say(f"{options.rows:,} rows of {len(source(0))} columns, {size:.1f} MB\n")
    _say(f"{'':12}{'allocated':>12}{'resident':>12}{'seconds':>10}")
    result: dict[str, Any] = {"rows": options.rows, "mb": round(size, 1)}
    for name in CONTESTANTS:
        found = _measured(name, options.rows)
        result[name] = found
        shown = f"{found['allocated_mb']:>9.1f} MB{found['resident_mb']:>9.1f} MB"
        _say(f"{name:12}{shown}{found['seconds']:>10.1f}")
    result["wrong_rows"] = differences(options.rows)
    _say(f"\nrows that differ from the source: {result['wrong_rows']}")
    tap = result["tap"]
    most = max(tap["allocated_mb"], tap["resident_mb"])
    result["ok"] = most <= MOST_MB and not result["wrong_rows"]
    _say(json.dumps(result))
    sys.exit(not result["ok"])


def _measured(contestant: str, rows: int) -> dict[str, float]:
    """Return the measurements of a contestant in separate processes."""
    found: dict[str, float] = {}
    for what in ("allocated", "resident"):
        command = [sys.executable, "-m", "tests.runs.luxsci.answer_memory"]
        command += ["--rows", str(rows), "--alone", contestant, what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this module
        found |= json.loads(done.stdout)
    return found


def _alone(contestant: str, what: str, rows: int) -> dict[str, float]:
    if what == "allocated":
        return {"allocated_mb": round(allocated(contestant, rows), 1)}
    started = time.perf_counter()
    peak = resident(contestant, rows)
    seconds = round(time.perf_counter() - started, 1)
    return {"resident_mb": round(peak, 1), "seconds": seconds}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
