-- A view, because its hours change without new rows. A complete run has read everything that was
-- due when it began; so has an incomplete one of which only rows without a record are missing.
-- Other incomplete runs have read everything up to behind_since, which leaves out lists in
-- quarantine, so that these do not make the stream late. It may be a week ago without a failure,
-- because old lists are read once a week.
-- Backfills read only a past interval. Rows of older taps have no column for that.
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
                when outcome = 'incomplete' and failed = 0 and unsettled = 0 then started_at
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
