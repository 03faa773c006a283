-- All links that were clicked, and all that the vendor lists, with or without clicks.
with listed as (
    select
        provider,
        account,
        message_key,
        link,
        sum(vendor_clicks) as vendor_clicks,
        sum(vendor_clickers) as vendor_clickers
    from (
        {{- union_of_providers('_message_links') | indent(8) }}
    ) as links
    group by provider, account, message_key, link
),

clicked as (
    select
        provider,
        account,
        message_key,
        link,
        count(*) as clicks,
        count(case when machine is null then 1 end) as human_clicks,
        count(distinct recipient_id) as clickers,
        count(distinct case when machine is null then recipient_id end) as human_clickers
    from {{ ref('email_events') }}
    where event_type = 'clicked' and message_key is not null and link is not null
    group by provider, account, message_key, link
)

select
    coalesce(listed.provider, clicked.provider) as provider,
    coalesce(listed.account, clicked.account) as account,
    coalesce(listed.message_key, clicked.message_key) as message_key,
    coalesce(listed.link, clicked.link) as link,
    coalesce(clicked.clicks, 0) as clicks,
    coalesce(clicked.human_clicks, 0) as human_clicks,
    coalesce(clicked.clickers, 0) as clickers,
    coalesce(clicked.human_clickers, 0) as human_clickers,
    {{ share('coalesce(clicked.clickers, 0)', 'rates.clickers') }} as clicker_share,
    {{ share('coalesce(clicked.human_clickers, 0)', 'rates.human_clickers') }} as human_clicker_share,
    listed.vendor_clicks,
    listed.vendor_clickers
from listed
full outer join clicked
    on clicked.provider = listed.provider
    and clicked.account = listed.account
    and clicked.message_key = listed.message_key
    and clicked.link = listed.link
left join {{ ref('email_message_rates') }} as rates
    on rates.provider = coalesce(listed.provider, clicked.provider)
    and rates.account = coalesce(listed.account, clicked.account)
    and rates.message_key = coalesce(listed.message_key, clicked.message_key)
