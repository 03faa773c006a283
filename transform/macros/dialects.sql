{#- Differences between Postgres, DuckDB, Snowflake and BigQuery that dbt does not cover. -#}

{#- Casts a value to a type of `sources.yml`; a value without a type stays as it is. -#}
{% macro typed(value, type) -%}
{%- if type or value == 'null' -%}
cast({{ value }} as {{ {
    'bigint': dbt.type_bigint(),
    'number': double(),
    'boolean': dbt.type_boolean(),
    'timestamp': dbt.type_timestamp(),
    'date': 'date',
}.get(type, dbt.type_string()) }})
{%- else -%}
{{ value }}
{%- endif -%}
{%- endmacro %}


{#- The type of a number with 15 digits. dbt's type_float is too short: DuckDB's has 7. -#}
{% macro double() -%}
{{ 'float64' if target.type == 'bigquery' else 'double precision' }}
{%- endmacro %}


{#- A keyword for a common table expression that is used more than once, so that Postgres
and DuckDB compute it once. The other warehouses have no such keyword. -#}
{% macro once() -%}
{{ 'materialized ' if target.type in ('postgres', 'duckdb') }}
{%- endmacro %}


{#- The current time in UTC, without a time zone like all times here. -#}
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


{#- Converts a time from UTC to local time in the variable `timezone`. -#}
{% macro local_time(time) -%}
{{ return(adapter.dispatch('local_time', 'email_metrics')(time)) }}
{%- endmacro %}

{% macro default__local_time(time) -%}
{{ time }}
{%- if var('timezone') != 'UTC' %} at time zone 'UTC' at time zone '{{ var("timezone") }}'{% endif %}
{%- endmacro %}

{% macro snowflake__local_time(time) -%}
convert_timezone('UTC', '{{ var("timezone") }}', {{ time }})
{%- endmacro %}

{% macro bigquery__local_time(time) -%}
datetime({{ time }}, '{{ var("timezone") }}')
{%- endmacro %}


{#- The local date of a time in UTC, in the variable `timezone`. -#}
{% macro local_date(time) -%}
cast({{ local_time(time) }} as date)
{%- endmacro %}


{#- The Monday of the week of a day. -#}
{% macro week_of(day) -%}
{{ return(adapter.dispatch('week_of', 'email_metrics')(day)) }}
{%- endmacro %}

{% macro default__week_of(day) -%}
cast(date_trunc('week', {{ day }}) as date)
{%- endmacro %}

{% macro bigquery__week_of(day) -%}
date_trunc({{ day }}, isoweek)
{%- endmacro %}


{#- The hour of a time, 0 to 23. -#}
{% macro hour_of(time) -%}
cast(extract(hour from {{ time }}) as {{ dbt.type_int() }})
{%- endmacro %}


{#- The day of the week of a time: Monday is 1, Sunday 7. -#}
{% macro weekday_of(time) -%}
{{ return(adapter.dispatch('weekday_of', 'email_metrics')(time)) }}
{%- endmacro %}

{% macro default__weekday_of(time) -%}
cast(extract(isodow from {{ time }}) as {{ dbt.type_int() }})
{%- endmacro %}

{% macro snowflake__weekday_of(time) -%}
dayofweekiso({{ time }})
{%- endmacro %}

{% macro bigquery__weekday_of(time) -%}
mod(extract(dayofweek from {{ time }}) + 5, 7) + 1
{%- endmacro %}


{#- A share from 0 to 1; null if the whole is 0. -#}
{% macro share(part, whole) -%}
cast({{ part }} as {{ double() }}) / nullif({{ whole }}, 0)
{%- endmacro %}
