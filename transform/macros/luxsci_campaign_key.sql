{#- The message key of a campaign of Secure Marketing, apart from the ids of messages. -#}
{% macro luxsci_campaign_key(campaign_id) -%}
case
    when {{ campaign_id }} <> 0
        then {{ dbt.concat(["'campaign/'", typed(campaign_id, 'string')]) }}
end
{%- endmacro %}
