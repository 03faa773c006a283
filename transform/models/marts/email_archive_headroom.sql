-- A view, because its days change without new rows. Encompass archives actions after 180 days.
-- behind_since is the oldest check that a run left open at its end. headroom_days was measured
-- before the run read; it is null in a backfill.
{{ config(materialized='view') }}
with measured as (
    select
        *,
        row_number() over (
            partition by provider, account, stream
            order by started_at desc
        ) as run_rank
    from {{ ref('stg_email_metrics_runs') }}
    where headroom_days is not null
)

select
    provider,
    account,
    stream,
    started_at as measured_at,
    headroom_days as measured_days,
    behind_since,
    coalesce(
        180 - {{ dbt.datediff('behind_since', utc_now(), 'second') }} / 86400.0,
        headroom_days - {{ dbt.datediff('started_at', utc_now(), 'second') }} / 86400.0
    ) as days_left
from measured
where run_rank = 1
