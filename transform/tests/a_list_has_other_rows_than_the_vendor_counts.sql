-- Lists whose last complete reading differed from the API's count, although the list did not
-- change.
{{ config(severity='warn', tags=['alert']) }}
select checked.*
from (
    select
        *,
        row_number() over (
            partition by account, provider, stream, parent
            order by checked_at desc
        ) as check_rank
    from {{ ref('stg_email_metrics_reconciliation') }}
) as checked
where check_rank = 1 and verdict = 'differs'
