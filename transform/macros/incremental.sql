{#- Selects the keys of the events that were written since this model was last built: all keys
if it has no rows yet. -#}
{% macro touched(columns) -%}
select distinct {{ columns | join(', ') }}
from {{ ref('email_events') }}
where
    {%- for column in columns %}
    {{ column }} is not null and
    {%- endfor %}
    built_at > (
        select coalesce(max(built_at), cast('1970-01-01' as {{ dbt.type_timestamp() }}))
        from {{ this }}
    )
{%- endmacro %}


{#- Indexes for Postgres. Without them it scans the whole table to replace a few rows. -#}
{% macro indexes() -%}
{%- set found = [] -%}
{%- if target.type == 'postgres' -%}
{%- for key in varargs -%}
{%- do found.append({'columns': key}) -%}
{%- endfor -%}
{%- endif -%}
{{ return(found) }}
{%- endmacro %}


{#- The materialization of a model that replaces all rows of a key. BigQuery cannot do
that, so it builds the whole table. -#}
{% macro by_key() -%}
{{ return('table' if target.type == 'bigquery' else 'incremental') }}
{%- endmacro %}


{#- Deletes recipients without events: their address was corrected. -#}
{% macro forget_former_recipients() -%}
{%- if is_incremental() -%}
delete from {{ this }}
where exists (
    select 1
    from {{ ref('email_events') }} as former
    left join {{ ref('email_events') }} as held
        on held.provider = former.provider
        and held.account = former.account
        and held.recipient_key = former.former_recipient_key
    where
        former.provider = {{ this.identifier }}.provider
        and former.account = {{ this.identifier }}.account
        and former.former_recipient_key = {{ this.identifier }}.recipient_key
        and held.event_key is null
)
{%- else -%}
select 1
{%- endif -%}
{%- endmacro %}
