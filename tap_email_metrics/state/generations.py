"""Generations: what a state that began anew must not take back from the one before.

Meltano merges the state of a full refresh into the old one: it unites objects key by
key at every depth, and replaces lists and scalars. What a stream keeps is therefore
nested under the name of its generation, which old data cannot come back under:

    {"_tap": {"version": 2, "generation": g, "accounts": {…}, g: {…}},
     "<stream>": {"replication_key": …, "replication_key_value": …,
                  "generation": g, g: {…, "value": <replication_key_value>}}}

The generation of a stream that was begun anew alone is `g.1`, then `g.2`. In memory
each part is flat. A state of version 1 is flat, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import iso
from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STATE_VERSION = 2
TAP_KEY = "_tap"
RESTARTS = "restarts"
"""How often a stream was begun anew within the generation, in its flat part."""
CHANGED_BY_HAND = (
    "bookmarks.{0}.replication_key_value was changed or removed by hand. It does not "
    "decide what is read. To read the stream again from start_date, remove "
    "bookmarks.{0} from the state"
)

_OUTSIDE = ("replication_key", "replication_key_value")
_VALUE = "value"
_GENERATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ-[0-9a-z]+(\.(\d+))?")


def new_generation(started: float, unique: str) -> str:
    """Return the name of a generation.

    Args:
        started: start of the run, in UTC seconds.
        unique: letters and digits that no other run has.
    """
    return f"{iso(int(started))}-{unique}"


@dataclass(slots=True)
class Loaded:
    """A state as the tap works with it.

    Attributes:
        generation: its name.
        bookmarks: the flat parts of the state, by stream.
        changed: streams whose `replication_key_value` is not what the tap wrote.
        places: where the state has the part of a stream, by stream.
    """

    generation: str
    bookmarks: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)


def packed(bookmarks: Mapping[str, Any], generation: str) -> dict[str, Any]:
    """Return the parts of the state as they are written."""
    written: dict[str, Any] = {}
    for name, entry in bookmarks.items():
        if name == TAP_KEY:
            rest = {key: value for key, value in entry.items() if key != "accounts"}
            written[name] = {
                "version": STATE_VERSION,
                "generation": generation,
                "accounts": entry.get("accounts", {}),
                generation: rest,
            }
            continue
        restarts = entry.get(RESTARTS)
        own = f"{generation}.{restarts}" if restarts else generation
        outside = {key: entry[key] for key in _OUTSIDE if key in entry}
        inside = {
            key: value
            for key, value in entry.items()
            if key not in {*_OUTSIDE, RESTARTS}
        }
        if "replication_key_value" in entry:
            inside[_VALUE] = entry["replication_key_value"]
        written[name] = {**outside, "generation": own, own: inside}
    return written


def unpacked(bookmarks: Mapping[str, Any], new: str) -> Loaded:
    """Return the parts that belong to the state's generation.

    Args:
        bookmarks: as `validate_state` has checked them.
        new: name of the generation of a state that has none.
    """
    tap = bookmarks.get(TAP_KEY, {})
    generation = tap.get("generation") if tap.get("version", 1) > 1 else None
    if generation is None:
        return _first_generation(bookmarks, new)
    loaded = Loaded(generation)
    loaded.bookmarks[TAP_KEY] = {
        **(tap.get(generation) or {}),
        "accounts": dict(tap.get("accounts") or {}),
    }
    for name, entry in bookmarks.items():
        own = entry.get("generation")
        if name == TAP_KEY or not _is_of(own, generation):
            continue
        flat = dict(entry.get(own) or {})
        value = flat.pop(_VALUE, None)
        if value != entry.get("replication_key_value") and value is not None:
            loaded.changed.append(name)
        # Without a value of its own, what stands outside is an older generation's.
        own_key = value is not None or "replication_key_value" not in entry
        if own_key and "replication_key" in entry:
            flat["replication_key"] = entry["replication_key"]
        if value is not None:
            flat["replication_key_value"] = value
        if restarts := _restarts(own):
            flat[RESTARTS] = restarts
        loaded.bookmarks[name] = flat
        loaded.places[name] = f"{name}.{own}"
    return loaded


def _first_generation(bookmarks: Mapping[str, Any], new: str) -> Loaded:
    """Take over a state of version 1, but nothing that a newer tap left in it."""
    loaded = Loaded(new)
    for name, entry in bookmarks.items():
        loaded.bookmarks[name] = {
            key: value
            for key, value in entry.items()
            if key not in {"version", "generation"} and not _GENERATION.fullmatch(key)
        }
    return loaded


def _is_of(own: object, generation: str) -> bool:
    if not isinstance(own, str):
        return False
    return own == generation or own.startswith(f"{generation}.")


def _restarts(own: str) -> int:
    found = _GENERATION.fullmatch(own)
    return int(found[2] or 0) if found else 0


def damaged(key: str) -> InvalidInput:
    """Return the error for a state key whose value is not valid."""
    return InvalidInput(
        f"The state is damaged at {key}. Restore the last good state (for Meltano: "
        "'meltano state get' and 'meltano state set'), or remove that key to read "
        "its data again."
    )


def check_account(bookmarks: Mapping[str, Any], provider: str, account: str) -> None:
    """Check that what the state has of a provider is of one account.

    Args:
        bookmarks: the flat parts of the state, by stream.
        provider: its name.
        account: host and fingerprint of the account that the settings name.

    Raises:
        InvalidInput: it is of another one.
    """
    shared = bookmarks.get(TAP_KEY, {})
    known = shared.get("accounts", {}).get(provider, account)
    has_any = provider in shared or any(
        name.startswith(f"{provider}_") for name in bookmarks
    )
    if has_any and known != account:
        raise InvalidInput(
            f"The state is of another {provider} account: it is of {known}, the "
            f"settings are of {account} (host, and digest of account and scope). Run "
            "each account with a state of its own. To read this one from the start "
            "with this state id, run with --full-refresh; if both are the same "
            f"account, remove bookmarks.{TAP_KEY}.accounts.{provider} from the state"
        )


def validate_state(state: Mapping[str, Any], prefixes: Collection[str]) -> None:
    """Check that a state is from this tap and of a version that it can read.

    Raises:
        InvalidInput: it is not; the message names the key and says what to do.
    """
    bookmarks = state.get("bookmarks", {})
    if not isinstance(bookmarks, dict):
        raise damaged("bookmarks")
    tap = bookmarks.get(TAP_KEY, {})
    if not isinstance(tap, dict):
        raise damaged(f"bookmarks.{TAP_KEY}")
    _validate_tap(tap)
    for name, entry in bookmarks.items():
        if name != TAP_KEY and not name.startswith(tuple(prefixes)):
            raise InvalidInput(
                f"The state is not this tap's: bookmarks.{name} is no stream of "
                "tap-email-metrics. Pass the state that this tap wrote, or none."
            )
        if not isinstance(entry, dict):
            raise damaged(f"bookmarks.{name}")
        if "partitions" in entry:
            raise damaged(f"bookmarks.{name}.partitions")
        for key, value in entry.items():
            if _GENERATION.fullmatch(key) and not isinstance(value, dict):
                raise damaged(f"bookmarks.{name}.{key}")


def _validate_tap(tap: Mapping[str, Any]) -> None:
    version = tap.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool):
        raise damaged(f"bookmarks.{TAP_KEY}.version")
    if version > STATE_VERSION:
        raise InvalidInput(
            f"The state was written by a newer tap-email-metrics (bookmarks.{TAP_KEY}"
            f".version is {version}, this one knows {STATE_VERSION}). Upgrade the "
            "tap, or start from an older state."
        )
    generation = tap.get("generation", "")
    fits = isinstance(generation, str) and _GENERATION.fullmatch(generation)
    if version > 1 and not fits:
        raise damaged(f"bookmarks.{TAP_KEY}.generation")
    accounts = tap.get("accounts", {})
    if not isinstance(accounts, dict) or not all(
        isinstance(one, str) for one in accounts.values()
    ):
        raise damaged(f"bookmarks.{TAP_KEY}.accounts")
