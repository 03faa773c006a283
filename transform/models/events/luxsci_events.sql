-- A delivery row is one email to one recipient. It is sent once, and has one outcome, which
-- changes: the event of an outcome keeps its key, so that a failure after the delivery
-- takes the delivery's place, as in the vendor's own counts.
--
-- Attempts that the vendor makes again (luxsci_temporary_failures) are no bounces, and
-- luxsci_marketing_bounces repeats luxsci_marketing_logs. A suppression is an
-- unsubscription where it names the message that led to it.
{{ config(enabled='luxsci' in var('providers')) }}
{%- set deliveries = {
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': 'sendmail_id',
    'recipient_key': recipient_key('to_address'),
    'stream': "'luxsci_delivery_status'",
    'loaded_at': 'loaded_at',
} %}
{{ event(dict(deliveries,
    event_key=event_key('luxsci_delivery_status', ['account', 'event_id', "'sent'"]),
    event_type="'sent'",
    occurred_at='date_sent',
)) }}
from {{ ref('stg_luxsci_delivery_status') }}
union all
{{ event(dict(deliveries,
    event_key=event_key('luxsci_delivery_status', ['account', 'event_id', "'outcome'"]),
    event_type="case when status = 'Delivered' then 'delivered' else 'bounced' end",
    occurred_at='delivery_status_updated',
    bounce_class="case status when 'Delivered' then null when 'Soft Bounce' then 'soft' else 'hard' end",
)) }}
from {{ ref('stg_luxsci_delivery_status') }}
where status in ('Delivered', 'Failed', 'Post-Delivery Hard Fail', 'Soft Bounce')
union all
{{ event({
    'event_key': event_key('luxsci_opens', ['account', 'event_id']),
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': 'sendmail_id',
    'recipient_key': recipient_key('to_address'),
    'event_type': "'opened'",
    'occurred_at': 'open_date',
    'user_agent': 'user_agent',
    'stream': "'luxsci_opens'",
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_luxsci_opens') }}
union all
{{ event({
    'event_key': event_key('luxsci_clicks', ['account', 'event_id']),
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': 'sendmail_id',
    'recipient_key': recipient_key('to_address'),
    'event_type': "'clicked'",
    'occurred_at': 'click_date',
    'link': 'url',
    'user_agent': 'user_agent',
    'stream': "'luxsci_clicks'",
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_luxsci_clicks') }}
union all
{#- Mailbox providers that do not tell who complained have the word redacted. #}
{{ event({
    'event_key': event_key('luxsci_complaints', ['account', 'event_id']),
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': 'sendmail_id',
    'recipient_key': "nullif(" ~ recipient_key('to_address') ~ ", 'redacted')",
    'event_type': "'complained'",
    'occurred_at': 'complaint_date',
    'stream': "'luxsci_complaints'",
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_luxsci_complaints') }}
union all
{{ event({
    'event_key': event_key('luxsci_suppressions', ['account', 'event_id']),
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': 'sendmail_id',
    'recipient_key': recipient_key('email'),
    'event_type': "'unsubscribed'",
    'occurred_at': 'added',
    'stream': "'luxsci_suppressions'",
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_luxsci_suppressions') }}
where sendmail_id <> ''
{%- set marketing = {
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_campaign_key('campaign_id'),
    'recipient_key': recipient_key('email'),
    'loaded_at': 'loaded_at',
} %}
{%- set logs = dict(marketing, stream="'luxsci_marketing_logs'") %}
union all
{{ event(dict(logs,
    event_key=event_key('luxsci_marketing_logs', ['account', 'log_id', "'sent'"]),
    event_type="'sent'",
    occurred_at='sent',
)) }}
from {{ ref('stg_luxsci_marketing_logs') }}
union all
{{ event(dict(logs,
    event_key=event_key('luxsci_marketing_logs', ['account', 'log_id', "'outcome'"]),
    event_type="case when disposition = 'delivered' then 'delivered' else 'bounced' end",
    occurred_at='delivery_status_updated',
    bounce_class="case disposition when 'soft_bounce' then 'soft' when 'hard_bounce' then 'hard' end",
)) }}
from {{ ref('stg_luxsci_marketing_logs') }}
where disposition in ('delivered', 'soft_bounce', 'hard_bounce')
union all
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_opens', ['account', 'event_id']),
    event_type="'opened'",
    occurred_at='open_date',
    user_agent='user_agent',
    stream="'luxsci_marketing_opens'",
)) }}
from {{ ref('stg_luxsci_marketing_opens') }}
union all
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_clicks', ['account', 'event_id']),
    event_type="'clicked'",
    occurred_at='click_date',
    link='url',
    user_agent='user_agent',
    stream="'luxsci_marketing_clicks'",
)) }}
from {{ ref('stg_luxsci_marketing_clicks') }}
union all
{#- The vendor gives no date of these. #}
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_complaints', ['account', 'log_id']),
    event_type="'complained'",
    stream="'luxsci_marketing_complaints'",
)) }}
from {{ ref('stg_luxsci_marketing_complaints') }}
union all
{#- Those entered by hand are of no campaign. #}
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_unsubscribes', ['account', 'event_id']),
    event_type="'unsubscribed'",
    occurred_at='unsubscribed_date',
    stream="'luxsci_marketing_unsubscribes'",
)) }}
from {{ ref('stg_luxsci_marketing_unsubscribes') }}
