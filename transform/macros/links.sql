{#- The columns of a link of a message, and of what type they are. -#}
{% macro link_columns() -%}
{{ return({
    'provider': 'string',
    'account': 'string',
    'message_key': 'string',
    'link': 'string',
    'vendor_clicks': 'bigint',
    'vendor_clickers': 'bigint',
    'loaded_at': 'timestamp',
}) }}
{%- endmacro %}


{#- A select list of links: these expressions, and null for what the provider lacks. -#}
{% macro link(facts) -%}
select
{%- for name, type in link_columns().items() %}
    {{ typed(facts.get(name, 'null'), type) }} as {{ name }}{{ ',' if not loop.last }}
{%- endfor %}
{%- endmacro %}
