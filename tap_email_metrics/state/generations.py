"""Generations: they keep old state from coming back after a full refresh.

Meltano merges the state of a full refresh into the old one: it merges objects key by
key at every depth, and replaces lists and scalars. The state of a stream is therefore
nested under the name of its generation. Old data has the name of another generation:

    {"_tap": {"version": 2, "generation": g, g: {"accounts": {…}, …}},
     "<stream>": {"replication_key": …, "replication_key_value": …,
                  "generation": g, g: {…, "value": <replication_key_value>}}}

A run without state begins a new generation. Its first STATE names the generation for
each selected stream. After a refresh of some streams, the others have the older
generation; the next run writes all streams under the newest. If a single stream starts
again within a generation `g`, its name becomes `g.1`, then `g.2`. In memory each part
is flat, as in version 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_email_metrics.clock import from_iso, iso
from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STATE_VERSION = 2
TAP_KEY = "_tap"
RESTARTS = "restarts"
"""Key in a stream's flat part: how often it has started again in its generation."""
CHANGED_BY_HAND = (
    "bookmarks.{0}.replication_key_value was changed or removed by hand. It does not "
    "decide what is read. To read the stream again from start_date, remove "
    "bookmarks.{0} from the state"
)

_OUTSIDE = ("replication_key", "replication_key_value")
_VALUE = "value"
_FIRST = ""
"""The generation of state version 1; it sorts before all others."""
_GENERATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ-[0-9a-z]+(\.(\d+))?")


def new_generation(started: float, unique: str) -> str:
    """Return the name of a generation.

    Args:
        started: start of the run, in UTC seconds.
        unique: letters and digits that are different in every run.
    """
    return f"{iso(int(started))}-{unique}"


def begin_of(generation: str) -> float:
    """Return the start of the run that began a generation, in UTC seconds.

    Raises:
        ValueError: the text is not the name of a generation.
    """
    moment, _, _ = generation.rpartition("-")
    return from_iso(moment)


@dataclass(slots=True)
class Loaded:
    """A decoded state.

    Attributes:
        generation: name of the newest generation.
        bookmarks: the flat part of each stream.
        changed: streams whose `replication_key_value` was changed by hand.
        places: path of each stream's part in the state, for messages.
        accounts: host and fingerprint of the accounts of each provider's streams.
            There may be several after a refresh of some streams.
    """

    generation: str
    bookmarks: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, set[str]] = field(default_factory=dict)


def packed(bookmarks: Mapping[str, Any], generation: str) -> dict[str, Any]:
    """Return the flat parts in the form that is written to the state."""
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
    """Return the part of each stream that belongs to its generation.

    Args:
        bookmarks: the bookmarks of a state that `validate_state` has checked.
        new: name of the generation for a state without one.
        providers: names of the providers.
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
        # Shared state serves to find changes. The oldest one finds the changes that
        # any of the streams has not read.
        shared.pop(provider, None)
        oldest = _shared(tap, min(of, default=newest))
        if provider in oldest:
            shared[provider] = oldest[provider]
    return loaded


def _own_part(entry: Mapping[str, Any], own: str) -> dict[str, Any]:
    """Return the flat part of a stream."""
    flat = dict(entry.get(own) or {})
    value = flat.pop(_VALUE, None)
    # Without a value inside, the value outside belongs to an older generation.
    own_key = value is not None or "replication_key_value" not in entry
    if own_key and "replication_key" in entry:
        flat["replication_key"] = entry["replication_key"]
    if value is not None:
        flat["replication_key_value"] = value
    if restarts := _restarts(own):
        flat[RESTARTS] = restarts
    return flat


def _outside(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of version 1, without those that a newer tap has added."""
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


def check_account(known: Collection[str], provider: str, account: str) -> str:
    """Check that a provider's part of the state belongs to the account in the settings.

    Args:
        known: host and fingerprint of the accounts in the state.
        provider: name of the provider.
        account: host and fingerprint of the account in the settings.

    Returns:
        The longest of the fingerprints: the one that says most of the account.

    Raises:
        InvalidInput: the state belongs to another account.
    """
    others = sorted(one for one in known if not _agree(one, account))
    if others:
        raise InvalidInput(
            f"The state belongs to another {provider} account: it has {others[0]}, the "
            f"settings have {account} (host, and digests of account and scope). Run "
            "each account with its own state. To read this account from the start "
            "with this state id, run all of its streams with --full-refresh. If both "
            f"are the same account, remove {provider} from `accounts` in "
            f"bookmarks.{TAP_KEY}"
        )
    return max([account, *known], key=len)


def _agree(one: str, other: str) -> bool:
    """Return whether two fingerprints may be of the same account.

    The last word is missing as long as the API has not named the account.
    """
    return all(a == b for a, b in zip(one.split(), other.split(), strict=False))


def validate_state(state: object, prefixes: Collection[str]) -> None:
    """Check that a state was written by this tap, in a version that it can read.

    Args:
        state: the state that the user passed.
        prefixes: prefixes of the names of the tap's streams.

    Raises:
        InvalidInput: the state is not valid; the message names the key and the remedy.
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
    if not _is_generation(entry.get("generation", _FIRST)):
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
    generation = tap.get("generation", _FIRST)
    if not _is_generation(generation) or (version > 1 and generation == _FIRST):
        raise damaged(f"bookmarks.{TAP_KEY}.generation")
    _validate_accounts(f"bookmarks.{TAP_KEY}", tap)  # version 1 has them here
    for key, part in tap.items():
        if not _GENERATION.fullmatch(key):
            continue
        if not isinstance(part, dict):
            raise damaged(f"bookmarks.{TAP_KEY}.{key}")
        _validate_accounts(f"bookmarks.{TAP_KEY}.{key}", part)


def _is_generation(value: object) -> bool:
    """Return whether a value names a generation, or the one of version 1."""
    if value == _FIRST:
        return True
    if not isinstance(value, str) or not _GENERATION.fullmatch(value):
        return False
    try:
        begin_of(value)
    except ValueError:
        return False
    return True


def _validate_accounts(place: str, part: Mapping[str, Any]) -> None:
    accounts = part.get("accounts", {})
    if not isinstance(accounts, dict) or not all(
        isinstance(one, str) for one in accounts.values()
    ):
        raise damaged(f"{place}.accounts")
