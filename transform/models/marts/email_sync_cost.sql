-- A run counts on the day on which it began the stream, by the variable `timezone`. Backfills
-- count: they use the same quota.
with runs as (
    select
        *,
        {{ local_date('started_at') }} as day
    from {{ ref('stg_email_metrics_runs') }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by day, provider, account, stream
            order by finished_at desc, run desc
        ) as run_rank
    from runs
)

select
    day,
    provider,
    account,
    stream,
    count(*) as runs,
    cast(sum(requests) as {{ dbt.type_bigint() }}) as requests,
    sum(seconds) as seconds,
    cast(sum(records) as {{ dbt.type_bigint() }}) as records,
    max(case when run_rank = 1 then quota_left end) as quota_left
from ranked
group by day, provider, account, stream
