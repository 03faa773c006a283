"""The rows that a complete reading of Constant Contact gives, computed without the tap.

Contacts are read with `status=all` and CONTACT_INCLUDES, lists with
`include_membership_count=all` and `status=all`, tags with `include_count=true`, links
with `no_clicks=true`, the account and activities without extra fields, and contact
reports from 1970 on. `as_of` of a snapshot is the latest instant that shows the row.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.constant_contact.events import EVENT_KINDS, stamp
from simulator.constant_contact.metadata import Metadata, activity_row, contact_row
from simulator.constant_contact.reports import UNIQUE_COUNTS, Reports
from simulator.values import (
    clean,
    to_boolean,
    to_date,
    to_instant,
    to_integer,
    to_number,
    to_object,
    to_objects,
    to_recipient_domain,
    to_string,
    to_strings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from simulator.constant_contact.events import Activity, Event
    from simulator.constant_contact.facts import Facts

    Convert = Callable[[object], object]
    Record = dict[str, object]
    Raw = dict[str, Any]

PREFIX = "constant_contact_"
CONTACT_INCLUDES = frozenset({"custom_fields", "list_memberships", "taggings"})
IDENTITY = (
    *("campaign_activity_id", "contact_id", "tracking_activity_type"),
    *("created_time", "url_id"),
)
"""The fields of which an `event_id` is made in every event stream."""
_EPOCH = 0.0


@dataclass(frozen=True)
class _Column:
    name: str
    source: str
    """Name of the vendor's field, with a dot between a group and its field."""
    convert: Convert


def _all(
    convert: Convert, names: str, source: str = "", target: str = ""
) -> list[_Column]:
    return [
        _Column(f"{target}{name}", f"{source}{name}", convert) for name in names.split()
    ]


def _texts(names: str) -> list[_Column]:
    return _all(to_string, names)


def _ints(names: str) -> list[_Column]:
    return _all(to_integer, names)


def _times(names: str) -> list[_Column]:
    return _all(to_instant, names)


