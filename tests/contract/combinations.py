"""The simulator in all combinations of its readings, and the contract report of each.

`python -m tests.contract.combinations encompass` makes all reports and counts the
right answers, the questions without an answer, and the wrong answers.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulator.world import World
from tap_email_metrics.inquiry import MOST_REQUESTS, Inquiry, Task
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

CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "encompass": {
        "archive_on": ("action", "date_added", "send"),
        "archived_in_total": (False, True),
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
        "count_type": ("number", "string"),
        "count_of": ("all", "page", "nothing"),
        "numbers_as_strings": (False, True),
        "nulls": ("null", "empty_dates", "zero_dates", "empty"),
        "max_rows": (0, 5),
        "delivery_date": ("last_updated", "date_sent"),
        "event_date": ("own", "date_sent"),
        "rows_order": ("date", "insertion", "descending"),
        "at_sign": ("both", "plain", "encoded"),
        "access_status": (403, 200),
        "paths": ({}, MOVED),
    },
}
"""The policies of the simulator and their values, by provider."""
SITES = {"encompass": Site, "constant_contact": Account, "luxsci": Clinic}


def product(provider: str) -> Iterator[Case]:
    """Yield every combination of a provider's readings."""
    choices = CHOICES[provider]
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def drawn(provider: str, seed: int, number: int) -> Iterator[Case]:
    """Yield random combinations, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for _ in range(number):
        yield {name: rng.choice(some) for name, some in CHOICES[provider].items()}


def pairs(cases: list[Case]) -> float:
    """Return the share of all pairs of readings that the cases cover."""
    keys = list(cases[0])
    seen = {
        (a, repr(case[a]), b, repr(case[b]))
        for case in cases
        for a, b in itertools.combinations(keys, 2)
    }
    [provider] = [name for name, some in CHOICES.items() if list(some) == keys]
    sizes = [len(some) for some in CHOICES[provider].values()]
    return len(seen) / sum(a * b for a, b in itertools.combinations(sizes, 2))


def world(provider: str, seed: int = 3) -> World:
    """Return a world with an account of one provider."""
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
    return made


def apply(made: World, provider: str, case: Mapping[str, Any]) -> None:
    """Set the policies of a world as a case says."""
    policy = dict(case)
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
    return {
        "range_field": case["messages_filter_on"],
        "range_bounds": "both" if case["bounds_inclusive"] else "neither",
        "order": orders.get(case["order"], case["order"]),
        "total": "rows",
        "archived_total": "stays" if case["archived_in_total"] else "leaves",
        "archive_clock": case["archive_on"],
        "token_life": "a day" if case["token_lifetime"] == DAY else "longer",
        "links": case["links"],
        "open_fields": "both",
        "child_range": "ignored",
        "beyond_end": "empty",
        "site_lists": "absent",
        "page_limit": "1000" if case["max_page"] == 1000 else "fewer",
        "recipient_ids": "recur",
        "limit_headers": "silent",
    }


def _constant_contact(case: Mapping[str, Any]) -> dict[str, str]:
    return {
        "next_link": "relative",
        "last_page": case["paging_end"].replace("_", " "),
        "full_page": "follows" if case["empty_last_page"] else "ends",
        "gates": "as listed",
        "resends": "sum",
        "stats_keys": case["stats_keys"],
        "counts": "texts" if case["counts_as_strings"] else "numbers",
        "aggregate": case["aggregate_percents"],
        "times": {"millis": "fractions"}.get(case["time_format"], case["time_format"]),
        "tracking_order": "newest first",
        "emails_order": case["emails_order"],
        "bounds": "inclusive" if case["after_inclusive"] else "exclusive",
        "updates": "stays",
        "unsubscribes": "stays",
    }


def _luxsci(case: Mapping[str, Any]) -> dict[str, str]:
    nulls = {"empty_dates": "empty", "zero_dates": "zero"}
    orders = {"date": "rising", "insertion": "another", "descending": "falling"}
    dates = {"last_updated": "own", "date_sent": "send", "own": "own"}
    return {
        "row_form": case["rows"],
        "header_place": case["header_at"],
        "header_form": case["header_entries"],
        "count_place": case["count_at"],
        "count_meaning": case["count_of"],
        "page_size": "cut" if case["max_rows"] else "heeded",
        "delivery_date": dates[case["delivery_date"]],
        "event_date": dates[case["event_date"]],
        "order": orders[case["rows_order"]],
        "no_date": nulls.get(case["nulls"], case["nulls"]),
        "numbers": "texts" if case["numbers_as_strings"] else "numbers",
        "at_sign": case["at_sign"],
        "tracked_headers": "adds",
        "detail": "adds",
        "where": "elsewhere" if case["paths"] else "as assumed",
    }


_COUNT = {"total": {"differs", "moves"}, "count_meaning": {"nothing", "page"}}
_LISTS = {
    "gates": {"otherwise"},
    "page_size": {"cut"},
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
    """Make a report of each case, each in a new world, and return the tally."""
    tally, site = Tally(), SITES[provider](world(provider, seed))
    for number, case in enumerate(cases):
        if number % 200 == 199:  # the clock of a world moves with each request
            site = SITES[provider](world(provider, seed))
        apply(site.world, provider, case)
        tally.add(ask(site), truth(provider, case), case)
    return tally


def usual(provider: str) -> Case:
    """Return the default policies of the simulator."""
    return {name: some[0] for name, some in CHOICES[provider].items()}


def judge_odd(provider: str, names: Iterable[str], share: float = 1.0) -> Tally:
    """Make a report of an account for each oddity, and return the tally."""
    tally, case = Tally(), usual(provider)
    for name in names:
        site = SITES[provider](world(provider))
        apply(site.world, provider, case)
        site.world.odd(name, share=share, seed=1)
        right = truth(provider, case)
        for question, readings in IN_EFFECT.get(name, {}).items():
            right[question] = {*right.get(question, set()), *readings}
        tally.add(ask(site), right, name)
    return tally


def main() -> None:
    """Make reports of all combinations of a provider, or of a random number of them."""
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
    provider, *more = sys.argv[1:]
    cases = [*drawn(provider, 1, int(more[0]))] if more else [*product(provider)]
    tally = judge(provider, cases)
    right, untold = tally.right.total(), tally.untold.total()
    covered = f"{pairs(cases):.0%} of the pairs"
    sys.stdout.write(
        f"{provider}: {len(cases)} combinations ({covered}), {right} answers right, "
        f"{untold} not told, {len(tally.wrong)} wrong; requests "
        f"{min(tally.requests)} to {max(tally.requests)}\n"
    )
    for name in sorted({*tally.right, *tally.untold}):
        sys.stdout.write(f"  {name}: {tally.right[name]} {tally.untold[name]}\n")
    for reason, number in tally.why.most_common():
        sys.stdout.write(f"  not told {number} times: {reason}\n")
    for line in [*tally.failed[:5], *tally.wrong[:20]]:
        sys.stdout.write(f"  {line}\n")


if __name__ == "__main__":
    main()
