"""The expected rows of the marts, computed from the rows of streams without the SQL."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""Present rows by stream."""

ENCOMPASS = {
    "delivers": "delivered",
    "opens": "opened",
    "clicks": "clicked",
    "bounces": "bounced",
}
CONSTANT_CONTACT = {
    "sends": "sent",
    "opens": "opened",
    "clicks": "clicked",
    "bounces": "bounced",
    "optouts": "unsubscribed",
    "forwards": "forwarded",
}
LUXSCI = {
    "opens": ("opened", "open_date", "to_address"),
    "clicks": ("clicked", "click_date", "to_address"),
    "complaints": ("complained", "complaint_date", "to_address"),
    "suppressions": ("unsubscribed", "added", "email"),
    "marketing_opens": ("opened", "open_date", "email"),
    "marketing_clicks": ("clicked", "click_date", "email"),
    "marketing_complaints": ("complained", None, "email"),
    "marketing_unsubscribes": ("unsubscribed", "unsubscribed_date", "email"),
}
OUTCOMES = {
    "Delivered": ("delivered", None),
    "Failed": ("bounced", "hard"),
    "Post-Delivery Hard Fail": ("bounced", "hard"),
    "Soft Bounce": ("bounced", "soft"),
    "delivered": ("delivered", None),
    "soft_bounce": ("bounced", "soft"),
    "hard_bounce": ("bounced", "hard"),
}
BOUNCES = {
    "B": "nonexistent_address",
    "D": "undeliverable",
    "F": "mailbox_full",
    "S": "suspended",
    "V": "vacation",
    "X": "other",
    "Z": "blocked",
}
CC = "constant_contact_"
COUNTERS = {
    "sent_count": "em_sends",
    "opened_count": "em_opens_all",
    "opened_unique_count": "em_opens",
    "clicked_count": "em_clicks_all",
    "clicked_unique_count": "em_clicks",
    "bounced_count": "em_bounces",
    "unsubscribed_count": "em_optouts",
    "complained_count": "em_abuse",
    "forwarded_count": "em_forwards",
}
TYPES = (
    *("sent", "delivered", "opened", "clicked"),
    *("bounced", "unsubscribed", "complained", "forwarded"),
)
EVENT = (
    *("message_key", "recipient_key", "occurred_at", "recorded_at", "link"),
    *("device", "user_agent", "bounce_class", "recipient_id", "customer_key"),
    *("ip_address", "recipient_domain"),
)
#: Columns that must agree, besides email and recipient, for rows to be one event.
ALIKE = {
    "delivery_status": ("date_sent",),
    "opens": ("open_date", "opener_ip", "user_agent"),
    "clicks": ("click_date", "url", "clicker_ip"),
}


def instant(value: object) -> datetime | None:
    """Return a time of a record or of DuckDB as a datetime without a zone."""
    if value is None:
        return None
    return datetime.fromisoformat(str(value)).replace(tzinfo=None)


def text(value: object) -> str | None:
    return None if value is None else str(value)


def person(address: str | None) -> str | None:
    return (address or "").strip().lower() or None


def events(rows: Rows) -> dict[str, Row]:
    """Return the events of these rows by key."""
    found = [*encompass(rows), *constant_contact(rows), *luxsci(rows)]
    by_key = {row["event_key"]: row for row in found}
    assert len(by_key) == len(found)
    return by_key


def domain(key: str | None, named: str | None) -> str | None:
    """Return the domain of an address; of a hash, the domain that the tap emitted."""
    if key and "@" in key:
        return key.rpartition("@")[2]
    return key if key and "." in key else named


def event(stream: str, key: tuple[object, ...], event_type: str, **facts: Any) -> Row:
    providers = ("encompass", "constant_contact", "luxsci")
    return {
        **dict.fromkeys(EVENT),
        "event_key": "/".join(map(str, (stream, *key))),
        "provider": next(name for name in providers if stream.startswith(name)),
        "account": key[0],
        "event_type": event_type,
        "stream": stream,
        **facts,
    }


def encompass(rows: Rows) -> Iterator[Row]:
    people = {
        (row["account"], row["message_id"], row["id"]): row
        for row in rows["encompass_recipients"]
    }
    urls = {
        (row["account"], row["message_id"], row["id"]): row["url"]
        for row in rows["encompass_links"]
    }
    for kind, event_type in ENCOMPASS.items():
        for row in rows[f"encompass_{kind}"]:
            message = (row["account"], row["message_id"])
            who = people.get((*message, row["recipient_id"]), {})
            yield event(
                f"encompass_{kind}",
                (*message, row["id"]),
                event_type,
                message_key=str(row["message_id"]),
                recipient_key=person(who.get("email_address")),
                recipient_domain=domain(
                    person(who.get("email_address")), who.get("recipient_domain")
                ),
                recipient_id=text(row["recipient_id"]),
                customer_key=who.get("constituent_id") or None,
                occurred_at=instant(row["occurred_at"]),
                recorded_at=instant(row["added_at"]),
                link=urls.get((*message, row.get("link_id"))),
                user_agent=row.get("user_agent"),
                ip_address=row.get("ip_address"),
                bounce_class=row.get("type") or None,
            )


