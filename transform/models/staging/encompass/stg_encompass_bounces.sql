{{ config(enabled='encompass' in var('providers')) }}
{{ latest('encompass_bounces') }}
