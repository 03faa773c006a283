"""Writes the files of a declarative source for airbyte-cdk's own command.

https://docs.airbyte.com/platform/connector-development/config-based
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NUMBER = {"type": ["null", "integer"]}
_TEXT = {"type": ["null", "string"]}
_FIELDS = {
    "message_id": _NUMBER,
    "id": _NUMBER,
    "recipientId": _NUMBER,
    "timestamp": _NUMBER,
    "dateAdded": _NUMBER,
    "ipAddress": _TEXT,
    "userAgent": _TEXT,
}


def write_files(folder: Path, api_url: str, concurrency: int | None) -> list[str]:
    """Write the config and catalog of the command; return its arguments.

    Args:
        folder: the folder to write into.
        api_url: URL of the server.
        concurrency: number of workers, None for the source's default.
    """
    opens = {
        "name": "opens",
        "json_schema": {"type": "object", "properties": _FIELDS},
        "supported_sync_modes": ["full_refresh"],
    }
    catalog = {
        "streams": [
            {
                "stream": opens,
                "sync_mode": "full_refresh",
                "destination_sync_mode": "append",
            }
        ]
    }
    manifest = _manifest(api_url, concurrency)
    config = {"__injected_declarative_manifest": manifest, "token": "benchmark"}
    arguments = ["read"]
    for name, content in (("config", config), ("catalog", catalog)):
        file = folder / f"airbyte-{name}.json"
        file.write_text(json.dumps(content))
        arguments += [f"--{name}", str(file)]
    return arguments


def _manifest(api_url: str, concurrency: int | None) -> dict[str, Any]:
    messages = _stream("messages", "/v2/messages", api_url, {"id": _NUMBER})
    opens = _stream(
        "opens",
        "/v2/messages/{{ stream_partition.message_id }}/opens",
        api_url,
        _FIELDS,
    )
    opens["retriever"]["partition_router"] = {
        "type": "SubstreamPartitionRouter",
        "parent_stream_configs": [
            {
                "type": "ParentStreamConfig",
                "stream": messages,
                "parent_key": "id",
                "partition_field": "message_id",
            }
        ],
    }
    opens["transformations"] = [
        {
            "type": "AddFields",
            "fields": [
                {
                    "type": "AddedFieldDefinition",
                    "path": ["message_id"],
                    "value": "{{ stream_partition.message_id }}",
                }
            ],
        }
    ]
    manifest = {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["opens"]},
        "streams": [opens],
        "spec": {
            "type": "Spec",
            "connection_specification": {
                "type": "object",
                "properties": {"token": {"type": "string"}},
            },
        },
    }
    if concurrency is not None:
        level = {"type": "ConcurrencyLevel", "default_concurrency": concurrency}
        manifest["concurrency_level"] = level
    return manifest


def _stream(
    name: str, path: str, api_url: str, fields: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "DeclarativeStream",
        "name": name,
        "primary_key": ["id"],
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "properties": fields},
        },
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {
                "type": "HttpRequester",
                "url_base": api_url,
                "path": path,
                "http_method": "GET",
                "authenticator": {
                    "type": "BearerAuthenticator",
                    "api_token": "{{ config['token'] }}",
                },
            },
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
            },
            "paginator": _paginator(),
        },
    }


def _paginator() -> dict[str, Any]:
    return {
        "type": "DefaultPaginator",
        "pagination_strategy": {"type": "OffsetIncrement", "page_size": 1000},
        "page_token_option": {
            "type": "RequestOption",
            "inject_into": "request_parameter",
            "field_name": "startAt",
        },
        "page_size_option": {
            "type": "RequestOption",
            "inject_into": "request_parameter",
            "field_name": "maxResults",
        },
    }
