-- Incremental by load time. A run reads the rows that were loaded after the account's newest
-- row here, less `reload_hours`. It judges all opens and clicks of their messages and
-- recipients again, because a new event may show that an older one was a machine's. It writes
-- the rows that are new or changed.
{{ config(
    materialized='incremental',
    unique_key='event_key',
    on_schema_change='fail',
    indexes=indexes(['event_key'], ['built_at']),
) }}
{{ judged_events(is_incremental()) }}
