"""LuxSci's streams: one for each kind of report.

https://luxsci.com/api-report-responses lists the columns. Most paths are not public;
`paths.py` says how each one is known.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, cast

from typing_extensions import override

from tap_email_metrics.clock import DAY, iso
from tap_email_metrics.errors import NotUnderstood
from tap_email_metrics.providers.luxsci.paths import offered
from tap_email_metrics.providers.luxsci.report import Wanted
from tap_email_metrics.records.values import to_integer
from tap_email_metrics.run.reconciliation import Count
from tap_email_metrics.state.windows import Window
from tap_email_metrics.streams.window_reader import MOST_IN_PAGE, WindowPart
from tap_email_metrics.streams.windows import WindowStream

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from tap_email_metrics.providers.luxsci.api import LuxSciApi, ReportList
    from tap_email_metrics.providers.luxsci.settings import LuxSciSettings
    from tap_email_metrics.records.pages import Page
    from tap_email_metrics.records.values import Row
    from tap_email_metrics.state.windows import Coverage
    from tap_email_metrics.streams.window_reader import WindowList
    from tap_email_metrics.streams.windows import Due

_WEEK = 7 * DAY
_ORDERED = 8
"""Dates that show an order: fewer are in one by chance."""
MANY_LOGINS = 10
"""With more logins than this, logins without recent rows are read once a day only."""
TRACKED_HEADERS = {"tracked_headers": 1}
DETAIL = {"detail": 1}
"""Query parameters. The vendor names them, but does not document their values."""
Operations = tuple[tuple[str | None, str], ...]


class ReportStream(WindowStream):
    """A report of the account or of one user, depending on the scope setting.

    Attributes:
        operations: pairs of a channel (None if the report has none) and the vendor's
            name of the report, with `{}` for the scope.
    """

    provider = "luxsci"
    operations: ClassVar[Operations]

    @classmethod
    def is_offered(cls, settings: LuxSciSettings) -> bool:
        """Return whether the vendor has this report in the scope of the settings."""
        return any(offered(name, settings.scope) for _, name in cls.operations)

    @property
    def luxsci(self) -> LuxSciApi:
        """The API object that the LuxSci streams of this run share."""
        return cast("LuxSciApi", self.api)

    def columns(self) -> dict[str, str]:
        """Return the vendor's names of the known columns, by lower-case name."""
        parts = self._packaged["properties"].values()
        names = [part["x-source"] for part in parts if "x-source" in part]
        return {name.lower(): name for name in names}

    def wanted(self) -> Wanted:
        """Return the columns without which rows are not understood."""
        columns = self._packaged["properties"]
        events = [part.get("x-identity", ()) for part in columns.values()]
        telling = {name for names in events for name in names}
        if telling and self.dated_by:
            telling.add(self.dated_by)
        return Wanted(_sources(columns, self.primary_keys), _sources(columns, telling))

    def query(self) -> Mapping[str, int | str]:
        """Return query parameters that do not select rows."""
        return {}

    @override
    def lists(self) -> Sequence[ReportList]:
        return self.luxsci.of_scope(
            self.operations, self.columns(), self.wanted(), self.query()
        )

    @override
    def compare(self, source: WindowList, part: WindowPart) -> None:
        super().compare(source, part)
        if part.outside:
            is_delivery = self.name == "luxsci_delivery_status"
            question = "delivery_date" if is_delivery else "event_date"
            self.luxsci.contradictions.saw(question, "send")
        self.luxsci.days[self.name, source.key].add(part)

    @property
    @override
    def first_start(self) -> int:
        return self.luxsci.first_start

    @property
    @override
    def first_width(self) -> int:
        return DAY

    @property
    @override
    def lookback(self) -> int:
        return self.lateness

    @property
    @override
    def lateness(self) -> int:
        return self.luxsci.settings.lookback_days * DAY

    @property
    @override
    def wide_lookback(self) -> int:
        settings = self.luxsci.settings
        return max(settings.lookback_days, settings.delivery_lookback_days) * DAY


