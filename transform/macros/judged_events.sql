{#- All events, with the opens and clicks of machines marked. An incremental run selects only
those that are new, or differ from their row in `this`. -#}
{% macro judged_events(incremental) -%}
{%- set constant_contact = 'constant_contact' in var('providers') %}
{%- set pair = ['provider', 'account', 'message_key', 'recipient_id'] %}
with
{%- if incremental %}
known as {{ once() }}(
    select
        stream,
        provider,
        account,
        cast({{ dbt.dateadd(
            'hour',
            -1 * var('reload_hours'),
            'max(max(least(loaded_at, built_at))) over (partition by provider, account)'
        ) }} as {{ dbt.type_timestamp() }}) as again_from
    from {{ this }}
    group by stream, provider, account
),

{{ changed_streams() }},
{%- endif %}

found as {{ once() if incremental }}(
    {{- events_of_providers(changed=incremental) | indent(4) }}
),

{%- if incremental %}
fresh as {{ once() }}(
    select
        found.*,
        case
            when held.recipient_key <> coalesce(found.recipient_key, '') then held.recipient_key
            else held.former_recipient_key
        end as former_recipient_key,
        held.built_at as formerly_built_at
    from found
    left join {{ this }} as held
        on held.event_key = found.event_key
    where
        held.event_key is null
        or held.loaded_at is null
        or found.loaded_at is null
        or held.loaded_at <> found.loaded_at
),

pairs as {{ once() }}(
    select distinct {{ pair | join(', ') }}
    from fresh
    where message_key is not null and recipient_id is not null
),

-- Messages whose list of links or of openers was loaded again.
turned as {{ once() }}(
    select distinct listed.provider, listed.account, listed.message_key
    from (
        {{- union_of_providers('_message_links') | indent(8) }}
    ) as listed
    inner join (select distinct provider, account, again_from from known) as known
        on known.provider = listed.provider
        and known.account = listed.account
        and listed.loaded_at >= known.again_from
    {%- if constant_contact %}
    union distinct
    select 'constant_contact', snapshots.account, snapshots.campaign_activity_id
    from {{ ref('stg_constant_contact_snapshots') }} as snapshots
    inner join known
        on known.provider = 'constant_contact'
        and known.account = snapshots.account
        and snapshots.loaded_at >= known.again_from
    where snapshots.report = 'unique_opens'
    {%- endif %}
),

pool as {{ once() }}(
    select
        {%- for name in event_columns() %}
        {{ name }},
        {%- endfor %}
        former_recipient_key,
        true as is_fresh,
        cast(null as {{ dbt.type_string() }}) as former_rule
    from fresh
    union all
    select
        {%- for name in event_columns() %}
        held.{{ name }},
        {%- endfor %}
        held.former_recipient_key,
        false as is_fresh,
        held.machine_rule as former_rule
    from {{ this }} as held
    left join pairs
        on {% for name in pair %}pairs.{{ name }} = held.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    left join turned
        on turned.provider = held.provider
        and turned.account = held.account
        and turned.message_key = held.message_key
    left join fresh
        on fresh.event_key = held.event_key
    where
        held.event_type in ('sent', 'delivered', 'opened', 'clicked')
        and (pairs.account is not null or turned.account is not null)
        and fresh.event_key is null
),
{%- else %}
pool as {{ once() }}(
    select
        found.*,
        cast(null as {{ dbt.type_string() }}) as former_recipient_key,
        true as is_fresh,
        cast(null as {{ dbt.type_string() }}) as former_rule
    from found
),
{%- endif %}

arrivals as (
    {{ arrivals() | indent(4) }}
),

bursts as (
    {{ click_groups(var('burst_seconds'), by_source=true) | indent(4) }}
),

sweeps as (
    {{ click_groups(var('all_links_seconds'), by_source=false) | indent(4) }}
),

networks as (
    {{ network_owners() | indent(4) }}
),

listed as (
    {{ link_counts() | indent(4) }}
),

readings as {{ once() }}(
    {%- if constant_contact %}
    select account, campaign_activity_id, as_of
    from {{ ref('stg_constant_contact_snapshots') }}
    where report = 'unique_opens'
    {%- else %}
    select account, message_key as campaign_activity_id, occurred_at as as_of
    from pool
    where 1 = 0
    {%- endif %}
),

openers as (
    {%- if constant_contact and incremental %}
    {%- set who = 'select distinct account, message_key as campaign_activity_id, recipient_id as contact_id from pool'
        ~ " where provider = 'constant_contact' and event_type = 'opened'" %}
    select latest.account, latest.campaign_activity_id, latest.contact_id
    from ({{ latest('constant_contact_unique_opens', who) }}) as latest
    inner join readings
        on readings.account = latest.account
        and readings.campaign_activity_id = latest.campaign_activity_id
        and readings.as_of <= latest.as_of
    {%- elif constant_contact %}
    select account, campaign_activity_id, contact_id
    from {{ ref('constant_contact_openers') }}
    {%- else %}
    select account, message_key as campaign_activity_id, recipient_id as contact_id
    from pool
    where 1 = 0
    {%- endif %}
),

judged as (
    select
        pool.*,
        case
            when pool.event_type not in ('opened', 'clicked') then null
            {%- for name, condition, _ in machine_rules() %}
            when {{ condition }} then '{{ name }}'
            {%- endfor %}
        end as machine,
        case
            when pool.event_type not in ('opened', 'clicked') then null
            {%- for _, condition, rule in machine_rules() %}
            when {{ condition }} then '{{ rule }}'
            {%- endfor %}
        end as machine_rule
    from pool
    left join arrivals
        on {% for name in pair %}arrivals.{{ name }} = pool.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    left join bursts
        on bursts.event_key = pool.event_key
    left join sweeps
        on sweeps.event_key = pool.event_key
    left join networks
        on networks.ip_address = pool.ip_address
    left join listed
        on listed.provider = pool.provider
        and listed.account = pool.account
        and listed.message_key = pool.message_key
    left join readings
        on pool.provider = 'constant_contact'
        and readings.account = pool.account
        and readings.campaign_activity_id = pool.message_key
    left join openers
        on pool.provider = 'constant_contact'
        and openers.account = pool.account
        and openers.campaign_activity_id = pool.message_key
        and openers.contact_id = pool.recipient_id
)

select
    {%- for name in event_columns() %}
    {{ name }},
    {%- endfor %}
    machine,
    machine_rule,
    former_recipient_key,
    {{ built_at() }} as built_at
from judged
where is_fresh or machine_rule is distinct from former_rule
{%- endmacro %}
