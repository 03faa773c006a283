"""What the README says to do without Meltano, as it stands there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.server import serve
from tests.support.cli import config, small_world
from tests.support.pages import blocks
from tests.support.project import ROOT

pytestmark = pytest.mark.slow

#: A target that confirms each state.
TARGET = f"""#!{sys.executable}
import json, sys
for message in map(json.loads, sys.stdin):
    if message["type"] == "STATE":
        print(json.dumps(message["value"]))
"""


def run(folder: Path, text: str, **variables: str) -> str:
    """Run a block in a folder that has the target; return what it logged."""
    paths = (folder, Path(sys.executable).parent, os.environ["PATH"])
    done = subprocess.run(  # noqa: S603 - our own page
        ["/bin/bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, **variables, "PATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_commands_without_meltano_run_as_written(tmp_path: Path) -> None:
    found = [b for b in blocks(ROOT / "README.md") if b.heading == "With plain pipes"]
    before, each_run = [block.text for block in found if block.language == "sh"]
    assert "cp sample_config.json config.json" in before
    target = tmp_path / "target-jsonl"
    target.write_text(TARGET)
    target.chmod(0o755)
    with serve(small_world()) as server:
        (tmp_path / "sample_config.json").write_text(json.dumps(config(server)))
        run(tmp_path, before)
        first = run(tmp_path, each_run)
        asked = server.world.log.count()
        second = run(tmp_path, each_run)
        asked_again = server.world.log.count() - asked
    assert '"run_summary"' in first
    assert '"run_summary"' in second
    # The state of the first run was read by the second.
    assert asked_again < asked
    bookmarks = json.loads((tmp_path / "state.json").read_text())["bookmarks"]
    assert "encompass_opens" in bookmarks


def test_the_luxsci_example_runs_as_written(tmp_path: Path) -> None:
    found = [b for b in blocks(ROOT / "README.md") if b.heading == "Authorise"]
    start, read = [block for block in found if block.language == "sh"]
    [command] = start.commands
    program, *arguments = command.split()
    assert program == "python"
    with subprocess.Popen(  # noqa: S603 - our own page
        [sys.executable, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as simulator:
        try:
            assert simulator.stdout is not None
            assert simulator.stdout.readline().startswith(b"http://127.0.0.1:")
            log = run(tmp_path, read.text, XDG_STATE_HOME=str(tmp_path))
        finally:
            simulator.terminate()
    summary = json.loads(log[log.index('{"event": "run_summary"') :].splitlines()[0])
    outcomes = {name: said["outcome"] for name, said in summary["streams"].items()}
    assert outcomes.keys() >= {"luxsci_sent", "luxsci_marketing_opens"}
    assert set(outcomes.values()) <= {"complete", "empty"}
