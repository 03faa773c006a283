"""Runs `tap-email-metrics-report` as `python -m tap_email_metrics.report`."""

from tap_email_metrics.report.command import main

if __name__ == "__main__":
    main()
