"""`tap-email-metrics-doctor`: checks access, quota and cost before a run.

It writes no records and no STATE. Its requests count toward the daily budget, like
those of a run.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from tap_email_metrics import freshness
from tap_email_metrics.cli import json_file
from tap_email_metrics.clock import iso
from tap_email_metrics.command import Command, Refused, coloured, end
from tap_email_metrics.errors import InvalidInput, TapError, ending
from tap_email_metrics.freshness import FreshnessLimits
from tap_email_metrics.inquiry import MOST_REQUESTS, Inquiry, Task, publish
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.providers.checkup import Checkup
from tap_email_metrics.run.api import TOLERATED_SKEW
from tap_email_metrics.tap import TapEmailMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_email_metrics.errors import Ending
    from tap_email_metrics.providers.base import Provider
    from tap_email_metrics.providers.checkup import Estimate
    from tap_email_metrics.run.api import Api
    from tap_email_metrics.settings.section import Section

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
WRONG_CLOCK = _HOUR
"""Most seconds by which this machine's clock may be wrong; more is a problem.

A run uses the API's clock, but counts its requests by the days of this machine's.
"""


@dataclass(slots=True)
class Diagnosis:
    """The result of the doctor's check of one provider.

    Attributes:
        provider: name of the provider.
        checkup: the answers to the doctor's requests.
        settings: the provider's settings.
        outcome: how the check ended.
        message: the error that ended the check, empty if none did.
        skew: seconds by which the API's clock is ahead of this machine's, None if no
            answer had a date.
        requests: number of requests sent.
        left: requests left of the daily budget, None for no limit.
    """

    provider: str
    checkup: Checkup
    settings: Section
    outcome: Ending | Literal["not well"] = "well"
    message: str = ""
    skew: float | None = None
    requests: int = 0
    left: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether a run would succeed."""
        findings = self.checkup.findings.values()
        failed = any(finding.access == "failed" for finding in findings)
        ends_well = self.outcome in {"well", "paused"}
        return ends_well and not failed and not self.checkup.problems

    @property
    def trouble(self) -> str:
        """Why a run would not succeed; empty if it would."""
        if self.is_well:
            return ""
        findings = self.checkup.findings.items()
        failed = [name for name, finding in findings if finding.access == "failed"]
        reasons = [
            *([self.message] if self.message else ()),
            *self.checkup.problems,
            *([f"cannot read {', '.join(failed)}"] if failed else ()),
        ]
        return f"{self.provider}: {'; '.join(reasons)}"


class Doctor:
    """Examines the providers of a tap, one after the other.

    Args:
        tap: the tap with its settings, and with the state of the last run, if given.
        has_state: whether a state was given.
    """

    def __init__(self, tap: TapEmailMetrics, *, has_state: bool) -> None:
        self._tap = tap
        self._has_state = has_state

    def examine(self) -> list[Diagnosis]:
        """Check each provider that is switched on."""
        return [self._examine(provider) for provider in self._tap.enabled]

    def _examine(self, provider: Provider[Any]) -> Diagnosis:
        streams = self._tap.selected(provider.name)
        checkup = Checkup(streams, has_state=self._has_state)
        api = self._tap.run.api(provider.name)
        diagnosis = Diagnosis(provider.name, checkup, api.settings)
        try:
            try:
                provider.examine(api, checkup)
            finally:
                api.close()
                diagnosis.left = api.budget
        except TapError as error:
            diagnosis.outcome, diagnosis.message = ending(error), str(error)
        self._note(diagnosis, api)
        if diagnosis.outcome == "well" and not diagnosis.is_well:
            diagnosis.outcome = "not well"
        return diagnosis

    def _note(self, diagnosis: Diagnosis, api: Api[Any]) -> None:
        diagnosis.skew = api.client.server_time
        diagnosis.requests = api.limits.sent
        notes, problems = diagnosis.checkup.notes, diagnosis.checkup.problems
        if diagnosis.skew is not None and abs(diagnosis.skew) > TOLERATED_SKEW:
            lines = problems if abs(diagnosis.skew) > WRONG_CLOCK else notes
            lines.append(f"this machine's clock is {_clock(-diagnosis.skew)}: set it")
        if api.common.backfill:
            notes.append("backfill is set: the next run reads only its interval")

    def trouble(self, found: list[Diagnosis]) -> str:
        """Return why a run would not succeed, an empty text if it would."""
        lines = [line for one in found if (line := one.trouble)]
        return self._tap.masked("; ".join(lines))

    def exit_code(self, found: list[Diagnosis]) -> int:
        """Return the exit code that a run would probably have, 1 for a wrong clock."""
        if self._tap.run.stop.signal:
            return 128 + self._tap.run.stop.signal
        if all(diagnosis.outcome == "refused" for diagnosis in found):
            return 2
        return 0 if all(diagnosis.is_well for diagnosis in found) else 1


