{#- The columns of an event and their types. -#}
{% macro event_columns() -%}
{{ return({
    'event_key': 'string',
    'provider': 'string',
    'account': 'string',
    'message_key': 'string',
    'recipient_key': 'string',
    'recipient_id': 'string',
    'recipient_domain': 'string',
    'customer_key': 'string',
    'event_type': 'string',
    'occurred_at': 'timestamp',
    'recorded_at': 'timestamp',
    'link': 'string',
    'device': 'string',
    'user_agent': 'string',
    'ip_address': 'string',
    'bounce_class': 'string',
    'stream': 'string',
    'loaded_at': 'timestamp',
}) }}
{%- endmacro %}


{#- Selects events from expressions by column; columns without one are null. -#}
{% macro event(facts) -%}
select
{%- for name, type in event_columns().items() %}
    {{ typed(facts.get(name, 'null'), type) }} as {{ name }}{{ ',' if not loop.last }}
{%- endfor %}
{%- endmacro %}


{#- The key of an event: its stream and these parts, joined by slashes. -#}
{% macro event_key(stream, parts) -%}
{%- set texts = ["'" ~ stream ~ "'"] -%}
{%- for part in parts -%}
{%- do texts.append("'/'") -%}
{%- do texts.append(typed(part, 'string')) -%}
{%- endfor -%}
{{ dbt.concat(texts) }}
{%- endmacro %}


{#- The key of a recipient: the address in lower case, or what `pii.mode` left of it. -#}
{% macro recipient_key(address) -%}
nullif(lower(trim({{ address }})), '')
{%- endmacro %}


{#- The latest of several load times; the result is null if the first is. -#}
{% macro latest_of(first, others) -%}
greatest({{ first }}{% for other in others %}, coalesce({{ other }}, {{ first }}){% endfor %})
{%- endmacro %}


{% macro event_types() -%}
{{ return([
    'sent', 'delivered', 'opened', 'clicked',
    'bounced', 'unsubscribed', 'complained', 'forwarded',
]) }}
{%- endmacro %}


{#- The union of the models `<provider><suffix>` of all providers in use. -#}
{% macro union_of_providers(suffix) -%}
{%- for provider in var('providers') %}
select * from {{ ref(provider ~ suffix) }}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}


{#- The events of all providers; with `changed` only those loaded since the last run. -#}
{% macro events_of_providers(changed=false) -%}
{%- for provider in var('providers') %}
{%- if changed %}
{{ {
    'encompass': encompass_events,
    'constant_contact': constant_contact_events,
    'luxsci': luxsci_events,
}[provider](changed=true) }}
{%- else %}
select * from {{ ref(provider ~ '_events') }}
{%- endif %}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}
