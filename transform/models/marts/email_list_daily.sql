-- Made from contacts, opt-outs and suppressions; Encompass reports none. A contact joins on the
-- day of its creation, and leaves on the first day on which it opted out, was suppressed or was
-- deleted. Days are those of the variable `timezone`; the day of a deletion has no time, so it is
-- the vendor's.
{%- set here = var('providers') %}
{#- Null if `pii.mode` is domain: many contacts share a domain. #}
{%- set person = luxsci_recipient(recipient_key('email')) %}
with joined as (
    select
        cast(null as {{ dbt.type_string() }}) as provider,
        cast(null as {{ dbt.type_string() }}) as account,
        cast(null as {{ dbt.type_string() }}) as contact,
        cast(null as date) as day
    from (select 1 as one) as nothing
    where 1 = 0
    {%- if 'constant_contact' in here %}
    union all
    select 'constant_contact', account, contact_id, {{ local_date('created_at') }}
    from {{ ref('stg_constant_contact_contacts') }}
    {%- endif %}
    {%- if 'luxsci' in here %}
    union all
    select 'luxsci', account, {{ person }}, {{ local_date('created') }}
    from {{ ref('stg_luxsci_marketing_contacts') }}
    {%- endif %}
),

departed as (
    select *
    from joined
    where 1 = 0
    {%- if 'constant_contact' in here %}
    union all
    select 'constant_contact', account, contact_id, {{ local_date('email_opt_out_date') }}
    from {{ ref('stg_constant_contact_contacts') }}
    union all
    select 'constant_contact', account, contact_id, deleted_at
    from {{ ref('stg_constant_contact_contacts') }}
    union all
    select 'constant_contact', account, contact_id, {{ local_date('created_time') }}
    from {{ ref('stg_constant_contact_optouts') }}
    {%- endif %}
    {%- if 'luxsci' in here %}
    union all
    select 'luxsci', account, {{ person }}, {{ local_date('unsubscribed_date') }}
    from {{ ref('stg_luxsci_marketing_unsubscribes') }}
    union all
    select 'luxsci', account, {{ person }}, {{ local_date('added') }}
    from {{ ref('stg_luxsci_suppressions') }}
    {%- endif %}
),

changes as (
{%- for name, sign in [('joined', 1), ('departed', -1)] %}
    select
        provider,
        account,
        day,
        {{ sign }} as sign
    from (
        select provider, account, contact, min(day) as day
        from {{ name }}
        where contact is not null and day is not null
        group by provider, account, contact
    ) as firsts
    {%- if not loop.last %}
    union all
    {%- endif %}
{%- endfor %}
)

select
    provider,
    account,
    day,
    count(case when sign = 1 then 1 end) as joined,
    count(case when sign = -1 then 1 end) as departed,
    cast(sum(sign) as {{ dbt.type_bigint() }}) as net
from changes
group by provider, account, day
