"""The simulator in combinations of its readings, and what a report says of each.

`python -m tests.contract.combinations encompass` asks a thousand combinations: some in
which every three readings meet, and others drawn by chance. It counts the right
answers, those that could not be told, and the wrong ones. `--odd` asks the usual
account in every oddity instead.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.oddities.names import ODDITIES
from simulator.world import World
from tap_email_metrics.inquiry import MOST_REQUESTS, Inquiry, Task
from tests.contract.ways import WAYS, Ways, move_campaigns
from tests.support.constant_contact import Account
from tests.support.encompass import NOW, Site
from tests.support.luxsci import Clinic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Case = dict[str, Any]
DAY = 86_400.0
MOVED = {
    "getEmailSMTPOpenReportAccount": "/account/{account}/report/email/smtp/open",
    "getEmailFeedBackLoopsReportAccount": "/account/{account}/report/email/complaints",
}

POLICIES: dict[str, dict[str, tuple[Any, ...]]] = {
    "encompass": {
        "archive_on": ("action", "date_added", "send"),
        "archived_in_total": (False, True),
        "archive_recipients": (False, True),
        "messages_filter_on": ("sent", "date_added", "scheduled"),
        "bounds_inclusive": (True, False),
        "links": ("envelope", "paged array", "whole array"),
        "max_page": (1000, 250),
        "token_lifetime": (DAY, 700 * DAY),
        "order": ("ascending", "descending", "shuffled", "reshuffled"),
    },
    "constant_contact": {
        "paging_end": (
            *("varied", "no_links", "null_links", "no_next", "null_next", "null_href"),
        ),
        "empty_last_page": (False, True),
        "stats_keys": ("underscores", "dots"),
        "counts_as_strings": (False, True),
        "aggregate_percents": ("object", "array", "absent"),
        "time_format": ("millis", "seconds", "offset"),
        "emails_order": ("updated", "created"),
        "after_inclusive": (False, True),
    },
    "luxsci": {
        "rows": ("arrays", "objects"),
        "header_entries": ("strings", "objects"),
        "header_at": ("top", "data"),
        "header_place": ("before", "after"),
        "header_order": ("page", "shuffled"),
        "header_case": ("page", "lower", "upper", "mixed"),
        "count_at": ("top", "data"),
        "count_name": ("count", "total_rows"),
        "count_type": ("number", "string"),
        "count_of": ("all", "page", "nothing"),
        "numbers_as_strings": (False, True),
        "strings_as_numbers": (False, True),
        "rows_name": ("rows", "results"),
        "error_field": ("error_message", "error"),
        "nulls": ("null", "empty_dates", "zero_dates", "empty"),
        "max_rows": (0, 5),
        "delivery_date": ("last_updated", "date_sent"),
        "event_date": ("own", "date_sent"),
        "rows_order": ("date", "insertion", "descending"),
        "at_sign": ("both", "plain", "encoded"),
        "access_status": (403, 200),
        "denied": (frozenset(), frozenset({"getReportOpened"})),
        "absent": (frozenset(), frozenset({"getAccountJobs"})),
        "paths": ({}, MOVED),
    },
}
"""What the simulator can do, by provider; its own names of it."""
CHOICES = {name: {**some, **WAYS[name]} for name, some in POLICIES.items()}
"""All readings of a provider."""
SITES = {"encompass": Site, "constant_contact": Account, "luxsci": Clinic}


def drawn(provider: str, seed: int, number: int) -> Iterator[Case]:
    """Yield combinations that are drawn by chance, the same for a seed.

    The first of several ways is as likely as all others: with too many odd ways at
    once, most questions cannot be told.
    """
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    ways = WAYS[provider]
    for _ in range(number):
        yield {
            name: rng.choice((*some, *some[:1] * (len(some) - 2) * (name in ways)))
            for name, some in CHOICES[provider].items()
        }


def covering(provider: str, seed: int, size: int = 3) -> list[Case]:
    """Return combinations in which every group of so many readings occurs.

    Each has a group that no earlier one has, and of some candidates the most of them.
    A wrong answer that takes more readings at once is found by chance only.
    """
    choices = CHOICES[provider]
    cases: list[Case] = []
    more = drawn(provider, seed, sys.maxsize)
    left = _groups(choices, size)
    while left:
        group = min(left)  # the same on each machine, as no order of a set is
        fixed = {
            name: next(v for v in choices[name] if repr(v) == text)
            for name, text in group
        }
        some = [{**next(more), **fixed} for _ in range(_CANDIDATES)]
        best = max(some, key=lambda case: sum(g in left for g in _met([case], size)))
        cases.append(best)
        left.difference_update(_met([best], size))
    return cases


_CANDIDATES = 12


Group = tuple[tuple[str, str], ...]


def _groups(choices: Mapping[str, tuple[Any, ...]], size: int) -> set[Group]:
    """Return all groups of readings of different names."""
    return {
        tuple(zip(names, map(repr, values), strict=True))
        for names in itertools.combinations(choices, size)
        for values in itertools.product(*(choices[name] for name in names))
    }


def _met(cases: Iterable[Case], size: int) -> Iterator[Group]:
    for case in cases:
        shown = [(name, repr(value)) for name, value in case.items()]
        yield from itertools.combinations(shown, size)


def covered(provider: str, cases: list[Case], size: int) -> float:
    """Return the share of all groups of so many readings that cases have."""
    groups = _groups(CHOICES[provider], size)
    return len(groups & {*_met(cases, size)}) / len(groups)


def world(provider: str, seed: int = 3, *, moved: bool = False) -> World:
    """Return a world with one provider's account.

    Args:
        provider: whose.
        seed: of the world.
        moved: the campaigns were updated by their engagement.
    """
    sizes = {"encompass": (30, 0, 0), "constant_contact": (0, 14, 0)}
    messages, campaigns, luxsci = sizes.get(provider, (0, 0, 40))
    made = World.generate(
        seed,
        messages,
        NOW,
        campaigns=campaigns,
        luxsci=luxsci,
        days_ahead=0,
        largest=1100 if provider == "encompass" else 120,
    )
    if provider == "encompass":
        for message in made.encompass.all_messages():
            if message.visible_from > NOW:
                continue
            made.encompass.correct(
                "messages",
                message.row_id,
                scheduledDateTimestamp=round((message.clocks[0] - 900) * 1000),
            )
    if moved:
        move_campaigns(made)
    return made


def apply(made: World, provider: str, case: Mapping[str, Any]) -> None:
    """Let a world behave by the policies of a case."""
    policy = {name: case[name] for name in POLICIES[provider]}
    if provider == "encompass":
        made.encompass.set_order(policy.pop("order"))
        links = policy.pop("links")
        policy["links_envelope"] = links == "envelope"
        policy["links_paged"] = links == "paged array"
        made.encompass.set_policy(**policy)
    elif provider == "constant_contact":
        made.constant_contact.set_policy(**policy)
    else:
        made.luxsci.set_policy(
            **policy, requests_per_minute=0, requests_per_day=0, auth_status=401
        )


def truth(provider: str, case: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the right readings of each question in a case."""
    return {name: {reading} for name, reading in _TRUTHS[provider](case).items()}


