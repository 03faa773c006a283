"""LuxSci's marketing: lists, contacts, campaigns and the events of their messages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from simulator.luxsci.builder import AGENT, Builder, Fields, only
from simulator.luxsci.facts import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.luxsci.tables import Entry

_LOG_COUNTERS = {
    "marketing_opens": "opens",
    "marketing_clicks": "clicks",
    "marketing_complaints": "complained",
    "marketing_unsubscribes": "unsubscribed",
}


class Marketing(Builder):
    """The marketing of the logins of an account."""

    def add_list(
        self, login: str, *, created: float | None = None, **fields: object
    ) -> int:
        """Add a list of contacts and return its id."""
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
        """Add a contact and return its id; `custom` holds fields by code word."""
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
        """Add a scheduled campaign and return its id."""
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
        """Change a list, contact or campaign and, unless given, its `modified`."""
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
        """Set the result of a message of a campaign; a bounce also adds a row."""
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
        """Add an open, click, complaint or unsubscribe of a message of a campaign.

        `kind` is one of KINDS. The counter of the log changes, its date does not.
        Return the handle of the row.
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
                "user_agent": AGENT,
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
