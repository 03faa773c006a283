"""The tap: discovery, the order of its streams, and its exit code."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.mapper import PluginMapper
from singer_sdk.singerlib import Catalog
from typing_extensions import override

from tap_email_metrics.catalog import Facts, read_catalog
from tap_email_metrics.cli import CommandLine, check_log_level, log_set_up
from tap_email_metrics.clock import SystemClock
from tap_email_metrics.command import Refused, open_stderr
from tap_email_metrics.control import Control
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers import PROVIDERS, REPLACED, config_schema
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.run.report import SUMMARY, connection_test
from tap_email_metrics.run.run import Connection, Run
from tap_email_metrics.settings.check import conformed, errors, without_empty
from tap_email_metrics.settings.common import CommonSettings
from tap_email_metrics.settings.stream_maps import stream_map_errors
from tap_email_metrics.state.generations import (
    CHANGED_BY_HAND,
    TAP_KEY,
    Loaded,
    damaged,
    new_generation,
    unpacked,
    validate_state,
)
from tap_email_metrics.streams.about_run import RUN_STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import FrameType

    from requests.adapters import BaseAdapter
    from singer_sdk.singerlib import CatalogEntry
    from singer_sdk.streams import Stream

    from tap_email_metrics.catalog import Understood
    from tap_email_metrics.clock import Clock
    from tap_email_metrics.providers.base import Provider
    from tap_email_metrics.streams.base import EmailMetricsStream

LOGGER = logging.getLogger("tap-email-metrics")
IDLE_PEPPER = (
    "pii.pepper has no effect, because pii.mode is plain: personal data is emitted as "
    "it is. Set pii.mode to hash, domain or drop, or remove the pepper"
)
EARLY_END = (
    "end_date is in the future: this backfill reads the rows that there are now. "
    "Another run with the same dates does not look for later ones in each stream: when "
    "the time has come, choose a later start_date or end_date"
)


class TapEmailMetrics(CommandLine):
    """Singer tap for email marketing metrics."""

    name = "tap-email-metrics"
    package_name = "tap-email-metrics"
    config_jsonschema: ClassVar[dict[str, Any]] = config_schema(PROVIDERS)
    # Not BATCH: it passes deselected fields on. Not ACTIVATE_VERSION: it deletes
    # archived rows that nobody can read again.
    capabilities: ClassVar[list[Any]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        transport: BaseAdapter | None = None,
        **options: Any,  # noqa: ANN401 - the SDK's own
    ) -> None:
        """Make the tap.

        Args:
            clock: the source of all time and sleep; this machine's if None.
            transport: carries all requests; the network if None.
            options: options of the SDK: config, catalog, state, …

        Raises:
            ConfigValidationError: the settings are not valid.
            InvalidInput: the state or the catalog is not valid.
        """
        # First of all, because a signal may arrive once the SDK handles signals.
        self.control = Control(clock or SystemClock(), LOGGER)
        self._transport = transport
        self._given: Understood | None = None
        if (catalog := options.get("catalog")) is not None:
            self._given = read_catalog(_plain(catalog), _facts())
            options["catalog"] = self._given.catalog
        self._generation = new_generation(self.control.started, secrets.token_hex(3))
        super().__init__(**options)
        if not LOGGER.isEnabledFor(logging.DEBUG):
            # The run logs its own lines with the same numbers.
            logging.getLogger("singer_sdk.metrics").setLevel(logging.WARNING)

    @classmethod
    @override
    def public_words(cls) -> list[str]:
        """Return words that are never masked, because other programs read them."""
        return [*super().public_words(), *_stream_names(), *_own_names(), *SUMMARY]

    # Settings

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check and parse the settings; no message quotes a value."""
        self.append_builtin_config(self.config_jsonschema)
        self._config = conformed(without_empty(self._config), self.config_jsonschema)
        found = errors(self._config, self.config_jsonschema, REPLACED)
        if isinstance(maps := self._config.get("stream_maps"), dict):
            found += stream_map_errors(maps, [*_stream_names(), *_own_names()])
        if not found:
            try:
                self._parse(self._config)
            except InvalidInput as error:
                found = [str(error)]
        if found:
            self._parse({})
        if raise_errors and not found and not self.enabled:
            names = " or ".join(
                ", ".join(f"{one.name}.{key}" for key in one.settings.credentials)
                for one in PROVIDERS
            )
            found = [f"no provider is configured: set {names}"]
        if found and raise_errors:
            raise ConfigValidationError(
                "Config validation failed", errors=found, schema=self.config_jsonschema
            )
        for line in found:
            self.logger.warning("%s", line)
        pii = self._config.get("pii", {})
        if not found and "pepper" in pii and self.settings.privacy.mode == "plain":
            self.logger.warning("%s", IDLE_PEPPER)
        if not found and (self.settings.end or 0.0) > self.control.clock.now():
            self.logger.warning("%s", EARLY_END)
        return found

    def _parse(self, config: Mapping[str, Any]) -> None:
        """Parse settings that are valid against the schema.

        Raises:
            InvalidInput: some of them contradict each other.
        """
        common = CommonSettings.parse(config, self.control.clock.now())
        sections = {p.name: p.parse(config.get(p.name, {})) for p in PROVIDERS}
        self.settings, self._sections = common, sections

    @property
    def enabled(self) -> list[Provider[Any]]:
        """The providers whose credentials are set."""
        return [p for p in PROVIDERS if self._sections[p.name] is not None]

    @cached_property
    def run(self) -> Run:
        """The only run of this tap. It begins when the tap is made."""
        return Run(
            control=self.control,
            settings=self.settings,
            output=self.output,
            state=Loaded(self._generation),
            connections={one.name: self._connection(one) for one in self.enabled},
            marks={str(s.name): s.marks for s in _every_stream()},  # type: ignore[misc]
            keys={str(s.name): s.state_keys for s in _every_stream()},  # type: ignore[misc]
            selected=self._selected_names,
            transport=self._transport,
        )

    def _connection(self, provider: Provider[Any]) -> Connection:
        settings: Any = self._sections[provider.name]
        return Connection(
            partial(provider.open, settings),
            settings.account,
            provider.identity(settings),
            provider.earliest,
        )

    # Discovery

    @override
    def discover_streams(self) -> Sequence[Stream]:
        """Return the streams of the enabled providers, and those about the run.

        If no provider is enabled, return the streams of all providers.
        """
        offered = [
            stream(self, self.run)
            for provider in self.enabled or PROVIDERS
            for stream in provider.offers(self._sections[provider.name])
        ]
        return [*offered, *(stream(self, self.run) for stream in RUN_STREAMS)]

    @property
    @override
    def streams(self) -> dict[str, Stream]:
        """The streams by name, in the order in which they are read."""
        if self._streams is None:
            self._order(super().streams, _stream_names())
        assert self._streams is not None  # noqa: S101 - just made
        return self._streams

    def _order(self, found: dict[str, Stream], order: Sequence[str]) -> None:
        """Set the order of the streams; those about the run come first and last."""
        first, last = _own_names()
        names = [first, *order, last]
        self._streams = {name: found[name] for name in names if name in found}

    @override
    def setup_mapper(self) -> None:
        """Apply the catalog, and warn about its differences from this tap.

        Raises:
            InvalidInput: no selected stream can be read.
        """
        for entry in (self.input_catalog or {}).values():
            self._apply_privacy(entry)
        self.mapper = PluginMapper(dict(self.config), self.logger)
        # A stream that has no map cannot have a wrong one: it is registered when it is
        # read, because all of them together take half of the time to make a tap.
        if self.mapper.stream_maps_dict:
            self.mapper.register_raw_streams_from_catalog(self.catalog)
        if self._given:
            for line in self._given.warnings():
                self.logger.warning("%s", line)
            self._warn_of_streams(self._given)

    def _warn_of_streams(self, given: Understood) -> None:
        """Warn about selected streams that are not read, with the reason.

        Raises:
            InvalidInput: no other streams are selected.
        """
        wanted = [name for name in given.selected if name not in _own_names()]
        if not wanted:
            self.logger.warning("the catalog selects no stream: nothing is read")
        lines = []
        for provider in PROVIDERS:
            names = [str(one.name) for one in provider.streams]  # type: ignore[misc]
            missing = [n for n in names if n in wanted and n not in self.streams]
            if not missing:
                continue
            needed = ", ".join(
                f"{provider.name}.{key}" for key in provider.settings.credentials
            )
            why = (
                f"the settings of {provider.name} switch them off"
                if provider in self.enabled
                else f"{provider.name} is not configured (set {needed})"
            )
            lines.append(f"{why}: {', '.join(missing)}")
        if lines and not self.selected():
            raise InvalidInput(
                "The catalog selects no stream that can be read. " + "; ".join(lines)
            )
        for line in lines:
            self.logger.warning("selected streams are not read, as %s", line)

    def _apply_privacy(self, entry: CatalogEntry) -> None:
        """Correct the types in a catalog that was made with another `pii.mode`."""
        packaged = load_schema(entry.tap_stream_id)
        emitted = self.settings.privacy.apply_to_schema(packaged)["properties"]
        for name, column in (entry.schema.properties or {}).items():
            if "x-pii" in emitted.get(name, {}):
                column.type = emitted[name]["type"]

    # State

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        """Use a state that this tap wrote.

        Raises:
            InvalidInput: another program wrote it, it belongs to another account, or it
                is damaged.
        """
        validate_state(state, [f"{provider.name}_" for provider in PROVIDERS])
        # The SDK's own copy stays empty, because the SDK would write it before the
        # first stream.
        names = [provider.name for provider in PROVIDERS]
        found = unpacked(state.get("bookmarks", {}), self._generation, names)
        self.run.state = found
        self.run.check_accounts()
        for name in found.changed:
            self.logger.warning("%s", CHANGED_BY_HAND.format(name))
        shared = self.run.shared_state
        for name in list(found.bookmarks):
            if name != TAP_KEY:
                self.run.stream_state(name)
        for provider in PROVIDERS:
            if provider.name in shared:
                provider.check_shared(shared[provider.name])
        last = shared.get("last_stream")
        if not isinstance(last, str | None):
            raise damaged(f"bookmarks.{TAP_KEY}.last_stream")
        self._resume(last)

    def _resume(self, last: str | None) -> None:
        """Begin with the stream that the state names."""
        names = [name for name in _stream_names() if name in self.streams]
        if last in names:
            start = names.index(last)
            self._order(self.streams, names[start:] + names[:start])

    # The run

    def selected(self, provider: str | None = None) -> list[EmailMetricsStream]:
        """Return the selected streams of a provider, or of all providers."""
        selected: Iterable[Any] = (
            stream
            for stream in self.streams.values()
            if stream.selected and not isinstance(stream, RUN_STREAMS)
        )
        return [s for s in selected if provider in {None, s.provider}]

    def _selected_names(self, provider: str) -> list[str]:
        return [stream.name for stream in self.selected(provider)]

    @override
    def execute(self) -> int:
        """Sync all selected streams; return the exit code."""
        for stream in self.selected():
            self.run.report(stream.name)
            # Every STATE must name the generation of all selected streams.
            self.run.stream_state(stream.name)
        try:
            self.sync_all()
            self.run.remember_last()
            self.run.write_state()
        finally:
            self.run.log_summary()
            self.run.close()
        return self.exit_code()

    @override
    def exit_code(self) -> int:
        """Return the exit code for the outcomes: 0, 1, 2 or 128 + signal."""
        if self.run.stop.signal:
            return 128 + self.run.stop.signal
        if self.run.was_refused:
            return 2
        return 1 if self.trouble() else 0

    @override
    def tested(self) -> str:
        """Return how many streams could be read in a connection test."""
        reports = [self.run.report(stream.name) for stream in self.selected()]
        return connection_test(reports)

    @override
    def trouble(self) -> str:
        """Return the reason for exit code 1 or 2, or an empty text."""
        reports = self.run.reports
        if self.output.closed:
            return "stdout could not be written: check why the target ended"
        if failed := [n for n, report in reports.items() if report.outcome == "failed"]:
            return f"{', '.join(failed)} failed: {reports[failed[0]].message}"
        limit = self.settings.max_lag_days
        if behind := [s.name for s in self.selected() if self.run.lags(s.name)]:
            return f"further behind than max_lag_days ({limit:g}): {', '.join(behind)}"
        return ""

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Set a flag; the run ends at the next safe point."""
        self.control.stop.by_signal(signum)


def _stream_names() -> list[str]:
    """Return the names of the providers' streams, in reading order."""
    return [str(stream.name) for stream in _every_stream()]  # type: ignore[misc]


def _every_stream() -> list[type[EmailMetricsStream]]:
    return [stream for provider in PROVIDERS for stream in provider.streams]


def _own_names() -> list[str]:
    """Return the names of the streams about the run."""
    return [str(stream.name) for stream in RUN_STREAMS]  # type: ignore[misc]


def _facts() -> dict[str, Facts]:
    """Return all streams, for comparison with a catalog."""
    every: list[Any] = [*_every_stream(), *RUN_STREAMS]
    return {
        one.name: Facts(
            columns=load_schema(one.name)["properties"].keys(),
            key=one.primary_keys,
            replication_key=one.replication_key
            if isinstance(one.replication_key, str)
            else None,
        )
        for one in every
    }


def _plain(catalog: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    return catalog.to_dict() if isinstance(catalog, Catalog) else catalog


def main() -> None:
    """Run the tap as a command."""
    open_stderr()
    try:
        check_log_level(os.environ)
        command = log_set_up(lambda: TapEmailMetrics.cli)
    except Refused as error:
        error.show()
        sys.exit(error.exit_code)
    command()
