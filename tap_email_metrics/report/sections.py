"""The sections of the report: each has a title, a text, a query and columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CellFormat = Literal["text", "provider", "count", "percent", "small_percent"]

#: The order of the providers in every section.
ORDER = (
    "case provider when 'encompass' then 1 when 'constant_contact' then 2"
    " when 'luxsci' then 3 else 4 end"
)


@dataclass(frozen=True)
class TableColumn:
    """A column of a table.

    Attributes:
        name: the column of the query.
        heading: its heading in the table.
        kind: the format of its values.
        bar: whether each number has a bar beside it.
        unreported: key in `page.UNREPORTED`, if that is not the column's name.
        absent: the text of a cell without a value.
    """

    name: str
    heading: str
    kind: CellFormat = "count"
    bar: bool = False
    unreported: str = ""
    absent: str = "not known"


@dataclass(frozen=True)
class ReportSection:
    """A section of the report: a heading, a text and a table.

    Attributes:
        name: its anchor in the page.
        title: its heading.
        text: what is counted, in which unit and time zone, and what is left out.
        query: SQL over the marts that Postgres and DuckDB both run; `sql` replaces
            the names in braces.
        columns: the columns of the table, in order.
        empty: the text that replaces the table if there are no rows.
        names: number of leading columns that identify the row.
    """

    name: str
    title: str
    text: str
    query: str
    columns: tuple[TableColumn, ...]
    empty: str
    names: int = 1


PROVIDER = TableColumn("provider", "Provider", "provider")
ACCOUNT_NAME = TableColumn("account", "Account", "text")

_HAPPENED = """
    select
        provider,
        period,
        count(case when event_type = 'sent' then 1 end) as sent,
        count(case when event_type = 'delivered' then 1 end) as delivered,
        count(case when event_type = 'opened' and machine is null then 1 end)
            as human_opens,
        count(case when event_type = 'opened' then 1 end) as opens,
        count(case when event_type = 'clicked' and machine is null then 1 end)
            as human_clicks,
        count(case when event_type = 'clicked' then 1 end) as clicks,
        count(case when event_type = 'bounced' then 1 end) as bounced,
        case
            when provider <> 'encompass'
                then count(case when event_type = 'unsubscribed' then 1 end)
        end as unsubscribed,
        max(occurred_at) as newest
    from (
        select
            *,
            case
                when occurred_at >= timestamp '{since}' then '{period}'
                else '{period_before}'
            end as period
        from email_events
        where
            occurred_at >= timestamp '{before}'
            and occurred_at < timestamp '{now}'
    ) as recent
    group by provider, period
"""

HAPPENED = ReportSection(
    name="since",
    title="What happened since last time",
    text=(
        "Events of the last days, and of the same number of days before them. "
        "Encompass reports no sends, and Constant Contact no deliveries. "
        "People: opens and clicks that no rule attributes to a machine."
    ),
    query="""
        select
            provider,
            period,
            case when provider <> 'encompass' then sent end as sent,
            case when provider <> 'constant_contact' then delivered end as delivered,
            human_opens,
            opens,
            human_clicks,
            clicks,
            bounced,
            unsubscribed
        from ({happened}) as happened
        order by {order}, newest desc
    """,
    columns=(
        PROVIDER,
        TableColumn("period", "Period", "text"),
        TableColumn("sent", "Sent"),
        TableColumn("delivered", "Delivered"),
        TableColumn("human_opens", "Opens by people", bar=True),
        TableColumn("opens", "All opens"),
        TableColumn("human_clicks", "Clicks by people", bar=True),
        TableColumn("clicks", "All clicks"),
        TableColumn("bounced", "Bounces"),
        TableColumn("unsubscribed", "Unsubscribed"),
    ),
    empty="Nothing happened in these days.",
    names=2,
)

_MAILINGS = """
    select
        *,
        coalesce(nullif(trim(name), ''), nullif(trim(subject), ''), message_key)
            as shown_name,
        row_number() over (partition by provider order by sent_at desc, message_key)
            as place
    from email_message_rates
    where
        sent_at is not null
        and sent_at < timestamp '{now}'
        and coalesce(delivered, sent) >= 5
