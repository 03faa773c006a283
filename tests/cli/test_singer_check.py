"""An independent validator checks the output and compares it with the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.comparison import Row, by_key, compare
from tests.support.world import KEYS, World

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / ".cache" / "singer-tools" / "bin" / "singer-check-tap"

pytestmark = pytest.mark.slow


def test_an_independent_validator_accepts_the_output(tmp_path: Path) -> None:
    with World(
        tmp_path, seed=3, size=20, campaigns=12, luxsci=30, largest=120
    ) as world:
        config = json.loads(world.config.read_text())
        config["encompass"]["requests_per_second"] = 200
        world.config.write_text(json.dumps(config))
        tap = Path(sys.executable).with_name("tap-email-metrics")
        synced = subprocess.run(  # noqa: S603 - our own tap
            [tap, "--config", world.config],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **world.environment},
        )
        truth = {stream: world.truth(stream, [world.now()]) for stream in KEYS}
    assert synced.returncode == 0, synced.stderr

    checked = subprocess.run(  # noqa: S603 - installed by make
        [CHECK], input=synced.stdout, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "The output is valid." in checked.stdout
    # Two more streams describe the run itself.
    assert f"for {len(KEYS) + 2} streams" in checked.stdout

    messages = [json.loads(line) for line in synced.stdout.splitlines()]
    rows: dict[str, list[Row]] = {stream: [] for stream in KEYS}
    for message in messages:
        if message["type"] == "RECORD" and message["stream"] in KEYS:
            rows[message["stream"]].append(message["record"])
    found = compare(
        lambda stream: by_key(rows[stream], KEYS[stream]).values(),
        truth.__getitem__,
        KEYS,
    )
    assert all(comparison.expected for comparison in found.values())
    assert {s: c.differences for s, c in found.items() if c.differences} == {}
