{% macro luxsci_kinds() -%}
{{ return([
    'delivery_status', 'opens', 'clicks', 'complaints', 'suppressions',
    'marketing_logs', 'marketing_opens', 'marketing_clicks',
    'marketing_complaints', 'marketing_unsubscribes',
]) }}
{%- endmacro %}


{#- The message key of a transactional email: its id, the same in all reports. -#}
{% macro luxsci_email_key() -%}
nullif(trim(sendmail_id), '')
{%- endmacro %}


{#- The id of a recipient: the address or its hash. Null if `pii.mode` is domain, because
many recipients share a domain. -#}
{% macro luxsci_recipient(key) -%}
case when {{ key }} like '%@%' or {{ key }} not like '%.%' then {{ key }} end
{%- endmacro %}


{#- Selects the rows of a stream of emails without duplicates. SMTP and WebMail may both show
the same event under different ids. Rows with equal `columns` are numbered within each
channel; rows of two channels with equal `columns` and the same number are one event, with
the key `same_event`. A row without an email id is always an event of its own. -#}
{% macro luxsci_once(stream, columns, changed) -%}
{%- set email = ["coalesce(" ~ luxsci_email_key() ~ ", event_id)"] -%}
{%- set alike = [] -%}
{%- for column in email + columns -%}
{%- do alike.append("coalesce(" ~ typed(column, 'string') ~ ", '')") -%}
{%- if not loop.last -%}{%- do alike.append("'|'") -%}{%- endif -%}
{%- endfor -%}
(
    select *
    from (
        select
            numbered.*,
            {{ dbt.concat(['same', "'-'", typed('place', 'string')]) }} as same_event,
            row_number() over (
                partition by account, same, place
                order by channel, event_id
            ) as choice
        from (
            select
                hashed.*,
                row_number() over (
                    partition by account, channel, same
                    order by event_id
                ) as place
            from (
                select emails.*, {{ dbt.hash(dbt.concat(alike)) }} as same
                from {{ rows_of(stream, changed) }} as emails
            ) as hashed
        ) as numbered
    ) as chosen
    where choice = 1
) as once
{%- endmacro %}


{#- A delivery row is one email to one recipient. It has one event for the send and one for
the outcome. The outcome can change, but its event keeps its key, so that a failure after
the delivery replaces the delivery, as in the vendor's own counts.

Two streams have no events here: the attempts in luxsci_temporary_failures are not bounces,
and luxsci_marketing_bounces repeats luxsci_marketing_logs. A suppression is an
unsubscription if it names the message that led to it. -#}
{% macro luxsci_events(changed=false) -%}
{%- set email = {
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_email_key(),
    'recipient_key': recipient_key('to_address'),
    'recipient_id': luxsci_recipient(recipient_key('to_address')),
    'recipient_domain': recipient_domain(recipient_key('to_address'), 'recipient_domain'),
    'customer_key': "nullif(trim(user_login), '')",
    'loaded_at': 'loaded_at',
} %}
{%- set status = 'lower(trim(status))' %}
{%- set disposition = 'lower(trim(disposition))' %}
{%- set deliveries = luxsci_once('luxsci_delivery_status', [recipient_key('to_address'), 'date_sent'], changed) %}
{{ event(dict(email,
    event_key=event_key('luxsci_delivery_status', ['account', 'same_event', "'sent'"]),
    event_type="'sent'",
    occurred_at='date_sent',
    stream="'luxsci_delivery_status'",
)) }}
from {{ deliveries }}
union all
{{ event(dict(email,
    event_key=event_key('luxsci_delivery_status', ['account', 'same_event', "'outcome'"]),
    event_type="case when " ~ status ~ " = 'delivered' then 'delivered' else 'bounced' end",
    occurred_at='delivery_status_updated',
    bounce_class="case " ~ status ~ " when 'delivered' then null when 'soft bounce' then 'soft' else 'hard' end",
    stream="'luxsci_delivery_status'",
)) }}
from {{ deliveries }}
where {{ status }} in ('delivered', 'failed', 'post-delivery hard fail', 'soft bounce')
union all
{{ event(dict(email,
    event_key=event_key('luxsci_opens', ['account', 'same_event']),
    event_type="'opened'",
    occurred_at='open_date',
    user_agent='user_agent',
    ip_address='opener_ip',
    stream="'luxsci_opens'",
)) }}
from {{ luxsci_once('luxsci_opens', [recipient_key('to_address'), 'open_date', 'opener_ip', 'user_agent'], changed) }}
union all
{{ event(dict(email,
    event_key=event_key('luxsci_clicks', ['account', 'same_event']),
    event_type="'clicked'",
    occurred_at='click_date',
    link="nullif(url, '')",
    user_agent='user_agent',
    ip_address='clicker_ip',
    stream="'luxsci_clicks'",
)) }}
from {{ luxsci_once('luxsci_clicks', [recipient_key('to_address'), 'click_date', 'url', 'clicker_ip'], changed) }}
union all
{#- Mailbox providers that do not tell who complained have the word redacted. #}
{%- set redacted = "nullif(" ~ recipient_key('to_address') ~ ", 'redacted')" %}
{{ event(dict(email,
    event_key=event_key('luxsci_complaints', ['account', 'event_id']),
    recipient_key=redacted,
    recipient_id=luxsci_recipient(redacted),
    recipient_domain=recipient_domain(redacted, 'recipient_domain'),
    event_type="'complained'",
    occurred_at='complaint_date',
    stream="'luxsci_complaints'",
)) }}
from {{ rows_of('luxsci_complaints', changed) }}
union all
{{ event({
    'event_key': event_key('luxsci_suppressions', ['account', 'event_id']),
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_email_key(),
    'recipient_key': recipient_key('email'),
    'recipient_id': luxsci_recipient(recipient_key('email')),
    'recipient_domain': recipient_domain(recipient_key('email'), 'recipient_domain'),
    'event_type': "'unsubscribed'",
    'occurred_at': 'added',
    'stream': "'luxsci_suppressions'",
    'loaded_at': 'loaded_at',
}) }}
from {{ rows_of('luxsci_suppressions', changed) }}
where {{ luxsci_email_key() }} is not null
{%- set marketing = {
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_campaign_key('campaign_id'),
    'recipient_key': recipient_key('email'),
    'recipient_id': 'coalesce(' ~ typed('nullif(contact_id, 0)', 'string') ~ ', ' ~ luxsci_recipient(recipient_key('email')) ~ ')',
    'recipient_domain': recipient_domain(recipient_key('email'), 'recipient_domain'),
    'customer_key': "nullif(trim(login), '')",
    'loaded_at': 'loaded_at',
} %}
{%- set logs = dict(marketing, stream="'luxsci_marketing_logs'") %}
union all
{{ event(dict(logs,
    event_key=event_key('luxsci_marketing_logs', ['account', 'log_id', "'sent'"]),
    event_type="'sent'",
    occurred_at='sent',
)) }}
from {{ rows_of('luxsci_marketing_logs', changed) }}
union all
{{ event(dict(logs,
    event_key=event_key('luxsci_marketing_logs', ['account', 'log_id', "'outcome'"]),
    event_type="case when " ~ disposition ~ " = 'delivered' then 'delivered' else 'bounced' end",
    occurred_at='delivery_status_updated',
    bounce_class="case " ~ disposition ~ " when 'soft_bounce' then 'soft' when 'hard_bounce' then 'hard' end",
)) }}
from {{ rows_of('luxsci_marketing_logs', changed) }}
where {{ disposition }} in ('delivered', 'soft_bounce', 'hard_bounce')
union all
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_opens', ['account', 'event_id']),
    event_type="'opened'",
    occurred_at='open_date',
    user_agent='user_agent',
    ip_address='ip_address',
    stream="'luxsci_marketing_opens'",
)) }}
from {{ rows_of('luxsci_marketing_opens', changed) }}
union all
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_clicks', ['account', 'event_id']),
    event_type="'clicked'",
    occurred_at='click_date',
    link="nullif(url, '')",
    user_agent='user_agent',
    ip_address='ip_address',
    stream="'luxsci_marketing_clicks'",
)) }}
from {{ rows_of('luxsci_marketing_clicks', changed) }}
union all
{#- The vendor reports no time for these complaints. #}
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_complaints', ['account', 'log_id']),
    event_type="'complained'",
    stream="'luxsci_marketing_complaints'",
)) }}
from {{ rows_of('luxsci_marketing_complaints', changed) }}
union all
{#- Unsubscriptions that were entered by hand have no campaign. #}
{{ event(dict(marketing,
    event_key=event_key('luxsci_marketing_unsubscribes', ['account', 'event_id']),
    event_type="'unsubscribed'",
    occurred_at='unsubscribed_date',
    stream="'luxsci_marketing_unsubscribes'",
)) }}
from {{ rows_of('luxsci_marketing_unsubscribes', changed) }}
{%- endmacro %}
