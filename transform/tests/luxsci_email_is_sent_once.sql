-- An email that both channels show counts once per recipient: the number of events equals the
-- rows in the channel that has the most.
{{ config(enabled='luxsci' in var('providers')) }}
with shown as (
    select account, message_key, recipient_key, sent_at, max(row_count) as row_count
    from (
        select
            account,
            channel,
            {{ luxsci_email_key() }} as message_key,
            {{ recipient_key('to_address') }} as recipient_key,
            date_sent as sent_at,
            count(*) as row_count
        from {{ ref('stg_luxsci_delivery_status') }}
        group by
            account,
            channel,
            {{ luxsci_email_key() }},
            {{ recipient_key('to_address') }},
            date_sent
    ) as channels
    where message_key is not null
    group by account, message_key, recipient_key, sent_at
),

found as (
    select account, message_key, recipient_key, occurred_at as sent_at, count(*) as event_count
    from {{ ref('email_events') }}
    where stream = 'luxsci_delivery_status' and event_type = 'sent' and message_key is not null
    group by account, message_key, recipient_key, occurred_at
)

select found.*, shown.row_count
from found
inner join shown
    on shown.account = found.account
    and shown.message_key = found.message_key
    and shown.recipient_key = found.recipient_key
    and shown.sent_at = found.sent_at
where shown.row_count <> found.event_count
