"""What the report shows: of each section its words, its query and its chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_email_metrics.report import charts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_email_metrics.report.marts import Row


@dataclass(frozen=True)
class Section:
    """A chart and the numbers that it is made of.

    Attributes:
        name: its anchor in the page.
        title: its heading.
        text: what is counted, in which unit and time zone, and what is not in it.
        query: SQL over the marts, the same for Postgres and DuckDB.
        columns: headings of the table by column of the query.
        chart: makes the chart of the rows, which are not none.
        empty: what is said where there are none.
    """

    name: str
    title: str
    text: str
    query: str
    columns: Mapping[str, str]
    chart: Callable[[list[Row]], Any]
    empty: str


MESSAGES = Section(
    name="messages",
    title="Messages by provider",
    text=(
        "Messages that the marts know, also those that only their events tell of. How "
        "many were sent is the vendor's own count. Days are in UTC."
    ),
    query="""
        select
            provider,
            count(*) as messages,
            cast(sum(sent_count) as bigint) as sent,
            cast(min(sent_at) as date) as first_day,
            cast(max(sent_at) as date) as last_day
        from email_messages
        group by provider
        order by provider
    """,
    columns={
        "provider": "Provider",
        "messages": "Messages",
        "sent": "Sent",
        "first_day": "First sent",
        "last_day": "Last sent",
    },
    chart=charts.messages,
    empty="There are no messages yet.",
)

FUNNEL = Section(
    name="funnel",
    title="Sent, delivered, opened, clicked",
    text=(
        "Recipients of a message, each counted once a message: who opens twice has two "
        "events and is one recipient. Encompass has no events of sending and Constant "
        "Contact none of delivery. With pii.mode domain these are domains, with drop "
        "there are no recipients to count, only events."
    ),
    query="""
        select
            provider,
            event_type,
            count(recipient_key) as recipients,
            cast(sum(events) as bigint) as events
        from (
            select
                provider,
                account,
                message_key,
                recipient_key,
                event_type,
                count(*) as events
            from email_events
            where event_type in ('sent', 'delivered', 'opened', 'clicked')
            group by provider, account, message_key, recipient_key, event_type
        ) as pairs
        group by provider, event_type
        order by
            provider,
            case event_type
                when 'sent' then 1 when 'delivered' then 2 when 'opened' then 3 else 4
            end
    """,
    columns={
        "provider": "Provider",
        "event_type": "Step",
        "recipients": "Recipients",
        "events": "Events",
    },
    chart=charts.funnel,
    empty="There are no such events yet.",
)

OPENS = Section(
    name="opens",
    title="Opens over the hours after a send",
    text=(
        "Openings, each counted, by full hours from when the sending of the message "
        "began (of Constant Contact the first time). The chart ends after three days; "
        "the table has what came later, under 72, and what is dated before the send, "
        "under -1. Not in it: opens without a time, and of messages whose time of "
        "sending is not known."
    ),
    query="""
        select provider, hour, count(*) as opens
        from (
            select
                events.provider,
                cast(
                    greatest(-1, least(72, floor(
                        extract(epoch from events.occurred_at - messages.sent_at) / 3600
                    ))) as integer
                ) as hour
            from email_events as events
            inner join email_messages as messages
                on messages.provider = events.provider
                and messages.account = events.account
                and messages.message_key = events.message_key
            where
                events.event_type = 'opened'
                and events.occurred_at is not null
                and messages.sent_at is not null
        ) as timed
        group by provider, hour
        order by hour, provider
    """,
    columns={"hour": "Hours after the send", "provider": "Provider", "opens": "Opens"},
    chart=charts.opens,
    empty="There are no opens yet of messages whose time of sending is known.",
)

BOUNCES = Section(
    name="bounces",
    title="Bounces by class",
    text=(
        "Bounces in the vendor's own terms, which are not translated into each other: "
        "of Encompass its free text, of Constant Contact the words of its counters, of "
        "LuxSci hard or soft. Of each provider the ten most frequent classes."
    ),
    query="""
        select
            provider,
            case when place <= 10 then bounce_class else 'all others' end as class,
            cast(sum(bounces) as bigint) as bounces
        from (
            select
                provider,
                coalesce(bounce_class, 'not told') as bounce_class,
                count(*) as bounces,
                row_number() over (
                    partition by provider
                    order by count(*) desc, bounce_class
                ) as place
            from email_events
            where event_type = 'bounced'
            group by provider, bounce_class
        ) as classes
        group by
            provider,
            case when place <= 10 then bounce_class else 'all others' end
        order by provider, bounces desc, class
    """,
    columns={"provider": "Provider", "class": "Class", "bounces": "Bounces"},
    chart=charts.bounces,
    empty="There are no bounces yet.",
)

COST = Section(
    name="cost",
    title="What was read and what it cost",
    text=(
        "Records that the tap emitted in each of its last 48 runs, and requests that "
        "it sent, by when the run began in UTC; backfills count. Quota left is what "
        "the vendor's day had left at the end of the run, where daily_requests is set."
    ),
    query="""
        select
            substr(run, 1, 10) || ' ' || substr(run, 12, 8) as run,
            provider,
            cast(sum(records) as bigint) as records,
            cast(sum(requests) as bigint) as requests,
            cast(sum(seconds) as double precision) as seconds,
            min(quota_left) as quota_left
        from stg_email_metrics_runs
        where run in (
            select distinct run
            from stg_email_metrics_runs
            order by run desc
            limit 48
        )
        group by run, provider
        order by run, provider
    """,
    columns={
        "run": "Run",
        "provider": "Provider",
        "records": "Records",
        "requests": "Requests",
        "seconds": "Seconds",
        "quota_left": "Quota left",
    },
    chart=charts.cost,
    empty="There are no runs yet, or the stream email_metrics_runs is not loaded.",
)

HEADROOM = Section(
    name="headroom",
    title="Archive headroom",
    text=(
        "Days that are left until Encompass archives actions that were not read, 180 "
        "at most; the tap warns below 30, and below 0 rows may be lost. Other vendors "
        "archive nothing, as far as is known. The time of the measurement is in UTC."
    ),
    query="""
        select account, stream, days_left, measured_at
        from email_archive_headroom
        order by account, stream
    """,
    columns={
        "account": "Account",
        "stream": "Stream",
        "days_left": "Days left",
        "measured_at": "Measured at",
    },
    chart=charts.headroom,
    empty="No run of Encompass has measured it yet.",
)

SECTIONS = (MESSAGES, FUNNEL, OPENS, BOUNCES, COST, HEADROOM)
