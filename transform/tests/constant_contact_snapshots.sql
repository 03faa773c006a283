-- Each snapshot has as many current rows as its reading had.
{{ config(enabled='constant_contact' in var('providers')) }}
with found as (
{%- for report in ('unique_opens', 'links') %}
    select account, '{{ report }}' as report, campaign_activity_id, count(*) as row_count
    from {{ ref('stg_constant_contact_' ~ report) }}
    group by account, campaign_activity_id
{%- if not loop.last %}
    union all
{%- endif %}
{%- endfor %}
)

select snapshots.*, found.row_count as found_count
from {{ ref('stg_constant_contact_snapshots') }} as snapshots
left join found
    on found.account = snapshots.account
    and found.report = snapshots.report
    and found.campaign_activity_id = snapshots.campaign_activity_id
where
    snapshots.report in ('unique_opens', 'links')
    and snapshots.row_count <> coalesce(found.row_count, 0)
