-- One row per recipient and account, and one over all accounts (provider and account `all`),
-- joined by the address or its hash. The hash is the same in all accounts with one pepper.
{%- set here = var('providers') %}
with pairs as (
    select
        provider,
        account,
        recipient_key,
        coalesce(sent_at, delivered_at, bounced_at, first_open_at, first_click_at) as reached_at,
        last_human_open_at,
        last_human_click_at,
        is_bounced and bounce_kind = 'hard' as is_hard,
        is_complained,
        is_unsubscribed
    from {{ ref('email_message_recipients') }}
    where recipient_key is not null
),

refused as (
    select
        cast(null as {{ dbt.type_string() }}) as provider,
        cast(null as {{ dbt.type_string() }}) as account,
        cast(null as {{ dbt.type_string() }}) as recipient_key
    from pairs
    where 1 = 0
    {%- if 'luxsci' in here %}
    union all
    select 'luxsci', account, {{ recipient_key('email') }}
    from {{ ref('stg_luxsci_suppressions') }}
    where
        email is not null
        and (
            coalesce(expires, 0) = 0
            or {{ dbt.datediff('added', utc_now(), 'day') }} < expires
        )
    {%- endif %}
    {%- if 'constant_contact' in here %}
    union all
    select 'constant_contact', account, {{ recipient_key('email_address') }}
    from {{ ref('stg_constant_contact_contacts') }}
    where email_address is not null and email_permission_to_send = 'unsubscribed'
    {%- endif %}
),

{%- for name, select_by, group_by in [
    ('theirs', 'provider, account,', 'provider, account, '),
    ('everywhere', "'all' as provider, 'all' as account,", ''),
] %}

{{ name }} as (
    select
        {{ select_by }}
        recipient_key,
        count(*) as messages,
        min(reached_at) as first_message_at,
        max(reached_at) as last_message_at,
        max(last_human_open_at) as last_human_open_at,
        max(last_human_click_at) as last_human_click_at,
        count(case when is_hard then 1 end) as hard_bounces,
        count(case when is_complained then 1 end) > 0 as has_complained,
        count(case when is_unsubscribed then 1 end) > 0 as has_unsubscribed
    from pairs
    group by {{ group_by }}recipient_key
),
{%- endfor %}

recipients as (
    select theirs.*, refused.recipient_key is not null as is_suppressed
    from theirs
    left join (select distinct provider, account, recipient_key from refused) as refused
        on refused.provider = theirs.provider
        and refused.account = theirs.account
        and refused.recipient_key = theirs.recipient_key
    union all
    select everywhere.*, refused.recipient_key is not null as is_suppressed
    from everywhere
    left join (select distinct recipient_key from refused) as refused
        on refused.recipient_key = everywhere.recipient_key
),

silent as (
    select
        recipients.*,
        coalesce(
            greatest(
                coalesce(last_human_open_at, last_human_click_at),
                coalesce(last_human_click_at, last_human_open_at)
            ),
            first_message_at
        ) as silent_since
    from recipients
),

aged as (
    select
        silent.*,
        {{ dbt.datediff('silent_since', utc_now(), 'day') }} / 30.4375 as months_silent
    from silent
)

select
    aged.*,
    case
        when has_complained then 'complained'
        when is_suppressed then 'suppressed'
        when has_unsubscribed then 'unsubscribed'
        when hard_bounces > 0 then 'hard bounce'
        when months_silent >= {{ var('silent_months') }} then 'silent'
    end as stop_reason
from aged
