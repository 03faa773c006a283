"""A Constant Contact account with methods to build and change it.

Instants are UTC seconds as floats; only fields of the vendor hold date-times as text.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING

from simulator.clock import DAY, day
from simulator.constant_contact.events import COUNTED_KINDS, Activity, Event, stamp
from simulator.constant_contact.facts import CATALOGS, Campaign, Facts
from simulator.rows import Row

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from simulator.clock import SimClock


class Account(Facts):
    """An account to which campaigns, events and contacts can be added.

    As an activity, the id of a campaign stands for its primary email.
    """

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        super().__init__(clock, lock, seed)
        self._issued: Counter[str] = Counter()

    # Building campaigns

    def add_campaign(  # noqa: PLR0913
        self,
        *,
        sent: float | None = None,
        resend: float | None = None,
        scheduled: float | None = None,
        created: float | None = None,
        recipients: int | Iterable[str] = 0,
        links: int = 0,
        campaign_id: str | None = None,
        **fields: object,
    ) -> str:
        """Add a campaign and return its id.

        It is sent at `sent`, perhaps in the future. Without `sent` it is Scheduled for
        `scheduled`, or a Draft. Each of the `recipients` gets a row of sends; a number
        adds as many new contacts. `resend` adds a second activity, `links` adds a
        number of links to each activity. `fields` are fields of the vendor.
        """
        with self._lock:
            start = self._clock.now() if sent is None else sent
            created = start - DAY if created is None else created
            campaign_id = campaign_id or self._uuid("campaign")
            number = self._issued["campaign"]
            shown = {
                "campaign_id": campaign_id,
                "created_at": stamp(created),
                "current_status": "Draft" if scheduled is None else "Scheduled",
                "name": f"Campaign {number}",
                "type": "Newsletter",
                "type_code": 10,
                "updated_at": stamp(created),
                **fields,
            }
            row = Row(number, created, (start, created, start), shown)
            self.campaigns[campaign_id] = Campaign(campaign_id, row, created)
            primary = self.add_activity(campaign_id, "primary_email", visible=created)
            for _ in range(links):
                self.add_link(primary)
            if sent is not None:
                self.send(primary, at=sent, recipients=recipients)
            if resend is not None:
                again = self.add_resend(campaign_id, sent=resend, visible=sent)
                self.activities[again].links.update(self.activities[primary].links)
            return campaign_id

    def add_activity(
        self,
        campaign_id: str,
        role: str,
        *,
        visible: float | None = None,
        **fields: object,
    ) -> str:
        """Add an unsent activity and return its id."""
        with self._lock:
            campaign = self.campaigns[campaign_id]
            visible = self._clock.now() if visible is None else visible
            activity_id = self._uuid("activity")
            number = self._issued["activity"]
            shown = {
                "campaign_activity_id": activity_id,
                "campaign_id": campaign_id,
                "role": role,
                "current_status": "DRAFT",
                "format_type": 5,
                "from_email": "news@example.org",
                "from_name": "Example Society",
                "reply_to_email": "news@example.org",
                "subject": f"Subject {number}",
                "preheader": "What is new",
                "contact_list_ids": [],
                "segment_ids": [],
                "document_id": f"d{number}",
                **fields,
            }
            row = Row(number, visible, (visible, visible, visible), shown)
            activity = Activity(activity_id, campaign_id, role, row)
            campaign.activities.append(activity)
            self.activities[activity_id] = activity
            return activity_id

    def add_resend(
        self,
        campaign_id: str,
        *,
        sent: float | None = None,
        visible: float | None = None,
        recipients: int | Iterable[str] = 0,
    ) -> str:
        """Add a resend to a campaign, send it, and return the id of the activity."""
        with self._lock:
            sent = self._clock.now() if sent is None else sent
            visible = sent if visible is None else visible
            activity_id = self.add_activity(campaign_id, "resend", visible=visible)
            self.send(activity_id, at=sent, recipients=recipients)
            return activity_id

    def send(
        self,
        activity: str,
        *,
        at: float | None = None,
        recipients: int | Iterable[str] = 0,
    ) -> None:
        """Send an activity at `at` (default: now); it may have been sent before."""
        with self._lock:
            at = self._clock.now() if at is None else at
            mailing = self.activity(activity)
            mailing.sends = sorted([*mailing.sends, at])
            mailing.touch()
            mailing.row.correct(at, {"current_status": "DONE"})
            self.update_campaign(mailing.campaign_id, at=at, current_status="Done")
            if isinstance(recipients, int):
                recipients = [
                    self.add_contact(created=at - DAY) for _ in range(recipients)
                ]
            for contact in recipients:
                self.add_event("sends", activity, contact, created=at)

    def update_campaign(
        self, campaign_id: str, *, at: float | None = None, **fields: object
    ) -> None:
        """Change fields of a campaign and, unless given, its `updated_at`."""
        with self._lock:
            at = self._clock.now() if at is None else at
            fields = {"updated_at": stamp(at), **fields}
            self.campaigns[campaign_id].row.correct(at, fields)

    def update_activity(
        self, activity: str, *, at: float | None = None, **fields: object
    ) -> None:
        """Change fields of an activity; the date of its campaign stays the same."""
        with self._lock:
            at = self._clock.now() if at is None else at
            self.activity(activity).row.correct(at, fields)

    def remove_campaign(self, campaign_id: str, *, at: float | None = None) -> None:
        """Remove a campaign as a user does: /emails continues to show it."""
        with self._lock:
            at = self._clock.now() if at is None else at
            self.update_campaign(campaign_id, at=at, current_status="Removed")
            self.campaigns[campaign_id].removed_at = at

    def add_link(
        self,
        activity: str,
        url: str | None = None,
        *,
        url_id: str | None = None,
        **fields: object,
    ) -> str:
        """Add a link to an activity and return its url_id."""
        with self._lock:
            self._issued["link"] += 1
            number = self._issued["link"]
            url_id = url_id or str(1_000_000_000 + number)
            link = {"link_url": url or f"https://example.org/{number}", **fields}
            self.activity(activity).links[url_id] = link
            return url_id

    # Building events

    def add_event(  # noqa: PLR0913
        self,
        kind: str,
        activity: str,
        contact: str | None = None,
        *,
        created: float | None = None,
        visible_from: float | None = None,
        counted_from: float | None = None,
        device: str | None = None,
        url_id: str | None = None,
        bounce_code: str = "B",
        **fields: object,
    ) -> int:
        """Add one of COUNTED_KINDS to a sent activity; return a handle for it.

        `created` (default: now) is the created_time of the row. The list shows it from
        `visible_from` (default: created), counters count it from `counted_from`
        (default: visible_from). Without a contact, a new one is added. A click without
        `url_id` is on the first link of the activity.
        """
        with self._lock:
            if kind not in COUNTED_KINDS:
                raise ValueError(f"unknown kind: {kind}")
            mailing = self.activity(activity)
            created = self._clock.now() if created is None else created
            visible = created if visible_from is None else visible_from
            contact = contact or self.add_contact(created=created - DAY)
            if kind == "clicks":
                url_id = url_id or next(iter(mailing.links), None)
                url_id = url_id or self.add_link(activity)
            given = self._row_fields(kind, mailing, contact, created, url_id)
            if kind == "bounces":
                given["bounce_code"] = bounce_code
            self._issued["event"] += 1
            event = Event(
                serial=self._issued["event"],
                kind=kind,
                activity_id=mailing.activity_id,
                contact_id=contact,
                created=created,
                visible_from=visible,
                counted_from=visible if counted_from is None else counted_from,
                fields={**given, **fields},
                device=device,
                url_id=url_id,
            )
            mailing.add(event)
            self._events[event.serial] = event
            self._of_contact[contact].append(event)
            return event.serial

    def _row_fields(
        self,
        kind: str,
        activity: Activity,
        contact_id: str,
        created: float,
        url_id: str | None,
    ) -> dict[str, object]:
        row = self.catalogs["contacts"][contact_id]
        address = row.value(created, "email_address")
        names = ("first_name", "last_name")
        given: dict[str, object] = {
            "email_address": address["address"] if isinstance(address, dict) else ""
        }
        given |= {name: row.value(created, name) for name in names}
        if kind == "clicks" and url_id:
            given["link_url"] = activity.links.get(url_id, {}).get("link_url")
        if kind == "bounces":
            given["current_email_address"] = given["email_address"]
        return {name: value for name, value in given.items() if value is not None}

    def remove_event(
        self,
        event: int,
        *,
        at: float | None = None,
        uncounted_from: float | None = None,
    ) -> None:
        """Remove an event from its list and the counters at `at` (default: now)."""
        with self._lock:
            at = self._clock.now() if at is None else at
            found = self._events[event]
            found.removed_at = at
            found.uncounted_from = at if uncounted_from is None else uncounted_from
            self.activities[found.activity_id].touch()

    # Building contacts and the rest

    def add_contact(
        self,
        *,
        created: float | None = None,
        email: str | None = None,
        contact_id: str | None = None,
        **fields: object,
    ) -> str:
        """Add a contact with fields of the vendor and return its id."""
        with self._lock:
            created = self._clock.now() if created is None else created
            contact_id = contact_id or self._uuid("contact")
            number = self._issued["contact"]
            at = stamp(created)
            shown: dict[str, object] = {
                "email_address": {
                    "address": email or f"person{number}@example.org",
                    "permission_to_send": "implicit",
                    "created_at": at,
                    "updated_at": at,
                    "opt_in_source": "Account",
                    "opt_in_date": at,
                    "confirm_status": "off",
                },
                "first_name": "Ada",
                "last_name": f"Person {number}",
                "update_source": "Account",
                "create_source": "Account",
                "created_at": at,
                "updated_at": at,
                "custom_fields": [],
                "list_memberships": [],
                "taggings": [],
            }
            return self._put("contacts", contact_id, number, created, shown | fields)

    def update_contact(
        self,
        contact_id: str,
        *,
        at: float | None = None,
        moves_updated: bool = True,
        **fields: object,
    ) -> None:
        """Change a contact and, by default, its `updated_at`."""
        with self._lock:
            at = self._clock.now() if at is None else at
            moved = {"updated_at": stamp(at)} if moves_updated else {}
            self.catalogs["contacts"][contact_id].correct(at, {**moved, **fields})

    def unsubscribe(
        self, contact_id: str, *, at: float | None = None, reason: str | None = None
    ) -> None:
        """Opt a contact out; by default its `updated_at` does not change."""
        with self._lock:
            at = self._clock.now() if at is None else at
            address = self.catalogs["contacts"][contact_id].value(at, "email_address")
            changed = {
                **(address if isinstance(address, dict) else {}),
                "permission_to_send": "unsubscribed",
                "opt_out_source": "Contact",
                "opt_out_date": stamp(at),
            }
            if reason is not None:
                changed["opt_out_reason"] = reason
            moves = self.policy.unsubscribe_moves_updated
            self.update_contact(
                contact_id, at=at, moves_updated=moves, email_address=changed
            )

    def delete_contact(self, contact_id: str, *, at: float | None = None) -> None:
        """Delete a contact; from then on the contact and its rows show the date."""
        with self._lock:
            at = self._clock.now() if at is None else at
            moves = self.policy.delete_moves_updated
            self.update_contact(
                contact_id, at=at, moves_updated=moves, deleted_at=day(at)
            )

    def add_item(
        self, kind: str, *, created: float | None = None, **fields: object
    ) -> str:
        """Add a contact list, tag, custom field or segment (see CATALOGS).

        Return its id as text.
        """
        with self._lock:
            if kind == "contacts" or kind not in CATALOGS:
                raise ValueError(f"unknown kind: {kind}")
            created = self._clock.now() if created is None else created
            item_id = self._uuid(kind)
            number = self._issued[kind]
            shown = {**_item(kind, number, stamp(created)), **fields}
            if kind == "segments":
                item_id = str(shown["segment_id"])
            return self._put(kind, item_id, number, created, shown)

    def update_item(
        self, kind: str, item_id: str, *, at: float | None = None, **fields: object
    ) -> None:
        """Change a contact list, tag, custom field or segment."""
        with self._lock:
            at = self._clock.now() if at is None else at
            name = "edited_at" if kind == "segments" else "updated_at"
            self.catalogs[kind][item_id].correct(at, {name: stamp(at), **fields})

    def delete_item(self, kind: str, item_id: str, *, at: float | None = None) -> None:
        """Delete an item: a contact list stays with the date, others vanish."""
        with self._lock:
            at = self._clock.now() if at is None else at
            if kind == "contact_lists":
                self.update_item(kind, item_id, at=at, deleted_at=stamp(at))
            else:
                self.catalogs[kind][item_id].deleted_at = at

    def update_account(self, *, at: float | None = None, **fields: object) -> None:
        """Change fields of /account/summary."""
        with self._lock:
            at = self._clock.now() if at is None else at
            self.summary.correct(at, fields)

    # Inside

    def _put(
        self,
        kind: str,
        item_id: str,
        number: int,
        created: float,
        fields: dict[str, object],
    ) -> str:
        name = CATALOGS[kind]
        given: object = int(item_id) if kind == "segments" else item_id
        row = Row(number, created, (created, created, created), {name: given, **fields})
        self.catalogs[kind][item_id] = row
        return item_id

    def _uuid(self, kind: str) -> str:
        self._issued[kind] += 1
        name = f"{self.seed}/{kind}/{self._issued[kind]}"
        return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def _item(kind: str, number: int, at: str) -> dict[str, object]:
    """Return the fields of a plausible list, tag, custom field or segment, no id."""
    dates: dict[str, object] = {"created_at": at, "updated_at": at}
    if kind == "contact_lists":
        plain = {"name": f"List {number}", "description": "", "favorite": False}
        return plain | dates
    if kind == "contact_tags":
        return {"name": f"Tag {number}", "tag_source": "Contact", **dates}
    if kind == "contact_custom_fields":
        text = f"Field {number}"
        return {
            "label": text,
            "name": text.lower().replace(" ", "_"),
            "type": "string",
            **dates,
        }
    name = f"Segment {number}"
    return {
        "segment_id": number,
        "name": name,
        "created_at": at,
        "edited_at": at,
    }
