{% macro constant_contact_kinds() -%}
{{ return({
    'sends': 'sent',
    'opens': 'opened',
    'clicks': 'clicked',
    'bounces': 'bounced',
    'optouts': 'unsubscribed',
    'forwards': 'forwarded',
}) }}
{%- endmacro %}


{#- Constant Contact reports no deliveries, complaints only as counts, and no time at which
it recorded an event. -#}
{% macro constant_contact_events(changed=false) -%}
{%- for kind, event_type in constant_contact_kinds().items() %}
{%- set stream = 'constant_contact_' ~ kind %}
{{ event({
    'event_key': event_key(stream, ['account', 'event_id']),
    'provider': "'constant_contact'",
    'account': 'account',
    'message_key': "nullif(campaign_activity_id, '')",
    'recipient_key': recipient_key('email_address'),
    'recipient_id': "nullif(contact_id, '')",
    'recipient_domain': recipient_domain(recipient_key('email_address'), 'recipient_domain'),
    'customer_key': "nullif(contact_id, '')",
    'event_type': "'" ~ event_type ~ "'",
    'occurred_at': 'created_time',
    'link': "nullif(link_url, '')" if kind == 'clicks' else 'null',
    'device': 'device_type' if kind in ('opens', 'clicks') else 'null',
    'bounce_class': constant_contact_bounce('bounce_code') if kind == 'bounces' else 'null',
    'stream': "'" ~ stream ~ "'",
    'loaded_at': 'loaded_at',
}) }}
from {{ rows_of(stream, changed) }}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}
