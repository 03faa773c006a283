"""The command line of the tap: options, files and error messages.

The SDK makes a command from the tap's class, so that class inherits `CommandLine`.
It knows no stream and no provider.
"""

from __future__ import annotations

import abc
import json
import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import msgspec
from singer_sdk import Tap
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError, MappingError
from singer_sdk.logging import ConsoleFormatter
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override
from yaml import YAMLError

from tap_email_metrics.command import Command, Refused, coloured, end, shows_colours
from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.records.privacy import RedactingFilter, redact
from tap_email_metrics.records.values import DEEPEST, is_deep
from tap_email_metrics.records.writer import Writer
from tap_email_metrics.settings.check import stripped
from tap_email_metrics.settings.environment import (
    from_environment,
    merged,
    set_variables,
    unknown_variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import click
    from singer_sdk.plugin_base import _ConfigInput

    from tap_email_metrics.control import Control

Made = TypeVar("Made")


class ColouredFormatter(ConsoleFormatter):
    """Colours lines of the log by their level, or by the outcome that they tell."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        about = getattr(record, "outcome", record.levelname)
        return coloured(super().format(record), about)


class CommandLine(Tap):
    """A tap as a command. It exits with code 2 for input that it refuses.

    Attributes:
        control: the control of the run; it is told how to mask new secrets.
        masked: masks secrets and addresses in a text.
    """

    message_writer_class = Writer
    control: Control
    masked: Callable[[str], str] = staticmethod(redact)

    @abc.abstractmethod
    def execute(self) -> int:
        """Sync all selected streams; return the exit code."""

    @abc.abstractmethod
    def exit_code(self) -> int:
        """Return the exit code for what the streams did so far."""

    @abc.abstractmethod
    def tested(self) -> str:
        """Return the result of a connection test, for a person."""

    @abc.abstractmethod
    def trouble(self) -> str:
        """Return the reason for exit code 1 or 2, or an empty text."""

    def end(self, code: int) -> NoReturn:
        """End the process.

        Raises:
            Failed: the code is 1 or 2.
        """
        end(code, self.masked(self.trouble()))

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        """Return the command."""
        made = super().get_singer_command()
        return Command(
            made.name,
            made.context_settings,
            made.callback,
            made.params,
            made.help,
        )

    @property
    def output(self) -> Writer:
        """The writer of Singer messages."""
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
        """Run the tap as a command, and exit with its code."""
        if about:
            cls.print_about(about_format)
            sys.exit(0)
        logging.captureWarnings(capture=True)
        warnings.filterwarnings("once", category=DeprecationWarning)
        cls.print_version(print_fn=cls.logger.info)
        tap = cls.from_command_line(
            config,
            state=json_file("--state", state),
            catalog=json_file("--catalog", catalog),
        )
        tap.end(tap.execute())

    @classmethod
    def from_command_line(
        cls,
        config: _ConfigInput | None,
        **options: Any,  # noqa: ANN401 - the constructor's
    ) -> Self:
        """Return a tap with the input of a command.

        Raises:
            Refused: settings, state, catalog or stream maps are not valid.
        """
        check_log_level(os.environ)
        given = dict(config.config) if config else {}
        parse_env = config is not None and config.parse_env
        if parse_env:
            given = merged(given, cls._environment())
        mask = cls.masked_log(given)
        _colour_log()
        try:
            tap = cls(config=given, **options)
        except ConfigValidationError as error:
            raise Refused("; ".join(error.errors)) from error
        except InvalidInput as error:
            raise Refused(str(error)) from error
        except MappingError as error:
            raise Refused(mask.mask(f"stream_maps: {error}")) from error
        tap.control.hide = mask.add
        tap.masked = mask.mask
        cls._check_variables(strict=parse_env)
        return tap

    @classmethod
    def _environment(cls) -> dict[str, Any]:
        """Return the settings in environment variables."""
        schema, prefix = cls.config_jsonschema, cls._env_var_prefix
        cls.append_builtin_config(schema)
        try:
            # This function of the SDK also loads the file .env into the environment.
            parse_environment_config({}, prefix)
        except (OSError, ValueError) as error:
            raise Refused("--config ENV: the file .env is not UTF-8 text") from error
        try:
            return from_environment(schema, prefix, os.environ)
        except InvalidInput as error:
            raise Refused(f"--config ENV: {error}") from error

    @classmethod
    def _check_variables(cls, *, strict: bool) -> None:
        """Warn about variables that look like settings but have no effect.

        Args:
            strict: the settings come from variables, so a typo is an error. Otherwise
                no variable is read. Meltano passes settings in a file and sets the
                variables, too, so under Meltano a typo is always a warning.

        Raises:
            Refused: a variable is not a setting, and `strict` is set.
        """
        schema, prefix = cls.config_jsonschema, cls._env_var_prefix
        lines = unknown_variables(schema, prefix, os.environ)
        meltanos = any(name.startswith("MELTANO_") for name in os.environ)
        if lines and strict and not meltanos:
            raise Refused(f"--config ENV: {'; '.join(lines)}")
        given = set_variables(schema, prefix, os.environ)
        if given and not (strict or meltanos):
            lines.append(f"not read without --config ENV: {', '.join(given)}")
        for line in lines:
            cls.logger.warning("%s", line)

    @classmethod
    def public_words(cls) -> list[str]:
        """Return words that are never masked, because other programs read them."""
        return [cls.name, json.dumps(cls.config_jsonschema)]

    @classmethod
    def masked_log(cls, config: Mapping[str, Any]) -> RedactingFilter:
        """Mask the secrets in the settings, and all addresses, in all logs.

        Returns:
            The filter that masks them. New secrets can be added to it.
        """
        secrets = [
            stripped(str(value))
            for schema, section in _sections(cls.config_jsonschema, config)
            for key, value in section.items()
            if isinstance(value, str | int) and schema.get(key, {}).get("secret")
        ]
        # Such as a salt. An error of a stream map quotes its expression.
        if isinstance(maps := config.get("stream_map_config"), dict):
            secrets += [value for value in maps.values() if isinstance(value, str)]
        mask = RedactingFilter(secrets, cls.public_words())
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            for handler in getattr(logger, "handlers", ()):
                handler.addFilter(mask)
        # At DEBUG it logs the result of a stream map's filter for each row.
        logging.getLogger("singer_sdk.mapper").setLevel(logging.INFO)
        return mask

    @classmethod
    @override
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        """Read the config files; later ones take precedence, in sections, too."""
        found = super().cb_config(ctx, param, ())
        for name in value:
            try:
                one = super().cb_config(ctx, param, (name,))
            except OSError as error:
                reason = error.strerror or "there is no such file"
                raise Refused(f"--config: cannot read {name}: {reason}") from error
            except (ValueError, TypeError, RecursionError) as error:
                raise Refused("--config: the file is not a JSON object") from error
            # From Python 3.14 on, a decoder accepts what later code could not walk
            # through.
            if is_deep(one.config, DEEPEST):
                raise Refused(
                    "--config: the file is not a JSON object: nested too deep"
                )
            found.config = merged(found.config, one.config)
            found.parse_env |= one.parse_env
        return found

    @classmethod
    @override
    def cb_discover(cls, ctx: click.Context, param: click.Option, value: bool) -> None:
        """Write the catalog; warn about settings that are not valid."""
        if not value:
            return
        config = ctx.params.get("config")
        tap = cls.from_command_line(config, validate_config=False, setup_mapper=False)
        tap.run_discovery()
        ctx.exit()

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        """Read one record of each stream, or only write the schemas."""
        if value == CliTestOptionValue.Disabled.value:
            return
        tap = cls.from_command_line(ctx.params.get("config"))
        if value == CliTestOptionValue.Schema.value:
            tap.write_schemas()
        else:
            tap.run_connection_test()
            tap.logger.info("%s", tap.tested())
        tap.output.flush()
        tap.end(tap.exit_code())


def check_log_level(environ: Mapping[str, str]) -> None:
    """Check the variables of the log level, which the SDK does not check.

    Raises:
        Refused: the variable that counts names no level.
    """
    for name in ("TAP_EMAIL_METRICS_LOGLEVEL", "LOGLEVEL"):
        if level := environ.get(name):
            if level.upper() not in logging.getLevelNamesMapping():
                raise Refused(
                    f"the variable {name} is not a log level: write DEBUG, INFO, "
                    "WARNING or ERROR"
                )
            return


def log_set_up(set_up: Callable[[], Made]) -> Made:
    """Return the result of a function that sets up the log.

    Raises:
        Refused: the user's own configuration of the log cannot be used.
    """
    try:
        return set_up()
    except (OSError, ValueError, TypeError, AttributeError, YAMLError) as error:
        if (name := "SINGER_SDK_LOG_CONFIG") not in os.environ:
            raise
        raise Refused(
            f"the variable {name} names a file that does not configure the log"
        ) from error


def _colour_log() -> None:
    """Colour the log on a terminal, unless the user has chosen another format."""
    for handler in logging.root.handlers:
        if (
            isinstance(handler, logging.StreamHandler)
            and type(handler.formatter) is ConsoleFormatter
            and shows_colours(handler.stream)
        ):
            handler.setFormatter(ColouredFormatter())


def _sections(
    schema: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterable[tuple[dict[str, Any], Mapping[str, Any]]]:
    yield schema["properties"], config
    for name, section in config.items():
        inner = schema["properties"].get(name, {}).get("properties")
        if inner and isinstance(section, dict):
            yield inner, section


def json_file(option: str, file: Any) -> Any:  # noqa: ANN401 - whatever it holds
    """Return the JSON object in an option's file, None for no file.

    Raises:
        Refused: the content is not a JSON object.
    """
    if file is None:
        return None
    try:
        data = file.buffer.read()
        # Programs on Windows may write a byte order mark or UTF-16.
        text = data.decode(json.detect_encoding(data))
        # msgspec also writes the messages, so it must be able to handle the value.
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{option}: the file is not JSON") from error
    if value is not None and not isinstance(value, dict):
        raise Refused(f"{option}: the file is not a JSON object")
    return value
