"""The HTTP endpoints of Constant Contact: authorisation, limits, errors and routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.constant_contact import auth
from simulator.constant_contact.metadata import Metadata
from simulator.constant_contact.paging import Ask, RefusalError
from simulator.constant_contact.reports import Reports
from simulator.messages import Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.clock import SimClock
    from simulator.constant_contact.facts import Facts

PREFIX = "/v3"
_GATEWAY = (401, 403, 429)
_TOO_MANY = 429
_ID = r"([^/]+)"


@dataclass(frozen=True)
class _Route:
    path: re.Pattern[str]
    handler: Callable[[Ask], Reply]
    scope: str | None
    privilege: str | None
    parameters: frozenset[str]


class Face:
    """Answers requests like the vendor, with the contents of the account at present."""

    def __init__(self, account: Facts, clock: SimClock) -> None:
        self._account = account
        self._clock = clock
        self._routes: list[_Route] = []
        self._add_reports(Reports(account))
        self._add_metadata(Metadata(account))

    def _add(
        self,
        path: str,
        handler: Callable[[Ask], Reply],
        needs: tuple[str | None, str | None],
        parameters: str = "",
    ) -> None:
        pattern = re.compile(re.escape(PREFIX) + path.replace("{id}", _ID))
        names = frozenset(parameters.split())
        self._routes.append(_Route(pattern, handler, *needs, names))

    def _add_reports(self, reports: Reports) -> None:
        email = ("campaign_data", "ui:campaign:metrics")
        contact = ("contact_data", "ui:campaign:metrics")
        summaries = "/reports/summary_reports/email_campaign_summaries"
        self._add(summaries, reports.summaries, email, "limit")
        stats = "/reports/stats/"
        self._add(f"{stats}email_campaigns/{{id}}", reports.campaign_stats, email)
        activities = f"{stats}email_campaign_activities/{{id}}"
        self._add(activities, reports.activity_stats, email)
        one = "/reports/email_reports/{id}/"
        self._add(f"{one}links", reports.links, email, "no_clicks")
        self._add(
            f"{one}tracking/{{id}}",
            reports.tracking,
            email,
            "limit url_id bounce_code",
        )
        person = "/reports/contact_reports/{id}/"
        self._add(
            f"{person}activity_details",
            reports.contact_details,
            contact,
            "limit include_campaign_activity_names tracking_activities_list"
            " tracking_activity_type",
        )
        self._add(
            f"{person}activity_summary", reports.contact_summary, contact, "start end"
        )
        rates = f"{person}open_and_click_rates"
        self._add(rates, reports.contact_rates, contact, "start end")

    def _add_metadata(self, metadata: Metadata) -> None:
        self._add("/account/user/privileges", metadata.privileges, (None, None))
        needs = ("account_read", "account:read")
        self._add("/account/summary", metadata.summary, needs, "extra_fields")
        email = ("campaign_data", "campaign:read")
        self._add("/emails", metadata.emails, email, "limit before_date after_date")
        self._add("/emails/activities/{id}", metadata.email_activity, email, "include")
        history = "/emails/activities/{id}/send_history"
        self._add(history, metadata.send_history, email)
        self._add("/emails/{id}", metadata.email, email)
        contacts = ("contact_data", "contacts:read")
        lists = ("contact_data", "contacts:lists:read")
        self._add(
            "/contacts",
            metadata.contacts,
            contacts,
            "limit status email lists tags updated_after updated_before"
            " created_after created_before optout_after optout_before include"
            " include_count",
        )
        self._add("/contacts/{id}", metadata.contact, contacts, "include")
        counted = "include_membership_count"
        self._add(
            "/contact_lists",
            metadata.contact_lists,
            lists,
            f"limit include_count name status {counted}",
        )
        self._add("/contact_lists/{id}", metadata.contact_list, lists, counted)
        self._add(
            "/contact_tags", metadata.contact_tags, contacts, "limit include_count"
        )
        self._add("/contact_tags/{id}", metadata.contact_tag, contacts, "include_count")
        fields = "/contact_custom_fields"
        self._add(fields, metadata.custom_fields, contacts, "limit")
        self._add(f"{fields}/{{id}}", metadata.custom_field, contacts)
        self._add("/segments", metadata.segments, lists, "limit sort_by")
        self._add("/segments/{id}", metadata.segment, lists)

    def serves(self, path: str) -> bool:
        """Return True if a request for the path belongs to Constant Contact."""
        return path.startswith((f"{PREFIX}/", f"{auth.BASE}/"))

    def revoke_tokens(self) -> None:
        """Refuse every access token issued so far."""
        self._account.auth.revoke_access()

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request."""
        if request.path.startswith(f"{auth.BASE}/"):
            return self._account.auth.answer(request)
        try:
            return self._answer(request)
        except RefusalError as refusal:
            return self._refuse(refusal)

    def _answer(self, request: Request) -> Reply:
        policy = self._account.policy
        scopes = self._account.auth.scopes(request)
        if scopes is None:
            raise RefusalError(401, "unauthorized", "Unauthorized")
        error = self._account.limits.refuse(
            self._account.ticker(), policy.requests_per_second, policy.requests_per_day
        )
        if error:
            text = "The limit on the number of requests was reached."
            raise RefusalError(_TOO_MANY, error, text)
        if request.method != "GET":
            raise RefusalError(405, "method_not_allowed", "Only GET is allowed.")
        if policy.deactivated:
            raise RefusalError(403, "access_denied", "The application is deactivated.")
        for route in self._routes:
            if match := route.path.fullmatch(request.path):
                self._permit(route, scopes)
                return route.handler(self._ask(request, match, route))
        raise RefusalError(404, "not_found", "There is no such resource.")

    def _ask(self, request: Request, match: re.Match[str], route: _Route) -> Ask:
        path, query = request.path, request.query
        policy = self._account.policy
        return Ask.read(
            path, match.groups(), query, route.parameters, self._clock.now(), policy
        )

    def _permit(self, route: _Route, scopes: frozenset[str]) -> None:
        if route.scope and route.scope not in scopes:
            text = f"The token lacks the scope {route.scope}."
            raise RefusalError(403, "access_denied", text)
        if route.privilege and route.privilege not in self._account.policy.privileges:
            text = f"The user lacks the privilege {route.privilege}."
            raise RefusalError(403, "access_denied", text)

    def _refuse(self, refusal: RefusalError) -> Reply:
        shape = self._account.policy.error_shape
        if shape == "empty" and refusal.status != _TOO_MANY:
            return Reply(refusal.status)
        error = {"error_key": refusal.key, "error_message": refusal.text}
        is_object = shape == "object" or refusal.status == _TOO_MANY
        if is_object or (shape != "array" and refusal.status in _GATEWAY):
            return json_reply(refusal.status, error)
        return json_reply(refusal.status, [error])
