{#- The domain of a recipient. `key` is an address, a domain (`pii.mode` domain) or a hash,
which has no dot. For a hash, `named` is used: the tap names the domains of large mailbox
providers there, and writes `other` for the rest. -#}
{% macro recipient_domain(key, named) -%}
case
    when {{ key }} like '%@%' then nullif({{ dbt.split_part(key, "'@'", -1) }}, '')
    when {{ key }} like '%.%' then {{ key }}
    else {{ named }}
end
{%- endmacro %}


{#- The kind of a bounce: hard if the address will never accept email, soft if it may later,
null if the vendor's word says neither. -#}
{% macro bounce_kind(provider, bounce_class) -%}
case
    when {{ provider }} = 'constant_contact' and {{ bounce_class }} in ('nonexistent_address', 'suspended') then 'hard'
    when {{ provider }} = 'constant_contact' and {{ bounce_class }} in ('undeliverable', 'mailbox_full', 'vacation', 'blocked') then 'soft'
    when lower({{ bounce_class }}) like '%hard%' then 'hard'
    when lower({{ bounce_class }}) like '%soft%' then 'soft'
end
{%- endmacro %}


{#- The start of this run of dbt, in UTC. -#}
{% macro built_at() -%}
cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f") }}' as {{ dbt.type_timestamp() }})
{%- endmacro %}
