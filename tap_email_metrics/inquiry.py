"""Asks live accounts the open questions about their APIs and reports the answers.

It sends a limited number of GET requests, writes no records and no STATE, and keeps no
values of the account.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tap_email_metrics.command import Refused, end
from tap_email_metrics.contract.prober import Prober
from tap_email_metrics.contract.questions import inquire
from tap_email_metrics.contract.report import finding_json, markdown
from tap_email_metrics.contract.shapes import Recorder
from tap_email_metrics.contract.survey import Survey
from tap_email_metrics.contract.verify import verify
from tap_email_metrics.errors import TapError, ending

if TYPE_CHECKING:
    from pathlib import Path

    from tap_email_metrics.contract.verify import Probes
    from tap_email_metrics.providers.base import Provider
    from tap_email_metrics.run.api import Api
    from tap_email_metrics.tap import TapEmailMetrics

MOST_REQUESTS = 60
"""Default maximum of requests to each provider."""
_GOODBYE = 1
"""Requests reserved for the end, when LuxSci's auth code is revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The options of an inquiry.

    Attributes:
        most: maximum number of requests to each provider.
        names: the providers to ask; if empty, all that are switched on.
        questions: whether to ask the open questions.
        checks: number of lists per provider to read in two ways and compare.
        seed: seed for the choice of these lists.
        record: folder for the shapes of answers; None to write none.
        name_accounts: whether the report names the accounts.
    """

    most: int = MOST_REQUESTS
    names: tuple[str, ...] = ()
    questions: bool = True
    checks: int = 0
    seed: int = 0
    record: Path | None = None
    name_accounts: bool = False


class Inquiry:
    """Asks the providers of a tap, one after the other.

    Args:
        tap: the tap with its settings and state.
        task: the options.
    """

    def __init__(self, tap: TapEmailMetrics, task: Task) -> None:
        self._tap = tap
        self._task = task
        # Errors may name files and requests, so they are printed but not reported.
        self._messages: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The providers to ask: those that are switched on and chosen."""
        enabled = (provider.name for provider in self._tap.enabled)
        return [
            name for name in enabled if not self._task.names or name in self._task.names
        ]

    def check_folder(self) -> None:
        """Create the folder of shapes; check that this report's are alone in it.

        Raises:
            Refused: the folder cannot be created, or has files, perhaps the shapes of
                another account.
        """
        folder = self._task.record
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_empty = not any(folder.iterdir())
        except OSError as error:
            raise Refused(f"--record: {folder}: {error.strerror}") from error
        if not is_empty:
            raise Refused(
                f"--record: {folder} is not empty; name a new folder, or empty it"
            )

    def ask(self) -> dict[str, Any]:
        """Ask all providers and return the report as JSON."""
        day = datetime.fromtimestamp(self._tap.run.started, UTC).date()
        return {
            "event": "contract",
            "version": version("tap-email-metrics"),
            "date": day.isoformat(),
            "providers": {
                provider.name: self._ask(provider)
                for provider in self._tap.enabled
                if provider.name in self.names
            },
        }

    def _ask(self, provider: Provider[Any]) -> dict[str, Any]:
        api = self._tap.run.api(provider.name)
        survey = Survey()
        recorder = (
            Recorder(self._task.record, provider.name) if self._task.record else None
        )
        prober = Prober(api.client, survey, recorder)
        report: dict[str, Any] = {"outcome": "well", "questions": [], "verified": []}
        if self._task.name_accounts:
            report["account"] = api.account
        probes = provider.probes(api, prober)
        api.limits.allow(self._task.most - _GOODBYE)
        try:
            try:
                if self._task.questions:
                    found = inquire(provider.questions, probes, prober)
                    report["questions"] = [finding_json(one) for one in found]
                if self._task.checks:
                    rng = Random(self._task.seed)  # noqa: S311 - reproducible, not secret
                    report["verified"] = verify(probes.checks(self._task.checks, rng))
            finally:
                api.limits.allow(self._task.most)
                api.close()
        except TapError as error:
            report["outcome"] = ending(error)
            self._messages[provider.name] = str(error)
        if recorder is not None:
            recorder.write()
        return report | self._around(api, survey, probes)

    def _around(self, api: Api[Any], survey: Survey, probes: Probes) -> dict[str, Any]:
        skew = api.client.server_time
        return {
            "requests": api.limits.counted,
            "allowed": self._task.most,
            "clock_skew_seconds": None if skew is None else round(skew),
            "limiting_headers": survey.limiting_headers,
            "paths": probes.paths,
            "path_overrides": probes.path_overrides,
            "fields": survey.as_json(),
        }

    def exit_code(self, report: dict[str, Any]) -> int:
        """Return the exit code of a report; unanswered questions are not a failure."""
        if self._tap.run.stop.signal:
            return 128 + self._tap.run.stop.signal
        outcomes = {one["outcome"] for one in report["providers"].values()}
        if outcomes == {"refused"}:
            return 2
        return 1 if outcomes & {"refused", "failed"} else 0

    def trouble(self, report: dict[str, Any]) -> str:
        """Return why the exit code is 1 or 2, an empty text for another code."""
        lines = [
            f"{name}: {self._messages[name]}"
            for name, one in report["providers"].items()
            if one["outcome"] in {"refused", "failed"}
        ]
        return self._tap.masked("; ".join(lines))


def publish(inquiry: Inquiry, out: Path, *, for_machines: bool) -> NoReturn:
    """Write the report of an inquiry, print it, and end the command.

    Args:
        inquiry: the inquiry to run.
        out: path of the report's files, without `.md` and `.json`.
        for_machines: print JSON instead of Markdown.

    Raises:
        Refused: no provider can be asked, the credentials are refused, or the report
            cannot be written.
        Failed: a provider did not answer.
    """
    if not inquiry.names:
        raise Refused("none of the chosen providers is switched on in the settings")
    if not out.name or not out.parent.is_dir():
        raise Refused(f"--out: {out} is not the name of a file in an existing folder")
    inquiry.check_folder()
    report = inquiry.ask()
    texts = {
        ".md": "\n".join(markdown(report)) + "\n",
        ".json": json.dumps(report, indent=1) + "\n",
    }
    try:
        for suffix, text in texts.items():
            out.with_name(out.name + suffix).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"--out: cannot write {out}: {error.strerror}") from error
    click.echo(json.dumps(report) if for_machines else texts[".md"])
    click.echo(f"written to {out}.md and {out}.json", err=True)
    end(inquiry.exit_code(report), inquiry.trouble(report))
