"""The API object of the Encompass streams: client, messages and archive check."""

from __future__ import annotations

import re
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tap_email_metrics.clock import DAY, EARLIEST, iso
from tap_email_metrics.errors import (
    AuthenticationFailed,
    Denied,
    Fatal,
    Skippable,
    TapError,
)
from tap_email_metrics.providers.encompass.archive import (
    ARCHIVE_DAYS,
    archive_gap,
    headroom_days,
)
from tap_email_metrics.providers.encompass.auth import EncompassAuthenticator
from tap_email_metrics.providers.encompass.client import (
    MAX_RESULTS,
    EncompassClient,
    parse_loose,
    parse_rows,
)
from tap_email_metrics.providers.encompass.observers import OBSERVERS, life_of
from tap_email_metrics.providers.encompass.reading import ListReader
from tap_email_metrics.providers.encompass.scan import (
    AroundRows,
    ListScan,
    Pages,
    every_row,
    scan,
)
from tap_email_metrics.providers.encompass.schedule import (
    MessagePolicy,
    MessageSchedule,
)
from tap_email_metrics.providers.encompass.settings import EncompassSettings
from tap_email_metrics.records.values import to_integer, to_milliseconds
from tap_email_metrics.run.api import Api
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.run.workers import in_background
from tap_email_metrics.state.plans import Parent
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tap_email_metrics.providers.encompass.client import ListPage
    from tap_email_metrics.providers.encompass.schedule import Mark
    from tap_email_metrics.records.builder import PageMaker
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.run.api import ApiContext
    from tap_email_metrics.run.workers import FanOut
    from tap_email_metrics.state.streams import StreamState

MESSAGES = "/v2/messages"
ALL_TIME = {"fromTimestamp": 0, "toTimestamp": 9_999_703_780_000}
"""The vendor does not document what the range filters: read everything, filter here."""
FIRST_SEND = 1_451_606_400.0
"""2016-01-01: the API has no messages that were sent earlier."""
ARCHIVED = (
    "encompass_opens",
    "encompass_clicks",
    "encompass_bounces",
    "encompass_delivers",
)
HEADROOM_DAYS = 30
_TIMES = ("actualSendTimestamp", "scheduledDateTimestamp", "dateAdded")
_DIGIT = re.compile("[1-9]")
"""Values without such a digit, like "0000-00-00" or "none", stand for no time."""
_LAST_SECOND = 4_102_444_800
"""2100-01-01. Up to this a number of seconds is believed: as milliseconds it is a time
in 1970, which no message has."""
MOST_MESSAGES = 1_000_000
"""Most messages. The whole list is held in memory, with 1.5 kB per message."""


