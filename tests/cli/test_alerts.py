"""The recipes of the page on alerts send a message only if data is stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tap_email_metrics.clock import iso
from tap_email_metrics.init import meltano_yml
from tests.support.chat import Chat
from tests.support.encompass import Site, site_of
from tests.support.pages import DOCS, blocks

pytestmark = pytest.mark.slow

BLOCKS = {(one.heading, one.language): one.text for one in blocks(DOCS / "alerts.md")}
CRON = BLOCKS["Mail from cron", "crontab"]
SCRIPT = BLOCKS["Mail from cron", "sh"]
CHAT = BLOCKS["A chat webhook", "sh"]
#: A project of `tap-email-metrics-init`.
SMALL = yaml.safe_load(meltano_yml("encompass", "postgres"))
STATE = f"{SMALL['default_environment']}:tap-email-metrics-to-target-postgres"
MELTANO = f"""#!/bin/sh
test "$*" = "--log-level error state get {STATE}"
cat kept.json
"""
HOUR = 3600.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "email-metrics"
    folder.mkdir()
    site, _ = site_of()
    (folder / "config.json").write_text(json.dumps(site.config()))
    names = {
        f"TAP_EMAIL_METRICS_ENCOMPASS_{name.upper()}": value
        for name, value in site.settings.items()
    }
    lines = [f"{name}='{value}'\n" for name, value in names.items()]
    (folder / ".env").write_text("".join(lines))
    meltano = folder / "meltano"
    meltano.write_text(MELTANO)
    meltano.chmod(0o755)
    return folder


def keep(folder: Path, hours: float) -> None:
    """Store a state whose streams were read `hours` hours ago."""
    site: Site = site_of(3)[0]
    site.sync(streams=("opens",))
    read = datetime.now(UTC).timestamp() - hours * HOUR
    site.entry("opens")["read_all_due"] = iso(read)
    site.entry("opens")["checked_through"] = iso(read)
    (folder / "state.json").write_text(json.dumps(site.state))
    (folder / "kept.json").write_text(json.dumps({"singer_state": site.state}))


def run(folder: Path, command: str, **variables: str) -> Any:
    """Run a command as cron does: with sh, in the user's home."""
    paths = (folder, Path(sys.executable).parent, os.environ["PATH"])
    home = folder.parent
    return subprocess.run(  # noqa: S603 - our own page
        ["/bin/sh", "-ec", command],
        cwd=home,
        env={
            "HOME": str(home),
            "XDG_STATE_HOME": str(home),
            "PATH": os.pathsep.join(map(str, paths)),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def of_cron() -> str:
    """Return the command of the cron line without its five time fields."""
    [line] = [one for one in CRON.splitlines() if "MAILTO" not in one]
    return line.split(maxsplit=5)[5]


@pytest.mark.parametrize("command", [of_cron(), SCRIPT], ids=["line", "script"])
def test_cron_sends_mail_only_if_data_is_stale(project: Path, command: str) -> None:
    keep(project, 2)
    fresh = run(project, command)
    assert (fresh.returncode, fresh.stdout + fresh.stderr) == (0, "")

    keep(project, 30)
    late = run(project, command)
    assert late.returncode == 1
    assert late.stdout + late.stderr == (
        "Error: encompass_opens: read 30.0 hours ago, more than 26\n"
    )

    keep(project, 160 * 24)
    late = run(project, command)
    assert "20.0 days of headroom, less than 30" in late.stderr


def test_a_chat_message_is_sent_only_if_data_is_stale(project: Path) -> None:
    command = f"cd email-metrics\n{CHAT}"
    with Chat() as chat:
        keep(project, 2)
        assert run(project, command, CHAT_WEBHOOK=chat.url).returncode == 0
        assert chat.messages == []

        keep(project, 30)
        assert run(project, command, CHAT_WEBHOOK=chat.url).returncode == 0
    assert chat.messages == [
        {"text": "Error: encompass_opens: read 30.0 hours ago, more than 26"}
    ]
