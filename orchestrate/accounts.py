"""Reads the list of accounts and API keys. It holds no secrets, only references.

`python -m orchestrate.accounts FILE` checks a list and prints its pools as
`airflow pools import` reads them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrate.runs import plain
from orchestrate.shares import RATES, Key, SharesError, shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Last words of secret settings. Secrets belong into a connection of Airflow.
SECRETS = frozenset(
    {"client_secret", "refresh_token", "token", "secret", "password", "pepper"}
)
#: Sections of the tap's own config file. Meltano has none, and would ignore them here.
SECTIONS = frozenset({*RATES, "pii"})
#: Settings that no account may set: they follow from its key or from a backfill.
SHARED = frozenset({*(rate for rate, _ in RATES.values()), "daily_requests"})
SHARED |= {"backfill", "end_date"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""A name that is valid for a folder, a pool, a task and a state."""
_TYPES: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}
_OPTIONAL = {"daily_requests", "daily_reserve", "at_once", "runs_a_day"}


class ListError(Exception):
    """A list or a connection is wrong; the message says what to change."""


@dataclass(frozen=True)
class Account:
    """One account.

    Attributes:
        name: name of the account, and the value of `account` in its rows.
        key: name of its API key.
        connections: ids of Airflow connections. Their extras hold the secret settings
            of the tap; if two hold the same setting, the later one is used.
        settings: all other settings of the tap, by their names in docs/settings.md.
    """

    name: str
    key: str
    connections: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Accounts:
    """All accounts, the keys that they share, and the schedules.

    Attributes:
        keys: the API keys, by name.
        accounts: the accounts, by name.
        schedules: Airflow schedules by provider; a provider without one is read only
            when its DAG is triggered by hand.
    """

    keys: Mapping[str, Key]
    accounts: Mapping[str, Account]
    schedules: Mapping[str, str]

    @classmethod
    def read(cls, file: Path) -> Accounts:
        """Read a list from a file.

        Raises:
            ListError: something in the list is wrong.
            OSError: the file cannot be read.
        """
        try:
            text = file.read_text(encoding="utf-8")
            return cls.parse(json.loads(text, object_pairs_hook=_once))
        except ValueError as error:
            raise ListError(f"{file} is not JSON: {error}") from error
        except (ListError, SharesError) as error:
            raise ListError(f"{file}: {error}") from error

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Accounts:
        """Check a decoded list and return it.

        Raises:
            ListError: something in the list is wrong.
            SharesError: a key has too many accounts.
        """
        _known(found, {"keys", "accounts"}, {"schedules"}, "the list")
        given = _typed(found["keys"], dict, "keys")
        keys = {name: _key(name, one) for name, one in given.items()}
        listed = _typed(found["accounts"], list, "accounts")
        accounts = [_account(one, keys) for one in listed]
        counts = Counter(one.name for one in accounts)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ListError(f"Two accounts have the same name: {', '.join(twice)}.")
        _distinct(accounts, keys)
        schedules = found.get("schedules", {})
        _known(schedules, set(), set(RATES), "schedules")
        result = cls(keys, {one.name: one for one in accounts}, schedules)
        for key in keys.values():
            if names := result.of(key.name):
                shares(key, len(names))
        return result

    def of(self, key: str) -> list[str]:
        """Return the names of the accounts that share a key."""
        return [one.name for one in self.accounts.values() if one.key == key]

    def chosen(self, key: str, names: Sequence[str]) -> list[str]:
        """Return the accounts of a key that are in `names`, or all if that is empty.

        Raises:
            ListError: the list has no account of such a name, with any key.
        """
        if unknown := [name for name in names if name not in self.accounts]:
            raise ListError(f"There is no account {', '.join(unknown)}.")
        return [name for name in self.of(key) if not names or name in names]

    def keys_of(self, provider: str) -> list[Key]:
        """Return the keys of a provider that have at least one account."""
        return [
            key
            for key in self.keys.values()
            if key.provider == provider and self.of(key.name)
        ]

    def account(self, name: str) -> Account:
        """Return an account by its name.

        Raises:
            ListError: the list has no such account, or no longer.
        """
        if name not in self.accounts:
            raise ListError(f"There is no account {name}.")
        return self.accounts[name]

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of an account's runs, with its share of the key."""
        account = self.account(name)
        key = self.keys[account.key]
        parts = shares(key, len(self.of(key.name)))
        return {
            f"{key.provider}.account": name,
            **account.settings,
            **{f"{key.provider}.{setting}": part for setting, part in parts.items()},
        }

    def pools(self) -> dict[str, dict[str, Any]]:
        """Return a pool for each key, in the format of `airflow pools import`."""
        return {
            key.pool: {
                "slots": key.at_once,
                "description": f"Runs that may use the API key {key.name} at once",
                "include_deferred": False,
            }
            for key in self.keys.values()
        }


def is_secret(setting: str) -> bool:
    """Return whether a setting is secret, in any spelling of its name."""
    return _ends_in(setting, SECRETS)


def _ends_in(setting: str, names: frozenset[str]) -> bool:
    name = plain(setting)
    return name in names or name.endswith(tuple(f"_{one}" for one in names))


