{#- A text has a letter, or is null: an empty key would make one thing of many. -#}
{% test not_blank(model, column_name) %}
select {{ column_name }}
from {{ model }}
where trim({{ column_name }}) = ''
{% endtest %}
