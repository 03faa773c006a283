{#- The domain of a recipient. The key is the address, or in `pii.mode` domain a domain; a hash
has no dot. Of a hashed address the tap names the domain where it is that of a large mailbox
provider, and others `other`. -#}
{% macro recipient_domain(key, named) -%}
case
    when {{ key }} like '%@%' then {{ dbt.split_part(key, "'@'", -1) }}
    when {{ key }} like '%.%' then {{ key }}
    else {{ named }}
end
{%- endmacro %}


{#- Whether a bounce says that the address will never take email, or may later: null where
the vendor's word tells neither. -#}
{% macro bounce_kind(provider, bounce_class) -%}
case
    when {{ provider }} = 'constant_contact' and {{ bounce_class }} in ('nonexistent_address', 'suspended') then 'hard'
    when {{ provider }} = 'constant_contact' and {{ bounce_class }} in ('undeliverable', 'mailbox_full', 'vacation', 'blocked') then 'soft'
    when lower({{ bounce_class }}) like '%hard%' then 'hard'
    when lower({{ bounce_class }}) like '%soft%' then 'soft'
end
{%- endmacro %}


{#- When this run of dbt began, in UTC: what it writes bears it. -#}
{% macro built_at() -%}
cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f") }}' as {{ dbt.type_timestamp() }})
{%- endmacro %}
