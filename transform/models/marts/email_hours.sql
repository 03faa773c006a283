-- Weekdays and hours are those of the variable `timezone`.
select
    provider,
    account,
    {{ weekday_of(local_time('occurred_at')) }} as weekday,
    {{ hour_of(local_time('occurred_at')) }} as hour,
    count(case when event_type = 'opened' then 1 end) as opens,
    count(case when event_type = 'opened' and machine is null then 1 end) as human_opens,
    count(case when event_type = 'clicked' then 1 end) as clicks,
    count(case when event_type = 'clicked' and machine is null then 1 end) as human_clicks
from {{ ref('email_events') }}
where event_type in ('opened', 'clicked') and occurred_at is not null
group by
    provider,
    account,
    {{ weekday_of(local_time('occurred_at')) }},
    {{ hour_of(local_time('occurred_at')) }}
