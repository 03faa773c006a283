-- Incremental: rebuilds all days of the messages with an event written since the last build.
-- Days are those of the variable `timezone`. Events without a time have a row without a day.
{{ config(
    materialized=by_key(),
    unique_key=['provider', 'account', 'message_key'],
    incremental_strategy='delete+insert',
    indexes=indexes(['provider', 'account', 'message_key']),
) }}
select
    events.provider,
    events.account,
    events.message_key,
    event_type,
    {{ local_date('occurred_at') }} as event_date,
    count(*) as event_count,
    count(case when machine is null then 1 end) as human_event_count,
    -- Null instead of 0 if no recipient is known.
    nullif(count(distinct recipient_key), 0) as recipient_count,
    max(events.built_at) as built_at
from {{ ref('email_events') }} as events
{%- if is_incremental() %}
inner join (
    {{ touched(['provider', 'account', 'message_key']) | indent(4) }}
) as touched
    on touched.provider = events.provider
    and touched.account = events.account
    and touched.message_key = events.message_key
{%- endif %}
where events.message_key is not null
group by
    events.provider,
    events.account,
    events.message_key,
    event_type,
    {{ local_date('occurred_at') }}
