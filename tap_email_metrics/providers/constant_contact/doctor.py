"""The doctor's check of Constant Contact: privileges, counters, one row of each list.

The eight lists of one activity need the same scope and privilege, so one of them is
checked for all.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tap_email_metrics.errors import Denied, Skippable
from tap_email_metrics.providers.checkup import DOCTOR_TRIES, Estimate
from tap_email_metrics.providers.constant_contact.account_streams import (
    Account,
    AccountList,
    CampaignActivities,
)
from tap_email_metrics.providers.constant_contact.activities import ACTIVITY
from tap_email_metrics.providers.constant_contact.activity_stats import (
    MOST_ACTIVITIES,
)
from tap_email_metrics.providers.constant_contact.campaign_streams import (
    TRACKED,
    CampaignActivityStats,
    CampaignStream,
    EventStream,
    Opens,
    SendHistory,
    SnapshotStream,
)
from tap_email_metrics.providers.constant_contact.campaigns import (
    LARGEST_SUMMARIES,
    MOST_CAMPAIGNS,
)
from tap_email_metrics.providers.constant_contact.client import parse_page
from tap_email_metrics.providers.constant_contact.counters import GATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_email_metrics.providers.checkup import Checkup
    from tap_email_metrics.providers.constant_contact.api import (
        ConstantContactApi,
    )
    from tap_email_metrics.providers.constant_contact.campaigns import CampaignCache
    from tap_email_metrics.providers.constant_contact.schedule import CounterMark
    from tap_email_metrics.state.plans import Visit

Result = TypeVar("Result")

PREFIX = "constant_contact_"
NEEDED = (
    "ui:campaign:metrics",
    "campaign:read",
    "contacts:read",
    "contacts:lists:read",
    "account:read",
)
"""Privileges that the streams need."""
_PAGE = 500
_COUNTERS = {
    **{name: gates[0] for name, gates in GATES.items() if gates[0].startswith("em_")},
    f"{PREFIX}unique_opens": "em_opens",
    f"{PREFIX}did_not_opens": "em_sends",
}
"""The counter that estimates the number of a campaign's rows in each stream."""


def examine(api: ConstantContactApi, checkup: Checkup) -> None:
    """Ask for the user's privileges, for all campaigns, and for one row of each list.

    Raises:
        TapError: the credentials are refused, or Constant Contact cannot be reached.
    """
    _note_privileges(api, checkup)
    look = [f"{PREFIX}campaign_summaries", f"{PREFIX}campaign_stats"]
    campaigns = checkup.ask(look, api.campaigns)
    if campaigns is not None:
        checkup.facts["campaigns"] = len(campaigns.snapshot.summaries)
        _ask_of_a_campaign(api, checkup, campaigns)
        _estimate(api, checkup, campaigns)
    _ask_of_the_account(api, checkup)


def _note_privileges(api: ConstantContactApi, checkup: Checkup) -> None:
    try:
        have = api.privileges()
    except Denied as error:
        raise api.explain(error) from error
    except Skippable as error:
        checkup.notes.append(f"the user's privileges could not be read: {error}")
        return
    checkup.facts["privileges"] = {name: name in have for name in NEEDED}


def _ask(
    api: ConstantContactApi,
    checkup: Checkup,
    names: Sequence[str],
    work: Callable[[], Result],
) -> Result | None:
    """Return the result of a request; the user's privileges explain a refusal."""
    return checkup.ask(names, partial(api.wait, work))


