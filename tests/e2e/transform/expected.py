"""What the marts must hold, worked out from the streams' rows apart from the SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""Rows as they stand, by stream."""

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
    *("device", "user_agent", "bounce_class"),
)


def instant(value: object) -> datetime | None:
    """Return a time of a record, or of DuckDB, without a zone."""
    if value is None:
        return None
    return datetime.fromisoformat(str(value)).replace(tzinfo=None)


def person(address: str | None) -> str | None:
    return (address or "").strip().lower() or None


def events(rows: Rows) -> dict[str, Row]:
    """Return the events that these rows tell of, by key."""
    found = [*encompass(rows), *constant_contact(rows), *luxsci(rows)]
    by_key = {row["event_key"]: row for row in found}
    assert len(by_key) == len(found)
    return by_key


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
        (row["account"], row["message_id"], row["id"]): row["email_address"]
        for row in rows["encompass_recipients"]
    }
    urls = {
        (row["account"], row["message_id"], row["id"]): row["url"]
        for row in rows["encompass_links"]
    }
    for kind, event_type in ENCOMPASS.items():
        for row in rows[f"encompass_{kind}"]:
            message = (row["account"], row["message_id"])
            yield event(
                f"encompass_{kind}",
                (*message, row["id"]),
                event_type,
                message_key=str(row["message_id"]),
                recipient_key=person(people.get((*message, row["recipient_id"]))),
                occurred_at=instant(row["occurred_at"]),
                recorded_at=instant(row["added_at"]),
                link=urls.get((*message, row.get("link_id"))),
                user_agent=row.get("user_agent"),
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
                occurred_at=instant(row["created_time"]),
                link=row.get("link_url"),
                device=row.get("device_type"),
                bounce_class=BOUNCES.get(code, code) or None,
            )


def luxsci(rows: Rows) -> Iterator[Row]:
    yield from deliveries(
        rows, "delivery_status", ("event_id", "to_address", "status", "date_sent")
    )
    yield from deliveries(
        rows, "marketing_logs", ("log_id", "email", "disposition", "sent")
    )
    for kind, (event_type, date_column, address) in LUXSCI.items():
        for row in rows[f"luxsci_{kind}"]:
            if kind == "suppressions" and not row["sendmail_id"]:
                continue
            who = person(row[address])
            yield event(
                f"luxsci_{kind}",
                (row["account"], row.get("event_id") or row["log_id"]),
                event_type,
                message_key=luxsci_message(row),
                recipient_key=None if who == "redacted" else who,
                occurred_at=instant(row[date_column]) if date_column else None,
                link=row.get("url"),
                user_agent=row.get("user_agent"),
            )


def deliveries(rows: Rows, kind: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield of each delivery that it was sent, and its outcome."""
    key, address, outcome, sent = columns
    for row in rows[f"luxsci_{kind}"]:
        common = {
            "message_key": luxsci_message(row),
            "recipient_key": person(row[address]),
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
    """Return the key of the message; of marketing that is the campaign."""
    if "campaign_id" in row:
        return f"campaign/{row['campaign_id']}" if row["campaign_id"] else None
    found: str | None = row["sendmail_id"]
    return found


def daily(found: Iterable[Row]) -> dict[tuple[Any, ...], tuple[int, int | None]]:
    """Return events and recipients by message, type and day."""
    people: defaultdict[tuple[Any, ...], list[str | None]] = defaultdict(list)
    for row in found:
        if row["message_key"]:
            at = row["occurred_at"]
            message = (row["provider"], row["account"], row["message_key"])
            day = at and at.date().isoformat()
            people[(*message, row["event_type"], day)].append(row["recipient_key"])
    return {
        key: (len(those), len(set(those) - {None}) or None)
        for key, those in people.items()
    }


def engagement(found: Iterable[Row]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return by recipient the count, the first and the last of each type of event."""
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
    """Return the messages by key; those only events tell of have nothing else."""
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
        listed["luxsci", row["account"], row["sendmail_id"]] = {
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
            "bounced_count": row["n_soft_bounce"] + row["n_hard_bounce"],
            "complained_count": row["n_spam"],
        }
    return listed | constant_contact_messages(rows)


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
