-- Contacts in the last complete reading of the unique opens. A later, incomplete reading may
-- already have replaced some of their rows; those contacts count as well.
{{ config(enabled='constant_contact' in var('providers')) }}
select distinct latest.account, latest.campaign_activity_id, latest.contact_id
from ({{ latest('constant_contact_unique_opens') }}) as latest
inner join {{ ref('stg_constant_contact_snapshots') }} as snapshots
    on snapshots.account = latest.account
    and snapshots.campaign_activity_id = latest.campaign_activity_id
    and snapshots.report = 'unique_opens'
    and snapshots.as_of <= latest.as_of
