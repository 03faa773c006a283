-- Messages that occur only in events are included, with nulls. They were sent before the
-- history that was read.
with listed as (
    {{- union_of_providers('_messages') | indent(4) }}
),

seen as (
    select distinct provider, account, message_key
    from {{ ref('email_events') }}
    where message_key is not null
)

select *
from listed
union all
{{ message({
    'provider': 'seen.provider',
    'account': 'seen.account',
    'message_key': 'seen.message_key',
}) }}
from seen
left join listed
    on listed.provider = seen.provider
    and listed.account = seen.account
    and listed.message_key = seen.message_key
where listed.message_key is null
