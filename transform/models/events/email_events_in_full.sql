-- The rows of email_events after a full refresh.
{{ judged_events(false) }}
