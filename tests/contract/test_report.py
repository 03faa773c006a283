"""The contract report: files, exit codes, and no personal data."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import requests
from click.testing import CliRunner

from scripts.generate import settings_tables
from simulator.replay import Replay, made_up
from simulator.server import serve
from simulator.world import World
from tap_email_metrics.contract.questions import Question
from tap_email_metrics.contract.report import contradicts, known_page, markdown
from tap_email_metrics.contract.shapes import shape_of
from tap_email_metrics.contract.survey import OTHER_NAMES, Survey, kind_of, safe_name
from tap_email_metrics.doctor import main
from tap_email_metrics.inquiry import Inquiry, Task
from tap_email_metrics.providers import PROVIDERS
from tap_email_metrics.providers.constant_contact.probes import COUNTED_BY
from tap_email_metrics.providers.luxsci.probes import without_values
from tests.contract.combinations import SITES, Tally, truth, usual, world
from tests.support.canaries import SIGNS, Links, Planter, leaks
from tests.support.cli import config, small_world, write
from tests.support.encompass import NOW
from tests.support.pages import DOCS
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulator.messages import Reply, Request

NAMES = tuple(SITES)


@pytest.fixture(autouse=True)
def _ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def called(*arguments: object) -> Any:
    logging.disable(logging.INFO)
    return CliRunner().invoke(main, [str(one) for one in arguments])


# Personal data


@pytest.mark.parametrize("faults", [0, 5])
@pytest.mark.parametrize("name", NAMES)
def test_no_canary_is_in_a_report_or_a_recorded_shape(
    name: str, faults: int, tmp_path: Path
) -> None:
    site = SITES[name](world(name))
    if name == "luxsci":
        site.api.set_policy(rows="objects")  # canaries are planted only into objects
    planter = Planter(site.world, name, faults=faults, extras=True)
    task = Task(record=tmp_path / "shapes", checks=3)
    report = Inquiry(site.tap(transport=Links(site.world)), task).ask()
    texts = ["\n".join(markdown(report)), json.dumps(report)]
    files = [*(tmp_path / "shapes").rglob("*.json")]
    texts += [path.read_text() for path in files]
    texts += [str(path) for path in files]
    assert leaks(texts, planter.secrets) == []
    if not faults:
        assert report["providers"][name]["outcome"] == "well"
        assert len(files) > 5
        assert "unheard_of" in texts[0]


def _said(field: dict[str, Any]) -> list[str]:
    """Return the vendor's words that a report shows for a field."""
    words: list[str] = field.get("words", [])
    return words


def test_only_words_of_listed_columns_that_occur_in_several_rows_are_shown() -> None:
    survey = Survey()
    rows = [{"id": 1, "type": "Hard", "reason": "no such user"} for _ in range(3)]
    survey.rows("encompass_bounces", [*rows, {"id": 4, "type": "Bob"}])
    found = survey.as_json()["encompass_bounces"]["fields"]
    assert found["type"]["words"] == ["Hard"]
    assert "words" not in found["reason"]


