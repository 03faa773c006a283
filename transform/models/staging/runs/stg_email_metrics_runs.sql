{{ latest('email_metrics_runs') }}
