"""Commands of the documentation that need no Meltano, run as written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.server import serve
from tests.support.cli import config, small_world
from tests.support.pages import GUIDE, blocks, runnable
from tests.support.project import ROOT

pytestmark = pytest.mark.slow

#: Blocks of commands without Meltano, by page and heading.
BLOCKS = {
    place: plain
    for place, found in runnable().items()
    if (plain := [block for block in found if "meltano" not in block.text])
}

#: Headings with commands of the page on contract reports.
REPORTED = ("Contract report", "Verify an account", "Keep the shapes of answers")

#: A target that prints each state it has received.
TARGET = f"""#!{sys.executable}
import json, sys
for message in map(json.loads, sys.stdin):
    if message["type"] == "STATE":
        print(json.dumps(message["value"]))
"""


def run(folder: Path, text: str, **variables: str) -> str:
    """Run a block in a folder that has the target; return its log."""
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


def test_every_block_of_commands_has_a_test() -> None:
    assert set(BLOCKS) == {
        ("README.md", "Install"),
        # test_alerts.py runs it.
        ("alerts.md", "A chat webhook"),
        *(("contract-report.md", heading) for heading in REPORTED),
        ("luxsci.md", "Authorise"),
        # The test of the guide runs it because it builds marts.
        ("marts.md", "The report"),
        ("operations.md", "Before a run: the doctor"),
        ("operations.md", "Without Meltano"),
        ("personal-data.md", "Personal data"),
        ("selection.md", "Without Meltano"),
        ("warehouses.md", "Snowflake"),
    }


def test_the_readme_installs_as_the_guide_does() -> None:
    [block] = BLOCKS["README.md", "Install"]
    assert block.text in [one.text for one in blocks(GUIDE)]


def test_the_pipes_of_the_operations_page_work(tmp_path: Path) -> None:
    before, each_run, completion = BLOCKS["operations.md", "Without Meltano"]
    assert "cp sample_config.json config.json" in before.text
    target = tmp_path / "target-jsonl"
    target.write_text(TARGET)
    target.chmod(0o755)
    with serve(small_world()) as server:
        (tmp_path / "sample_config.json").write_text(json.dumps(config(server)))
        run(tmp_path, before.text)
        first = run(tmp_path, each_run.text)
        asked = server.world.log.count()
        second = run(tmp_path, each_run.text)
        asked_again = server.world.log.count() - asked
    assert '"run_summary"' in first
    assert '"run_summary"' in second
    # The second run used the state of the first.
    assert asked_again < asked
    bookmarks = json.loads((tmp_path / "state.json").read_text())["bookmarks"]
    assert "encompass_opens" in bookmarks
    run(tmp_path, completion.text + "complete -p tap-email-metrics")


def test_the_doctor_of_the_operations_page_works(tmp_path: Path) -> None:
    [block] = BLOCKS["operations.md", "Before a run: the doctor"]
    with serve(small_world(days_ago=0)) as server:
        (tmp_path / "config.json").write_text(json.dumps(config(server)))
        (tmp_path / "state.json").write_text("{}")
        run(tmp_path, block.text, XDG_STATE_HOME=str(tmp_path))


@pytest.mark.parametrize("heading", REPORTED)
def test_each_command_of_the_contract_report_page_works(
    tmp_path: Path, heading: str
) -> None:
    [block] = BLOCKS["contract-report.md", heading]
    with serve(small_world()) as server:
        (tmp_path / "config.json").write_text(json.dumps(config(server)))
        (tmp_path / "state.json").write_text("{}")
        run(tmp_path, block.text, XDG_STATE_HOME=str(tmp_path))
    assert (tmp_path / "contract-report.md").exists()
    assert "providers" in json.loads((tmp_path / "contract-report.json").read_text())
    has_shapes = any((tmp_path / "shapes").rglob("*.shape.json"))
    assert has_shapes == (heading == "Keep the shapes of answers")


def test_the_selection_page_deselects_a_stream_and_a_column(tmp_path: Path) -> None:
    [block] = BLOCKS["selection.md", "Without Meltano"]
    with serve(small_world()) as server:
        (tmp_path / "config.json").write_text(json.dumps(config(server)))
        run(tmp_path, block.text)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    records = [one for one in map(json.loads, lines) if one["type"] == "RECORD"]
    assert "encompass_opens" in {one["stream"] for one in records}
    assert "encompass_links" not in {one["stream"] for one in records}
    assert not [one for one in records if "pre_header" in one["record"]]


@pytest.mark.parametrize(
    "place", [("personal-data.md", "Personal data"), ("warehouses.md", "Snowflake")]
)
def test_the_commands_that_make_keys_work(
    tmp_path: Path, place: tuple[str, str]
) -> None:
    for block in BLOCKS[place]:
        run(tmp_path, block.text)


def test_the_luxsci_page_reads_from_the_simulator(tmp_path: Path) -> None:
    start, read = BLOCKS["luxsci.md", "Authorise"]
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
