"""What the report shows: of each section its words, its query and its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "provider", "count", "percent", "small_percent"]

#: Providers stand in this order everywhere.
ORDER = (
    "case provider when 'encompass' then 1 when 'constant_contact' then 2"
    " when 'luxsci' then 3 else 4 end"
)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: the column of the query.
        heading: what stands above it.
        kind: how its values are written.
        bar: whether each number has a bar beside it.
        unreported: the fact that a provider may not report, if it is not the name.
    """

    name: str
    heading: str
    kind: Kind = "count"
    bar: bool = False
    unreported: str = ""


@dataclass(frozen=True)
class Section:
    """A table of the report.

    Attributes:
        name: its anchor in the page.
        title: its heading.
        text: what is counted, in which unit and time zone, and what is left out.
        query: SQL over the marts, the same for Postgres and DuckDB, with names in
            braces for times and for the parts in `sql`.
        columns: the columns of the table, in order; the first ones name the row.
        empty: what is said where there are no rows.
        names: how many columns name the row.
    """

    name: str
    title: str
    text: str
    query: str
    columns: tuple[Column, ...]
    empty: str
    names: int = 1


PROVIDER = Column("provider", "Provider", "provider")
ACCOUNT = Column("account", "Account", "text")

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
        end as unsubscribed
    from (
        select
            *,
            case
                when occurred_at >= timestamp '{since}' then 'these days'
                else 'the days before'
            end as period
        from email_events
        where
            occurred_at >= timestamp '{before}'
            and occurred_at < timestamp '{now}'
    ) as recent
    group by provider, period
    order by {order}, period desc
"""

HAPPENED = Section(
    name="since",
    title="What happened since last time",
    text=(
        "Events of the last days, and of as many days before them. Encompass "
        "reports no sends and Constant Contact no deliveries. People: without "
        "opens and clicks that a rule takes for a machine's."
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
        order by {order}, period desc
    """,
    columns=(
        PROVIDER,
        Column("period", "Period", "text"),
        Column("sent", "Sent"),
        Column("delivered", "Delivered"),
        Column("human_opens", "Opens by people", bar=True),
        Column("opens", "All opens"),
        Column("human_clicks", "Clicks by people", bar=True),
        Column("clicks", "All clicks"),
        Column("bounced", "Bounces"),
        Column("unsubscribed", "Unsubscribed"),
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

TREND = Section(
    name="trend",
    title="Open and click rates of the last twelve messages",
    text=(
        "Shares of the recipients whom a message reached (delivered, or of "
        "Constant Contact sent less bounced), each recipient counted once. Only "
        "messages that reached five or more. Vendor: openers by the vendor's own "
        "count, which may leave machines out. Times are in UTC."
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
        Column("name", "Message", "text"),
        Column("sent_at", "Sent", "text"),
        Column("delivered", "Reached"),
        Column("human_open_rate", "Opened, people", "percent", bar=True),
        Column("open_rate", "Opened, all", "percent"),
        Column("human_click_rate", "Clicked, people", "percent", bar=True),
        Column("click_rate", "Clicked, all", "percent"),
        Column("openers", "Openers"),
        Column("vendor_openers", "Vendor's openers"),
    ),
    empty="There are no messages yet that reached five recipients.",
    names=2,
)

BEST = Section(
    name="best",
    title="Best and worst messages",
    text=(
        "By the share of people who clicked, of messages of the last year that "
        "were sent two days ago or earlier: the three best and the three worst "
        "per provider."
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
        Column("standing", "Which", "text"),
        Column("name", "Message", "text"),
        Column("sent_at", "Sent", "text"),
        Column("human_click_rate", "Clicked, people", "percent", bar=True),
        Column("human_open_rate", "Opened, people", "percent"),
    ),
    empty="There are no such messages yet.",
    names=3,
)

LINKS = Section(
    name="links",
    title="Which links worked",
    text=(
        "The ten links per provider that most people followed, of its last twelve"
        " messages, and their share of the people who followed any link of the "
        "message. Links that nobody followed come last, where the vendor lists "
        "links."
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
        Column("link", "Link", "text"),
        Column("name", "Message", "text"),
        Column("human_clickers", "People", bar=True),
        Column("clickers", "All"),
        Column("human_clicker_share", "Share of people", "percent"),
    ),
    empty="No link of these messages is known.",
    names=3,
)

HOURS = Section(
    name="hours",
    title="When people open",
    text=(
        "Opens by people of all messages, by hour and weekday in the time zone "
        "that the marts were built with (the variable timezone)."
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
        Column("hour", "Hour", "text"),
        *(
            Column(f"day_{number}", name)
            for number, name in enumerate(
                ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), 1
            )
        ),
        Column("total", "All days", bar=True),
    ),
    empty="There are no opens yet.",
)

