"""What every provider is to the tap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.run.api import Api, ApiContext
    from tap_email_metrics.streams.base import EmailMetricsStream


class Provider(Protocol):
    """One API: its name, its settings and its streams."""

    @property
    def name(self) -> str:
        """Key of its settings, and prefix of its streams."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON Schema of its settings."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The settings that switch it on."""

    @property
    def streams(self) -> tuple[type[EmailMetricsStream], ...]:
        """Its streams, in the order in which they are read."""

    def offers(self, settings: Any) -> Sequence[type[EmailMetricsStream]]:  # noqa: ANN401 - what `parse` returned
        """Return the streams that discovery shows."""

    @property
    def earliest(self) -> float | None:
        """Instant before which the API has nothing; None where that is not known."""

    def parse(self, section: Mapping[str, Any]) -> Any:  # noqa: ANN401 - its own type
        """Return the provider's settings, None where it is switched off."""

    def check_shared(self, shared: object) -> None:
        """Check what the state keeps under the provider's name in `_tap`.

        Raises:
            InvalidInput: it is damaged; the message names the key.
        """

    def open(
        self,
        settings: Any,  # noqa: ANN401 - what `parse` returned
        context: ApiContext,
    ) -> Api[Any]:
        """Return a session for one run; no request is sent yet.

        Args:
            settings: the provider's own.
            context: what the run gives to each api.
        """

    def examine(self, api: Any, checkup: Checkup) -> None:  # noqa: ANN401 - what `open` returned
        """Ask what the doctor asks of it: of each stream whether it may be read.

        Raises:
            TapError: nothing more can be asked.
        """
