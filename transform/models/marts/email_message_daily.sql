-- Days are those of UTC. Events without a time have a row without a day.
select
    provider,
    account,
    message_key,
    event_type,
    cast(occurred_at as date) as event_date,
    count(*) as event_count,
    -- Nobody is counted where nobody is known.
    nullif(count(distinct recipient_key), 0) as recipient_count
from {{ ref('email_events') }}
where message_key is not null
group by provider, account, message_key, event_type, cast(occurred_at as date)
