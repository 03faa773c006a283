-- Compares the lists with the vendor's daily summaries, which count SMTP only. The summary of
-- deliveries is left out, because it is not documented which date of a delivery it uses. This
-- is a warning only: after the look-back a summary is not read again, but late events are.
{{ config(enabled='luxsci' in var('providers'), severity='warn') }}
{%- set summaries = {
    'opens': ('open_date', 'all_opens'),
    'clicks': ('click_date', 'all_clicks'),
    'complaints': ('complaint_date', 'complaints'),
} %}
{%- for stream, (date, total) in summaries.items() %}
select
    '{{ stream }}' as stream,
    summary.account,
    summary.interval_start,
    summary.{{ total }} as total,
    count(events.account) as found_total
from {{ ref('stg_luxsci_' ~ stream ~ '_summary') }} as summary
left join {{ ref('stg_luxsci_' ~ stream) }} as events
    on events.account = summary.account
    and cast(events.{{ date }} as date) = summary.interval_start
    {%- if stream != 'complaints' %}
    and events.channel = 'smtp'
    {%- endif %}
group by summary.account, summary.scope, summary.interval_start, summary.{{ total }}
having summary.{{ total }} <> count(events.account)
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
