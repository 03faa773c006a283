"""The simulated audience: its people and machines, and what each of them does."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache

import pytest

from simulator.audience import LINKS, ROLES, is_machine
from simulator.truth import truth
from simulator.world import World

NOW = 1_790_000_000.0
PEOPLE = 200
#: By provider: the streams of opens and clicks, and the columns of address and link.
STREAMS = {
    "constant_contact": ("opens", "clicks", "email_address", "link_url"),
    "luxsci": ("opens", "clicks", "to_address", "url"),
}


@cache
def world(seed: int = 3) -> World:
    return World.generate(seed, 1, NOW, days_ahead=2, largest=20, audience=PEOPLE)


def addresses(provider: str) -> list[str]:
    if provider == "encompass":
        rows = truth(world(), "encompass_recipients", [NOW])
    elif provider == "luxsci":
        rows = truth(world(), "luxsci_delivery_status", [NOW])
    else:
        rows = truth(world(), "constant_contact_sends", [NOW])
    column = "to_address" if provider == "luxsci" else "email_address"
    return [str(row[column]) for row in rows if "-" in str(row[column])]


@pytest.mark.parametrize("provider", ["encompass", "constant_contact", "luxsci"])
def test_every_role_of_the_audience_gets_the_mailing(provider: str) -> None:
    roles = Counter(address.partition("-")[0] for address in addresses(provider))
    assert roles == {role: PEOPLE * share // 100 for role, share in ROLES.items()}


@pytest.mark.parametrize("provider", STREAMS)
def test_scanners_click_every_link_and_most_people_do_not(provider: str) -> None:
    _, clicks, address, link = STREAMS[provider]
    followed: defaultdict[str, set[str]] = defaultdict(set)
    for row in truth(world(), f"{provider}_{clicks}", [NOW]):
        if "-" in str(row[address]):
            followed[str(row[address])].add(str(row[link]))
    for who, links in followed.items():
        if who.startswith(("scanner", "quarantine", "keen")):
            assert len(links) == LINKS
        else:
            assert len(links) < LINKS


def test_the_same_seed_gives_the_same_audience() -> None:
    opens = truth(world(), "luxsci_opens", [NOW])
    again = World.generate(3, 1, NOW, days_ahead=2, largest=20, audience=PEOPLE)
    assert truth(again, "luxsci_opens", [NOW]) == opens
    assert truth(world(4), "luxsci_opens", [NOW]) != opens


def test_opens_of_a_proxy_are_a_machines_and_clicks_its_readers() -> None:
    assert is_machine("applereader-1@icloud.com", "opens")
    assert not is_machine("applereader-1@icloud.com", "clicks")
    assert is_machine("apple-1@icloud.com", "opens")
    assert not is_machine("gmail-1@gmail.com", "opens")
    assert not is_machine("quick-12@audience.example", "opens")
