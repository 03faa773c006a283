{{ config(enabled='encompass' in var('providers')) }}
{{ message({
    'provider': "'encompass'",
    'account': 'account',
    'message_key': 'id',
    'name': 'email_name',
    'subject': 'subject_line',
    'sender': 'from_address',
    'sent_at': 'sent_at',
    'sent_count': 'sent_count',
}) }}
from {{ ref('stg_encompass_messages') }}
