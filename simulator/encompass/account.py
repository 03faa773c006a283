"""An Encompass account: its messages and their lists, at any time.

Instants are UTC seconds as floats; only fields of rows hold epoch milliseconds.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from simulator.clock import DAY
from simulator.rows import ORDERS, Row, RowList

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from simulator.clock import SimClock

CHILD_KINDS = ("recipients", "opens", "clicks", "bounces", "delivers", "links")
ACTION_KINDS = ("opens", "clicks", "bounces", "delivers")
KINDS = ("messages", *CHILD_KINDS)
EARLIEST_SEND = 1_451_606_400.0
"""2016-01-01: messages sent earlier are not served."""


@dataclass(frozen=True)
class Policy:
    """Choices of behaviour that the vendor's documents leave open."""

    archive_on: Literal["action", "date_added", "send"] = "date_added"
    archive_days: float = 180.0
    archived_in_total: bool = False
    archive_recipients: bool = False
    messages_filter_on: Literal["sent", "date_added", "scheduled"] = "sent"
    bounds_inclusive: bool = True
    links_envelope: bool = False
    links_paged: bool = False
    """Whether a bare array obeys startAt and maxResults; an envelope always does."""
    max_page: int = 1000
    token_lifetime: float = DAY
    auth_failure_status: int = 401


def ms(seconds: float) -> int:
    """Return epoch milliseconds."""
    return round(seconds * 1000)