_PERSON = _texts("email_address first_name last_name")
_WHEN = [*_times("created_time"), *_all(to_date, "deleted_at")]
_EVENT = _texts("campaign_activity_id contact_id tracking_activity_type")
_REFRESHED = _times("last_refresh_time")
_COUNTERS = (
    "em_sends em_opens em_opens_all em_opens_all_computer em_opens_all_mobile"
    " em_opens_all_tablet em_opens_all_other em_opens_all_none em_not_opened em_clicks"
    " em_clicks_all em_clicks_all_computer em_clicks_all_mobile em_clicks_all_tablet"
    " em_clicks_all_other em_clicks_all_none em_forwards em_optouts em_bounces"
)
_BOUNCE_COUNTERS = (
    "em_bounces_blocked em_bounces_mailbox_full em_bounces_nonexistent_address"
    " em_bounces_other em_bounces_suspended em_bounces_undeliverable"
    " em_bounces_vacation em_abuse"
)
_PERCENTS = (
    "open did_not_open desktop_open mobile_open click desktop_click mobile_click bounce"
    " unsubscribe"
)
_DATES = _times("created_at updated_at")
_DATES_AND_DELETED = [*_DATES, *_all(to_date, "deleted_at")]
_SENT_TO = _all(to_strings, "contact_list_ids segment_ids")
_COLUMNS: dict[str, list[_Column]] = {
    "campaign_summaries": [
        *_texts("campaign_id campaign_type"),
        *_times("last_sent_date"),
        *_all(to_integer, " ".join(UNIQUE_COUNTS), "unique_counts."),
    ],
    "campaign_stats": [
        *_texts("campaign_id"),
        *_all(to_integer, _COUNTERS, "stats."),
        *_all(to_number, _PERCENTS, "percents.", "percent_"),
        *_REFRESHED,
    ],
    "campaign_activity_stats": [
        *_texts("campaign_activity_id campaign_id"),
        *_ints("campaign_activity_type"),
        *_all(to_integer, f"{_COUNTERS} {_BOUNCE_COUNTERS}", "stats."),
        *_REFRESHED,
    ],
    "sends": [*_EVENT, *_PERSON, *_WHEN],
    "opens": [*_EVENT, *_texts("device_type"), *_PERSON, *_WHEN],
    "unique_opens": [*_EVENT, *_texts("device_type"), *_PERSON, *_WHEN],
    "did_not_opens": [*_EVENT, *_PERSON, *_WHEN],
    "forwards": [*_EVENT, *_PERSON, *_WHEN],
    "clicks": [*_EVENT, *_texts("url_id link_url device_type"), *_PERSON, *_WHEN],
    "optouts": [*_EVENT, *_texts("opt_out_reason"), *_PERSON, *_WHEN],
    "bounces": [
        *_EVENT,
        *_texts("bounce_code email_address current_email_address first_name last_name"),
        *_WHEN,
    ],
    "links": [
        *_texts("url_id link_url"),
        *_ints("unique_clicks"),
        *_texts("list_action list_id link_tag"),
    ],
    "campaigns": [
        *_texts("campaign_id name type"),
        *_ints("type_code"),
        *_texts("current_status"),
        *_DATES,
    ],
    "campaign_activities": [
        *_texts("campaign_activity_id campaign_id role current_status"),
        *_ints("format_type"),
        *_texts("from_email from_name reply_to_email subject preheader"),
        *_SENT_TO,
        *_texts("document_id permalink_url html_content"),
        *_all(to_object, "physical_address_in_footer document_properties"),
    ],
    "send_history": [
        *_texts("send_id"),
        *_SENT_TO,
        *_ints("count"),
        *_times("run_date"),
        *_texts("send_status"),
        *_ints("reason_code"),
    ],
    "contacts": [
        *_texts("contact_id"),
        _Column("email_address", "email_address.address", to_string),
        *_all(
            to_string,
            "permission_to_send confirm_status opt_in_source",
            "email_address.",
            "email_",
        ),
        *_all(to_instant, "opt_in_date", "email_address.", "email_"),
        *_all(to_string, "opt_out_source", "email_address.", "email_"),
        *_all(to_instant, "opt_out_date", "email_address.", "email_"),
        *_all(to_string, "opt_out_reason", "email_address.", "email_"),
        *_all(to_instant, "created_at updated_at", "email_address.", "email_"),
        *_texts("first_name last_name job_title company_name"),
        *_ints("birthday_month birthday_day"),
        *_texts("anniversary create_source update_source"),
        *_DATES_AND_DELETED,
        *_all(to_strings, "list_memberships taggings"),
        *_all(to_objects, "custom_fields phone_numbers street_addresses notes"),
        *_all(to_object, "sms_channel"),
    ],
    "contact_lists": [
        *_texts("list_id name description"),
        *_all(to_boolean, "favorite"),
        *_ints("membership_count"),
        *_DATES,
        *_times("deleted_at"),
    ],
    "contact_tags": [
        *_texts("tag_id name tag_source"),
        *_ints("contacts_count"),
        *_DATES,
    ],
    "contact_custom_fields": [
        *_texts("custom_field_id label name type"),
        *_ints("version"),
        *_all(to_object, "metadata"),
        *_all(to_objects, "choices"),
        *_DATES,
    ],
    "segments": [*_texts("segment_id name"), *_times("created_at edited_at")],
    "account": [
        *_texts("encoded_account_id encoded_partner_id organization_name"),
        *_texts("organization_phone website first_name last_name contact_email"),
        *_texts("contact_phone country_code state_code time_zone_id"),
        *_all(to_object, "physical_address company_logo"),
    ],
    "contact_activity_details": [
        *_texts("contact_id campaign_activity_id campaign_activity_name"),
        *_texts("tracking_activity_type"),
        *_times("created_time"),
    ],
    "contact_activity_summary": [
        *_texts("campaign_activity_id"),
        *_times("start_on"),
        *_ints("em_sends em_opens em_clicks em_forwards em_bounces em_unsubscribes"),
    ],
    "contact_open_and_click_rates": [
        *_texts("contact_id"),
        *_ints("included_activities_count"),
        *_all(to_number, "average_open_rate average_click_rate"),
    ],
}
SNAPSHOTS = {
    "unique_opens": "unique_opens",
    "did_not_opens": "didnotopens",
    "links": "links",
}
"""Streams of item lists, with the vendor's names."""
_BY_EVENT = (*EVENT_KINDS, "contact_activity_details")
KEYS: dict[str, tuple[str, ...]] = {
    f"{PREFIX}{name}": ("account", *key)
    for name, key in {
        "campaign_summaries": ("campaign_id",),
        "campaign_stats": ("campaign_id",),
        "campaign_activity_stats": ("campaign_activity_id",),
        **dict.fromkeys(EVENT_KINDS, ("event_id",)),
        "unique_opens": ("campaign_activity_id", "contact_id"),
        "did_not_opens": ("campaign_activity_id", "contact_id"),
        "links": ("campaign_activity_id", "url_id"),
        "snapshots": ("report", "campaign_activity_id"),
        "campaigns": ("campaign_id",),
        "campaign_activities": ("campaign_activity_id",),
        "send_history": ("campaign_activity_id", "send_id"),
        "contacts": ("contact_id",),
        "contact_lists": ("list_id",),
        "contact_tags": ("tag_id",),
        "contact_custom_fields": ("custom_field_id",),
        "segments": ("segment_id",),
        "account": (),
        "contact_activity_details": ("contact_id", "campaign_activity_id", "event_id"),
        "contact_activity_summary": ("contact_id", "campaign_activity_id"),
        "contact_open_and_click_rates": ("contact_id",),
    }.items()
}
"""Streams and their keys."""
STREAMS = tuple(KEYS)


