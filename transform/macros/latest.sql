{#- The rows of a stream as they stand: of each key the row that was loaded last.

Reads key and columns from `sources.yml`. A column that the target does not hold, because it
or the whole stream was not selected, is null or empty here. Ranked by the time of the load,
not by the vendor's time of change, which is absent or wrong where rows are corrected.

`among` is SQL that selects keys, columns `by`: only these are read and ranked. The rows of
a key are the same with and without it, as all loads of the key take part. -#}
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


{#- The columns that a table has, quoted, by their names in lower case; none without it. -#}
{% macro held_columns(table) -%}
{%- set held = {} -%}
{%- if load_relation(table) -%}
{%- for column in adapter.get_columns_in_relation(table) -%}
{%- do held.update({column.name | lower: adapter.quote(column.name)}) -%}
{%- endfor -%}
{%- endif -%}
{{ return(held) }}
{%- endmacro %}


{#- When a row was loaded. `_sdc_received_at` is when the target took that very row, and
`_sdc_batched_at` when it began the batch, the same for two versions of a row in it;
target-duckdb has only the latter, of each row. A target that adds no columns leaves them
empty: `extracted_at` is the tap's own, where it is selected. -#}
{% macro loaded_at(held, table=none) -%}
{%- set moments = [] -%}
{%- for name in ('_sdc_received_at', '_sdc_batched_at', 'extracted_at') if name in held -%}
{%- do moments.append(typed((table ~ '.' if table else '') ~ held[name], 'timestamp')) -%}
{%- endfor -%}
{%- if moments | length > 1 -%}
coalesce({{ moments | join(', ') }})
{%- else -%}
{{ moments | first | default(typed('null', 'timestamp')) }}
{%- endif -%}
{%- endmacro %}


{#- The one column whose name warehouses reserve. -#}
{% macro alias(name) -%}
{{ 'row_count' if name == 'rows' else name }}
{%- endmacro %}
