-- Of Secure Marketing only. Whether the vendor lists links that nobody clicked is not
-- documented. It lists none of transactional email.
{{ config(enabled='luxsci' in var('providers')) }}
{{ link({
    'provider': "'luxsci'",
    'account': 'account',
    'message_key': luxsci_campaign_key('campaign_id'),
    'link': 'url',
    'vendor_clicks': 'clicks',
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_luxsci_marketing_urls') }}
where url is not null and campaign_id <> 0
