{{ config(enabled='constant_contact' in var('providers')) }}
-- Only rows of the last complete reading are current.
select latest.*
from ({{ latest('constant_contact_unique_opens') }}) as latest
inner join {{ ref('stg_constant_contact_snapshots') }} as snapshots
    on snapshots.account = latest.account
    and snapshots.campaign_activity_id = latest.campaign_activity_id
    and snapshots.report = 'unique_opens'
    and snapshots.as_of = latest.as_of
