{#- The message key of a Secure Marketing campaign; its prefix tells it from email ids. -#}
{% macro luxsci_campaign_key(campaign_id) -%}
case
    when {{ campaign_id }} <> 0
        then {{ dbt.concat(["'campaign/'", typed(campaign_id, 'string')]) }}
end
{%- endmacro %}
