-- There is no record of each email sent, of unsubscriptions, complaints or forwards.
{{ config(enabled='encompass' in var('providers')) }}
{%- set kinds = {
    'delivers': 'delivered',
    'opens': 'opened',
    'clicks': 'clicked',
    'bounces': 'bounced',
} %}
{%- for kind, event_type in kinds.items() %}
{%- set stream = 'encompass_' ~ kind %}
{{ event({
    'event_key': event_key(
        stream, ['events.account', 'events.message_id', 'events.id']
    ),
    'provider': "'encompass'",
    'account': 'events.account',
    'message_key': 'events.message_id',
    'recipient_key': recipient_key('recipients.email_address'),
    'event_type': "'" ~ event_type ~ "'",
    'occurred_at': 'events.occurred_at',
    'recorded_at': 'events.added_at',
    'link': 'links.url' if kind == 'clicks' else 'null',
    'user_agent': 'events.user_agent' if kind in ('opens', 'clicks') else 'null',
    'bounce_class': "nullif(events.type, '')" if kind == 'bounces' else 'null',
    'stream': "'" ~ stream ~ "'",
    'loaded_at': latest_of(
        'events.loaded_at',
        ['recipients.loaded_at'] + (['links.loaded_at'] if kind == 'clicks' else []),
    ),
}) }}
from {{ ref('stg_' ~ stream) }} as events
left join {{ ref('stg_encompass_recipients') }} as recipients
    on recipients.account = events.account
    and recipients.message_id = events.message_id
    and recipients.id = events.recipient_id
{%- if kind == 'clicks' %}
left join {{ ref('stg_encompass_links') }} as links
    on links.account = events.account
    and links.message_id = events.message_id
    and links.id = events.link_id
{%- endif %}
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
