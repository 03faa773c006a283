"""`tap-email-metrics-init`: writes a small Meltano project for one provider.

It writes `meltano.yml` and `.env` with empty secrets, adds lines to `.gitignore`, and
prints the next commands. It never overwrites a file.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tap_email_metrics.command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAME = "tap-email-metrics"
WIDTH = 88
"""Columns of `meltano.yml`."""


@dataclass(frozen=True)
class Variable:
    """A setting that the user fills in.

    Attributes:
        name: its name in the plugin.
        meaning: what to fill in, or where to find it.
        secret: whether Meltano masks it and writes it into `.env` only.
        value: its first value in `.env`.
        kind: Meltano's kind of setting, empty for a text.
    """

    name: str
    meaning: str
    secret: bool = False
    value: str = ""
    kind: str = ""

    def definition(self) -> str:
        """Return the setting as `meltano.yml` defines it."""
        facts = f"name: {self.name}"
        facts += f", kind: {self.kind}" if self.kind else ""
        facts += ", sensitive: true" if self.secret else ""
        return f"{{{facts}}}"


@dataclass(frozen=True)
class Warehouse:
    """A loader with safe and fast settings.

    Attributes:
        package: its packages, for pip.
        variables: settings that the user fills in.
        config: lines of `config:`, each with a comment that gives the reason.
        python: the Python that the loader needs, empty for any.
        dbt_package: the packages of dbt, for pip; empty if dbt is not offered.
        dbt: dbt's connection settings: name, value and environment variable.
        has_log_level: whether an environment variable sets its log level.
    """

    package: str
    variables: tuple[Variable, ...]
    config: tuple[str, ...]
    python: str = ""
    dbt_package: str = ""
    dbt: tuple[tuple[str, str, str], ...] = ()
    has_log_level: bool = True


#: The Python for DuckDB 1.0, BigQuery's target and dbt; dbt does not run on 3.14.
OLDER = "python3.11"
DUCKDB_FILE = "$MELTANO_PROJECT_ROOT/warehouse.duckdb"
#: Settings for the folder of dbt's models: name, value and environment variable.
DBT = (
    ("project_dir", "$MELTANO_PROJECT_ROOT/transform", "DBT_PROJECT_DIR"),
    ("profiles_dir", "$MELTANO_PROJECT_ROOT/transform", "DBT_PROFILES_DIR"),
)
PROVIDER_VARIABLES: dict[str, tuple[Variable, ...]] = {
    "encompass": (
        Variable("encompass.site_url", "any URL of your Encompass site, with https://"),
        Variable("encompass.client_id", "the site id"),
        Variable("encompass.client_secret", "the web services GUID", secret=True),
    ),
    "constant-contact": (
        Variable("constant_contact.client_id", "the app's API key"),
        Variable(
            "constant_contact.client_secret",
            "the app's secret; leave it empty for a public client",
            secret=True,
        ),
        Variable(
            "constant_contact.refresh_token",
            f'"login" stands for the token that `meltano invoke {NAME}--login` gets',
            secret=True,
            value="login",
        ),
    ),
    "luxsci": (
        Variable("luxsci.token", "the API integration's token", secret=True),
        Variable("luxsci.secret", "the API integration's secret", secret=True),
        Variable("luxsci.account_id", "the account's number"),
        Variable(
            "luxsci.logins",
            "the logins whose marketing reports to read, as a JSON list",
            value="[]",
            kind="array",
        ),
    ),
}
#: Meltano's kinds for settings that are not texts, by their type in the JSON Schema.
KINDS = {kind: kind for kind in ("integer", "boolean", "array", "object")}
KINDS |= {"number": "integer"}
DATES = {"start_date", "end_date"}
#: Settings of the Singer SDK.
SDK_SETTINGS = (
    Variable("stream_maps", "", kind="object"),
    Variable("stream_map_config", "", kind="object"),
    Variable("flattening_enabled", "", kind="boolean"),
    Variable("flattening_max_depth", "", kind="integer"),
)
WAREHOUSES: dict[str, Warehouse] = {
    "postgres": Warehouse(
        "meltanolabs-target-postgres==0.8.1",
        (
            Variable("host", "name of the database server"),
            Variable("port", "its port", value="5432", kind="integer"),
            Variable("user", "a user that may create schemas"),
            Variable("password", "its password", secret=True),
            Variable("database", "name of the database"),
        ),
        (
            "default_target_schema: email_metrics",
            "load_method: upsert          # a row that comes again replaces itself",
            "use_copy: true               # faster, and keeps UTC in every time zone",
            "validate_records: false      # the tap has made the records fit already",
            "batch_size_rows: 50000       # takes about 200 MB of memory",
            "add_record_metadata: false   # faster; dbt goes by the tap's extracted_at",
            "activate_version: false      # the line above needs it",
        ),
        dbt_package="dbt-core==1.11.16 dbt-postgres==1.11.0",
        dbt=(
            ("host", "$TARGET_POSTGRES_HOST", "DBT_POSTGRES_HOST"),
            ("port", "$TARGET_POSTGRES_PORT", "DBT_POSTGRES_PORT"),
            ("user", "$TARGET_POSTGRES_USER", "DBT_POSTGRES_USER"),
            ("password", "$TARGET_POSTGRES_PASSWORD", "DBT_POSTGRES_PASSWORD"),
            ("dbname", "$TARGET_POSTGRES_DATABASE", "DBT_POSTGRES_DBNAME"),
        ),
    ),
    "duckdb": Warehouse(
        # With a newer DuckDB this target silently loses the first row of each batch.
        # DuckDB 1.0.0 has no wheel for Python 3.13.
        "target-duckdb==0.8.0 duckdb==1.0.0",
        (),
        (
            f"path: {DUCKDB_FILE}",
            "default_target_schema: email_metrics",
            "add_metadata_columns: true   # when each row was loaded",
        ),
        python=OLDER,
        dbt_package="dbt-core==1.11.16 dbt-duckdb==1.11.1 duckdb==1.0.0",
        dbt=(("path", DUCKDB_FILE, "DBT_DUCKDB_PATH"),),
        has_log_level=False,
    ),
    "snowflake": Warehouse(
        "meltanolabs-target-snowflake==0.20.4",
        (
            Variable("account", "organisation-account"),
            Variable("user", "the loader's user"),
            Variable("private_key_path", "the key's file", value="snowflake.p8"),
            Variable("role", "the loader's role"),
            Variable("warehouse", "the warehouse that loads"),
            Variable("database", "name of the database"),
        ),
        (
            "default_target_schema: EMAIL_METRICS",
            "load_method: upsert       # a row that comes again replaces itself",
            "validate_records: false   # the tap has made the records fit already",
        ),
    ),
    "bigquery": Warehouse(
        "z3-target-bigquery==0.7.2 setuptools<81",
        (
            Variable("project", "id of the Google Cloud project"),
            Variable("location", "where the dataset is", value="US"),
            Variable("credentials_path", "the key's file", value="bigquery.json"),
        ),
        (
            "dataset: email_metrics",
            "method: batch_job",
            "denormalized: true           # columns instead of one column of JSON",
            "upsert: true                 # a row that comes again replaces itself",
            "dedupe_before_upsert: true   # also one that comes twice in a run",
            "batch_size: 10000            # a batch is a job; a table has 1,500 a day",
        ),
        python=OLDER,
    ),
}


def source() -> str:
    """Return the requirement for pip that installs this package from the same source.

    A version on an index, a commit of a repository, or the URL of a folder or file.
    """
    package = distribution(NAME)
    origin = package.read_text("direct_url.json")
    if origin is None:
        return f"{NAME}=={package.version}"
    said = json.loads(origin)
    if "vcs_info" in said:
        return (
            f"{said['vcs_info']['vcs']}+{said['url']}@{said['vcs_info']['commit_id']}"
        )
    return str(said["url"])


def variable(plugin: str, name: str) -> str:
    """Return the environment variable from which Meltano reads a plugin's setting."""
    return f"{plugin}_{name}".upper().replace("-", "_").replace(".", "_")