class EncompassApi(Api[EncompassSettings]):
    """Shared by the Encompass streams of one run."""

    name = "encompass"
    observers = OBSERVERS

    def __init__(self, settings: EncompassSettings, context: ApiContext) -> None:
        super().__init__(settings, context)
        control = context.control
        self._states = context.memory.selected
        self._report = context.report
        self._authenticator = EncompassAuthenticator(settings, self._http, control)
        self._client = EncompassClient(
            settings.api_url, self._authenticator, self.limits, control, self._http
        )
        self._listed: list[Row] | None = None
        self._messages: list[Row] | None = None
        self._seen = ListScan()
        self._failure: TapError | None = None

    @property
    @override
    def client(self) -> EncompassClient:
        return self._client

    @property
    def token_life(self) -> float | None:
        """Lifetime of the last token in seconds, None if its response has none."""
        return self._authenticator.life

    @cached_property
    @override
    def policy(self) -> MessagePolicy:
        window = self.settings.activity_window_days * DAY
        start = self.common.start
        return MessagePolicy(
            window=window,
            sweep_days=self.settings.sweep_days,
            decaying=self.settings.revisit == "decaying",
            floor=0.0 if start is None else max(0.0, start - window),
        )

    @override
    def close(self) -> None:
        if self.token_life is not None:
            self.contradictions.saw("token_life", life_of(self.token_life))
        super().close()

    def messages(self) -> Sequence[Row]:
        """Return the rows of all messages; the list is read once per run.

        Raises:
            Fatal: the list cannot be read, or actions were archived unread and
                `on_archive_gap` is fail.
        """
        if self._failure:
            raise self._failure
        if self._messages is None:
            try:
                rows = self.listed()
                self._guard(parents_of(rows))
            except (Fatal, Skippable) as error:
                self._failure = for_all_streams(error)
                raise self._failure from error
            self._messages = rows
        return self._messages

    def message_count(self) -> Count:
        """Return the count of the list of messages."""
        seen = self._seen
        return Count(
            parent="all",
            rows=seen.served,
            api_rows=seen.total,
            moved=not self.parents_whole,
            verified=True,
        )

    @property
    def listed_through(self) -> float | None:
        """UTC seconds of the last whole list of messages; None if this run has one.

        Also None if no run is known to have one, or if single messages are missing
        that no request can read: they must not hold back the others for ever.
        """
        state = self.state("encompass_messages")
        if self.parents_whole or self.unreadable or state is None:
            return None
        return state.checked_through

    @cached_property
    def sent_counts(self) -> dict[int, int]:
        """Number of recipients of each message, by its id."""
        pairs = (
            (to_integer(row.get("id")), to_integer(row.get("sentCount")))
            for row in self.messages()
        )
        return {
            one: sent for one, sent in pairs if one is not None and sent is not None
        }

    def listed(self) -> list[Row]:
        """Return the rows of all messages, without a check for archive gaps.

        Raises:
            TapError: the list cannot be read.
        """
        if self._listed is None:
            self._listed = in_background(
                self._read_messages, self._control.stop, self._control.idle
            )
        return self._listed

    def _read_messages(self) -> list[Row]:
        """Read the list; read it again if it may not be whole.

        If two reads have the same ids and the same total, the list is whole: the total
        counts messages that the list never shows. A list with a message that no request
        can read is not whole.
        """
        rows: dict[int | str, Row] = {}
        before: ListScan | None = None
        for _ in range(2):
            around = AroundRows(self._message_page)
            seen = self._scan_messages(Pages(self._message_page, around=around), rows)
            self._seen = seen
            self.unreadable = seen.unread
            missing = self._missing(rows)
            agrees = seen.whole or (before is not None and seen.same_as(before))
            self.parents_whole = agrees and not missing and not seen.unread
            if self.parents_whole or seen.unread:
                break
            before = seen
        self.lacking = self._lacking(missing)
        if not self.parents_whole:
            self._control.logger.warning(
                "%s: no message counts as closed or deleted%s",
                self.lacking,
                f"; the last error: {around.error}" if around.error else "",
            )
        self.nameless = sum(isinstance(one, str) for one in rows)
        return list(rows.values())

    def _lacking(self, missing: int) -> str:
        """Return what the list of messages lacks, in words; empty if nothing.

        Args:
            missing: number of known messages that the list lacks.
        """
        seen, unread = self._seen, self.unreadable
        hidden = (seen.total or 0) - seen.served
        if unread:
            return (
                f"{unread} messages cannot be read, because each page of the list of "
                "messages that has one of them fails"
            )
        if missing:
            return f"the list of messages lacks {missing} messages whose lists are open"
        if self.parents_whole:
            found = f"the list of messages counts {hidden} that it does not show"
            return found if hidden > 0 else ""
        if seen.cut:
            return (
                "the list of messages could not be read to its end, twice: it shows "
                "the same page again, or grows faster than it is read"
            )
        return (
            "the list of messages changed while it was read, twice: the next run "
            "reads the messages that it did not show"
        )

    def _scan_messages(self, pages: Pages, rows: dict[int | str, Row]) -> ListScan:
        reading = scan(pages, every_row, shrinking=False)
        keyless = 0
        while True:
            try:
                page = next(reading)
            except StopIteration as end:
                seen: ListScan = end.value
                return seen
            for row in page.made().records:
                row_id = to_integer(row.get("id"))
                # A row without an id gets a number, so that it is counted.
                keyless += row_id is None
                rows[str(keyless) if row_id is None else row_id] = row
            if len(rows) > MOST_MESSAGES:
                raise Fatal(f"Encompass: more than {MOST_MESSAGES} messages")

    def _missing(self, rows: Collection[int | str]) -> int:
        """Return how many known messages the list lacks, 0 if they may be deleted.

        Messages are deleted now and then, but hardly a tenth of the open ones at once.
        An empty list is never believed while any message is open.
        """
        known = {
            message_id
            for state in self._states.values()
            for message_id, mark in state.marks.items()
            if mark.settled
        }
        missing = sum(message_id not in rows for message_id in known)
        believed = len(rows) > 0 and (missing <= 1 or missing <= len(known) / 10)
        return 0 if believed else missing

    def _message_page(
        self, start: int, size: int = MAX_RESULTS, tries: int = TRIES
    ) -> ListPage:
        return self._client.page(
            MESSAGES,
            (),
            start,
            parse=parse_loose,
            query=ALL_TIME,
            size=size,
            tries=tries,
        )

    @override
    def parents(self) -> Sequence[Parent[int]]:
        return parents_of(self.messages())

    def reader(
        self,
        path: str,
        policy: MessagePolicy,
        fan_out: FanOut[Any, Any, Any],
        maker: PageMaker,
        *,
        dated: bool,
    ) -> ListReader:
        """Return the reader of one list of a message."""
        return ListReader(
            self._client,
            path,
            policy,
            self.settings.lookback_days,
            self.now,
            dated=dated,
            parse=partial(parse_rows, maker=maker),
            fan_out=fan_out,
        )

    def _guard(self, parents: Sequence[Parent[int]]) -> None:
        """Warn about actions that may have been archived unread.

        Raises:
            Fatal: there is a new gap and `on_archive_gap` is fail.
        """
        if self.common.backfill:
            self._warn_of_archived()
            return
        now = self.now()
        fresh = []
        for name in ARCHIVED:
            state = self._states.get(name)
            if state is None:
                continue
            gap = archive_gap(self.checked_through(state, parents), now)
            if gap and self._gap(name, gap, state):
                fresh.append(name)
        if fresh and self.settings.on_archive_gap == "fail":
            raise Fatal(
                f"actions may have been archived unread in {', '.join(fresh)} and "
                "encompass.on_archive_gap is fail: nothing was read. Run once with "
                "on_archive_gap set to warn to acknowledge the gap and go on"
            )

    def _warn_of_archived(self) -> None:
        """Say which part of a backfill's interval the archive has taken."""
        oldest = self.now() - ARCHIVE_DAYS * DAY
        start, end = self.common.start, self.common.end
        names = [name for name in ARCHIVED if name in self._states]
        if start is None or start >= oldest or not names:
            return
        taken = f"from {iso(start)} to {iso(min(end or oldest, oldest))}"
        self._control.logger.warning(
            "%s: actions are archived after %d days: this backfill does not find those "
            "%s",
            ", ".join(names),
            ARCHIVE_DAYS,
            taken,
        )
        for name in names:
            self._report(name).message = f"actions {taken} are archived"

    def checked_through(
        self, state: StreamState[int, Mark], parents: Sequence[Parent[int]]
    ) -> float:
        """Return the instant up to which all lists of a stream were read."""
        now = self.now()
        schedule, policy = MessageSchedule(), self.policy
        through = schedule.checked_through(parents, state.marks, now, policy)
        # The open lists do not include those that closed since the last run.
        return min(through, state.checked_through or through)

    def note_headroom(self, name: str, through: float) -> None:
        """Report the days until unread actions of a stream are archived.

        Args:
            name: name of the stream.
            through: instant up to which all its lists were read, in UTC seconds.
        """
        headroom = headroom_days(through, self.now())
        # The line at the end of the stream tells of it, too.
        self._report(name).headroom_days = headroom
        if headroom < HEADROOM_DAYS:
            self._control.logger.warning(
                "%s: %.1f days of headroom until unread actions are archived (open "
                "lists are read up to %s)",
                name,
                headroom,
                iso(through),
            )

    def _gap(
        self, name: str, gap: tuple[float, float], state: StreamState[int, Mark]
    ) -> bool:
        """Report a gap; return whether it has to stop the run."""
        known = state.knows(gap)
        # A clock that is ahead shows a gap of days that are yet to come: it must not
        # hide a later gap. So only what both clocks say is acknowledged.
        certain = archive_gap(gap[0], min(self.now(), self._control.clock.now()))
        if certain and self.settings.on_archive_gap == "warn":
            state.acknowledge(certain)
        self._control.logger.warning(
            "%s: ARCHIVE GAP%s: actions from %s to %s were archived after 180 days "
            "and may be gone unread",
            name,
            " (acknowledged)" if known else "",
            iso(gap[0]),
            iso(gap[1]),
        )
        return not known


