"""A pseudo-random LuxSci account, the same for the same seed and time.

Instants are UTC seconds. Rows are visible within a look-back of two days after their
date. Odd values come in turn and not by chance, so that every account has each of them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.sizes import FUTURE_DAYS

if TYPE_CHECKING:
    from simulator.luxsci.account import Account

_HOUR = 3600.0
_PAST_DAYS = 60.0
_LATEST = 1.4 * DAY
"""The most seconds after its date at which a row becomes visible."""
_LAST_DAYS = 20.0
"""Seconds after a send within which all its events happen."""
_USERS = 3
_PER_CAMPAIGN = 12
_OPENED, _CLICKED, _LATE, _COMPLAINED, _UNSUBSCRIBED = 0.5, 0.25, 0.08, 0.04, 0.03
_FAILED, _TEMPORARY = 0.08, 0.1
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com)",
    None,
    "",
)
_URLS = (
    "https://clinic.example/appointments?id=7",
    "https://clinic.example/bills",
    "https://clinic.example/Übersicht?name=José",
    None,
)
_STATUSES = ("Failed", "Post-Delivery Hard Fail", "Soft Bounce", "No Data Available")
_HEADERS: dict[str, Any] = {"header1": "x-clinic", "header1_value": "Gh6577hh-abc"}
# (turn, length, columns): in each run of `length` rows, row `turn` has these columns.
_MESSAGE_ODDS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (0, 3, _HEADERS),
    (1, 7, {"from_ip": "MobileSync"}),
    (2, 9, {"from_ip": None}),
    (3, 8, {"Opens": -1, "Clicks": -1}),
    (4, 11, {"opt_out": 1, "secureline": -2}),
    (5, 11, {"secureline": 3, "template_id": 12}),
    (6, 13, {"header2": "x-müller", "header2_value": "nul\x00byte", **_HEADERS}),
    (7, 13, {"notes": "Résumé \U0001f389", "high_volume": 1, "secureline": 0}),
    (8, 13, {"opt_out": -1, "secureline": -1}),
)
_DELIVERY_ODDS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (1, 9, {"tls_delivery": 0, "tls_info": None}),
    (2, 17, {"smtp_code": None}),
    (3, 19, {"details": "250 ok\x00 gone"}),
    (4, 23, {"smtp_code": "n/a"}),
)


def generate(
    account: Account,
    seed: int,
    messages: int,
    now: float,
    *,
    days_ahead: float = FUTURE_DAYS,
) -> None:
    """Fill an account with `messages` messages up to `now`, and more after it."""
    if messages <= 0:
        return
    rng = random.Random(f"luxsci {seed}")  # noqa: S311 -- reproducible
    _Generator(account, rng, float(int(now)), days_ahead).run(messages)


def _odd(
    odds: tuple[tuple[int, int, dict[str, Any]], ...], turn: int
) -> dict[str, Any]:
    """Return the odd columns of this turn."""
    shown: dict[str, Any] = {}
    for which, every, columns in odds:
        if turn % every == which:
            shown |= columns
    return shown


class _Generator:
    def __init__(
        self, account: Account, rng: random.Random, now: float, ahead: float
    ) -> None:
        self._account = account
        self._rng = rng
        self._now = now
        self._start = now - _PAST_DAYS * DAY
        self._end = now + ahead * DAY
        self._turn = 0
        self._deliveries = 0

    def run(self, messages: int) -> None:
        """Fill the account, oldest message first."""
        account, rng = self._account, self._rng
        for number in range(_USERS):
            created = self._start - rng.uniform(5, 400) * DAY
            login = account.add_user(created=created, domain_id=30 + number % 2)
            if number:
                at = self._start + rng.uniform(0, 1) * (self._end - self._start)
                account.update_user(login, at=at, name=f"Dr. O'Neill {number}")
        coming = round(messages * (self._end - self._now) / (_PAST_DAYS * DAY))
        sends = [rng.uniform(self._start, self._now) for _ in range(messages)]
        sends += [rng.uniform(self._now, self._end) for _ in range(coming)]
        for sent in sorted(sends):
            self._message(float(int(sent)))
        self._redacted_twins()
        self._undated()
        self._beside()
        for login in account.logins[:2]:
            self._marketing(login, max(2, messages // 20))

    # Email

    def _message(self, sent: float) -> None:
        rng, turn = self._rng, self._turn
        self._turn += 1
        channel = "webmail" if turn % 4 == 1 else "smtp"
        login = self._account.logins[turn % _USERS]
        people = [
            f"patient{rng.randrange(40)}@example.org"
            for _ in range(1 + (turn % 5 == 0) + 3 * (turn % 10 == 0))
        ]
        sendmail_id = self._account.add_message(
            sent=sent,
            channel=channel,
            login=login,
            recipients=dict.fromkeys(people),
            visible_from=self._shown(sent),
            fields=_odd(_MESSAGE_ODDS, turn),
        )
        for to in dict.fromkeys(people):
            self._deliver(sendmail_id, to, sent, is_smtp=channel == "smtp")

    def _shown(self, at: float) -> float:
        """Return when a row of an instant becomes visible, mostly at once."""
        rng = self._rng
        return at + rng.uniform(0, _LATEST) if rng.random() < _LATE else at

    def _deliver(
        self, sendmail_id: str, to: str, sent: float, *, is_smtp: bool
    ) -> None:
        """Add all events of a message to one recipient in order of time."""
        account, rng = self._account, self._rng
        turn = self._deliveries
        self._deliveries += 1
        # Rows do not change before they are visible.
        at = sent + _LATEST + rng.uniform(1, 9 * _HOUR) if turn % 6 == 0 else sent
        at = max(at, self._visible(sendmail_id, to)) + rng.uniform(1, 300)
        if is_smtp and rng.random() < _TEMPORARY:
            account.add_temporary_failure(sendmail_id, to, at=at)
            at += rng.uniform(60, 5 * _HOUR)
        if turn % 29 == 28:  # noqa: PLR2004 -- stays in the queue
            return
        if rng.random() < _FAILED:
            status = rng.choice(_STATUSES)
            account.deliver(sendmail_id, to, at=at, status=status)
            return
        account.deliver(sendmail_id, to, at=at, **_odd(_DELIVERY_ODDS, turn))
        self._react(sendmail_id, to, at, is_smtp=is_smtp)

    def _visible(self, sendmail_id: str, to: str) -> float:
        return self._account.delivery(sendmail_id, to).row.visible_from

    def _react(self, sendmail_id: str, to: str, at: float, *, is_smtp: bool) -> None:
        account, rng = self._account, self._rng
        while rng.random() < _OPENED and at < self._end:
            at += rng.expovariate(1 / (2 * DAY)) % (_LAST_DAYS * DAY)
            fields = {"user_agent": rng.choice(_AGENTS)}
            if rng.random() < _LATE:
                fields["opener_ip"] = None
            account.add_open(sendmail_id, to, at=at, fields=fields)
            if rng.random() < _LATE:  # an equal event in the same second
                account.add_open(sendmail_id, to, at=at, fields=fields)
            if rng.random() < _CLICKED:
                at += rng.uniform(1, 600)
                url = rng.choice(_URLS)
                ip = None if url is None else "203.0.113.9"
                clicked = {"url": url, "clicker_ip": ip}
                account.add_click(sendmail_id, to, at=at, fields=clicked)
        if is_smtp and rng.random() < _COMPLAINED:
            account.add_complaint(sendmail_id, to, at=at + rng.uniform(60, 6 * _HOUR))
        elif rng.random() < _UNSUBSCRIBED:
            account.unsubscribe(sendmail_id, to, at=at + rng.uniform(60, _HOUR))

    def _redacted_twins(self) -> None:
        """Add pairs of equal complaints in the same second."""
        sent = self._now - 4 * DAY
        for at in (self._now - 3 * DAY, self._now + 2 * DAY):
            for turn in range(2):
                self._account.add_row(
                    "complaints",
                    login=self._account.logins[0],
                    visible_from=at + turn,
                    complaint_date=at,
                    complaint_source="AOL",
                    date_sent=sent,
                    message_type="SMTP",
                    subject=None,
                    fields={"to": "redacted", "user": None},
                )

    def _undated(self) -> None:
        """Add messages with no or an empty `last_updated`."""
        for sent, updated in ((self._now - DAY, None), (self._now + DAY, "")):
            self._account.add_message(
                sent=sent,
                status="No Data Available",
                last_updated=updated,
                delivery_status_updated="0000-00-00 00:00:00",
            )

    def _beside(self) -> None:
        """Add rows that belong to no message."""
        account, rng = self._account, self._rng
        span = (self._start, self._end)
        for turn in range(int((self._end - self._start) / (2 * DAY))):
            at = rng.uniform(*span)
            login = (None, *account.logins)[turn % (_USERS + 1)]
            account.add_suppression(
                login=login, at=at, visible_from=self._shown(at), expires=turn % 3 * 30
            )
            at = rng.uniform(*span)
            ip = None if turn % 5 == 0 else f"203.0.113.{turn % 200}"
            for _ in range(1 + (turn % 7 == 0)):
                account.add_login_failure(
                    login=login, at=at, visible_from=self._shown(at), ip=ip
                )
        for turn in range(6):
            at = rng.uniform(*span)
            login = account.logins[0] if turn % 2 else None
            self._job(account.add_job(login=login, created=at), at, turn)

    def _job(self, job: int, at: float, turn: int) -> None:
        account, rows = self._account, 1000 * turn
        step = self._rng.uniform(30, 400)
        states: list[dict[str, object]] = [
            {"status": "preparing"},
            {"status": "running", "expected_rows": rows, "completed_rows": 0},
            {"status": "uploading", "completed_rows": rows},
            {"status": "complete", "completed": at + 4 * step},
        ]
        if turn == 2:  # noqa: PLR2004 -- one of them fails
            states[2:] = [{"status": "failed", "status_detail": "No such host"}]
        for number, state in enumerate(states, 1):
            account.update_job(job, at=at + number * step, **state)

    # Marketing

    def _marketing(self, login: str, campaigns: int) -> None:
        account, rng = self._account, self._rng
        start = self._start - 10 * DAY
        lists = [account.add_list(login, created=start) for _ in range(2)]
        people = [
            account.add_contact(
                login,
                rng.choice(lists),
                created=start + rng.uniform(0, 5) * DAY,
                custom=self._custom(number),
            )
            for number in range(2 * _PER_CAMPAIGN)
        ]
        for list_id in lists:
            at = rng.uniform(self._now - DAY, self._now + DAY)
            account.update_item("marketing_lists", list_id, at=at, n_subscribers=12)
        for number in range(campaigns):
            at = float(int(rng.uniform(self._start, self._end)))
            self._campaign(login, rng.sample(people, _PER_CAMPAIGN), at, number)
        self._by_hand(login, lists[0])
        account.add_campaign(
            login, created=self._now - DAY, title="Not sent \ud83d yet"
        )

    def _by_hand(self, login: str, list_id: int) -> None:
        """Add events without a log, one of them twice in the same second."""
        for at in (self._now - 5 * DAY, self._now - 5 * DAY, self._now + DAY):
            row = {"list_id": list_id, "log_id": None, "email": "by.hand@example.org"}
            for kind, more in (
                (
                    "marketing_unsubscribes",
                    {"unsubscribed_date": at, "note": "By hand"},
                ),
                ("marketing_opens", {"open_date": at}),
            ):
                self._account.add_row(
                    kind, login=login, visible_from=at, fields=row | more
                )

    @staticmethod
    def _custom(number: int) -> dict[str, object]:
        """Return the custom fields of a contact: some, none, or an odd one."""
        return (
            {"favorite_color": "blüe", "member_no": str(7000 + number)}
            if (number % 3)
            else {"favorite_color": None}
        )

    def _campaign(self, login: str, people: list[int], at: float, number: int) -> None:
        account, rng = self._account, self._rng
        campaign = account.add_campaign(login, created=at - 3 * _HOUR)
        logs = account.send_campaign(campaign, people, at=at)
        for turn, log in enumerate(logs):
            then = at + rng.uniform(5, 5 * _HOUR)
            if turn == number % _PER_CAMPAIGN:
                account.dispose(
                    log, rng.choice(("soft_bounce", "hard_bounce")), at=then
                )
                continue
            account.dispose(log, at=then)
            self._log_events(log, then)
        done = at + _LAST_DAYS * DAY
        account.update_item(
            "marketing_campaigns",
            campaign,
            at=done,
            status="complete",
            n_delivered=len(logs) - 1,
        )

    def _log_events(self, log: int, at: float) -> None:
        account, rng = self._account, self._rng
        while rng.random() < _OPENED:
            at += rng.expovariate(1 / DAY)
            agent = rng.choice(_AGENTS)
            account.log_event("marketing_opens", log, at=at, user_agent=agent)
            if rng.random() < _CLICKED:
                account.log_event(
                    "marketing_clicks",
                    log,
                    at=at,
                    visible_from=self._shown(at),
                    url=rng.choice(_URLS),
                    ip_address=None,
                )
        if rng.random() < _COMPLAINED:
            account.log_event("marketing_complaints", log, at=at)
        if rng.random() < _UNSUBSCRIBED:
            account.log_event("marketing_unsubscribes", log, at=at)