def meltano_yml(provider: str, warehouse: str, *, dbt: bool = False) -> str:
    """Return the text of `meltano.yml`, with this provider and warehouse only."""
    tasks = f"{NAME} target-{warehouse}"
    # Each run reads LuxSci's look-backs again: hourly, that costs too many requests.
    interval = "@daily" if provider == "luxsci" else "@hourly"
    lines = [
        "requires_meltano: '>=4.4,<5'",
        "send_anonymous_usage_stats: false",
        # Meltano keeps state only in an environment.
        "default_environment: prod",
        "environments: [{name: prod}]",
        "plugins:",
        *_extractors(provider),
        *_loaders(warehouse),
        *(_utilities(warehouse) if dbt else ()),
        f"jobs: [{{name: email-metrics, tasks: [{tasks}]}}]",
        "schedules:",
        f"- {{name: email-metrics, interval: '{interval}', job: email-metrics}}",
    ]
    return "\n".join(lines) + "\n"


def _extractors(provider: str) -> list[str]:
    lines = [
        "  extractors:",
        f"  - name: {NAME}",
        "    namespace: tap_email_metrics",
        f"    pip_url: {source()}",
        "    capabilities: [catalog, discover, state]",
        *_settings(all_settings(provider)),
        f"    select: [{', '.join(map(repr, _selected(provider)))}]",
    ]
    for command in _commands(provider):
        lines += [
            f"  - {{name: {NAME}--{command}, inherit_from: {NAME},",
            # Not `discover`: Meltano would run a discovery with this command.
            f"     executable: {NAME}-{command}, capabilities: [about]}}",
        ]
    return lines


