"""The endpoints of Constant Contact that are not reports."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from simulator.constant_contact.paging import Ask, RefusalError, missing, page
from simulator.messages import Reply, encode, json_reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.constant_contact.events import Activity
    from simulator.constant_contact.facts import Campaign, Facts
    from simulator.rows import Row

INCLUDES = (
    *("custom_fields", "list_memberships", "phone_numbers"),
    *("street_addresses", "taggings", "notes"),
)
_STATUSES = (
    *("all", "active", "deleted", "not_set"),
    *("pending_confirmation", "temp_hold", "unsubscribed"),
)
_ACTIVITY_INCLUDES = (
    *("physical_address_in_footer", "permalink_url"),
    *("html_content", "document_properties"),
)
_ACCOUNT_EXTRAS = ("physical_address", "company_logo")
_ACTIVE = ("explicit", "implicit")


class Metadata:
    """Answers requests about one account."""

    def __init__(self, account: Facts) -> None:
        self._account = account
        self._asked_segments = 0

    # Account

    def privileges(self, ask: Ask) -> Reply:
        """Answer the privileges of the user."""
        names = sorted(ask.policy.privileges)
        rows = [
            {"privilege_id": number, "privilege_name": name}
            for number, name in enumerate(names, 1)
        ]
        return json_reply(200, rows)

    def summary(self, ask: Ask) -> Reply:
        """Answer the summary of the account."""
        wanted = ask.words("extra_fields", _ACCOUNT_EXTRAS)
        return json_reply(200, self.account_row(ask.at, wanted))

    def account_row(self, at: float, extra: set[str]) -> dict[str, object]:
        """Return the account with these extra fields."""
        fields = self._account.summary.fields(at)
        return _without(fields, set(_ACCOUNT_EXTRAS) - extra)

    # Campaigns

    def emails(self, ask: Ask) -> Reply:
        """Answer the campaigns, including removed ones, newest first."""
        size = ask.limit(50, 500)
        after, before = ask.instant("after_date"), ask.instant("before_date")
        found = [
            campaign.row
            for campaign in self._newest(ask)
            if ask.passes(_updated(campaign.row, ask.at), after, before)
        ]
        rows = [row.text(ask.at) for row in found[ask.offset : ask.offset + size]]
        return page(ask, "campaigns", rows, size, len(found))

    def _newest(self, ask: Ask) -> list[Campaign]:
        def age(campaign: Campaign) -> tuple[float, int]:
            by_update = ask.policy.emails_order == "updated"
            date = _updated(campaign.row, ask.at) if by_update else campaign.created
            return -date, -campaign.row.row_id

        campaigns = self._account.campaigns.values()
        return sorted((one for one in campaigns if one.row.is_shown(ask.at)), key=age)

    def email(self, ask: Ask) -> Reply:
        """Answer a campaign with its activities."""
        campaign = self._account.campaigns.get(ask.ids[0])
        if campaign is None or not campaign.row.is_shown(ask.at):
            raise missing("The campaign was not found.")
        activities = [
            {"campaign_activity_id": one.activity_id, "role": one.role}
            for one in campaign.shown(ask.at)
        ]
        body = {**campaign.row.fields(ask.at), "campaign_activities": activities}
        return json_reply(200, body)

    def email_activity(self, ask: Ask) -> Reply:
        """Answer the details of an activity."""
        activity = self._activity(ask)
        wanted = ask.words("include", _ACTIVITY_INCLUDES)
        return json_reply(200, activity_row(activity, ask.at, wanted))

    def send_history(self, ask: Ask) -> Reply:
        """Answer the send history of an activity."""
        return json_reply(200, self._account.history(self._activity(ask), ask.at))

    def _activity(self, ask: Ask) -> Activity:
        activity = self._account.activities.get(ask.ids[0])
        if activity is None or not activity.row.is_shown(ask.at):
            raise missing("The campaign activity was not found.")
        if ask.at >= self._account.campaigns[activity.campaign_id].removed_at:
            status = ask.policy.removed_activity_status
            raise RefusalError(status, "removed", "The campaign activity is removed.")
        return activity

    # Contacts

    def contacts(self, ask: Ask) -> Reply:
        """Answer the contacts that pass the filters."""
        size = ask.limit(50, 500)
        include = ask.words("include", INCLUDES)
        rows = [row for _, row in self._account.shown("contacts", ask.at)]
        statuses = ask.words("status", _STATUSES)
        found = [row for row in rows if _passes(ask, row, statuses)]
        shown = found[ask.offset : ask.offset + size]
        texts = [encode(contact_row(row, ask.at, include)) for row in shown]
        extra: dict[str, object] = {}
        if ask.flag("include_count"):
            extra["contacts_count"] = len(found)
        return page(
            ask, "contacts", texts, size, len(found), extra=extra, cursor="cursor"
        )

    def contact(self, ask: Ask) -> Reply:
        """Answer one contact."""
        row = self._item(ask, "contacts")
        wanted = ask.words("include", INCLUDES)
        return json_reply(200, contact_row(row, ask.at, wanted))

    # The small lists

    def contact_lists(self, ask: Ask) -> Reply:
        """Answer the contact lists."""
        size = ask.limit(50, 1000)
        status = ask.parameters.get("status", "active")
        counted = ask.parameters.get("include_membership_count")
        rows = [
            self.list_row(item_id, row, ask.at, counted)
            for item_id, row in self._account.shown("contact_lists", ask.at)
            if status == "all"
            or (row.value(ask.at, "deleted_at") is not None) == (status == "deleted")
        ]
        if "name" in ask.parameters:
            rows = [row for row in rows if row["name"] == ask.parameters["name"]]
        extra: dict[str, object] = {}
        if ask.flag("include_count"):
            extra["lists_count"] = len(rows)
        return _objects(ask, "lists", rows, size, extra)

    def list_row(
        self, list_id: str, row: Row, at: float, counted: str | None
    ) -> dict[str, Any]:
        """Return a list, with the membership_count of `counted` contacts if given."""
        fields = row.fields(at)
        if counted:
            members = self._members("list_memberships", list_id, at)
            fields["membership_count"] = sum(
                counted == "all" or _is_active(one, at) for one in members
            )
        return fields

    def contact_list(self, ask: Ask) -> Reply:
        """Answer one contact list."""
        row = self._item(ask, "contact_lists")
        counted = ask.parameters.get("include_membership_count")
        return json_reply(200, self.list_row(ask.ids[0], row, ask.at, counted))

    def contact_tags(self, ask: Ask) -> Reply:
        """Answer the tags."""
        size = ask.limit(50, 500)
        counted = ask.flag("include_count")
        rows = [
            self.tag_row(item_id, row, ask.at, counted=counted)
            for item_id, row in self._account.shown("contact_tags", ask.at)
        ]
        return _objects(ask, "tags", rows, size)

    def tag_row(
        self, tag_id: str, row: Row, at: float, *, counted: bool
    ) -> dict[str, Any]:
        """Return a tag, with its contacts_count on request."""
        fields = row.fields(at)
        if counted:
            fields["contacts_count"] = len(self._members("taggings", tag_id, at))
        return fields

    def contact_tag(self, ask: Ask) -> Reply:
        """Answer one tag."""
        row = self._item(ask, "contact_tags")
        counted = ask.flag("include_count")
        return json_reply(200, self.tag_row(ask.ids[0], row, ask.at, counted=counted))

    def custom_fields(self, ask: Ask) -> Reply:
        """Answer the custom fields."""
        return self._plain(ask, "contact_custom_fields", "custom_fields", (50, 100))

    def custom_field(self, ask: Ask) -> Reply:
        """Answer one custom field."""
        row = self._item(ask, "contact_custom_fields")
        return json_reply(200, row.fields(ask.at))

    def segments(self, ask: Ask) -> Reply:
        """Answer the segments, or a 202 while they are not ready."""
        self._asked_segments += 1
        if self._asked_segments <= ask.policy.segments_pending:
            return Reply(202)
        return self._plain(ask, "segments", "segments", (1000, 1000))

    def segment(self, ask: Ask) -> Reply:
        """Answer one segment."""
        row = self._item(ask, "segments")
        return json_reply(200, {**row.fields(ask.at), "segment_criteria": "{}"})

    def _plain(self, ask: Ask, kind: str, name: str, sizes: tuple[int, int]) -> Reply:
        rows = [row.fields(ask.at) for _, row in self._account.shown(kind, ask.at)]
        return _objects(ask, name, rows, ask.limit(*sizes))

    def _item(self, ask: Ask, kind: str) -> Row:
        row = self._account.catalogs[kind].get(ask.ids[0])
        if row is None or not row.is_shown(ask.at):
            raise missing()
        return row

    def _members(self, field: str, item_id: str, at: float) -> list[Row]:
        """Return the contacts that are not deleted and have an item in a field."""
        found = []
        for _, row in self._account.shown("contacts", at):
            names = row.value(at, field)
            if (
                isinstance(names, list)
                and item_id in names
                and not _is_deleted(row, at)
            ):
                found.append(row)
        return found


def activity_row(activity: Activity, at: float, include: set[str]) -> dict[str, object]:
    """Return the details of an activity with the included fields."""
    return _without(activity.row.fields(at), set(_ACTIVITY_INCLUDES) - include)


def contact_row(row: Row, at: float, include: set[str]) -> dict[str, object]:
    """Return a contact with the included fields."""
    return _without(row.fields(at), set(INCLUDES) - include)


def _objects(
    ask: Ask,
    name: str,
    rows: Sequence[dict[str, Any]],
    size: int,
    extra: dict[str, object] | None = None,
) -> Reply:
    shown = rows[ask.offset : ask.offset + size]
    texts = [encode(row) for row in shown]
    return page(ask, name, texts, size, len(rows), extra=extra, cursor="cursor")


def _without(fields: dict[str, object], names: set[str]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name not in names}


def _updated(row: Row, at: float) -> float:
    return _instant(row.value(at, "updated_at")) or 0.0


def _instant(value: object) -> float | None:
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None


def _passes(ask: Ask, row: Row, statuses: set[str]) -> bool:
    address = _address(row, ask.at)
    return (
        _has_status(ask, row, statuses)
        and ask.between("updated", _instant(row.value(ask.at, "updated_at")))
        and ask.between("created", _instant(row.value(ask.at, "created_at")))
        and ask.between("optout", _instant(address.get("opt_out_date")))
        and ask.parameters.get("email", address.get("address"))
        == address.get("address")
        and _is_in(ask, "lists", row, "list_memberships")
        and _is_in(ask, "tags", row, "taggings")
    )


def _has_status(ask: Ask, row: Row, statuses: set[str]) -> bool:
    if "all" in statuses:
        return True
    if _is_deleted(row, ask.at):
        return "deleted" in statuses
    permission = _address(row, ask.at).get("permission_to_send")
    is_active = "active" in statuses and permission in _ACTIVE
    return not statuses or permission in statuses or is_active


def _is_in(ask: Ask, parameter: str, row: Row, field: str) -> bool:
    if parameter not in ask.parameters:
        return True
    names = row.value(ask.at, field)
    wanted = ask.parameters[parameter].split(",")
    return isinstance(names, list) and any(name in names for name in wanted)


def _address(row: Row, at: float) -> dict[str, Any]:
    value = row.value(at, "email_address")
    return value if isinstance(value, dict) else {}


def _is_deleted(row: Row, at: float) -> bool:
    return row.value(at, "deleted_at") is not None


def _is_active(row: Row, at: float) -> bool:
    return _address(row, at).get("permission_to_send") in _ACTIVE
