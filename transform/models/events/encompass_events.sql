{{ config(enabled='encompass' in var('providers')) }}
{{ encompass_events() }}
