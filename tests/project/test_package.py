"""The built wheel, installed in a folder without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
BY_CONTACT = tuple(
    f"constant_contact_contact_{name}"
    for name in ("activity_details", "activity_summary", "open_and_click_rates")
)
SCHEMAS = sorted(path.name for path in (ROOT / "schemas").glob("*.json"))
CAPABILITIES = {
    "about",
    "catalog",
    "discover",
    "schema-flattening",
    "state",
    "stream-maps",
    "structured-logging",
}


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # noqa: S603 - commands of this test
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of `make dist`, or build one for this test."""
    if shipped := os.environ.get("WHEEL"):
        return ROOT / shipped
    folder = tmp_path_factory.mktemp("dist")
    build = ["build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)]
    run(find_uv_bin(), *build, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with an environment that holds only the wheel."""
    folder = tmp_path_factory.mktemp("elsewhere")
    uv = find_uv_bin()
    run(uv, "venv", "--quiet", "--python", sys.executable, "venv", cwd=folder)
    install = ["pip", "install", "--quiet", "--python", "venv", "--constraints"]
    run(uv, *install, ROOT / "constraints.txt", wheel, cwd=folder)
    return folder


def tap(folder: Path, *arguments: str) -> Any:
    command = folder / "venv" / "bin" / "tap-email-metrics"
    home = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return json.loads(run(command, *arguments, cwd=folder, env=home).stdout)


def test_the_wheel_holds_the_schemas_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folder = "tap_email_metrics/schemas/"
    packed = sorted(n.removeprefix(folder) for n in names if n.startswith(folder))
    assert packed == SCHEMAS
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "tap_email_metrics/py.typed" in names
    assert {name.split("/", maxsplit=1)[0] for name in names} == {
        "tap_email_metrics",
        wheel.name.partition("-py3")[0] + ".dist-info",
    }


def test_the_installed_tap_discovers_all_streams(elsewhere: Path) -> None:
    config = elsewhere / "config.json"
    sample = (ROOT / "sample_config.json").read_text()
    config.write_text(sample)
    catalog = tap(elsewhere, "--config", str(config), "--discover")
    ids = sorted(f"{stream['tap_stream_id']}.json" for stream in catalog["streams"])
    prefixes = tuple(f"{one}_" for one in (*json.loads(sample), "email_metrics"))
    # Reports by contact are offered only if they are switched on.
    assert ids == [
        name
        for name in SCHEMAS
        if name.startswith(prefixes) and not name.startswith(BY_CONTACT)
    ]
    keys = [stream["key_properties"] for stream in catalog["streams"]]
    assert {key[0] for key in keys} == {"account"}


def test_the_installed_tap_describes_its_settings_and_capabilities(
    elsewhere: Path,
) -> None:
    about = tap(elsewhere, "--about", "--format=json")
    assert set(about["capabilities"]) == CAPABILITIES
    assert about["settings"]["additionalProperties"] is False
    assert about["settings"]["properties"]["encompass"]["properties"]["site_url"]


def test_the_wheel_holds_the_report_which_asks_for_its_extra(
    wheel: Path, elsewhere: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert "tap_email_metrics/report/page.html.j2" in archive.namelist()
    done = subprocess.run(  # noqa: S603 - the wheel's own command
        [elsewhere / "venv/bin/tap-email-metrics-report", "--database", "any.duckdb"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'tap-email-metrics[report]'" in done.stderr
    assert "Traceback" not in done.stderr
