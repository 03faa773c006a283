"""Compile the dbt project for a warehouse without connecting to it, and check the SQL.

`dialects.py DIALECT…` compiles each model and test with the adapter of that warehouse.
Every table is taken to exist with the columns of `sources.yml`, so email_events is
compiled as in an incremental run. sqlglot then parses the SQL in that dialect and
resolves each column down to the sources. The output is JSON: {dialect: {model or test:
problem or null}}.
"""

import json
import sys
from typing import Any
from unittest.mock import MagicMock

import sqlglot
from dbt.adapters.base import BaseAdapter
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

TYPES = {"bigint": "bigint", "timestamp": "timestamp", "number": "float64"}
COLUMNS: dict[str, dict[str, str]] = {}
"""Columns and types by table, in the letter case of the warehouse."""


def get_relation(
    adapter: Any, database: str, schema: str, identifier: str, **_: object
) -> Any:
    return adapter.Relation.create(database, schema, identifier, type="table")


def get_columns_in_relation(adapter: Any, relation: Any) -> list[Any]:
    columns = COLUMNS[relation.identifier.lower()]
    return [adapter.Column(name, kind) for name, kind in columns.items()]


def connect(connection: Any) -> Any:
    connection.handle, connection.state = MagicMock(), "open"
    return connection


def patch(adapter: type[BaseAdapter]) -> None:
    """Keep an adapter and its subclasses from querying a warehouse."""
    for one in (adapter, *adapter.__subclasses__()):
        one.get_relation = get_relation
        one.get_columns_in_relation = get_columns_in_relation
        if manager := getattr(one, "ConnectionManager", None):
            manager.open = staticmethod(connect)
        for derived in one.__subclasses__():
            patch(derived)


def run(*arguments: str) -> Any:
    done = dbtRunner().invoke(list(arguments))
    if not done.success:
        sys.exit(str(done.exception))
    return done.result


def know_sources(manifest: Manifest, dialect: str) -> None:
    """Store the columns of the sources with those that targets add."""
    for source in manifest.sources.values():
        names = {name: column.data_type for name, column in source.columns.items()}
        names |= {"_sdc_received_at": "timestamp", "_sdc_batched_at": "timestamp"}
        COLUMNS[source.name] = {
            name.upper() if dialect == "snowflake" else name: TYPES.get(kind, "string")
            for name, kind in names.items()
        }


def problems(manifest: Manifest, results: Any, dialect: str) -> dict[str, str | None]:
    """Return the problem of each compiled node, or None (results in build order)."""
    schema = sqlglot.MappingSchema(dialect=dialect)
    for source in manifest.sources.values():
        schema.add_table(source.relation_name, COLUMNS[source.name], dialect=dialect)
    for node in manifest.nodes.values():
        if node.resource_type == "seed":
            columns = dict.fromkeys(node.columns, "string")
            schema.add_table(node.relation_name, columns, dialect=dialect)
    found: dict[str, str | None] = {}
    for result in results:
        node = result.node
        if node.resource_type == "model" and node.columns:
            # An incremental model reads its own table.
            described = dict.fromkeys(node.columns, "string")
            schema.add_table(node.relation_name, described, dialect=dialect)
        try:
            tree = qualify(
                sqlglot.parse_one(node.compiled_code, dialect=dialect),
                schema=schema,
                dialect=dialect,
            )
        except SqlglotError as problem:
            found[node.name] = str(problem)
            continue
        found[node.name] = None
        if node.resource_type == "model" and not node.columns:
            columns = dict.fromkeys(tree.named_selects, "string")
            schema.add_table(node.relation_name, columns, dialect=dialect)
    return found


def main() -> None:
    found = {}
    for dialect in sys.argv[1:]:
        manifest = run("parse", "--target", dialect)
        know_sources(manifest, dialect)
        patch(BaseAdapter)
        results = run("compile", "--target", dialect, "--no-populate-cache")
        # Hooks before a run query the warehouse and compile to no SQL.
        models = [one for one in results if one.node.resource_type in ("model", "test")]
        order = sorted(models, key=lambda result: depth(manifest, result.node))
        found[dialect] = problems(manifest, order, dialect)
    sys.stdout.write(json.dumps(found))


def depth(manifest: Manifest, node: Any) -> int:
    """Return the length of the longest path from a node to its sources."""
    # A seed depends on nothing.
    names = getattr(node.depends_on, "nodes", ())
    above = [manifest.nodes[name] for name in names if name in manifest.nodes]
    return 1 + max((depth(manifest, one) for one in above), default=0)


if __name__ == "__main__":
    main()
