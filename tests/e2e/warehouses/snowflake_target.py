#!/usr/bin/env python
"""The real target-snowflake, connected to the server at FAKESNOW_PORT."""

from __future__ import annotations

import os
from typing import Any

from target_snowflake.connector import SnowflakeConnector
from target_snowflake.target import TargetSnowflake

plain = SnowflakeConnector.get_connect_args


def get_connect_args(self: SnowflakeConnector) -> dict[str, Any]:
    """Return the target's own arguments with the address of the server."""
    here = {"host": "127.0.0.1", "port": int(os.environ["FAKESNOW_PORT"])}
    return {**plain(self), **here, "protocol": "http"}


SnowflakeConnector.get_connect_args = get_connect_args

if __name__ == "__main__":
    TargetSnowflake.cli()
