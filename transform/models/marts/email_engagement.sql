select
    provider,
    account,
    recipient_key,
    count(distinct message_key) as message_count,
    count(*) as event_count,
{%- for type in event_types() %}
    count(case when event_type = '{{ type }}' then 1 end) as {{ type }}_count,
    min(case when event_type = '{{ type }}' then occurred_at end) as first_{{ type }}_at,
    max(case when event_type = '{{ type }}' then occurred_at end) as last_{{ type }}_at
    {{- ',' if not loop.last }}
{%- endfor %}
from {{ ref('email_events') }}
where recipient_key is not null
group by provider, account, recipient_key
