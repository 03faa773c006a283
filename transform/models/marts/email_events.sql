-- Incremental by the time of the load: what was loaded since the newest event here of the
-- same stream and account, less `reload_hours`, takes the place of events with the same key.
{{ config(materialized='incremental', unique_key='event_key') }}
with events as (
    {{- union_of_providers('_events') | indent(4) }}
)

select events.*
from events
{%- if is_incremental() %}
left join (
    select
        stream,
        account,
        cast({{ dbt.dateadd('hour', -1 * var('reload_hours'), 'max(loaded_at)') }}
        as {{ dbt.type_timestamp() }}) as again_from
    from {{ this }}
    group by stream, account
) as known
    on known.stream = events.stream
    and known.account = events.account
where
    events.loaded_at is null
    or known.again_from is null
    or events.loaded_at >= known.again_from
{%- endif %}
