"""A pseudo-random Encompass account, the same for the same seed and time.

Instants are UTC seconds.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from simulator.clock import DAY
from simulator.encompass.account import ms
from simulator.encompass.fields import FieldMaker, Fields
from simulator.sizes import FUTURE_DAYS, LARGEST, many_opens

if TYPE_CHECKING:
    from simulator.encompass.account import Account

PAST_DAYS = 400.0
_PINNED_DAYS = (20.3, 2.1, 178.5, 186.2)
"""Ages of the first messages in days: large, empty, archived soon, archived."""
_LARGE, _EMPTY = 0, 1
_HOUR = 3600.0
_LISTS = ("recipients", "opens", "clicks", "bounces", "delivers")
_ORDERS = ("ascending", "descending", "shuffled", "reshuffled")
_ORDER_WEIGHTS = (60, 15, 20, 5)
_ONE_PAGE = 900
_DELIVERED = 0.95
_BOUNCED_LATE = 0.02
_OPENED = 0.45
_OPENED_LATE = 1 / 7
_CLICKED = 0.2
_SHOWN_LATE = 0.05


@dataclass(frozen=True)
class _Mailing:
    message_id: int
    sent: float
    recipients: int
    opens: int | None
    """Fixed numbers of rows; None for random numbers."""
    link_ids: tuple[int, ...]


@dataclass(frozen=True, order=True)
class _Event:
    """A row to add; ids are given in this order."""

    visible_from: float
    serial: int
    kind: str
    message_id: int
    date_added: float
    fields: Fields


def generate(  # noqa: PLR0913
    account: Account,
    seed: int,
    messages: int,
    now: float,
    *,
    days_ahead: float = FUTURE_DAYS,
    largest: int = LARGEST,
) -> None:
    """Fill an account with `messages` messages up to `now`, and more after it.

    Recipients are not edited after they are shown, and links appear with their message.
    The first message has `largest` recipients.
    """
    rng = random.Random(seed)  # noqa: S311 -- reproducible, not secret
    _Generator(account, rng, largest).run(_sends(rng, messages, now, days_ahead))


def _sends(
    rng: random.Random, messages: int, now: float, days_ahead: float
) -> list[float]:
    """Return the send time of each message: fixed ages first, future sends last."""
    past = [now - days * DAY for days in _PINNED_DAYS[:messages]]
    past += [
        now - rng.uniform(0.5, PAST_DAYS) * DAY for _ in range(messages - len(past))
    ]
    coming = max(round(messages * days_ahead / PAST_DAYS), 3)
    step = days_ahead * DAY / coming
    future = [now + (index + rng.random()) * step for index in range(coming)]
    return [round(sent) for sent in (*past, *future)]


class _Generator:
    """Stores messages in order of sending, then all rows in order of appearance."""

    def __init__(self, account: Account, rng: random.Random, largest: int) -> None:
        self._account = account
        self._rng = rng
        self._largest = largest
        self._odd = FieldMaker(rng)
        self._serial = count()
        self._sizes: Counter[tuple[int, str]] = Counter()

    def run(self, sends: list[float]) -> None:
        events: list[_Event] = []
        for sent, index in sorted((sent, index) for index, sent in enumerate(sends)):
            events += self._events(self._mail(index, sent))
        for event in sorted(events):
            self._account.add_row(
                event.kind,
                event.message_id,
                date_added=event.date_added,
                visible_from=event.visible_from,
                **event.fields,
            )
        self._order_lists()

    def _order_lists(self) -> None:
        """Set the order of each list; only lists of one page may change theirs."""
        choice = self._rng.choices
        self._account.set_order(choice(_ORDERS[:3])[0], "messages")
        for row in self._account.all_messages():
            for kind in _LISTS:
                known = 4 if self._sizes[row.row_id, kind] < _ONE_PAGE else 3
                order = choice(_ORDERS[:known], _ORDER_WEIGHTS[:known])[0]
                self._account.set_order(order, kind, row.row_id)

    def _mail(self, index: int, sent: float) -> _Mailing:
        """Add a message; every second one is visible some days before it is sent."""
        rng = self._rng
        number = self._recipients(index)
        early = index % 2 == 1
        fields: Fields = {"sentCount": number} | self._odd.message()
        added = sent + 60
        if early:
            added = sent - round(rng.uniform(0.2, 3) * DAY)
            fields |= {"sentCount": 0, "actualSendTimestamp": None}
        message_id = self._account.add_message(sent=sent, date_added=added, **fields)
        if early:
            at = sent + rng.uniform(1, 300)
            counts = {"sentCount": number, "actualSendTimestamp": ms(at)}
            self._account.correct("messages", message_id, at=at, **counts)
        if index % 3 == 0:
            at = sent + rng.uniform(0.1, 9) * DAY
            more = str(number + 1)
            self._account.correct("messages", message_id, at=at, sentCount=more)
        links = tuple(
            self._account.add_row("links", message_id, **self._odd.link())
            for _ in range(0 if index == _EMPTY else rng.randint(1, 6))
        )
        opens = many_opens(number) if index == _LARGE else None
        return _Mailing(message_id, sent, number, opens, links)

    def _recipients(self, index: int) -> int:
        if index in (_LARGE, _EMPTY):
            return self._largest if index == _LARGE else 0
        return min(int(self._rng.lognormvariate(3.5, 0.7)), 800)

    def _events(self, mailing: _Mailing) -> list[_Event]:
        rng = self._rng
        events: list[_Event] = []
        reached: list[tuple[int, float]] = []
        pool = range(1, max(4000, 3 * mailing.recipients))
        for person in rng.sample(pool, mailing.recipients):
            at = mailing.sent + 120 + rng.expovariate(1 / 1200)
            events.append(self._recipient(mailing, person, at))
            delivered = rng.random() < _DELIVERED
            if delivered:
                reached.append((person, at))
                events.append(self._action("delivers", mailing, person, at))
            if not delivered or rng.random() < _BOUNCED_LATE:
                at += rng.expovariate(1 / (6 * _HOUR))
                events.append(self._action("bounces", mailing, person, at))
        for person, at in self._openings(mailing, reached):
            events += self._open(mailing, person, at)
        return events

    def _openings(
        self, mailing: _Mailing, reached: list[tuple[int, float]]
    ) -> list[tuple[int, float]]:
        """Return (person, delivery time) of each open; some people open many times."""
        rng = self._rng
        if mailing.opens is not None:
            return rng.choices(reached, k=mailing.opens)
        openers = [one for one in reached if rng.random() < _OPENED]
        return [one for one in openers for _ in range(1 + int(rng.expovariate(1)))]

    def _open(self, mailing: _Mailing, person: int, delivered: float) -> list[_Event]:
        """Return an open with its clicks, mostly within days, sometimes weeks later."""
        rng = self._rng
        mean = 18 * DAY if rng.random() < _OPENED_LATE else 0.8 * DAY
        at = delivered + rng.expovariate(1 / mean)
        events = [self._action("opens", mailing, person, at)]
        if rng.random() < _CLICKED:
            for _ in range(rng.randint(1, 3)):
                at += rng.uniform(1, 300)
                events.append(self._action("clicks", mailing, person, at))
        return events

    def _recipient(self, mailing: _Mailing, person: int, at: float) -> _Event:
        return self._event("recipients", mailing, at + 1, self._odd.recipient(person))

    def _action(self, kind: str, mailing: _Mailing, person: int, at: float) -> _Event:
        written = at + min(self._rng.expovariate(1 / 300), 2 * DAY)
        fields = self._odd.action(kind, person, at, mailing.link_ids)
        return self._event(kind, mailing, written, fields)

    def _event(
        self, kind: str, mailing: _Mailing, added: float, fields: Fields
    ) -> _Event:
        """Return the row; some rows are visible up to an hour after being written."""
        rng = self._rng
        late = rng.uniform(0, _HOUR) if rng.random() < _SHOWN_LATE else 0.0
        added = round(added, 3)
        visible = round(added + late, 3)
        serial = next(self._serial)
        self._sizes[mailing.message_id, kind] += 1
        return _Event(visible, serial, kind, mailing.message_id, added, fields)
