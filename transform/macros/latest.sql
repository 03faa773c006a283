{#- Selects the current rows of a stream: the row of each key that was loaded last.

Key and columns come from `sources.yml`. A column that the table lacks is null, and a stream
without a table has no rows. Rows are ranked by load time, because the vendor's time of
change is missing or wrong on corrected rows.

`among` is SQL that selects keys in the columns `by`, by default the stream's key: only rows
with these keys are read. All loads of such a key are ranked, so its row is the same as
without `among`. -#}
{% macro latest(stream, among=none, by=none) -%}
{%- set table = source('email_metrics', stream) -%}
{%- if execute -%}
{%- set facts = graph.sources.values()
    | selectattr('source_name', 'equalto', 'email_metrics')
    | selectattr('name', 'equalto', stream) | first -%}
{%- set held = held_columns(table) -%}
select
{%- for name, column in facts.columns.items() %}
    {{ typed(held.get(name, 'null'), column.data_type) }} as {{ alias(name) }},
{%- endfor %}
    {{ loaded_at(held) }} as loaded_at
{%- if held %}
from (
    select
        loads.*,
        row_number() over (
            partition by {% for name in facts.meta.key %}loads.{{ name }}{{ ', ' if not loop.last }}{% endfor %}
            order by {{ loaded_at(held, 'loads') }} desc
        ) as load_rank
    from {{ table }} as loads
    {%- if among %}
    inner join (
        {{- among | indent(8) }}
    ) as wanted
        on {% for name in by or facts.meta.key %}wanted.{{ name }} = loads.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    {%- endif %}
) as ranked
where load_rank = 1
{%- else %}
limit 0
{%- endif -%}
{%- endif -%}
{%- endmacro %}


{#- The quoted columns of a table by lower-case name; empty if the table is missing. -#}
{% macro held_columns(table) -%}
{%- set held = {} -%}
{%- if load_relation(table) -%}
{%- for column in adapter.get_columns_in_relation(table) -%}
{%- do held.update({column.name | lower: adapter.quote(column.name)}) -%}
{%- endfor -%}
{%- endif -%}
{{ return(held) }}
{%- endmacro %}


{#- The time at which a row was loaded: the latest of those that it has. The target adds
`_sdc_received_at` when it receives a row, and `_sdc_batched_at` when it begins a batch;
target-duckdb adds only the latter, per row. `extracted_at` is the tap's, when it began to
read. A target that adds no times any more leaves the old ones in the rows that it changes. -#}
{% macro loaded_at(held, table=none) -%}
{%- set moments = [] -%}
{%- for name in ('_sdc_received_at', '_sdc_batched_at', 'extracted_at') if name in held -%}
{%- do moments.append(typed((table ~ '.' if table else '') ~ held[name], 'timestamp')) -%}
{%- endfor -%}
{%- if moments | length > 1 -%}
{{ latest_of('coalesce(' ~ moments | join(', ') ~ ')', moments[1:]) }}
{%- else -%}
{{ moments | first | default(typed('null', 'timestamp')) }}
{%- endif -%}
{%- endmacro %}


{#- Renames the column `rows`, because that word is reserved in SQL. -#}
{% macro alias(name) -%}
{{ 'row_count' if name == 'rows' else name }}
{%- endmacro %}
