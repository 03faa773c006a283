{#- What differs between Postgres, DuckDB, Snowflake and BigQuery and is not in dbt. -#}

{#- A value as one of the types of `sources.yml`; what has none is passed on as it is. -#}
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


{#- A number with 15 digits: DuckDB's FLOAT has 7. -#}
{% macro double() -%}
{{ 'float64' if target.type == 'bigquery' else 'double precision' }}
{%- endmacro %}


{#- Before a common table expression that is used more than once: DuckDB would compute it
each time. The other warehouses have no such word, and choose themselves. -#}
{% macro once() -%}
{{ 'materialized ' if target.type in ('postgres', 'duckdb') }}
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


{#- A time in UTC as the clock on the wall of the variable `timezone` shows it. -#}
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


{#- The day on which something happened, by the clock of the variable `timezone`. -#}
{% macro local_date(time) -%}
cast({{ local_time(time) }} as date)
{%- endmacro %}


{#- The Monday of a day's week. -#}
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


{#- A share, without a result where there is nothing to have a share of. -#}
{% macro share(part, whole) -%}
cast({{ part }} as {{ double() }}) / nullif({{ whole }}, 0)
{%- endmacro %}
