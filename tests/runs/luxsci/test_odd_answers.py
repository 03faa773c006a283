"""Odd answers of LuxSci: no row is lost, and no incomplete list counts as complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tap_email_metrics.clock import from_iso, iso
from tap_email_metrics.streams import window_reader
from tap_email_metrics.transport import bounds
from tests.runs.luxsci.test_reports import HOUR, clinic_of, day, outcome
from tests.support.luxsci import DAY, NOW, Clinic

if TYPE_CHECKING:
    from tests.support.luxsci import Sync

Change = Callable[[dict[str, Any], Any], Any]
OPENS = ("opens", "email_metrics_reconciliation")
DELIVERIES = ("delivery_status",)
FAILURES = ("login_failures",)
SUMMARY = ("opens_summary",)
USERS = ("users", "email_metrics_reconciliation")


def spoilt(clinic: Clinic, path: str, change: Change) -> Callable[[], None]:
    """Change each 200 of a report; return how to end it."""

    def spoil(request: Any, reply: Any) -> None:
        if reply.status == 200 and request.path.endswith(path):
            body = change(json.loads(reply.body), request)
            reply.body = body if isinstance(body, bytes) else json.dumps(body).encode()

    return clinic.world.on_reply(spoil)


def told(run: Sync, stream: str = "opens") -> list[dict[str, Any]]:
    """Return the records about lists of a stream, one per window."""
    found = run.records("email_metrics_reconciliation")
    assert found
    return [record for record in found if record["stream"] == f"luxsci_{stream}"]


def verdicts(run: Sync, stream: str = "opens") -> set[str]:
    return {record["verdict"] for record in told(run, stream)}


def labelled(relabel: Callable[[str], Any]) -> Change:
    def change(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        if body.get("header"):
            body["header"] = [relabel(label) for label in body["header"]]
        return body

    return change


# Headers

UNDERSTOOD: dict[str, Callable[[str], Any]] = {
    "titles": lambda label: label.replace("_", " ").title(),
    "hyphens": lambda label: label.replace("_", "-").upper(),
    "camel": lambda label: label.title().replace("_", ""),
    "keywords": lambda label: {"name": label.replace("_", " "), "keyword": label},
    "other keys": lambda label: {"type": "date", "label": "Of it", "code": label},
    "typed": lambda label: {"type": "to", "title": label},
}


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_labels_in_any_known_form_give_the_same_columns(form: str) -> None:
    clinic = clinic_of()
    spoilt(clinic, "/opens", labelled(UNDERSTOOD[form]))
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "complete"
    assert clinic.wrong("opens") == []


NOT_UNDERSTOOD: dict[str, Change] = {
    "unknown labels": labelled(lambda _label: "Something"),
    "one unknown label": labelled(lambda label: label.replace("open_date", "When")),
    "no labels": lambda body, _: {**body, "header": []},
    "null": lambda body, _: {**body, "header": None},
    "text": lambda body, _: {**body, "header": "to,opens"},
    "objects": labelled(lambda _label: {"x": 1}),
    "a label too few": lambda body, _: {**body, "header": body.get("header", [])[:-1]},
    "absent": lambda body, _: {k: v for k, v in body.items() if k != "header"},
    "error": lambda _body, _: {"error": "internal"},
    "error beside an empty list": lambda body, _: {
        **{k: v for k, v in body.items() if k not in {"success", "data"}},
        "data": [],
        "count": 0,
        "error_message": "internal",
    },
    "error beside success and an empty list": lambda body, _: {
        **({**body, "data": []} if "data" in body else body),
        "count": 0,
        "error": "the report is being built",
    },
    "page": lambda _body, _: b"<html>Sorry</html>",
    "list elsewhere": lambda body, _: {**body, "report": body.get("data"), "data": 0},
    "numbered rows": lambda body, request: {
        "success": 1,
        **(
            {"data": {str(n): {"x": row} for n, row in enumerate(body["data"])}}
            if is_page(request)
            else {"count": 0}
        ),
    },
    "list elsewhere, counts of 0": lambda body, request: {
        "success": 1,
        **({"report": body["data"]} if is_page(request) else {"count": 0}),
    },
    "list of texts": lambda body, _: {
        **body,
        "data": ["x"] * len(body.get("data", ())),
    },
    "objects, one known name": lambda body, _: {
        "success": 1,
        "data": [
            {
                label if label == "open_date" else f"column {place}": value
                for place, (label, value) in enumerate(
                    zip(body["header"], row, strict=True)
                )
            }
            for row in body.get("data", ())
        ],
    },
}


@pytest.mark.parametrize("form", NOT_UNDERSTOOD)
def test_an_answer_that_is_not_understood_moves_no_mark(form: str) -> None:
    """The window is read again when the answers are right."""
    clinic = clinic_of()
    heal = spoilt(clinic, "/smtp/opens", NOT_UNDERSTOOD[form])
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "incomplete"
    assert run.requests < 80
    of_smtp = [one for one in told(run) if one["parent"].startswith("smtp")]
    assert not [one for one in of_smtp if one["verdict"] == "equal" and one["api_rows"]]
    assert not any(row["channel"] == "smtp" for row in clinic.rows("opens").values())
    heal()
    clinic.advance(0.1)
    assert outcome(clinic.sync(streams=OPENS), "opens") == "complete"
    assert clinic.wrong("opens") == []


# Summaries

ONE_ROW: dict[str, Change] = {
    "an object": lambda body, _: {
        **body,
        "data": dict(zip(body["header"], body["data"][0], strict=True)),
    },
    "a flat row": lambda body, _: {**body, "data": body["data"][0]},
    "at the top": lambda body, _: {
        "success": 1,
        **dict(zip(body["header"], body["data"][0], strict=True)),
    },
}


@pytest.mark.parametrize("form", ONE_ROW)
def test_a_summary_row_that_comes_without_a_list_is_read(form: str) -> None:
    clinic = clinic_of()
    spoilt(clinic, "/opens/summary", ONE_ROW[form])
    assert clinic.sync(streams=SUMMARY).code == 0
    assert clinic.wrong("opens_summary") == []
    assert any(row["all_opens"] for row in clinic.rows("opens_summary").values())


NO_ROW: dict[str, Change] = {
    "unknown labels": labelled(lambda _label: "Something"),
    "an unknown object": lambda body, _: {**body, "data": {"x": 7}},
    "a number": lambda body, _: {**body, "data": 7},
    "success alone": lambda _body, _: {"success": 1},
    "values without a header": lambda body, _: {"success": 1, "data": body["data"]},
    "a flat row that is too long": lambda body, _: {**body, "data": [1] * 9},
    "two rows": lambda body, _: {**body, "data": body["data"] * 2},
    "a count without its row": lambda body, _: {**body, "data": [], "count": "1"},
    "no row and no count": lambda body, request: (
        {"header": body["header"], "data": []}
        if request.query["matches"] != "0"
        else body
    ),
}


@pytest.mark.parametrize("form", NO_ROW)
def test_a_day_whose_summary_is_not_understood_is_read_again(form: str) -> None:
    """It gives no row of nulls, and the day does not count as read."""
    clinic = clinic_of()
    heal = spoilt(clinic, "/opens/summary", NO_ROW[form])
    run = clinic.sync(streams=SUMMARY)
    assert run.code == 1
    assert not clinic.rows("opens_summary")
    heal()
    clinic.advance(0.1)
    assert clinic.sync(streams=SUMMARY).code == 0
    assert clinic.wrong("opens_summary") == []


def odd_on(day: str) -> Change:
    """Return a change of the summary of one day, so that it is not understood."""

    def change(body: dict[str, Any], request: Any) -> dict[str, Any]:
        return {"success": 1} if request.query["from_date"].startswith(day) else body

    return change


def test_a_summary_that_is_never_understood_holds_back_no_other_day() -> None:
    """Its day stays to be read, and each run reports it."""
    clinic = clinic_of()
    odd = day(3)[:10]
    heal = spoilt(clinic, "/opens/summary", odd_on(odd))
    for _ in range(9):
        run = clinic.sync(streams=SUMMARY)
        assert outcome(run, "opens_summary") == "incomplete"
        clinic.advance(0.5)
    days = {row["interval_start"][:10] for row in clinic.truth("opens_summary")}
    read = {row["interval_start"][:10] for row in clinic.rows("opens_summary").values()}
    assert days - read == {odd}
    heal()
    assert outcome(clinic.sync(streams=SUMMARY), "opens_summary") == "complete"
    assert clinic.wrong("opens_summary") == []


def test_only_the_odd_day_of_a_look_back_is_read_again_on_the_same_day() -> None:
    clinic = clinic_of(lookback_days=3)
    clinic.sync(streams=SUMMARY)
    clinic.advance(1)
    heal = spoilt(clinic, "/opens/summary", odd_on(day(1)[:10]))
    assert outcome(clinic.sync(streams=SUMMARY), "opens_summary") == "incomplete"
    heal()
    clinic.advance(0.1)
    again = clinic.sync(streams=SUMMARY).records("luxsci_opens_summary")
    assert [row["interval_start"][:10] for row in again] == [day(1)[:10]]
    assert clinic.wrong("opens_summary") == []


# Counts


def counted(change: Callable[[Any, Any], Any]) -> Change:
    def changed(body: dict[str, Any], request: Any) -> dict[str, Any]:
        count = change(body.pop("count", None), request)
        return body if count is ... else {**body, "count": count}

    return changed


def is_page(request: Any) -> bool:
    return bool(request.query.get("matches") != "0")


COUNTS: dict[str, Callable[[Any, Any], Any]] = {
    "text": lambda _count, _: "many",
    "null": lambda _count, _: None,
    "negative": lambda _count, _: -1,
    "absent": lambda _count, _: ...,
    "absent from pages": lambda count, asked: ... if is_page(asked) else count,
    "of pages only": lambda count, asked: count if is_page(asked) else ...,
    "0 without rows": lambda count, asked: count if is_page(asked) else 0,
    "of pages, else 0": lambda count, asked: count if is_page(asked) else 0,
    "always 0": lambda _count, _asked: 0,
}


@pytest.mark.parametrize("most", [0, 7])
@pytest.mark.parametrize("form", COUNTS)
def test_counts_that_mean_nothing_cost_no_row(form: str, most: int) -> None:
    """The count of a page is not that of the window."""
    clinic = clinic_of()
    clinic.api.set_policy(
        max_rows=most, count_of="page" if "of pages" in form else "all"
    )
    spoilt(clinic, "/opens", counted(COUNTS[form]))
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "complete"
    assert clinic.wrong("opens") == []
    clinic.advance(0.1)
    assert clinic.sync(streams=OPENS).requests <= 14 + (30 if most else 0)


def test_a_count_that_is_limited_like_a_page_hides_no_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_reader, "MOST_IN_PAGE", 5)
    clinic = clinic_of()
    spoilt(clinic, "/opens", counted(lambda count, _asked: min(count, 5)))
    run = clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []
    assert "differs" in verdicts(run)


def limited(most: int) -> Change:
    """Limit the rows of a list, and its count."""

    def change(body: dict[str, Any], request: Any) -> dict[str, Any]:
        left = max(0, most - int(request.query["first_row"]))
        if "count" in body:
            body["count"] = min(body["count"], most)
        if "data" in body:
            body["data"] = body["data"][:left]
        return body

    return change


@pytest.mark.parametrize("order", ["ascending", "descending", "insertion"])
@pytest.mark.parametrize("most_in_page", [0, 20])
def test_a_limit_of_rows_and_counts_hides_no_row_of_a_window(
    order: str, most_in_page: int
) -> None:
    """The numbers agree, but the parts of a window have more rows than it has."""
    clinic = Clinic()
    clinic.common["start_date"] = day(9)
    clinic.api.set_policy(rows_order=order, max_rows=most_in_page)
    for number in range(330):
        at = NOW - 8 * DAY + number * 1_500
        clinic.api.add_login_failure(at=at, ip="203.0.113.7")
    spoilt(clinic, "/loginfailures", limited(50))
    run = clinic.sync(streams=FAILURES)
    assert outcome(run, "login_failures") == "complete"
    assert clinic.wrong("login_failures") == []
    assert run.requests < 150


def test_a_limit_of_a_full_list_is_reported() -> None:
    """No window of time shows undated rows. The dated ones are read by windows."""
    clinic = clinic_of(500)
    for number in range(99):
        clinic.api.add_user(created=NOW - (number + 1) * DAY)
    spoilt(clinic, "/users", limited(50))
    for _ in range(2):
        run = clinic.sync(streams=USERS)
        assert outcome(run, "users") == "incomplete"
        assert not [one for one in told(run, "users") if one["parent"].endswith(" all")]
        assert clinic.wrong("users") == []
        clinic.advance(0.1)
    assert run.requests < 20


@pytest.mark.parametrize("ignores", [False, True])
def test_a_list_with_a_round_number_of_rows_is_whole(*, ignores: bool) -> None:
    """Two further requests show it, also if the API ignores the requested time."""
    clinic = Clinic()
    clinic.common["start_date"] = day(0.5)
    for number in range(50):
        at = NOW - 0.4 * DAY + number * 600
        clinic.api.add_login_failure(at=at, ip="203.0.113.7")
    bodies: dict[str, Any] = {}

    def change(body: dict[str, Any], request: Any) -> dict[str, Any]:
        kept = bodies.setdefault(request.query["matches"], body)
        return kept if ignores else body

    spoilt(clinic, "/loginfailures", change)
    run = clinic.sync(streams=FAILURES)
    assert outcome(run, "login_failures") == "complete"
    assert len(clinic.rows("login_failures")) == 50
    assert run.requests <= 6


REFUSALS = {
    "status": (400, b'{"success": 0}'),
    "failure": (200, b'{"success": 0, "error_message": "bad matches"}'),
    "denial": (403, b'{"success": 0, "error_message": "matches=0 is not allowed"}'),
}


@pytest.mark.parametrize("count_of", ["all", "page", "nothing"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_list_whose_counts_are_refused_is_read_to_an_empty_page(
    refusal: str, count_of: str
) -> None:
    clinic = clinic_of()
    clinic.api.set_policy(max_rows=7, count_of=count_of)

    def refuse(request: Any, reply: Any) -> None:
        if request.path.endswith("/opens") and not is_page(request):
            reply.status, reply.body = REFUSALS[refusal]

    clinic.world.on_reply(refuse)
    for _ in range(2):
        assert outcome(clinic.sync(streams=OPENS), "opens") == "complete"
        assert clinic.wrong("opens") == []
        clinic.advance(0.1)


def test_a_count_after_an_empty_list_is_read() -> None:
    """Each page holds its own count; the count of all rows follows an empty list."""

    def behind(body: dict[str, Any], request: Any) -> dict[str, Any]:
        if is_page(request):
            return body
        return {"success": 1, "header": [], "data": [], "count": body["count"]}

    clinic = clinic_of()
    clinic.api.set_policy(max_rows=5, count_of="page")
    spoilt(clinic, "/opens", behind)
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "complete"
    assert clinic.wrong("opens") == []
    assert verdicts(run) == {"equal"}


@pytest.mark.parametrize("off", [1, 3, -1])
def test_a_permanently_wrong_count_settles_and_is_reported_once(
    off: int, caplog: pytest.LogCaptureFixture
) -> None:
    clinic = clinic_of()
    spoilt(
        clinic,
        "/opens",
        counted(lambda count, _: max(0, count + off)),
    )
    run = clinic.sync(streams=OPENS)
    assert run.code == 0
    assert clinic.wrong("opens") == []
    assert clinic.coverage("opens", "smtp").todo == ()
    assert run.reports["luxsci_opens"]["behind_since"] > day(0.1)
    assert "differs" in verdicts(run)
    assert caplog.text.count("opens: smtp: the API counts") == 1
    requests = []
    for _ in range(24):
        clinic.advance(1 / 24)
        requests.append(clinic.sync(streams=OPENS).requests)
    # The window and, once a day in the first week, the windows settled short.
    assert max(requests) <= 2 + 2 * (4 if off > 0 else 6)
    assert sum(requests) <= 24 * (2 + (4 if off > 0 else 6)) + 6
    assert caplog.text.count("opens: smtp: the API counts") == 1
    for _ in range(20):
        clinic.advance(1)
        requests.append(clinic.sync(streams=OPENS).requests)
    assert max(requests) < 20


def test_rows_missed_by_two_reads_are_found_by_a_verification() -> None:
    """A settled shortfall is checked again, ever more rarely."""
    clinic = clinic_of(20)

    def emptied(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        return {**body, "data": []} if "data" in body else body

    heal = spoilt(clinic, "/opens", emptied)
    run = clinic.sync(streams=OPENS)
    assert "differs" in verdicts(run)
    heal()
    for _ in range(9):
        clinic.advance(1)
        clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []


def test_a_list_that_was_empty_once_is_read_again() -> None:
    """Its first sync showed no rows at all."""
    clinic = clinic_of(60)
    heal = spoilt(
        clinic,
        "/opens",
        lambda body, _: {**body, "data": [], "count": 0} if "data" in body else body,
    )
    # The counts are right: only the lists are empty.
    clinic.sync(streams=OPENS)
    heal()
    for _ in range(9):
        clinic.advance(1)
        clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []


@pytest.mark.parametrize("stream", ["opens", "opens_summary"])
def test_a_list_that_was_empty_with_its_counts_is_read_again(stream: str) -> None:
    """Its first row shows that its history may have been answered wrongly."""
    clinic = clinic_of(100)
    for back in range(10, 90, 7):
        message = clinic.api.add_message(sent=NOW - back * DAY, channel="smtp")
        clinic.api.add_open(message, at=NOW - back * DAY + 60)
    path = "/" + stream.replace("_", "/")
    heal = spoilt(clinic, path, lambda body, _: {**body, "data": [], "count": 0})
    assert outcome(clinic.sync(streams=(stream,)), stream) == "empty"
    clinic.advance(1)
    heal()
    run = clinic.sync(streams=(stream,))
    assert outcome(run, stream) == "complete"
    assert clinic.wrong(stream) == []
    clinic.advance(1)
    assert clinic.sync(streams=(stream,)).requests <= 6


def test_a_list_without_a_count_whose_pages_repeat_is_not_complete() -> None:
    """Nothing shows that the first page has all rows, which are emitted once."""
    clinic = clinic_of(5)
    whole: dict[str, list[Any]] = {}

    def ignored(body: dict[str, Any], request: Any) -> dict[str, Any]:
        body.pop("count", None)
        if "data" in body:
            key = f"{request.path} {request.query['from_date']}"
            body["data"] = whole.setdefault(key, body["data"])
        return body

    spoilt(clinic, "/opens", ignored)
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "incomplete"
    assert clinic.wrong("opens") == []
    assert run.requests < 60


@pytest.mark.parametrize("most", [1, 9])
def test_rows_of_a_repeated_page_are_emitted_once(most: int) -> None:
    """In every read the count includes the repeated page."""
    clinic = clinic_of()
    first: dict[str, list[Any]] = {}

    def repeated(body: dict[str, Any], request: Any) -> dict[str, Any]:
        window = f"{request.query['from_date']} {request.query['before_date']}"
        if body.get("data"):
            first.setdefault(window, body["data"][:most])
        rows = first.get(window, [])
        shown = rows if int(request.query["matches"]) else []
        return {**body, "data": shown, "count": 2 * len(rows)}

    heal = spoilt(clinic, "/smtp/opens", repeated)
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "incomplete"
    of_smtp = [one for one in told(run) if one["parent"].startswith("smtp")]
    assert not [one for one in of_smtp if one["verdict"] == "equal" and one["api_rows"]]
    true = {row["event_id"] for row in clinic.truth("opens")}
    assert true >= {row["event_id"] for row in clinic.rows("opens").values()}
    heal()
    clinic.advance(0.1)
    assert outcome(clinic.sync(streams=OPENS), "opens") == "complete"
    assert clinic.wrong("opens") == []


def test_rows_hidden_by_a_short_window_are_emitted_though_unchanged() -> None:
    """Only changed deliveries are emitted, and these were never emitted before."""
    clinic = clinic_of()
    clinic.sync(streams=DELIVERIES)
    message = clinic.api.add_message(sent=NOW + DAY / 2)
    clinic.advance(1)

    def hidden(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        return {**body, "data": body["data"][:-1]} if body.get("data") else body

    heal = spoilt(clinic, "/smtp/delivery", hidden)
    clinic.sync(streams=DELIVERIES)
    clinic.advance(3)
    clinic.sync(streams=DELIVERIES)
    assert not _deliveries_of(clinic, message)
    heal()
    clinic.advance(1)
    clinic.sync(streams=DELIVERIES)
    assert _deliveries_of(clinic, message)
    assert clinic.wrong("delivery_status") == []


@pytest.mark.parametrize("stream", ["sent", "delivery_status"])
@pytest.mark.parametrize("count_of", ["all", "page", "nothing"])
def test_a_row_that_comes_twice_does_not_hide_a_missing_row(
    stream: str, count_of: str
) -> None:
    """The count equals the number of rows, but one of them came twice."""
    clinic = clinic_of(60)
    for back in (45, 44):
        clinic.api.add_message(sent=NOW - back * DAY)
    clinic.api.set_policy(count_of=count_of)
    odd = clinic.world.odd("first_row_again")
    run = clinic.sync(streams=(stream, "email_metrics_reconciliation"))
    assert run.code == 0
    assert clinic.coverage(stream, "smtp").todo == ()
    found = run.records("email_metrics_reconciliation")
    assert "equal" not in {one["verdict"] for one in found if one["api_rows"]}
    assert clinic.wrong(stream) != []
    clinic.world.odds.remove(odd)
    clinic.advance(1)
    clinic.sync(streams=(stream,))
    assert clinic.wrong(stream) == []
    assert clinic.coverage(stream, "smtp").short == ()


def _without_last(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out the last row, which the count still counts."""
    return {**body, "data": body["data"][:-1]}


