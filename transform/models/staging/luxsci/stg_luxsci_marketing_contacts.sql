{{ config(enabled='luxsci' in var('providers')) }}
{{ latest('luxsci_marketing_contacts') }}
