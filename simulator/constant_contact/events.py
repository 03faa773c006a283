"""Tracking events of Constant Contact, their lists and their counters.

Instants are UTC seconds as floats; only rendered rows hold text.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.messages import encode
from simulator.rows import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.rows import Row

EVENT_KINDS = ("sends", "opens", "forwards", "clicks", "optouts", "bounces")
COUNTED_KINDS = (*EVENT_KINDS, "abuse")
"""Reports of abuse are counted but not in any list."""
REPORTS = (*EVENT_KINDS, "unique_opens", "didnotopens")
DEVICES = ("computer", "mobile", "tablet", "other")
BOUNCES = {
    "B": "em_bounces_nonexistent_address",
    "D": "em_bounces_undeliverable",
    "F": "em_bounces_mailbox_full",
    "S": "em_bounces_suspended",
    "V": "em_bounces_vacation",
    "X": "em_bounces_other",
    "Z": "em_bounces_blocked",
}
_TOTALS = ("opens", "clicks")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CAMPAIGN_STATS = (
    *("em_sends", "em_opens", "em_opens_all"),
    *(f"em_opens_all_{device}" for device in (*DEVICES, "none")),
    *("em_clicks", "em_clicks_all"),
    *(f"em_clicks_all_{device}" for device in (*DEVICES, "none")),
    *("em_forwards", "em_optouts", "em_bounces", "em_not_opened"),
)
ACTIVITY_STATS = (*CAMPAIGN_STATS, "em_abuse", *BOUNCES.values())


def stamp(seconds: float, style: str = "millis") -> str:
    """Return an RFC 3339 date-time with milliseconds, without, or with an offset."""
    moment = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    if style == "seconds":
        return f"{moment.isoformat(timespec='seconds')[:-6]}Z"
    if style == "offset":
        return moment.isoformat(timespec="milliseconds")
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


@dataclass(eq=False, slots=True)
class Event:
    """An action of a contact.

    Its row is listed during [visible_from, removed_at) and counted during
    [counted_from, uncounted_from).
    """

    serial: int
    kind: str
    activity_id: str
    contact_id: str
    created: float
    visible_from: float
    counted_from: float
    fields: Mapping[str, object]
    """Fields that replace those of its kind and contact; ABSENT removes a field."""
    device: str | None = None
    url_id: str | None = None
    removed_at: float = math.inf
    uncounted_from: float = math.inf
    _text: bytes = b""
    _made_for: tuple[str, str | None] = ("", None)

    @property
    def place(self) -> tuple[float, int]:
        """The sort key: newest first, and equal times in the order of addition."""
        return -self.created, self.serial

    def row(self, style: str, deleted_at: str | None) -> dict[str, Any]:
        """Return the row as an object."""
        row: dict[str, object] = {
            "contact_id": self.contact_id,
            "campaign_activity_id": self.activity_id,
            "tracking_activity_type": f"em_{self.kind}",
            "device_type": self.device,
            "url_id": self.url_id,
            "created_time": stamp(self.created, style),
            "deleted_at": deleted_at,
        }
        row = {name: value for name, value in row.items() if value is not None}
        row |= self.fields
        return {name: value for name, value in row.items() if value is not ABSENT}

    def text(self, style: str, deleted_at: str | None) -> bytes:
        """Return the row as JSON."""
        made_for = (style, deleted_at)
        if self._made_for != made_for:
            self._text = encode(self.row(style, deleted_at))
            self._made_for = made_for
        return self._text


@dataclass(slots=True)
class _View:
    """The events that are listed during [since, until)."""

    since: float
    until: float
    events: list[Event]


class EventList:
    """The events of one kind in one activity, newest first."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._view: _View | None = None

    def add(self, event: Event) -> None:
        """Insert an event in order."""
        if self.events and event.place < self.events[-1].place:
            insort(self.events, event, key=_place)
        else:
            self.events.append(event)
        self._view = None

    def touch(self) -> None:
        """Discard the cached view because an event changed."""
        self._view = None

    def listed(self, at: float) -> list[Event]:
        """Return the events listed at `at`; the caller must not change the list."""
        view = self._view
        if view is None or not view.since <= at < view.until:
            view = self._view = self._look(at)
        return view.events

    def _look(self, at: float) -> _View:
        listed: list[Event] = []
        since, until = -math.inf, math.inf
        for event in self.events:
            if at < event.visible_from:
                until = min(until, event.visible_from)
            elif at < event.removed_at:
                listed.append(event)
                since = max(since, event.visible_from)
                until = min(until, event.removed_at)
            else:
                since = max(since, event.removed_at)
        return _View(since, until, listed)


def _place(event: Event) -> tuple[float, int]:
    return event.place


@dataclass(frozen=True, slots=True)
class Counters:
    """The statistics of an activity or a campaign, by their names in Swagger."""

    stats: Mapping[str, int]
    changed: float
    """Time of the last change of a counter."""
    until: float = math.inf
    """Time of the next change of a counter."""

    def __add__(self, other: Counters) -> Counters:
        stats = {name: value + other.stats[name] for name, value in self.stats.items()}
        changed = max(self.changed, other.changed)
        return Counters(_whole(stats), changed, min(self.until, other.until))


def _whole(stats: dict[str, int]) -> dict[str, int]:
    stats["em_not_opened"] = max(
        stats["em_sends"] - stats["em_opens"] - stats["em_bounces"], 0
    )
    return stats