def columns(stream: str) -> list[tuple[str, str | None]]:
    """Return (column, vendor's name) of the columns of a stream, in order."""
    name = stream.removeprefix(PREFIX)
    return [(column.name, column.source) for column in _COLUMNS.get(name, ())]


def truth(
    world: Facts, stream: str, instants: Sequence[float], account: str | None
) -> list[Record]:
    """Return every row that the API shows at any of the instants, sorted by key.

    Instants are UTC seconds, ascending. A row has the values of the latest instant at
    which it is shown.
    """
    name = stream.removeprefix(PREFIX)
    reader = _Reader(world, world.client_id if account is None else account)
    if name in _BY_EVENT:
        found = reader.events(stream, instants)
    else:
        found = (row for at in instants for row in reader.rows(name, at))
    key = KEYS[stream]
    latest = {tuple(record[part] for part in key): record for record in found}
    return [latest[part] for part in sorted(latest, key=repr)]


class _Reader:
    def __init__(self, world: Facts, account: str) -> None:
        self._world = world
        self._account = account
        self._reports = Reports(world)
        self._metadata = Metadata(world)
        self._plain: dict[str, Callable[[float], Iterable[Raw]]] = {
            "campaign_summaries": self._summaries,
            "campaign_stats": self._campaign_stats,
            "campaign_activity_stats": self._activity_stats,
            "unique_opens": self._unique_opens,
            "did_not_opens": self._did_not_opens,
            "campaigns": self._campaigns,
            "campaign_activities": self._activities,
            "account": self._summary,
            "contact_open_and_click_rates": self._rates,
        }

    # Rows at one instant

    def rows(self, name: str, at: float) -> Iterator[Record]:
        """Yield the records of a stream at an instant."""
        if name == "snapshots":
            yield from self._readings(at)
            return
        last: Record = {"as_of": stamp(at)} if name in SNAPSHOTS else {}
        for path, raw in self._raw(name, at):
            yield self._record(name, path, raw, last)

    def _record(
        self, name: str, path: Record, raw: Raw, last: Record | None = None
    ) -> Record:
        shaped = _shape(_COLUMNS[name], raw)
        extra = {"additional_fields": shaped.pop("additional_fields")}
        return {"account": self._account, **path, **shaped, **(last or {}), **extra}

    def _raw(self, name: str, at: float) -> Iterator[tuple[Record, Raw]]:
        """Yield (columns from the path, row of the vendor)."""
        path: Record
        if name == "contact_activity_summary":
            for contact_id, _ in self._world.shown("contacts", at):
                path = {"contact_id": contact_id}
                for raw in self._reports.summaries_of(contact_id, _EPOCH, at, at):
                    yield path, raw
        elif name in ("links", "send_history"):
            of_all = self._sent if name == "links" else self._present
            for activity in of_all(at):
                path = {"campaign_activity_id": activity.activity_id}
                for raw in self._listed(name, activity, at):
                    yield path, raw
        else:
            plain = self._plain.get(name)
            for raw in plain(at) if plain else self._catalog(name, at):
                yield {}, raw

    def _listed(self, name: str, activity: Activity, at: float) -> list[Raw]:
        """Return the rows of a snapshot or of the send history of an activity."""
        if name == "send_history":
            return self._world.history(activity, at)
        if name == "links":
            return activity.link_rows(at, no_clicks=True)
        return [self._row(one, at) for one in activity.report(SNAPSHOTS[name], at)]

    def _summaries(self, at: float) -> Iterator[Raw]:
        for sent, campaign in self._world.sent_campaigns(at):
            if counters := self._world.campaign_counters(campaign, at):
                yield self._reports.summary_row(sent, campaign, counters, at)

    def _campaign_stats(self, at: float) -> Iterator[Raw]:
        for _, campaign in self._world.sent_campaigns(at):
            if row := self._reports.campaign_stats_row(campaign.campaign_id, at):
                yield row

    def _activity_stats(self, at: float) -> Iterator[Raw]:
        for activity in self._sent(at):
            if row := self._reports.activity_stats_row(activity.activity_id, at):
                yield row

    def _unique_opens(self, at: float) -> Iterator[Raw]:
        for activity in self._sent(at):
            yield from self._listed("unique_opens", activity, at)

    def _did_not_opens(self, at: float) -> Iterator[Raw]:
        for activity in self._sent(at):
            yield from self._listed("did_not_opens", activity, at)

    def _campaigns(self, at: float) -> Iterator[Raw]:
        for campaign in self._world.campaigns.values():
            if campaign.row.is_shown(at):
                yield campaign.row.fields(at)

    def _activities(self, at: float) -> Iterator[Raw]:
        for activity in self._present(at):
            yield activity_row(activity, at, set())

    def _summary(self, at: float) -> Iterator[Raw]:
        yield self._metadata.account_row(at, set())

    def _rates(self, at: float) -> Iterator[Raw]:
        for contact_id, _ in self._world.shown("contacts", at):
            yield self._reports.rates_of(contact_id, _EPOCH, at, at)

    def _catalog(self, name: str, at: float) -> Iterator[Raw]:
        for item_id, row in self._world.shown(name, at):
            match name:
                case "contacts":
                    yield contact_row(row, at, set(CONTACT_INCLUDES))
                case "contact_lists":
                    yield self._metadata.list_row(item_id, row, at, "all")
                case "contact_tags":
                    yield self._metadata.tag_row(item_id, row, at, counted=True)
                case _:
                    yield row.fields(at)

    def _present(self, at: float) -> Iterator[Activity]:
        """Yield the activities whose endpoint answers."""
        for activity in self._world.activities.values():
            campaign = self._world.campaigns[activity.campaign_id]
            if activity.row.is_shown(at) and at < campaign.removed_at:
                yield activity

    def _sent(self, at: float) -> Iterator[Activity]:
        """Yield the activities that have reports."""
        for activity in self._world.activities.values():
            known = self._world.reported_activity(activity.activity_id, at)
            if known and activity.sent(at) is not None:
                yield activity

    def _read(self, at: float) -> Iterator[Activity]:
        """Yield the activities of sent campaigns, including unsent resends."""
        for _, campaign in self._world.sent_campaigns(at):
            for activity in campaign.activities:
                if self._world.reported_activity(activity.activity_id, at):
                    yield activity

    def _readings(self, at: float) -> Iterator[Record]:
        for name in SNAPSHOTS:
            for activity in self._read(at):
                sent = activity.sent(at) is not None
                yield {
                    "account": self._account,
                    "report": name,
                    "campaign_activity_id": activity.activity_id,
                    "as_of": stamp(at),
                    "rows": len(self._listed(name, activity, at)) if sent else 0,
                }

    def _row(self, event: Event, at: float) -> Raw:
        deleted = self._world.deleted_at(event.contact_id, at)
        return event.row(self._world.policy.time_format, deleted)

    # Events

    def events(self, stream: str, instants: Sequence[float]) -> Iterator[Record]:
        """Yield the records of an event stream; a later record of equal key wins."""
        name = stream.removeprefix(PREFIX)
        for events in self._event_lists(name):
            groups: defaultdict[tuple[object, ...], list[Event]] = defaultdict(list)
            last: dict[int, Record] = {}
            for event in events:
                at = self._last_shown(event, instants)
                if at is not None:
                    record = last[event.serial] = self._event(name, event, at)
                    groups[_identity(record)].append(event)
            for identity, group in groups.items():
                if len(group) == 1:
                    record = last[group[0].serial]
                    yield self._identified(stream, record, identity, 0)
                else:
                    yield from self._equal(stream, identity, group, instants)

    def _event_lists(self, name: str) -> Iterator[list[Event]]:
        """Yield the events of each list in the order of the API."""
        if name in EVENT_KINDS:
            for activity in self._world.activities.values():
                yield activity.lists[name].events
            return
        for contact_id in self._world.catalogs["contacts"]:
            events = self._world.events_of(contact_id)
            listed = [event for event in events if event.kind in EVENT_KINDS]
            yield sorted(listed, key=_place)

    def _equal(
        self,
        stream: str,
        identity: tuple[object, ...],
        group: list[Event],
        instants: Sequence[float],
    ) -> Iterator[Record]:
        """Yield equal events, which only their position in the list distinguishes."""
        name = stream.removeprefix(PREFIX)
        for at in instants:
            shown = (one for one in group if self._last_shown(one, [at]) is not None)
            for turn, event in enumerate(shown):
                record = self._event(name, event, at)
                yield self._identified(stream, record, identity, turn)

    def _last_shown(self, event: Event, instants: Sequence[float]) -> float | None:
        """Return the latest of the instants at which an event is listed, or None."""
        world = self._world
        activity = world.activities[event.activity_id]
        if not activity.sends or not activity.reports:
            return None
        campaign = world.campaigns[activity.campaign_id]
        start = max(event.visible_from, activity.sends[0], activity.row.visible_from)
        end = event.removed_at
        if not world.policy.removed_reported:
            end = min(end, campaign.removed_at)
        latest = bisect_left(instants, end) - 1
        if latest < 0 or instants[latest] < start:
            return None
        return instants[latest]

    def _event(self, name: str, event: Event, at: float) -> Record:
        if name in EVENT_KINDS:
            return self._record(name, {}, self._row(event, at))
        return self._record(name, {}, self._reports.detail_row(event, at, names=True))

    def _identified(
        self, stream: str, record: Record, identity: tuple[object, ...], turn: int
    ) -> Record:
        parts = [self._account, stream, *identity, turn]
        text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        event_id = hashlib.sha256(text.encode()).hexdigest()[:32]
        return {"account": record["account"], "event_id": event_id, **record}


def _identity(record: Record) -> tuple[object, ...]:
    return tuple(record.get(name) for name in IDENTITY)


def _place(event: Event) -> tuple[float, int]:
    return event.place


def _shape(columns: list[_Column], raw: Raw) -> Record:
    """Return a row of the vendor as the columns of a stream."""
    groups = {
        column.source.partition(".")[0] for column in columns if "." in column.source
    }
    rest: dict[str, object] = {}
    for name, value in raw.items():
        if name in groups and isinstance(value, dict):
            rest |= {
                f"{name}.{_underscored(name, part)}": item
                for part, item in value.items()
            }
        else:
            rest[name] = value
    shaped: Record = {}
    for column in columns:
        given = rest.pop(column.source, None)
        value = None if given is None else column.convert(given)
        shaped[column.name] = value
        if column.name == "email_address":
            shaped["recipient_domain"] = to_recipient_domain(value)
        if value is None and given is not None:
            rest[column.source] = given
    shaped["additional_fields"] = clean(rest) if rest else None
    return shaped


def _underscored(group: str, name: str) -> str:
    """Return the name of a counter as in Swagger; guides write `em_opens.all`."""
    return name.replace(".", "_") if group == "stats" else name
