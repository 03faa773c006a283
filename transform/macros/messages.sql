{#- The columns of a message and their types. -#}
{% macro message_columns() -%}
{{ return({
    'provider': 'string',
    'account': 'string',
    'message_key': 'string',
    'campaign_key': 'string',
    'name': 'string',
    'subject': 'string',
    'sender': 'string',
    'sent_at': 'timestamp',
    'sent_count': 'bigint',
    'delivered_count': 'bigint',
    'opened_count': 'bigint',
    'opened_unique_count': 'bigint',
    'clicked_count': 'bigint',
    'clicked_unique_count': 'bigint',
    'bounced_count': 'bigint',
    'unsubscribed_count': 'bigint',
    'complained_count': 'bigint',
    'forwarded_count': 'bigint',
    'counted_at': 'timestamp',
}) }}
{%- endmacro %}


{#- Selects messages from expressions by column; columns without one are null. -#}
{% macro message(facts) -%}
select
{%- for name, type in message_columns().items() %}
    {{ typed(facts.get(name, 'null'), type) }} as {{ name }}{{ ',' if not loop.last }}
{%- endfor %}
{%- endmacro %}
