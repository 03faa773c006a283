{{ config(enabled='luxsci' in var('providers')) }}
{{ latest('luxsci_delivery_status_summary') }}
