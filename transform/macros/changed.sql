{#- The rows that an incremental run of email_events reads: those that were loaded since the
last run. The model's common table expression `known` has the times of the last run. -#}

{#- The relation from which a model of events reads a stream: the staging model, or in an
incremental run the common table expression that `changed_streams` made. -#}
{% macro rows_of(stream, changed) -%}
{{ ('changed_' ~ stream) if changed else ref('stg_' ~ stream) }}
{%- endmacro %}


{#- Selects the keys of a stream's rows that were loaded since the last run. `events` names
the stream of events whose last run counts; by default the stream itself. -#}
{% macro loaded_keys(stream, columns, events=none) -%}
{%- set table = source('email_metrics', stream) -%}
{%- set held = held_columns(table) -%}
select distinct {{ columns | join(', ') }}
{%- if held %}
from {{ table }} as loads
where not exists (
    select 1
    from known
    where
        known.stream = '{{ events or stream }}'
        and known.account = loads.account
        and {{ loaded_at(held, 'loads') }} < known.again_from
)
{%- else %}
from ({{ latest(stream) }}) as nothing
{%- endif -%}
{%- endmacro %}


{#- Defines a common table expression `changed_<stream>` for each stream of events. -#}
{% macro changed_streams() -%}
{%- set found = [] -%}
{%- for provider in var('providers') -%}
{%- do found.append({
    'encompass': changed_encompass,
    'constant_contact': changed_constant_contact,
    'luxsci': changed_luxsci,
}[provider]()) -%}
{%- endfor -%}
{{ found | join(',\n') }}
{%- endmacro %}


{#- An event is also read again if its recipient or its link was loaded. -#}
{% macro changed_encompass() -%}
{%- set keys = ['account', 'message_id', 'id'] -%}
{%- for kind in encompass_kinds() %}
{%- set stream = 'encompass_' ~ kind %}
{%- set held = held_columns(source('email_metrics', stream)) %}
changed_{{ stream }} as {{ once() }}(
    {%- set among %}
{{ loaded_keys(stream, keys) }}
{%- if held %}
{%- for other, column in [('recipients', 'recipient_id')] + ([('links', 'link_id')] if kind == 'clicks' else []) %}
{%- if column in held %}
union distinct
select loads.account, loads.message_id, loads.id
from {{ source('email_metrics', stream) }} as loads
inner join ({{ loaded_keys('encompass_' ~ other, keys, stream) }}) as changed
    on changed.account = loads.account
    and changed.message_id = loads.message_id
    and changed.id = loads.{{ column }}
{%- endif %}
{%- endfor %}
{%- endif %}
    {%- endset %}
    {{ latest(stream, among) }}
),

changed_{{ stream }}_recipients as (
    {{ latest(
        'encompass_recipients',
        'select distinct account, message_id, recipient_id as id from changed_' ~ stream
    ) }}
),
{% endfor %}
changed_encompass_links as (
    {{ latest(
        'encompass_links',
        'select distinct account, message_id, link_id as id from changed_encompass_clicks'
    ) }}
)
{%- endmacro %}


{% macro changed_constant_contact() -%}
{%- for kind in constant_contact_kinds() %}
changed_constant_contact_{{ kind }} as (
    {{ latest(
        'constant_contact_' ~ kind,
        loaded_keys('constant_contact_' ~ kind, ['account', 'event_id'])
    ) }}
){{ ',' if not loop.last }}
{% endfor %}
{%- endmacro %}


{#- If a row of an email was loaded, all rows of that email are read again, because two
channels may show it. -#}
{% macro changed_luxsci() -%}
{%- for kind in luxsci_kinds() %}
{%- set stream = 'luxsci_' ~ kind %}
changed_{{ stream }} as {{ once() }}(
    {%- if kind in ('delivery_status', 'opens', 'clicks') %}
    {%- set emails %}
select loads.account, loads.event_id
from {{ source('email_metrics', stream) }} as loads
inner join ({{ loaded_keys(stream, ['account', 'sendmail_id']) }}) as emails
    on emails.account = loads.account
    and trim(emails.sendmail_id) = trim(loads.sendmail_id)
where trim(loads.sendmail_id) <> ''
union distinct
{{ loaded_keys(stream, ['account', 'event_id']) }}
    {%- endset %}
    {%- set held = held_columns(source('email_metrics', stream)) %}
    {%- set own = loaded_keys(stream, ['account', 'event_id']) %}
    {{ latest(stream, emails if 'sendmail_id' in held else own) }}
    {%- else %}
    {%- set key = ['account', 'log_id' if kind in ('marketing_logs', 'marketing_complaints') else 'event_id'] %}
    {{ latest(stream, loaded_keys(stream, key)) }}
    {%- endif %}
){{ ',' if not loop.last }}
{% endfor %}
{%- endmacro %}
