{{ config(enabled='encompass' in var('providers')) }}
{{ link({
    'provider': "'encompass'",
    'account': 'account',
    'message_key': 'message_id',
    'link': 'url',
    'loaded_at': 'loaded_at',
}) }}
from {{ ref('stg_encompass_links') }}
where url <> ''
