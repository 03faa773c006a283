"""The files for containers agree with the package and with each other.

`make containers` lints them. The tests cannot rely on a container engine to run them.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from tap_email_metrics.init import PROVIDER_VARIABLES, WAREHOUSES, meltano_yml
from tests.support.pages import DOCS
from tests.support.project import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
[SERVICE] = COMPOSE["services"].values()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_image_gets_every_file_that_the_package_is_built_from() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    needed = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {*(one.strip("/") for one in needed), "pyproject.toml"} <= let_in
    assert {one for one in let_in if not (ROOT / one).exists()} == set()
    # Secrets and states of a checkout stay out of the image.
    assert "*" in lines


def test_compose_names_a_stage_and_a_schedule_that_exist() -> None:
    stages = re.findall(r"^FROM .* AS (\w+)$", CONTAINERFILE, re.MULTILINE)
    assert SERVICE["build"]["target"] in stages
    small = yaml.safe_load(meltano_yml("encompass", "postgres"))
    [schedule] = small["schedules"]
    assert f"meltano schedule run {schedule['name']} " in SERVICE["entrypoint"][-2]
    assert f'"run", "{schedule["name"]}"' in CONTAINERFILE


def test_state_and_tokens_are_in_the_volume() -> None:
    assert SERVICE["volumes"] == ["state:/state"]
    assert CONTAINERFILE.count("XDG_STATE_HOME=/state") == 2
    assert "MELTANO_DATABASE_URI=sqlite:////state/" in CONTAINERFILE


def test_images_run_as_an_ordinary_user() -> None:
    users = re.findall(r"^USER (\S+)$", CONTAINERFILE, re.MULTILINE)
    assert users == ["10001", "10001"]


def test_the_operations_page_names_build_arguments_that_exist() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"--build-arg (\w+)=(\w+)", page))
    defaults = dict(re.findall(r"^ARG (\w+)=(\w+)$", CONTAINERFILE, re.MULTILINE))
    assert told == defaults
    assert told["PROVIDER"] in PROVIDER_VARIABLES
    assert told["WAREHOUSE"] in WAREHOUSES
