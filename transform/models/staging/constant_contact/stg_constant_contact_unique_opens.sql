{{ config(enabled='constant_contact' in var('providers')) }}
-- Rows of earlier readings are past: current are those of the last complete one.
select latest.*
from ({{ latest('constant_contact_unique_opens') }}) as latest
inner join {{ ref('stg_constant_contact_snapshots') }} as snapshots
    on snapshots.account = latest.account
    and snapshots.campaign_activity_id = latest.campaign_activity_id
    and snapshots.report = 'unique_opens'
    and snapshots.as_of = latest.as_of
