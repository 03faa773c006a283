"""The tap: settings, discovery, the run, its order and its exit code."""

from __future__ import annotations

import json
import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import click
from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError, MappingError
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.singerlib import StateMessage
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override

from tap_email_metrics.clock import DAY, Clock, SystemClock, iso
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.records.privacy import Privacy, RedactingFilter
from tap_email_metrics.records.schemas import load_schema
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.run.run import Run
from tap_email_metrics.settings.common import (
    CommonSettings,
    config_schema,
    errors,
    without_empty,
)
from tap_email_metrics.state.streams import (
    STATE_VERSION,
    TAP_KEY,
    Memory,
    StreamState,
    validate_state,
)
from tap_email_metrics.streams.about_run import RUN_STREAMS, Reconciliation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import FrameType

    from requests.adapters import BaseAdapter
    from singer_sdk.plugin_base import _ConfigInput
    from singer_sdk.singerlib import CatalogEntry
    from singer_sdk.streams import Stream

    from tap_email_metrics.providers.base import Provider
    from tap_email_metrics.run.reconciliation import Count
    from tap_email_metrics.run.session import ProviderSession
    from tap_email_metrics.streams.base import EmailMetricsStream

STATE_SECONDS = 60.0
STATE_SHARE = 10  # bytes of records for each byte of STATE
LOGGER = logging.getLogger("tap-email-metrics")


class Refused(click.ClickException):
    """Input that must be mended first; exit code 2."""

    exit_code = 2


