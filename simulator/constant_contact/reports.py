"""The report endpoints of Constant Contact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.constant_contact.events import (
    BOUNCES,
    CAMPAIGN_STATS,
    EVENT_KINDS,
    REPORTS,
    Counters,
    percents,
    stamp,
)
from simulator.constant_contact.paging import Ask, bad, is_uuid, missing, page
from simulator.messages import Reply, encode, json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.constant_contact.events import Activity, Event
    from simulator.constant_contact.facts import Campaign, Facts

UNIQUE_COUNTS = {
    "sends": "em_sends",
    "opens": "em_opens",
    "clicks": "em_clicks",
    "forwards": "em_forwards",
    "optouts": "em_optouts",
    "abuse": "em_abuse",
    "bounces": "em_bounces",
    "not_opened": "em_not_opened",
}
_AGGREGATED = ("click", "open", "did_not_open", "bounce", "unsubscribe")
_MOST_CAMPAIGNS = 150
_MOST_ACTIVITIES = 10
_LARGEST = 500
_SMALLEST_SUMMARIES = 50


class Reports:
    """Answers requests for reports of one account."""

    def __init__(self, account: Facts) -> None:
        self._account = account

    # Counters

    def summaries(self, ask: Ask) -> Reply:
        """Answer the summaries of sent campaigns, newest send first."""
        size = ask.limit(_SMALLEST_SUMMARIES, _LARGEST, _SMALLEST_SUMMARIES)
        found = self._account.sent_campaigns(ask.at)
        shown = found[ask.offset : ask.offset + size]
        totals = dict.fromkeys(CAMPAIGN_STATS, 0)
        rows = []
        for sent, campaign in shown:
            counters = self._account.campaign_counters(campaign, ask.at)
            if counters is not None:
                for name in CAMPAIGN_STATS:
                    totals[name] += counters.stats[name]
                rows.append(encode(self.summary_row(sent, campaign, counters, ask.at)))
        return page(
            ask,
            "bulk_email_campaign_summaries",
            rows,
            size,
            len(found),
            extra=self._aggregate(percents(totals)),
        )

    def summary_row(
        self, sent: float, campaign: Campaign, counters: Counters, at: float
    ) -> dict[str, Any]:
        """Return the summary of a campaign."""
        counts = {name: counters.stats[stat] for name, stat in UNIQUE_COUNTS.items()}
        return {
            "campaign_id": campaign.campaign_id,
            "campaign_type": campaign.row.value(at, "type"),
            "last_sent_date": stamp(sent),
            "unique_counts": self._counts(counts),
        }

    def _aggregate(self, found: Mapping[str, float]) -> dict[str, object]:
        shape = self._account.policy.aggregate_percents
        values = {name: found[name] for name in _AGGREGATED}
        if shape == "absent":
            return {}
        return {"aggregate_percents": values if shape == "object" else [values]}

    def campaign_stats(self, ask: Ask) -> Reply:
        """Answer the stats of campaigns; one unknown id fails the whole request."""
        ids = self._ids(ask, _MOST_CAMPAIGNS)
        results = [self.campaign_stats_row(campaign_id, ask.at) for campaign_id in ids]
        if None in results:
            raise missing("A campaign was not found.")
        return json_reply(200, {"errors": [], "results": results})

    def campaign_stats_row(self, campaign_id: str, at: float) -> dict[str, Any] | None:
        """Return the stats of a campaign, or None."""
        campaign = self._account.campaigns.get(campaign_id)
        if campaign is None or not self._account.is_reported(campaign, at):
            return None
        counters = self._account.campaign_counters(campaign, at)
        if counters is None:
            return None
        stats = {name: counters.stats[name] for name in CAMPAIGN_STATS}
        return {
            "campaign_id": campaign_id,
            "stats": self._stats(stats),
            "percents": percents(counters.stats),
            "last_refresh_time": self._account.refreshed(counters, at),
        }

    def activity_stats(self, ask: Ask) -> Reply:
        """Answer the stats of activities; unknown ids are listed as errors."""
        ids = self._ids(ask, _MOST_ACTIVITIES)
        if not all(map(is_uuid, ids)):
            raise missing("An id is not valid.")
        found = [(one, self.activity_stats_row(one, ask.at)) for one in ids]
        errors = [
            {
                "error_key": "not_found",
                "error_message": f"Campaign activity {one} was not found.",
            }
            for one, row in found
            if row is None
        ]
        results = [row for _, row in found if row is not None]
        return json_reply(200, {"errors": errors, "results": results})

    def activity_stats_row(self, activity_id: str, at: float) -> dict[str, Any] | None:
        """Return the stats of an activity, or None."""
        activity = self._account.reported_activity(activity_id, at)
        if activity is None:
            return None
        counters = self._account.counters(activity, at)
        if counters is None:
            return None
        row: dict[str, Any] = {
            "campaign_id": activity.campaign_id,
            "campaign_activity_id": activity_id,
            "stats": self._stats(counters.stats),
            "last_refresh_time": self._account.refreshed(counters, at),
        }
        if self._account.policy.activity_type_in_stats:
            row["campaign_activity_type"] = 10
        return row

    def _ids(self, ask: Ask, most: int) -> list[str]:
        ids = ask.ids[0].split(",")
        if len(ids) > most:
            raise bad(f"At most {most} ids can be asked for.")
        return ids

    def _stats(self, stats: Mapping[str, int]) -> dict[str, int | str]:
        counts = self._counts(stats)
        if self._account.policy.stats_keys == "dots":
            return {_dotted(name): value for name, value in counts.items()}
        return counts

    def _counts(self, counts: Mapping[str, int]) -> dict[str, int | str]:
        is_text = self._account.policy.counts_as_strings
        return {
            name: str(value) if is_text else value for name, value in counts.items()
        }

    # Lists

    def tracking(self, ask: Ask) -> Reply:
        """Answer one of the tracking lists, newest first."""
        activity_id, name = ask.ids
        if name not in REPORTS:
            raise missing()
        size = ask.limit(_LARGEST, _LARGEST)
        events = self._chosen(ask, name, self.events(activity_id, name, ask.at))
        shown = events[ask.offset : ask.offset + size]
        rows = [self._text(event, ask.at) for event in shown]
        return page(ask, "tracking_activities", rows, size, len(events))

    def _chosen(self, ask: Ask, name: str, events: Sequence[Event]) -> Sequence[Event]:
        extra = ask.parameters.keys() - {"limit"}
        if not extra:
            return events
        if name == "clicks" and extra == {"url_id"}:
            url_id = ask.parameters["url_id"]
            return [event for event in events if event.url_id == url_id]
        if name == "bounces" and extra == {"bounce_code"}:
            codes = ask.words("bounce_code", tuple(BOUNCES))
            return [one for one in events if one.fields.get("bounce_code") in codes]
        raise bad(f"There are no parameters {sorted(extra)}.")

    def events(self, activity_id: str, name: str, at: float) -> Sequence[Event]:
        """Return the events of a report, none for an unsent activity."""
        activity = self._find(activity_id, at)
        return () if activity.sent(at) is None else activity.report(name, at)

    def _text(self, event: Event, at: float) -> bytes:
        deleted = self._account.deleted_at(event.contact_id, at)
        return event.text(self._account.policy.time_format, deleted)

    def links(self, ask: Ask) -> Reply:
        """Answer the links of an activity with their clicks."""
        activity = self._find(ask.ids[0], ask.at)
        rows = activity.link_rows(ask.at, no_clicks=ask.flag("no_clicks"))
        sent = activity.sent(ask.at) is not None
        body = {
            "campaign_activity_id": activity.activity_id,
            "link_click_counts": rows if sent else [],
        }
        return json_reply(200, body)

    def _find(self, activity_id: str, at: float) -> Activity:
        activity = self._account.reported_activity(activity_id, at)
        if activity is None:
            raise missing("The campaign activity was not found.")
        return activity

    # Contacts

    def contact_details(self, ask: Ask) -> Reply:
        """Answer all events of a contact, newest first."""
        size = ask.limit(100, 100)
        events = self.contact_events(self._contact(ask), ask.at)
        if "tracking_activity_type" in ask.parameters:
            kinds = [f"em_{kind}" for kind in EVENT_KINDS]
            wanted = ask.words("tracking_activity_type", kinds)
            events = [event for event in events if f"em_{event.kind}" in wanted]
        names = ask.flag("include_campaign_activity_names", default=True)
        shown = events[ask.offset : ask.offset + size]
        rows = [encode(self.detail_row(one, ask.at, names=names)) for one in shown]
        return page(ask, "tracking_activities", rows, size, len(events))

    def contact_events(self, contact_id: str, at: float) -> list[Event]:
        """Return the visible events of a contact, newest first."""
        found = [
            event
            for event in self._account.events_of(contact_id)
            if event.kind in EVENT_KINDS
            and event.visible_from <= at < event.removed_at
            and self._account.reported_activity(event.activity_id, at)
        ]
        return sorted(found, key=_place)

    def detail_row(self, event: Event, at: float, *, names: bool) -> dict[str, Any]:
        """Return an event in the form of a contact report."""
        row = event.row(self._account.policy.time_format, None)
        shown = ("contact_id", "campaign_activity_id", "created_time")
        detail = {name: row[name] for name in (*shown, "tracking_activity_type")}
        if names:
            activity = self._account.activities[event.activity_id]
            campaign = self._account.campaigns[activity.campaign_id]
            detail["campaign_activity_name"] = campaign.row.value(at, "name")
        return detail

    def contact_summary(self, ask: Ask) -> Reply:
        """Answer the events of a contact in each mailing sent between two dates."""
        contact_id = self._contact(ask)
        rows = self.summaries_of(
            contact_id, ask.required("start"), ask.required("end"), ask.at
        )
        size = _LARGEST
        shown = rows[ask.offset : ask.offset + size]
        texts = [encode(row) for row in shown]
        extra = {"contact_id": contact_id}
        return page(ask, "campaign_activities", texts, size, len(rows), extra=extra)

    def summaries_of(
        self, contact_id: str, start: float, end: float, at: float
    ) -> list[dict[str, Any]]:
        """Return the mailings to a contact in an interval, newest first."""
        rows: dict[str, dict[str, Any]] = {}
        for event in self.contact_events(contact_id, at):
            activity = self._account.activities[event.activity_id]
            sent = activity.sent(at)
            if sent is None or not start <= sent <= end:
                continue
            row = rows.setdefault(event.activity_id, _nothing(event.activity_id, sent))
            kind = "unsubscribes" if event.kind == "optouts" else event.kind
            row[f"em_{kind}"] += 1
        return sorted(rows.values(), key=_start_on, reverse=True)

    def contact_rates(self, ask: Ask) -> Reply:
        """Answer the open and click rates of a contact."""
        row = self.rates_of(
            self._contact(ask), ask.required("start"), ask.required("end"), ask.at
        )
        return json_reply(200, row)

    def rates_of(
        self, contact_id: str, start: float, end: float, at: float
    ) -> dict[str, Any]:
        """Return the rates of a contact between two dates."""
        rows = self.summaries_of(contact_id, start, end, at)
        sent = [row for row in rows if row["em_sends"]]
        rates = {
            name: sum(bool(row[name]) for row in sent) / len(sent) if sent else 0.0
            for name in ("em_opens", "em_clicks")
        }
        return {
            "contact_id": contact_id,
            "included_activities_count": len(sent),
            "average_open_rate": rates["em_opens"],
            "average_click_rate": rates["em_clicks"],
        }

    def _contact(self, ask: Ask) -> str:
        row = self._account.catalogs["contacts"].get(ask.ids[0])
        if row is None or not row.is_shown(ask.at):
            raise missing("The contact was not found.")
        return ask.ids[0]


def _dotted(name: str) -> str:
    """Return `em_opens_all_mobile` as `em_opens.all.mobile`."""
    head, found, tail = name.partition("_all")
    return f"{head}.all{tail.replace('_', '.')}" if found else name


def _place(event: Event) -> tuple[float, int]:
    return event.place


def _start_on(row: Mapping[str, Any]) -> str:
    return str(row["start_on"])


def _nothing(activity_id: str, sent: float) -> dict[str, Any]:
    kinds = ("sends", "opens", "clicks", "forwards", "bounces", "unsubscribes")
    counts = {f"em_{kind}": 0 for kind in kinds}
    return {"campaign_activity_id": activity_id, "start_on": stamp(sent), **counts}
