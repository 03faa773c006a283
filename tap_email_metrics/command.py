"""The shared part of all commands: exit codes, last line on stderr, and colours.

The last line says why a command ended with exit code 1 or 2. `meltano config test`
shows only that line. Colours are for terminals, and `NO_COLOR` switches them off.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from typing_extensions import override

from tap_email_metrics.records.privacy import RedactingFilter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

LOGGER = logging.getLogger("tap-email-metrics")
COLOURS = {
    **dict.fromkeys(("well", "complete", "empty"), "green"),
    **dict.fromkeys(("paused", "incomplete", "unavailable", "terminated"), "yellow"),
    **dict.fromkeys(("not well", "refused", "failed"), "red"),
    "WARNING": "yellow",
    **dict.fromkeys(("ERROR", "CRITICAL"), "red"),
}
"""Colours of lines, by the outcome that they tell or the level of the log."""


def coloured(line: str, about: str) -> str:
    """Return a line in the colour of an outcome or of a level of the log."""
    colour = COLOURS.get(about)
    return click.style(line, fg=colour) if colour else line


def shows_colours(file: Any) -> bool:  # noqa: ANN401 - whatever a handler writes to
    """Return whether a file is a terminal that shows colours."""
    return not os.environ.get("NO_COLOR") and bool(file.isatty())


def open_stderr() -> None:
    """Drop messages if stderr was closed: Python has None for it, which fails later."""
    if sys.stderr is None:
        nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - open to the end
        sys.stderr = nowhere


class Failed(click.ClickException):
    """The command failed; its message is the last line of stderr."""

    def __init__(self, message: str) -> None:
        # One line, because `meltano config test` shows only the last one.
        super().__init__(" ".join(message.split()))

    @override
    def show(self, file: Any = None) -> None:
        """Write the last line."""
        file = file or sys.stderr
        title = coloured("Error:", "ERROR")
        click.echo(f"{title} {self.message}", file, color=shows_colours(file))


class Refused(Failed):
    """The user has to correct the input first; exit code 2."""

    exit_code = 2


class Command(click.Command):
    """A command whose last line on stderr says why it ended with code 1 or 2."""

    @override
    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line; options such as --discover do their work here."""
        open_stderr()
        sys.excepthook = self.excepthook
        threading.excepthook = self.thread_excepthook
        colour = False if os.environ.get("NO_COLOR") else None
        with _stopped_from_outside():
            return super().make_context(*args, color=colour, **extra)

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _stopped_from_outside():
            return super().invoke(ctx)

    def excepthook(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        """Log an unexpected error without its text, and write the last line."""
        for handler in (*logging.root.handlers, logging.lastResort):
            if handler:
                handler.addFilter(RedactingFilter())
        LOGGER.error("an unexpected error", exc_info=(kind, error, trace))
        click.echo(
            f"Error: unexpected {kind.__name__}: please report the lines above",
            err=True,
        )

    def thread_excepthook(self, raised: threading.ExceptHookArgs) -> None:
        """Handle an unexpected error in a thread like one in the main thread."""
        error = raised.exc_value
        if error is not None and not isinstance(error, SystemExit):
            self.excepthook(type(error), error, raised.exc_traceback)


@contextmanager
def _stopped_from_outside() -> Iterator[None]:
    """End the command for a person at the keyboard, or a full disk.

    Raises:
        Failed: one of them stopped it.
    """
    try:
        yield
    except (click.Abort, EOFError, KeyboardInterrupt):
        raise Failed("stopped at the keyboard") from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise Failed("the output cannot be written: no space is left") from None


def end(code: int, why: str) -> NoReturn:
    """End a command.

    Args:
        code: the exit code.
        why: the reason, which is shown if the code is 1 or 2.

    Raises:
        Failed: the code is 1.
        Refused: the code is 2.
    """
    match code:
        case 1:
            raise Failed(why)
        case 2:
            raise Refused(why)
    sys.exit(code)
