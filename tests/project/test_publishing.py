"""Workflows, hooks and package metadata agree with the Makefile and the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.interpreters import SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE))
FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yml")}
#: PyYAML reads the key `on` as True.
WORKFLOWS: dict[str, Any] = {n: yaml.safe_load(text) for n, text in TEXTS.items()}
JOBS = {
    f"{name}.{job}": facts
    for name, workflow in WORKFLOWS.items()
    for job, facts in workflow["jobs"].items()
}
STEPS = [step for job in JOBS.values() for step in job.get("steps", [])]
COMMANDS = [line for step in STEPS for line in step.get("run", "").splitlines()]
READ = {"contents": "read"}
#: Further permissions of jobs that sign or publish.
MORE = {
    "release.attest": {"attestations": "write", "id-token": "write"},
    "release.pages": {"pages": "write", "id-token": "write"},
    "release.publish": {"id-token": "write"},
}
each_job = pytest.mark.parametrize("name", JOBS)


def made(commands: list[str]) -> set[str]:
    """Return the make targets in these commands."""
    found: set[str] = set()
    for command in commands:
        if command.startswith("make "):
            found |= set(re.findall(r"(?<= )[a-z-]+(?= |$)", command))
    return found


def prerequisites(target: str) -> set[str]:
    lines = re.findall(rf"^{target}: ([^#=\n]*) ##", MAKEFILE, re.MULTILINE)
    return set(lines[0].split())


def recipe(target: str) -> list[str]:
    [lines] = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip() for line in lines.splitlines()]


def test_workflows_make_targets_that_exist() -> None:
    assert set(WORKFLOWS) == {"ci", "nightly", "release"}
    assert made(COMMANDS) <= TARGETS


def test_make_finds_every_test_that_needs_meltano() -> None:
    """`make unit` leaves them out, and `make test-meltano` looks in one folder only."""
    needy = [
        path.relative_to(ROOT).parts[:2]
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(
            r"^(@|pytestmark = \[?)pytest\.mark\.meltano",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ]
    assert len(needy) > 10
    assert set(needy) == {("tests", "e2e")}


def test_ci_runs_every_target_of_make_test() -> None:
    steps = [s for j in WORKFLOWS["ci"]["jobs"].values() for s in j["steps"]]
    ci = made([step.get("run", "") for step in steps])
    # In CI the other Pythons are a matrix of jobs.
    assert prerequisites("test") - {"test-matrix"} <= ci
    assert "demo" in ci


def test_the_nightly_run_covers_every_target_of_make_test_all() -> None:
    jobs = WORKFLOWS["nightly"]["jobs"]
    made_there = {*jobs["meltano"]["strategy"]["matrix"]["target"]}
    made_there |= made([step.get("run", "") for step in jobs["unit"]["steps"]])
    assert prerequisites("test-all") - {"test"} <= made_there <= TARGETS
    assert {"unit", "test-meltano"} <= made_there
    # No test is left out, and property tests draw new inputs.
    assert all(job["env"]["LEFT_OUT"] == "" for job in jobs.values())
    assert jobs["unit"]["env"]["HYPOTHESIS_PROFILE"] == "nightly"
    ci = WORKFLOWS["ci"]["jobs"]["unit"]["strategy"]["matrix"]
    assert jobs["unit"]["strategy"]["matrix"] == ci


def test_ci_runs_on_every_python() -> None:
    jobs = WORKFLOWS["ci"]["jobs"]
    [newest] = [
        step["with"]["python-version"].split()
        for step in jobs["newest"]["steps"]
        if "setup-python" in step.get("uses", "")
    ]
    # The last Python set up becomes `python3`; `make test-matrix` finds the others.
    assert newest == [SUPPORTED[-1], SUPPORTED[0]]
    matrix = jobs["unit"]["strategy"]["matrix"]
    assert (*matrix["python"], newest[0]) == SUPPORTED


@each_job
def test_a_job_has_few_permissions_and_a_time_limit(name: str) -> None:
    job = JOBS[name]
    assert job["permissions"] == READ | MORE.get(name, {})
    assert "uses" in job or job["timeout-minutes"] <= 60
    assert WORKFLOWS[name.partition(".")[0]]["permissions"] == {}


def test_publishing_needs_no_stored_secret() -> None:
    assert not [name for name, text in TEXTS.items() if "secrets." in text]
    assert JOBS["release.publish"]["environment"] == "release"
    assert set(JOBS["release.publish"]["needs"]) == {"ci", "build", "attest"}
    for name in MORE:
        assert {"ci", "build"} <= set(JOBS[name]["needs"])
    assert WORKFLOWS["release"][True] == {"push": {"tags": ["v*"]}}


def test_actions_are_pinned_to_commits() -> None:
    used = re.findall(r"uses: (.*)", "\n".join(TEXTS.values()))
    others = [action for action in used if not action.startswith("./")]
    assert others
    for action in others:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_called_workflows_exist_in_this_repository() -> None:
    called = [job["uses"] for job in JOBS.values() if "uses" in job]
    assert called == ["./.github/workflows/ci.yml"]
    assert "workflow_call" in WORKFLOWS["ci"][True]


def test_checkouts_do_not_keep_credentials() -> None:
    checkouts = [s for s in STEPS if s.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    for step in checkouts:
        assert step["with"] == {"persist-credentials": False}


def test_no_workflow_puts_an_expression_into_a_shell_command() -> None:
    assert not [command for command in COMMANDS if "${{" in command]


def test_make_does_not_print_the_url_of_a_database() -> None:
    commands = [line for line in MAKEFILE.splitlines() if "$(DATABASE)" in line]
    assert commands
    assert all(line.startswith("\t@") for line in commands)


# Hooks


def hooks() -> dict[str, dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    # No hook comes from another host.
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    return {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_hooks_run_the_commands_of_make_lint_and_make_types() -> None:
    checks = [*recipe("lint"), *recipe("types")]
    words = {
        tuple(check.replace("$(PY)", ".venv/bin/python").split()[:4])
        for check in checks
    }
    ours = [hook["entry"] for hook in hooks().values() if hook["language"] == "system"]
    for entry in ours:
        assert tuple(entry.split()[:4]) in words, entry
    assert len(ours) == len(words)


@pytest.mark.parametrize(
    ("hook", "line", "wrong"),
    [
        ("trailing-whitespace", "x = 1 ", True),
        ("trailing-whitespace", "x = 1", False),
        ("merge-conflict", "<<<<<<< HEAD", True),
        ("merge-conflict", "x << 1", False),
    ],
)
def test_hooks_with_a_pattern_find_wrong_lines_only(
    hook: str, line: str, *, wrong: bool
) -> None:
    assert bool(re.search(hooks()[hook]["entry"], line)) == wrong


# The package


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    prefix = "Programming Language :: Python :: "
    stated = [c.removeprefix(prefix) for c in PROJECT["project"]["classifiers"]]
    assert tuple(c for c in stated if re.fullmatch(r"3\.\d+", c)) == SUPPORTED
    # An upper bound would exclude Pythons on which the package runs.
    assert PROJECT["project"]["requires-python"] == f">={SUPPORTED[0]}"


def test_make_asks_for_the_oldest_supported_python() -> None:
    assert f"Python {SUPPORTED[0]} or later is needed" in MAKEFILE
    major, minor = SUPPORTED[0].split(".")
    assert f"sys.exit(sys.version_info < ({major}, {minor}))" in MAKEFILE


def test_the_package_has_a_license_a_readme_and_a_short_description() -> None:
    project = PROJECT["project"]
    assert project["license"] == "Apache-2.0"
    for name in (project["readme"], *project["license-files"]):
        assert (ROOT / name).is_file()
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in license_text
    assert "Version 2.0" in license_text
    assert len(project["description"]) < 100


def test_the_changelog_follows_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    for head in heads[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
