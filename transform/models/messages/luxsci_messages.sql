-- A message is a transactional email, which has no campaign, or a campaign of Secure Marketing.
-- The vendor reports no subjects. An email has the same id in all reports, so an email that both
-- channels show is one message. Rows without an id are left out.
{{ config(enabled='luxsci' in var('providers')) }}
with emails as (
    select
        *,
        row_number() over (
            partition by account, {{ luxsci_email_key() }}
            order by channel
        ) as channel_rank
    from {{ ref('stg_luxsci_sent') }}
    where {{ luxsci_email_key() }} is not null
)

{{ message({
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_email_key(),
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
    'bounced_count': 'coalesce(n_soft_bounce + n_hard_bounce, n_soft_bounce, n_hard_bounce)',
    'complained_count': 'n_spam',
}) }}
from {{ ref('stg_luxsci_marketing_campaigns') }}
where campaign_id <> 0