@dataclass(eq=False)
class Activity:
    """A mailing of a campaign with the actions of its recipients."""

    activity_id: str
    campaign_id: str
    role: str
    row: Row
    """The answer of the endpoint of the activity."""
    sends: list[float] = field(default_factory=list)
    """Times of its sends, ascending."""
    lists: dict[str, EventList] = field(
        default_factory=lambda: {kind: EventList() for kind in COUNTED_KINDS}
    )
    links: dict[str, dict[str, object]] = field(default_factory=dict)
    """Fields of the links report without the counts, by url_id."""
    _counters: Counters | None = None
    _counted_at: float = 0.0

    @property
    def reports(self) -> bool:
        """Whether an activity of this role has reports."""
        return self.role in ("primary_email", "resend")

    def sent(self, at: float) -> float | None:
        """Return the time of the last send before `at`, or None."""
        return max((sent for sent in self.sends if sent <= at), default=None)

    def touch(self) -> None:
        """Discard cached counters and views."""
        self._counters = None
        for events in self.lists.values():
            events.touch()

    def add(self, event: Event) -> None:
        """Add an event."""
        self.lists[event.kind].add(event)
        self._counters = None

    def counters(self, at: float) -> Counters:
        """Return the counters at `at`."""
        known = self._counters
        if known is None or not self._counted_at <= at < known.until:
            known = self._counters = self._count(at)
            self._counted_at = at
        return known

    def _count(self, at: float) -> Counters:
        stats = dict.fromkeys(ACTIVITY_STATS, 0)
        changed = max((sent for sent in self.sends if sent <= at), default=0.0)
        until = min((sent for sent in self.sends if sent > at), default=math.inf)
        for kind, events in self.lists.items():
            counted: dict[str, Event] = {}
            for event in events.events:
                if at < event.counted_from:
                    until = min(until, event.counted_from)
                elif at >= event.uncounted_from:
                    changed = max(changed, event.uncounted_from)
                else:
                    until = min(until, event.uncounted_from)
                    changed = max(changed, event.counted_from)
                    counted[event.contact_id] = event
                    if kind in _TOTALS:
                        stats[f"em_{kind}_all"] += 1
                        stats[f"em_{kind}_all_{_device(event)}"] += 1
            stats[f"em_{kind}"] = len(counted)
            if kind == "bounces":
                for event in counted.values():
                    stats[BOUNCES[str(event.fields["bounce_code"])]] += 1
        return Counters(_whole(stats), changed, until)

    def unique_opens(self, at: float) -> list[Event]:
        """Return the last open of each contact, newest first."""
        last: dict[str, Event] = {}
        for event in self.lists["opens"].listed(at):
            last.setdefault(event.contact_id, event)
        return list(last.values())

    def did_not_open(self, at: float) -> list[Event]:
        """Return the sends to contacts who neither opened nor bounced, newest first."""
        done = {
            event.contact_id
            for kind in ("opens", "bounces")
            for event in self.lists[kind].listed(at)
        }
        sends = {
            event.contact_id: event
            for event in reversed(self.lists["sends"].listed(at))
            if event.contact_id not in done
        }
        return sorted(sends.values(), key=_place)

    def report(self, name: str, at: float) -> list[Event]:
        """Return the events of one of REPORTS at `at`; do not change the list."""
        special: dict[str, Callable[[float], list[Event]]] = {
            "unique_opens": self.unique_opens,
            "didnotopens": self.did_not_open,
        }
        read = special.get(name) or self.lists[name].listed
        return read(at)

    def link_rows(self, at: float, *, no_clicks: bool) -> list[dict[str, object]]:
        """Return the rows of the links report; `no_clicks` includes unclicked links."""
        clickers: dict[str, set[str]] = {url_id: set() for url_id in self.links}
        for event in self.lists["clicks"].listed(at):
            if event.url_id in clickers:
                clickers[event.url_id].add(event.contact_id)
        return [
            {**link, "url_id": url_id, "unique_clicks": len(clickers[url_id])}
            for url_id, link in self.links.items()
            if no_clicks or clickers[url_id]
        ]


def _device(event: Event) -> str:
    return event.device if event.device in DEVICES else "none"


NOTHING = Counters(dict.fromkeys(ACTIVITY_STATS, 0), 0.0)


def percents(stats: Mapping[str, int]) -> dict[str, float]:
    """Return the percentages of the statistics of a campaign, to one decimal."""
    delivered = stats["em_sends"] - stats["em_bounces"]
    opens, clicks = stats["em_opens_all"], stats["em_clicks_all"]
    at_desk = {
        kind: stats[f"em_{kind}_all_computer"] + stats[f"em_{kind}_all_other"]
        for kind in _TOTALS
    }
    pairs = {
        "bounce": (stats["em_bounces"], stats["em_sends"]),
        "click": (stats["em_clicks"], stats["em_opens"]),
        "desktop_click": (at_desk["clicks"], clicks),
        "desktop_open": (at_desk["opens"], opens),
        "did_not_open": (stats["em_not_opened"], delivered),
        "mobile_click": (stats["em_clicks_all_mobile"], clicks),
        "mobile_open": (stats["em_opens_all_mobile"], opens),
        "open": (stats["em_opens"], delivered),
        "unsubscribe": (stats["em_optouts"], delivered),
    }
    return {
        name: round(100 * part / whole, 1) if whole > 0 else 0.0
        for name, (part, whole) in pairs.items()
    }
