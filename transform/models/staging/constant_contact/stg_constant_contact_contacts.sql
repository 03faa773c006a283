{{ config(enabled='constant_contact' in var('providers')) }}
{{ latest('constant_contact_contacts') }}
