-- Each recipient counts once per message. Each rate has the same definition for all providers.
with counted as (
    select
        provider,
        account,
        message_key,
        count(*) as recipients,
        count(case when is_sent then 1 end) as sent,
        count(case when is_delivered then 1 end) as delivered,
        count(case when is_sent and not is_bounced then 1 end) as sent_not_bounced,
        count(case when is_bounced then 1 end) as bounced,
        {%- for kind in ('hard', 'soft') %}
        count(case when is_bounced and bounce_kind = '{{ kind }}' then 1 end) as bounced_{{ kind }},
        {%- endfor %}
        count(case when is_bounced and bounce_kind is null then 1 end) as bounced_other,
        {%- for noun, person in [('opens', 'openers'), ('clicks', 'clickers')] %}
        {%- for who in ('', 'human_') %}
        count(case when {{ who }}{{ noun }} > 0 then 1 end) as {{ who }}{{ person }},
        {%- endfor %}
        {%- endfor %}
        count(case when is_unsubscribed then 1 end) as unsubscribed,
        count(case when is_complained then 1 end) as complained,
        max(built_at) as built_at
    from {{ ref('email_message_recipients') }}
    group by provider, account, message_key
),

-- A number that the provider does not report is null, or replaced by the nearest that it does.
reported as (
    select
        messages.*,
        case when messages.provider = 'encompass' then messages.sent_count else counted.sent end as sent,
        case
            when messages.provider = 'constant_contact' then counted.sent_not_bounced
            else counted.delivered
        end as delivered,
        counted.bounced,
        counted.bounced_hard,
        counted.bounced_soft,
        counted.bounced_other,
        counted.openers,
        counted.human_openers,
        counted.clickers,
        counted.human_clickers,
        case when messages.provider <> 'encompass' then counted.unsubscribed end as unsubscribed,
        case messages.provider
            when 'luxsci' then counted.complained
            when 'constant_contact' then messages.complained_count
        end as complained
    from {{ ref('email_messages') }} as messages
    left join counted
        on counted.provider = messages.provider
        and counted.account = messages.account
        and counted.message_key = messages.message_key
)

select
    provider,
    account,
    message_key,
    campaign_key,
    name,
    subject,
    sent_at,
    sent,
    delivered,
    openers,
    human_openers,
    clickers,
    human_clickers,
    bounced,
    bounced_hard,
    bounced_soft,
    bounced_other,
    unsubscribed,
    complained,
    {{ share('openers', 'delivered') }} as open_rate,
    {{ share('human_openers', 'delivered') }} as human_open_rate,
    {{ share('clickers', 'delivered') }} as click_rate,
    {{ share('human_clickers', 'delivered') }} as human_click_rate,
    {{ share('bounced', 'sent') }} as bounce_rate,
    {{ share('unsubscribed', 'delivered') }} as unsubscribe_rate,
    {{ share('complained', 'delivered') }} as complaint_rate,
    sent_count as vendor_sent,
    delivered_count as vendor_delivered,
    opened_unique_count as vendor_openers,
    clicked_unique_count as vendor_clickers,
    bounced_count as vendor_bounced,
    unsubscribed_count as vendor_unsubscribed,
    {%- for noun, person, counted in [
        ('opens', 'openers', 'opened_unique_count'), ('clicks', 'clickers', 'clicked_unique_count')
    ] %}
    case
        when {{ counted }} is null then 'not reported by this vendor'
        when {{ person }} is null then 'no events of known recipients are loaded'
        when {{ counted }} = {{ person }} then 'equal'
        when {{ counted }} > {{ person }} then 'the vendor counts {{ person }} that it has not listed'
        when provider = 'constant_contact' then 'the vendor takes {{ noun }} by machines out of its count'
        else 'the list has {{ person }} that the vendor does not count'
    end as {{ person }}_difference{{ ',' if not loop.last }}
    {%- endfor %}
from reported
