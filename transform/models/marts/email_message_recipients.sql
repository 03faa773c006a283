-- Incremental: rebuilds the pairs of message and recipient with an event written since the
-- last build.
{{ config(
    materialized=by_key(),
    unique_key=['provider', 'account', 'message_key', 'recipient_id'],
    incremental_strategy='delete+insert',
    indexes=indexes(['provider', 'account', 'message_key', 'recipient_id']),
) }}
{%- set pair = ['provider', 'account', 'message_key', 'recipient_id'] %}
{%- set known = {
    'sent': ['constant_contact', 'luxsci'],
    'delivered': ['encompass', 'luxsci'],
    'bounced': ['encompass', 'constant_contact', 'luxsci'],
    'unsubscribed': ['constant_contact', 'luxsci'],
    'complained': ['luxsci'],
    'forwarded': ['constant_contact'],
} %}
with events as (
    select
        events.*,
        {{ bounce_kind('events.provider', 'bounce_class') }} as bounce_kind
    from {{ ref('email_events') }} as events
    {%- if is_incremental() %}
    inner join (
        {{ touched(pair) | indent(8) }}
    ) as touched
        on {% for name in pair %}touched.{{ name }} = events.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    {%- endif %}
    where events.message_key is not null and events.recipient_id is not null
),

pairs as (
    select
        {%- for name in pair %}
        {{ name }},
        {%- endfor %}
        max(recipient_key) as recipient_key,
        max(customer_key) as customer_key,
        max(recipient_domain) as recipient_domain,
        {%- for type, providers in known.items() %}
        case
            when provider in ('{{ providers | join("', '") }}')
                then count(case when event_type = '{{ type }}' then 1 end) > 0
        end as is_{{ type }},
        min(case when event_type = '{{ type }}' then occurred_at end) as {{ type }}_at,
        {%- endfor %}
        {%- for type, noun in [('opened', 'open'), ('clicked', 'click')] %}
        {%- for who, human in [('', ''), ('human_', ' and machine is null')] %}
        count(case when event_type = '{{ type }}'{{ human }} then 1 end) as {{ who }}{{ noun }}s,
        min(case when event_type = '{{ type }}'{{ human }} then occurred_at end) as first_{{ who }}{{ noun }}_at,
        max(case when event_type = '{{ type }}'{{ human }} then occurred_at end) as last_{{ who }}{{ noun }}_at,
        {%- endfor %}
        {%- endfor %}
        max(bounce_class) as bounce_class,
        -- A hard bounce is final. In the alphabet it comes before soft.
        min(bounce_kind) as bounce_kind,
        max(built_at) as built_at
    from events
    group by {{ pair | join(', ') }}
)

select
    pairs.*,
    {{ dbt.datediff('coalesce(delivered_at, sent_at)', 'first_open_at', 'second') }} / 60.0 as minutes_to_open,
    {{ dbt.datediff('coalesce(delivered_at, sent_at)', 'first_human_open_at', 'second') }} / 60.0 as minutes_to_human_open
from pairs