class Account:
    """The messages and lists of one Encompass site."""

    def __init__(self, clock: SimClock, lock: threading.RLock, seed: int = 0) -> None:
        self.client_id = "10055"
        self.client_secret = "6f1c2a34-9d57-4b6e-8a3f-0c5d7e9b1a22"  # noqa: S105
        self.policy = Policy()
        self.seed = seed
        self._clock = clock
        self._lock = lock
        self._lists: dict[tuple[str, int], RowList] = {}
        self._rows: dict[tuple[str, int, int], Row] = {}
        self._home: dict[tuple[str, int], int] = {}
        self._orders: dict[tuple[str | None, int | None], tuple[int, str]] = {}
        self._settings = 0
        self._last_id: Counter[str] = Counter()

    # Building

    def add_message(
        self,
        *,
        sent: float | None = None,
        date_added: float | None = None,
        visible_from: float | None = None,
        **fields: object,
    ) -> int:
        """Add a message sent at `sent` (default: now) and return its id.

        `date_added` defaults to `sent`, `visible_from` to `date_added`; `fields` are
        fields of the vendor, including `id`.
        """
        with self._lock:
            sent = self._clock.now() if sent is None else sent
            added = sent if date_added is None else date_added
            row_id = self._take_id("messages", fields)
            fields = {**message_fields(row_id, sent, added), **fields}
            visible = added if visible_from is None else visible_from
            row = Row(row_id, visible, (sent, added, sent), fields)
            self._store("messages", 0, row)
            return row_id

    def add_row(
        self,
        kind: str,
        message_id: int,
        *,
        date_added: float | None = None,
        visible_from: float | None = None,
        **fields: object,
    ) -> int:
        """Add a row of one of CHILD_KINDS to a message and return its id.

        `date_added` defaults to the field `dateAdded`, else to now (a link's to its
        message's), `visible_from` to `date_added`, `timestamp` and other fields of the
        vendor to plausible values. The archive uses the values given here, even if they
        are corrected later.
        """
        if kind not in CHILD_KINDS:
            raise ValueError(f"unknown kind: {kind}")
        with self._lock:
            message = self._rows["messages", 0, message_id]
            now = message.visible_from if kind == "links" else self._clock.now()
            added = _seconds(fields, "dateAdded", now)
            added = added if date_added is None else date_added
            row_id = self._take_id(kind, fields)
            fields = {**child_fields(kind, row_id, added), **fields}
            action = _seconds(fields, "timestamp", added)
            visible = added if visible_from is None else visible_from
            clocks = (action, added, message.clocks[2])
            self._store(kind, message_id, Row(row_id, visible, clocks, fields))
            return row_id

    def _take_id(self, kind: str, fields: dict[str, object]) -> int:
        given = fields.get("id")
        row_id = given if isinstance(given, int) else self._last_id[kind] + 1
        self._last_id[kind] = max(self._last_id[kind], row_id)
        return row_id

    def _store(self, kind: str, message_id: int, row: Row) -> None:
        key = (kind, message_id, row.row_id)
        if key in self._rows:
            raise ValueError(f"already there: {key}")
        self._rows[key] = row
        self._home[kind, row.row_id] = message_id
        self._list(kind, message_id).add(row)

    # Changing

    def correct(
        self,
        kind: str,
        row_id: int,
        /,
        *,
        at: float | None = None,
        message_id: int | None = None,
        **fields: object,
    ) -> None:
        """Show these fields of a row from `at` (default: now) on.

        ABSENT removes a field. The id of a recipient is not unique: name its
        `message_id` too.
        """
        with self._lock:
            home = self._find_home(kind, row_id, message_id)
            at = self._clock.now() if at is None else at
            self._rows[kind, home, row_id].correct(at, fields)
            self._list(kind, home).touch()

    def delete(
        self,
        kind: str,
        row_id: int,
        *,
        at: float | None = None,
        message_id: int | None = None,
    ) -> None:
        """Delete a row at `at` (default: now); a message is deleted with its lists."""
        with self._lock:
            home = self._find_home(kind, row_id, message_id)
            row = self._rows[kind, home, row_id]
            row.deleted_at = self._clock.now() if at is None else at
            self._list(kind, home).touch()

    def set_policy(self, **changes: object) -> None:
        """Change fields of the policy; TypeError for an unknown one."""
        with self._lock:
            self.policy = replace(self.policy, **changes)  # type: ignore[arg-type]
            for rows in self._lists.values():
                rows.touch()

    def set_order(
        self, order: str, kind: str | None = None, message_id: int | None = None
    ) -> None:
        """Set the order of all lists, those of a kind, of a message, or of one list.

        `order` is one of ORDERS. The latest setting that covers a list wins.
        """
        if order not in ORDERS:
            raise ValueError(f"unknown order: {order}")
        with self._lock:
            self._settings += 1
            self._orders[kind, message_id] = (self._settings, order)

    # Reading

    def order(self, kind: str, message_id: int) -> str:
        """Return the order of a list."""
        keys = ((kind, message_id), (None, message_id), (kind, None), (None, None))
        return max(self._orders.get(key, (0, "ascending")) for key in keys)[1]

    def message(self, message_id: int, at: float) -> Row | None:
        """Return a message if it is served at `at`, else None."""
        row = self._rows.get(("messages", 0, message_id))
        if row is None or not row.visible_from <= at < self.shown_until(
            "messages", row
        ):
            return None
        return row

    def places(self, kind: str, message_id: int, at: float) -> list[Row]:
        """Return the rows with a position in a list at `at`, archived or not."""
        rows = self._list(kind, message_id)
        return rows.view(at, self.order(kind, message_id), self._freeing(kind)).rows

    def messages_between(self, start: int, end: int, at: float) -> list[Row]:
        """Return the listed messages whose filter field is between two epochs in ms."""
        order = self.order("messages", 0)
        view = self._list("messages", 0).view(at, order, self._message_until)
        if (start, end) not in view.chosen:
            view.chosen.clear()
            view.chosen[start, end] = [
                row for row in view.rows if self._within(start, row, at, end)
            ]
        return view.chosen[start, end]

    def _within(self, start: int, row: Row, at: float, end: int) -> bool:
        value = self._filtered_ms(row, at)
        if self.policy.bounds_inclusive:
            return start <= value <= end
        return start < value < end

    def _filtered_ms(self, row: Row, at: float) -> int:
        names = {
            "sent": ("actualSendTimestamp", "scheduledDateTimestamp"),
            "scheduled": ("scheduledDateTimestamp", "actualSendTimestamp"),
            "date_added": ("dateAdded",),
        }[self.policy.messages_filter_on]
        for name in names:
            value = row.value(at, name)
            if isinstance(value, int | float):
                return int(value)
            if isinstance(value, str) and value.isdecimal():
                return int(value)
        return ms(row.clocks[1])

    def shown_until(self, kind: str, row: Row) -> float:
        """Return when the API stops showing a row, by deletion or archive."""
        if kind == "messages":
            return self._message_until(row)
        if kind in ACTION_KINDS or (
            kind == "recipients" and self.policy.archive_recipients
        ):
            return self._archived(row)
        return row.deleted_at

    def children(self, kind: str) -> Iterator[tuple[int, Row, Row]]:
        """Yield (message id, message, row) for every row of a kind at any time."""
        for (of_kind, message_id), rows in self._lists.items():
            if of_kind == kind:
                message = self._rows["messages", 0, message_id]
                for row in rows.rows:
                    yield message_id, message, row

    def all_messages(self) -> list[Row]:
        """Return every message of any time."""
        return self._list("messages", 0).rows

    # Inside

    def _freeing(self, kind: str) -> Callable[[Row], float]:
        """Return a function that gives the instant at which a row leaves `total`."""
        if kind in ACTION_KINDS:
            counts_archived = self.policy.archived_in_total
            return _deleted if counts_archived else self._archived
        if kind == "recipients" and self.policy.archive_recipients:
            return _deleted if self.policy.archived_in_total else self._archived
        return _deleted

    def _archived(self, row: Row) -> float:
        clock = ("action", "date_added", "send").index(self.policy.archive_on)
        return min(row.deleted_at, row.clocks[clock] + self.policy.archive_days * DAY)

    def _message_until(self, row: Row) -> float:
        return row.deleted_at if row.clocks[2] >= EARLIEST_SEND else -math.inf

    def _list(self, kind: str, message_id: int) -> RowList:
        key = (kind, message_id)
        if key not in self._lists:
            self._lists[key] = RowList(f"{self.seed}/{kind}/{message_id}")
        return self._lists[key]

    def _find_home(self, kind: str, row_id: int, message_id: int | None) -> int:
        if message_id is not None and kind != "messages":
            return message_id
        return self._home[kind, row_id]