def _encompass(case: Mapping[str, Any]) -> dict[str, str]:
    orders = {"shuffled": "fixed", "reshuffled": "changes"}
    ignored = case["range"] == "ignored"
    life = "a day" if case["token_lifetime"] == DAY else "longer"
    return {
        **{name: case[name] for name in _OWN},
        "range_field": "ignored" if ignored else case["messages_filter_on"],
        "range_bounds": _BOUNDS[case["bounds_inclusive"], case["bounds"]],
        "order": orders.get(case["order"], case["order"]),
        "archived_total": "stays" if case["archived_in_total"] else "leaves",
        "archive_clock": case["archive_on"],
        "archived_recipients": "thin out" if case["archive_recipients"] else "stay",
        "token_life": life if case["token"] == "said" else "unsaid",
        "links": case["links"],
        "page_limit": "1000" if case["max_page"] == 1000 else "fewer",
    }


_OWN = (
    *("open_fields", "deliver_fields", "child_range", "beyond_end", "site_lists"),
    *("recipient_ids", "limit_headers", "total"),
)
"""Ways that are named like their question and its readings."""
_BOUNDS = {
    (True, "as set"): "both",
    (False, "as set"): "neither",
    (True, "from"): "from",
    (True, "to"): "to",
    # A bound that is outside already, and is moved by one, is passed by no message.
    (False, "from"): "neither",
    (False, "to"): "neither",
}


