{#- The columns of a message's link and their types. -#}
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


{#- Selects links from expressions by column; columns without one are null. -#}
{% macro link(facts) -%}
select
{%- for name, type in link_columns().items() %}
    {{ typed(facts.get(name, 'null'), type) }} as {{ name }}{{ ',' if not loop.last }}
{%- endfor %}
{%- endmacro %}
