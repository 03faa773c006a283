-- Compares the lists with the vendor's counters. It counts contacts, and clicks also one by one.
-- Opens are left out, because the vendor later removes machine opens from its counter but not
-- from the list. This is a warning only: the counters are updated some time after the events.
{{ config(
    enabled='constant_contact' in var('providers'),
    severity='warn',
) }}
{%- set counters = {
    'sends': {'em_sends': 'count(distinct contact_id)'},
    'clicks': {'em_clicks': 'count(distinct contact_id)', 'em_clicks_all': 'count(*)'},
    'bounces': {'em_bounces': 'count(distinct contact_id)'},
    'optouts': {'em_optouts': 'count(distinct contact_id)'},
    'forwards': {'em_forwards': 'count(distinct contact_id)'},
    'unique_opens': {'em_opens': 'count(*)'},
} %}
with found as (
{%- for kind, columns in counters.items() %}
{%- set outer = loop %}
{%- for counter, count in columns.items() %}
    select account, campaign_activity_id, '{{ counter }}' as counter, {{ count }} as total
    from {{ ref('stg_constant_contact_' ~ kind) }}
    group by account, campaign_activity_id
{%- if not (outer.last and loop.last) %}
    union all
{%- endif %}
{%- endfor %}
{%- endfor %}
),

counted as (
{%- for kind, columns in counters.items() %}
{%- set outer = loop %}
{%- for counter in columns %}
    select account, campaign_activity_id, '{{ counter }}' as counter, {{ counter }} as total
    from {{ ref('stg_constant_contact_campaign_activity_stats') }}
{%- if not (outer.last and loop.last) %}
    union all
{%- endif %}
{%- endfor %}
{%- endfor %}
)

select counted.*, found.total as found_total
from counted
left join found
    on found.account = counted.account
    and found.campaign_activity_id = counted.campaign_activity_id
    and found.counter = counted.counter
where counted.total <> coalesce(found.total, 0)
