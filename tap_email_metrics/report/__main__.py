"""`python -m tap_email_metrics.report` is `tap-email-metrics-report`."""

from tap_email_metrics.report.command import main

if __name__ == "__main__":
    main()
