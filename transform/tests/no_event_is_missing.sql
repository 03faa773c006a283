-- depends_on: {{ ref('email_events_in_full') }}
-- Incremental runs give the same events as a full refresh. The test compares the rows that were
-- loaded in the last `check_hours` before the newest row, or all rows if that is 0.
{%- set columns = ['event_key', 'event_type', 'recipient_key', 'occurred_at', 'link'] %}
{%- do columns.append('machine') if not var('check_hours') %}
{%- if var('check_hours') %}
with known as {{ once() }}(
    select
        stream,
        provider,
        account,
        cast({{ dbt.dateadd(
            'hour',
            -1 * var('check_hours'),
            'max(max(least(loaded_at, built_at))) over (partition by provider, account)'
        ) }} as {{ dbt.type_timestamp() }}) as again_from
    from {{ ref('email_events') }}
    group by stream, provider, account
),

{{ changed_streams() }}
{%- endif %}

select {{ columns | join(', ') }}
{%- if var('check_hours') %}
from (
    {{- events_of_providers(changed=true) | indent(4) }}
) as events
{%- else %}
from {{ ref('email_events_in_full') }}
{%- endif %}
{{ dbt.except() }}
select {{ columns | join(', ') }}
from {{ ref('email_events') }}
