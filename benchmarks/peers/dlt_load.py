"""Loads dlt's rest_api source into Postgres, merged by key.

https://dlthub.com/docs/dlt-ecosystem/destinations/postgres
"""

from __future__ import annotations

import json
import sys

import dlt
from dlt.sources.rest_api import rest_api_source
from dlt_source import configuration


def main() -> None:
    """Run the pipeline once, without state of earlier runs."""
    given = json.loads(sys.argv[1])
    source = rest_api_source(configuration(given["api_url"], parallelized=False))
    source.resources["messages"].selected = False
    source.resources["opens"].apply_hints(
        primary_key=["_messages_id", "id"], write_disposition="merge"
    )
    pipeline = dlt.pipeline(
        "load",
        pipelines_dir=given["folder"],
        destination=dlt.destinations.postgres(given["database"]),
        dataset_name=given["schema"],
    )
    pipeline.drop()
    pipeline.run(source, loader_file_format=given["format"])


if __name__ == "__main__":
    main()
