{% macro encompass_kinds() -%}
{{ return({
    'delivers': 'delivered',
    'opens': 'opened',
    'clicks': 'clicked',
    'bounces': 'bounced',
}) }}
{%- endmacro %}


{#- Encompass reports no events for sends, unsubscriptions, complaints and forwards. -#}
{% macro encompass_events(changed=false) -%}
{%- for kind, event_type in encompass_kinds().items() %}
{%- set stream = 'encompass_' ~ kind %}
{%- set people = 'changed_' ~ stream ~ '_recipients' if changed else ref('stg_encompass_recipients') %}
{{ event({
    'event_key': event_key(
        stream, ['events.account', 'events.message_id', 'events.id']
    ),
    'provider': "'encompass'",
    'account': 'events.account',
    'message_key': 'events.message_id',
    'recipient_key': recipient_key('recipients.email_address'),
    'recipient_id': 'nullif(events.recipient_id, 0)',
    'recipient_domain': recipient_domain(
        recipient_key('recipients.email_address'), 'recipients.recipient_domain'
    ),
    'customer_key': "nullif(recipients.constituent_id, '')",
    'event_type': "'" ~ event_type ~ "'",
    'occurred_at': 'events.occurred_at',
    'recorded_at': 'events.added_at',
    'link': "nullif(links.url, '')" if kind == 'clicks' else 'null',
    'user_agent': 'events.user_agent' if kind in ('opens', 'clicks') else 'null',
    'ip_address': 'events.ip_address' if kind in ('opens', 'clicks') else 'null',
    'bounce_class': "nullif(events.type, '')" if kind == 'bounces' else 'null',
    'stream': "'" ~ stream ~ "'",
    'loaded_at': latest_of(
        'events.loaded_at',
        ['recipients.loaded_at'] + (['links.loaded_at'] if kind == 'clicks' else []),
    ),
}) }}
from {{ rows_of(stream, changed) }} as events
left join {{ people }} as recipients
    on recipients.account = events.account
    and recipients.message_id = events.message_id
    and recipients.id = events.recipient_id
{%- if kind == 'clicks' %}
left join {{ rows_of('encompass_links', changed) }} as links
    on links.account = events.account
    and links.message_id = events.message_id
    and links.id = events.link_id
{%- endif %}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}
