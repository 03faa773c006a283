"""Computes the share of an API key that each run gets.

Workers on several machines do not see each other's requests. So each run gets a fixed
share of the key's rate and daily quota, and an Airflow pool limits how many runs use
the key at once.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The rate setting of each provider, and the seconds that the rate counts for.
RATES = {
    "encompass": ("requests_per_second", 1),
    "constant_contact": ("requests_per_second", 1),
    "luxsci": ("requests_per_minute", 60),
}
START_UP = 5
"""Seconds between the end of a run and the first request of the next run in its slot of
the pool. Meltano and the tap take longer than this to start. A run spaces its requests
evenly, so two successive runs keep the rate if that space is at most this long."""


class SharesError(Exception):
    """The shares of a key would be too small; the message says what to change."""


@dataclass(frozen=True)
class Key:
    """An API key and its limits.

    Attributes:
        name: a name for the key; never the key itself.
        provider: name of the provider.
        rate: requests per second; for LuxSci per minute.
        daily: requests per UTC day, None for no limit.
        reserve: requests per day that are left to other programs.
        at_once: runs that may use the key at once: the slots of its pool.
        runs_a_day: runs of an account per day that each count requests from zero. 1 if
            all workers share a disk, because then they share the account's ledger.
    """

    name: str
    provider: str
    rate: int
    daily: int | None = None
    reserve: int = 0
    at_once: int = 1
    runs_a_day: int = 1

    @property
    def pool(self) -> str:
        """The name of its Airflow pool."""
        return f"email_metrics_{self.name}"


def shares(key: Key, accounts: int) -> dict[str, int]:
    """Return the rate and daily settings of each run, without the provider's prefix.

    Args:
        key: the key to share.
        accounts: number of accounts that share it; 0 counts as 1.

    Raises:
        SharesError: a share would be too small for a run.
    """
    setting, span = RATES[key.provider]
    found = {setting: _rate(key, setting, span)}
    if key.daily is not None:
        found["daily_requests"] = _day(key, max(1, accounts))
    return found


def _rate(key: Key, setting: str, span: int) -> int:
    """Return the share of the rate as a whole number.

    Fractions would not keep the limit: at half a request per second, two runs may send
    their requests in the same second.
    """
    least = -(-span // START_UP)
    share = key.rate // key.at_once
    if share < least:
        raise SharesError(
            f"Key {key.name}: {setting} {key.rate} is too low for {key.at_once} runs"
            f" at once, because each needs {least}. Set its at_once to"
            f" {max(1, key.rate // least)} or less"
            + ("" if key.rate >= least else f", and {setting} to {least} or more")
            + "; the accounts then wait for each other."
        )
    return share


def _day(key: Key, accounts: int) -> int:
    left = (key.daily or 0) - key.reserve
    parts = accounts * key.runs_a_day
    if left < parts:
        raise SharesError(
            f"Key {key.name}: {left} requests a day (daily_requests {key.daily},"
            f" daily_reserve {key.reserve}) are too few for {accounts} accounts with"
            f" {key.runs_a_day} runs each: a run would get less than one request. Give"
            " some accounts another key, ask the vendor for more, or lower runs_a_day"
            " (1 if all workers share a disk)."
        )
    return left // parts
