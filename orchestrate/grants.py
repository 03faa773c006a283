"""What an account may ask of a key on one day: granted once, and kept for that day.

A share follows from the number of accounts in the list. Where that changes within a
day, shares of the old list and of the new one would add up to more than the day has.
So the first run of an account in a UTC day is granted a share, which stays. All grants
of a day together are at most the day's limit.
"""

from __future__ import annotations

import fcntl
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path


def granted(file: Path, day: date, account: str, share: int, limit: int) -> int:
    """Return the requests that an account may make on a day; 0 for none any more.

    Args:
        file: keeps the grants of a key; on a disk that all workers share.
        day: in UTC.
        account: its name.
        share: what follows from the list as it is now.
        limit: of the key, for all accounts together.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be kept.
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
    """Return the grants of a day, none where those of another are kept."""
    try:
        kept = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{file} is damaged: delete it tomorrow, UTC") from error
    found: dict[str, int] = kept["grants"] if kept["day"] == day.isoformat() else {}
    return found
