#!/usr/bin/env python
"""The real target-bigquery without credentials and waits: an emulator needs neither.

The client library itself connects to BIGQUERY_EMULATOR_HOST.
"""

from __future__ import annotations

import time
from functools import cache
from types import SimpleNamespace

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from target_bigquery import batch_job, core
from target_bigquery.target import TargetBigQuery


@cache
def client(credentials: core.BigQueryCredentials) -> bigquery.Client:
    """Return a client that does not log in."""
    return bigquery.Client(
        project=credentials.project, credentials=AnonymousCredentials()
    )


def at_once(_: float) -> None:
    """Replace a wait of 12 seconds per stream: the emulator is consistent at once."""


core.time = SimpleNamespace(time=time.time, strftime=time.strftime, sleep=at_once)
core.bigquery_client_factory = batch_job.bigquery_client_factory = client

if __name__ == "__main__":
    TargetBigQuery.cli()