class TapEmailMetrics(Tap):
    """Singer tap for email marketing metrics."""

    name = "tap-email-metrics"
    package_name = "tap-email-metrics"
    config_jsonschema: ClassVar[dict[str, Any]] = config_schema()
    message_writer_class = Writer
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
            options: the SDK's: config, catalog, state, parse_env_config, …

        Raises:
            ConfigValidationError: the settings are wrong.
            InvalidInput: the state or the catalog is.
        """
        self._clock = clock or SystemClock()
        self._transport = transport
        self._sessions: dict[str, ProviderSession[Any]] = {}
        self._stream_states: dict[str, StreamState[Any, Any]] = {}
        self._state_written = self._clock.monotonic()
        self.run = Run(self._clock, LOGGER)
        super().__init__(**options)
        self.output.stop = self.run.stop
        self.run.idle = self.output.check
        minutes = self.settings.max_run_minutes
        self.run.deadline = self.run.started + minutes * 60 if minutes else None

    # Settings

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Validate the settings without ever quoting a value."""
        self._config = without_empty(self._config)
        self.append_builtin_config(self.config_jsonschema)
        found = errors(self._config, self.config_jsonschema) or self._parse_errors()
        self._usable = not found
        if raise_errors and not found and not self.enabled:
            names = " or ".join(
                ", ".join(f"{provider.name}.{key}" for key in provider.credentials)
                for provider in PROVIDERS
            )
            found = [f"no provider is configured: set {names}"]
        if found and raise_errors:
            raise ConfigValidationError(
                "Config validation failed", errors=found, schema=self.config_jsonschema
            )
        for line in found:
            self.logger.warning("%s", line)
        return found

    def _parse_errors(self) -> list[str]:
        try:
            common = CommonSettings.parse(self._config, self._clock.now())
            Privacy(common.pii_mode, common.pii_pepper)
            for provider in PROVIDERS:
                provider.parse(self._config.get(provider.name, {}))
        except InvalidInput as error:
            return [str(error)]
        return []

    @cached_property
    def settings(self) -> CommonSettings:
        """The settings that belong to no provider."""
        config = self._config if self._usable else {}
        return CommonSettings.parse(config, self._clock.now())

    @cached_property
    def privacy(self) -> Privacy:
        """What becomes of personal data."""
        return Privacy(self.settings.pii_mode, self.settings.pii_pepper)

    @property
    def enabled(self) -> list[Provider]:
        """The providers whose credentials are set."""
        return [
            provider
            for provider in PROVIDERS
            if self._settings_of(provider) is not None
        ]

    @cached_property
    def _parsed(self) -> dict[str, Any]:
        """The settings of each provider by name, None where it is switched off."""
        config = self._config if self._usable else {}
        return {one.name: one.parse(config.get(one.name, {})) for one in PROVIDERS}

    # Discovery

    @override
    def discover_streams(self) -> Sequence[Stream]:
        """Return the streams of the enabled providers, or of all, and the tap's own."""
        providers = (self.enabled if self._usable else None) or PROVIDERS
        offered = [
            stream(self)
            for provider in providers
            for stream in provider.offers(self._settings_of(provider))
        ]
        return [*offered, *(stream(self) for stream in RUN_STREAMS)]

    def _settings_of(self, provider: Provider) -> Any:  # noqa: ANN401 - its own type
        return self._parsed[provider.name]

    @property
    @override
    def streams(self) -> dict[str, Stream]:
        """The streams by name, in the order in which they are read."""
        if self._streams is None:
            self._order(super().streams, _stream_names())
        assert self._streams is not None  # noqa: S101 - just made
        return self._streams

    def _order(self, found: dict[str, Stream], order: Sequence[str]) -> None:
        """Read streams in an order: the run's own frame all others."""
        first, last = _own_names()
        names = [first, *order, last]
        self._streams = {name: found[name] for name in names if name in found}

    @override
    def setup_mapper(self) -> None:
        """Check the catalog before anything is made of it.

        Raises:
            InvalidInput: it names a stream that does not exist.
        """
        self._check_catalog()
        super().setup_mapper()

    def _check_catalog(self) -> None:
        if self.input_catalog is None:
            return
        known = [*_stream_names(), *_own_names()]
        for name, entry in self.input_catalog.items():
            if name not in known:
                raise InvalidInput(
                    f"The catalog names a stream {name!r} that this tap does not "
                    f"have; make a new one with --discover. Streams: {known}"
                )
            self._apply_privacy(entry)

    def _apply_privacy(self, entry: CatalogEntry) -> None:
        """Let a catalog made in another `pii.mode` name the types of this one."""
        packaged = load_schema(entry.tap_stream_id)
        emitted = self.privacy.apply_to_schema(packaged)["properties"]
        for name, column in (entry.schema.properties or {}).items():
            if "x-pii" in emitted.get(name, {}):
                column.type = emitted[name]["type"]

    # State

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        """Take a state over, if it is this tap's.

        Raises:
            InvalidInput: it is not, or is damaged; the message names the key.
        """
        if not isinstance(state, dict):
            raise InvalidInput("The state is no JSON object: pass what this tap wrote")
        if state and "bookmarks" not in state:
            raise InvalidInput(
                "The state is not this tap's: it has no bookmarks. Pass the value of "
                "the last STATE message that this tap wrote, or none"
            )
        validate_state(state, [f"{provider.name}_" for provider in PROVIDERS])
        super().load_state(state)
        bookmarks = self.state.setdefault("bookmarks", {})
        for name in bookmarks:
            if name != TAP_KEY:
                self.stream_state(name)
        for provider in PROVIDERS:
            kept = bookmarks.get(TAP_KEY, {})
            if provider.name in kept:
                provider.check_shared(kept[provider.name])
        self._resume(bookmarks.get(TAP_KEY, {}).get("last_stream"))

    def _resume(self, last: str | None) -> None:
        """Begin with the stream that stopped last."""
        names = [name for name in _stream_names() if name in self.streams]
        if last in names:
            start = names.index(last)
            self._order(self.streams, names[start:] + names[:start])

    def stream_state(self, name: str) -> StreamState[Any, Any]:
        """Return a stream's part of the state.

        Raises:
            InvalidInput: it is damaged.
        """
        if name not in self._stream_states:
            entry = self.state.setdefault("bookmarks", {}).setdefault(name, {})
            kind = _stream_kinds().get(name)
            self._stream_states[name] = StreamState(name, entry, kind)
        return self._stream_states[name]

    @property
    def output(self) -> Writer:
        """What writes the messages."""
        assert isinstance(self.message_writer, Writer)  # noqa: S101 - by construction
        return self.message_writer

    def write_state(self) -> None:
        """Write a STATE: it covers records that were written before, no others."""
        tap = self.state.setdefault("bookmarks", {}).setdefault(TAP_KEY, {})
        tap["version"] = STATE_VERSION
        self.output.write_message(StateMessage(value=self.state))
        self._state_written = self._clock.monotonic()

    def write_state_in_time(self) -> None:
        """Write a STATE where it is small beside the records since the last one."""
        waited = self._clock.monotonic() - self._state_written
        if (
            self.output.written > STATE_SHARE * max(self.output.state_size, 1_000)
            or waited >= STATE_SECONDS
        ):
            self.write_state()

    # The run

    def session(self, name: str) -> ProviderSession[Any]:
        """Return a provider's session of this run."""
        if name not in self._sessions:
            provider = next(p for p in PROVIDERS if p.name == name)
            settings = self._settings_of(provider)
            self._warn_of_start(name, provider.earliest)
            self._sessions[name] = provider.open(
                settings, self.settings, self.run, self._memory(name), self._transport
            )
        return self._sessions[name]

    def _memory(self, provider: str) -> Memory:
        selected = {stream.name for stream in self.selected(provider)}
        bookmarks = self.state.setdefault("bookmarks", {})
        others = [name for name in bookmarks if name.startswith(f"{provider}_")]
        return Memory(
            {name: self.stream_state(name) for name in selected},
            {n: self.stream_state(n) for n in others if n not in selected},
            bookmarks.setdefault(TAP_KEY, {}),
        )

    def _warn_of_start(self, provider: str, earliest: float | None) -> None:
        start = self.settings.start
        if start is not None and earliest is not None and start < earliest:
            self.logger.warning(
                "start_date is before %s, and %s has nothing earlier: reading begins "
                "there; set start_date to it or later, or leave it out",
                iso(earliest)[:10],
                provider,
            )

    def selected(self, provider: str | None = None) -> list[EmailMetricsStream]:
        """Return the selected streams of a provider, or of all; not the run's own."""
        selected: Iterable[Any] = (
            stream
            for stream in self.streams.values()
            if stream.selected and not isinstance(stream, RUN_STREAMS)
        )
        return [s for s in selected if provider in {None, s.provider}]

    def streams_left(self, provider: str) -> int:
        """Return how many selected streams of a provider have not ended."""
        return sum(
            self.run.report(stream.name).outcome == "pending"
            for stream in self.selected(provider)
        )

    def history_share(self, provider: str) -> int | None:
        """Return the requests of the day that a stream may spend on history."""
        budget = self.session(provider).budget
        return None if budget is None else budget // max(1, self.streams_left(provider))

    def requests_sent(self, provider: str) -> int:
        """Return the requests sent to a provider so far."""
        session = self._sessions.get(provider)
        return session.limits.sent if session else 0

    def quota_left(self, provider: str) -> int | None:
        """Return the requests that are left of a provider's day; None: no limit."""
        session = self._sessions.get(provider)
        return session.budget if session else None

    def account(self, name: str) -> str:
        """Return the `account` of a provider that is switched on."""
        provider = next(p for p in PROVIDERS if p.name == name)
        return str(self._settings_of(provider).account)

    def reconcile(self, provider: str, stream: str, count: Count, at: float) -> None:
        """Take over what was counted in a list, its rows being written."""
        self.run.verdicts.note(stream, count)
        told = self.streams.get(str(Reconciliation.name))
        if isinstance(told, Reconciliation) and told.selected:
            told.tell(provider, stream, count, at)

    def execute(self) -> int:
        """Sync all selected streams; return the exit code."""
        for stream in self.selected():
            self.run.report(stream.name)
        try:
            self.sync_all()
            self._remember_last()
            self.write_state()
        finally:
            for session in self._sessions.values():
                session.close()
        self._warn_of_differences()
        self.logger.info("%s", self.run.summary())
        return self.exit_code()

    def _warn_of_differences(self) -> None:
        differing = self.run.verdicts.counts["differs"]
        if differing:
            self.logger.warning(
                "lists that do not hold what is counted of them, after another look, "
                "too: %d; the run summary names the first of them under differing",
                differing,
            )

    def _remember_last(self) -> None:
        tap = self.state.setdefault("bookmarks", {}).setdefault(TAP_KEY, {})
        tap.pop("last_stream", None)
        names = list(self.run.reports)
        stopped = [
            name
            for name, report in self.run.reports.items()
            if report.outcome in {"paused", "terminated"}
        ]
        cut = [name for name in stopped if self.run.reports[name].cut]
        if stopped:
            last = (cut or stopped)[0]
            # One that had the whole run and was cut lets the next one begin: it would
            # have all runs otherwise.
            alone = cut and names.index(last) == 0
            tap["last_stream"] = names[1 % len(names)] if alone else last

    def exit_code(self) -> int:
        """Return 0, 1, 2 or 128 + signal, for what the streams did."""
        if self.run.stop.signal:
            return 128 + self.run.stop.signal
        reports = self.run.reports.values()
        if self.run.was_refused:
            return 2
        if self.output.closed or any(r.outcome == "failed" for r in reports):
            return 1
        return 1 if self._lags() else 0

    def _lags(self) -> bool:
        limit = self.settings.max_lag_days
        behind = [
            stream.name
            for stream in self.selected()
            if limit
            and stream.report.behind_since is not None
            and stream.session.now() - stream.report.behind_since > limit * DAY
        ]
        if behind:
            self.logger.error(
                "further behind than max_lag_days (%g): %s", limit, ", ".join(behind)
            )
        return bool(behind)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Set a flag; the run ends at the next safe point."""
        self.run.stop.by_signal(signum)

    # The command line

    @classmethod
    @override
    def invoke(  # type: ignore[override]
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        state: Any = None,
        catalog: Any = None,
    ) -> None:
        """Run the tap as a command; exits with the run's code."""
        if about:
            cls.print_about(about_format)
            sys.exit(0)
        cls.print_version(print_fn=cls.logger.info)
        tap = cls.from_command_line(
            config,
            state=json_file("--state", state),
            catalog=_catalog_file(catalog),
        )
        sys.exit(tap.execute())

    @classmethod
    def from_command_line(
        cls,
        config: _ConfigInput | None,
        **options: Any,  # noqa: ANN401 - the constructor's
    ) -> TapEmailMetrics:
        """Return the tap with what a command was given.

        Raises:
            Refused: something of it does not fit.
        """
        given = dict(config.config) if config else {}
        if config and config.parse_env:
            given |= cls._environment()
        mask = cls._masked_log(given)
        try:
            tap = cls(config=given, **options)
        except ConfigValidationError as error:
            raise Refused("; ".join(error.errors)) from error
        except InvalidInput as error:
            raise Refused(str(error)) from error
        except MappingError as error:
            raise Refused(f"stream_maps: {error}") from error
        tap.run.hide = mask.add
        return tap

    @classmethod
    def _environment(cls) -> dict[str, Any]:
        """Return the settings that environment variables hold."""
        try:
            return dict(cls._env_var_config)
        except ValueError as error:
            names = [
                f"{cls._env_var_prefix}{name}".upper()
                for name, schema in cls.config_jsonschema["properties"].items()
                if "object" in schema.get("type", ())
            ]
            raise Refused(
                "--config ENV: a variable is not JSON; these hold one JSON object "
                f"each: {', '.join(names)}"
            ) from error

    @classmethod
    def _masked_log(cls, config: Mapping[str, Any]) -> RedactingFilter:
        """Mask secrets and addresses in whatever is logged, by whomever.

        Returns:
            What masks them, to be told of more.
        """
        secrets = [
            value
            for schema, section in _sections(cls.config_jsonschema, config)
            for key, value in section.items()
            if isinstance(value, str) and schema.get(key, {}).get("secret")
        ]
        mask = RedactingFilter(secrets)
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            for handler in getattr(logger, "handlers", ()):
                handler.addFilter(mask)
        # At DEBUG it says what a stream map's filter makes of each row.
        logging.getLogger("singer_sdk.mapper").setLevel(logging.INFO)
        return mask

    @classmethod
    @override
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        """Read the config files; say which one cannot be read."""
        try:
            return super().cb_config(ctx, param, value)
        except OSError as error:
            files = ", ".join(name for name in value if name != "ENV")
            reason = error.strerror or "there is no such file"
            raise Refused(f"--config: cannot read {files}: {reason}") from error
        except (ValueError, TypeError) as error:
            raise Refused("--config: the file is not a JSON object") from error

    @classmethod
    @override
    def cb_discover(cls, ctx: click.Context, param: click.Option, value: bool) -> None:
        """Write the catalog; settings that do not fit are warned about."""
        if not value:
            return
        config = ctx.params.get("config")
        tap = cls.from_command_line(config, validate_config=False, setup_mapper=False)
        tap.run_discovery()
        ctx.exit()

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        """Read one record of each stream, or write the schemas."""
        if value == CliTestOptionValue.Disabled.value:
            return
        tap = cls.from_command_line(ctx.params.get("config"))
        if value == CliTestOptionValue.Schema.value:
            tap.write_schemas()
        else:
            tap.run_connection_test()
        tap.output.flush()
        ctx.exit(tap.exit_code())


