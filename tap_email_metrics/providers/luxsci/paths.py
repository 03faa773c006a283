"""The path of each report, and how it is known.

Most of the vendor's paths are not public. A path is looked up by the vendor's name of
the report (the operationId) in the setting `path_overrides`, then in the customer's
copy of the vendor's OpenAPI file, then in the table of this module.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import yaml

from tap_email_metrics.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PathSource = Literal[
    "confirmed", "inferred", "assumed", "path_overrides", "openapi_path"
]

BASE = "/perl/api/v2"
"""Prefix of every path; the paths in this module leave it out."""
_ACCOUNT, _USER = "/account/{account}/report", "/user/{login}/report"
_MARKETING = "/user/{login}/marketing/v3"
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The path of one report.

    Attributes:
        operation: the vendor's name of the report.
        path: without the prefix, with `{account}` and `{login}` as parameters.
        mark: how the path is known.
    """

    operation: str
    path: str
    mark: PathSource

    @property
    def is_a_guess(self) -> bool:
        """Whether a 404 most likely means that the path is wrong."""
        return self.mark in {"inferred", "assumed"}


def _both(operation: str, path: str) -> tuple[Endpoint, Endpoint]:
    """Return a report of the account and of a user; `{}` in the name is the scope."""
    return (
        Endpoint(operation.format("Account"), f"{_ACCOUNT}{path}", "assumed"),
        Endpoint(operation.format("User"), f"{_USER}{path}", "assumed"),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    *_both("getEmailSMTPDeliveryStatusReport{}", "/email/smtp/delivery"),
    *_both("getEmailWebMailDeliveryStatusReport{}", "/email/webmail/delivery"),
    Endpoint(
        "getEmailSMTPSentReportAccount", f"{_ACCOUNT}/email/smtp/sent", "confirmed"
    ),
    Endpoint(
        "getEmailWebMailSentReportAccount",
        f"{_ACCOUNT}/email/webmail/sent",
        "confirmed",
    ),
    Endpoint("getEmailSMTPSentReportUser", f"{_USER}/email/smtp/sent", "inferred"),
    Endpoint(
        "getEmailWebMailSentReportUser", f"{_USER}/email/webmail/sent", "confirmed"
    ),
    *_both("getEmailSMTPOpenReport{}", "/email/smtp/opens"),
    *_both("getEmailWebMailOpenReport{}", "/email/webmail/opens"),
    *_both("getEmailSMTPClickReport{}", "/email/smtp/clicks"),
    Endpoint(
        "getEmailWebMailClickReportAccount",
        f"{_ACCOUNT}/email/webmail/clicks",
        "assumed",
    ),
    *_both("getEmailFeedBackLoopsReport{}", "/email/fbl"),
    *_both("get{}SuppressionReport", "/email/suppressions"),
    *_both("getEmailSMTPTempFailReport{}", "/email/smtp/tempfail"),
    Endpoint(
        "getSMTPLoginFailureReportAccount", f"{_ACCOUNT}/smtp/loginfailures", "assumed"
    ),
    *_both("getEmailSMTPDeliveryStatusSummaryReport{}", "/email/smtp/delivery/summary"),
    *_both("getEmailSMTPOpenSummaryReport{}", "/email/smtp/opens/summary"),
    *_both("getEmailSMTPClickSummaryReport{}", "/email/smtp/clicks/summary"),
    *_both("getEmailFeedBackLoopsSummaryReport{}", "/email/fbl/summary"),
    *_both("get{}SuppressionSummaryReport", "/email/suppressions/summary"),
    Endpoint("getLists", f"{_MARKETING}/lists", "assumed"),
    Endpoint("getContacts", f"{_MARKETING}/contacts", "assumed"),
    Endpoint("getCampaigns", f"{_MARKETING}/campaigns", "assumed"),
    Endpoint("getReportLogs", f"{_MARKETING}/report/logs", "assumed"),
    Endpoint("getReportOpened", f"{_MARKETING}/report/opened", "assumed"),
    Endpoint("getReportClicked", f"{_MARKETING}/report/clicked", "assumed"),
    Endpoint("getReportUrls", f"{_MARKETING}/report/urls", "assumed"),
    Endpoint("getReportBounces", f"{_MARKETING}/report/bounces", "assumed"),
    Endpoint("getReportComplaints", f"{_MARKETING}/report/complaints", "assumed"),
    Endpoint("getReportUnsubscribed", f"{_MARKETING}/report/unsubscribed", "assumed"),
    Endpoint("getUserReport2", f"{_ACCOUNT}/users", "assumed"),
    Endpoint("getUserSummaryReport", f"{_ACCOUNT}/users/summary", "assumed"),
    *_both("get{}Jobs", "/jobs"),
)
"""The reports on the vendor's page of report responses."""
KNOWN: dict[str, Endpoint] = {one.operation: one for one in ENDPOINTS}