def constant_contact(rows: Rows) -> Iterator[Row]:
    for kind, event_type in CONSTANT_CONTACT.items():
        for row in rows[f"constant_contact_{kind}"]:
            code = row.get("bounce_code") or ""
            yield event(
                f"constant_contact_{kind}",
                (row["account"], row["event_id"]),
                event_type,
                message_key=row["campaign_activity_id"],
                recipient_key=person(row["email_address"]),
                recipient_domain=domain(
                    person(row["email_address"]), row["recipient_domain"]
                ),
                recipient_id=row["contact_id"],
                customer_key=row["contact_id"],
                occurred_at=instant(row["created_time"]),
                link=row.get("link_url"),
                device=row.get("device_type"),
                bounce_class=BOUNCES.get(code, code) or None,
            )


def luxsci(rows: Rows) -> Iterator[Row]:
    emails = {kind: once(rows[f"luxsci_{kind}"], kind) for kind in ALIKE}
    yield from deliveries(
        "delivery_status",
        emails["delivery_status"],
        ("key", "to_address", "status", "date_sent"),
    )
    yield from deliveries(
        "marketing_logs",
        rows["luxsci_marketing_logs"],
        ("log_id", "email", "disposition", "sent"),
    )
    for kind, (event_type, date_column, address) in LUXSCI.items():
        for row in emails.get(kind, rows[f"luxsci_{kind}"]):
            if kind == "suppressions" and not luxsci_message(row):
                continue
            who = person(row[address])
            yield event(
                f"luxsci_{kind}",
                (
                    row["account"],
                    row.get("key") or row.get("event_id") or row["log_id"],
                ),
                event_type,
                message_key=luxsci_message(row),
                occurred_at=instant(row[date_column]) if date_column else None,
                link=row.get("url"),
                user_agent=row.get("user_agent"),
                ip_address=row.get("opener_ip")
                or row.get("clicker_ip")
                or row.get("ip_address"),
                **luxsci_person(row, None if who == "redacted" else who),
            )


def once(rows: list[Row], kind: str) -> list[Row]:
    """Return rows of emails, each event once though several channels show it."""
    alike: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        email = luxsci_message(row) or row["event_id"]
        values = (sql_text(row[name]) for name in ALIKE[kind])
        parts = [email, person(row["to_address"]) or "", *values]
        digest = hashlib.md5("|".join(parts).encode()).hexdigest()  # noqa: S324 - no secret
        alike[row["account"], digest, row["channel"]].append(row)
    found: dict[tuple[str, str], Row] = {}
    for (account, digest, _), those in sorted(alike.items(), key=lambda one: one[0]):
        those.sort(key=lambda row: row["event_id"])
        for number, row in enumerate(those, 1):
            key = f"{digest}-{number}"
            found.setdefault((account, key), {**row, "key": key})
    return [*found.values()]


def sql_text(value: str | None) -> str:
    """Return a text or a time as SQL casts it to text."""
    if not value or not value.endswith("Z") or value[4:5] != "-":
        return value or ""
    at = instant(value)
    assert at
    return f"{at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")


def luxsci_person(row: Row, who: str | None) -> Row:
    """Return the recipient of a row; contacts of Secure Marketing have ids."""
    contact = text(row.get("contact_id"))
    login = row.get("login") if "campaign_id" in row else row.get("user_login")
    return {
        "recipient_key": who,
        "recipient_domain": domain(who, row["recipient_domain"]),
        "recipient_id": (contact if "campaign_id" in row else None) or who,
        "customer_key": (login or "").strip(" ") or None,
    }


