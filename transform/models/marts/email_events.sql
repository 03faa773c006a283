-- Incremental by the time of the load: what was loaded since the newest event here, less
-- `reload_hours`, takes the place of events with the same key.
{{ config(materialized='incremental', unique_key='event_key') }}
with events as (
    {{- union_of_providers('_events') | indent(4) }}
)

select *
from events
{%- if is_incremental() %}
where
    loaded_at is null
    or loaded_at >= (
        select
            coalesce(
                {{ dbt.dateadd('hour', -1 * var('reload_hours'), 'max(loaded_at)') }},
                cast('1970-01-01' as {{ dbt.type_timestamp() }})
            )
        from {{ this }}
    )
{%- endif %}