def _selected(provider: str) -> tuple[str, ...]:
    """Return the rules of selection; Meltano warns of a rule for an absent stream."""
    if provider == "constant-contact":
        return ("*.*", "!constant_contact_did_not_opens.*")
    return ("*.*",)


def all_settings(provider: str) -> list[Variable]:
    """Return every setting of the tap, of this provider alone.

    Meltano ignores the environment variable of a setting that `meltano.yml` does not
    define, and takes its value for a text.
    """
    # This imports the SDK, which takes longer than anything else here.
    from tap_email_metrics.providers import PROVIDERS, config_schema  # noqa: PLC0415

    others = {one.name for one in PROVIDERS} - {provider.replace("-", "_")}
    schema = config_schema(PROVIDERS)["properties"]
    own = {name: part for name, part in schema.items() if name not in others}
    return [*_of_schema(own), *SDK_SETTINGS]


def _of_schema(parts: Mapping[str, Any], prefix: str = "") -> Iterator[Variable]:
    """Yield the settings below these parts of a schema, with dotted names."""
    for name, part in parts.items():
        # An object with names chosen by the user declares no properties.
        if inner := part.get("properties"):
            yield from _of_schema(inner, f"{prefix}{name}.")
            continue
        kind = "date_iso8601" if name in DATES else KINDS.get(part["type"][0], "")
        yield Variable(prefix + name, "", bool(part.get("secret")), kind=kind)


def _settings(variables: Sequence[Variable]) -> list[str]:
    """Return the definitions of a plugin's settings, several on a line."""
    lines = ["    settings: ["]
    for one in variables:
        definition = f"{one.definition()},"
        if len(lines) == 1 or len(lines[-1]) + len(definition) >= WIDTH:
            lines.append("     ")
        lines[-1] += f" {definition}"
    lines[-1] = f"{lines[-1].removesuffix(',')}]"
    return lines


def _commands(provider: str) -> tuple[str, ...]:
    return ("doctor", "login") if provider == "constant-contact" else ("doctor",)


def _loaders(warehouse: str) -> list[str]:
    chosen = WAREHOUSES[warehouse]
    return [
        "  loaders:",
        f"  - name: target-{warehouse}",
        f"    namespace: target_{warehouse}",
        *_environment(chosen.package, chosen.python),
        *(_settings(chosen.variables) if chosen.variables else ()),
        *(_quiet(warehouse) if chosen.has_log_level else ()),
        "    config:",
        *(f"      {line}" for line in chosen.config),
    ]