def deliveries(kind: str, rows: list[Row], columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield for each delivery the event that it was sent, and its outcome."""
    key, address, outcome, sent = columns
    for row in rows:
        common = {
            "message_key": luxsci_message(row),
            **luxsci_person(row, person(row[address])),
        }
        own = (row["account"], row[key])
        at = instant(row[sent])
        yield event(f"luxsci_{kind}", (*own, "sent"), "sent", occurred_at=at, **common)
        if row[outcome] in OUTCOMES:
            event_type, bounce_class = OUTCOMES[row[outcome]]
            yield event(
                f"luxsci_{kind}",
                (*own, "outcome"),
                event_type,
                occurred_at=instant(row["delivery_status_updated"]),
                bounce_class=bounce_class,
                **common,
            )


def luxsci_message(row: Row) -> str | None:
    """Return the key of the message; for marketing emails this is the campaign."""
    if "campaign_id" in row:
        return f"campaign/{row['campaign_id']}" if row["campaign_id"] else None
    return (row["sendmail_id"] or "").strip(" ") or None


def daily(
    found: Iterable[Row], zone: str
) -> dict[tuple[Any, ...], tuple[int, int, int | None]]:
    """Return counts of events, human events and recipients by message, type and day."""
    theirs: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in found:
        if row["message_key"]:
            at = row["occurred_at"]
            at = at and at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
            message = (row["provider"], row["account"], row["message_key"])
            day = at and at.date().isoformat()
            theirs[(*message, row["event_type"], day)].append(row)
    return {
        key: (
            len(rows),
            sum(1 for row in rows if not row["machine"]),
            len({row["recipient_key"] for row in rows} - {None}) or None,
        )
        for key, rows in theirs.items()
    }


def engagement(found: Iterable[Row]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the count, first and last event of each type by recipient."""
    theirs: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in found:
        if row["recipient_key"]:
            who = (row["provider"], row["account"], row["recipient_key"])
            theirs[who].append(row)
    return {who: activity(rows) for who, rows in theirs.items()}


def activity(rows: list[Row]) -> dict[str, Any]:
    counts = Counter(row["event_type"] for row in rows)
    shown: dict[str, Any] = {
        "event_count": len(rows),
        "message_count": len({row["message_key"] for row in rows} - {None}),
    }
    for event_type in TYPES:
        times = [
            row["occurred_at"]
            for row in rows
            if row["event_type"] == event_type and row["occurred_at"]
        ]
        shown[f"{event_type}_count"] = counts[event_type]
        shown[f"first_{event_type}_at"] = min(times, default=None)
        shown[f"last_{event_type}_at"] = max(times, default=None)
    return shown


def messages(rows: Rows, found: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
    """Return the messages by key; a message known only by its events has no more."""
    listed: dict[tuple[Any, ...], Row] = {}
    for row in found:
        if row["message_key"]:
            listed[row["provider"], row["account"], row["message_key"]] = {}
    for row in rows["encompass_messages"]:
        listed["encompass", row["account"], str(row["id"])] = {
            "name": row["email_name"],
            "subject": row["subject_line"],
            "sender": row["from_address"],
            "sent_at": instant(row["sent_at"]),
            "sent_count": row["sent_count"],
        }
    for row in rows["luxsci_sent"]:
        if not (key := luxsci_message(row)):
            continue
        listed["luxsci", row["account"], key] = {
            "sender": row["from_address"],
            "sent_at": instant(row["date_sent"]),
            "sent_count": row["n_recipients"],
        }
    for row in rows["luxsci_marketing_campaigns"]:
        listed["luxsci", row["account"], str(luxsci_message(row))] = {
            "campaign_key": str(row["campaign_id"]),
            "name": row["title"],
            "sent_at": instant(row["send_started_at"]),
            "sent_count": row["n_sent"],
            "delivered_count": row["n_delivered"],
            "opened_count": row["n_opened_total"],
            "opened_unique_count": row["n_opened_unique"],
            "clicked_count": row["n_clicked_total"],
            "clicked_unique_count": row["n_clicked_unique"],
            "bounced_count": known_sum(row["n_soft_bounce"], row["n_hard_bounce"]),
            "complained_count": row["n_spam"],
        }
    return listed | constant_contact_messages(rows)


def known_sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def constant_contact_messages(rows: Rows) -> dict[tuple[Any, ...], Row]:
    names = {row["campaign_id"]: row["name"] for row in rows[f"{CC}campaigns"]}
    sent: defaultdict[str, list[datetime]] = defaultdict(list)
    for row in rows[f"{CC}send_history"]:
        if at := instant(row["run_date"]):
            sent[row["campaign_activity_id"]].append(at)
    listed: dict[tuple[Any, ...], Row] = {}
    for row in rows[f"{CC}campaign_activities"]:
        if row["role"] in ("primary_email", "resend"):
            key = ("constant_contact", row["account"], row["campaign_activity_id"])
            listed[key] = {"subject": row["subject"], "sender": row["from_email"]}
            listed[key]["campaign_key"] = row["campaign_id"]
    for row in rows[f"{CC}campaign_activity_stats"]:
        key = ("constant_contact", row["account"], row["campaign_activity_id"])
        listed[key] = listed.get(key, {}) | {
            column: row[counter] for column, counter in COUNTERS.items()
        }
        listed[key]["campaign_key"] = row["campaign_id"]
        listed[key]["counted_at"] = instant(row["last_refresh_time"])
    for key, shown in listed.items():
        shown["name"] = names.get(shown["campaign_key"])
        shown["sent_at"] = min(sent[key[2]], default=None)
    return listed
