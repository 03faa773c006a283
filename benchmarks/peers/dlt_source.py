"""Extracts dlt's rest_api source; nothing is normalised or loaded.

https://dlthub.com/docs/dlt-ecosystem/verified-sources/rest_api/basic
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dlt
from dlt.sources.rest_api import RESTAPIConfig, rest_api_source


def configuration(api_url: str, *, parallelized: bool) -> RESTAPIConfig:
    """Return the configuration of the source."""
    opens: dict[str, Any] = {
        "name": "opens",
        "endpoint": {
            "path": "v2/messages/{resources.messages.id}/opens",
            "data_selector": "data",
        },
        "include_from_parent": ["id"],
        "parallelized": parallelized,
    }
    return {
        "client": {
            "base_url": api_url,
            "auth": {"type": "bearer", "token": "benchmark"},
            "paginator": {
                "type": "offset",
                "limit": 1000,
                "offset_param": "startAt",
                "limit_param": "maxResults",
                "total_path": "total",
            },
        },
        "resources": [
            {
                "name": "messages",
                "endpoint": {"path": "v2/messages", "data_selector": "data"},
            },
            opens,
        ],
    }


def main() -> None:
    """Extract all opens and print their number."""
    given = json.loads(sys.argv[1])
    source = rest_api_source(
        configuration(given["api_url"], parallelized=given["parallelized"])
    )
    pipeline = dlt.pipeline("bench", pipelines_dir=given["folder"])
    pipeline.drop()
    info = pipeline.extract(source, loader_file_format="jsonl")
    rows = sum(
        step["table_metrics"]["opens"].items_count
        for steps in info.metrics.values()
        for step in steps
        if "opens" in step["table_metrics"]
    )
    sys.stdout.write(f'{{"rows": {rows}}}\n')


if __name__ == "__main__":
    main()
