"""Sends the requests of probes: only GET, and never more than the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from tap_email_metrics.errors import Denied, Gone, Skippable, Unavailable
from tap_email_metrics.records.values import decode_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_email_metrics.contract.shapes import Recorder
    from tap_email_metrics.contract.survey import Survey
    from tap_email_metrics.transport.client import Client

Status = Literal["ok", "missing", "denied", "failed"]
PROBE_TRIES = 2
"""Tries of each request: few, because requests are counted."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer.

    Attributes:
        status: the kind of answer; `ok` is a 200 with a JSON body.
        body: the decoded body; None unless the status is `ok`.
    """

    status: Status
    body: object = None


class Prober:
    """Sends requests and notes the form of their answers.

    Args:
        client: the provider's client, which authenticates and keeps the limits.
        survey: counts fields and headers.
        recorder: keeps the shapes of answers; None to keep none.
    """

    def __init__(
        self, client: Client, survey: Survey, recorder: Recorder | None = None
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._refused: dict[object, Seen] = {}
        self.survey = survey

    @property
    def sent(self) -> int:
        """Requests that were sent, of authentication too."""
        return self._client.limits.counted

    def get(
        self,
        template: str,
        ids: Sequence[object] = (),
        params: Mapping[str, int | str] | None = None,
    ) -> Seen:
        """Return the answer to a GET of a path.

        Raises:
            TapError: no request of the provider can succeed, or none is left.
        """
        return self.get_url(self._client.url_of(template, ids), template, params)

    def get_url(
        self,
        url: str,
        template: str,
        params: Mapping[str, int | str] | None = None,
    ) -> Seen:
        """Return the answer to a GET of a URL; see `get`.

        A URL that was refused once is not requested again.
        """
        asked = (url, tuple(sorted((params or {}).items())))
        if asked not in self._refused:
            seen = self._ask(url, template, params)
            if seen.status not in {"missing", "denied"}:
                return seen
            self._refused[asked] = seen
        return self._refused[asked]

    def _ask(
        self, url: str, template: str, params: Mapping[str, int | str] | None
    ) -> Seen:
        try:
            response = self._client.retrying(
                lambda: self._client.exchange(url, template, params), tries=PROBE_TRIES
            )
        except Gone:
            return Seen("missing")
        except Denied:
            return Seen("denied")
        except (Skippable, Unavailable):
            return Seen("failed")
        self.survey.headers(response.headers)
        try:
            body = decode_json(response.content)
        except msgspec.DecodeError:
            return Seen("failed")
        if self._recorder is not None:
            self._recorder.add(template, body)
        return Seen("ok", body)
