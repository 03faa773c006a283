"""Mailings to an audience of people and machines, whose roles are known.

There is one mailing per provider. The address of each recipient begins with its role:

| role | behaviour | made by |
|---|---|---|
| `reader` | opens after minutes or days, clicks one or two links | a person |
| `gmail` | the same, through an image proxy | a person |
| `keen` | clicks every link, with pauses | a person |
| `quick` | opens within a minute, sometimes within seconds | a person |
| `apple` | a proxy loads the images, whether or not anybody reads | a machine |
| `applereader` | the same, and a person clicks a link later | both |
| `scanner` | opens, and clicks every link within seconds of the delivery | a machine |
| `quarantine` | clicks every link at once, hours later | a machine |
| `preview` | opens within seconds of the delivery, or a little later | a machine |

The number of recipients of each role is invented, not measured.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.encompass.account import ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.constant_contact.account import Account as ConstantContact
    from simulator.encompass.account import Account as Encompass
    from simulator.luxsci.account import Account as LuxSci

ROLES = {
    "reader": 30,
    "gmail": 15,
    "keen": 5,
    "quick": 10,
    "apple": 15,
    "applereader": 5,
    "scanner": 10,
    "quarantine": 5,
    "preview": 5,
}
"""Recipients of each role in percent."""
DOMAINS = {"gmail": "gmail.com", "apple": "icloud.com", "applereader": "icloud.com"}
"""Domains of addresses by role; the other roles share one domain."""
LINKS = 4
_MACHINES = frozenset({"apple", "scanner", "quarantine", "preview"})
_BARE = "Mozilla/5.0"
_BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0 Safari/537.36"
_PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com)"
_HOUR = 3600.0
_WITHDRAWN = 2 * DAY
"""Seconds after which Constant Contact removes opens by a proxy from its lists."""


@dataclass(frozen=True)
class Act:
    """An open, or a click if there is a link, with its seconds after the delivery."""

    after: float
    agent: str
    ip: str
    link: int | None = None


def is_machine(address: str, kind: str) -> bool:
    """Return whether the opens or clicks of a recipient were made by a machine."""
    role = address.partition("-")[0]
    return role in _MACHINES or (role == "applereader" and kind == "opens")


@dataclass(frozen=True)
class Senders:
    """The accounts, each of which sends a mailing."""

    encompass: Encompass
    constant_contact: ConstantContact
    luxsci: LuxSci


def add_audience(senders: Senders, seed: int, people: int, *, at: float) -> None:
    """Send one mailing per provider to `people` recipients at an instant."""
    rng = random.Random(f"audience {seed}")  # noqa: S311 - reproducible
    addresses = [
        f"{role}-{number}@{DOMAINS.get(role, 'audience.example')}"
        for role, share in ROLES.items()
        for number in range(max(1, people * share // 100))
    ]
    rng.shuffle(addresses)
    _mail_encompass(senders.encompass, rng, addresses, at)
    _mail_constant_contact(senders.constant_contact, rng, addresses, at)
    _mail_luxsci(senders.luxsci, rng, addresses, at)


def _acts(rng: random.Random, address: str) -> list[Act]:
    """Return the opens and clicks of a recipient by its role, in order of time."""
    role = address.partition("-")[0]
    found = list(_PLANS[role](rng))
    return sorted(found, key=lambda act: act.after)


def _home(rng: random.Random) -> str:
    return f"198.51.100.{rng.randrange(1, 255)}"


def _reader(rng: random.Random, agent: str = _BROWSER) -> Iterator[Act]:
    if rng.random() < 1 / 4:
        return
    after, ip = 90 + rng.expovariate(1 / (8 * _HOUR)), _home(rng)
    yield Act(after, agent, ip)
    if rng.random() < 1 / 3:
        for link in rng.sample(range(LINKS), rng.randint(1, 2)):
            after += rng.uniform(8, 300)
            yield Act(after, _BROWSER, ip, link)


def _gmail(rng: random.Random) -> Iterator[Act]:
    return _reader(rng, _PROXY)


def _keen(rng: random.Random) -> Iterator[Act]:
    after, ip = 90 + rng.expovariate(1 / (8 * _HOUR)), _home(rng)
    yield Act(after, _BROWSER, ip)
    for link in range(LINKS):
        after += rng.uniform(12, 240)
        yield Act(after, _BROWSER, ip, link)


def _quick(rng: random.Random) -> Iterator[Act]:
    after, ip = rng.uniform(8, 60), _home(rng)
    yield Act(after, _BROWSER, ip)
    if rng.random() < 1 / 2:
        yield Act(after + rng.uniform(3, 20), _BROWSER, ip, rng.randrange(LINKS))


def _apple(rng: random.Random) -> Iterator[Act]:
    listed = rng.random() < 7 / 10
    ip = f"{'104.28.86' if listed else '203.0.113'}.{rng.randrange(1, 64)}"
    yield Act(rng.uniform(2, 3 * _HOUR), _BARE, ip)


def _applereader(rng: random.Random) -> Iterator[Act]:
    yield from _apple(rng)
    after = 3 * _HOUR + rng.expovariate(1 / (8 * _HOUR))
    yield Act(after, _BROWSER, _home(rng), rng.randrange(LINKS))


def _scanner(rng: random.Random) -> Iterator[Act]:
    after, ip = rng.uniform(0.2, 3), f"203.0.113.{rng.randrange(64, 255)}"
    yield Act(after, _BROWSER, ip)
    for link in range(LINKS):
        after += rng.uniform(0.05, 1.5)
        yield Act(after, _BROWSER, ip, link)


def _quarantine(rng: random.Random) -> Iterator[Act]:
    after = rng.uniform(1, 20) * _HOUR
    network = "209.222.82" if rng.random() < 1 / 3 else "203.0.113"
    for link in range(LINKS):
        after += rng.uniform(0.05, 1.5)
        yield Act(after, _BROWSER, f"{network}.{rng.randrange(64, 255)}", link)


def _preview(rng: random.Random) -> Iterator[Act]:
    after = rng.uniform(0.2, 5) if rng.random() < 3 / 4 else rng.uniform(15, 90)
    yield Act(after, _BROWSER, _home(rng))


_PLANS: dict[str, Callable[[random.Random], Iterator[Act]]] = {
    "reader": _reader,
    "gmail": _gmail,
    "keen": _keen,
    "quick": _quick,
    "apple": _apple,
    "applereader": _applereader,
    "scanner": _scanner,
    "quarantine": _quarantine,
    "preview": _preview,
}


def _mail_encompass(
    account: Encompass, rng: random.Random, addresses: list[str], at: float
) -> None:
    """Send a message whose rows are numbered in the order of their appearance."""
    message = account.add_message(
        sent=at, date_added=at + 60, emailName="Audience", sentCount=len(addresses)
    )
    links = [
        account.add_row("links", message, url=f"https://example.edu/audience/{number}")
        for number in range(LINKS)
    ]
    rows: list[tuple[float, str, dict[str, Any]]] = []
    for person, address in enumerate(addresses, 900_001):
        arrived = at + 120 + rng.uniform(0, 600)
        rows.append((arrived, "recipients", {"id": person, "emailAddress": address}))
        where: dict[str, Any] = {"recipientId": person}
        rows.append((arrived, "delivers", where | {"timestamp": ms(arrived)}))
        for act in _acts(rng, address):
            then = arrived + act.after
            shown = {"timestamp": ms(then), "ipAddress": act.ip, "userAgent": act.agent}
            kind = "opens"
            if act.link is not None:
                kind, shown["linkId"] = "clicks", links[act.link]
            rows.append((then, kind, where | shown))
    for then, kind, fields in sorted(rows, key=lambda row: row[0]):
        account.add_row(kind, message, date_added=round(then + 5, 3), **fields)


def _mail_constant_contact(
    account: ConstantContact, rng: random.Random, addresses: list[str], at: float
) -> None:
    """Send a campaign. The vendor shows no user agents and removes opens by proxies."""
    contacts = [account.add_contact(created=at - DAY, email=one) for one in addresses]
    campaign = account.add_campaign(
        sent=at, recipients=contacts, links=LINKS, name="Audience"
    )
    activity = account.activities_of(campaign)["primary_email"]
    links = list(account.activity(activity).links)
    for contact, address in zip(contacts, addresses, strict=True):
        for act in _acts(rng, address):
            then = round(at + act.after, 3)
            if act.link is not None:
                url_id = links[act.link]
                account.add_event(
                    "clicks", activity, contact, created=then, url_id=url_id
                )
                continue
            device = rng.choice(("computer", "mobile"))
            open_ = account.add_event(
                "opens", activity, contact, created=then, device=device
            )
            if act.agent == _BARE and rng.random() < 2 / 3:
                account.remove_event(open_, at=then + _WITHDRAWN)


def _mail_luxsci(
    account: LuxSci, rng: random.Random, addresses: list[str], at: float
) -> None:
    """Send an email of the account to all recipients."""
    if not account.logins:
        account.add_user(created=at - 400 * DAY)
    email = account.add_message(sent=float(int(at)), recipients=addresses)
    rows: list[tuple[float, str, Act]] = []
    for address in addresses:
        account.deliver(email, address, at=float(int(at)) + 1)
        rows += [(at + act.after, address, act) for act in _acts(rng, address)]
    for then, address, act in sorted(rows, key=lambda row: row[0]):
        fields = {"user_agent": act.agent}
        if act.link is None:
            fields["opener_ip"] = act.ip
            account.add_open(email, address, at=then, fields=fields)
        else:
            fields |= {"clicker_ip": act.ip}
            fields["url"] = f"https://clinic.example/audience/{act.link}"
            account.add_click(email, address, at=then, fields=fields)
