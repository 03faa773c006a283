-- A view, as its hours pass by themselves. A run that was complete has read all that was due
-- when it began. An incomplete one has read up to behind_since, which leaves out lists that cannot
-- be read (they are in quarantine) and rows without a record: neither makes the others late. A
-- backfill reads a past interval only. Older taps told nothing of it.
{{ config(materialized='view') }}
with ranked as (
    select
        *,
        row_number() over (
            partition by provider, account, stream
            order by finished_at desc
        ) as run_rank,
        max(
            case
                when outcome in ('complete', 'empty') then started_at
                when outcome = 'incomplete' then coalesce(behind_since, started_at)
            end
        ) over (partition by provider, account, stream) as complete_at
    from {{ ref('stg_email_metrics_runs') }}
    where not coalesce(backfill, false)
)

select
    provider,
    account,
    stream,
    complete_at,
    {{ dbt.datediff('complete_at', utc_now(), 'second') }} / 3600.0 as hours_since_complete,
    finished_at as last_run_at,
    outcome as last_outcome,
    behind_since
from ranked
where run_rank = 1