def _stream_names() -> list[str]:
    """Return the names of all streams, in the order in which they are read."""
    return [str(stream.name) for p in PROVIDERS for stream in p.streams]  # type: ignore[misc]


def _own_names() -> list[str]:
    """Return the names of the streams that tell of the run."""
    return [str(stream.name) for stream in RUN_STREAMS]  # type: ignore[misc]


def _stream_kinds() -> dict[str, Any]:
    """Return how the marks of each stream are kept."""
    return {str(s.name): s.marks for p in PROVIDERS for s in p.streams}  # type: ignore[misc]


def _sections(
    schema: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterable[tuple[dict[str, Any], Mapping[str, Any]]]:
    yield schema["properties"], config
    for name, section in config.items():
        inner = schema["properties"].get(name, {}).get("properties")
        if inner and isinstance(section, dict):
            yield inner, section


def json_file(option: str, file: Any) -> Any:  # noqa: ANN401 - whatever it holds
    """Return the object in a file that an option names, None for no file.

    Raises:
        Refused: it is no JSON object.
    """
    if file is None:
        return None
    try:
        value = json.loads(file.read())
    except ValueError as error:
        raise Refused(f"{option}: the file is not JSON") from error
    if value is not None and not isinstance(value, dict):
        raise Refused(f"{option}: the file is not a JSON object")
    return value


def _catalog_file(file: Any) -> Any:  # noqa: ANN401 - a catalog's JSON, or None
    catalog = json_file("--catalog", file)
    streams = None if catalog is None else catalog.get("streams")
    fits = isinstance(streams, list) and all(map(_is_entry, streams))
    if catalog is not None and not fits:
        raise Refused("--catalog: not a Singer catalog; make a new one with --discover")
    return catalog


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("tap_stream_id"), str)
        and isinstance(entry.get("schema"), dict)
        and isinstance(entry["schema"].get("properties"), dict)
        and isinstance(entry.get("metadata", []), list)
    )


def main() -> None:
    """Run the command `tap-email-metrics`."""
    TapEmailMetrics.cli()


if __name__ == "__main__":
    main()
