{#- No value is above the limit. -#}
{% test not_more(model, column_name, most) %}
select *
from {{ model }}
where {{ column_name }} > {{ most }}
{% endtest %}