"""

TREND = ReportSection(
    name="trend",
    title="Open and click rates of the last twelve messages",
    text=(
        "Shares of the recipients whom a message reached, each recipient counted "
        "once. Reached means delivered; for Constant Contact, sent and not "
        "bounced. Messages that reached fewer than five recipients are left out. "
        "In the charts, the solid line is people and the dashed line is all. "
        "Vendor's openers is the vendor's own count, which may leave machines "
        "out. Times are in UTC."
    ),
    query="""
        select
            provider,
            shown_name as name,
            sent_at,
            delivered,
            human_open_rate,
            open_rate,
            human_click_rate,
            click_rate,
            vendor_openers,
            openers
        from ({mailings}) as mailings
        where place <= 12
        order by {order}, sent_at desc, message_key
    """,
    columns=(
        PROVIDER,
        TableColumn("name", "Message", "text"),
        TableColumn("sent_at", "Sent", "text"),
        TableColumn("delivered", "Reached"),
        TableColumn("human_open_rate", "Opened, people", "percent", bar=True),
        TableColumn("open_rate", "Opened, all", "percent"),
        TableColumn("human_click_rate", "Clicked, people", "percent", bar=True),
        TableColumn("click_rate", "Clicked, all", "percent"),
        TableColumn("openers", "Openers"),
        TableColumn("vendor_openers", "Vendor's openers"),
    ),
    empty="No message has reached five recipients yet.",
    names=2,
)

BEST = ReportSection(
    name="best",
    title="Best and worst messages",
    text=(
        "The three best and the three worst messages per provider, by the share of "
        "people who clicked. Only messages of the last year that were sent at "
        "least two days ago."
    ),
    query="""
        select
            provider,
            standing,
            shown_name as name,
            sent_at,
            human_click_rate,
            human_open_rate
        from (
            select
                ranked.*,
                case when best <= 3 then 'best' else 'worst' end as standing
            from (
                select
                    mailings.*,
                    row_number() over (
                        partition by provider
                        order by
                            human_click_rate desc, human_open_rate desc, message_key
                    ) as best,
                    row_number() over (
                        partition by provider
                        order by human_click_rate, human_open_rate, message_key desc
                    ) as worst
                from ({mailings}) as mailings
                where
                    human_click_rate is not null
                    and sent_at < timestamp '{now}' - interval '2 days'
                    and sent_at >= timestamp '{now}' - interval '365 days'
            ) as ranked
            where best <= 3 or worst <= 3
        ) as standing
        order by {order}, standing, human_click_rate desc, best
    """,
    columns=(
        PROVIDER,
        TableColumn("standing", "Which", "text"),
        TableColumn("name", "Message", "text"),
        TableColumn("sent_at", "Sent", "text"),
        TableColumn("human_click_rate", "Clicked, people", "percent", bar=True),
        TableColumn("human_open_rate", "Opened, people", "percent"),
    ),
    empty="There are no such messages yet.",
    names=3,
)

LINKS = ReportSection(
    name="links",
    title="Which links worked",
    text=(
        "The ten links that most people followed, per provider, in its last twelve"
        " messages. Share is the part of those who followed any link of the "
        "message. Links that nobody followed come last; some vendors do not list "
        "them."
    ),
    query="""
        select provider, name, link, human_clickers, clickers, human_clicker_share
        from (
            select
                links.*,
                mailings.shown_name as name,
                row_number() over (
                    partition by links.provider
                    order by
                        links.human_clickers desc, links.clickers desc, links.link,
                        links.message_key
                ) as link_place
            from email_links as links
            inner join ({mailings}) as mailings
                on mailings.provider = links.provider
                and mailings.account = links.account
                and mailings.message_key = links.message_key
                and mailings.place <= 12
        ) as ranked
        where link_place <= 10
        order by {order}, link_place
    """,
    columns=(
        PROVIDER,
        TableColumn("link", "Link", "text"),
        TableColumn("name", "Message", "text"),
        TableColumn("human_clickers", "People", bar=True),
        TableColumn("clickers", "All"),
        TableColumn("human_clicker_share", "Share of people", "percent"),
    ),
    empty="No link of these messages is known.",
    names=3,
)

HOURS = ReportSection(
    name="hours",
    title="When people open",
    text=(
        "Opens of all messages by people, by hour and weekday. The time zone is "
        "the dbt variable timezone."
    ),
    query="""
        select
            hour,
            cast(sum(case weekday when 1 then human_opens else 0 end) as bigint)
                as day_1,
            cast(sum(case weekday when 2 then human_opens else 0 end) as bigint)
                as day_2,
            cast(sum(case weekday when 3 then human_opens else 0 end) as bigint)
                as day_3,
            cast(sum(case weekday when 4 then human_opens else 0 end) as bigint)
                as day_4,
            cast(sum(case weekday when 5 then human_opens else 0 end) as bigint)
                as day_5,
            cast(sum(case weekday when 6 then human_opens else 0 end) as bigint)
                as day_6,
            cast(sum(case weekday when 7 then human_opens else 0 end) as bigint)
                as day_7,
            cast(sum(human_opens) as bigint) as total
        from email_hours
        group by hour
        order by hour
    """,
    columns=(
        TableColumn("hour", "Hour", "text"),
        *(
            TableColumn(f"day_{number}", name)
            for number, name in enumerate(
                ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), 1
            )
        ),
        TableColumn("total", "All days", bar=True),
    ),
    empty="There are no opens yet.",
)

DOMAINS = ReportSection(
    name="domains",
    title="Bounces and complaints by domain",
    text=(
        "The ten largest recipient domains per provider, over the messages of the "
        "last twelve weeks. Limit is the share of complaints that the mailbox "
        "provider says it does not tolerate. Gmail reports no complaints to "
        "senders; look into its Postmaster Tools."
    ),
    query="""
        select
            provider,
            domain,
            delivered,
            bounced,
            bounce_rate,
            complained,
            complaint_rate,
            complaint_limit
        from (
            select
                provider,
                domain,
                cast(sum(delivered) as bigint) as delivered,
                cast(sum(bounced) as bigint) as bounced,
                cast(sum(bounced) as double precision)
                    / nullif(sum(delivered) + sum(bounced), 0) as bounce_rate,
                cast(sum(complained) as bigint) as complained,
                cast(sum(complained) as double precision) / nullif(sum(delivered), 0)
                    as complaint_rate,
                max(complaint_limit) as complaint_limit,
                row_number() over (
                    partition by provider
                    order by sum(delivered) + sum(bounced) desc, domain
                ) as place
            from email_domains
            where week >= cast(timestamp '{now}' - interval '84 days' as date)
            group by provider, domain
        ) as largest
        where place <= 10
        order by {order}, place
    """,
    columns=(
        PROVIDER,
        TableColumn("domain", "Domain", "text"),
        TableColumn("delivered", "Delivered"),
        TableColumn("bounced", "Bounced"),
        TableColumn("bounce_rate", "Bounced, share", "percent", bar=True),
        TableColumn("complained", "Complained", unreported="complained_by_domain"),
        TableColumn(
            "complaint_rate",
            "Complained, share",
            "small_percent",
            unreported="complained_by_domain",
        ),
        TableColumn("complaint_limit", "Limit", "small_percent", absent="none"),
    ),
    empty="Nothing was sent in these weeks.",
    names=2,
)

GROWTH = ReportSection(
    name="growth",
    title="Does the list grow",
    text=(
        "Contacts that joined and left in each of the last twelve months. "
        "Encompass does not report who is on a list."
    ),
    query="""
        select
            provider,
            substr(cast(day as text), 1, 7) as month,
            cast(sum(joined) as bigint) as joined,
            cast(sum(departed) as bigint) as departed,
            cast(sum(net) as bigint) as net
        from email_list_daily
        where day >= cast(timestamp '{now}' - interval '365 days' as date)
            and day <= cast(timestamp '{now}' as date)
        group by provider, substr(cast(day as text), 1, 7)
        order by {order}, month desc
    """,
    columns=(
        PROVIDER,
        TableColumn("month", "Month", "text"),
        TableColumn("joined", "Joined", bar=True),
        TableColumn("departed", "Left", bar=True),
        TableColumn("net", "Net"),
    ),
    empty="No contact joined or left in the last twelve months.",
    names=2,
)

SILENT = ReportSection(
    name="silent",
    title="Who went silent",
    text=(
        "Recipients by the months since they last opened or clicked. Reason to "
        "stop counts those who complained, unsubscribed, are suppressed, had a "
        "hard bounce, or were silent for too long. The mart "
        "email_recipient_health lists them. All together joins all accounts by "
        "the address or its hash."
    ),
    query="""
        select
            provider,
            count(*) as recipients,
            count(case when months_silent < 3 then 1 end) as active,
            count(case when months_silent >= 3 and months_silent < 6 then 1 end)
                as three,
            count(case when months_silent >= 6 and months_silent < 12 then 1 end)
                as six,
            count(case when months_silent >= 12 then 1 end) as twelve,
            count(stop_reason) as stop
        from email_recipient_health
        group by provider
        order by {order}
    """,
    columns=(
        PROVIDER,
        TableColumn("recipients", "Recipients"),
        TableColumn("active", "Under 3 months", bar=True),
        TableColumn("three", "3 to 6"),
        TableColumn("six", "6 to 12"),
        TableColumn("twelve", "12 and more", bar=True),
        TableColumn("stop", "Reason to stop"),
    ),
    empty="No recipient is known.",
)

FRESHNESS = ReportSection(
    name="freshness",
    title="How fresh the numbers are",
    text=(
        "The stream of each account whose last complete run was longest ago. "
        "Times are in UTC."
    ),
    query="""
        select
            provider,
            account,
            stream,
            complete_at,
            hours_since_complete,
            last_outcome
        from (
            select
                *,
                row_number() over (
                    partition by provider, account
                    order by complete_at nulls first, stream
                ) as place
            from email_freshness
            where last_outcome <> 'unavailable'
        ) as latest
        where place = 1
        order by {order}, account
    """,
    columns=(
        PROVIDER,
        ACCOUNT_NAME,
        TableColumn("stream", "Stream", "text"),
        TableColumn("complete_at", "Last complete", "text", absent="never"),
        TableColumn("hours_since_complete", "Hours ago", absent="never"),
        TableColumn("last_outcome", "Last outcome", "text"),
    ),
    empty="There are no runs yet, or the stream email_metrics_runs is not loaded.",
    names=2,
)

COST = ReportSection(
    name="cost",
    title="What it cost to read",
    text=(
        "Requests, records and seconds per day, over the last fourteen days with "
        "runs. Quota left is the number of requests that remained of the day's "
        "budget; it is known only if daily_requests is set."
    ),
    query="""
        select
            provider,
            day,
            cast(sum(requests) as bigint) as requests,
            cast(sum(records) as bigint) as records,
            cast(sum(seconds) as double precision) as seconds,
            min(quota_left) as quota_left
        from email_sync_cost
        where day in (
            select distinct day from email_sync_cost order by day desc limit 14
        )
        group by provider, day
        order by {order}, day desc
    """,
    columns=(
        PROVIDER,
        TableColumn("day", "Day", "text"),
        TableColumn("requests", "Requests", bar=True),
        TableColumn("records", "Records", bar=True),
        TableColumn("seconds", "Seconds"),
        TableColumn("quota_left", "Quota left", absent="no limit set"),
    ),
    empty="There are no runs yet, or the stream email_metrics_runs is not loaded.",
    names=2,
)

HEADROOM = ReportSection(
    name="headroom",
    title="Archive headroom",
    text=(
        "Days until Encompass archives actions that the tap has not read, 180 at "
        "most. The tap warns below 30; below 0, rows may be lost. As far as is "
        "known, the other vendors archive nothing. Times are in UTC."
    ),
    query="""
        select 'encompass' as provider, account, stream, days_left, measured_at
        from email_archive_headroom
        order by account, stream
    """,
    columns=(
        ACCOUNT_NAME,
        TableColumn("stream", "Stream", "text"),
        TableColumn("days_left", "Days left", bar=True),
        TableColumn("measured_at", "Measured at", "text"),
    ),
    empty="No run has measured it for Encompass yet.",
    names=2,
)

SECTIONS = (
    *(HAPPENED, TREND, BEST, LINKS, HOURS, DOMAINS, GROWTH, SILENT),
    *(FRESHNESS, COST, HEADROOM),
)


def sql(section: ReportSection, facts: dict[str, str]) -> str:
    """Return the query of a section with the facts and shared parts filled in.

    Args:
        section: has the query.
        facts: `now`, `since` and `before`, as SQL timestamps in UTC, and the names of
            both periods, `period` and `period_before`.
    """
    parts = {
        "order": ORDER,
        "happened": _HAPPENED.format(**facts),
        "mailings": _MAILINGS.format(**facts),
    }
    return section.query.format(**parts, **facts)
