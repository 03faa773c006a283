-- A view, as its days pass by themselves.
{{ config(materialized='view') }}
with measured as (
    select
        *,
        row_number() over (
            partition by provider, account, stream
            order by finished_at desc
        ) as run_rank
    from {{ ref('stg_email_metrics_runs') }}
    where headroom_days is not null
)

select
    provider,
    account,
    stream,
    finished_at as measured_at,
    headroom_days as measured_days,
    headroom_days
    - {{ dbt.datediff('finished_at', utc_now(), 'second') }} / 86400.0 as days_left
from measured
where run_rank = 1