def _constant_contact(case: Mapping[str, Any]) -> dict[str, str]:
    return {
        "next_link": case["next_link"],
        "last_page": case["paging_end"].replace("_", " "),
        "full_page": "follows" if case["empty_last_page"] else "ends",
        "gates": case["gates"],
        "resends": case["resends"],
        "stats_keys": case["stats_keys"],
        "counts": "texts" if case["counts_as_strings"] else "numbers",
        "aggregate": case["aggregate_percents"],
        "times": {"millis": "fractions"}.get(case["time_format"], case["time_format"]),
        "tracking_order": case["tracking_order"],
        "emails_order": case["emails_order"],
        "bounds": "inclusive" if case["after_inclusive"] else "exclusive",
        "updates": case["updates"],
        "unsubscribes": case["unsubscribes"],
        "limit_headers": case["limit_headers"],
    }


def _luxsci(case: Mapping[str, Any]) -> dict[str, str]:
    nulls = {"empty_dates": "empty", "zero_dates": "zero"}
    orders = {"date": "rising", "insertion": "another", "descending": "falling"}
    dates = {"last_updated": "own", "date_sent": "send", "own": "own"}
    headless = case["header"] == "nowhere"
    size = "cut" if case["max_rows"] else "heeded"
    return {
        "row_form": case["rows"],
        "header_place": "nowhere" if headless else case["header_at"],
        "header_form": case["header_entries"],
        "count_place": case["count_at"],
        "count_meaning": case["count_of"],
        "page_size": "ignored" if case["matches"] == "ignored" else size,
        "page_limit": "fewer" if case["max_rows"] else "50000",
        "delivery_date": dates[case["delivery_date"]],
        "event_date": dates[case["event_date"]],
        "order": orders[case["rows_order"]],
        "no_date": nulls.get(case["nulls"], case["nulls"]),
        "numbers": "texts" if case["numbers_as_strings"] else "numbers",
        "at_sign": case["at_sign"],
        "tracked_headers": case["tracked_headers"],
        "detail": case["detail"],
        "where": "elsewhere" if case["paths"] else "as assumed",
    }


_COUNT = {"total": {"differs", "moves"}, "count_meaning": {"nothing", "page"}}
_LISTS = {
    "gates": {"otherwise"},
    "page_size": {"cut"},
    "page_limit": {"fewer"},
    "total": {"differs", "moves"},
    "last_page": {"no links"},
}
_ORDER = {"emails_order": {"another"}, "order": {"another", "by list", "fixed"}}
_LINKS = {"next_link": {"absolute", "elsewhere"}}
IN_EFFECT: dict[str, dict[str, set[str]]] = {
    **dict.fromkeys(("list_short", "list_capped"), _LISTS),
    "first_row_again": {"gates": {"otherwise"}},
    "last_row_again": {"gates": {"otherwise"}},
    **{f"total_{way}": _COUNT for way in ("high", "low", "zero", "absent", "null")},
    **{f"total_{way}": _COUNT for way in ("words", "of_page")},
    **{
        f"next_{way}": _LINKS
        for way in ("absolute", "elsewhere", "nested", "text", "list", "number")
    },
    "list_reordered": _ORDER,
    "offset_ignored": {"beyond_end": {"rows"}},
    "labels_keywords": {"header_form": {"objects"}},
}
"""Readings that an oddity makes true because it changes every answer that way."""

_TRUTHS = {
    "encompass": _encompass,
    "constant_contact": _constant_contact,
    "luxsci": _luxsci,
}


