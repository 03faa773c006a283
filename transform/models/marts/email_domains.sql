-- All events of a message count in the week in which it was sent to the recipient, by the
-- variable `timezone`. Domains with few recipients are counted as `other`.
with pairs as (
    select
        pairs.*,
        coalesce(sent_at, delivered_at, bounced_at, first_open_at, first_click_at) as reached_at
    from {{ ref('email_message_recipients') }} as pairs
),

domains as (
    select provider, account, recipient_domain
    from pairs
    where recipient_domain is not null
    group by provider, account, recipient_domain
    having count(distinct recipient_id) >= {{ var('domain_min_recipients') }}
),

weekly as (
    select
        pairs.*,
        case
            when pairs.recipient_domain is null then 'not known'
            when domains.account is not null or large.domain is not null then pairs.recipient_domain
            else 'other'
        end as domain,
        {{ week_of(local_date('reached_at')) }} as week
    from pairs
    left join domains
        on domains.provider = pairs.provider
        and domains.account = pairs.account
        and domains.recipient_domain = pairs.recipient_domain
    left join {{ ref('mailbox_providers') }} as large
        on large.domain = pairs.recipient_domain
),

counted as (
    select
        provider,
        account,
        domain,
        week,
        case
            when provider = 'constant_contact'
                then count(case when is_sent and not is_bounced then 1 end)
            else count(case when is_delivered then 1 end)
        end as delivered,
        count(case when is_bounced then 1 end) as bounced,
        count(case when is_bounced and bounce_kind = 'hard' then 1 end) as bounced_hard,
        count(case when opens > 0 then 1 end) as openers,
        count(case when human_opens > 0 then 1 end) as human_openers,
        case when provider = 'luxsci' then count(case when is_complained then 1 end) end as complained
    from weekly
    group by provider, account, domain, week
)

select
    counted.*,
    {{ share('complained', 'delivered') }} as complaint_rate,
    large.mailbox_provider,
    large.complaint_target,
    large.complaint_limit
from counted
left join {{ ref('mailbox_providers') }} as large
    on large.domain = counted.domain
