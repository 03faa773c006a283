"""Reports by contact. They cost one request per contact and are off by default.

The API does not say which reports have changed. So each report is read once per UTC
day, in the order of the contacts' ids, and all its rows are emitted. If the budget ends
before that, the next run continues after the last contact that was read, even on
another day. All contacts then have their turn, but less often. A contact whose report
cannot be read is tried again by the last run of the turn; in a backfill, which has one
turn, by each run until it can be read.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from tap_email_metrics.clock import DAY, from_iso, iso
from tap_email_metrics.errors import (
    Gone,
    HistoryLeft,
    Skippable,
    TapError,
    Unavailable,
)
from tap_email_metrics.providers.constant_contact.campaign_streams import (
    TRACKED,
    ConstantContactStream,
)
from tap_email_metrics.providers.constant_contact.client import (
    envelope,
    parse_page,
    parse_rows,
)
from tap_email_metrics.providers.constant_contact.reading import (
    EventList,
    doubt_strays,
)
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.state.streams import texts
from tap_email_metrics.streams.fan_out import FAILURES_IN_A_ROW
from tap_email_metrics.transport.client import TRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tap_email_metrics.providers.constant_contact.client import LinkedPage
    from tap_email_metrics.records.pages import Page, Record
    from tap_email_metrics.state.streams import Keys, StreamState
    from tap_email_metrics.streams.base import Budget

CYCLE = "cycle"
"""State key of the turn: the day on which it was done; or when it began, and the
contact behind which it goes on."""
FAILED = "failed"
"""State key of the contacts that earlier runs of the turn could not read."""
MOST_FAILED = 100
"""Most of them that are kept; the next turn reads the others. A backfill keeps all."""
_EPOCH = "1970-01-01T00:00:00Z"


def turn(value: object) -> dict[str, str]:
    """Return a turn as the state keeps it; raise ValueError or TypeError for others."""
    found = texts(value)
    if "began" in found:
        from_iso(found["began"])
    return found


def contacts(value: object) -> list[str]:
    """Return ids as the state keeps them; raise TypeError for other values."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("no ids")
    return value


@dataclass(frozen=True, slots=True)
class ContactRows:
    """The rows of one contact's report.

    Attributes:
        pages: the rows, page by page.
        is_listed: each response had a list; one without a list may lack rows.
    """

    pages: Sequence[Page]
    is_listed: bool = True


