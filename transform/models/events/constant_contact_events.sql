{{ config(enabled='constant_contact' in var('providers')) }}
{{ constant_contact_events() }}
