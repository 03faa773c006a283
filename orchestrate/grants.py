"""Grants each account its share of a key's daily requests, once per UTC day.

A share depends on the number of accounts in the list. If the list changes during a day,
the shares of the old and the new list together could exceed the daily limit. So the
first run of an account in a day is granted a share, and later runs of that day keep it.
The grants of a day never add up to more than the limit.
"""

from __future__ import annotations

import fcntl
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path


def granted(file: Path, day: date, account: str, share: int, limit: int) -> int:
    """Return the requests that an account may send on a day; 0 if none are left.

    Args:
        file: the grants of a key, on a disk that all workers share.
        day: a day in UTC.
        account: name of the account.
        share: the account's share by the current list.
        limit: the daily limit of the key for all accounts together.

    Raises:
        ValueError: the file is damaged.
        OSError: the file cannot be read or written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        grants = _read(file, day)
        if account not in grants:
            grants[account] = max(0, min(share, limit - sum(grants.values())))
            kept = file.with_suffix(".tmp")
            kept.write_text(json.dumps({"day": day.isoformat(), "grants": grants}))
            kept.replace(file)
        return grants[account]


def _read(file: Path, day: date) -> dict[str, int]:
    """Return the grants in a file, none if they are of another day."""
    try:
        kept = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{file} is damaged: delete it after 00:00 UTC") from error
    found: dict[str, int] = kept["grants"] if kept["day"] == day.isoformat() else {}
    return found