class ContactReport(ConstantContactStream):
    """A report that exists once per contact.

    Attributes:
        path: path of the report, with a `{}` for the contact.
    """

    state_keys: ClassVar[Keys] = {CYCLE: turn, FAILED: contacts}
    path: ClassVar[str]
    _error: TapError | None = None
    _rows = 0

    @abc.abstractmethod
    def rows(self, contact_id: str, tries: int) -> ContactRows:
        """Return the rows of a contact's report.

        Args:
            contact_id: id of the contact.
            tries: number of tries for each request.
        """

    @override
    def batches(self) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        """Yield the records of the contacts that are left in this turn."""
        backfill = self.run.settings.backfill
        state = self._kept()
        now = self.api.now()
        today = str(int(now // DAY))
        cycle = {} if self._ignores_marks() else state.read(CYCLE, turn) or {}
        done = cycle.get("done", "")
        if done and (backfill or done == today):
            self._note_turn(state)
            return
        # A merge of states may add the place of a turn that was completed.
        place = {} if done else cycle
        began = place.get("began") or iso(now)
        try:
            yield from self._in_turn(state, began, place.get("behind", ""))
        finally:
            self.reconcile(Count(parent="all", rows=self._rows))
        failed = state.read(FAILED, contacts)
        if backfill and failed:
            return  # the next run reads them again
        state.write(CYCLE, {"done": today})
        state.write(FAILED, None)
        if not backfill:
            state.set_checked_through(from_iso(began))
            self.promote(state)
            self._note_turn(state)

    def _note_turn(self, state: StreamState[Any, Any]) -> None:
        """Report when the last complete turn began: later events may be unread."""
        if state.checked_through and not self.run.settings.backfill:
            self.note_through(state.checked_through)

    def _in_turn(
        self, state: StreamState[Any, Any], began: str, behind: str
    ) -> Iterator[Iterable[Mapping[str, object] | Record]]:
        budget = self.budget()  # the list of contacts counts, too
        every = self.constant_contact.contact_ids()
        nameless = self.constant_contact.nameless_contacts
        self.set_aside("contact without an id", nameless)
        left = [one for one in every if one > behind]
        self._unlisted: set[str] = set()
        known = {*every}.difference(left)
        failed = [one for one in state.read(FAILED, contacts) or () if one in known]
        self.report.parents_left = len(left) + len(failed)
        in_a_row = 0
        for place, contact_id in enumerate(left):
            self._check_budget(budget, state)
            if in_a_row >= FAILURES_IN_A_ROW and self._sample(left[place:]):
                in_a_row = 0
            rows = self._read(contact_id, tries=1 if in_a_row else TRIES)
            self.report.parents_left -= 1
            self._note_failed(state, contact_id)
            if rows is None:
                in_a_row += 1
                continue  # the next run starts here, if no later contact is read
            in_a_row = 0
            yield rows
            self.report.parents += 1
            state.write(CYCLE, {"began": began, "behind": contact_id})
        for contact_id in failed:
            self._check_budget(budget, state)
            rows = self._read(contact_id, tries=1)
            self.report.parents_left -= 1
            if rows is not None:
                yield rows
                self.report.parents += 1
            self._note_failed(state, contact_id, is_last=True)
        # Only failed contacts may be left of a backfill that has read the others.
        goes_on = behind and self.run.settings.backfill
        if self._error and not self.report.parents and not goes_on:
            raise self._error

    def _check_budget(self, budget: Budget, state: StreamState[Any, Any]) -> None:
        """Go on only if no contact was read yet, or the budget is not spent.

        Raises:
            HistoryLeft: the next run has to go on with the turn.
        """
        if self.report.parents and budget.is_spent:
            self.report.behind_since = state.checked_through
            raise HistoryLeft(
                f"{self.report.parents_left} contacts are left to read in this "
                "turn; the next run goes on there"
            )

    def _note_failed(
        self, state: StreamState[Any, Any], contact_id: str, *, is_last: bool = False
    ) -> None:
        """Keep a contact in the state if the turn has to try it again.

        Args:
            state: the state of the turn.
            contact_id: a contact whose report was just read, or failed.
            is_last: it failed before. Only a backfill tries it once more.
        """
        known = state.read(FAILED, contacts) or []
        kept = [one for one in known if one != contact_id]
        has_failed = contact_id in self.report.failed
        if self.run.settings.backfill:
            again = has_failed or contact_id in self._unlisted
        else:
            again = has_failed and not is_last and len(kept) < MOST_FAILED
        kept += [contact_id] * again
        if kept != known:
            state.write(FAILED, kept)

    def _sample(self, contacts: Sequence[str]) -> bool:
        """Return whether the report of any contact in a sample can be read.

        Raises:
            TapError: no report in the sample can be read.
        """
        for contact_id in contacts[:: max(1, len(contacts) // FAILURES_IN_A_ROW)]:
            if self._read(contact_id, tries=1) is not None:
                return True
        if self._error:
            raise self._error
        return False

    def _kept(self) -> StreamState[Any, Any]:
        """Return the state of the turn; a backfill has its own."""
        settings = self.run.settings
        if not settings.backfill or settings.start is None:
            return self.bookmark
        return self.bookmark.backfill(settings.start, settings.end or self.run.started)

    def _read(
        self, contact_id: str, *, tries: int
    ) -> list[Mapping[str, object] | Record] | None:
        """Return the records of a contact; None if its report cannot be read."""
        try:
            ask = partial(self.rows, contact_id, tries)
            answer = self.constant_contact.wait(ask)
        except (Skippable, Unavailable) as error:
            if isinstance(error, Gone) and self.constant_contact.is_deleted(contact_id):
                return []  # a deleted contact has no reports
            # The next turn reads the whole report again.
            self._error = error
            if contact_id not in self.report.failed:
                self.logger.warning(
                    "%s: contact %s was left out: %s", self.name, contact_id, error
                )
                self.report.failed.append(contact_id)
            return None
        if contact_id in self.report.failed:
            self.report.failed.remove(contact_id)
        interval = self.interval()
        records: list[Mapping[str, object] | Record] = []
        # Nothing counts the rows of a contact: without a list, some may be missing.
        self._unlisted.discard(contact_id)
        if not answer.is_listed:
            self._unlisted.add(contact_id)
            self.report.unsettled += 1
        for some in answer.pages:
            page = self.within(some, interval)
            self._rows += len(page)
            records += self.records_of(page)
        return records

    def dates(self) -> dict[str, int | str]:
        """Return the query parameters for the interval of the counts."""
        start = self.constant_contact.common.start
        return {
            "start": _EPOCH if start is None else iso(start),
            # Of two clocks that differ, the later one leaves no event out.
            "end": iso(max(self.api.now(), self.run.clock.now())),
        }


class ContactActivityDetails(ContactReport):
    """Events of a contact. `GET /reports/contact_reports/{id}/activity_details`."""

    name = "constant_contact_contact_activity_details"
    primary_keys = ("account", "contact_id", "campaign_activity_id", "event_id")
    replication_key = "created_time"
    path = "/reports/contact_reports/{}/activity_details"
    envelope = envelope(TRACKED)
    reader_fields = ("contact_id",)

    @override
    def rows(self, contact_id: str, tries: int) -> ContactRows:
        events = EventList(partial(self._page, contact_id, tries=tries), since=None)
        pages = [*events.down_to(None)]
        return ContactRows(pages, events.is_listed)

    def _page(
        self, contact_id: str, href: str | None, *, tries: int
    ) -> LinkedPage[Page]:
        page = self.constant_contact.client.page(
            self.path,
            [contact_id],
            {"limit": 100},
            parse=partial(parse_rows, field=TRACKED, maker=self.maker()),
            href=href,
            may_lack=True,  # nothing says how many events a contact has
            tries=tries,
        )
        doubt_strays(page.rows, "contact_id", contact_id, self.reader_fields)
        return page


class ContactActivitySummary(ContactReport):
    """Counts of a contact. `GET /reports/contact_reports/{id}/activity_summary`."""

    name = "constant_contact_contact_activity_summary"
    primary_keys = ("account", "contact_id", "campaign_activity_id")
    path = "/reports/contact_reports/{}/activity_summary"

    @override
    def rows(self, contact_id: str, tries: int) -> ContactRows:
        found = [
            *self.constant_contact.client.pages(
                self.path,
                [contact_id],
                self.dates(),
                parse=partial(parse_page, field="campaign_activities"),
                may_lack=True,
                tries=tries,
            )
        ]
        maker = self.maker(contact_id=contact_id)
        pages = [maker.page(page.rows) for page in found]
        return ContactRows(pages, all(page.is_listed for page in found))


class ContactOpenAndClickRates(ContactReport):
    """Rates of a contact.

    `GET /reports/contact_reports/{id}/open_and_click_rates`.
    """

    name = "constant_contact_contact_open_and_click_rates"
    primary_keys = ("account", "contact_id")
    path = "/reports/contact_reports/{}/open_and_click_rates"

    @override
    def rows(self, contact_id: str, tries: int) -> ContactRows:
        client = self.constant_contact.client
        dates = self.dates()
        row = client.one(
            self.path, [contact_id], dates, id_field="contact_id", tries=tries
        )
        return ContactRows([self.maker().page([row])])


CONTACT_REPORTS = (
    ContactActivityDetails,
    ContactActivitySummary,
    ContactOpenAndClickRates,
)