def flat(settings: Mapping[str, Any], what: str, provider: str) -> Mapping[str, Any]:
    """Check the settings of an account or a connection and return them unchanged.

    Args:
        settings: by the names of docs/settings.md.
        what: their owner, for messages.
        provider: the provider of the account's key.

    Raises:
        ListError: a setting is a section, which Meltano would ignore; occurs twice, in
            two spellings; or belongs to another provider, which it would switch on.
    """
    if sections := sorted(one for one in settings if plain(one) in SECTIONS):
        raise ListError(
            f"{what}: {sections[0]} is a section. Name each of its settings in full,"
            f" as in {sections[0]}.…"
        )
    spelled: dict[str, str] = {}
    for setting in settings:
        if before := spelled.get(plain(setting)):
            raise ListError(f"{what}: {before} and {setting} are the same setting.")
        spelled[plain(setting)] = setting
    for other in RATES:
        foreign = [one for name, one in spelled.items() if name.startswith(f"{other}_")]
        if foreign and other != provider:
            raise ListError(
                f"{what}: {foreign[0]} belongs to another provider than the account's"
                f" key ({provider}). Give that provider an account of its own."
            )
    return settings


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a decoded object; its names must differ.

    JSON allows a name twice. Python would keep the last value without a word.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = [name for name, count in counts.items() if count > 1]
        raise ListError(f"The name {', '.join(twice)} occurs twice in an object.")
    return found


def _distinct(accounts: Sequence[Account], keys: Mapping[str, Key]) -> None:
    """Check that no two accounts of a provider write the same rows."""
    owners: dict[tuple[str, str], str] = {}
    for one in accounts:
        provider = keys[one.key].provider
        named = {plain(name): value for name, value in one.settings.items()}
        value = str(named.get(f"{provider}_account", one.name)).strip()
        if before := owners.get((provider, value)):
            raise ListError(
                f"Accounts {before} and {one.name} have the same value of"
                f" {provider}.account: their rows would replace each other."
            )
        owners[provider, value] = one.name


def _typed(given: Any, wanted: type, what: str) -> Any:  # noqa: ANN401 -- of JSON
    if not isinstance(given, wanted):
        raise ListError(f"{what} must be {_TYPES[wanted]}.")
    return given


def _known(
    given: Mapping[str, Any], needed: set[str], optional: set[str], what: str
) -> None:
    _typed(given, dict, what)
    if wrong := sorted(given.keys() - needed - optional):
        raise ListError(f"{what} has unknown keys: {', '.join(wrong)}.")
    if missing := sorted(needed - given.keys()):
        raise ListError(f"{what} lacks {', '.join(missing)}.")


def _named(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise ListError(
            f"{what} {name!r}: a name consists of a to z, 0 to 9, _ and -, and begins"
            " with a letter or digit."
        )
    return name


def _key(name: str, found: Mapping[str, Any]) -> Key:
    what = f"Key {_named(name, 'Key')}"
    provider = _typed(found, dict, what).get("provider")
    if provider not in RATES:
        raise ListError(f"{what}: provider must be one of {', '.join(RATES)}.")
    rate, _ = RATES[provider]
    _known(found, {"provider", rate}, _OPTIONAL, what)
    numbers = {key: value for key, value in found.items() if key != "provider"}
    least = {"daily_reserve": 0}
    for setting, value in numbers.items():
        if type(value) is not int or value < least.get(setting, 1):
            raise ListError(
                f"{what}: {setting} must be a whole number, at least"
                f" {least.get(setting, 1)}."
            )
    return Key(
        name,
        provider,
        numbers[rate],
        numbers.get("daily_requests"),
        numbers.get("daily_reserve", 0),
        numbers.get("at_once", 1),
        numbers.get("runs_a_day", 1),
    )


def _account(found: Mapping[str, Any], keys: Mapping[str, Key]) -> Account:
    name = _named(str(_typed(found, dict, "Each account").get("name")), "Account")
    what = f"Account {name}"
    _known(found, {"name", "key"}, {"connections", "settings"}, what)
    if _typed(found["key"], str, f"{what}: key") not in keys:
        raise ListError(f"{what}: there is no key {found['key']!r}.")
    connections = _typed(found.get("connections", []), list, f"{what}: connections")
    settings = _typed(found.get("settings", {}), dict, f"{what}: settings")
    for setting in flat(settings, what, keys[found["key"]].provider):
        if is_secret(setting):
            raise ListError(
                f"{what}: {setting} is secret. Put it into the extra of an Airflow"
                " connection, and list that connection under connections."
            )
        if _ends_in(setting, SHARED):
            raise ListError(
                f"{what}: {setting} follows from the key or the backfill: remove it."
            )
    return Account(name, found["key"], tuple(connections), settings)


def main(file: Path) -> int:
    """Print the pools of a list; return the exit code."""
    try:
        accounts = Accounts.read(file)
    except (ListError, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(json.dumps(accounts.pools(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        "python -m orchestrate.accounts", description=__doc__
    )
    parser.add_argument("file", type=Path, help="the list, as JSON")
    sys.exit(main(parser.parse_args().file))
