"""LuxSci's reports: columns, dates and endpoints.

Names of columns are those of the vendor. Instants are UTC seconds; only fields of the
vendor hold date-times as text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

PREFIX = "/perl/api/v2"
MOST_ROWS = 50_000
"""The most rows in one answer, and the default of `matches`."""

Type = Literal["integer", "float", "datetime", "string"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a report."""

    name: str
    type: Type
    tracked: bool = False
    """Whether the column is shown only with `tracked_headers`."""


@dataclass(frozen=True)
class Kind:
    """A kind of report, which is the same in every scope and channel."""

    name: str
    columns: tuple[Column, ...]
    date: str | None = None
    """The date to which bounds apply."""
    sent: str | None = None
    """The date of the send, if rows have it beside another date."""
    has_channels: bool = False
    is_detailed: bool = False
    """Whether the report shows custom fields with `detail`."""

    @property
    def dates(self) -> tuple[str, ...]:
        """The columns by which the API may filter."""
        return tuple(name for name in (self.date, self.sent) if name)


_TYPES: dict[str, Type] = {
    "i": "integer",
    "f": "float",
    "d": "datetime",
    "s": "string",
}


def _columns(text: str) -> tuple[Column, ...]:
    """Return columns of `name:letter`; `headers` stands for the six tracked ones."""
    made: list[Column] = []
    for word in text.split():
        if word == "headers":
            names = (f"header{n}{end}" for n in (1, 2, 3) for end in ("", "_value"))
            made += [Column(name, "string", tracked=True) for name in names]
        else:
            name, _, letter = word.partition(":")
            made.append(Column(name, _TYPES[letter or "s"]))
    return tuple(made)


