-- Transactional email has a message for each email sent and no campaign; in Secure Marketing
-- a campaign is the message. Subjects are not told. The id of an email is the same in all
-- reports: one that both channels show is one message.
{{ config(enabled='luxsci' in var('providers')) }}
with emails as (
    select
        *,
        row_number() over (
            partition by account, sendmail_id
            order by channel
        ) as channel_rank
    from {{ ref('stg_luxsci_sent') }}
)

{{ message({
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': 'sendmail_id',
    'sender': 'from_address',
    'sent_at': 'date_sent',
    'sent_count': 'n_recipients',
}) }}
from emails
where channel_rank = 1
union all
{{ message({
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_campaign_key('campaign_id'),
    'campaign_key': 'campaign_id',
    'name': 'title',
    'sent_at': 'send_started_at',
    'sent_count': 'n_sent',
    'delivered_count': 'n_delivered',
    'opened_count': 'n_opened_total',
    'opened_unique_count': 'n_opened_unique',
    'clicked_count': 'n_clicked_total',
    'clicked_unique_count': 'n_clicked_unique',
    'bounced_count': 'n_soft_bounce + n_hard_bounce',
    'complained_count': 'n_spam',
}) }}
from {{ ref('stg_luxsci_marketing_campaigns') }}
