-- Incremental: rebuilds the recipients with an event written since the last build.
{{ config(
    materialized=by_key(),
    unique_key=['provider', 'account', 'recipient_key'],
    incremental_strategy='delete+insert',
    post_hook="{{ email_metrics.forget_former_recipients() }}",
    indexes=indexes(['provider', 'account', 'recipient_key']),
) }}
select
    events.provider,
    events.account,
    events.recipient_key,
    count(distinct events.message_key) as message_count,
    count(*) as event_count,
{%- for type in event_types() %}
    count(case when event_type = '{{ type }}' then 1 end) as {{ type }}_count,
    min(case when event_type = '{{ type }}' then occurred_at end) as first_{{ type }}_at,
    max(case when event_type = '{{ type }}' then occurred_at end) as last_{{ type }}_at,
{%- endfor %}
    max(events.built_at) as built_at
from {{ ref('email_events') }} as events
{%- if is_incremental() %}
inner join (
    {{ touched(['provider', 'account', 'recipient_key']) | indent(4) }}
    union distinct
    {{ touched(['provider', 'account', 'former_recipient_key']) | indent(4) }}
) as touched
    on touched.provider = events.provider
    and touched.account = events.account
    and touched.recipient_key = events.recipient_key
{%- endif %}
where events.recipient_key is not null
group by events.provider, events.account, events.recipient_key