# The report


def as_json(found: list[Diagnosis], code: int, now: float) -> dict[str, Any]:
    """Return the report as JSON."""
    providers = {one.provider: _provider(one, now) for one in found}
    return {"event": "doctor", "exit_code": code, "providers": providers}


def _provider(one: Diagnosis, now: float) -> dict[str, Any]:
    checkup, settings = one.checkup, one.settings
    return {
        "outcome": one.outcome,
        "message": one.message,
        "requests": one.requests,
        "clock_skew_seconds": None if one.skew is None else round(one.skew),
        "limits": {
            "requests_per_second": round(settings.rate, 3),
            "max_concurrency": settings.max_concurrency,
            "daily_requests": settings.daily_requests,
            "left_today": one.left,
            "resets_at": None if settings.daily_requests is None else _midnight(now),
        },
        "facts": checkup.facts,
        "streams": {
            name: {
                "access": finding.access,
                "why": finding.why,
                "headroom_days": finding.headroom_days,
            }
            for name, finding in checkup.findings.items()
        },
        "estimates": {
            "next_run": _estimate(one, checkup.next_run),
            "backfill": _estimate(one, checkup.backfill),
        },
        "notes": checkup.notes,
        "problems": checkup.problems,
    }


def _midnight(now: float) -> str:
    today = datetime.fromtimestamp(now, UTC).date()
    following = datetime.combine(today + timedelta(days=1), datetime.min.time(), UTC)
    return iso(following.timestamp())


