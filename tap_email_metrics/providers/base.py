"""The base class of providers: an API described by its attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tap_email_metrics.contract.contradictions import Contradictions
from tap_email_metrics.settings.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_email_metrics.contract.prober import Prober
    from tap_email_metrics.contract.questions import Question
    from tap_email_metrics.contract.verify import Probes
    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.run.api import Api, ApiContext
    from tap_email_metrics.streams.base import EmailMetricsStream

Settings = TypeVar("Settings", bound=Section)


class Provider(Generic[Settings]):
    """One API with its settings and streams.

    Attributes:
        name: key of its settings, and prefix of its streams.
        settings: class of its parsed settings.
        api: class of the API object that its streams share in a run.
        streams: all its streams, in reading order.
        examine: the doctor's check; raises a `TapError` if no request can succeed.
        questions: what is not known of the API.
        probes: what the probes of the questions take, made of the api and a prober.
        earliest: UTC seconds before which the API has no data, None if unknown.
    """

    name: str
    settings: type[Settings]
    api: type[Api[Settings]]
    streams: tuple[type[EmailMetricsStream], ...]
    examine: Callable[[Any, Checkup], None]
    questions: tuple[Question, ...]
    probes: Callable[[Any, Prober], Probes]
    earliest: float | None = None

    def parse(self, section: Mapping[str, Any]) -> Settings | None:
        """Return the provider's settings, None if it is switched off.

        Raises:
            InvalidInput: a required setting is missing, or a value is not valid.
        """
        return self.settings.parse(section)

    def offers(
        self,
        settings: Settings | None,  # noqa: ARG002 - some providers use it
    ) -> Sequence[type[EmailMetricsStream]]:
        """Return the streams that discovery shows."""
        return self.streams

    def open(self, settings: Settings, context: ApiContext) -> Api[Settings]:
        """Return the API object for one run, without sending a request."""
        api = self.api(settings, context)
        logger = context.control.logger
        api.watch(Contradictions(self.name, self.questions, logger))
        return api

    def identity(self, settings: Settings) -> str:
        """Return host and fingerprint of the account, as far as they are known."""
        return settings.fingerprint(self.name)

    def check_shared(self, shared: object) -> None:
        """Check the part of the state under the provider's name in `_tap`.

        Raises:
            InvalidInput: the part is damaged; the message names the key.
        """
