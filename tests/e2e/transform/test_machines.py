"""The rules that flag machines, compared with a simulated audience.

The shares of people and machines are invented: real shares were not measured.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from simulator.audience import ROLES, is_machine
from simulator.clock import DAY
from simulator.truth import truth
from simulator.world import AUDIENCE_DAYS, World
from tap_email_metrics.records.privacy import Privacy
from tap_email_metrics.records.schemas import load_schema
from tests.e2e.transform.test_transform import NOW, STEPS, Load, marts, run_dbt
from tests.support.world import KEYS

if TYPE_CHECKING:
    from tests.e2e.transform.expected import Row

pytestmark = pytest.mark.meltano

PEOPLE = 1000
MODES = ("hash", "domain", "drop")
KINDS = {"opened": "opens", "clicked": "clicks"}


@dataclass(frozen=True)
class Found:
    """Counts of opens and clicks by (made by a machine, flagged as one)."""

    counts: Counter[tuple[bool, bool]]

    @property
    def precision(self) -> float:
        """The share of flagged events that were made by a machine."""
        return self.counts[True, True] / (
            self.counts[True, True] + self.counts[False, True]
        )

    @property
    def recall(self) -> float:
        """The share of events made by a machine that were flagged."""
        return self.counts[True, True] / (
            self.counts[True, True] + self.counts[True, False]
        )


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Return the events of the audience with the opens that were withdrawn."""
    folder = tmp_path_factory.mktemp("machines")
    world = World.generate(3, 1, NOW, campaigns=1, luxsci=1, audience=PEOPLE)
    sent = NOW - AUDIENCE_DAYS * DAY
    load = Load()
    for stream in KEYS:
        for row in truth(world, stream, [sent + DAY, sent + 2 * DAY, NOW]):
            load.add(stream, row)
            for mode in MODES:
                load.add(stream, treated(stream, row, mode))
    load.write(folder / "load")
    steps: list[dict[str, Any]] = [
        {"load": str(folder / "load")},
        {"dbt": ["seed"]},
        {"dbt": ["run", "--select", "+path:models/marts"]},
        {"dump": str(folder / "marts")},
    ]
    steps = [{"database": str(folder / "one.duckdb"), **step} for step in steps]
    (folder / "steps.json").write_text(json.dumps(steps))
    run_dbt(folder, "dbt", STEPS, folder / "steps.json", DBT_TARGET="duckdb")
    found: list[Row] = marts(folder / "marts")["email_events"]
    return [event for event in found if event["event_type"] in KINDS]


def treated(stream: str, row: Row, mode: str) -> Row:
    """Return a row as the tap emits it for another account in a `pii.mode`."""
    privacy = Privacy(mode, "a pepper of many letters")
    columns = load_schema(stream)["properties"]
    found = dict(row)
    for name, value in row.items():
        mark = columns.get(name, {}).get("x-pii")
        treat = privacy.treatment(mark) if mark else None
        if treat and value is not None:
            found[name] = treat(value)
    return found | {"account": mode}


def of_audience(events: list[Row]) -> list[Row]:
    """Return the events of recipients whose role is known."""
    return [
        event
        for event in events
        if (event["recipient_key"] or "").partition("-")[0] in ROLES
    ]


def found(events: list[Row], provider: str) -> Found:
    return Found(
        Counter(
            (
                is_machine(event["recipient_key"], KINDS[event["event_type"]]),
                event["machine"] is not None,
            )
            for event in of_audience(events)
            if event["provider"] == provider
        )
    )


def flagged(events: list[Row], mode: str = "plain") -> Counter[tuple[str, str]]:
    """Return the number of flagged events by provider and rule in a `pii.mode`."""
    return Counter(
        (event["provider"], event["machine"])
        for event in events
        if event["machine"]
        and (event["account"] if event["account"] in MODES else "plain") == mode
    )


@pytest.mark.parametrize(
    ("provider", "precision", "recall"),
    [
        ("encompass", 0.98, 0.95),
        ("luxsci", 0.98, 0.85),
        ("constant_contact", 0.95, 0.85),
    ],
)
def test_most_machines_and_few_people_are_flagged(
    events: list[Row], provider: str, precision: float, recall: float
) -> None:
    result = found(events, provider)
    assert sum(result.counts.values()) > PEOPLE
    assert result.precision >= precision, result.counts
    assert result.recall >= recall, result.counts
    # The rules are not perfect: this audience contains their errors.
    assert result.counts[False, True]
    assert result.counts[True, False]


def test_each_rule_finds_machines(events: list[Row]) -> None:
    rules = {*flagged(events)}
    for provider in ("encompass", "luxsci"):
        assert {(provider, "apple_proxy"), (provider, "scanner_network")} <= rules
    assert ("constant_contact", "withdrawn") in rules
    assert {"all_links", "burst", "too_soon"} <= {rule for _, rule in rules}


def test_pii_modes_disable_only_the_rules_that_need_removed_data(
    events: list[Row],
) -> None:
    plain = flagged(events)
    hashed, domain, drop = (flagged(events, mode) for mode in MODES)
    # Clicks of several addresses in one network can look like one burst.
    for (provider, rule), number in plain.items():
        assert hashed[provider, rule] >= (0 if rule == "too_soon" else number)
        if provider != "luxsci" or rule in ("apple_proxy", "scanner_network"):
            assert domain[provider, rule] == hashed[provider, rule]
    assert sum(hashed.values()) >= sum(plain.values())
    assert {*drop} == {
        ("encompass", "too_soon"),
        ("constant_contact", "too_soon"),
        ("constant_contact", "withdrawn"),
    }


def test_opens_through_an_image_proxy_count_as_human(events: list[Row]) -> None:
    """Gmail's proxy loads images when a person opens the message."""
    proxied = [
        e for e in of_audience(events) if e["recipient_key"].startswith("gmail-")
    ]
    assert len(proxied) > PEOPLE / 10
    assert [e for e in proxied if e["machine"] == "apple_proxy"] == []