DOMAINS = Section(
    name="domains",
    title="Bounces and complaints by domain",
    text=(
        "The ten largest domains per provider, of messages of the last twelve "
        "weeks. Limit is the share of complaints that the mailbox provider says "
        "it does not tolerate. Gmail passes complaints on to nobody: see its "
        "Postmaster Tools."
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
        Column("domain", "Domain", "text"),
        Column("delivered", "Delivered"),
        Column("bounced", "Bounced"),
        Column("bounce_rate", "Bounced, share", "percent", bar=True),
        Column("complained", "Complained", unreported="complained_by_domain"),
        Column(
            "complaint_rate",
            "Complained, share",
            "small_percent",
            unreported="complained_by_domain",
        ),
        Column("complaint_limit", "Limit", "small_percent"),
    ),
    empty="Nothing was sent in these weeks.",
    names=2,
)

GROWTH = Section(
    name="growth",
    title="Does the list grow",
    text=(
        "Contacts that joined and left per month, of the last twelve. Encompass "
        "does not report who is on a list."
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
        Column("month", "Month", "text"),
        Column("joined", "Joined", bar=True),
        Column("departed", "Left", bar=True),
        Column("net", "Net"),
    ),
    empty="No contact joined or left in the last twelve months.",
    names=2,
)

SILENT = Section(
    name="silent",
    title="Who went silent",
    text=(
        "Recipients by the last month in which a person opened or clicked, and "
        "how many of them there is a reason to stop mailing: complained, "
        "suppressed, unsubscribed, a hard bounce, or silence. Counts only; the "
        "mart email_recipient_health has the list. All together: by the address, "
        "or its hash, over all accounts."
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
        Column("recipients", "Recipients"),
        Column("active", "Under 3 months", bar=True),
        Column("three", "3 to 6"),
        Column("six", "6 to 12"),
        Column("twelve", "12 and more", bar=True),
        Column("stop", "Reason to stop"),
    ),
    empty="No recipient is known.",
)

FRESHNESS = Section(
    name="freshness",
    title="How fresh the numbers are",
    text=(
        "Per provider and account: the stream that was last complete longest ago."
        " Times are in UTC."
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
        ACCOUNT,
        Column("stream", "Stream", "text"),
        Column("complete_at", "Last complete", "text"),
        Column("hours_since_complete", "Hours ago"),
        Column("last_outcome", "Last outcome", "text"),
    ),
    empty="There are no runs yet, or the stream email_metrics_runs is not loaded.",
    names=2,
)

COST = Section(
    name="cost",
    title="What it cost to read",
    text=(
        "Requests, records and seconds per day, of the last fourteen days with "
        "runs. Quota left is what the provider's day had left at the end, where "
        "daily_requests is set."
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
        Column("day", "Day", "text"),
        Column("requests", "Requests", bar=True),
        Column("records", "Records", bar=True),
        Column("seconds", "Seconds"),
        Column("quota_left", "Quota left"),
    ),
    empty="There are no runs yet, or the stream email_metrics_runs is not loaded.",
    names=2,
)

HEADROOM = Section(
    name="headroom",
    title="Archive headroom",
    text=(
        "Days that are left until Encompass archives actions that were not read, "
        "180 at most; the tap warns below 30, and below 0 rows may be lost. Other"
        " vendors archive nothing, as far as is known. The time of the "
        "measurement is in UTC."
    ),
    query="""
        select 'encompass' as provider, account, stream, days_left, measured_at
        from email_archive_headroom
        order by account, stream
    """,
    columns=(
        ACCOUNT,
        Column("stream", "Stream", "text"),
        Column("days_left", "Days left", bar=True),
        Column("measured_at", "Measured at", "text"),
    ),
    empty="No run of Encompass has measured it yet.",
    names=2,
)

SECTIONS = (
    *(HAPPENED, TREND, BEST, LINKS, HOURS, DOMAINS, GROWTH, SILENT),
    *(FRESHNESS, COST, HEADROOM),
)


def sql(section: Section, times: dict[str, str]) -> str:
    """Return the query of a section, with `now`, `since` and `before` in it."""
    parts = {
        "order": ORDER,
        "happened": _HAPPENED.format(order=ORDER, **times),
        "mailings": _MAILINGS.format(**times),
    }
    return section.query.format(**parts, **times)