def _estimate(one: Diagnosis, estimate: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate with the time that its requests take.

    `hours` follows from the rate alone, `days` from the rate and the daily budget.
    """
    if estimate is None:
        return None
    settings, requests = one.settings, estimate.requests
    hours = requests / settings.rate / _HOUR
    days = hours / 24
    if settings.daily_requests is not None and one.left is not None:
        later = max(0, requests - one.left)
        days = max(days, later / settings.daily_requests + bool(later))
    return {
        "requests": requests,
        "hours": round(hours, 2),
        "days": round(days, 2),
        "basis": estimate.basis,
    }


def as_text(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report line by line, in colours."""
    for name, provider in report["providers"].items():
        yield from _lines(name, provider)
    yield f"exit code {report['exit_code']}"


def _lines(name: str, provider: dict[str, Any]) -> Iterator[str]:
    why = f": {provider['message']}" if provider["message"] else ""
    outcome = provider["outcome"]
    yield coloured(f"{name}: {outcome}{why}", outcome)
    skew = provider["clock_skew_seconds"]
    if skew is not None:
        yield f"  clock: {_clock(-skew)}"
    used = f"this check used {provider['requests']} requests"
    yield f"  limits: {_limits(provider['limits'])}; {used}"
    for fact, value in provider["facts"].items():
        yield f"  {fact.replace('_', ' ')}: {_value(value)}"
    yield from _streams(provider["streams"])
    rate = provider["limits"]["requests_per_second"]
    for title, key in (("next run", "next_run"), ("full backfill", "backfill")):
        if estimate := provider["estimates"][key]:
            yield f"  {title}: {_cost(estimate, rate)}"
    yield from (f"  note: {note}" for note in provider["notes"])
    for problem in provider["problems"]:
        yield coloured(f"  PROBLEM: {problem}", "ERROR")
    yield ""


def _limits(limits: dict[str, Any]) -> str:
    rate = f"{limits['requests_per_second']:g} requests a second"
    at_once = f"{limits['max_concurrency']} at once"
    if limits["daily_requests"] is None:
        return f"{rate}, {at_once}, no daily limit"
    left = limits["left_today"]
    rest = "an unknown number" if left is None else f"{left:,}"
    return (
        f"{rate}, {at_once}, {limits['daily_requests']:,} a day; "
        f"{rest} left until {limits['resets_at']}"
    )


def _streams(streams: dict[str, Any]) -> Iterator[str]:
    """Yield one line for all allowed streams, and one for each stream with remarks."""
    allowed = [name for name, one in streams.items() if _finding(one) == "allowed"]
    if allowed:
        yield f"  allowed: {', '.join(allowed)}"
    others = {name: one for name, one in streams.items() if name not in allowed}
    width = max(map(len, others), default=0)
    for name, finding in others.items():
        yield f"  {name:{width}}  {_finding(finding)}"


def _value(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{key} {'yes' if has else 'NO'}" for key, has in value.items())


def _finding(finding: dict[str, Any]) -> str:
    parts = [finding["access"]]
    if finding["headroom_days"] is not None:
        parts.append(f"{finding['headroom_days']} days of headroom")
    return "; ".join([*parts, *finding["why"]])


def _cost(estimate: dict[str, Any], rate: float) -> str:
    requests = estimate["requests"]
    cost = f"{requests:,} requests, about {_duration(requests / rate)}"
    if estimate["days"] > 1:
        cost += f" of reading, done in {estimate['days']:.1f} days"
    return f"{cost} ({estimate['basis']})"


def _duration(seconds: float) -> str:
    """Return a duration in words, in seconds, minutes or hours."""
    if seconds < 1.5:  # noqa: PLR2004 - rounds to 1
        return "a second"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} seconds"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} minutes"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} hours"
    return f"{seconds / _DAY:.1f} days"


def _clock(ahead: float) -> str:
    """Return in words how far this machine's clock is ahead of the API's."""
    if abs(ahead) <= 1:
        return "the same as the API's"
    way = "ahead of" if ahead > 0 else "behind"
    return f"{_duration(abs(ahead))} {way} the API's"


