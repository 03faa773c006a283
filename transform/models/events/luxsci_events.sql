{{ config(enabled='luxsci' in var('providers')) }}
{{ luxsci_events() }}
