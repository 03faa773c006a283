{#- The sum of a column equals the number of events for which `events` is true. -#}
{% test same_sum(model, column_name, events) %}
select counted.total, held.total as held_total
from (select coalesce(sum({{ column_name }}), 0) as total from {{ model }}) as counted
cross join (
    select count(*) as total from {{ ref('email_events') }} where {{ events }}
) as held
where counted.total <> held.total
{% endtest %}
