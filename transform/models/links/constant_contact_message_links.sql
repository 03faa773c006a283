{{ config(enabled='constant_contact' in var('providers')) }}
{{ link({
    'provider': "'constant_contact'",
    'account': 'account',
    'message_key': 'campaign_activity_id',
    'link': 'link_url',
    'vendor_clickers': 'unique_clicks',
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_constant_contact_links') }}
where link_url <> ''
