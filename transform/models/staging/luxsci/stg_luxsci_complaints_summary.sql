{{ config(enabled='luxsci' in var('providers')) }}
{{ latest('luxsci_complaints_summary') }}
