{#- No value is below the limit. -#}
{% test not_less(model, column_name, least) %}
select *
from {{ model }}
where {{ column_name }} < {{ least }}
{% endtest %}
