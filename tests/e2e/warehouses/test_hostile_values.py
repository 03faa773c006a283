"""target-postgres, configured as in `meltano.yml`, stores values that COPY escapes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from simulator.server import serve
from tests.support.cli import COMMAND, DAY, config, small_world
from tests.support.constant_contact import Account
from tests.support.postgres import Postgres
from tests.support.project import PLUGINS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.world import World

pytestmark = pytest.mark.meltano

MELTANO = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
[LOADER] = [
    plugin
    for plugin in MELTANO["plugins"]["loaders"]
    if plugin["name"] == "target-postgres"
]
TARGET = PLUGINS / ".meltano/loaders/target-postgres/venv/bin/target-postgres"
SCHEMA = "email_metrics"
VALUES = {
    "nul": "a\x00b",
    "backslashes": r"\ \\ \\\ \t \x41 \.",
    "null of copy": r"\N",
    "separators": "a\tb\nc\r\nd,e;f|g",
    "quotes": "'\"`$$E'\\'' {}",
    "emoji": "👩‍👩‍👧‍👦 ﷺ é \u202e \ufeff",
    "100 kB": "Ω\\N\t" * 20_000,
    "empty": "",
    "blank": "  ",
}
NESTED = {
    "deep": [{"a": r"\N"}, [1, None, True, 0.5], []],
    'key "\\': "👩‍👧",
    "none": None,
}


def world() -> World:
    """Return a world with one message per value."""
    made = small_world(messages=0)
    for value in VALUES.values():
        made.encompass.add_message(
            sent=made.clock.now() - DAY, emailName=value, odd={**NESTED, "text": value}
        )
    return made


def test_postgres_holds_what_the_tap_emits(tmp_path: Path) -> None:
    with serve(world()) as server, Postgres(tmp_path / "postgres") as postgres:
        output = run([COMMAND, "--config", write(tmp_path / "tap", config(server))])
        settings = LOADER["config"] | {
            "sqlalchemy_url": postgres.sqlalchemy_url,
            "default_target_schema": SCHEMA,
        }
        run([TARGET, "--config", write(tmp_path / "target", settings)], output)
        found = {row["id"]: row for row in postgres.rows(SCHEMA, "encompass_messages")}
    assert found == emitted(output, "encompass_messages")
    by_name = {
        row["email_name"]: row["additional_fields"]["odd"] for row in found.values()
    }
    expected = [value.replace("\x00", "\ufffd") for value in VALUES.values()]
    assert by_name == {text: {**NESTED, "text": text} for text in expected}


def test_postgres_holds_lists_with_values_that_copy_escapes(tmp_path: Path) -> None:
    account = Account()
    texts = list(VALUES.values())
    fields = [{"custom_field_id": "1", "value": text} for text in texts]
    account.api.add_contact(list_memberships=texts, taggings=[], custom_fields=fields)
    sync = account.sync()
    output = b"\n".join(json.dumps(message).encode() for message in sync.messages)
    with Postgres(tmp_path / "postgres") as postgres:
        settings = LOADER["config"] | {
            "sqlalchemy_url": postgres.sqlalchemy_url,
            "default_target_schema": SCHEMA,
        }
        run([TARGET, "--config", write(tmp_path / "target", settings)], output)
        held = postgres.rows(SCHEMA, "constant_contact_contacts")
    assert held == sync.records("constant_contact_contacts")
    stored = [text.replace("\x00", "\ufffd") for text in texts]
    [contact] = held
    assert contact["list_memberships"] == stored
    assert contact["taggings"] == []
    assert [one["value"] for one in contact["custom_fields"]] == stored


def write(file: Path, settings: dict[str, Any]) -> Path:
    file.write_text(json.dumps(settings))
    return file


def run(command: list[str | Path], given: bytes = b"") -> bytes:
    done = subprocess.run(  # noqa: S603 - the tap, and the target that Meltano installed
        command, input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def emitted(output: bytes, stream: str) -> dict[int, dict[str, Any]]:
    """Return the last record of each id."""
    messages = map(json.loads, output.splitlines())
    return {
        message["record"]["id"]: message["record"]
        for message in messages
        if message["type"] == "RECORD" and message["stream"] == stream
    }
