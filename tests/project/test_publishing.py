"""The workflows, the hooks and the package's facts agree with Makefile and code."""

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
#: PyYAML takes the key `on` for a truth.
WORKFLOWS: dict[str, Any] = {n: yaml.safe_load(text) for n, text in TEXTS.items()}
JOBS = {
    f"{name}.{job}": facts
    for name, workflow in WORKFLOWS.items()
    for job, facts in workflow["jobs"].items()
}
STEPS = [step for job in JOBS.values() for step in job.get("steps", [])]
COMMANDS = [line for step in STEPS for line in step.get("run", "").splitlines()]
READ = {"contents": "read"}
#: What a job may do besides, as it signs or publishes.
MORE = {
    "release.attest": {"attestations": "write", "id-token": "write"},
    "release.pages": {"pages": "write", "id-token": "write"},
    "release.publish": {"id-token": "write"},
}
each_job = pytest.mark.parametrize("name", JOBS)


def made(commands: list[str]) -> set[str]:
    """Return the targets that these commands make."""
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


def test_ci_makes_all_that_make_test_does() -> None:
    steps = [s for j in WORKFLOWS["ci"]["jobs"].values() for s in j["steps"]]
    ci = made([step.get("run", "") for step in steps])
    # The other Pythons are here a matrix.
    assert prerequisites("test") - {"test-matrix"} <= ci
    assert "demo" in ci


def test_the_night_makes_what_make_test_all_does() -> None:
    jobs = WORKFLOWS["nightly"]["jobs"]
    made_there = {*jobs["meltano"]["strategy"]["matrix"]["target"]}
    made_there |= made([step.get("run", "") for step in jobs["unit"]["steps"]])
    assert prerequisites("test-all") - {"test"} <= made_there <= TARGETS
    assert {"unit", "test-meltano"} <= made_there
    # Nothing is left out, and inputs are drawn anew.
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
    # The last one set up is `python3`, the others are what `make test-matrix` finds.
    assert newest == [SUPPORTED[-1], SUPPORTED[0]]
    matrix = jobs["unit"]["strategy"]["matrix"]
    assert (*matrix["python"], newest[0]) == SUPPORTED


@each_job
def test_a_job_may_only_read_and_ends(name: str) -> None:
    job = JOBS[name]
    assert job["permissions"] == READ | MORE.get(name, {})
    assert "uses" in job or job["timeout-minutes"] <= 60
    assert WORKFLOWS[name.partition(".")[0]]["permissions"] == {}


def test_no_secret_is_kept_for_publishing() -> None:
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


def test_called_workflows_are_here() -> None:
    called = [job["uses"] for job in JOBS.values() if "uses" in job]
    assert called == ["./.github/workflows/ci.yml"]
    assert "workflow_call" in WORKFLOWS["ci"][True]


def test_no_credentials_lie_about() -> None:
    checkouts = [s for s in STEPS if s.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    for step in checkouts:
        assert step["with"] == {"persist-credentials": False}


def test_no_expression_gets_into_a_shell() -> None:
    assert not [command for command in COMMANDS if "${{" in command]


def test_make_does_not_print_the_url_of_a_database() -> None:
    commands = [line for line in MAKEFILE.splitlines() if "$(DATABASE)" in line]
    assert commands
    assert all(line.startswith("\t@") for line in commands)


# Hooks


def hooks() -> dict[str, dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    # No hook is fetched from another host.
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    return {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_hooks_run_what_make_runs() -> None:
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
def test_hooks_that_look_for_a_pattern(hook: str, line: str, *, wrong: bool) -> None:
    assert bool(re.search(hooks()[hook]["entry"], line)) == wrong


# The package


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    prefix = "Programming Language :: Python :: "
    stated = [c.removeprefix(prefix) for c in PROJECT["project"]["classifiers"]]
    assert tuple(c for c in stated if re.fullmatch(r"3\.\d+", c)) == SUPPORTED
    # No upper bound: a cap keeps the package out where it would run.
    assert PROJECT["project"]["requires-python"] == f">={SUPPORTED[0]}"


def test_make_asks_for_the_oldest_supported_python() -> None:
    assert f"Python {SUPPORTED[0]} or later is needed" in MAKEFILE
    major, minor = SUPPORTED[0].split(".")
    assert f"sys.exit(sys.version_info < ({major}, {minor}))" in MAKEFILE


def test_the_package_says_what_it_is() -> None:
    project = PROJECT["project"]
    assert project["license"] == "Apache-2.0"
    for name in (project["readme"], *project["license-files"]):
        assert (ROOT / name).is_file()
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in license_text
    assert "Version 2.0" in license_text
    assert len(project["description"]) < 100


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    for head in heads[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
