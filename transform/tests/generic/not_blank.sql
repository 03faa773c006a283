{#- A text is null or not blank: a blank key would merge unrelated rows. -#}
{% test not_blank(model, column_name) %}
select {{ column_name }}
from {{ model }}
where trim({{ column_name }}) = ''
{% endtest %}
