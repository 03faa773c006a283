{#- Fails if no stream is loaded, most likely because the schema is wrong. Otherwise all
marts would be empty and pass their tests. -#}
{% macro require_streams() -%}
{%- if execute and flags.WHICH in ('build', 'run') -%}
{%- set held = [] -%}
{%- for one in graph.sources.values() | selectattr('source_name', 'equalto', 'email_metrics') -%}
{%- if load_relation(api.Relation.create(one.database, one.schema, one.identifier)) -%}
{%- do held.append(one.name) -%}
{%- endif -%}
{%- endfor -%}
{%- if not held -%}
{%- set schema = (graph.sources.values() | selectattr('source_name', 'equalto', 'email_metrics') | first).schema -%}
{%- do exceptions.raise_compiler_error(
    "Schema " ~ schema ~ " holds no stream. Load one first, or name the schema into which the "
    ~ "target loads: source_schema of the utility in Meltano, otherwise EMAIL_METRICS_SCHEMA."
) -%}
{%- endif -%}
{%- endif -%}
{%- endmacro %}