@click.command(cls=Command)
@click.option(
    "--config",
    multiple=True,
    callback=TapEmailMetrics.cb_config,
    help="The tap's config file, or ENV to read settings from environment variables.",
)
@click.option("--state", type=click.File(), help="File with the state of the last run.")
@click.option(
    "--catalog",
    type=click.File(),
    help="The catalog that a run would use: only the streams that it selects are "
    "examined.",
)
@click.option(
    "--max-hours",
    type=click.FloatRange(min=0),
    help="Send no request; fail if, by the state, a stream was last read completely "
    "more than this number of hours ago.",
)
@click.option(
    "--min-headroom-days",
    type=click.FloatRange(min=0),
    help="Send no request; fail if, by the state, Encompass archives unread rows in "
    "fewer than this number of days.",
)
@click.option("--json", "for_machines", is_flag=True, help="Print one JSON object.")
@click.option(
    "--contract",
    is_flag=True,
    help="Ask the API the open questions about its behaviour instead, and write a "
    "report.",
)
@click.option(
    "--provider",
    "providers",
    multiple=True,
    type=click.Choice([provider.name for provider in PROVIDERS]),
    help="With --contract: ask this provider only.",
)
@click.option(
    "--max-requests",
    type=click.IntRange(min=2),
    default=MOST_REQUESTS,
    show_default=True,
    help="With --contract: maximum number of requests to each provider.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="contract-report",
    show_default=True,
    help="With --contract: path of the report's files, without .md and .json.",
)
@click.option(
    "--name-account",
    is_flag=True,
    help="With --contract: write the names of the accounts into the report.",
)
@click.option(
    "--verify",
    "checks",
    type=click.IntRange(min=1),
    help="Read this number of lists of each provider in two ways and compare.",
)
@click.option(
    "--seed", type=int, default=0, help="With --verify: seed for the choice of lists."
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --contract: write the shapes of the answers into this folder.",
)
def main(  # noqa: PLR0913 - one argument an option
    *,
    config: Any,  # noqa: ANN401 - click's
    state: Any,  # noqa: ANN401 - click's
    catalog: Any,  # noqa: ANN401 - click's
    max_hours: float | None,
    min_headroom_days: float | None,
    providers: tuple[str, ...],
    max_requests: int,
    out: Path,
    checks: int | None,
    seed: int,
    record: Path | None,
    for_machines: bool,
    contract: bool,
    name_account: bool,
) -> None:
    """Check access, quota and cost of a run with a few requests to each provider."""
    limits = FreshnessLimits(max_hours, min_headroom_days)
    try:
        value = _state(state, limits)
        tap = TapEmailMetrics.from_command_line(
            config, state=value, catalog=json_file("--catalog", catalog)
        )
    except Refused as error:
        if for_machines:
            report = {"event": "doctor", "exit_code": 2, "providers": {}}
            click.echo(json.dumps(report | {"message": error.message}))
        raise
    if limits != FreshnessLimits():
        _tell_freshness(tap, limits, for_machines=for_machines)
    if contract or checks or record:
        task = Task(
            most=max_requests,
            names=providers,
            questions=contract or bool(record),
            checks=checks or 0,
            seed=seed,
            record=record,
            name_accounts=name_account,
        )
        with _refusing(tap):
            publish(Inquiry(tap, task), out, for_machines=for_machines)
    doctor = Doctor(tap, has_state=bool(value))
    with _refusing(tap):
        found = doctor.examine()
    code = doctor.exit_code(found)
    report = as_json(found, code, tap.run.started)
    lines = [json.dumps(report)] if for_machines else as_text(report)
    for line in lines:
        click.echo(line)
    end(code, doctor.trouble(found))


@contextmanager
def _refusing(tap: TapEmailMetrics) -> Iterator[None]:
    """Raise Refused for settings whose fault shows when an API is opened."""
    try:
        yield
    except InvalidInput as error:
        raise Refused(tap.masked(str(error))) from error


def _state(file: Any, limits: FreshnessLimits) -> dict[str, Any] | None:  # noqa: ANN401 - click's
    """Return the state in a file: a Singer state, or the output of `meltano state get`.

    Raises:
        Refused: the file is not a JSON object, or limits are given without a state.
    """
    value: dict[str, Any] | None = json_file("--state", file)
    if value and "singer_state" in value:
        value = value["singer_state"]
        if not isinstance(value, dict):
            raise Refused("--state: singer_state is not a JSON object")
    if value is None and limits != FreshnessLimits():
        raise Refused("--max-hours and --min-headroom-days need --state")
    return value


def _tell_freshness(
    tap: TapEmailMetrics, limits: FreshnessLimits, *, for_machines: bool
) -> NoReturn:
    """Print how fresh the data is; exit with 1 if it is stale."""
    found = freshness.judge(tap, limits)
    why = freshness.trouble(found)
    code = 1 if why else 0
    if for_machines:
        click.echo(freshness.as_json(found, code))
    else:
        for one in found:
            click.echo(str(one))
    end(code, why)
