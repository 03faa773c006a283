{#- What differs between Postgres, DuckDB, Snowflake and BigQuery and is not in dbt. -#}

{#- A value as one of the types of `sources.yml`; what has none is passed on as it is. -#}
{% macro typed(value, type) -%}
{%- if type or value == 'null' -%}
cast({{ value }} as {{ {
    'bigint': dbt.type_bigint(),
    'number': dbt.type_float(),
    'boolean': dbt.type_boolean(),
    'timestamp': dbt.type_timestamp(),
    'date': 'date',
}.get(type, dbt.type_string()) }})
{%- else -%}
{{ value }}
{%- endif -%}
{%- endmacro %}


{#- The present, as a time in UTC like all others here. -#}
{% macro utc_now() -%}
{{ return(adapter.dispatch('utc_now', 'email_metrics')()) }}
{%- endmacro %}

{% macro default__utc_now() -%}
(now() at time zone 'UTC')
{%- endmacro %}

{% macro snowflake__utc_now() -%}
sysdate()
{%- endmacro %}

{% macro bigquery__utc_now() -%}
current_timestamp()
{%- endmacro %}
