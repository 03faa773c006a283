"""Make targets, plugins, settings and files that the documentation names exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tap_email_metrics.init import meltano_yml
from tap_email_metrics.providers import PROVIDERS
from tests.support.pages import DOCS, GUIDE, PAGES, Block, blocks
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: Reasons why a command of a page does not run in a test.
REASONS = {
    *("CI runs it", "a test of dbt runs it"),
    *("a person", "a cloud account", "a container engine"),
}
MELTANO: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text())
SMALL: dict[str, Any] = yaml.safe_load(meltano_yml("encompass", "postgres"))
PLUGINS = {p["name"]: p for kind in MELTANO["plugins"].values() for p in kind}
NAMES = {
    entry["name"]
    for file in (MELTANO, SMALL)
    for entry in (*file["jobs"], *file["schedules"])
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
    """Return the arguments given to a program, anywhere in a command."""
    lines = [line for block in blocks(page) for line in block.commands]
    found = [re.search(rf"(?:^|[ /]){program} (.*)", line) for line in lines]
    return [match[1] for match in found if match]


def test_the_commands_of_pages_are_found() -> None:
    assert "help" in commands(ROOT / "README.md", "make")
    told = commands(GUIDE, "meltano")
    assert "config test tap-email-metrics" in told
    assert any(command.endswith("email-metrics >> sync.log 2>&1") for command in told)


@each_page
def test_make_targets_on_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in [*commands(page, "make"), *re.findall(r"`make ([^`]+)`", text)]:
        # The folder of make and its variables are not targets.
        told = re.sub(r"-C \S+", "", target)
        words = [word for word in told.split() if "=" not in word]
        assert set(words) <= set(TARGETS), target


@each_page
def test_plugins_settings_and_schedules_on_pages_are_defined(page: Path) -> None:
    settings = {
        name: {s["name"] for s in p.get("settings", ())} for name, p in PLUGINS.items()
    }
    for command in commands(page, "meltano"):
        words = re.findall(r"[^\s'\"\[\],]+", command)
        plugins = {word for word in words if word.startswith(("tap-", "target-"))}
        assert plugins <= set(PLUGINS), command
        for name in re.findall(r"(?:schedule run|job set) (\S+)", command):
            assert name in NAMES, command
        for plugin, name in re.findall(r"config set (\S+) (\S+)", command):
            assert name in settings[plugin], command
        for name in re.findall(r"--environment=(\S+)", command):
            assert name in {e["name"] for e in MELTANO["environments"]}, command


@each_page
def test_variables_on_pages_are_settings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Without Meltano the tap reads a whole section from one variable.
    sections = {f"TAP_EMAIL_METRICS_{provider.name}".upper() for provider in PROVIDERS}
    for name, value in re.findall(r"\b((?:TAP|TARGET)_[A-Z_]*[A-Z])\b=?(\S*)", text):
        # Variables of Meltano, of an inherited plugin, and of the SDK.
        if re.match(r"TAP_EMAIL_METRICS_(_|LOGLEVEL$)", name):
            continue
        assert name in VARIABLES or name in sections, name
        if VARIABLES.get(name, {}).get("kind") == "array":
            assert isinstance(json.loads(value), list)


@each_page
def test_links_lead_to_existing_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    text = re.sub(r"^```[\s\S]*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_each_command_on_a_page_runs_in_a_test_or_has_a_reason(page: Path) -> None:
    for block in shell(page):
        assert block.reason in {"", *REASONS}
        # The commands of the guide run from first to last.
        assert page != GUIDE or not block.reason


def test_each_target_has_a_section_with_its_version_and_settings() -> None:
    page = DOCS / "warehouses.md"
    text = page.read_text(encoding="utf-8")
    for loader in MELTANO["plugins"]["loaders"]:
        if loader["name"] == "target-jsonl":
            continue
        label = loader["label"].replace("PostgreSQL", "Postgres")
        _, _, section = text.partition(f"\n## {label}\n")
        section = section.partition("\n## ")[0]
        package, version = loader["pip_url"].split()[0].split("==")
        assert f"{package} {version}" in section
        values = {s["name"]: s["value"] for s in loader["settings"] if "value" in s}
        values |= loader.get("config", {})
        # The schema of the tables needs no explanation.
        for name in {"path", "default_target_schema"} & set(values):
            del values[name]
        for name, value in values.items():
            assert f"| `{name}` | `{str(value).lower()}` |" in section


def test_the_pages_of_the_providers_have_the_same_headings() -> None:
    order = [
        *("What you need", "Authorise", "Streams"),
        *("What is read when, and what it costs", "Limits", "What is not known"),
    ]
    for provider in PROVIDERS:
        page = DOCS / f"{provider.name.replace('_', '-')}.md"
        heads = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
        assert heads == order


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 250


def test_every_page_is_on_the_site() -> None:
    def files(entries: list[Any]) -> list[str]:
        found = []
        for entry in entries:
            if isinstance(entry, str):
                found.append(entry)
            else:
                found += [one for part in entry.values() for one in files(part)]
        return found

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert sorted(files(site["nav"])) == sorted(one.name for one in DOCS.glob("*.md"))


def test_the_cron_line_runs_a_command_that_the_guide_ran_before() -> None:
    [cron] = [block for block in blocks(GUIDE) if block.language == "cron"]
    by_hand = "meltano schedule run email-metrics"
    assert f"bin/{by_hand} " in cron.text
    assert by_hand in [c for block in shell(GUIDE) for c in block.commands]
