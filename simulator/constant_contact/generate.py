"""A pseudo-random Constant Contact account, the same for the same seed and time.

Instants are UTC seconds. Events that change no counter (second forwards, bounces and
opt-outs) happen only before `now`, so that a reader that follows counters can be
compared with the truth.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.constant_contact.events import BOUNCES, DEVICES, stamp
from simulator.sizes import FUTURE_DAYS, LARGEST, many_opens

if TYPE_CHECKING:
    from simulator.constant_contact.account import Account

WINDOW_DAYS = 90.0
_MANY = 100
_LARGE, _EMPTY = 0, 1
_LARGE_AGE = 20.3
_POOL = 1500
_HOUR = 3600.0
_LAST_DAYS = 75.0
"""Seconds after a send within which all its events happen."""
_RESENT, _PERMALINKED, _REMOVED, _RENAMED = 5, 4, 11, 13
_OPENED, _OPENED_LATE, _CLICKED, _BOUNCED = 0.45, 1 / 7, 0.2, 0.05
_PROXY, _FORWARDED, _OPTED_OUT, _ABUSED = 0.04, 0.03, 0.02, 0.004
_SHOWN_LATE, _COUNTED_APART, _SURFACED = 0.05, 0.05, 0.02
_FIRST = ("Ada", "Grace", "José", "Zoë", "", "Linus", "佳", None)
_LAST = ("Lovelace", "Hopper", "O'Neill", "", "Müller", "Oka\x00for", "王")
_REASONS = ("Too many emails", "", "Não quero mais \U0001f389", None)
_ODD_TURN, _TWIN_TURN, _DEVICES_TURN = 97, 50, 67


def generate(  # noqa: PLR0913
    account: Account,
    seed: int,
    campaigns: int,
    now: float,
    *,
    days_ahead: float = FUTURE_DAYS,
    in_window: int | None = None,
    largest: int = LARGEST,
) -> None:
    """Fill an account with `campaigns` campaigns up to `now`, and more after it.

    `in_window` of them (default: half, at most 60) are in the last 90 days. The first
    has `largest` recipients.
    """
    if campaigns <= 0:
        return
    rng = random.Random(f"constant contact {seed}")  # noqa: S311 -- reproducible
    if in_window is None:
        in_window = min(60, (campaigns + 1) // 2)
    generator = _Generator(account, rng, now, days_ahead, largest)
    generator.run(campaigns, in_window)


def _falls(number: int, every: int, turn: int) -> bool:
    """Return whether a number is number `turn` in each run of `every` numbers."""
    return number % every == turn


@dataclass(frozen=True)
class _Mailing:
    activity_id: str
    sent: float
    links: tuple[str, ...]
    is_coarse: bool
    """A mailing; its times are whole seconds."""


class _Generator:
    def __init__(
        self,
        account: Account,
        rng: random.Random,
        now: float,
        ahead: float,
        largest: int,
    ) -> None:
        self._account = account
        self._largest = largest
        self._rng = rng
        self._now = now
        self._end = now + ahead * DAY
        self._turn = 0
        self._pool: list[str] = []
        self._gone: dict[str, float] = {}
        """Deleted contacts with the time of their deletion."""
        self._opted_out: set[str] = set()

    def run(self, campaigns: int, in_window: int) -> None:
        rng, now = self._rng, self._now
        oldest = 1500.0 if campaigns > _MANY else 400.0
        ages = [_LARGE_AGE, 2.1][:in_window]
        ages += [rng.uniform(0.5, 88.0) for _ in range(in_window - len(ages))]
        closed = campaigns - len(ages)
        ages += [rng.uniform(WINDOW_DAYS + 8, oldest) for _ in range(closed)]
        coming = max(round(in_window * (self._end - now) / (WINDOW_DAYS * DAY)), 2)
        step = (self._end - now) / coming
        sends = [now - age * DAY for age in ages]
        sends += [now + (index + rng.random()) * step for index in range(coming)]
        self._people(now - (oldest + 30) * DAY)
        indices = sorted(range(len(sends)), key=sends.__getitem__)
        for index in indices:
            is_small = campaigns > _MANY and index >= in_window and sends[index] < now
            self._campaign(index, float(round(sends[index])), is_small=is_small)
        for days in (3, 40):
            self._account.add_campaign(created=now - days * DAY, name=f"Draft {days}")
        removed = self._account.add_campaign(created=now - 50 * DAY)
        self._account.remove_campaign(removed, at=now - 45 * DAY)

    # Contacts, lists, tags and custom fields

    def _people(self, start: float) -> None:
        account, rng = self._account, self._rng
        made = [account.add_item("contact_lists", created=start) for _ in range(4)]
        tags = [account.add_item("contact_tags", created=start) for _ in range(3)]
        account.delete_item("contact_lists", made[3], at=self._now - 100 * DAY)
        fields = [self._custom_field(start, number) for number in range(3)]
        for _ in range(2):
            account.add_item("segments", created=start)
        account.update_item("contact_lists", made[1], at=self._now + DAY, name="New")
        for number in range(_POOL):
            at = round(start + rng.uniform(0, 20) * DAY, 3)
            contact = self._contact(number, at, made, tags, fields)
            self._pool.append(contact)
            if _falls(number, 150, 7):
                self._gone[contact] = round(self._now - rng.uniform(100, 300) * DAY)
                account.delete_contact(contact, at=self._gone[contact])
            elif _falls(number, 9, 4):
                at = rng.uniform(self._now - 200 * DAY, self._end)
                account.update_contact(contact, at=round(at), job_title=f"Job {number}")
        for number in range(40):
            at = round(rng.uniform(self._now - 80 * DAY, self._end), 3)
            contact = self._contact(_POOL + number, at, made, tags, fields)
            if _falls(number, 8, 1):
                account.delete_contact(contact, at=at + 2 * DAY)
            elif _falls(number, 8, 2):
                account.unsubscribe(contact, at=at + 2 * DAY, reason="By phone")

    def _custom_field(self, at: float, number: int) -> str:
        more: dict[str, Any] = {}
        if number == 1:
            more["type"] = "dropdown"
            more["version"] = 2
            more["metadata"] = {"display_type": "dropdown"}
            more["choices"] = [
                {
                    "choice_id": one,
                    "choice_label": f"Choice {one}",
                    "display_order": one,
                }
                for one in (1, 2)
            ]
        return self._account.add_item("contact_custom_fields", created=at, **more)

    def _contact(
        self,
        number: int,
        at: float,
        lists: list[str],
        tags: list[str],
        fields: list[str],
    ) -> str:
        more: dict[str, Any] = {
            "first_name": _FIRST[number % len(_FIRST)],
            "last_name": _LAST[number % len(_LAST)],
            "list_memberships": [one for one in lists if self._rng.random() < 1 / 2],
            "taggings": [tags[number % 3]] if number % 4 == 0 else [],
        }
        if number % 6 == 1:
            custom = {"custom_field_id": fields[0], "value": f"Value {number}"}
            more["custom_fields"] = [custom]
        if number % 10 == 1:
            more |= {"birthday_month": 2, "birthday_day": 29, "company_name": "Ünal"}
            more["notes"] = [{"note_id": f"n{number}", "content": "Called"}]
        if _falls(number, 40, 3):
            more["loyalty_level"] = {"name": "gold", "points": number}
        return self._account.add_contact(created=at, **more)

    # Campaigns

    def _campaign(self, index: int, sent: float, *, is_small: bool) -> None:
        account, rng = self._account, self._rng
        number = self._recipients(index, is_small=is_small)
        people = [one for one in self._pool if sent < self._gone.get(one, self._end)]
        chosen = rng.sample(people, min(number, len(people)))
        campaign = account.add_campaign(
            sent=sent,
            scheduled=sent,
            created=sent - rng.randint(1, 9 * 24) * _HOUR,
            links=0 if index == _EMPTY else rng.randint(1, 6),
            name=f"Campaign {index} \U0001f393",
        )
        primary = account.activities_of(campaign)["primary_email"]
        links = tuple(account.activity(primary).links)
        mailing = _Mailing(primary, sent, links, _falls(index, 6, 2))
        opens = many_opens(number) if index == _LARGE else None
        openers = self._mail(mailing, chosen, opens)
        if index % _PERMALINKED == 0:
            account.add_activity(campaign, "permalink", visible=sent)
        if _falls(index, _RESENT, 3):
            again = round(sent + rng.uniform(3, 6) * DAY)
            second = account.add_resend(campaign, sent=again, visible=sent)
            account.activity(second).links.update(account.activity(primary).links)
            rest = [one for one in chosen if one not in openers]
            rest = [one for one in rest if again < self._gone.get(one, self._end)]
            self._mail(_Mailing(second, again, links, is_coarse=False), rest, None)
        if _falls(index, _RENAMED, 6):
            at = round(sent + rng.uniform(2, 30) * DAY)
            account.update_campaign(campaign, at=at, name=f"Renamed {index}")
        if _falls(index, _REMOVED, 9):
            at = round(sent + rng.uniform(20, 60) * DAY)
            account.remove_campaign(campaign, at=at)

    def _recipients(self, index: int, *, is_small: bool) -> int:
        if index in (_LARGE, _EMPTY):
            return self._largest if index == _LARGE else 0
        mean = 2.2 if is_small else 3.5
        return min(int(self._rng.lognormvariate(mean, 0.7)), 400)

    def _mail(
        self, mailing: _Mailing, people: list[str], opens: int | None
    ) -> set[str]:
        """Send to contacts and add their events; return the contacts who opened."""
        rng = self._rng
        reached: list[str] = []
        for person in people:
            at = mailing.sent + rng.uniform(0, 600)
            self._event("sends", mailing, person, at)
            if rng.random() < _BOUNCED:
                self._bounce(mailing, person, at)
            else:
                reached.append(person)
        openers = self._openers(reached, opens)
        for person, times in openers.items():
            for _ in range(times):
                self._open(mailing, person)
        for person in reached:
            self._others(mailing, person)
        return set(openers)

    def _openers(self, reached: list[str], opens: int | None) -> dict[str, int]:
        """Return the number of opens of each contact."""
        rng = self._rng
        if opens is None:
            found = (one for one in reached if rng.random() < _OPENED)
            return {one: 1 + int(rng.expovariate(1)) for one in found}
        times: dict[str, int] = {}
        for person in rng.choices(reached, k=opens):
            times[person] = times.get(person, 0) + 1
        return times

    def _open(self, mailing: _Mailing, person: str) -> None:
        rng = self._rng
        mean = 10 * DAY if rng.random() < _OPENED_LATE else 0.8 * DAY
        at = mailing.sent + 60 + min(rng.expovariate(1 / mean), _LAST_DAYS * DAY)
        device = rng.choice((*DEVICES, None))
        if rng.random() < _PROXY:
            at = mailing.sent + rng.uniform(1, 60)
            proxy = self._event("opens", mailing, person, at, device="other")
            self._account.remove_event(proxy, at=at + rng.uniform(1, 10) * DAY)
            return
        first = self._event("opens", mailing, person, at, device=device)
        made = self._account.event(first)
        shown = {"visible_from": made.visible_from, "counted_from": made.counted_from}
        if self._turn % _TWIN_TURN == 0:
            self._again(made.created, mailing, person, device, shown)
        if self._turn % _DEVICES_TURN == 0:
            other = "tablet" if device != "tablet" else "mobile"
            self._again(made.created, mailing, person, other, shown)
        if rng.random() < _CLICKED and mailing.links:
            for _ in range(rng.randint(1, 3)):
                at += rng.uniform(1, 300)
                url_id = rng.choice(mailing.links)
                self._event("clicks", mailing, person, at, device=device, url_id=url_id)

    def _again(
        self,
        created: float,
        mailing: _Mailing,
        person: str,
        device: str | None,
        shown: dict[str, float],
    ) -> None:
        """Add an open at the same time as another."""
        self._account.add_event(
            "opens",
            mailing.activity_id,
            person,
            created=created,
            visible_from=shown["visible_from"],
            counted_from=shown["counted_from"],
            device=device,
        )

    def _bounce(self, mailing: _Mailing, person: str, at: float) -> None:
        code = tuple(BOUNCES)[self._turn % len(BOUNCES)]
        at += self._rng.expovariate(1 / (6 * _HOUR))
        more = {"current_email_address": "new@example.org"} if code == "S" else {}
        self._event("bounces", mailing, person, at, bounce_code=code, **more)
        if code == "F" and at + DAY < self._now:
            self._event("bounces", mailing, person, at + _HOUR, bounce_code=code)

    def _others(self, mailing: _Mailing, person: str) -> None:
        """Sometimes add a forward, an opt-out or a complaint of a contact."""
        rng = self._rng
        at = mailing.sent + rng.uniform(0.05, 5) * DAY
        if rng.random() < _FORWARDED:
            self._event("forwards", mailing, person, at)
            if self._turn % 2 and at + DAY < self._now:
                self._event("forwards", mailing, person, at + _HOUR)
        if rng.random() < _OPTED_OUT and person not in self._opted_out:
            self._opted_out.add(person)
            reason = _REASONS[self._turn % len(_REASONS)]
            more = {} if reason is None else {"opt_out_reason": reason}
            self._event("optouts", mailing, person, at, **more)
            self._account.unsubscribe(person, at=round(at, 3), reason=reason)
            if self._turn % 3 == 0 and at + DAY < self._now:
                self._event("optouts", mailing, person, at + _HOUR, **more)
        if rng.random() < _ABUSED:
            self._event("abuse", mailing, person, at)

    def _event(
        self, kind: str, mailing: _Mailing, person: str, at: float, **fields: object
    ) -> int:
        """Add an event; some are shown late or counted at another time."""
        rng = self._rng
        self._turn += 1
        at = float(int(at)) if mailing.is_coarse else round(at, 3)
        shown = at
        if rng.random() < _SHOWN_LATE:
            shown += rng.uniform(0, _HOUR)
        if kind in ("opens", "clicks") and rng.random() < _SURFACED:
            shown += rng.uniform(3, 9) * DAY
        counted = shown
        if rng.random() < _COUNTED_APART:
            counted = max(at, shown + rng.uniform(-_HOUR, _HOUR))
        if self._turn % _ODD_TURN == 0:
            fields["geo"] = {"seen": stamp(at), "region": "M\x00A"}
        return self._account.add_event(
            kind,
            mailing.activity_id,
            person,
            created=at,
            visible_from=shown,
            counted_from=counted,
            **fields,  # type: ignore[arg-type]
        )
