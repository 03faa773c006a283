"""A LuxSci account with methods to build and change it.

Instants are UTC seconds. Values of DATETIME columns may be UTC seconds or text of the
vendor. Methods that add a row return a handle, which identifies the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.luxsci.builder import AGENT, Fields, only
from simulator.luxsci.facts import CHANNELS, KINDS, epoch
from simulator.luxsci.marketing import Marketing

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from simulator.clock import SimClock
    from simulator.luxsci.tables import Entry, Table

_FAR = float("inf")
_COUNTERS = {"opens": "Opens", "clicks": "Clicks"}


class Account(Marketing):
    """An account to which rows can be added; the first user owns rows without owner."""

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        super().__init__(clock, lock, seed)
        self._deliveries: dict[tuple[str, str], int] = {}
        """Delivery rows by sendmail_id and address; `_messages` is by sendmail_id."""
        self._messages: dict[str, int] = {}

    # Messages

    def add_message(  # noqa: PLR0913
        self,
        *,
        sent: float | None = None,
        channel: str = "smtp",
        login: str | None = None,
        recipients: int | Iterable[str] = 1,
        visible_from: float | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> str:
        """Send a message: add a row of sent, and a delivery status per recipient.

        Return its sendmail_id. Given columns go to the rows that have them.
        """
        with self._lock:
            sent = self._clock.now() if sent is None else sent
            visible = sent if visible_from is None else visible_from
            login = login or self._someone(sent)
            if isinstance(recipients, int):
                recipients = [self._address() for _ in range(recipients)]
            people = list(recipients)
            shown = self._message(channel, login, sent, people)
            shown |= {**(fields or {}), **more}
            sendmail_id = str(shown["sendmail_id"])
            one_row = {"to": ",".join(people), **shown}
            where = {"channel": channel, "login": login, "visible_from": visible}
            self._messages[sendmail_id] = self.add_row(
                "sent",
                **where,  # type: ignore[arg-type]
                fields=only("sent", one_row),
            )
            for to in people:
                row = {"to": to, **shown}
                self._deliveries[sendmail_id, to] = self.add_row(
                    "delivery_status",
                    **where,  # type: ignore[arg-type]
                    fields=only("delivery_status", row),
                )
            return sendmail_id

    def _message(
        self, channel: str, login: str, sent: float, people: list[str]
    ) -> Fields:
        is_smtp = channel == CHANNELS[0]
        number = self._number("messages")
        return {
            "date_sent": sent,
            "from": login,
            "from_ip": "192.0.2.7" if is_smtp else None,
            "last_updated": sent,
            "n_recipients": len(people),
            "secureline": 4,
            "sendmail_id": f"{int(sent)}-{number:07d}",
            "size_bytes": 20_000 + number,
            "spam": 0,
            "Opens": 0,
            "Clicks": 0,
            "Unsubscribed": 0,
            "status": "In Queue",
            "tls_delivery": -1,
            "user": login,
            "user_id": self.user_id(login),
            "template_id": 0,
            "high_volume": 0,
            "opt_out": 0,
            "used_tls": 1 if is_smtp else None,
        }

    def delivery(self, sendmail_id: str, to: str | None = None) -> Entry:
        """Return the delivery row of a recipient, by default of the first."""
        return self.entry(self._rows_of(sendmail_id, to)[0])

    def update_delivery(
        self,
        sendmail_id: str,
        to: str | None = None,
        *,
        at: float | None = None,
        visible_from: float | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> None:
        """Change the delivery row of one recipient or of all recipients.

        `last_updated` becomes `at`, unless it is given. The change is visible from `at`
        or `visible_from` on.
        """
        with self._lock:
            at = self._clock.now() if at is None else at
            changed = {"last_updated": at, **(fields or {}), **more}
            shown = at if visible_from is None else visible_from
            for row in self._rows_of(sendmail_id, to):
                self.correct(row, at=shown, fields=changed)

    def deliver(
        self,
        sendmail_id: str,
        to: str | None = None,
        *,
        at: float | None = None,
        status: str = "Delivered",
        **fields: object,
    ) -> None:
        """Set the delivery status of a message to one recipient or all."""
        with self._lock:
            at = self._clock.now() if at is None else at
            is_good = status == "Delivered"
            for row in self._rows_of(sendmail_id, to):
                sent = epoch(str(self.entry(row).row.value(at, "date_sent")))
                shown = {
                    "last_updated": at,
                    "delivery_status_updated": at,
                    "delivery_seconds": int(at) - sent,
                    "smtp_code": 250 if is_good else 550,
                    "status": status,
                    "details": "250 2.0.0 OK" if is_good else "550 5.1.1 no such user",
                    "tls_delivery": 1 if is_good else -1,
                    "tls_info": "TLSv1.3, AES256" if is_good else None,
                    **fields,
                }
                self.correct(row, at=at, fields=shown)

    def add_open(
        self, sendmail_id: str, to: str | None = None, **options: object
    ) -> int:
        """Add an open of a message; return the handle of the row (see `_happen`)."""
        shown = {"opener_ip": "203.0.113.9", "user_agent": AGENT}
        return self._happen("opens", sendmail_id, to, shown, **options)  # type: ignore[arg-type]

    def add_click(
        self, sendmail_id: str, to: str | None = None, **options: object
    ) -> int:
        """Add a click; return the handle of the row (see `_happen`)."""
        shown = {
            "clicker_ip": "203.0.113.9",
            "user_agent": AGENT,
            "url": "https://clinic.example/appointments",
        }
        return self._happen("clicks", sendmail_id, to, shown, **options)  # type: ignore[arg-type]

    def add_complaint(
        self, sendmail_id: str, to: str | None = None, **options: object
    ) -> int:
        """Add a complaint; `fields={"to": "redacted"}` hides the address."""
        shown = {
            "complaint_source": "AOL",
            "message_type": "SMTP",
            "server_ip": "198.51.100.3",
            "subject": "Your appointment",
        }
        return self._happen("complaints", sendmail_id, to, shown, **options)  # type: ignore[arg-type]

    def add_temporary_failure(
        self, sendmail_id: str, to: str | None = None, **options: object
    ) -> int:
        """Add a temporary failure of a delivery."""
        shown = {"temp_fail_message": "452 4.2.2 mailbox full"}
        return self._happen("temporary_failures", sendmail_id, to, shown, **options)  # type: ignore[arg-type]

    def _happen(  # noqa: PLR0913
        self,
        kind: str,
        sendmail_id: str,
        to: str | None,
        shown: Fields,
        *,
        at: float | None = None,
        visible_from: float | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> int:
        """Add an event of a message at `at`, visible from `at` or `visible_from` on.

        From then on the delivery row shows its effect (a counter, `spam`), with
        `last_updated` at `at`. Given columns go to the row of the event.
        """
        with self._lock:
            at = self._clock.now() if at is None else at
            visible = at if visible_from is None else visible_from
            delivery = self._rows_of(sendmail_id, to)[0]
            entry = self.entry(delivery)
            before = entry.row.fields(visible)
            row: Fields = {**before, str(KINDS[kind].date): at, **shown}
            row |= {"msg_to": before["to"], **(fields or {}), **more}
            has_channels = KINDS[kind].has_channels
            channel = self._channel(delivery) if has_channels else None
            moved = _moved(kind, before)
            if moved:
                changed = {"last_updated": at, **moved}
                self.correct(delivery, at=visible, fields=changed)
            return self.add_row(
                kind,
                channel=channel,
                login=entry.login,
                visible_from=visible,
                fields=only(kind, row),
            )

    def unsubscribe(
        self,
        sendmail_id: str,
        to: str | None = None,
        *,
        at: float | None = None,
        **fields: object,
    ) -> int:
        """Unsubscribe a recipient; return the handle of the suppression."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self._rows_of(sendmail_id, to)[0]
            entry = self.entry(row)
            email = entry.row.value(at, "to")
            self.correct(row, at=at, fields={"last_updated": at, "Unsubscribed": 1})
            shown = {"sendmail_id": sendmail_id, "note": "Unsubscribe link", **fields}
            return self.add_suppression(
                str(email), login=entry.login, at=at, fields=shown
            )

    def add_suppression(
        self,
        email: str | None = None,
        *,
        login: str | None = None,
        at: float | None = None,
        visible_from: float | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> int:
        """Add a suppression of a user or of the account; return its handle."""
        with self._lock:
            at = self._clock.now() if at is None else at
            shown: Fields = {
                "account_id": self.account_id,
                "added": at,
                "domain_id": 31 if login else 0,
                "email": email or self._address(),
                "expires": 0,
                "note": "Added by hand",
                "user_id": self.user_id(login),
            }
            shown |= {**(fields or {}), **more}
            visible = at if visible_from is None else visible_from
            return self.add_row(
                "suppressions", login=login, visible_from=visible, fields=shown
            )

    def add_login_failure(
        self,
        *,
        login: str | None = None,
        at: float | None = None,
        visible_from: float | None = None,
        **fields: object,
    ) -> int:
        """Add a failed login of a program; return the handle of the row."""
        with self._lock:
            at = self._clock.now() if at is None else at
            shown = {
                "date": at,
                "ip": "203.0.113.77",
                "reason": "Bad password",
                "user_id": self.user_id(login),
                **fields,
            }
            visible = at if visible_from is None else visible_from
            return self.add_row("login_failures", visible_from=visible, fields=shown)

    # Inside

    def _rows_of(self, sendmail_id: str, to: str | None) -> list[int]:
        """Return the handles of the deliveries of a message; KeyError if none."""
        if to is not None:
            return [self._deliveries[sendmail_id, to]]
        text = self.entry(self._messages[sendmail_id]).row.value(_FAR, "to")
        return [self._deliveries[sendmail_id, one] for one in str(text).split(",")]

    def _channel(self, row: int) -> str | None:
        table: Table = self._of[row]
        is_of = (table is self.table(table.kind.name, one) for one in CHANNELS)
        return CHANNELS[0] if next(is_of) else CHANNELS[1]


def _moved(kind: str, before: Fields) -> Fields:
    """Return the columns of the delivery row that an event changes."""
    counter = _COUNTERS.get(kind)
    if counter and before[counter] >= 0:
        return {counter: before[counter] + 1}
    return {"spam": 1} if kind == "complaints" else {}
