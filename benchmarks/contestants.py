"""The commands of the tap and its peers: all read the same fields of the same opens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import FOLDER, Contestant
from benchmarks.peers import airbyte

if TYPE_CHECKING:
    from collections.abc import Collection

TAP = Path(sys.executable).with_name("tap-email-metrics")
PEERS = Path(__file__).parent / "peers"
STREAM = "encompass_opens"
ROW = ("message_id", "id", "recipient_id", "timestamp", "date_added", "ip_address")
FIELDS = ("account", *ROW, "user_agent")
"""The fields of a row and the key. The tap's derived columns are left out, because no
peer makes them."""


def tap(
    name: str = "tap",
    *,
    workers: int = 4,
    fields: Collection[str] | None = FIELDS,
    stream: str = STREAM,
) -> Contestant:
    """Return this tap as a contestant.

    Args:
        name: its name in the tables.
        workers: the setting `encompass.max_concurrency`.
        fields: the columns to select, None for all.
        stream: the stream to select.
    """
    settings: dict[str, Any] = {
        "site_url": "{url}",
        "api_url": "{url}",
        "client_id": "7",
        "client_secret": "benchmark",
        "requests_per_second": 100_000,
        "max_concurrency": workers,
    }
    catalog = _catalog(name, stream, fields)
    shell = 'printf "%s" "$0" >"$1"; exec "$2" --config "$1" --catalog "$3"'
    file = FOLDER / f"{name}-config.json"
    config = json.dumps({"encompass": settings})
    command = ("sh", "-c", shell, config, str(file), str(TAP), str(catalog))
    return Contestant(name, command)


def _catalog(name: str, stream: str, fields: Collection[str] | None) -> Path:
    """Write a catalog with one stream selected; return its path."""
    found = subprocess.run(  # noqa: S603 - our own
        [str(TAP), "--discover"], capture_output=True, check=True
    )
    catalog = json.loads(found.stdout)
    entries = [e for e in catalog["streams"] if e["tap_stream_id"] == stream]
    for item in entries[0]["metadata"]:
        if not item["breadcrumb"]:
            item["metadata"]["selected"] = True
        else:
            wanted = fields is None or item["breadcrumb"][1] in fields
            item["metadata"]["selected"] = wanted
    file = FOLDER / f"{name}-catalog.json"
    file.write_text(json.dumps({"streams": entries}))
    return file


def python(environment: str) -> str:
    """Return the Python interpreter of a peer's environment."""
    return str(FOLDER / environment / "bin" / "python")


def naive() -> Contestant:
    """Return a plain tap built with the SDK."""
    return _with_config("singer-sdk", python("sdk"), "sdk_tap.py")


def singer() -> Contestant:
    """Return a tap built with singer-python and its Transformer."""
    return _with_config("singer-python", python("singer"), "singer_tap.py")


def _with_config(name: str, interpreter: str, script: str) -> Contestant:
    shell = 'printf "%s" "$0" >"$1"; exec "$2" "$3" --config "$1"'
    config = json.dumps({"api_url": "{url}", "auth_token": "benchmark"})
    file = FOLDER / f"{name}-config.json"
    return Contestant(
        name, ("sh", "-c", shell, config, str(file), interpreter, str(PEERS / script))
    )


def loop() -> Contestant:
    """Return the bare loop of requests and orjson."""
    return _script("requests+orjson", "loop.py", counted=b'"RECORD"')


def download() -> Contestant:
    """Return the loop that downloads pages without decoding them."""
    return _script("download only", "download.py", counted=None)


def _script(name: str, script: str, counted: bytes | None) -> Contestant:
    given = json.dumps({"api_url": "{url}"})
    command = (python("loop"), str(PEERS / script), given)
    return Contestant(name, command, counted=counted)


def dlt(workers: int | None) -> Contestant:
    """Return dlt's rest_api source, parallelized with `workers`, or plain for None."""
    name = f"dlt parallelized {workers}" if workers else "dlt"
    parallelized = workers is not None
    folder = str(FOLDER / "dlt-pipelines")
    given = {"api_url": "{url}", "parallelized": parallelized, "folder": folder}
    env = {"RUNTIME__DLTHUB_TELEMETRY": "false"}
    if workers:
        env["EXTRACT__WORKERS"] = env["EXTRACT__MAX_PARALLEL_ITEMS"] = str(workers)
    command = (python("dlt"), str(PEERS / "dlt_source.py"), json.dumps(given))
    return Contestant(name, command, tuple(env.items()), counted=None)


def airbyte_cdk(concurrency: int | None) -> Contestant:
    """Return airbyte-cdk's declarative source; None for its default concurrency."""
    name = f"airbyte-cdk {concurrency}" if concurrency else "airbyte-cdk"
    files = FOLDER / name.replace(" ", "-")
    files.mkdir(parents=True, exist_ok=True)
    command = str(FOLDER / "airbyte" / "bin" / "source-declarative-manifest")
    arguments = airbyte.write_files(files, "{url}", concurrency)
    config = Path(arguments[2])
    shell = 'printf "%s" "$0" >"$1"; shift; exec "$@"'
    line = ("sh", "-c", shell, config.read_text(), str(config), command, *arguments)
    return Contestant(name, line)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the compared packages."""
    packages = {
        "loop": ("requests", "orjson"),
        "sdk": ("singer-sdk",),
        "singer": ("singer-python",),
        "dlt": ("dlt",),
        "airbyte": ("airbyte-cdk",),
    }
    known = {"python": sys.version.split()[0]}
    for environment, names in packages.items():
        code = (
            "import sys, importlib.metadata as m\n"
            "for name in sys.argv[1:]: print(name, m.version(name))"
        )
        interpreter = python(environment)
        if Path(interpreter).exists():
            told = subprocess.run(  # noqa: S603 - our own
                [interpreter, "-c", code, *names],
                capture_output=True,
                text=True,
                check=True,
            )
            known |= dict(line.split() for line in told.stdout.splitlines())
    return known