@dataclass
class Tally:
    """The answers of the reports of several cases.

    Attributes:
        right: number of right answers by question.
        untold: number of reports without an answer, by question.
        why: reasons for the lack of an answer, each with its question.
        wrong: one line for each wrong answer.
        requests: number of requests of each report.
        failed: one line for each report that did not end well.
    """

    right: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(
        self, report: Mapping[str, Any], right: Mapping[str, set[str]], case: object
    ) -> None:
        """Compare a provider's part of a report with the case."""
        self.requests.append(report["requests"])
        if report["outcome"] != "well":
            self.failed.append(f"{report['outcome']} ({case})")
        for one in report["questions"]:
            name, reading = one["question"], one["reading"]
            if reading is None:
                self.untold[name] += 1
                self.why[f"{name}: {one['why']}"] += 1
            elif reading in right.get(name, set()):
                self.right[name] += 1
            else:
                self.wrong.append(f"{name}: {reading}, not {right.get(name)} ({case})")


def ask(site: Site, most: int = MOST_REQUESTS) -> dict[str, Any]:
    """Make a report of a site and return the part about its provider."""
    report = Inquiry(site.tap(), Task(most=most)).ask()
    found: dict[str, Any] = report["providers"][site.provider]
    return found


def judge(provider: str, cases: list[Case], seed: int = 3) -> Tally:
    """Return what reports say of cases; every hundred cases have worlds of a seed."""
    tally = Tally()
    for start in range(0, len(cases), 100):
        sites: dict[bool, tuple[Site, Ways]] = {}
        for case in cases[start : start + 100]:
            moved = case.get("updates") == "moves"
            if moved not in sites:
                site = SITES[provider](world(provider, seed, moved=moved))
                sites[moved] = site, Ways(site.world, provider)
            site, ways = sites[moved]
            apply(site.world, provider, case)
            ways.case = case
            tally.add(ask(site), truth(provider, case), case)
        seed += 1
    return tally


def usual(provider: str) -> Case:
    """Return the default policies of the simulator."""
    return {name: some[0] for name, some in CHOICES[provider].items()}


def judge_odd(
    provider: str, names: Iterable[str], share: float = 1.0, seed: int = 3
) -> Tally:
    """Return what reports say of an account whose answers are odd, one way each."""
    tally, case = Tally(), usual(provider)
    site = SITES[provider](world(provider, seed))
    apply(site.world, provider, case)
    for name in names:
        site.world.odds.rules.clear()
        site.world.odd(name, share=share, seed=seed)
        right = truth(provider, case)
        for question, readings in IN_EFFECT.get(name, {}).items():
            right[question] = {*right.get(question, set()), *readings}
        tally.add(ask(site), right, name)
    return tally


def main() -> None:
    """Ask combinations of a provider, or the usual one in every oddity."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("provider", choices=CHOICES)
    parser.add_argument("--number", type=int, default=1000, help="combinations")
    parser.add_argument("--odd", action="store_true", help="every oddity instead")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
    name = given.provider
    if given.odd:
        odd = [o.name for o in ODDITIES.values() if name in o.faces]
        for share in (1.0, 0.5):
            tally = judge_odd(name, odd, share, given.seed)
            show(f"{name}: {len(odd)} oddities of {share:.0%} of the parents", tally)
        return
    cases = covering(name, given.seed)
    cases += drawn(name, given.seed, max(0, given.number - len(cases)))
    met = ", ".join(f"{covered(name, cases, n):.0%} of {n}" for n in (2, 3))
    show(f"{name}: {len(cases)} combinations ({met})", judge(name, cases, given.seed))


def show(title: str, tally: Tally) -> None:
    """Print what reports said."""
    right, untold = tally.right.total(), tally.untold.total()
    sys.stdout.write(
        f"{title}: {right} answers right, {untold} not told, {len(tally.wrong)} wrong; "
        f"requests {min(tally.requests)} to {max(tally.requests)}\n"
    )
    for name in sorted({*tally.right, *tally.untold}):
        sys.stdout.write(f"  {name}: {tally.right[name]} {tally.untold[name]}\n")
    for reason, number in tally.why.most_common():
        sys.stdout.write(f"  not told {number} times: {reason}\n")
    for line in [*tally.failed[:20], *tally.wrong[:40]]:
        sys.stdout.write(f"  {line}\n")


if __name__ == "__main__":
    main()
