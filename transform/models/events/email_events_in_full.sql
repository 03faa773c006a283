-- What email_events is after a full refresh.
{{ judged_events(false) }}
