"""The expected rows of marts with answers, computed from events without the SQL."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from tests.e2e.transform.expected import Row, Rows, instant, person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


Key = tuple[Any, ...]
SEEDS = Path(__file__).parents[3] / "transform" / "seeds"
SECOND = timedelta(seconds=1)
CC = "constant_contact"
FLAGS = {
    "sent": (CC, "luxsci"),
    "delivered": ("encompass", "luxsci"),
    "bounced": ("encompass", CC, "luxsci"),
    "unsubscribed": (CC, "luxsci"),
    "complained": ("luxsci",),
    "forwarded": (CC,),
}


def seed(name: str) -> list[dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(encoding="utf-8") as lines:
        return [*csv.DictReader(lines)]


APPLE, SCANNERS = (
    tuple(row["prefix"] for row in seed("machine_networks") if row["kind"] == kind)
    for kind in ("apple", "scanner")
)
LARGE = tuple(row["domain"] for row in seed("mailbox_providers"))


def message_of(event: Row) -> Key:
    return (event["provider"], event["account"], event["message_key"])


def pair_of(event: Row) -> Key | None:
    if not event["message_key"] or not event["recipient_id"]:
        return None
    return (*message_of(event), event["recipient_id"])


def grouped(events: Iterable[Row], key: Callable[[Row], Key | None]) -> dict[Key, Any]:
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    for event in events:
        if (name := key(event)) is not None:
            found[name].append(event)
    return dict(found)


# Machines


def judge(events: Mapping[str, Row], rows: Rows) -> None:
    """Set in each event whether a machine made it."""
    for event in events.values():
        event["machine"] = event["machine_rule"] = None
    listed = {
        message: len({link for link in links if link})
        for message, links in links_of(rows).items()
    }
    readings = last_readings(rows)
    for key, theirs in grouped(events.values(), pair_of).items():
        bursts = in_groups(theirs, 2, by_source=True)
        sweeps = in_groups(theirs, 10, by_source=False)
        kind = "delivered" if key[0] == "encompass" else "sent"
        arrived = min(
            (e["occurred_at"] for e in theirs if e["event_type"] == kind), default=None
        )
        for event in theirs:
            if event["event_type"] in ("opened", "clicked"):
                name = event["event_key"]
                links = (bursts.get(name, 0), sweeps.get(name, 0), listed.get(key[:3]))
                found = rule_of(event, arrived, links) or withdrawn(event, readings)
                event["machine"], event["machine_rule"] = found or (None, None)
    for event in events.values():
        if pair_of(event) is None and event["event_type"] in ("opened", "clicked"):
            found = rule_of(event, None, (0, 0, None))
            event["machine"], event["machine_rule"] = found or (None, None)


def rule_of(  # noqa: PLR0911 - a return per rule
    event: Row, arrived: datetime | None, links: tuple[int, int, int | None]
) -> tuple[str, str] | None:
    burst, sweep, listed = links
    source = event["ip_address"] or ""
    agent = (event["user_agent"] or "").strip(" ")
    if event["event_type"] == "opened" and agent in ("Mozilla/5.0", "Mozilla"):
        network = ", network of Apple" if source.startswith(APPLE) else ""
        return "apple_proxy", f"bare user agent{network}"
    if source.startswith(SCANNERS):
        return "scanner_network", "network of a scanner"
    if listed and listed >= 3 and sweep >= listed:
        return "all_links", "every link, 10 s apart at most"
    if burst >= 3:
        return "burst", "3 links or more, 2 s apart at most"
    at = event["occurred_at"]
    if at and arrived and at < arrived:
        return "too_soon", "before the delivery"
    if at and arrived and at < arrived + 10 * SECOND:
        return "too_soon", "less than 10 s after the delivery"
    return None


def in_groups(events: list[Row], seconds: int, *, by_source: bool) -> dict[str, int]:
    """Return the number of links in the group of each click, by click."""
    clicks = [
        event
        for event in events
        if event["event_type"] == "clicked" and event["link"] and event["occurred_at"]
    ]
    clicks.sort(key=lambda event: (event["occurred_at"], event["event_key"]))
    open_groups: dict[str, list[Row]] = {}
    found: dict[str, int] = {}
    for click in clicks:
        source = (click["ip_address"] or "") if by_source else ""
        group = open_groups.get(source, [])
        late = group and (
            click["occurred_at"] - group[-1]["occurred_at"] > seconds * SECOND
        )
        group = [click] if late or not group else [*group, click]
        open_groups[source] = group
        links = len({one["link"] for one in group})
        found |= {one["event_key"]: links for one in group}
    return found


def last_readings(rows: Rows) -> dict[Key, tuple[datetime, set[str]]]:
    """Return the time and the openers of the last reading, by campaign activity."""
    found: dict[Key, tuple[datetime, set[str]]] = {}
    for row in rows[f"{CC}_snapshots"]:
        at = instant(row["as_of"])
        if row["report"] == "unique_opens" and at:
            found[row["account"], row["campaign_activity_id"]] = (at, set())
    for row in rows[f"{CC}_unique_opens"]:
        reading = found.get((row["account"], row["campaign_activity_id"]))
        as_of = instant(row["as_of"])
        if reading and as_of and as_of >= reading[0]:
            reading[1].add(row["contact_id"])
    return found


def withdrawn(event: Row, readings: dict[Key, Any]) -> tuple[str, str] | None:
    reading = readings.get((event["account"], event["message_key"]))
    at = event["occurred_at"]
    if event["event_type"] != "opened" or event["provider"] != CC:
        return None
    who = event["recipient_id"]
    if reading and at and at <= reading[0] and who and who not in reading[1]:
        return "withdrawn", "not in the last unique opens"
    return None


def links_of(rows: Rows) -> dict[Key, list[str]]:
    """Return the links listed by the vendors, by message."""
    found: defaultdict[Key, list[str]] = defaultdict(list)
    for row in rows["encompass_links"]:
        found["encompass", row["account"], str(row["message_id"])].append(row["url"])
    current = {
        (row["account"], row["campaign_activity_id"], row["as_of"])
        for row in rows[f"{CC}_snapshots"]
        if row["report"] == "links"
    }
    for row in rows[f"{CC}_links"]:
        message = (row["account"], row["campaign_activity_id"])
        if (*message, row["as_of"]) in current:
            found[CC, *message].append(row["link_url"])
    for row in rows["luxsci_marketing_urls"]:
        if row["campaign_id"]:
            message = (row["account"], f"campaign/{row['campaign_id']}")
            found["luxsci", *message].append(row["url"])
    return {message: [one for one in links if one] for message, links in found.items()}


# Recipients of messages, and rates


def recipients(events: Iterable[Row]) -> dict[Key, Row]:
    return {
        key: recipient(key[0], theirs)
        for key, theirs in grouped(events, pair_of).items()
    }


def recipient(provider: str, events: list[Row]) -> Row:
    shown: Row = {}
    for name in ("recipient_key", "customer_key", "recipient_domain", "bounce_class"):
        shown[name] = max((e[name] for e in events if e[name]), default=None)
    for kind, providers in FLAGS.items():
        theirs = [e for e in events if e["event_type"] == kind]
        shown[f"is_{kind}"] = bool(theirs) if provider in providers else None
        shown[f"{kind}_at"] = first(theirs)
    for kind, noun in (("opened", "open"), ("clicked", "click")):
        for who in ("", "human_"):
            theirs = [
                e
                for e in events
                if e["event_type"] == kind and not (who and e["machine"])
            ]
            shown[f"{who}{noun}s"] = len(theirs)
            shown[f"first_{who}{noun}_at"] = first(theirs)
            shown[f"last_{who}{noun}_at"] = max(times(theirs), default=None)
    kinds = [hardness(e) for e in events if e["event_type"] == "bounced"]
    shown["bounce_kind"] = min((one for one in kinds if one), default=None)
    arrived = shown["delivered_at"] or shown["sent_at"]
    for who in ("", "human_"):
        shown[f"minutes_to_{who}open"] = minutes(arrived, shown[f"first_{who}open_at"])
    return shown


def times(events: list[Row]) -> list[datetime]:
    return [e["occurred_at"] for e in events if e["occurred_at"]]


def first(events: list[Row]) -> datetime | None:
    return min(times(events), default=None)


def minutes(start: datetime | None, end: datetime | None) -> float | None:
    """Return the minutes between two times cut to whole seconds."""
    if not start or not end:
        return None
    whole = end.replace(microsecond=0) - start.replace(microsecond=0)
    return whole / timedelta(minutes=1)


def hardness(event: Row) -> str | None:
    word = event["bounce_class"] or ""
    if event["provider"] == CC:
        if word in ("nonexistent_address", "suspended"):
            return "hard"
        soft = ("undeliverable", "mailbox_full", "vacation", "blocked")
        return "soft" if word in soft else None
    return next((one for one in ("hard", "soft") if one in word.lower()), None)


def share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def rates(messages: Mapping[Key, Row], pairs: Mapping[Key, Row]) -> dict[Key, Row]:
    """Return the rates of these messages and recipients, by message."""
    by_message: defaultdict[Key, list[Row]] = defaultdict(list)
    for key, row in pairs.items():
        by_message[key[:3]].append(row)
    return {
        key: rate(key[0], row, by_message.get(key)) for key, row in messages.items()
    }


def rate(provider: str, message: Row, pairs: list[Row] | None) -> Row:
    def count(test: Callable[[Row], object]) -> int | None:
        return None if pairs is None else sum(1 for row in pairs if test(row))

    shown: Row = {
        "openers": count(lambda row: row["opens"]),
        "human_openers": count(lambda row: row["human_opens"]),
        "clickers": count(lambda row: row["clicks"]),
        "human_clickers": count(lambda row: row["human_clicks"]),
        "bounced": count(lambda row: row["is_bounced"]),
    }
    for kind, word in (("hard", "hard"), ("soft", "soft"), ("other", None)):
        shown[f"bounced_{kind}"] = count(
            lambda row, word=word: row["is_bounced"] and row["bounce_kind"] == word  # type: ignore[misc]
        )
    sent, delivered = (count(lambda row: row["is_sent"]), message.get("sent_count"))
    sent, delivered = (
        (delivered, count(lambda row: row["is_delivered"]))
        if provider == "encompass"
        else (sent, count(lambda row: row["is_delivered"]))
    )
    if provider == CC:
        delivered = count(lambda row: row["is_sent"] and not row["is_bounced"])
    shown |= {"sent": sent, "delivered": delivered}
    left = count(lambda row: row["is_unsubscribed"])
    shown["unsubscribed"] = None if provider == "encompass" else left
    shown["complained"] = {
        "encompass": None,
        CC: message.get("complained_count"),
        "luxsci": count(lambda row: row["is_complained"]),
    }[provider]
    for name in ("open", "human_open", "click", "human_click"):
        shown[f"{name}_rate"] = share(shown[f"{name}ers"], delivered)
    shown["bounce_rate"] = share(shown["bounced"], sent)
    shown["unsubscribe_rate"] = share(shown["unsubscribed"], delivered)
    shown["complaint_rate"] = share(shown["complained"], delivered)
    return shown


def links(events: Iterable[Row], rows: Rows) -> dict[Key, Row]:
    """Return clicks and the share of all clickers, by message and link."""
    people: defaultdict[Key, list[Row]] = defaultdict(list)
    of_message: defaultdict[tuple[Key, bool], set[str]] = defaultdict(set)
    for message, those in links_of(rows).items():
        people |= {(*message, one): [] for one in those}
    for event in events:
        if event["event_type"] == "clicked" and event["message_key"]:
            who = event["recipient_id"]
            for human in (False, True):
                if who and not (human and event["machine"]):
                    of_message[message_of(event), human].add(who)
            if event["link"]:
                people[(*message_of(event), event["link"])].append(event)
    return {key: link(key[:3], theirs, of_message) for key, theirs in people.items()}


def link(
    message: Key, clicks: list[Row], of_message: dict[tuple[Key, bool], set[str]]
) -> Row:
    shown: Row = {}
    for who, human in (("", False), ("human_", True)):
        theirs = [one for one in clicks if not (human and one["machine"])]
        ids = {one["recipient_id"] for one in theirs} - {None}
        shown[f"{who}clicks"] = len(theirs)
        shown[f"{who}clickers"] = len(ids)
        shown[f"{who}clicker_share"] = share(
            len(ids), len(of_message.get((message, human), ()))
        )
    return shown


# Domains, recipients, lists, hours, cost


def reached(row: Row) -> datetime | None:
    names = ("sent", "delivered", "bounced", "first_open", "first_click")
    return next((row[f"{name}_at"] for name in names if row[f"{name}_at"]), None)


def local(at: datetime | None, zone: str) -> datetime | None:
    utc = ZoneInfo("UTC")
    return at.replace(tzinfo=utc).astimezone(ZoneInfo(zone)) if at else None


def domains(pairs: Mapping[Key, Row], zone: str) -> dict[Key, Row]:
    ids: defaultdict[Key, set[str]] = defaultdict(set)
    for key, row in pairs.items():
        ids[(*key[:2], row["recipient_domain"])].add(key[3])
    weeks: defaultdict[Key, list[Row]] = defaultdict(list)
    for key, row in pairs.items():
        name = row["recipient_domain"] or "not known"
        few = len(ids[(*key[:2], row["recipient_domain"])]) < 20
        if row["recipient_domain"] and few and name not in LARGE:
            name = "other"
        weeks[(*key[:2], name, monday(local(reached(row), zone)))].append(row)
    return {
        key: {
            "delivered": sum(
                1
                for row in rows
                if (
                    row["is_sent"] and not row["is_bounced"]
                    if key[0] == CC
                    else row["is_delivered"]
                )
            ),
            "bounced": sum(1 for row in rows if row["is_bounced"]),
            "openers": sum(1 for row in rows if row["opens"]),
            "human_openers": sum(1 for row in rows if row["human_opens"]),
            "complained": sum(1 for row in rows if row["is_complained"])
            if key[0] == "luxsci"
            else None,
        }
        for key, rows in weeks.items()
    }


def monday(at: datetime | None) -> str | None:
    return (at - timedelta(at.weekday())).date().isoformat() if at else None


def health(pairs: Mapping[Key, Row], rows: Rows) -> dict[Key, Row]:
    """Return the state of each recipient, per account and over all accounts."""
    refused = {
        ("luxsci", row["account"], person(row["email"]))
        for row in rows["luxsci_suppressions"]
        if not row["expires"]
    } | {
        (CC, row["account"], person(row["email_address"]))
        for row in rows[f"{CC}_contacts"]
        if row["email_permission_to_send"] == "unsubscribed"
    }
    refused |= {("all", "all", who) for _, _, who in refused}
    theirs: defaultdict[Key, list[Row]] = defaultdict(list)
    for key, row in pairs.items():
        if who := row["recipient_key"]:
            theirs[(*key[:2], who)].append(row)
            theirs["all", "all", who].append(row)
    return {key: state(found, key in refused) for key, found in theirs.items()}


def state(pairs: list[Row], is_suppressed: bool) -> Row:  # noqa: FBT001
    names = ("last_human_open_at", "last_human_click_at")
    last = {n: max((r[n] for r in pairs if r[n]), default=None) for n in names}
    reaches = [at for row in pairs if (at := reached(row))]
    shown: Row = {
        "messages": len(pairs),
        "first_message_at": min(reaches, default=None),
        "last_message_at": max(reaches, default=None),
        **last,
        "hard_bounces": sum(
            1 for row in pairs if row["is_bounced"] and row["bounce_kind"] == "hard"
        ),
        "has_complained": any(row["is_complained"] for row in pairs),
        "has_unsubscribed": any(row["is_unsubscribed"] for row in pairs),
        "is_suppressed": is_suppressed,
    }
    active = [at for at in last.values() if at]
    shown["silent_since"] = max(active, default=shown["first_message_at"])
    return shown


def stop_reason(row: Row) -> str | None:
    """Return the reason why a recipient no longer gets mail, if any."""
    if row["has_complained"]:
        return "complained"
    if row["is_suppressed"]:
        return "suppressed"
    if row["has_unsubscribed"]:
        return "unsubscribed"
    if row["hard_bounces"]:
        return "hard bounce"
    silent = row["months_silent"] is not None and float(row["months_silent"]) >= 12
    return "silent" if silent else None


def lists(rows: Rows, zone: str) -> dict[Key, tuple[int, int]]:
    """Return how many people joined and departed, by account and day."""
    joined: defaultdict[Key, list[str]] = defaultdict(list)
    departed: defaultdict[Key, list[str]] = defaultdict(list)

    def note(where: defaultdict[Key, list[str]], who: Key, value: object) -> None:
        if (at := instant(value)) and who[2]:
            where[who].append(day(at, zone))

    for row in rows[f"{CC}_contacts"]:
        who = (CC, row["account"], row["contact_id"])
        note(joined, who, row["created_at"])
        note(departed, who, row["email_opt_out_date"])
        if row["deleted_at"]:
            departed[who].append(row["deleted_at"])
    for row in rows[f"{CC}_optouts"]:
        note(departed, (CC, row["account"], row["contact_id"]), row["created_time"])
    for row in rows["luxsci_marketing_contacts"]:
        note(joined, ("luxsci", row["account"], person(row["email"])), row["created"])
    for stream, column in (
        ("marketing_unsubscribes", "unsubscribed_date"),
        ("suppressions", "added"),
    ):
        for row in rows[f"luxsci_{stream}"]:
            who = ("luxsci", row["account"], person(row["email"]))
            note(departed, who, row[column])
    ins, outs = (
        Counter((*who[:2], min(days)) for who, days in theirs.items())
        for theirs in (joined, departed)
    )
    return {key: (ins[key], outs[key]) for key in {*ins, *outs}}


def day(at: datetime, zone: str) -> str:
    found = local(at, zone)
    assert found
    return found.date().isoformat()


def hours(events: Iterable[Row], zone: str) -> dict[Key, tuple[int, ...]]:
    """Return opens, human opens, clicks, human clicks by account, weekday and hour."""
    found: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for event in events:
        at = local(event["occurred_at"], zone)
        if at and event["event_type"] in ("opened", "clicked"):
            place = 2 * (event["event_type"] == "clicked")
            where = (event["provider"], event["account"], at.isoweekday(), at.hour)
            found[where][place] += 1
            found[where][place + 1] += not event["machine"]
    return {key: tuple(counts) for key, counts in found.items()}
