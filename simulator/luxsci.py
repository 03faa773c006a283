"""A LuxSci account, and how to build and change it.

Instants given to this module are UTC seconds; so may be the values of DATETIME
columns, which the vendor's text would do for as well. Rows are told by the handles
that the builders return.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.clock import DAY
from simulator.luxsci_facts import CHANNELS, KINDS
from simulator.luxsci_store import Store, moved, only
from simulator.luxsci_tables import Entry
from simulator.rows import Row

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from simulator.clock import SimClock
    from simulator.luxsci_tables import Table

Fields = dict[str, Any]
_FAR = float("inf")
_MINUTE = 60.0
_LOG_COUNTERS = {
    "marketing_opens": "opens",
    "marketing_clicks": "clicks",
    "marketing_complaints": "complained",
    "marketing_unsubscribes": "unsubscribed",
}
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0"


class LuxSci(Store):
    """An account that can be filled; the first user is the owner of what has none."""

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        super().__init__(clock, lock, seed)
        self._issued: Counter[str] = Counter()
        self._serial = 0
        self._deliveries: dict[tuple[str, str], int] = {}
        """By sendmail_id and address, as is `_messages` by the first of them."""
        self._messages: dict[str, int] = {}
        self._by_id: dict[tuple[str, int], int] = {}
        """Handles by kind and the vendor's number: logs, jobs, users and so on."""

    # Any row

    def add_row(  # noqa: PLR0913
        self,
        kind: str,
        *,
        channel: str | None = None,
        login: str | None = None,
        visible_from: float | None = None,
        custom: Fields | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> int:
        """Add a row to a report just as it is, and return its handle.

        `fields` and `more` are the vendor's columns; those not given are null.
        KeyError for an unknown kind.
        """
        with self._lock:
            table = self.table(kind, channel)
            at = self._clock.now() if visible_from is None else visible_from
            self._serial += 1
            shown = table.spelt({**(fields or {}), **more})
            row = Row(self._serial, at, (at, at, at), shown)
            table.add(Entry(self._serial, row, login, custom or {}))
            self._of[self._serial] = table
            return self._serial

    def correct(
        self,
        row: int,
        *,
        at: float | None = None,
        fields: Fields | None = None,
        **more: object,
    ) -> None:
        """Show columns of a row otherwise from `at` on; no date moves by itself."""
        with self._lock:
            at = self._clock.now() if at is None else at
            self._of[row].correct(row, at, {**(fields or {}), **more})

    def delete(self, row: int, *, at: float | None = None) -> None:
        """Take a row out of its report."""
        with self._lock:
            entry = self.entry(row)
            entry.row.deleted_at = self._clock.now() if at is None else at

    def fields(self, row: int, at: float | None = None) -> Fields:
        """Return a row's columns as of `at`."""
        at = self._clock.now() if at is None else at
        return self.entry(row).row.fields(at)

    # Users and jobs

    def add_user(
        self,
        login: str | None = None,
        *,
        password: str = "pw-of-a-user",  # noqa: S107 -- made up
        created: float | None = None,
        **fields: object,
    ) -> str:
        """Add a user, who may authenticate at once, and return the login."""
        with self._lock:
            created = self._clock.now() if created is None else created
            user_id = self._number("users")
            login = login or f"user{user_id}@clinic.example"
            shown = {
                "user_id": user_id,
                "domain_id": 31,
                "login": login,
                "created": created,
                "modified": created,
                "name": f"User {user_id}",
                **fields,
            }
            row = self.add_row("users", visible_from=created, fields=shown)
            self._by_id["users", user_id] = row
            self.passwords[login] = password
            return login

    def update_user(
        self, login: str, *, at: float | None = None, **fields: object
    ) -> None:
        """Change a user's row; `modified` moves along, unless given."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self._by_id["users", self.user_id(login)]
            self.correct(row, at=at, fields={"modified": at, **fields})

    def user_id(self, login: str | None) -> int:
        """Return a user's number; 0 for none."""
        if login is None:
            return 0
        return self.logins.index(login) + 1

    def add_job(
        self,
        *,
        login: str | None = None,
        created: float | None = None,
        **fields: object,
    ) -> int:
        """Add a job, submitted by a user or at the account's level; return its id."""
        with self._lock:
            created = self._clock.now() if created is None else created
            job_id = self._number("jobs")
            shown = {
                "job_id": job_id,
                "filename": f"report-{job_id}.csv",
                "created": created,
                "updated": created,
                "status": "submitted",
                "uid": self.user_id(login),
                "current_jobs": 1,
                "max_jobs": 5,
                **fields,
            }
            row = self.add_row("jobs", login=login, visible_from=created, fields=shown)
            self._by_id["jobs", job_id] = row
            return job_id

    def update_job(
        self, job_id: int, *, at: float | None = None, **fields: object
    ) -> None:
        """Change a job's row; `updated` moves along, unless given."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self._by_id["jobs", job_id]
            self.correct(row, at=at, fields={"updated": at, **fields})

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
        """Send a message: one row of sent, one of delivery status a recipient.

        Return its sendmail_id. Columns given go to the rows that have them.
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
            one_row = only("sent", one_row)
            self._messages[sendmail_id] = self.add_row("sent", **where, fields=one_row)  # type: ignore[arg-type]
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
        """Return a recipient's row of a message, by default the first one's."""
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
        """Change a message's row of one recipient, or of all.

        `last_updated` moves to `at`, unless given; the change is shown from then, or
        `visible_from`, on.
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
        """Note what became of a message to one recipient, or all."""
        with self._lock:
            at = self._clock.now() if at is None else at
            is_good = status == "Delivered"
            for row in self._rows_of(sendmail_id, to):
                sent = self.entry(row).row.clocks[0]
                shown = {
                    "last_updated": at,
                    "delivery_status_updated": at,
                    "delivery_seconds": int(at) - int(sent),
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
        """Note that a message was opened; return the row's handle (see `_happen`)."""
        shown = {"opener_ip": "203.0.113.9", "user_agent": _AGENT}
        return self._happen("opens", sendmail_id, to, shown, **options)  # type: ignore[arg-type]

    def add_click(
        self, sendmail_id: str, to: str | None = None, **options: object
    ) -> int:
        """Note a click; return the row's handle (see `_happen`)."""
        shown = {
            "clicker_ip": "203.0.113.9",
            "user_agent": _AGENT,
            "url": "https://clinic.example/appointments",
        }
        return self._happen("clicks", sendmail_id, to, shown, **options)  # type: ignore[arg-type]

    def add_complaint(
        self, sendmail_id: str, to: str | None = None, **options: object
    ) -> int:
        """Note a complaint; `fields={"to": "redacted"}` says not whose."""
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
        """Note that a delivery has to be tried again."""
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
        """Add an event of a message at `at`, shown from then or `visible_from` on.

        What it means for the delivery's row (a counter, `spam`) is shown from then
        on, too, and `last_updated` is `at`. Columns given go to the event's row.
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
            counted = moved(kind, before)
            if counted:
                changed = {"last_updated": at, **counted}
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
        """Note that a recipient unsubscribed; return the suppression's handle."""
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
        """Add a suppression, of a user's or the account's; return its handle."""
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
        """Note that a program could not log in; return the row's handle."""
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

    # Marketing

    def add_list(
        self, login: str, *, created: float | None = None, **fields: object
    ) -> int:
        """Add a list of contacts, and return its id."""
        number = self._number("marketing_lists")
        shown = {
            "list_id": number,
            "name": f"List {number}",
            "from_email": login,
            "from_name": "The Clinic",
            "reply_email": login,
            "n_subscribers": 0,
            "list_group_id": 0,
            **fields,
        }
        return self._add_item("marketing_lists", "list_id", login, created, shown)

    def add_contact(
        self,
        login: str,
        list_id: int,
        *,
        created: float | None = None,
        custom: Fields | None = None,
        **fields: object,
    ) -> int:
        """Add a contact, and return its id; `custom` by code word."""
        email = str(fields.pop("email", None) or self._address())
        shown = {
            "contact_id": self._number("marketing_contacts"),
            "list_id": list_id,
            "email": email,
            "domain": email.partition("@")[2],
            "is_active": 1,
            **fields,
        }
        return self._add_item(
            "marketing_contacts", "contact_id", login, created, shown, custom
        )

    def add_campaign(
        self, login: str, *, created: float | None = None, **fields: object
    ) -> int:
        """Add a campaign that is only scheduled, and return its id."""
        number = self._number("marketing_campaigns")
        zeros = [
            column.name
            for column in KINDS["marketing_campaigns"].columns
            if column.name.startswith("n_")
        ]
        shown = {
            **dict.fromkeys(zeros, 0),
            "campaign_id": number,
            "title": f"Campaign {number}",
            "template_id": 0,
            "hourly_rate_limit": 5000,
            "queue_priority": 1,
            "status": "scheduled",
            **fields,
        }
        return self._add_item(
            "marketing_campaigns", "campaign_id", login, created, shown
        )

    def update_item(
        self, kind: str, item_id: int, *, at: float | None = None, **fields: object
    ) -> None:
        """Change a list, contact or campaign; `modified` moves along unless given."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self._by_id[kind, item_id]
            self.correct(row, at=at, fields={"modified": at, **fields})

    def _add_item(  # noqa: PLR0913, PLR0917
        self,
        kind: str,
        key: str,
        login: str,
        created: float | None,
        shown: Fields,
        custom: Fields | None = None,
    ) -> int:
        with self._lock:
            created = self._clock.now() if created is None else created
            dates = {"created": created, "modified": created}
            owner = {"owner_id": self.user_id(login)}
            row = self.add_row(
                kind,
                login=login,
                visible_from=created,
                custom=custom,
                fields=only(kind, owner | dates | shown),
            )
            item_id = int(shown[key])
            self._by_id[kind, item_id] = row
            return item_id

    def send_campaign(
        self,
        campaign_id: int,
        contacts: Iterable[int],
        *,
        at: float | None = None,
        **fields: object,
    ) -> list[int]:
        """Send a campaign to contacts; return the ids of the logs."""
        with self._lock:
            at = self._clock.now() if at is None else at
            row = self.entry(self._by_id["marketing_campaigns", campaign_id])
            logs = [
                self._log(campaign_id, contact, at, row.login, fields)
                for contact in contacts
            ]
            self.update_item(
                "marketing_campaigns",
                campaign_id,
                at=at,
                send_at=at,
                send_started_at=at,
                status="sending",
                n_staged=len(logs),
                n_sent=len(logs),
            )
            return logs

    def _log(
        self,
        campaign_id: int,
        contact: int,
        at: float,
        login: str | None,
        fields: Fields,
    ) -> int:
        campaign = self.entry(self._by_id["marketing_campaigns", campaign_id]).row
        person = self.entry(self._by_id["marketing_contacts", contact])
        log_id = self._number("marketing_logs")
        shown = {
            "log_id": log_id,
            "tracking_code": hashlib.sha256(
                f"{self.seed}/{log_id}".encode()
            ).hexdigest()[:12],
            "sendmail_id": f"{int(at)}-m{log_id:06d}",
            "campaign_id": campaign_id,
            "campaign_title": campaign.value(at, "title"),
            "sent": at,
            "delivery_status_updated": at,
            "contact_id": contact,
            "list_id": person.row.value(at, "list_id"),
            "email": person.row.value(at, "email"),
            "disposition": "queued",
            "opens": 0,
            "clicks": 0,
            "unsubscribed": 0,
            "complained": 0,
            "tls_used": 1,
            "sl_type": 4,
            **fields,
        }
        custom = dict(person.custom)
        self._by_id["marketing_logs", log_id] = self.add_row(
            "marketing_logs",
            login=login,
            visible_from=at,
            custom=custom,
            fields=shown,
        )
        return log_id

    def dispose(
        self,
        log_id: int,
        disposition: str = "delivered",
        *,
        at: float | None = None,
        **fields: object,
    ) -> None:
        """Note what became of a campaign's message; bounces get a row of their own."""
        with self._lock:
            at = self._clock.now() if at is None else at
            handle = self._by_id["marketing_logs", log_id]
            is_bounce = disposition.endswith("bounce")
            changed = {
                "delivery_status_updated": at,
                "disposition": disposition,
                "smtp_code": 550 if is_bounce else 250,
                "state_detail": "no such user" if is_bounce else "OK",
                **fields,
            }
            self.correct(handle, at=at, fields=changed)
            if is_bounce:
                entry = self.entry(handle)
                kind = "marketing_bounces"
                shown = only(kind, entry.row.fields(at))
                self._log_row(kind, entry, at, shown)

    def log_event(
        self,
        kind: str,
        log_id: int,
        *,
        at: float | None = None,
        visible_from: float | None = None,
        **fields: object,
    ) -> int:
        """Add an open, click, complaint or unsubscribe of a campaign's message.

        `kind` is as in KINDS. The log's counter moves, its date does not. Return the
        row's handle.
        """
        with self._lock:
            at = self._clock.now() if at is None else at
            visible = at if visible_from is None else visible_from
            handle = self._by_id["marketing_logs", log_id]
            entry = self.entry(handle)
            before = entry.row.fields(visible)
            counter = _LOG_COUNTERS[kind]
            self.correct(handle, at=visible, fields={counter: before[counter] + 1})  # type: ignore[operator]
            shown = {
                **before,
                "ip_address": "203.0.113.20",
                "user_agent": _AGENT,
                "url": "https://clinic.example/flu-shots",
                "note": "Unsubscribe link",
            }
            if date := KINDS[kind].date:
                shown[date] = at
            return self._log_row(kind, entry, visible, only(kind, shown | fields))

    def _log_row(self, kind: str, entry: Entry, visible: float, shown: Fields) -> int:
        return self.add_row(
            kind,
            login=entry.login,
            visible_from=visible,
            custom=dict(entry.custom),
            fields=shown,
        )

    # Inside

    def _rows_of(self, sendmail_id: str, to: str | None) -> list[int]:
        """Return the handles of a message's deliveries; KeyError if there is none."""
        if to is not None:
            return [self._deliveries[sendmail_id, to]]
        text = self.entry(self._messages[sendmail_id]).row.value(_FAR, "to")
        return [self._deliveries[sendmail_id, one] for one in str(text).split(",")]

    def _channel(self, row: int) -> str | None:
        table: Table = self._of[row]
        is_of = (table is self.table(table.kind.name, one) for one in CHANNELS)
        return CHANNELS[0] if next(is_of) else CHANNELS[1]

    def _someone(self, at: float) -> str:
        """Return the first user's login; the user is added if there is none."""
        if not self.passwords:
            self.add_user(created=at - DAY)
        return self.logins[0]

    def _address(self) -> str:
        return f"patient{self._number('addresses')}@example.org"

    def _number(self, kind: str) -> int:
        self._issued[kind] += 1
        return self._issued[kind]
