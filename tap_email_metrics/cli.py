"""The command line of the tap: its options, its files, and what a user is told.

`CommandLine` is the base of the tap's class, as the SDK makes a command of the class
itself. It knows no stream and no provider.
"""

from __future__ import annotations

import abc
import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Self

import click
from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError, MappingError
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.records.privacy import RedactingFilter
from tap_email_metrics.records.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from singer_sdk.plugin_base import _ConfigInput

    from tap_email_metrics.control import Control


class Refused(click.ClickException):
    """Input that the user has to mend first; exit code 2."""

    exit_code = 2


class CommandLine(Tap):
    """A tap as a command, with exit code 2 for input that it refuses.

    Attributes:
        control: of the run; told to mask the secrets that the run is issued.
    """

    message_writer_class = Writer
    control: Control

    @abc.abstractmethod
    def execute(self) -> int:
        """Sync all selected streams; return the exit code."""

    @abc.abstractmethod
    def exit_code(self) -> int:
        """Return the exit code for what the streams did so far."""

    @property
    def output(self) -> Writer:
        """What writes the messages."""
        assert isinstance(self.message_writer, Writer)  # noqa: S101 - by construction
        return self.message_writer

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
    ) -> Self:
        """Return the tap with the input of a command.

        Raises:
            Refused: settings, state, catalog or stream maps are wrong.
        """
        given = dict(config.config) if config else {}
        if config and config.parse_env:
            given |= cls._environment()
        mask = cls.masked_log(given)
        try:
            tap = cls(config=given, **options)
        except ConfigValidationError as error:
            raise Refused("; ".join(error.errors)) from error
        except InvalidInput as error:
            raise Refused(str(error)) from error
        except MappingError as error:
            raise Refused(f"stream_maps: {error}") from error
        tap.control.hide = mask.add
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
    def masked_log(cls, config: Mapping[str, Any]) -> RedactingFilter:
        """Mask the secrets of the settings, and all addresses, in the whole log.

        Returns:
            The filter that masks them; further secrets are added to it.
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
        # At DEBUG it logs what a stream map's filter makes of each row.
        logging.getLogger("singer_sdk.mapper").setLevel(logging.INFO)
        return mask

    @classmethod
    @override
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        """Read the config files; name the one that cannot be read."""
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
        """Write the catalog; warn about settings that do not fit."""
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
        Refused: the file does not hold a JSON object.
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
