"""bqemulator with the extensions that target-bigquery needs.

It loads gzipped files and accepts qualified columns in the UPDATE of a MERGE.
Extensions of DuckDB that are not needed here are not downloaded.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

from bqemulator import cli
from bqemulator.jobs import executor
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.engine import DuckDBEngine

UPDATE = re.compile(r"(?<=UPDATE SET ).*(?=WHEN NOT MATCHED)", re.DOTALL)
QUALIFIED = re.compile(r"[`\"]?target[`\"]?\.([`\"]?\w+[`\"]? =)")
load_json = executor._load_json  # noqa: SLF001 - it has no other way in
translate = SQLTranslator.translate


def load_zipped(path: str, *args: Any) -> None:
    """Load a file of JSON lines; like BigQuery, also a gzipped one."""
    file = Path(path)
    if file.read_bytes().startswith(b"\x1f\x8b"):
        file.write_bytes(gzip.decompress(file.read_bytes()))
    load_json(path, *args)


def unqualified(self: SQLTranslator, query: str, **kwargs: Any) -> Any:
    """Translate a query, and drop `target.` from columns in its UPDATE."""
    query = UPDATE.sub(lambda found: QUALIFIED.sub(r"\1", found[0]), query)
    return translate(self, query, **kwargs)


def nothing(_: DuckDBEngine) -> None:
    """Do nothing."""


DuckDBEngine._load_spatial = nothing  # noqa: SLF001
DuckDBEngine._load_format_extensions = nothing  # noqa: SLF001
executor._LOAD_FORMAT_HANDLERS["NEWLINE_DELIMITED_JSON"] = load_zipped  # noqa: SLF001
SQLTranslator.translate = unqualified

if __name__ == "__main__":
    cli.main()
