-- Deliveries are not told, and complaints only as counts. No row says when the vendor
-- recorded it.
{{ config(enabled='constant_contact' in var('providers')) }}
{%- set kinds = {
    'sends': 'sent',
    'opens': 'opened',
    'clicks': 'clicked',
    'bounces': 'bounced',
    'optouts': 'unsubscribed',
    'forwards': 'forwarded',
} %}
{%- for kind, event_type in kinds.items() %}
{%- set stream = 'constant_contact_' ~ kind %}
{{ event({
    'event_key': event_key(stream, ['account', 'event_id']),
    'provider': "'constant_contact'",
    'account': 'account',
    'message_key': 'campaign_activity_id',
    'recipient_key': recipient_key('email_address'),
    'event_type': "'" ~ event_type ~ "'",
    'occurred_at': 'created_time',
    'link': 'link_url' if kind == 'clicks' else 'null',
    'device': 'device_type' if kind in ('opens', 'clicks') else 'null',
    'bounce_class': constant_contact_bounce('bounce_code') if kind == 'bounces' else 'null',
    'stream': "'" ~ stream ~ "'",
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_' ~ stream) }}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
