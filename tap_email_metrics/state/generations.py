"""Generations: what a stream that began anew must not take back from before.

Meltano merges the state of a full refresh into the old one: it unites objects key by
key at every depth, and replaces lists and scalars. What a stream keeps is therefore
nested under the name of its generation, which old data cannot come back under:

    {"_tap": {"version": 2, "generation": g, g: {"accounts": {…}, …}},
     "<stream>": {"replication_key": …, "replication_key_value": …,
                  "generation": g, g: {…, "value": <replication_key_value>}}}

A run without state begins a generation, and its first STATE names it for each selected
stream. A refresh of some streams leaves the others in their generation; the next run
writes all under the newest. A stream that began anew alone has `g.1`, then `g.2`. In
memory each part is flat, as version 1 wrote it.
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
_FIRST = ""
"""The generation of what version 1 wrote: it sorts before all others."""
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
        accounts: host and fingerprint of the accounts that a provider's streams are
            of, by provider: one, or more after a refresh of some streams.
    """

    generation: str
    bookmarks: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, set[str]] = field(default_factory=dict)


def packed(bookmarks: Mapping[str, Any], generation: str) -> dict[str, Any]:
    """Return the parts of the state as they are written."""
    written: dict[str, Any] = {}
    for name, entry in bookmarks.items():
        if name == TAP_KEY:
            written[name] = {
                "version": STATE_VERSION,
                "generation": generation,
                generation: entry,
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


def unpacked(
    bookmarks: Mapping[str, Any], new: str, providers: Collection[str]
) -> Loaded:
    """Return the parts that belong to each stream's generation.

    Args:
        bookmarks: as `validate_state` has checked them.
        new: name of the generation of a state that has none.
        providers: their names.
    """
    tap = bookmarks.get(TAP_KEY, {})
    is_nested = tap.get("version", 1) > 1
    loaded = Loaded(tap["generation"] if is_nested else new)
    generations: dict[str, str] = {}
    for name, entry in bookmarks.items():
        if name == TAP_KEY:
            continue
        own = entry.get("generation", _FIRST) if is_nested else _FIRST
        generations[name] = own.partition(".")[0]
        if own == _FIRST:
            loaded.bookmarks[name] = _outside(entry)
        else:
            loaded.bookmarks[name] = _own_part(entry, own)
            loaded.places[name] = f"{name}.{own}"
            value = loaded.bookmarks[name].get("replication_key_value")
            if value is not None and value != entry.get("replication_key_value"):
                loaded.changed.append(name)
    newest = loaded.generation if is_nested else _FIRST
    loaded.bookmarks[TAP_KEY] = shared = dict(_shared(tap, newest))
    for provider in providers:
        of = {g for n, g in generations.items() if n.startswith(f"{provider}_")}
        accounts = (_shared(tap, g).get("accounts", {}).get(provider) for g in of)
        loaded.accounts[provider] = {one for one in accounts if one is not None}
        # What streams share tells what has changed: the oldest knows of all changes.
        shared.pop(provider, None)
        oldest = _shared(tap, min(of, default=newest))
        if provider in oldest:
            shared[provider] = oldest[provider]
    return loaded


def _own_part(entry: Mapping[str, Any], own: str) -> dict[str, Any]:
    """Return the flat part of a stream."""
    flat = dict(entry.get(own) or {})
    value = flat.pop(_VALUE, None)
    # Without a value of its own, what stands outside is an older generation's.
    own_key = value is not None or "replication_key_value" not in entry
    if own_key and "replication_key" in entry:
        flat["replication_key"] = entry["replication_key"]
    if value is not None:
        flat["replication_key_value"] = value
    if restarts := _restarts(own):
        flat[RESTARTS] = restarts
    return flat


def _outside(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what version 1 wrote, without what a newer tap wrote beside it."""
    return {
        key: value
        for key, value in entry.items()
        if key not in {"version", "generation"} and not _GENERATION.fullmatch(key)
    }


def _shared(tap: Mapping[str, Any], generation: str) -> Mapping[str, Any]:
    if generation == _FIRST:
        return _outside(tap)
    return tap.get(generation) or {}


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


def check_account(known: Collection[str], provider: str, account: str) -> None:
    """Check that what the state has of a provider is of one account.

    Args:
        known: host and fingerprint of the accounts that the state is of.
        provider: its name.
        account: host and fingerprint of the account that the settings name.

    Raises:
        InvalidInput: it is of another one.
    """
    others = sorted(set(known) - {account})
    if others:
        raise InvalidInput(
            f"The state is of another {provider} account: it is of {others[0]}, the "
            f"settings are of {account} (host, and digest of account and scope). Run "
            "each account with a state of its own. To read this one from the start "
            "with this state id, run all of its streams with --full-refresh; if both "
            f"are the same account, remove {provider} from `accounts` in "
            f"bookmarks.{TAP_KEY}"
        )


def validate_state(state: object, prefixes: Collection[str]) -> None:
    """Check that a state is from this tap and of a version that it can read.

    Args:
        state: what the user passed in.
        prefixes: how the names of the tap's streams begin.

    Raises:
        InvalidInput: it is not; the message names the key and says what to do.
    """
    if not isinstance(state, dict):
        raise InvalidInput("The state is not a JSON object: pass what this tap wrote")
    if state and "bookmarks" not in state:
        raise InvalidInput(
            "The state is not this tap's: it has no bookmarks. Pass the value of "
            "the last STATE message that this tap wrote, or none"
        )
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
                f"The state is not this tap's: bookmarks.{name} is not a stream of "
                "tap-email-metrics. Pass the state that this tap wrote, or none."
            )
        _validate_stream(name, entry)


def _validate_stream(name: str, entry: object) -> None:
    if not isinstance(entry, dict):
        raise damaged(f"bookmarks.{name}")
    if "partitions" in entry:
        raise damaged(f"bookmarks.{name}.partitions")
    if not isinstance(entry.get("generation", ""), str):
        raise damaged(f"bookmarks.{name}.generation")
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
    for key, part in tap.items():
        if not _GENERATION.fullmatch(key):
            continue
        if not isinstance(part, dict):
            raise damaged(f"bookmarks.{TAP_KEY}.{key}")
        accounts = part.get("accounts", {})
        if not isinstance(accounts, dict) or not all(
            isinstance(one, str) for one in accounts.values()
        ):
            raise damaged(f"bookmarks.{TAP_KEY}.{key}.accounts")