def for_all_streams(error: TapError) -> TapError:
    """Return the error that ends every stream that needs the messages."""
    if isinstance(error, Denied):
        return AuthenticationFailed(f"Encompass: {error}")
    if isinstance(error, Skippable):
        return Fatal(f"Encompass: the list of messages cannot be read: {error}")
    return error


def parents_of(rows: Sequence[Row]) -> list[Parent[int]]:
    """Return messages as parents, with their times.

    A time that cannot be read may be later or earlier than the others, so the newest
    and the oldest time of its message are unknown.
    """
    parents = []
    for row in rows:
        message_id = to_integer(row.get("id"))
        if message_id is None:
            continue
        values = [row.get(field) for field in _TIMES]
        times = [moment for moment in map(_seconds, values) if moment is not None]
        known = [] if any(map(_is_unreadable, values)) else times
        if known and max(known) < FIRST_SEND:
            continue
        parents.append(
            Parent(
                message_id,
                sent=times[0] if times else None,
                newest=max(known, default=None),
                oldest=min(known, default=None),
            )
        )
    return parents


def _seconds(value: object) -> float | None:
    """Return a time of a message in seconds, None if it is unset or unreadable.

    The vendor documents milliseconds. RFC 3339 text and seconds are understood, too.
    """
    number = _whole(value)
    if number is None or number < EARLIEST:
        return None
    if number >= EARLIEST * 1000:
        return number / 1000
    return float(number) if number < _LAST_SECOND else None


def _is_unreadable(value: object) -> bool:
    """Return whether a value is no time, but not one that stands for none either."""
    return _whole(value) is None and _DIGIT.search(str(value)) is not None


def _whole(value: object) -> int | None:
    number = to_integer(value)
    return to_milliseconds(value) if number is None else number
