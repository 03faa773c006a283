"""A provider: one API, said in a paragraph of facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tap_email_metrics.settings.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.run.api import Api, ApiContext
    from tap_email_metrics.streams.base import EmailMetricsStream

Settings = TypeVar("Settings", bound=Section)


class Provider(Generic[Settings]):
    """One API: its name, its settings, its streams.

    Attributes:
        name: key of its settings, and prefix of its streams.
        settings: what its section of the settings is parsed into.
        api: what its streams read from.
        streams: all of them, in the order in which they are read.
        examine: asks what the doctor asks, and notes the answers; raises a `TapError`
            when nothing more can be asked.
        earliest: UTC seconds before which the API has nothing; None: not known.
    """

    name: str
    settings: type[Settings]
    api: type[Api[Settings]]
    streams: tuple[type[EmailMetricsStream], ...]
    examine: Callable[[Any, Checkup], None]
    earliest: float | None = None

    def parse(self, section: Mapping[str, Any]) -> Settings | None:
        """Return the provider's settings, None where it is switched off.

        Raises:
            InvalidInput: the section is half-filled, or a value does not fit.
        """
        return self.settings.parse(section)

    def offers(
        self,
        settings: Settings | None,  # noqa: ARG002 - for those that choose by it
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams that discovery shows."""
        return self.streams

    def open(self, settings: Settings, context: ApiContext) -> Api[Settings]:
        """Return the api for one run; no request is sent yet."""
        return self.api(settings, context)

    def check_shared(self, shared: object) -> None:
        """Check what the state keeps under the provider's name in `_tap`.

        Raises:
            InvalidInput: it is damaged; the message names the key.
        """
