"""What one run may take of an API key that several accounts share.

Workers on several machines know nothing of each other, so nothing is counted together:
each run gets a fixed part of the key's rate and of its day, and a pool of Airflow
bounds how many run at once.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The setting that a provider's rate is given in, and the seconds it is about.
RATES = {
    "encompass": ("requests_per_second", 1),
    "constant_contact": ("requests_per_second", 1),
    "luxsci": ("requests_per_minute", 60),
}
START_UP = 5
"""Seconds at least from the end of one run to the first request of the next in its
place: Meltano and the tap take longer to start. Requests of one run are evenly spaced;
where the space is no longer than this, so are those of runs that follow each other."""


class SharesError(Exception):
    """A key cannot be shared in this way; the message says what to change."""


@dataclass(frozen=True)
class Key:
    """An API key, and what all who use it may take of it.

    Attributes:
        name: of the key; never the key itself.
        provider: whose it is.
        rate: requests a second, or a minute for LuxSci.
        daily: requests of a UTC day, or None for no limit.
        reserve: the part of the day that is left to others.
        at_once: how many runs may use it at a time; the slots of its pool.
        runs_a_day: how many runs of an account count their requests apart, each from
            zero. 1: all of them find the account's ledger on a disk that they share.
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
        """The name of its pool."""
        return f"email_metrics_{self.name}"


def shares(key: Key, accounts: int) -> dict[str, int]:
    """Return the settings of the tap, without the provider's name, for each run.

    `accounts` is how many share the key; the shares of so many are at most its limits.
    A key that nobody uses any more is shared as by one.

    Raises:
        SharesError: a share would be too small to run with.
    """
    setting, span = RATES[key.provider]
    found = {setting: _rate(key, setting, span)}
    if key.daily is not None:
        found["daily_requests"] = _day(key, max(1, accounts))
    return found


def _rate(key: Key, setting: str, span: int) -> int:
    """Return the part of the rate; a whole number, as only those are kept exactly.

    Half a request a second is one every two seconds: two runs with half each may make
    them in the same second.
    """
    least = -(-span // START_UP)
    share = key.rate // key.at_once
    if share < least:
        raise SharesError(
            f"Key {key.name}: {setting} {key.rate} is too little for {key.at_once} runs"
            f" at once, as each needs {least}. Set its at_once to"
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
            f" daily_reserve {key.reserve}) are too little for {accounts} accounts with"
            f" {key.runs_a_day} runs each: none would get one whole request. Give some"
            " accounts another key, ask the vendor for more, or lower runs_a_day (1"
            " where all workers share a disk)."
        )
    return left // parts
