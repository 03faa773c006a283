"""What the pages tell a reader to type exists: targets, plugins, settings, files."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tap_email_metrics.providers import PROVIDERS
from tests.support.pages import GUIDE, PAGES, Block, blocks
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: Why a command of the guide need not run in a test.
REASONS = {"installs", "a person", "a cloud account"}
MELTANO: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text())
PLUGINS = {p["name"]: p for kind in MELTANO["plugins"].values() for p in kind}
NAMES = {
    *(job["name"] for job in MELTANO["jobs"]),
    *(schedule["name"] for schedule in MELTANO["schedules"]),
}
VARIABLES = {
    f"{plugin}.{setting['name']}".upper().replace("-", "_").replace(".", "_"): setting
    for plugin, facts in PLUGINS.items()
    for setting in facts.get("settings", [])
}
TARGETS = re.findall(
    r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
)
each_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


def shell(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "sh"]


def commands(page: Path, program: str) -> list[str]:
    """Return what is given to a program, wherever it stands in a command."""
    lines = [line for block in blocks(page) for line in block.commands]
    found = [re.search(rf"(?:^|[ /]){program} (.*)", line) for line in lines]
    return [match[1] for match in found if match]


def test_commands_are_found() -> None:
    assert "help" in commands(ROOT / "README.md", "make")
    told = commands(GUIDE, "meltano")
    assert "config test tap-email-metrics" in told
    assert any(
        command.endswith("encompass-hourly >> sync.log 2>&1") for command in told
    )


@each_page
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in [*commands(page, "make"), *re.findall(r"`make ([^`]+)`", text)]:
        words = [word for word in target.split() if "=" not in word]
        assert set(words) <= set(TARGETS), target


@each_page
def test_meltano_is_told_of_what_is_defined(page: Path) -> None:
    settings = {
        name: {s["name"] for s in p.get("settings", ())} for name, p in PLUGINS.items()
    }
    for command in commands(page, "meltano"):
        words = re.findall(r"[^\s'\[\]]+", command)
        plugins = {word for word in words if word.startswith(("tap-", "target-"))}
        assert plugins <= set(PLUGINS), command
        for name in re.findall(r"(?:schedule run|job set) (\S+)", command):
            assert name in NAMES, command
        for plugin, name in re.findall(r"config set (\S+) (\S+)", command):
            assert name in settings[plugin], command
        for name in re.findall(r"--environment=(\S+)", command):
            assert name in {e["name"] for e in MELTANO["environments"]}, command


@each_page
def test_variables_are_settings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # A whole section is a variable to the tap without Meltano.
    sections = {f"TAP_EMAIL_METRICS_{provider.name}".upper() for provider in PROVIDERS}
    for name, value in re.findall(r"\b((?:TAP|TARGET)_[A-Z_]+)=?(\S*)", text):
        assert name in VARIABLES or name in sections, name
        if VARIABLES.get(name, {}).get("kind") == "array":
            assert isinstance(json.loads(value), list)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to the headings."""
    text = re.sub(r"^```[\s\S]*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_each_command_of_the_guide_runs_or_says_why_not() -> None:
    found = shell(GUIDE)
    assert {block.reason for block in found} == {"", *REASONS}
    for block in found:
        installs = "install" in block.text
        assert (block.reason == "installs") == installs, block.text


def test_each_warehouse_is_in_the_guide() -> None:
    headings = {block.heading for block in blocks(GUIDE)}
    for loader in MELTANO["plugins"]["loaders"]:
        if loader["name"] != "target-jsonl":
            label = loader["label"].replace("PostgreSQL", "Postgres")
            assert label in headings
            told = [b.text for b in shell(GUIDE) if b.heading == label]
            assert any(f"meltano install loader {loader['name']}" in t for t in told)


def test_the_line_for_cron_is_one_that_the_guide_ran_by_hand() -> None:
    [cron] = [block for block in blocks(GUIDE) if block.language == "cron"]
    by_hand = "meltano --environment=prod schedule run encompass-hourly"
    assert f".venv/bin/{by_hand} " in cron.text
    assert by_hand in [c for block in shell(GUIDE) for c in block.commands]
