-- Incremental by the time of the load. Read are the rows that were loaded since the newest
-- row of the account that is here, less `reload_hours`. Of each message and recipient that
-- such a row tells of, opens and clicks are judged anew: an event may show another to be a
-- machine's. Written is what is new or differs.
{{ config(
    materialized='incremental',
    unique_key='event_key',
    on_schema_change='fail',
    indexes=indexes(['event_key'], ['built_at']),
) }}
{{ judged_events(is_incremental()) }}
