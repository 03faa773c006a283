-- What incremental runs have gathered is what a full one would.
select event_key, event_type, recipient_key, occurred_at, link
from (
    {{- union_of_providers('_events') | indent(4) }}
) as events
{{ dbt.except() }}
select event_key, event_type, recipient_key, occurred_at, link
from {{ ref('email_events') }}
