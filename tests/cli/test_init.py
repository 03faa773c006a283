"""`tap-email-metrics-init`: the project it writes; it overwrites nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tap_email_metrics import init
from tap_email_metrics.init import PROVIDER_VARIABLES, WAREHOUSES, WIDTH, main
from tap_email_metrics.tap import TapEmailMetrics
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MELTANO = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
LOADERS = {plugin["name"]: plugin for plugin in MELTANO["plugins"]["loaders"]}
UTILITIES = {plugin["name"]: plugin for plugin in MELTANO["plugins"]["utilities"]}
EXTRACTORS = {plugin["name"]: plugin for plugin in MELTANO["plugins"]["extractors"]}
TAP = EXTRACTORS["tap-email-metrics"]
each_provider = pytest.mark.parametrize("provider", PROVIDER_VARIABLES)
each_warehouse = pytest.mark.parametrize("warehouse", WAREHOUSES)


def run(*arguments: str | Path, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], input=typed)


def project(folder: Path, provider: str, warehouse: str, *more: str) -> dict[str, Any]:
    done = run(folder, "--provider", provider, "--warehouse", warehouse, *more)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = yaml.safe_load((folder / "meltano.yml").read_text())
    return found


def variables(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@each_warehouse
@each_provider
def test_meltano_yml_is_short_and_has_one_provider_and_one_warehouse(
    tmp_path: Path, provider: str, warehouse: str
) -> None:
    found = project(tmp_path, provider, warehouse)
    lines = (tmp_path / "meltano.yml").read_text().splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= WIDTH
    assert found["default_environment"] in {e["name"] for e in found["environments"]}
    [loader] = found["plugins"]["loaders"]
    assert loader["name"] == f"target-{warehouse}"
    names = {
        setting["name"] for setting in found["plugins"]["extractors"][0]["settings"]
    }
    others = {one.replace("-", "_") for one in PROVIDER_VARIABLES} - {
        provider.replace("-", "_")
    }
    assert not [name for name in names if name.startswith(tuple(others))]


@each_provider
def test_the_tap_is_defined_as_in_the_full_meltano_yml(
    tmp_path: Path, provider: str
) -> None:
    found = project(tmp_path, provider, "postgres")
    tap, *commands = found["plugins"]["extractors"]
    assert tap["namespace"] == TAP["namespace"]
    # Without `executable` Meltano takes the plugin's name.
    assert tap["name"] == TAP["executable"]
    own = f"!{provider.replace('-', '_')}_"
    rules = [one for one in TAP["select"] if "*." in one or one.startswith(own)]
    assert tap["select"] == rules
    long = {setting["name"]: setting for setting in TAP["settings"]}
    # Meltano ignores the variable of a setting that is missing here.
    others = {one.replace("-", "_") for one in PROVIDER_VARIABLES if one != provider}
    assert [setting["name"] for setting in tap["settings"]] == [
        name for name in long if name.partition(".")[0] not in others
    ]
    for setting in tap["settings"]:
        wanted = long[setting["name"]]
        assert setting.get("sensitive") == wanted.get("sensitive"), setting
        texts = {"string", "options"}
        assert setting.get("kind") == (
            None if wanted["kind"] in texts else wanted["kind"]
        )
    for command in commands:
        wanted = EXTRACTORS[command["name"]]
        assert command == wanted
        assert command["capabilities"]


def test_the_settings_asked_for_switch_the_provider_on() -> None:
    for provider, asked in PROVIDER_VARIABLES.items():
        section: dict[str, Any] = {}
        for one in asked:
            name = one.name.partition(".")[2]
            value = "https://example.edu" if name == "site_url" else one.value or "x"
            section[name] = json.loads(value) if one.kind == "array" else value
        config = {provider.replace("-", "_"): section}
        assert TapEmailMetrics(config=config).catalog_dict["streams"]


@each_warehouse
def test_the_loader_is_defined_as_in_the_full_meltano_yml(
    tmp_path: Path, warehouse: str
) -> None:
    found = project(tmp_path, "encompass", warehouse)
    [loader] = found["plugins"]["loaders"]
    long = LOADERS[loader["name"]]
    assert loader["pip_url"] == long["pip_url"]
    assert loader.get("python") == long.get("python")
    assert loader.get("env") == long.get("env")
    settings = {setting["name"]: setting for setting in long["settings"]}
    for setting in loader.get("settings", ()):
        assert setting.get("sensitive") == settings[setting["name"]].get("sensitive")
    values = {n: one["value"] for n, one in settings.items() if "value" in one}
    values |= long.get("config", {})
    # The full file sets the schema of the tables in each environment.
    place = {"default_target_schema", "dataset", "path"}
    config = {n: v for n, v in loader["config"].items() if n not in place}
    assert config == {n: v for n, v in values.items() if n not in place}
    assert set(loader["config"]) <= set(settings)


@pytest.mark.parametrize("warehouse", ["postgres", "duckdb"])
def test_dbt_is_defined_as_in_the_full_meltano_yml(
    tmp_path: Path, warehouse: str
) -> None:
    found = project(tmp_path, "encompass", warehouse, "--dbt")
    [dbt] = found["plugins"]["utilities"]
    long = UTILITIES[dbt["name"]]
    assert dbt["pip_url"] == long["pip_url"]
    assert dbt.get("python") == long.get("python")
    known = {setting["name"]: setting for setting in long["settings"]}
    values = {setting["name"]: setting["value"] for setting in dbt["settings"]}
    for setting in dbt["settings"]:
        # A setting without `env` has the variable made of the plugin's name.
        own = init.variable(dbt["name"], setting["name"])
        assert setting["env"] == known[setting["name"]].get("env", own)
    if warehouse == "duckdb":
        [loader] = found["plugins"]["loaders"]
        assert values["path"] == loader["config"]["path"]


def test_dbt_is_refused_for_warehouses_that_do_not_offer_it(tmp_path: Path) -> None:
    done = run(tmp_path, "--provider", "luxsci", "--warehouse", "bigquery", "--dbt")
    assert done.exit_code == 2
    assert "postgres and duckdb" in done.output
    assert list(tmp_path.iterdir()) == []


@each_warehouse
@each_provider
def test_secrets_are_empty_and_only_the_owner_may_read_the_file(
    tmp_path: Path, provider: str, warehouse: str
) -> None:
    project(tmp_path, provider, warehouse)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    held = variables(tmp_path)
    for plugin, asked in (
        (init.NAME, PROVIDER_VARIABLES[provider]),
        (f"target-{warehouse}", WAREHOUSES[warehouse].variables),
    ):
        for one in asked:
            value = held.pop(init.variable(plugin, one.name))
            assert not one.secret or value in {"", "login"}
    assert not held
    assert ".env" in (tmp_path / ".gitignore").read_text().splitlines()


def test_init_asks_for_options_that_are_not_given(tmp_path: Path) -> None:
    done = run(tmp_path, typed="luxsci\nduckdb\n")
    assert done.exit_code == 0, done.output
    assert "luxsci" in (tmp_path / ".env").read_text().lower()
    assert "target-duckdb" in (tmp_path / "meltano.yml").read_text()


def test_init_shows_the_next_commands(tmp_path: Path) -> None:
    done = run(tmp_path, "--provider", "constant-contact", "--warehouse", "jsonl")
    assert done.exit_code == 2
    done = run(tmp_path, "--provider", "constant-contact", "--warehouse", "duckdb")
    assert [line.strip() for line in done.output.splitlines()[-4:]] == [
        "meltano install",
        "meltano invoke tap-email-metrics--login",
        "meltano config test tap-email-metrics",
        "meltano run tap-email-metrics target-duckdb",
    ]


@pytest.mark.parametrize("name", ["meltano.yml", ".env"])
def test_init_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = run(tmp_path, "--provider", "encompass", "--warehouse", "postgres")
    assert done.exit_code == 1
    assert name in done.output
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_missing_lines_are_added_to_an_existing_gitignore(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n.env")
    project(tmp_path, "encompass", "postgres")
    held = (tmp_path / ".gitignore").read_text().splitlines()
    assert held == ["mine", ".env", "*.duckdb", ".meltano/"]


def test_a_gitignore_of_any_encoding_keeps_its_lines(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\r\n")
    project(tmp_path, "encompass", "postgres")
    held = (tmp_path / ".gitignore").read_bytes()
    assert held == b"caf\xe9\r\n*.duckdb\n.env\n.meltano/\n"


def test_no_secrets_are_written_where_git_would_take_them(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").mkdir()
    done = run(tmp_path, "--provider", "encompass", "--warehouse", "postgres")
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(
        tmp_path / "file" / "x", "--provider", "encompass", "--warehouse", "duckdb"
    )
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert done.output.startswith("Error: ")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "tap-email-metrics=="),
        ({"url": "file:///srv/tap"}, "file:///srv/tap"),
        (
            {
                "url": "https://git.example/tap",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
            },
            "git+https://git.example/tap@abc",
        ),
    ],
)
def test_the_project_installs_the_tap_from_its_own_source(
    monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, expected: str
) -> None:
    class Package:
        version = "1.2.3"

        def read_text(self, _: str) -> str | None:
            return json.dumps(origin) if origin else None

    monkeypatch.setattr(init, "distribution", lambda _: Package())
    assert init.source().startswith(expected)