def _seconds(fields: dict[str, object], name: str, default: float) -> float:
    """Return an epoch-ms field in seconds, or the default if it is not a number."""
    value = fields.get(name)
    return value / 1000 if isinstance(value, int | float) else default


def _deleted(row: Row) -> float:
    return row.deleted_at


def message_fields(row_id: int, sent: float, added: float) -> dict[str, object]:
    """Return the fields of a plausible message."""
    return {
        "id": row_id,
        "subCommunityId": 0,
        "emailName": f"Email {row_id}",
        "fromName": "Alumni Office",
        "fromAddress": "alumni@example.edu",
        "subjectLine": f"News {row_id}",
        "preHeader": "What is new",
        "categoryName": "Newsletter",
        "sentCount": 0,
        "scheduledDateTimestamp": ms(sent),
        "actualSendTimestamp": ms(sent),
        "dateAdded": ms(added),
    }


def child_fields(kind: str, row_id: int, added: float) -> dict[str, object]:
    """Return the fields of a plausible row of one of CHILD_KINDS."""
    if kind == "links":
        url = f"https://example.edu/{row_id}"
        return {"id": row_id, "name": f"Link {row_id}", "url": url}
    if kind == "recipients":
        return {
            "id": row_id,
            "emailAddress": f"person{row_id}@example.com",
            "firstName": "Ada",
            "lastName": f"Person {row_id}",
            "classYear": "1999",
            "memberId": row_id,
            "constituentId": f"C{row_id:07d}",
            "dateAdded": ms(added),
            "lastUpdated": ms(added),
        }
    row: dict[str, object] = {"id": row_id, "recipientId": 1}
    row |= {"timestamp": ms(added), "dateAdded": ms(added)}
    if kind == "clicks":
        row["linkId"] = 1
    if kind in ("opens", "clicks"):
        row |= {"ipAddress": "192.0.2.7", "userAgent": "Mozilla/5.0"}
    if kind == "bounces":
        row |= {"type": "Hard Bounce", "reason": "550 no such user"}
    return row