def _sources(columns: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    """Return the vendor's fields of columns; columns that no row has are left out."""
    parts = [columns[name] for name in names]
    return frozenset(part["x-source"] for part in parts if "x-source" in part)


class EmailReport(ReportStream):
    """A report of sent emails, with their captured headers if the settings ask."""

    @override
    def query(self) -> Mapping[str, int | str]:
        return TRACKED_HEADERS if self.luxsci.settings.tracked_headers else {}


class DeliveryStatus(EmailReport):
    """Deliveries to recipients. `GET /account/{account}/report/email/smtp/delivery`.

    A row changes with each delivery attempt, open, click and unsubscribe.
    """

    name = "luxsci_delivery_status"
    primary_keys = ("account", "event_id")
    replication_key = "last_updated"
    changes_only = True
    operations = (
        ("smtp", "getEmailSMTPDeliveryStatusReport{}"),
        ("webmail", "getEmailWebMailDeliveryStatusReport{}"),
    )

    @property
    @override
    def lookback(self) -> int:
        return self.wide_lookback

    @override
    def read(self, due: Due) -> Generator[Page | WindowPart, None, None]:
        for event in super().read(due):
            if not isinstance(event, WindowPart):
                self._compare_order(event)
            yield event

    def _compare_order(self, page: Page) -> None:
        """Compare the order of rows with what is known of it.

        Rows that rise by their date may also be in the order of insertion.
        """
        times = [at for at in page.times if at is not None]
        if len({*times}) < _ORDERED:
            return
        if times == sorted(times):
            self.luxsci.contradictions.saw("order", "rising", "another")
        elif times == sorted(times, reverse=True):
            self.luxsci.contradictions.saw("order", "falling", "another")


class Sent(EmailReport):
    """Emails sent. `GET /account/{account}/report/email/smtp/sent`."""

    name = "luxsci_sent"
    primary_keys = ("account", "channel", "sendmail_id")
    replication_key = "date_sent"
    operations = (
        ("smtp", "getEmailSMTPSentReport{}"),
        ("webmail", "getEmailWebMailSentReport{}"),
    )


class Opens(EmailReport):
    """Opens of emails. `GET /account/{account}/report/email/smtp/opens`."""

    name = "luxsci_opens"
    primary_keys = ("account", "event_id")
    replication_key = "open_date"
    operations = (
        ("smtp", "getEmailSMTPOpenReport{}"),
        ("webmail", "getEmailWebMailOpenReport{}"),
    )


class Clicks(EmailReport):
    """Clicks on links. `GET /account/{account}/report/email/smtp/clicks`."""

    name = "luxsci_clicks"
    primary_keys = ("account", "event_id")
    replication_key = "click_date"
    operations = (
        ("smtp", "getEmailSMTPClickReport{}"),
        ("webmail", "getEmailWebMailClickReport{}"),
    )


class Complaints(ReportStream):
    """Complaints by feedback loops. `GET /account/{account}/report/email/fbl`."""

    name = "luxsci_complaints"
    primary_keys = ("account", "event_id")
    replication_key = "complaint_date"
    operations = ((None, "getEmailFeedBackLoopsReport{}"),)


class Suppressions(ReportStream):
    """Suppressed addresses. `GET /account/{account}/report/email/suppressions`."""

    name = "luxsci_suppressions"
    primary_keys = ("account", "event_id")
    replication_key = "added"
    operations = ((None, "get{}SuppressionReport"),)


class TemporaryFailures(ReportStream):
    """Temporary failures. `GET /account/{account}/report/email/smtp/tempfail`."""

    name = "luxsci_temporary_failures"
    primary_keys = ("account", "event_id")
    replication_key = "date_temp_failure"
    operations = ((None, "getEmailSMTPTempFailReport{}"),)


class LoginFailures(ReportStream):
    """Failed SMTP logins. `GET /account/{account}/report/smtp/loginfailures`."""

    name = "luxsci_login_failures"
    primary_keys = ("account", "event_id")
    replication_key = "failed_at"
    operations = ((None, "getSMTPLoginFailureReport{}"),)


class Users(ReportStream):
    """Users of the account. `GET /account/{account}/report/users`."""

    name = "luxsci_users"
    primary_keys = ("account", "user_id")
    replication_key = "modified"
    operations = ((None, "getUserReport2"),)
    full_days = 7


class Jobs(ReportStream):
    """Asynchronous reports. `GET /account/{account}/report/jobs`."""

    name = "luxsci_jobs"
    primary_keys = ("account", "job_id")
    replication_key = "updated"
    operations = ((None, "get{}Jobs"),)
    full_days = 7


# Secure Marketing


class MarketingReport(ReportStream):
    """A report that exists once per login."""

    @classmethod
    @override
    def is_offered(cls, settings: LuxSciSettings) -> bool:
        return bool(settings.logins)

    @override
    def lists(self) -> Sequence[ReportList]:
        [(_, operation)] = self.operations
        return self.luxsci.of_logins(
            operation, self.columns(), self.wanted(), self.query()
        )

    @override
    def rests(self, source: WindowList, coverage: Coverage) -> bool:
        """Return whether a login without recent rows was already read today.

        Accounts with few logins read all of them in every run.
        """
        if len(self.luxsci.settings.logins) <= MANY_LOGINS:
            return False
        now = self.api.now()
        # The digest of the login gives its time of day, so that reads are spread.
        offset = int(source.key, 16) % DAY
        return coverage.is_quiet(now) and coverage.rests(now, offset)

    @override
    def owner(self, source: WindowList) -> str:
        # The key is the digest of a login, and a guess of the login can be verified
        # with it.
        privacy = self.run.privacy
        plain = privacy.mode == "plain"
        return source.key if plain else privacy.hashed(source.key)[: len(source.key)]

    @override
    def query(self) -> Mapping[str, int | str]:
        return DETAIL if self.luxsci.settings.detail else {}


class MarketingLists(MarketingReport):
    """Lists of contacts. `GET /user/{login}/marketing/v3/lists`."""

    name = "luxsci_marketing_lists"
    primary_keys = ("account", "list_id")
    replication_key = "modified"
    operations = ((None, "getLists"),)
    full_days = 7


class MarketingContacts(MarketingReport):
    """Contacts. `GET /user/{login}/marketing/v3/contacts`."""

    name = "luxsci_marketing_contacts"
    primary_keys = ("account", "contact_id")
    replication_key = "modified"
    operations = ((None, "getContacts"),)
    full_days = 7


class MarketingCampaigns(MarketingReport):
    """Campaigns with their counts. `GET /user/{login}/marketing/v3/campaigns`."""

    name = "luxsci_marketing_campaigns"
    primary_keys = ("account", "campaign_id")
    replication_key = "modified"
    operations = ((None, "getCampaigns"),)
    full_days = 7


class MarketingLogs(MarketingReport):
    """Messages of campaigns. `GET /user/{login}/marketing/v3/report/logs`."""

    name = "luxsci_marketing_logs"
    primary_keys = ("account", "log_id")
    replication_key = "delivery_status_updated"
    operations = ((None, "getReportLogs"),)

    @property
    @override
    def lookback(self) -> int:
        return self.wide_lookback


class MarketingOpens(MarketingReport):
    """Opens of campaigns. `GET /user/{login}/marketing/v3/report/opened`."""

    name = "luxsci_marketing_opens"
    primary_keys = ("account", "event_id")
    replication_key = "open_date"
    operations = ((None, "getReportOpened"),)


class MarketingClicks(MarketingReport):
    """Clicks in campaigns. `GET /user/{login}/marketing/v3/report/clicked`."""

    name = "luxsci_marketing_clicks"
    primary_keys = ("account", "event_id")
    replication_key = "click_date"
    operations = ((None, "getReportClicked"),)


class MarketingUrls(MarketingReport):
    """Links and their clicks. `GET /user/{login}/marketing/v3/report/urls`."""

    name = "luxsci_marketing_urls"
    primary_keys = ("account", "event_id")
    operations = ((None, "getReportUrls"),)
    full_days = 1


class MarketingBounces(MarketingLogs):
    """Bounces of campaigns. `GET /user/{login}/marketing/v3/report/bounces`."""

    name = "luxsci_marketing_bounces"
    operations = ((None, "getReportBounces"),)


class MarketingComplaints(MarketingReport):
    """Complaints, undated. `GET /user/{login}/marketing/v3/report/complaints`."""

    name = "luxsci_marketing_complaints"
    primary_keys = ("account", "log_id")
    operations = ((None, "getReportComplaints"),)
    full_days = 1


class MarketingUnsubscribes(MarketingReport):
    """Unsubscribes. `GET /user/{login}/marketing/v3/report/unsubscribed`."""

    name = "luxsci_marketing_unsubscribes"
    primary_keys = ("account", "event_id")
    replication_key = "unsubscribed_date"
    operations = ((None, "getReportUnsubscribed"),)


# Summaries


class Summary(ReportStream):
    """A report with one row for the requested time; the stream asks for whole days.

    Each UTC day is read once it is over, and a list is read at most once a day.

    Attributes:
        sums_up: the stream whose rows of a day it counts, the key of the list, and the
            vendor's name of the count; None if no other stream has these rows.
    """

    sums_up: ClassVar[tuple[str, str, str] | None] = None

    primary_keys: ClassVar[tuple[str, ...]] = ("account", "scope", "interval_start")
    replication_key = "interval_start"
    any_length = False
    narrowest = DAY

    @property
    @override
    def first_start(self) -> int:
        return -(-super().first_start // DAY) * DAY

    @property
    @override
    def first_width(self) -> int:
        return _WEEK

    @property
    @override
    def wide_lookback(self) -> int:
        return self.lookback

    @property
    @override
    def backfill_lead(self) -> int:
        return 0

    @override
    def wanted(self) -> Wanted:
        names = set(self.columns().values()) - {"report_date"}
        return Wanted(telling=frozenset(names))

    @override
    def next_width(self, seconds: int, rows: int) -> int:
        return self.first_width

    @override
    def horizon(self) -> int:
        return super().horizon() // DAY * DAY

    @override
    def is_read(self, coverage: Coverage) -> bool:
        # A day that failed is left to the history.
        seen = coverage.seen
        return seen is not None and min(seen, coverage.through) >= self.horizon()

    @override
    def read(self, due: Due) -> Generator[Page | WindowPart, None, None]:
        """Yield the row of each day, and a `WindowPart` after each day.

        Raises:
            NotUnderstood: the response for a day is not understood.
        """
        for day, part in _days_of(cast("Window", due.window)):
            rows = self._rows_of_day(due.source, day)
            about = {str(self.dated_by): iso(day.start)[:10]}
            columns = {**due.source.columns, **about}
            yield self.maker(day.start * 1000, **columns).page(rows)
            counts, days = (self._counted(rows), None), {day.start: len(rows)}
            yield WindowPart(part, True, len(rows), 0, 0, counts, days if rows else {})  # noqa: FBT003 - its parts

    def _rows_of_day(self, source: WindowList, day: Window) -> list[Row]:
        """Return the row of a day, or no row.

        Raises:
            NotUnderstood: the response has neither a list nor a row, or more than one
                row, or a row without a known column, or the API counts a row that the
                response does not have.
        """
        report = cast("ReportList", source)
        with closing(report.open(day, 0, MOST_IN_PAGE)) as answer:
            rows = [row for rows in answer.rows() for row in rows]
            has_list, row, count = answer.has_list, answer.sole_row(), answer.count
        if row is not None:
            return [row]
        wanted = self.wanted().telling
        found = [row for row in rows if row is not None and wanted & row.keys()]
        if has_list and not rows and count is None:
            count = report.count(day)
        is_short = not rows and bool(count)
        if not has_list or is_short or len(rows) > 1 or len(found) < len(rows):
            raise NotUnderstood(
                f"the response for {iso(day.start)[:10]} is not one row for that day"
            )
        return found

    def _counted(self, rows: Sequence[Row]) -> int | None:
        """Return the number of rows that the summary counts, None if unknown."""
        if self.sums_up is None or len(rows) != 1:
            return None
        return to_integer(rows[0].get(self.sums_up[2]))

    @override
    def compare(self, source: WindowList, part: WindowPart) -> None:
        """Reconcile a day with the other stream, if this run has read all its rows."""
        counted, day = part.counts[0], part.window
        if self.sums_up is None or counted is None or day is None:
            return
        stream, key, field = self.sums_up
        rows = self.luxsci.days[stream, key].rows(day)
        if rows is None:
            return
        count = Count(
            parent=f"{key} {iso(day.start)[:10]}",
            rows=rows,
            aggregate=counted,
            aggregate_name=f"{str(self.name).removeprefix('luxsci_')}.{field}",
            # Rows can be late. After a day both numbers are expected to be final.
            verified=self.api.now() - day.end >= DAY,
            login=source.columns.get("login"),
        )
        self.reconcile(count, stream)


def _days_of(window: Window) -> list[tuple[Window, Window]]:
    """Return the UTC days that a window touches, each with its part of the window."""
    first = window.start // DAY * DAY
    days = [Window(at, at + DAY) for at in range(first, window.end, DAY)]
    return [
        (day, Window(max(day.start, window.start), min(day.end, window.end)))
        for day in days
    ]


class DeliveryStatusSummary(Summary):
    """Deliveries a day. `GET /account/{account}/report/email/smtp/delivery/summary`."""

    name = "luxsci_delivery_status_summary"
    sums_up = ("luxsci_delivery_status", "smtp", "recipients")
    operations = ((None, "getEmailSMTPDeliveryStatusSummaryReport{}"),)


class OpensSummary(Summary):
    """Opens a day. `GET /account/{account}/report/email/smtp/opens/summary`."""

    name = "luxsci_opens_summary"
    sums_up = ("luxsci_opens", "smtp", "all_opens")
    operations = ((None, "getEmailSMTPOpenSummaryReport{}"),)


class ClicksSummary(Summary):
    """Clicks a day. `GET /account/{account}/report/email/smtp/clicks/summary`."""

    name = "luxsci_clicks_summary"
    sums_up = ("luxsci_clicks", "smtp", "all_clicks")
    operations = ((None, "getEmailSMTPClickSummaryReport{}"),)


class ComplaintsSummary(Summary):
    """Complaints a day. `GET /account/{account}/report/email/fbl/summary`."""

    name = "luxsci_complaints_summary"
    sums_up = ("luxsci_complaints", "all", "complaints")
    operations = ((None, "getEmailFeedBackLoopsSummaryReport{}"),)


class SuppressionsSummary(Summary):
    """Suppressions a day.

    `GET /account/{account}/report/email/suppressions/summary`.
    """

    name = "luxsci_suppressions_summary"
    sums_up = ("luxsci_suppressions", "all", "count")
    operations = ((None, "get{}SuppressionSummaryReport"),)


class UsersSummary(Summary):
    """Users a day. `GET /account/{account}/report/users/summary`."""

    name = "luxsci_users_summary"
    primary_keys = ("account", "interval_start")
    operations = ((None, "getUserSummaryReport"),)


STREAMS = (
    DeliveryStatus,
    Sent,
    Opens,
    Clicks,
    Complaints,
    Suppressions,
    TemporaryFailures,
    LoginFailures,
    DeliveryStatusSummary,
    OpensSummary,
    ClicksSummary,
    ComplaintsSummary,
    SuppressionsSummary,
    MarketingCampaigns,
    MarketingLogs,
    MarketingOpens,
    MarketingClicks,
    MarketingBounces,
    MarketingComplaints,
    MarketingUnsubscribes,
    MarketingUrls,
    MarketingLists,
    MarketingContacts,
    Users,
    UsersSummary,
    Jobs,
)
"""In the order in which they are read."""
