"""Behaviour that LuxSci leaves open or that the owner of the account chooses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from simulator.luxsci.auth import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.luxsci.facts import Kind

REFUSALS: dict[str, str] = {
    "signature": "invalid signature",
    "date": "date is out of range",
    "token": "invalid token",
    "login": "invalid user or password",
    "expired": "auth has expired",
    "disabled": "integration is disabled",
    "scope": "wrong scope",
    "denied": "access denied",
    "throttled": "too many requests",
    "exhausted": "daily limit reached",
    "missing": "not found",
    "method": "method not allowed",
    "invalid": "invalid parameter",
}
"""The vendor's text for each reason of a refusal."""
_MASTERED = frozenset({"signature", "date", "token", "login", "expired", "disabled"})


@dataclass(frozen=True)
class Policy(Rules):
    """Choices of the owner of the account, and those that the vendor leaves open."""

    # The integration
    denied: frozenset[str] = frozenset()
    """operationIds that the integration may not use."""
    absent: frozenset[str] = frozenset()
    """operationIds that answer 404."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Paths below PREFIX that replace the built-in ones, by operationId."""
    renew_every: int = 0
    """Every how many answers carry a new auth code; 0: none."""
    user_limit: int = 50
    # Limits; 0 means no limit
    requests_per_minute: int = 60
    requests_per_day: int = 6_000
    throttle_status: int = 429
    retry_after: str | None = None
    # Refusals; with 200 the answer has `success` 0
    auth_status: int = 401
    """Status for signature, date, token, login, expired and disabled."""
    access_status: int = 403
    """Status for scope and denied."""
    error_field: Literal["error_message", "error"] = "error_message"
    texts: Mapping[str, str] = field(default_factory=dict)
    """Texts that replace those in REFUSALS, by reason."""
    at_sign: Literal["both", "plain", "encoded"] = "both"
    """How the `@` of a login must be written in a path; the other way is refused as a
    wrong signature."""
    # Shapes
    rows: Literal["arrays", "objects"] = "arrays"
    header_entries: Literal["strings", "objects"] = "strings"
    header_at: Literal["top", "data"] = "top"
    header_place: Literal["before", "after"] = "before"
    header_order: Literal["page", "shuffled"] = "page"
    """page: as on the vendor's page; shuffled: in another order in each answer."""
    header_case: Literal["page", "lower", "upper", "mixed"] = "page"
    """Letter case of the vendor's columns, not of code words."""
    rows_name: str = "rows"
    """Key of the rows if `data` is an object."""
    count_at: Literal["top", "data"] = "top"
    count_name: str = "count"
    count_type: Literal["number", "string"] = "number"
    count_of: Literal["all", "page", "nothing"] = "all"
    """The rows that the count counts; with `matches=0` always all rows."""
    numbers_as_strings: bool = False
    strings_as_numbers: bool = False
    """Applies to text that is an integer."""
    nulls: Literal["null", "empty_dates", "zero_dates", "empty"] = "null"
    """Form of nulls; empty_dates and zero_dates apply to DATETIMEs only."""
    max_rows: int = 0
    """The most rows in one answer; 0: MOST_ROWS."""
    max_bytes: int = 50_000_000
    """An answer ends with the row that exceeds this length."""
    # Behaviour
    delivery_date: Literal["last_updated", "date_sent"] = "last_updated"
    """The date to which bounds apply in delivery status and marketing logs."""
    event_date: Literal["own", "date_sent"] = "own"
    """The date to which bounds apply in opens, clicks and other events."""
    rows_order: Literal["date", "insertion", "descending"] = "date"

    def status(self, reason: str) -> int:
        """Return the status of a refusal for this reason."""
        if reason in _MASTERED:
            return self.auth_status
        if reason in ("scope", "denied"):
            return self.access_status
        if reason in ("throttled", "exhausted"):
            return self.throttle_status
        return {"missing": 404, "method": 405}.get(reason, 400)

    def column(self, kind: Kind) -> str | None:
        """Return the column by which the API filters a kind of report."""
        if kind.sent is None:
            return kind.date
        if kind.name in ("delivery_status", "marketing_logs"):
            return kind.date if self.delivery_date == "last_updated" else kind.sent
        return kind.date if self.event_date == "own" else kind.sent
