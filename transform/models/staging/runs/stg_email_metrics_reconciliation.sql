{{ latest('email_metrics_reconciliation') }}
