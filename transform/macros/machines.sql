{#- Rules that attribute opens and clicks to machines, over the events of each message and
recipient.

The macros select from `pool`, which holds all events of the pairs of message and recipient
to judge. The thresholds are variables in `dbt_project.yml`. -#}

{#- The time at which a message reached each recipient: the delivery for Encompass, the send
for the others. LuxSci changes the time of a delivery with its status, and Constant Contact
reports no deliveries. -#}
{% macro arrivals() -%}
select
    provider,
    account,
    message_key,
    recipient_id,
    min(occurred_at) as arrived_at
from pool
where
    event_type = case when provider = 'encompass' then 'delivered' else 'sent' end
    and recipient_id is not null
group by provider, account, message_key, recipient_id
{%- endmacro %}


{#- Groups the clicks of a recipient in a message, and counts the different links of each
group. A click belongs to the group of the click before it if at most `seconds` lie between
them. `by_source` groups each IP address separately. -#}
{% macro click_groups(seconds, by_source) -%}
{%- set parts = ['provider', 'account', 'message_key', 'recipient_id'] -%}
{%- do parts.append("coalesce(ip_address, '')") if by_source -%}
{%- set parts = parts | join(', ') -%}
select
    event_key,
    provider,
    account,
    message_key,
    -- The maximum of dense_rank replaces count(distinct), which windows do not have.
    max(link_rank) over (partition by {{ parts }}, click_group) as links
from (
    select
        grouped.*,
        dense_rank() over (partition by {{ parts }}, click_group order by link) as link_rank
    from (
        select
            gaps.*,
            sum(gap) over (
                partition by {{ parts }}
                order by occurred_at, event_key
                rows between unbounded preceding and current row
            ) as click_group
        from (
            select
                pool.*,
                case
                    when occurred_at > {{ later(
                        'lag(occurred_at) over (partition by ' ~ parts ~ ' order by occurred_at, event_key)',
                        seconds
                    ) }}
                        then 1
                    else 0
                end as gap
            from pool
            where
                event_type = 'clicked'
                and link is not null
                and occurred_at is not null
                and message_key is not null
                and recipient_id is not null
        ) as gaps
    ) as grouped
) as ranked
{%- endmacro %}


{#- The kind of network of each IP address, or of the network that `pii.mode` left of it.

Prefixes of the address are joined by equality. Comparing each address with each network
would take hours with a list as long as Apple's. -#}
{% macro network_owners() -%}
{%- set addresses %}
select distinct lower(ip_address) as folded, ip_address
from pool
where event_type in ('opened', 'clicked') and ip_address is not null
{%- endset %}
select beginnings.ip_address, max(networks.kind) as kind
from (
    {%- for parts in range(1, 4) %}
    {%- for sign in [".", ":"] %}
    select ip_address, {{ beginning('folded', sign, parts) }} as prefix
    from ({{ addresses | indent(4) }}) as addresses
    where folded like '%{{ sign }}%'
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
) as beginnings
inner join (
    select prefix, kind
    from {{ ref('machine_networks') }}
    {%- if var('machine_networks') %}
    union all
    select prefix, kind
    from {{ var('machine_networks') }}
    {%- endif %}
) as networks
    on networks.prefix = beginnings.prefix
group by beginnings.ip_address
{%- endmacro %}


{#- The first `parts` parts of a text, each with the sign that ends it. -#}
{% macro beginning(text, sign, parts) -%}
{%- set pieces = [] -%}
{%- for part in range(1, parts + 1) -%}
{%- do pieces.append(dbt.split_part(text, "'" ~ sign ~ "'", part)) -%}
{%- do pieces.append("'" ~ sign ~ "'") -%}
{%- endfor -%}
{{ dbt.concat(pieces) }}
{%- endmacro %}


{#- The number of links of each message whose links the provider lists. -#}
{% macro link_counts() -%}
select provider, account, message_key, count(distinct link) as links
from (
    {{- union_of_providers('_message_links') | indent(4) }}
) as listed
group by provider, account, message_key
{%- endmacro %}


{#- A time plus a number of seconds. -#}
{% macro later(time, seconds) -%}
cast({{ dbt.dateadd('second', seconds, time) }} as {{ dbt.type_timestamp() }})
{%- endmacro %}


{#- The rules, in order: name, condition, and text for the mart. The first that is true
counts. -#}
{% macro machine_rules() -%}
{%- set bare = "pool.event_type = 'opened' and trim(pool.user_agent) in ('Mozilla/5.0', 'Mozilla')" -%}
{{ return([
    ('apple_proxy', bare ~ " and networks.kind = 'apple'", 'bare user agent, network of Apple'),
    ('apple_proxy', bare, 'bare user agent'),
    ('scanner_network', "networks.kind = 'scanner'", 'network of a scanner'),
    (
        'all_links',
        'sweeps.links >= listed.links and listed.links >= ' ~ var('all_links_min'),
        'every link, ' ~ var('all_links_seconds') ~ ' s apart at most',
    ),
    (
        'burst',
        'bursts.links >= ' ~ var('burst_links'),
        var('burst_links') ~ ' links or more, ' ~ var('burst_seconds') ~ ' s apart at most',
    ),
    ('too_soon', 'pool.occurred_at < arrivals.arrived_at', 'before the delivery'),
    (
        'too_soon',
        'pool.occurred_at < ' ~ later('arrivals.arrived_at', var('too_soon_seconds')),
        'less than ' ~ var('too_soon_seconds') ~ ' s after the delivery',
    ),
    (
        'withdrawn',
        "pool.event_type = 'opened' and readings.as_of >= pool.occurred_at"
        ~ " and pool.recipient_id is not null and openers.contact_id is null",
        'not in the last unique opens',
    ),
]) }}
{%- endmacro %}