class Values:
    """Collects the texts and ids in all answers of a world."""

    def __init__(self, made: World) -> None:
        self.seen: set[str] = set()
        made.on_reply(self)

    def __call__(self, _request: Request, reply: Reply) -> None:
        if reply.body:
            self.seen |= set(_texts(json.loads(reply.body)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None and len(str(value)) > 6:
        yield str(value)


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_an_account_is_in_a_report_or_a_recorded_shape(
    name: str, tmp_path: Path
) -> None:
    site = SITES[name](world(name))
    values = Values(site.world)
    task = Task(record=tmp_path)
    report = Inquiry(site.tap(), task).ask()
    texts = [json.dumps(report), *(f.read_text() for f in tmp_path.rglob("*.json"))]
    fields = report["providers"][name]["fields"].values()
    # Labels of a header are values in an answer and names of fields as well.
    names = {part for one in fields for f in one["fields"] for part in f.split(".")}
    names |= {w for one in fields for f in one["fields"].values() for w in _said(f)}
    own = known_page((p.name, p.questions) for p in PROVIDERS)
    found = {
        one
        for one in values.seen - names
        if one not in own
        and any(f'"{one}"' in text or f" {one} " in text for text in texts)
    }
    assert len(values.seen) > 100
    assert found == set()


@pytest.mark.parametrize(
    "name", ["bob@example.com", "asked by Bob", "a" * 50, "id 7", "x20260101", "", "é"]
)
def test_a_field_name_that_may_be_a_value_is_not_shown(name: str) -> None:
    assert safe_name(name) == OTHER_NAMES


def test_the_account_is_named_only_on_request() -> None:
    site = SITES["encompass"](world("encompass"))
    client_id = site.settings["client_id"]
    said = Inquiry(site.tap(), Task(most=5)).ask()
    assert client_id not in json.dumps(said)
    said = Inquiry(site.tap(), Task(most=5, name_accounts=True)).ask()
    assert said["providers"]["encompass"]["account"] == client_id
    assert f"account {client_id}" in "\n".join(markdown(said))


# The command


def test_the_command_writes_the_report_as_markdown_and_json(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        settings = write(tmp_path, "c.json", config(server))
        out = tmp_path / "report"
        result = called("--config", settings, "--contract", "--out", out, "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said == json.loads((tmp_path / "report.json").read_text())
    text = (tmp_path / "report.md").read_text()
    assert "# Contract report" in text
    assert not SIGNS.search(text)
    assert said["providers"]["encompass"]["requests"] <= 60
    for question in said["providers"]["encompass"]["questions"]:
        assert question["asks"] in text


def test_wrong_credentials_are_exit_code_2(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        settings = write(tmp_path, "c.json", config(server, client_secret="wrong"))
        result = called(
            "--config", settings, "--contract", "--out", tmp_path / "report"
        )
    assert result.exit_code == 2
    assert "check encompass.client_secret" in result.stderr.splitlines()[-1]


def test_a_deactivated_app_of_constant_contact_is_exit_code_2() -> None:
    site = SITES["constant_contact"](world("constant_contact"))
    site.api.set_policy(deactivated=True)
    inquiry = Inquiry(site.tap(), Task())
    report = inquiry.ask()
    assert inquiry.exit_code(report) == 2
    assert "it is deactivated, or its user is" in inquiry.trouble(report)
    assert report["providers"]["constant_contact"]["requests"] <= 3


def test_a_folder_with_older_shapes_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    folder.mkdir()
    (folder / "of-another-account.txt").write_text("")
    with serve(small_world()) as server:
        settings = write(tmp_path, "c.json", config(server))
        before = server.world.log.count()
        result = called("--config", settings, "--record", folder)
        assert server.world.log.count() == before
    assert result.exit_code == 2
    assert "is not empty; name a new folder" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "path"),
    [("--out", "."), ("--out", "absent/report"), ("--record", "file/shapes")],
)
def test_a_report_that_cannot_be_written_is_refused_before_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with serve(small_world()) as server:
        settings = write(tmp_path, "c.json", config(server))
        before = server.world.log.count()
        result = called("--config", settings, "--contract", option, path)
        assert server.world.log.count() == before
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: {option}: ")


@pytest.mark.parametrize("options", [(), ("--contract",)])
def test_a_ledger_that_is_a_folder_is_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with serve(small_world()) as server:
        settings = write(tmp_path, "c.json", config(server, daily_requests=500))
        called("--config", settings)
        (ledger,) = (tmp_path / "tap-email-metrics").glob("ledger-*.json")
        ledger.unlink()
        ledger.mkdir()
        result = called("--config", settings, *options)
    assert result.exit_code == 2
    assert "is not a file, but a folder" in result.stderr.splitlines()[-1]


def test_a_provider_that_is_switched_off_is_exit_code_2(tmp_path: Path) -> None:
    with serve(small_world()) as server:
        settings = write(tmp_path, "c.json", config(server))
        result = called("--config", settings, "--contract", "--provider", "luxsci")
    assert result.exit_code == 2
    assert "none of the chosen providers is switched on" in result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_account_answers_few_questions_and_is_exit_code_0(name: str) -> None:
    site = SITES[name](World(NOW))
    inquiry = Inquiry(site.tap(), Task(checks=2))
    report = inquiry.ask()
    assert inquiry.exit_code(report) == 0
    provider = report["providers"][name]
    told = {one["question"]: one["reading"] for one in provider["questions"]}
    shown = {one: reading for one, reading in told.items() if reading}
    harmless = {"token_life", "limit_headers", "site_lists", "page_limit", "where"}
    harmless |= {"aggregate", "at_sign", "emails_order", "last_page"}
    assert shown.keys() <= harmless
    assert {one["verdict"] for one in provider["verified"]} <= {"not told", "equal"}
    for one in provider["questions"]:
        assert one["reading"] or one["why"]


def test_one_message_leaves_questions_about_order_and_totals_open() -> None:
    made = World(NOW)
    message = made.encompass.add_message(sent=NOW - 5 * 86_400)
    made.encompass.add_row("opens", message)
    report = Inquiry(SITES["encompass"](made).tap(), Task()).ask()
    told = {
        one["question"]: one["reading"]
        for one in report["providers"]["encompass"]["questions"]
    }
    untold = ("order", "total", "archive_clock", "archived_total", "recipient_ids")
    assert {told[name] for name in untold} == {None}


@pytest.mark.parametrize("name", ["constant_contact", "luxsci"])
def test_an_account_with_one_message_tells_nothing_wrong(name: str) -> None:
    made = World(NOW)
    sent = NOW - 5 * 86_400
    if name == "luxsci":
        message = made.luxsci.add_message(sent=sent)
        made.luxsci.add_open(message)
    else:
        made.constant_contact.add_campaign(sent=sent, recipients=1)
    site = SITES[name](made)
    inquiry = Inquiry(site.tap(), Task())
    report = inquiry.ask()
    assert inquiry.exit_code(report) == 0
    tally = Tally()
    tally.add(report["providers"][name], truth(name, usual(name)), name)
    assert tally.wrong == tally.failed == []
    told = tally.right.keys()
    assert not told & {"order", "emails_order", "tracking_order", "event_date"}


def test_a_spent_budget_is_named_and_is_exit_code_0() -> None:
    site = SITES["constant_contact"](world("constant_contact"))
    site.settings["daily_requests"] = 4
    inquiry = Inquiry(site.tap(), Task())
    report = inquiry.ask()
    assert inquiry.exit_code(report) == 0
    questions = report["providers"]["constant_contact"]["questions"]
    assert any("spent" in one["why"] for one in questions)


def test_denied_luxsci_reports_are_named_and_are_exit_code_0() -> None:
    site = SITES["luxsci"](world("luxsci"))
    operations = {one.operation for one in _endpoints()}
    site.api.set_policy(denied=frozenset(operations))
    inquiry = Inquiry(site.tap(), Task())
    report = inquiry.ask()
    assert inquiry.exit_code(report) == 0
    paths = report["providers"]["luxsci"]["paths"]
    assert {status for one in paths.values() for status in one.values()} == {"denied"}


def test_a_denied_path_is_requested_once() -> None:
    site = SITES["constant_contact"](world("constant_contact"))
    site.api.set_policy(privileges=())
    report = Inquiry(site.tap(), Task()).ask()
    assert report["providers"]["constant_contact"]["requests"] <= 9
    asked = [entry.path for entry in site.world.log.entries if entry.method == "GET"]
    assert len(asked) == len(set(asked))


def _endpoints() -> Any:
    from simulator.luxsci.facts import ENDPOINTS  # noqa: PLC0415

    return ENDPOINTS


def test_a_moved_luxsci_report_is_found_and_can_be_used_as_path_override() -> None:
    site = SITES["luxsci"](world("luxsci"))
    operation = "getEmailSMTPOpenReportAccount"
    moved = "/account/{account}/report/email/smtp/opened"
    site.api.set_policy(paths={operation: moved})
    report = Inquiry(site.tap(), Task()).ask()
    found = report["providers"]["luxsci"]["path_overrides"]
    assert found == {operation: moved}
    site.settings["path_overrides"] = found
    assert site.sync(streams=("opens",)).code == 0
    text = "\n".join(markdown(report))
    assert f'"{operation}": "{moved}"' in text


def test_one_unknown_login_does_not_speak_for_the_others() -> None:
    site = SITES["luxsci"](world("luxsci"))
    site.settings["logins"] = ["nobody@clinic.example", *site.settings["logins"]]
    report = Inquiry(site.tap(), Task()).ask()
    provider = report["providers"]["luxsci"]
    assert provider["path_overrides"] == {}
    assert "missing" not in provider["paths"]["getReportLogs"].values()
    told = {one["question"]: one["reading"] for one in provider["questions"]}
    assert told["at_sign"] == "both"
    assert told["where"] == "as assumed"
    assert told["detail"] == "adds"


@pytest.mark.parametrize(
    ("rows", "told"), [(0, "50000"), (20, "fewer"), (45, "fewer"), (60, "50000")]
)
def test_a_short_page_with_rows_behind_it_shows_the_limit_of_pages(
    rows: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_email_metrics.providers.luxsci.probes.MOST_IN_PAGE", 46)
    site = SITES["luxsci"](world("luxsci"))
    site.api.set_policy(max_rows=rows)
    report = Inquiry(site.tap(), Task()).ask()
    questions = report["providers"]["luxsci"]["questions"]
    [found] = [one for one in questions if one["question"] == "page_limit"]
    assert found["reading"] == told


def test_a_login_in_a_path_of_the_settings_is_not_in_the_report() -> None:
    path = "/user/bob@clinic.example/report/12345/email/smtp/opens"
    assert without_values(path) == "/user/{login}/report/{account}/email/smtp/opens"
    assert without_values("/marketing/v3/lists") == "/marketing/v3/lists"


# Verification

LUXSCI = ("sent", "delivery_status", "opens")
"""What a run reads before LuxSci is verified: all reports would take long."""


@pytest.mark.parametrize("name", NAMES)
def test_verified_lists_are_equal_in_two_reads_and_to_the_state(name: str) -> None:
    site = SITES[name](world(name))
    site.sync(streams=LUXSCI if name == "luxsci" else ())
    before = json.dumps(site.state, sort_keys=True)
    report = Inquiry(site.tap(), Task(questions=False, checks=6)).ask()
    found = report["providers"][name]["verified"]
    assert {one["verdict"] for one in found} == {"equal"}
    read = {"luxsci": "read whole"}
    assert any(one["in_state"] == read.get(name, one["rows"]) for one in found)
    assert any(one["rows"] for one in found)
    assert json.dumps(site.state, sort_keys=True) == before


def test_a_campaign_whose_rows_are_gone_differs_from_the_state() -> None:
    site = SITES["constant_contact"](world("constant_contact"))
    site.sync()
    for campaign in site.api.campaigns.values():
        for activity in campaign.activities:
            for kind in COUNTED_BY.keys() - {"sends"}:
                for event in activity.lists[kind].listed(site.world.clock.now()):
                    site.api.remove_event(event.serial)
    report = Inquiry(site.tap(), Task(questions=False, checks=12)).ask()
    found = report["providers"]["constant_contact"]["verified"]
    assert any("the state says that" in one["why"] for one in found)


def test_a_row_that_a_whole_window_missed_differs_from_the_state() -> None:
    site = SITES["luxsci"](world("luxsci"))
    site.sync(streams=LUXSCI)
    for name in LUXSCI:
        for coverage in site.entry(name)["lists"].values():
            coverage["newest"] = "2020-01-01T00:00:00Z"
    report = Inquiry(site.tap(), Task(questions=False, checks=6)).ask()
    found = report["providers"]["luxsci"]["verified"]
    assert any("the state says read whole" in one["why"] for one in found)


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("encompass", "list_short"),
        ("constant_contact", "list_capped"),
        ("luxsci", "list_capped"),
    ],
)
def test_a_list_that_lacks_rows_is_not_verified_as_equal(name: str, odd: str) -> None:
    site = SITES[name](world(name))
    site.world.odd(odd)
    report = Inquiry(site.tap(), Task(questions=False, checks=5)).ask()
    found = report["providers"][name]["verified"]
    assert "differs" in {one["verdict"] for one in found}
    long = [one for one in found if one["verdict"] == "equal" and one["rows"] > 2]
    assert long == []


def test_a_count_that_no_read_reaches_is_named() -> None:
    site = SITES["encompass"](world("encompass"))
    site.world.odd("total_high")
    report = Inquiry(site.tap(), Task(questions=False, checks=4)).ask()
    found = report["providers"]["encompass"]["verified"]
    assert any("the API counts" in one["why"] for one in found)


def test_a_state_with_more_rows_than_the_list_differs() -> None:
    site = SITES["encompass"](world("encompass"))
    site.sync()
    for message in site.api.all_messages():
        for kind in ("opens", "clicks", "bounces", "delivers", "recipients"):
            for row in site.api.places(kind, message.row_id, site.world.clock.now()):
                site.api.delete(kind, row.row_id, message_id=message.row_id)
    report = Inquiry(site.tap(), Task(questions=False, checks=4)).ask()
    found = report["providers"]["encompass"]["verified"]
    assert any("the state says that" in one["why"] for one in found)


# Settled answers


def test_an_answer_that_contradicts_a_settled_one_is_marked() -> None:
    question = Question(
        name="q", asks="?", readings={"a": "", "b": ""}, does="", how="", expects="a"
    )
    settled = Question(
        name="q",
        asks="?",
        readings={"a": "", "b": ""},
        does="",
        how="",
        expects="a",
        confirmed="2026-01-01",
    )
    assert not contradicts(question, "b")
    assert contradicts(settled, "b")
    assert not contradicts(settled, "a")
    assert not contradicts(settled, None)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_the_table_of_questions_is_complete(provider: Any) -> None:
    names = [question.name for question in provider.questions]
    assert len(set(names)) == len(names)
    for question in provider.questions:
        assert question.expects is None or question.expects in question.readings
        assert question.does
        assert question.how
        assert len(question.readings) > 1 or question.probe


#: What the vendors leave open, and the questions that ask it.
OPEN = {
    "encompass": {
        "lifetime of a token: two years in a sample, 24 hours seen by customers": (
            *("token_life", "lifetime_in_fact"),
        ),
        "status and body of a refused authentication": ("refusals",),
        "401, 403, 429, 500 and 502 with a `message`": ("refusals",),
        "a gateway's limit of 29 seconds, and a 200 with a `message`": ("refusals",),
        "rate limits: none is documented": ("limit_headers",),
        "lists of the whole site": ("site_lists",),
        "links: a bare array in clients, paged on the vendor's page": ("links",),
        "a server that sends fewer rows than asked for": ("page_limit",),
        "the field that the range of messages filters, and its bounds": (
            *("range_field", "range_bounds"),
        ),
        "a range in the lists of a message": ("child_range",),
        "the order of rows": ("order",),
        "a total that drifts from page to page": ("total",),
        "an index behind the last row": ("beyond_end",),
        "ids of recipients that recur in other messages": ("recipient_ids",),
        "dateAdded and userAgent of opens": ("open_fields",),
        "the fields of delivers": ("deliver_fields",),
        "the words for types of bounces": ("bounce_types",),
        "the clock of the archive": ("archive_clock",),
        "archived rows in the total": ("archived_total",),
        "recipients in the archive": ("archived_recipients",),
    },
    "constant_contact": {
        "rotating and long-lived refresh tokens": ("refresh_tokens",),
        "an expired or used refresh token": ("refused_refresh",),
        "two meanings of 429, two forms of errors": ("refusals",),
        "headers about limits: none is documented": ("limit_headers",),
        "the link to the next page": ("next_link",),
        "a missing or null `_links`, `next` or `href` at the end": (
            *("last_page", "full_page"),
        ),
        "a cursor that hides an offset": ("page_shift",),
        "counts as texts": ("counts",),
        "aggregate_percents": ("aggregate",),
        "150 campaigns in a request for stats": ("stats_batch",),
        "the counter of each report": ("gates",),
        "the counters of a campaign with a resend": ("resends",),
        "dots in the names of counters": ("stats_keys",),
        "coarse times of events": ("times",),
        "events newest first": ("tracking_order",),
        "opens of proxies that are taken out": ("proxy_opens",),
        "updated_at of a campaign with new engagement": ("updates",),
        "how often stats are refreshed": ("counter_age",),
        "how long reports are kept": ("retention",),
        "after_date, and the order of campaigns": ("bounds", "emails_order"),
        "updated_after misses contacts that unsubscribe": ("unsubscribes",),
    },
    "luxsci": {
        "paths of the reports": ("where",),
        "the `@` of a login in a signed path": ("at_sign",),
        "lifetime of an auth code": ("code_life",),
        "how far the clocks may differ": ("allowed_skew",),
        "how an auth code is revoked": ("revocation",),
        "status of throttling, texts and field of errors": ("refusals",),
        "numbers as texts": ("numbers",),
        "the meaning of dates in the bounds": ("delivery_date", "event_date"),
        "50,000 rows or 50 MB in a page": ("page_limit", "page_size"),
        "what rows are sorted by": ("order",),
        "rows as arrays or objects": ("row_form",),
        "where the header is, and what its entries are": (
            *("header_place", "header_form"),
        ),
        "where the count is, and what it counts": ("count_place", "count_meaning"),
        "captured headers": ("tracked_headers",),
        "the parameter for custom fields": ("detail",),
        "empty and zero dates": ("no_date",),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_every_open_point_is_a_question_and_on_the_page(name: str) -> None:
    [provider] = [one for one in PROVIDERS if one.name == name]
    asked = {question for some in OPEN[name].values() for question in some}
    assert {question.name for question in provider.questions} == asked
    page = (DOCS / "known.md").read_text("utf-8")
    for question in provider.questions:
        assert f"### {question.asks}\n" in page
        assert question.does in page
        assert question.how in page
        for says in question.readings.values():
            assert says in page


def test_the_settings_table_marks_what_a_confirmed_answer_makes_unnecessary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [provider] = [one for one in PROVIDERS if one.name == "luxsci"]
    confirmed = tuple(
        replace(one, expects="own", confirmed="2026-01-01")
        if one.name == "delivery_date"
        else one
        for one in provider.questions
    )
    assert "Unnecessary" not in settings_tables()
    monkeypatch.setattr(type(provider), "questions", confirmed)
    [row] = [line for line in settings_tables().splitlines() if "Unnecessary" in line]
    assert row.startswith("| `luxsci.delivery_lookback_days` |")
    assert "confirmed on 2026-01-01" in row
    page = known_page([("LuxSci", confirmed)])
    assert "`own`: the last update (confirmed on 2026-01-01)" in page
    assert "these settings are unnecessary: `luxsci.delivery_lookback_days`" in page


# Shapes


@pytest.mark.parametrize("name", NAMES)
def test_a_body_made_of_a_recorded_shape_has_that_shape(
    name: str, tmp_path: Path
) -> None:
    site = SITES[name](world(name))
    Inquiry(site.tap(), Task(record=tmp_path)).ask()
    files = [json.loads(file.read_text()) for file in tmp_path.rglob("*.json")]
    shapes = [shape for file in files for shape in file["shapes"]]
    assert len(shapes) > 10
    for shape in shapes:
        assert shape_of(made_up(shape, itertools.count(1))) == shape


def test_the_simulator_answers_in_recorded_shapes(tmp_path: Path) -> None:
    site = SITES["encompass"](world("encompass"))
    Inquiry(site.tap(), Task(record=tmp_path)).ask()
    again = SITES["encompass"](World(NOW))
    again.world.replay = Replay(tmp_path)
    report = Inquiry(again.tap(), Task()).ask()
    provider = report["providers"]["encompass"]
    assert provider["outcome"] == "well"
    assert provider["fields"]["encompass_messages"]["rows"] > 0
    assert again.sync(streams=("encompass_messages",)).code == 0


def test_the_simulator_command_replays_a_folder_of_shapes(tmp_path: Path) -> None:
    site = SITES["encompass"](world("encompass"))
    Inquiry(site.tap(), Task(record=tmp_path)).ask()
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--size",
        "0",
        "--replay",
        str(tmp_path),
    ]
    with subprocess.Popen(  # noqa: S603 - our own simulator
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as simulator:
        try:
            assert simulator.stdout is not None
            url = simulator.stdout.readline().strip()
            answer = requests.get(f"{url}/v2/messages", timeout=30).json()
        finally:
            simulator.terminate()
    recorded = [json.loads(file.read_text()) for file in tmp_path.rglob("*.json")]
    [shapes] = [one["shapes"] for one in recorded if one["path"] == "/v2/messages"]
    assert shape_of(answer) in shapes


def test_no_shape_is_recorded_without_the_option(tmp_path: Path) -> None:
    site = SITES["encompass"](world("encompass"))
    Inquiry(site.tap(), Task()).ask()
    assert [path for path in tmp_path.rglob("*") if "shape" in path.name] == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "boolean"),
        (7, "integer"),
        (1_767_225_600_000, "epoch milliseconds"),
        ("", "empty text"),
        ("7", "number as text"),
        ("2026-01-01", "YYYY-MM-DD"),
        ("0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        ("2026-01-01T00:00:00.123Z", "YYYY-MM-DDThh:mm:ss.fZ"),
        ("Bob", "text"),
        ([], "list"),
        ({}, "object"),
    ],
)
def test_the_recorded_type_of_a_value_does_not_reveal_it(
    value: object, kind: str
) -> None:
    assert kind_of(value) == kind