def _quiet(warehouse: str) -> list[str]:
    """Return the line that keeps a loader from logging metrics of each batch."""
    return [f"    env: {{{variable(f'target-{warehouse}', 'loglevel')}: WARNING}}"]


def _environment(package: str, python: str) -> list[str]:
    return [f"    python: {python}"] * bool(python) + [f"    pip_url: {package}"]


def _utilities(warehouse: str) -> list[str]:
    """Return the lines for dbt, which builds the marts in `transform/`."""
    chosen = WAREHOUSES[warehouse]
    return [
        "  utilities:",
        f"  - name: dbt-{warehouse}",
        f"    namespace: dbt_{warehouse}",
        *_environment(chosen.dbt_package, OLDER),
        "    executable: dbt",
        "    commands: {build: build}",
        "    settings:",
        f"    - {{name: target, value: {warehouse}, env: DBT_TARGET}}",
        *(
            f"    - {{name: {name}, value: {value}, env: {variable}}}"
            for name, value, variable in (*DBT, *chosen.dbt)
        ),
    ]


def dotenv(provider: str, warehouse: str) -> str:
    """Return the text of `.env`: each setting to fill in, below its meaning."""
    lines = []
    for plugin, variables in (
        (NAME, PROVIDER_VARIABLES[provider]),
        (f"target-{warehouse}", WAREHOUSES[warehouse].variables),
    ):
        for one in variables:
            lines += [f"# {one.meaning}", f"{variable(plugin, one.name)}={one.value}"]
    return "\n".join(lines) + "\n"


def next_commands(provider: str, warehouse: str) -> list[str]:
    """Return the commands to run once `.env` is filled in."""
    login = [f"meltano invoke {NAME}--login"] * (provider == "constant-contact")
    return [
        "meltano install",
        *login,
        f"meltano config test {NAME}",
        f"meltano run {NAME} target-{warehouse}",
    ]


def write(folder: Path, files: dict[str, str]) -> None:
    """Write the files of a project; only the owner can read `.env`.

    Raises:
        ClickException: a file exists, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            if (folder / name).exists():
                raise click.ClickException(
                    f"{folder / name} exists; nothing was written"
                )
        # First, so that no secret is ever in a folder where git would take it.
        _ignore(folder / ".gitignore")
        for name, text in files.items():
            mode = 0o600 if name == ".env" else 0o644
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(folder / name, flags, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        place = error.filename or folder
        raise click.ClickException(f"{place}: {error.strerror}") from error


def _ignore(file: Path) -> None:
    """Add the secrets and Meltano's own files to `.gitignore`.

    Its other lines may be in any encoding.
    """
    held = file.read_bytes() if file.exists() else b""
    missing = {b".env", b".meltano/", b"*.duckdb"} - set(held.splitlines())
    lines = b"".join(one + b"\n" for one in sorted(missing))
    if held and not held.endswith(b"\n"):
        held += b"\n"
    file.write_bytes(held + lines)


@click.command(name=f"{NAME}-init", cls=Command)
@click.version_option(package_name=NAME)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option(
    "--provider",
    type=click.Choice(list(PROVIDER_VARIABLES)),
    prompt="Which provider do you read?",
    help="The provider to read from.",
)
@click.option(
    "--warehouse",
    type=click.Choice(list(WAREHOUSES)),
    prompt="Which warehouse do you load?",
    help="The warehouse to load into.",
)
@click.option("--dbt", is_flag=True, help="Add dbt (Postgres and DuckDB only).")
def main(folder: Path, provider: str, warehouse: str, *, dbt: bool) -> None:
    """Write a small Meltano project into FOLDER, by default the current folder.

    It writes meltano.yml and .env, and never overwrites a file.
    """
    if dbt and not WAREHOUSES[warehouse].dbt_package:
        raise click.UsageError("--dbt is for postgres and duckdb")
    write(
        folder,
        {
            "meltano.yml": meltano_yml(provider, warehouse, dbt=dbt),
            ".env": dotenv(provider, warehouse),
        },
    )
    click.echo(f"Wrote meltano.yml and .env in {folder}. Fill in .env, then run there:")
    for command in next_commands(provider, warehouse):
        click.echo(f"  {command}")


if __name__ == "__main__":
    main()