def _with_last_cut(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out a value of the last row, so that it fits no header."""
    return {**body, "data": [*body["data"][:-1], body["data"][-1][:-1]]}


def users_of(change: Callable[[dict[str, Any]], Any]) -> tuple[Clinic, Any]:
    """Return an account whose report of users is changed, and how to end that.

    The users were changed last before the look-back, so that only the full list, which
    is due once a week, has them.
    """
    clinic = clinic_of(500)
    for back in (50, 40):
        clinic.api.add_user(created=NOW - back * DAY)
    return clinic, spoilt(
        clinic, "/users", lambda body, _: change(body) if body.get("data") else body
    )


@pytest.mark.parametrize("change", [_without_last, _with_last_cut])
def test_a_full_list_with_a_shortfall_is_read_again_on_the_next_day(
    change: Callable[[dict[str, Any]], Any],
) -> None:
    clinic, heal = users_of(change)
    run = clinic.sync(streams=USERS)
    assert verdicts(run, "users").isdisjoint({"equal", "unknown"})
    assert clinic.wrong("users") != []
    heal()
    clinic.advance(1)
    clinic.sync(streams=USERS)
    assert clinic.wrong("users") == []
    assert clinic.coverage("users").short == ()


def test_an_undated_row_that_a_full_list_hid_is_not_counted_as_read() -> None:
    """No window of time has the row, not even one of the whole history."""
    clinic = clinic_of(1)
    clinic.settings["lookback_days"] = 4
    clinic.api.add_user(created=NOW - DAY / 2)
    clinic.api.add_user(created=NOW - DAY / 2)

    def undated(body: dict[str, Any], request: Any) -> dict[str, Any]:
        if "from_date" in request.query:
            return {**body, "data": body.get("data", [])[:1], "count": 1}
        if body.get("data"):
            body["data"][-1][body["header"].index("modified")] = None
        return _without_last(body) if hides and body.get("data") else body

    hides = True
    spoilt(clinic, "/users", undated)
    clinic.sync(streams=USERS)
    clinic.advance(0.1)
    clinic.sync(streams=USERS)
    assert clinic.coverage("users").short != ()
    hides = False
    clinic.advance(1)
    clinic.sync(streams=USERS)
    assert {key[-1] for key in clinic.rows("users")} == {2, 3}


def test_a_full_list_with_a_permanent_shortfall_is_read_ever_more_rarely() -> None:
    clinic, _ = users_of(_without_last)
    clinic.sync(streams=USERS)
    in_full = []
    for _ in range(4 * 40):
        clinic.advance(0.25)
        clinic.world.log.reset()
        clinic.sync(streams=USERS)
        asked = [
            one.query for one in clinic.world.log.entries if one.path.endswith("/users")
        ]
        in_full.append(any("from_date" not in query for query in asked))
    assert sum(in_full[:28]) == 7
    assert sum(in_full[28:]) <= 6


def test_two_permanently_equal_rows_cause_a_full_window_only_once_a_day() -> None:
    """Their window counts as short, so all its rows are emitted again."""
    clinic = clinic_of()
    old = [clinic.api.add_message(sent=NOW - back * DAY) for back in (4.7, 4.6, 4.5)]
    fields = dict(clinic.api.fields(clinic.api.delivery(old[0]).serial))
    clinic.api.add_row("delivery_status", channel="smtp", fields=fields)
    clinic.sync(streams=DELIVERIES)
    came = []
    for _ in range(4):
        clinic.advance(0.3)
        run = clinic.sync(streams=DELIVERIES)
        rows = run.records("luxsci_delivery_status")
        came.append({*old} <= {row["sendmail_id"] for row in rows})
    assert came.count(True) == 1
    assert clinic.wrong("delivery_status") == []


def _deliveries_of(clinic: Clinic, message: str) -> list[dict[str, Any]]:
    rows = clinic.rows("delivery_status").values()
    return [row for row in rows if row["sendmail_id"] == message]


# Too long


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_answer_that_is_too_long_is_read_in_parts(
    monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    """After a cut page the read continues, or requests fewer rows."""
    monkeypatch.setattr(bounds, "MOST_ANSWER", 60_000)
    clinic = Clinic()
    clinic.common["start_date"] = day(5)
    clinic.api.set_policy(header_place=place)
    for number in range(700):
        clinic.api.add_login_failure(at=NOW - 3 * DAY + number, ip="203.0.113.7")
    run = clinic.sync(streams=("login_failures",))
    assert run.code == 0
    assert outcome(run, "login_failures") == "complete"
    assert clinic.wrong("login_failures") == []


def test_a_list_that_cannot_be_read_in_any_size_fails_its_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other list is read, and the run reports the failure."""
    monkeypatch.setattr(bounds, "MOST_ANSWER", 200_000)
    clinic = clinic_of()

    def long(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        if body.get("data"):
            body["data"] = [[*row[:-1], "x" * 300_000] for row in body["data"][:1]]
        return body

    spoilt(clinic, "/smtp/opens", long)
    run = clinic.sync(streams=OPENS)
    assert run.code == 1
    assert outcome(run, "opens") == "failed"
    channels = {row["channel"] for row in clinic.rows("opens").values()}
    assert channels == {"webmail"}
    assert clinic.coverage("opens", "webmail").todo == ()
    assert run.requests < 60


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_row_that_is_too_long_fails_its_stream_and_costs_no_row_an_hour_away(
    place: str,
) -> None:
    """No request can read the row, so the run names the list."""
    clinic = clinic_of()
    clinic.api.set_policy(header_place=place)

    odd: list[Any] = []

    def long(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        rows = body.get("data") or []
        if len(rows) > 3 and not odd:
            odd.extend(rows[3])
        for row in rows:
            if row == odd:
                row[-1] = "x" * (5 * 2**20)
        return body

    spoilt(clinic, "/smtp/opens", long)
    run = clinic.sync(streams=OPENS)
    assert (run.code, outcome(run, "opens")) == (1, "failed")
    report = run.reports["luxsci_opens"]
    assert "failed" not in report
    assert report["message"].startswith("smtp: a row is too long")
    assert len(clinic.truth("opens")) - len(clinic.rows("opens")) == 1
    assert clinic.coverage("opens", "webmail").todo == ()
    [left] = clinic.coverage("opens", "smtp").todo
    assert left.seconds <= 3600
    assert run.requests < 80


# Windows that fail


def failing(clinic: Clinic, fails: Callable[[float, float], bool], status: int) -> Any:
    """Let windows of SMTP opens fail; return a function that ends it.

    Args:
        clinic: the account.
        fails: whether a window from its start to its end, in UTC seconds, fails.
        status: of the response; with 200 the body is not understood.
    """

    def fail(request: Any, reply: Any) -> None:
        if not request.path.endswith("/smtp/opens"):
            return
        ends = (request.query[name] for name in ("from_date", "before_date"))
        if fails(*(from_iso(f"{end}Z") for end in ends)):
            reply.status = status
            reply.body = b'{"success": 1, "header": ["x"], "data": [[1]]}'

    return clinic.world.on_reply(fail)


def left_out(clinic: Clinic) -> list[float]:
    """Return the dates of the opens that the target lacks, in UTC seconds."""
    have = clinic.rows("opens").values()
    known = {row["event_id"] for row in have}
    missing = [row for row in clinic.truth("opens") if row["event_id"] not in known]
    return sorted(from_iso(row["open_date"]) for row in missing)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("back", [[2.5], [0.9], [2.9, 2.3, 1.9, 0.6]])
def test_windows_that_always_fail_hold_back_no_row_an_hour_away(
    back: list[float], status: int
) -> None:
    clinic = clinic_of()
    bad = [NOW - days * DAY for days in back]
    heal = failing(
        clinic, lambda start, end: any(start <= at < end for at in bad), status
    )
    for _ in range(3):
        run = clinic.sync(streams=OPENS)
        assert outcome(run, "opens") == "incomplete"
        clinic.advance(0.01)
    assert all(any(abs(at - one) <= HOUR for one in bad) for at in left_out(clinic))
    assert run.reports["luxsci_opens"]["unsettled"] == len(bad)
    assert run.reports["luxsci_opens"]["behind_since"] <= iso(min(bad))
    heal()
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "complete"
    assert clinic.wrong("opens") == []
    assert clinic.coverage("opens", "smtp").todo == ()


def test_a_window_that_failed_is_read_after_the_others() -> None:
    clinic = clinic_of()
    bad = NOW - 2.5 * DAY
    failing(clinic, lambda start, end: start <= bad < end, 200)
    clinic.sync(streams=OPENS)
    clinic.advance(1)
    clinic.common["start_date"] = day(30)
    clinic.world.log.reset()
    clinic.sync(streams=OPENS)
    asked = [
        entry.query["from_date"]
        for entry in clinic.world.log.entries
        if entry.path.endswith("/smtp/opens")
    ]
    assert iso(bad - HOUR)[:10] == asked[-1][:10]


def test_a_list_that_only_answers_for_short_windows_is_read_in_a_few_runs() -> None:
    clinic = clinic_of()
    failing(clinic, lambda start, end: end - start > DAY / 4, 504)
    for _ in range(3):
        clinic.sync(streams=OPENS)
        clinic.advance(0.01)
    assert clinic.wrong("opens") == []
    assert clinic.coverage("opens", "smtp").todo == ()


def test_a_list_that_fails_in_all_windows_keeps_its_coverage() -> None:
    """A day of failures does not undo what was read before."""
    clinic = clinic_of()
    clinic.sync(streams=OPENS)
    before = clinic.coverage("opens", "smtp")
    failing(clinic, lambda _start, _end: True, 500)
    for _ in range(4):
        clinic.advance(0.25)
        run = clinic.sync(streams=OPENS)
        assert run.reports["luxsci_opens"]["failed"] == ["smtp"]
    after = clinic.coverage("opens", "smtp")
    assert (after.through, after.todo) == (before.through, before.todo)


# Lists and rows that were read in part


def test_a_list_that_is_refused_after_earlier_reads_is_named() -> None:
    """Rows of the other list do not make the stream complete."""
    clinic = clinic_of()
    assert outcome(clinic.sync(streams=OPENS), "opens") == "complete"
    clinic.advance(1)
    odd = clinic.world.odd("parent_404", path="smtp/opens$")
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "incomplete"
    assert run.reports["luxsci_opens"]["failed"] == ["smtp"]
    clinic.world.odds.remove(odd)
    clinic.advance(1)
    run = clinic.sync(streams=OPENS)
    assert "failed" not in run.reports["luxsci_opens"]
    assert clinic.wrong("opens") == []


def test_the_window_of_a_row_without_a_record_is_read_again() -> None:
    """Its window is read again, at first daily."""
    clinic = clinic_of(60)
    message = clinic.api.add_message(sent=NOW - 45 * DAY)
    clinic.api.add_open(message, at=NOW - 45 * DAY + 60)

    def shorten(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        if body.get("data"):
            body["data"][0] = body["data"][0][:-1]
        return body

    end = spoilt(clinic, "/opens", shorten)
    run = clinic.sync(streams=OPENS)
    assert outcome(run, "opens") == "incomplete"
    assert "set_aside" in verdicts(run)
    assert clinic.wrong("opens") != []
    end()
    clinic.advance(1)
    clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []
    assert "short" not in str(clinic.entry("opens")["lists"])


@pytest.mark.parametrize("most", [1, 1_000])
def test_rows_whose_dates_were_unreadable_are_emitted_once_they_are_readable(
    most: int,
) -> None:
    """They had ids made from another text, and are no longer news by their dates."""
    clinic, stream = clinic_of(), "delivery_status"

    def blur(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        label = "date_sent"
        place = body.get("header", [label]).index(label)
        for row in body.get("data", ())[:most]:
            row[place] = f"about {row[place]}"
        return body

    clear = spoilt(clinic, "/delivery", blur)
    for _ in range(2):
        run = clinic.sync(streams=(stream, OPENS[1]))
        assert "set_aside" in verdicts(run, stream)
        clinic.advance(1)
    clear()
    clinic.sync(streams=(stream,))
    truth = clinic.truth(stream)
    assert {row["event_id"] for row in truth} <= {
        row["event_id"] for row in clinic.rows(stream).values()
    }


def test_events_dated_by_epoch_seconds_keep_their_ids_in_the_next_run() -> None:
    """Equal events are numbered by window, so an event without a date loses its id."""
    clinic = clinic_of()
    message = clinic.api.add_message(sent=NOW - 2.9 * DAY)
    for number in range(6):
        clinic.api.add_open(message, at=NOW - (2.5 - number * 0.4) * DAY)

    def epochs(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        place = body.get("header", ["open_date"]).index("open_date")
        for row in body.get("data", ()):
            row[place] = int(from_iso(f"{row[place]}Z"))
        return body

    spoilt(clinic, "/opens", epochs)
    run = clinic.sync(streams=OPENS)
    assert len(clinic.rows("opens")) == len(clinic.truth("opens"))
    assert "set_aside" in verdicts(run)
    clinic.advance(1)
    clinic.sync(streams=OPENS)
    assert len(clinic.rows("opens")) == len(clinic.truth("opens"))


@pytest.mark.parametrize("date", ["1970-01-01 00:00:00", "0001-01-01 00:00:00"])
@pytest.mark.parametrize(
    ("stream", "field"), [("users", "modified"), ("delivery_status", "last_updated")]
)
def test_a_date_that_stands_for_no_date_leaves_no_row_out(
    stream: str, field: str, date: str
) -> None:
    """Neither the start date nor the last run is later than such a row."""
    clinic = clinic_of()
    clinic.sync(streams=(stream,))
    message = clinic.api.add_message(sent=clinic.world.clock.now())
    clinic.api.add_user("eve@clinic.example", created=clinic.world.clock.now())

    def undated(body: dict[str, Any], _request: Any) -> dict[str, Any]:
        place = body.get("header", [field]).index(field)
        for row in body.get("data", ()):
            row[place] = date
        return body

    spoilt(clinic, "/users" if stream == "users" else "/delivery", undated)
    clinic.advance(7.1 if stream == "users" else 0.1)
    clinic.sync(streams=(stream,))
    found = json.dumps([*clinic.rows(stream).values()])
    assert ("eve@clinic.example" if stream == "users" else message) in found


def test_a_date_header_in_the_future_moves_no_window() -> None:
    clinic = clinic_of(lookback_days=1)
    clinic.sync(streams=OPENS)
    clinic.advance(1)
    odd = clinic.world.odd("date_ahead")
    before = clinic.world.clock.now()
    run = clinic.sync(streams=OPENS)
    behind = from_iso(run.reports["luxsci_opens"]["behind_since"])
    assert before - DAY < behind < clinic.world.clock.now()
    clinic.world.odds.remove(odd)
    message = clinic.api.add_message(sent=clinic.world.clock.now())
    clinic.api.add_open(message, at=clinic.world.clock.now() + 60)
    clinic.advance(3)
    clinic.sync(streams=OPENS)
    assert clinic.wrong("opens") == []


def test_a_date_header_in_the_past_does_not_undo_reads() -> None:
    clinic = clinic_of(lookback_days=1)
    streams = ("opens", "clicks", "jobs", "opens_summary")
    clinic.sync(streams=streams)
    before = {name: clinic.entry(name) for name in streams}
    clinic.advance(9)
    odd = clinic.world.odd("date_behind")
    clinic.sync(streams=streams)
    for name, known in before.items():
        entry = clinic.entry(name)
        assert entry["checked_through"] >= known["checked_through"]
        for key, coverage in entry["lists"].items():
            assert coverage["through"] >= known["lists"][key]["through"]
            assert coverage["start"] == known["lists"][key]["start"]
    clinic.world.odds.remove(odd)
    clinic.advance(0.1)
    clinic.sync(streams=streams)
    assert clinic.wrong(*streams) == []


def test_no_summary_is_read_of_a_day_after_today() -> None:
    """The API's clock is 400 days ahead, and summaries are of past days."""
    clinic = clinic_of()
    clinic.world.odd("date_ahead")
    clinic.sync(streams=("opens", "opens_summary"))
    ahead = clinic.rows("opens_summary").values()
    assert ahead
    assert max(row["interval_start"] for row in ahead) < day(0)
    for key in ("smtp", "webmail"):
        assert clinic.coverage("opens", key).through <= clinic.world.clock.now()
    assert clinic.coverage("opens_summary").through <= clinic.world.clock.now()
