-- A message is a campaign activity: an email of a campaign, its resend, or another one that has
-- counts. The vendor may spell its roles in another way. For removed campaigns only the counts can
-- be read.
{{ config(enabled='constant_contact' in var('providers')) }}
with sends as (
    select account, campaign_activity_id, min(run_date) as sent_at
    from {{ ref('stg_constant_contact_send_history') }}
    group by account, campaign_activity_id
)

{{ message({
    'provider': "'constant_contact'",
    'account': 'coalesce(activities.account, stats.account)',
    'message_key': 'coalesce(activities.campaign_activity_id, stats.campaign_activity_id)',
    'campaign_key': 'coalesce(activities.campaign_id, stats.campaign_id)',
    'name': 'campaigns.name',
    'subject': 'activities.subject',
    'sender': 'activities.from_email',
    'sent_at': 'sends.sent_at',
    'sent_count': 'stats.em_sends',
    'opened_count': 'stats.em_opens_all',
    'opened_unique_count': 'stats.em_opens',
    'clicked_count': 'stats.em_clicks_all',
    'clicked_unique_count': 'stats.em_clicks',
    'bounced_count': 'stats.em_bounces',
    'unsubscribed_count': 'stats.em_optouts',
    'complained_count': 'stats.em_abuse',
    'forwarded_count': 'stats.em_forwards',
    'counted_at': 'stats.last_refresh_time',
}) }}
from {{ ref('stg_constant_contact_campaign_activities') }} as activities
full outer join {{ ref('stg_constant_contact_campaign_activity_stats') }} as stats
    on stats.account = activities.account
    and stats.campaign_activity_id = activities.campaign_activity_id
left join {{ ref('stg_constant_contact_campaigns') }} as campaigns
    on campaigns.account = coalesce(activities.account, stats.account)
    and campaigns.campaign_id = coalesce(activities.campaign_id, stats.campaign_id)
left join sends
    on sends.account = coalesce(activities.account, stats.account)
    and sends.campaign_activity_id
    = coalesce(activities.campaign_activity_id, stats.campaign_activity_id)
where
    stats.campaign_activity_id is not null
    or replace(replace(lower(trim(activities.role)), '-', '_'), ' ', '_') in ('primary_email', 'resend')