_CAMPAIGN = "log_id:i tracking_code campaign_id:i campaign_title"
_CONTACT = "contact_id:i list_id:i email"
_USER = "user user_id:i"
_DELIVERY = (
    "date_sent:d from from_ip headers last_updated:d delivery_status_updated:d"
    " delivery_seconds:i n_recipients:i secureline:i sendmail_id size_bytes:i"
    " smtp_code:i spam:i Opens:i Clicks:i Unsubscribed:i status details tls_delivery:i"
    f" tls_info to {_USER} template_id:i"
)
_SENT = (
    "date_sent:d from from_ip headers high_volume:i n_recipients:i notes opt_out:i"
    " secureline:i sendmail_id size_bytes:i spam:i template_id:i to used_tls:i"
    f" {_USER}"
)
_CLICKS = (
    "date_sent:d from headers clicker_ip click_date:d user_agent sendmail_id status"
    f" template_id:i to url {_USER}"
)
_OPENS = (
    "date_sent:d from headers opener_ip open_date:d user_agent sendmail_id status"
    f" template_id:i to {_USER}"
)
_COMPLAINTS = (
    "complaint_date:d complaint_source date_sent:d message_type sendmail_id server_ip"
    f" subject to {_USER}"
)
_CAMPAIGNS = (
    "campaign_id:i title template_id:i send_at:d send_started_at:d hourly_rate_limit:i"
    " queue_priority:i n_staged:i n_sent:i n_queued:i n_delivered:i n_soft_bounce:i"
    " n_hard_bounce:i n_lost:i n_opened_unique:i n_opened_total:i n_clicked_unique:i"
    " n_clicked_total:i n_opened_clicked_unique:i n_suppressed:i n_spam:i status"
    " status_detail created:d modified:d"
)
_LOGS = (
    "log_id:i tracking_code sendmail_id campaign_id:i campaign_title sent:d"
    f" delivery_status_updated:d {_CONTACT} disposition smtp_code:i state_detail"
    " opens:i clicks:i unsubscribed:i complained:i tls_used:i sl_type:i"
)
_BOUNCES = (
    "log_id:i tracking_code sendmail_id campaign_id:i campaign_title"
    f" delivery_status_updated:d {_CONTACT} disposition smtp_code:i state_detail"
)
_JOBS = (
    "job_id:i filename created:d updated:d completed:d status status_detail"
    " expected_rows:i completed_rows:i uid:i current_jobs:i max_jobs:i"
)
_COUNTED = "queued delivered hard_failed soft_failed failed opened clicked unsubscribed"
_SECURED = "secureline secureline_escrow secureline_tls"
_SHARES = f"{_COUNTED} {_SECURED}".split()
_DELIVERY_SUMMARY = " ".join(
    (
        *(f"{name}:i" for name in ("recipients", *_SHARES)),
        *(f"pct_{name}:f" for name in _SHARES),
        "report_date:d",
    )
)
COUNTED = tuple(_SHARES)
"""Numbers in the delivery summary, each with a percentage."""
_ALL = (
    Kind("delivery_status", _columns(_DELIVERY), "last_updated", "date_sent", True),  # noqa: FBT003
    Kind("sent", _columns(_SENT), "date_sent", has_channels=True),
    Kind("opens", _columns(_OPENS), "open_date", "date_sent", has_channels=True),
    Kind("clicks", _columns(_CLICKS), "click_date", "date_sent", has_channels=True),
    Kind("complaints", _columns(_COMPLAINTS), "complaint_date", "date_sent"),
    Kind(
        "suppressions",
        _columns(
            "account_id:i added:d domain_id:i email expires:i note sendmail_id"
            " user_id:i"
        ),
        "added",
    ),
    Kind(
        "temporary_failures",
        _columns(
            "date_sent:d date_temp_failure:d temp_fail_message sendmail_id msg_to"
            " user_id:i"
        ),
        "date_temp_failure",
        "date_sent",
    ),
    Kind("login_failures", _columns("date:d ip reason user_id:i"), "date"),
    Kind("delivery_status_summary", _columns(_DELIVERY_SUMMARY)),
    Kind("opens_summary", _columns("all_opens:i msg_opens:i report_date:d")),
    Kind("clicks_summary", _columns("all_clicks:i msg_clicks:i report_date:d")),
    Kind("complaints_summary", _columns("complaints:i report_date:d")),
    Kind("suppressions_summary", _columns("count:i report_date:d")),
    Kind("marketing_campaigns", _columns(_CAMPAIGNS), "modified"),
    Kind(
        "marketing_logs",
        _columns(_LOGS),
        "delivery_status_updated",
        "sent",
        is_detailed=True,
    ),
    Kind(
        "marketing_opens",
        _columns(f"{_CAMPAIGN} open_date:d {_CONTACT} ip_address user_agent"),
        "open_date",
        is_detailed=True,
    ),
    Kind(
        "marketing_clicks",
        _columns(f"{_CAMPAIGN} click_date:d {_CONTACT} ip_address url user_agent"),
        "click_date",
        is_detailed=True,
    ),
    Kind(
        "marketing_bounces",
        _columns(_BOUNCES),
        "delivery_status_updated",
        is_detailed=True,
    ),
    Kind("marketing_complaints", _columns(f"{_CAMPAIGN} {_CONTACT}"), is_detailed=True),
    Kind(
        "marketing_unsubscribes",
        _columns(f"{_CAMPAIGN} unsubscribed_date:d {_CONTACT} note"),
        "unsubscribed_date",
        is_detailed=True,
    ),
    Kind("marketing_urls", _columns("campaign_id:i campaign_title url clicks:i")),
    Kind(
        "marketing_lists",
        _columns(
            "list_id:i owner_id:i created:d modified:d name from_email from_name"
            " reply_email n_subscribers:i list_group_id:i"
        ),
        "modified",
    ),
    Kind(
        "marketing_contacts",
        _columns(
            "contact_id:i list_id:i owner_id:i created:d modified:d email domain"
            " is_active:i"
        ),
        "modified",
        is_detailed=True,
    ),
    Kind(
        "users",
        _columns("user_id:i domain_id:i login created:d modified:d name"),
        "modified",
    ),
    Kind(
        "users_summary",
        _columns("delta_users:i total_users:i user_limit:i pct_users:f report_date:d"),
    ),
    Kind("jobs", _columns(_JOBS), "updated"),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""Every kind of report in the order in which the tap reads them."""
CHANNELS = ("smtp", "webmail")
SUMMARIES = {
    "delivery_status_summary": "delivery_status",
    "opens_summary": "opens",
    "clicks_summary": "clicks",
    "complaints_summary": "complaints",
    "suppressions_summary": "suppressions",
    "users_summary": "users",
}
"""Summaries, with the kind of the rows of which they are computed."""


@dataclass(frozen=True)
class Endpoint:
    """A report, with its name in the vendor's OpenAPI file."""

    operation: str
    path: str
    """Path below PREFIX with `{account}` or `{login}`."""
    kind: str
    channel: str | None = None

    @property
    def is_of_account(self) -> bool:
        """Whether the report is in account scope."""
        return self.path.startswith("/account/")

    @property
    def is_marketing(self) -> bool:
        """Whether the report is about the marketing of a login."""
        return self.kind.startswith("marketing_")


_MARKETING = {
    "getLists": "lists",
    "getContacts": "contacts",
    "getCampaigns": "campaigns",
    "getReportLogs": "report/logs",
    "getReportOpened": "report/opened",
    "getReportClicked": "report/clicked",
    "getReportUrls": "report/urls",
    "getReportBounces": "report/bounces",
    "getReportComplaints": "report/complaints",
    "getReportUnsubscribed": "report/unsubscribed",
}
_RENAMED = {"opened": "opens", "clicked": "clicks", "unsubscribed": "unsubscribes"}
_BY_CHANNEL = {
    "DeliveryStatus": ("delivery", "delivery_status"),
    "Sent": ("sent", "sent"),
    "Click": ("clicks", "clicks"),
    "Open": ("opens", "opens"),
}
# (operation with @ for the scope, path below {scope}/report/email, kind)
_SCOPED = (
    ("getEmailFeedBackLoopsReport@", "fbl", "complaints"),
    ("get@SuppressionReport", "suppressions", "suppressions"),
    ("getEmailSMTPTempFailReport@", "smtp/tempfail", "temporary_failures"),
    (
        "getEmailSMTPDeliveryStatusSummaryReport@",
        "smtp/delivery/summary",
        "delivery_status_summary",
    ),
    ("getEmailSMTPOpenSummaryReport@", "smtp/opens/summary", "opens_summary"),
    ("getEmailSMTPClickSummaryReport@", "smtp/clicks/summary", "clicks_summary"),
    ("getEmailFeedBackLoopsSummaryReport@", "fbl/summary", "complaints_summary"),
    ("get@SuppressionSummaryReport", "suppressions/summary", "suppressions_summary"),
)
_SCOPES = {"Account": "/account/{account}", "User": "/user/{login}"}


def _endpoints() -> tuple[Endpoint, ...]:
    made = [
        Endpoint("getUserReport2", "/account/{account}/report/users", "users"),
        Endpoint(
            "getUserSummaryReport",
            "/account/{account}/report/users/summary",
            "users_summary",
        ),
        Endpoint(
            "getSMTPLoginFailureReportAccount",
            "/account/{account}/report/smtp/loginfailures",
            "login_failures",
        ),
    ]
    for operation, tail in _MARKETING.items():
        name = tail.removeprefix("report/")
        kind = f"marketing_{_RENAMED.get(name, name)}"
        made.append(Endpoint(operation, f"/user/{{login}}/marketing/v3/{tail}", kind))
    for scope, base in _SCOPES.items():
        made.append(Endpoint(f"get{scope}Jobs", f"{base}/report/jobs", "jobs"))
        email = f"{base}/report/email"
        for operation, tail, kind in _SCOPED:
            name = operation.replace("@", scope)
            made.append(Endpoint(name, f"{email}/{tail}", kind))
        for word, (tail, kind) in _BY_CHANNEL.items():
            for channel, spelt in zip(CHANNELS, ("SMTP", "WebMail"), strict=True):
                name = f"getEmail{spelt}{word}Report{scope}"
                if name != "getEmailWebMailClickReportUser":  # it does not exist
                    path = f"{email}/{channel}/{tail}"
                    made.append(Endpoint(name, path, kind, channel))
    return tuple(made)


ENDPOINTS = _endpoints()


def gmt(at: float) -> str:
    """Return UTC seconds as a DATETIME of the vendor."""
    return datetime.fromtimestamp(at // 1, UTC).isoformat(" ", "seconds")[:19]


def epoch(text: str) -> int:
    """Return a DATETIME as UTC seconds; ValueError for other text."""
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())