def _ask_of_a_campaign(
    api: ConstantContactApi, checkup: Checkup, campaigns: CampaignCache
) -> None:
    """Ask for the lists of the first activity of the newest campaign."""
    newest = next(iter(campaigns.snapshot.summaries), None)
    if newest is None:
        checkup.notes.append("no campaign was sent yet, so no report was checked")
        return
    names = [f"{PREFIX}campaign_activities"]
    found = _ask(api, checkup, names, partial(campaigns.activities, newest))
    if not found:
        return
    client, activity = api.client, found[0]
    one = {"limit": 1}
    parse = partial(parse_page, field=TRACKED)
    tracking = partial(
        client.page, Opens.path, [activity], one, parse=parse, tries=DOCTOR_TRIES
    )
    reports = [
        name
        for name, stream in checkup.streams.items()
        if isinstance(stream, EventStream | SnapshotStream | CampaignActivityStats)
    ]
    _ask(api, checkup, [*reports, f"{PREFIX}snapshots"], tracking)
    _ask(api, checkup, names, partial(client.one, ACTIVITY, [activity]))
    history = partial(client.many, SendHistory.path, [activity])
    _ask(api, checkup, [f"{PREFIX}send_history"], history)


def _ask_of_the_account(api: ConstantContactApi, checkup: Checkup) -> None:
    """Ask for one row of each list of the account."""
    lists = {f"{PREFIX}campaigns": ("/emails", "campaigns")}
    lists[f"{PREFIX}contacts"] = ("/contacts", "contacts")
    for name, stream in checkup.streams.items():
        if isinstance(stream, AccountList):
            lists[name] = (stream.path, stream.field)
        elif isinstance(stream, Account):
            checkup.ask([name], api.account_summary)
    for name, (path, field) in lists.items():
        if name in checkup.streams:
            one = {"limit": 1}
            parse = partial(parse_page, field=field)
            page = partial(
                api.client.page, path, (), one, parse=parse, tries=DOCTOR_TRIES
            )
            _ask(api, checkup, [name], page)


def _estimate(
    api: ConstantContactApi, checkup: Checkup, campaigns: CampaignCache
) -> None:
    """Estimate the requests of the next run and of a full read."""
    parents = campaigns.parents()
    covered = [parent for parent in parents if api.policy.covers(parent)]
    count = len(parents)
    look = max(1, -(-count // LARGEST_SUMMARIES)) + -(-count // MOST_CAMPAIGNS)
    fixed = (
        1
        + look
        + sum(
            not isinstance(stream, CampaignStream)
            for stream in checkup.streams.values()
        )
    )
    everything = following = float(fixed)
    visited: set[str] = set()
    for name, stream in checkup.streams.items():
        if isinstance(stream, CampaignActivities):
            # One request for each changed campaign; in the first run all count.
            everything += len(covered)
            following += 0 if stream.bookmark.marks else len(covered)
        elif isinstance(stream, CampaignStream):
            everything += sum(_pages(campaigns, name, p.id) for p in covered)
            plan = stream.schedule.plan(
                parents, stream.bookmark, api.now(), stream.policy
            )
            visits = [*plan.live, *plan.history]
            following += sum(_requests(campaigns, name, visit) for visit in visits)
            visited |= {visit.parent.id for visit in visits}
    basis = (
        f"measured: {count} campaigns and their counters; assumed: one activity each, "
        "one page of contacts"
    )
    checkup.backfill = Estimate(round(everything) + len(covered), basis)
    due = "; the due lists are those that a run now would read"
    checkup.next_run = Estimate(round(following) + len(visited), basis + due)


def _pages(campaigns: CampaignCache, stream: str, campaign_id: str) -> float:
    """Return the number of requests for a whole read of a campaign's report."""
    if stream == f"{PREFIX}campaign_activity_stats":
        return 1 / MOST_ACTIVITIES
    counter = _COUNTERS.get(stream, "")
    if stream in {f"{PREFIX}links", f"{PREFIX}send_history"}:
        return 1
    rows = campaigns.snapshot.counters.get(campaign_id, {}).get(counter, 0)
    return max(1, -(-rows // _PAGE))


def _requests(
    campaigns: CampaignCache, stream: str, visit: Visit[str, CounterMark]
) -> float:
    """Return the number of requests of a visit: one page if it asks for new rows."""
    pages = _pages(campaigns, stream, visit.parent.id)
    return pages if visit.everything else min(1, pages)
