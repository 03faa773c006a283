{#- Translates Constant Contact's letter for a bounce into the word of its counters. -#}
{% macro constant_contact_bounce(code) -%}
case {{ code }}
    when 'B' then 'nonexistent_address'
    when 'D' then 'undeliverable'
    when 'F' then 'mailbox_full'
    when 'S' then 'suspended'
    when 'V' then 'vacation'
    when 'X' then 'other'
    when 'Z' then 'blocked'
    else nullif({{ code }}, '')
end
{%- endmacro %}