def offered(operation: str, scope: str) -> str | None:
    """Return the vendor's name of a report in a scope, None if it does not exist.

    Args:
        operation: the name, with `{}` for the scope.
        scope: account or user.
    """
    known = KNOWN.get(operation.format(scope.title()))
    belongs = known is not None and known.path.startswith(f"/{scope}/")
    return known.operation if known and belongs else None


def resolve(
    operation: str, overrides: Mapping[str, str], described: Mapping[str, str]
) -> Endpoint:
    """Return the path of a report.

    Args:
        operation: the vendor's name of the report, one of `KNOWN`.
        overrides: the setting `path_overrides`.
        described: the paths in the vendor's OpenAPI file.
    """
    if operation in overrides:
        return Endpoint(operation, overrides[operation], "path_overrides")
    if operation in described:
        return Endpoint(operation, described[operation], "openapi_path")
    return KNOWN[operation]


def checked(name: str, path: str) -> str:
    """Return a path in the form of this module: without prefix, parameters renamed.

    Args:
        name: the setting that holds the path, for messages.
        path: with a `{…}` for the account's number or the user's login.

    Raises:
        InvalidInput: the text is not a path, or has a parameter without a value.
    """
    path = path.removeprefix(BASE)
    if not path.startswith("/") or path.startswith("//") or set("?#\\ ") & set(path):
        raise InvalidInput(
            f"{name} is not a path: write it as /account/{{account}}/report/…, without "
            "host and query"
        )
    named = _PLACE.sub(functools.partial(_named, name), path)
    if set("{}") & set(_PLACE.sub("", named)):
        raise InvalidInput(f"{name} has a brace that is not closed, or not opened")
    return named


def _named(name: str, place: re.Match[str]) -> str:
    label = place[1].lower()
    if "acc" in label:
        return "{account}"
    if any(word in label for word in ("user", "login", "email")):
        return "{login}"
    raise InvalidInput(
        f"{name} has a part {place[0]} that the tap cannot fill: it knows {{account}} "
        "and {login}"
    )


def described_paths(file: Path) -> dict[str, str]:
    """Return the paths of the known reports in an OpenAPI file (YAML or JSON).

    Raises:
        InvalidInput: the file cannot be read, or has no known report.
    """
    try:
        found = _operations(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise InvalidInput(
            f"luxsci.openapi_path: cannot read {file}: {error.strerror}"
        ) from error
    return dict(found)


@functools.lru_cache(maxsize=4)
def _operations(file: Path, changed: int) -> tuple[tuple[str, str], ...]:  # noqa: ARG001 - makes the cache read a changed file again
    setting = "luxsci.openapi_path"
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        document = yaml.load(file.read_bytes(), loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{setting}: {file} is neither YAML nor JSON") from error
    paths = document.get("paths") if isinstance(document, dict) else None
    found = []
    for path, item in paths.items() if isinstance(paths, dict) else ():
        get = item.get("get") if isinstance(item, dict) else None
        operation = get.get("operationId") if isinstance(get, dict) else None
        if isinstance(operation, str) and operation in KNOWN:
            found.append((operation, checked(f"{setting}: {operation}", str(path))))
    if not found:
        raise InvalidInput(
            f"{setting}: {file} describes none of the reports that the tap reads: is "
            "it the vendor's luxsci-api.yaml?"
        )
    return tuple(found)
