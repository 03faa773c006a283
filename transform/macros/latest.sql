{#- The rows of a stream as they stand: of each key the row that was loaded last.

Reads key and columns from `sources.yml`. What the target does not hold, because a column
or the whole stream was not selected, is null or empty here. By the time of the load, not
by the vendor's time of change, which is absent or wrong where rows are corrected. -#}
{% macro latest(stream) -%}
{%- set table = source('email_metrics', stream) -%}
{%- if execute -%}
{%- set facts = graph.sources.values() | selectattr('name', 'equalto', stream) | first -%}
{%- set held = {} -%}
{%- if load_relation(table) -%}
{%- for column in adapter.get_columns_in_relation(table) -%}
{%- do held.update({column.name | lower: adapter.quote(column.name)}) -%}
{%- endfor -%}
{%- endif -%}
select
{%- for name, column in facts.columns.items() %}
    {{ typed(held.get(name, 'null'), column.data_type) }} as {{ alias(name) }},
{%- endfor %}
    {{ loaded_at(held) }} as loaded_at
{%- if held %}
from (
    select
        *,
        row_number() over (
            partition by {{ facts.meta.key | join(', ') }}
            order by {{ loaded_at(held) }} desc
        ) as load_rank
    from {{ table }}
) as loads
where load_rank = 1
{%- else %}
limit 0
{%- endif -%}
{%- endif -%}
{%- endmacro %}


{#- When a row was loaded. `_sdc_received_at` is when the target took that very row, and
`_sdc_batched_at` when it began the batch, the same for two versions of a row in it;
target-duckdb has only the latter, of each row. -#}
{% macro loaded_at(held) -%}
{{ typed(held.get('_sdc_received_at', held.get('_sdc_batched_at', 'null')), 'timestamp') }}
{%- endmacro %}


{#- The one column whose name warehouses reserve. -#}
{% macro alias(name) -%}
{{ 'row_count' if name == 'rows' else name }}
{%- endmacro %}
