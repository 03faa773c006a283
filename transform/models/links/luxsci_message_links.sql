-- Secure Marketing only; the vendor lists no links of transactional email. It does not document
-- whether it lists links that nobody clicked.
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
where url <> '' and campaign_id <> 0
