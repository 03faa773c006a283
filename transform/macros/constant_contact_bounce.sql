{#- Constant Contact's letter for a bounce in the words of its own counters. -#}
{% macro constant_contact_bounce(code) -%}
case {{ code }}
    when 'B' then 'nonexistent_address'
    when 'D' then 'undeliverable'
    when 'F' then 'mailbox_full'
    when 'S' then 'suspended'
    when 'V' then 'vacation'
    when 'X' then 'other'
    when 'Z' then 'blocked'
    else {{ code }}
end
{%- endmacro %}
