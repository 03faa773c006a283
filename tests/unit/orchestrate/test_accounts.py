"""Many accounts: the share of a key that a run may use, and what a run reports."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrate.accounts import (
    SECRETS,
    SECTIONS,
    SHARED,
    Accounts,
    ListError,
    flat,
    is_secret,
    main,
)
from orchestrate.runs import (
    NO_SNAPSHOTS,
    Place,
    RunFailedError,
    interval,
    left_out,
    merged,
    months,
    output,
    progress,
    remarks,
    selection,
    state_of,
    summary,
    variables,
)
from orchestrate.shares import RATES, START_UP, Key, SharesError, shares
from tap_email_metrics.providers import PROVIDERS, config_schema

EXAMPLE = Path(__file__).resolve().parents[3] / "orchestrate" / "accounts.example.json"
COUNTS = st.integers(min_value=1, max_value=400)
KEYS = st.builds(
    Key,
    st.just("north"),
    st.sampled_from(sorted(RATES)),
    st.integers(min_value=1, max_value=100),
    st.none() | st.integers(min_value=1, max_value=20_000),
    st.integers(min_value=0, max_value=1_000),
    st.integers(min_value=1, max_value=40),
    st.integers(min_value=1, max_value=30),
)


def parse(**changes: Any) -> Accounts:
    found = json.loads(EXAMPLE.read_text())
    return Accounts.parse({**found, **changes})


# Shares


@given(KEYS, COUNTS)
def test_shares_add_up_to_the_limits_at_most_and_each_is_at_least_one(
    key: Key, accounts: int
) -> None:
    try:
        found = shares(key, accounts)
    except SharesError:
        assume(False)  # noqa: FBT003 -- its only argument
        return
    rate, span = RATES[key.provider]
    assert found[rate] >= 1
    assert key.at_once * found[rate] <= key.rate
    # A run that takes a free place must not start too close behind the one before.
    assert span / found[rate] <= START_UP
    if key.daily is not None:
        whole = accounts * key.runs_a_day * found["daily_requests"]
        assert found["daily_requests"] >= 1
        assert whole <= key.daily - key.reserve


@given(KEYS, COUNTS)
def test_a_limit_that_is_too_small_to_share_works_after_the_change_the_error_names(
    key: Key, accounts: int
) -> None:
    try:
        shares(replace(key, daily=None), accounts)
    except SharesError as error:
        words = str(error).split()
        at_once = int(words[words.index("at_once") + 2].strip(","))
        _, span = RATES[key.provider]
        rate = max(key.rate, -(-span // START_UP))
        shares(replace(key, daily=None, at_once=at_once, rate=rate), accounts)


def test_more_accounts_than_daily_requests_are_refused_with_the_way_out() -> None:
    key = Key("north", "constant_contact", 4, 300, 100)
    assert shares(key, 200)["daily_requests"] == 1
    with pytest.raises(SharesError, match=r"201 accounts.*Give some accounts another"):
        shares(key, 201)


def test_runs_without_a_shared_ledger_divide_the_day_by_the_number_of_runs() -> None:
    key = Key("north", "constant_contact", 4, 9_500, runs_a_day=24)
    assert shares(key, 8)["daily_requests"] == 49


# The list


def test_the_example_list_of_accounts_is_valid() -> None:
    found = Accounts.read(EXAMPLE)
    settings = found.settings("bakery")
    assert settings["constant_contact.account"] == "bakery"
    assert settings["constant_contact.requests_per_second"] == 1
    assert settings["constant_contact.daily_requests"] == 4_750
    assert found.pools()["email_metrics_agency_app"]["slots"] == 2


def test_pools_are_printed_for_airflow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(EXAMPLE) == 0
    assert json.loads(capsys.readouterr().out) == Accounts.read(EXAMPLE).pools()


def test_a_wrong_list_ends_in_one_line_of_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "accounts.json"
    file.write_text("{")
    assert main(file) == 1
    assert "is not JSON" in capsys.readouterr().err


def test_a_backfill_of_an_unknown_account_is_refused() -> None:
    found = Accounts.read(EXAMPLE)
    assert found.chosen("agency_app", []) == ["bakery", "florist"]
    assert found.chosen("agency_app", ["florist", "law_school"]) == ["florist"]
    assert found.chosen("clinic", ["florist"]) == []
    with pytest.raises(ListError, match="no account bakrey"):
        found.chosen("clinic", ["florist", "bakrey"])


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        ({"name": "bakery", "key": "nobody"}, "there is no key 'nobody'"),
        ({"name": "../up", "key": "clinic"}, "a name consists of"),
        ({"name": "a", "key": "clinic", "token": "x"}, "unknown keys: token"),
        (
            {"name": "a", "key": "clinic", "settings": {"luxsci.secret": "x"}},
            "is secret",
        ),
        (
            {"name": "a", "key": "clinic", "settings": {"luxsci.daily_requests": 9}},
            "follows from the key",
        ),
        (
            {"name": "a", "key": "clinic", "settings": {"luxsci": {"secret": "x"}}},
            "luxsci is a section",
        ),
        (
            {"name": "a", "key": "clinic", "connections": "clinic"},
            "connections must be a list",
        ),
        (
            {"name": "a", "key": "clinic", "settings": "x"},
            "settings must be an object",
        ),
    ],
)
def test_a_wrong_account_is_refused(account: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ListError, match=complaint):
        parse(accounts=[account])


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ({"provider": "mailchimp"}, "provider must be one of"),
        ({"provider": "luxsci"}, "lacks requests_per_minute"),
        ({"provider": "encompass", "requests_per_second": 0.5}, "whole number"),
        ({"provider": "encompass", "requests_per_second": 0}, "at least 1"),
    ],
)
def test_a_wrong_key_is_refused(key: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ListError, match=complaint):
        parse(keys={"k": key}, accounts=[])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"keys": []}, "keys must be an object"),
        ({"keys": {"k": "luxsci"}}, "Key k must be an object"),
        ({"accounts": {"a": {}}}, "accounts must be a list"),
        ({"accounts": ["a"]}, "Each account must be an object"),
        ({"accounts": [{"name": "a", "key": ["clinic"]}]}, "key must be a text"),
        ({"schedules": ["@daily"]}, "schedules must be an object"),
    ],
)
def test_a_list_of_another_shape_is_refused(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ListError, match=complaint):
        parse(**changes)


def test_a_list_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text("[]")
    with pytest.raises(ListError, match="the list must be an object"):
        Accounts.read(file)


def test_a_name_that_occurs_twice_in_an_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    key = '{"provider": "luxsci", "requests_per_minute": 58}'
    file.write_text(f'{{"accounts": [], "keys": {{"k": {key}, "k": {key}}}}}')
    with pytest.raises(ListError, match="The name k occurs twice"):
        Accounts.read(file)


def test_an_account_that_was_removed_is_named() -> None:
    with pytest.raises(ListError, match="There is no account bakery"):
        parse(accounts=[]).settings("bakery")


def test_two_accounts_with_the_same_name_are_refused() -> None:
    twice = [{"name": "a", "key": "clinic"}] * 2
    with pytest.raises(ListError, match="the same name: a"):
        parse(accounts=twice)


def test_every_secret_setting_of_the_tap_is_refused_in_the_list() -> None:
    found = list(leaves(config_schema(PROVIDERS)))
    secret = {name for name, schema in found if schema.get("secret")}
    limits = {name for name, _ in found if name.startswith(("daily", "requests_per"))}
    top = config_schema(PROVIDERS)["properties"]
    sections = {name for name, schema in top.items() if "properties" in schema}
    assert secret == SECRETS
    assert sections == SECTIONS
    assert limits == SHARED - {"backfill", "end_date"}


def leaves(schema: dict[str, Any]) -> Any:
    for name, one in schema["properties"].items():
        yield name, one
        if "properties" in one:
            yield from leaves(one)


# A run


PLACE = Place("meltano", Path("/project"), Path("/home"), "target-postgres")


def test_runs_share_neither_state_nor_folders() -> None:
    accounts = ["bakery", "florist", "clinic-news"]
    states = [state_of(one) for one in accounts]
    run_id = "manual__2026-02-01T00:00:00+00:00"
    states += [state_of(one, "2026-01", run_id) for one in accounts]
    assert len(set(states)) == len(states)
    commands = {tuple(PLACE.command(state)) for state in states}
    assert len(commands) == len(states)
    assert not any("--force" in command for command in commands)
    found = [PLACE.environment({}, one, state_of(one), {}) for one in accounts]
    for variable in ("MELTANO_SYS_DIR_ROOT", "XDG_STATE_HOME"):
        assert len({one[variable] for one in found}) == len(accounts)


def test_a_backfill_counts_in_the_ledger_of_its_account() -> None:
    live = PLACE.environment({}, "bakery", "bakery", {})
    month = PLACE.environment({}, "bakery", state_of("bakery", "2026-01", "x"), {})
    assert live["XDG_STATE_HOME"] == month["XDG_STATE_HOME"]
    assert live["MELTANO_SYS_DIR_ROOT"] != month["MELTANO_SYS_DIR_ROOT"]


def test_a_run_gets_no_variable_of_airflow() -> None:
    base = {"AIRFLOW_CONN_FLORIST": "secret", "AIRFLOW__X__Y": "secret", "PATH": "/bin"}
    settings = {"luxsci.logins": ["a", "b"], "start_date": "2026-01-01"}
    found = PLACE.environment(base, "bakery", "bakery", settings)
    assert "secret" not in found.values()
    assert found["PATH"] == "/bin"
    assert found["TAP_EMAIL_METRICS_LUXSCI_LOGINS"] == '["a", "b"]'
    assert found["TAP_EMAIL_METRICS_START_DATE"] == "2026-01-01"


@pytest.mark.parametrize("setting", ["FORMAT", "LEVEL", "CONFIG"])
def test_a_run_does_not_inherit_a_log_that_hides_the_summary(setting: str) -> None:
    base = {f"MELTANO_CLI_LOG_{setting}": "error", "MELTANO_ENVIRONMENT": "prod"}
    found = PLACE.environment(base, "bakery", "bakery", {})
    assert "error" not in found.values()
    assert found["MELTANO_ENVIRONMENT"] == "prod"


def test_each_run_has_its_own_folder_with_links_to_the_plugins(tmp_path: Path) -> None:
    place = replace(PLACE, project=tmp_path / "project", home=tmp_path / "home")
    (place.project / ".meltano" / "extractors").mkdir(parents=True)
    system = place.prepare("bakery")
    assert place.prepare("bakery") == system
    assert [one.name for one in system.iterdir()] == ["extractors"]
    assert (system / "extractors").is_symlink()


def test_a_project_that_was_moved_runs_its_new_plugins(tmp_path: Path) -> None:
    place = replace(PLACE, project=tmp_path / "current", home=tmp_path / "home")
    for release in ("1", "2"):
        plugins = tmp_path / release / ".meltano" / "extractors"
        plugins.mkdir(parents=True)
        place.project.unlink(missing_ok=True)
        place.project.symlink_to(tmp_path / release)
        assert (place.prepare("bakery") / "extractors").resolve() == plugins.resolve()


def test_lines_of_a_command_are_passed_on_until_it_fails(tmp_path: Path) -> None:
    said = output([sys.executable, "-c", "print('a'); exit(3)"], tmp_path, {})
    assert next(said) == "a"
    with pytest.raises(RunFailedError, match="ended with 3"):
        next(said)


def test_a_command_runs_in_the_process_group_of_its_caller(tmp_path: Path) -> None:
    own = "import os; print(os.getpgrp())"
    assert list(output([sys.executable, "-c", own], tmp_path, {})) == [
        str(os.getpgrp())
    ]


def test_boolean_settings_are_written_as_meltano_reads_them() -> None:
    assert variables({"backfill": True}) == {"TAP_EMAIL_METRICS_BACKFILL": "true"}


def test_a_backfill_leaves_out_streams_of_present_values() -> None:
    schemas = (EXAMPLE.parents[1] / "schemas").glob("*.json")
    lists = {one.stem for one in schemas if '"as_of"' in one.read_text()}
    found = variables(selection({}, {}))["TAP_EMAIL_METRICS__SELECT_FILTER"]
    # Snapshots describe the reads of other streams: without reads they have no rows.
    left_out = {f"!{name}" for name in lists - {"constant_contact_snapshots"}}
    assert set(json.loads(found)) == left_out


CONTACTS = "!constant_contact_contacts"
FILTER = "TAP_EMAIL_METRICS__SELECT_FILTER"


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"_select_filter": [CONTACTS]}, {}),
        ({"_SELECT_FILTER": json.dumps([CONTACTS])}, {}),
        ({}, {FILTER: json.dumps([CONTACTS])}),
        ({"_select_filter": [CONTACTS]}, {FILTER: '["!encompass_opens"]'}),
    ],
)
def test_a_backfill_keeps_the_accounts_own_selection(
    settings: dict[str, Any], base: dict[str, str]
) -> None:
    found = selection(merged(settings), base)["_select_filter"]
    assert found == [CONTACTS, *NO_SNAPSHOTS]


def test_a_selection_that_is_not_a_list_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a list"):
        selection({"_select_filter": {"a": 1}}, {})


def test_a_key_without_accounts_is_allowed() -> None:
    found = json.loads(EXAMPLE.read_text())
    for name in ("bakery", "florist"):
        found["accounts"] = [one for one in found["accounts"] if one["name"] != name]
        Accounts.parse(found)
    assert Accounts.parse({**found, "accounts": []}).keys_of("luxsci") == []
    shares(Key("north", "constant_contact", 4, 300, 100), 0)


@pytest.mark.parametrize(
    "setting",
    [
        *("luxsci_token", "LUXSCI.TOKEN", "Luxsci_Secret", "LUXSCI_PASSWORD"),
        *("pii_pepper", "PII.PEPPER", "luxsci.token"),
    ],
)
def test_a_secret_setting_is_refused_in_any_spelling(setting: str) -> None:
    with pytest.raises(ListError, match="is secret") as refused:
        one_account(key="clinic", settings={setting: "canary"})
    assert "canary" not in str(refused.value)
    assert is_secret(setting)


@pytest.mark.parametrize("setting", ["token_store", "luxsci.user", "pii_mode"])
def test_a_setting_that_only_resembles_a_secret_is_allowed(setting: str) -> None:
    assert not is_secret(setting)


@pytest.mark.parametrize(
    "setting", ["LUXSCI.DAILY_REQUESTS", "luxsci_requests_per_minute", "End_Date"]
)
def test_a_setting_that_follows_from_the_key_is_refused_in_any_spelling(
    setting: str,
) -> None:
    with pytest.raises(ListError, match="follows from the key"):
        one_account(key="clinic", settings={setting: 1})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"LUXSCI": {"token": "x"}}, "LUXSCI is a section"),
        ({"encompass.site_url": "x"}, "encompass.site_url belongs to another provider"),
        (
            {"CONSTANT_CONTACT_CLIENT_ID": "x"},
            "another provider than the account's key",
        ),
        ({"luxsci.user": "a", "LUXSCI_USER": "b"}, "LUXSCI_USER are the same setting"),
    ],
)
def test_sections_duplicates_and_settings_of_another_provider_are_refused(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ListError, match=said):
        one_account(key="clinic", settings=settings)
    with pytest.raises(ListError, match=said):
        flat(settings, "Connection clinic", "luxsci")


def one_account(**changes: Any) -> Accounts:
    return parse(accounts=[{"name": "north", **changes}])


def test_two_accounts_with_the_same_account_setting_are_refused() -> None:
    listed = json.loads(EXAMPLE.read_text())["accounts"]
    for value in ("bakery", " bakery "):
        listed[1]["settings"] = {"CONSTANT_CONTACT.ACCOUNT": value}
        with pytest.raises(ListError, match="bakery and florist have the same value"):
            parse(accounts=listed)
    listed[1]["settings"] = {"constant_contact.account": "clinic-news"}
    parse(accounts=listed)  # another provider writes other tables


def test_different_run_ids_never_share_a_folder() -> None:
    run_ids = [
        *("manual__2026-02-01T00:00:00+00:00", "manual--2026-02-01T00-00-00-00-00"),
        *("manual__2026-02-01T00:00:00-00:00", "a b", "a-b", "a_b", "a/b", "../b", "b"),
        *("x" * 300, "x" * 301, "", "-", "\u00e4"),
    ]
    states = [state_of("bakery", "2026-01", one) for one in run_ids]
    assert len({one.lower() for one in states}) == len(states)
    assert all(len(one) < 120 and "/" not in one for one in states)


def test_settings_of_the_list_replace_other_spellings_of_the_same_setting() -> None:
    found = merged({"LUXSCI_ACCOUNT": "theirs"}, {"luxsci.account": "ours"})
    assert variables(found) == {"TAP_EMAIL_METRICS_LUXSCI_ACCOUNT": "ours"}


def test_the_progress_of_a_backfill_is_shown() -> None:
    streams = {"a": {"outcome": "complete"}, "b": {"parents_left": 7}}
    said = {"paused": ["b"], "streams": streams}
    assert progress(said) == "1 of 2 streams, 7 lists left"


def test_a_backfill_that_waits_for_requests_shows_that() -> None:
    said = {"paused": ["all streams"], "streams": {}}
    assert progress(said) == "waits for the requests of another day"


@pytest.mark.parametrize(
    ("lists", "unread"),
    [
        ({"failed": [1, 2]}, "b: 2"),
        # A list in quarantine is tried once a day: most runs do not count it as failed.
        ({"quarantined": [1]}, "b: 1"),
        ({"failed": [1, 2], "quarantined": [2, 3]}, "b: 3"),
        # So are windows that cannot be read, and lists that lack counted rows.
        ({"failed": [1], "unsettled": 2}, "b: 3"),
        ({"set_aside": {"its id is not an integer": 2}}, ""),
        ({}, ""),
    ],
)
def test_a_backfill_names_the_streams_whose_lists_could_not_be_read(
    lists: dict[str, Any], unread: str
) -> None:
    streams = {"a": {"outcome": "complete"}, "b": {"outcome": "incomplete", **lists}}
    said = summary(json.dumps({**SAID, "streams": streams}))
    assert said is not None
    assert left_out(said) == unread


@pytest.mark.parametrize(
    ("outcomes", "unread"),
    [
        (["unavailable", "unavailable"], "all streams"),
        (["unavailable", "empty"], ""),
        ([], ""),
    ],
)
def test_a_backfill_without_access_to_any_stream_has_read_nothing(
    outcomes: list[str], unread: str
) -> None:
    streams = {str(at): {"outcome": one} for at, one in enumerate(outcomes)}
    said = summary(json.dumps({**SAID, "streams": streams}))
    assert said is not None
    assert left_out(said) == unread


def test_the_label_of_a_backfill_tells_what_another_run_would_not_mend() -> None:
    streams = {
        "a": {"outcome": "unavailable"},
        "b": {"outcome": "incomplete", "set_aside": {"one": 2, "other": 1}},
    }
    said = {**SAID, "streams": streams, "reconciliation": {"equal": 4, "differs": 5}}
    found = summary(json.dumps(said))
    assert found is not None
    assert remarks(found) == (
        "1 streams without access, 3 rows set aside, 5 lists that differ"
    )
    assert not remarks({"paused": [], "streams": {"a": {"outcome": "complete"}}})


# The summary


SAID = {
    "event": "run_summary",
    "streams": {
        "luxsci_opens": {
            "outcome": "failed",
            "records": 7,
            "requests": 3,
            "failed": ["canary@clinic.example"],
            "quarantined": [],
            "message": "canary",
            "new_word": "canary",
        }
    },
    "paused": ["luxsci_opens"],
    "behind_since": None,
    "requests": 3,
    "seconds": 1.5,
    "reconciliation": {"equal": 4},
    "differing": ["canary"],
}


def test_the_summary_is_passed_on_without_personal_data() -> None:
    line = f"2026 [info] tap-email-metrics {json.dumps(SAID)} tail"
    found = summary(line)
    assert found is not None
    assert "canary" not in json.dumps(found)
    assert found["streams"]["luxsci_opens"]["failed"] == 1
    assert found["differing"] == 1
    assert found["requests"] == 3


@pytest.mark.parametrize("line", ["", "nothing", '{"event": "run_summary", "str'])
def test_other_lines_are_not_taken_for_a_summary(line: str) -> None:
    assert summary(line) is None


# Months


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 40))
def test_months_follow_each_other_without_a_gap(day: date, count: int) -> None:
    end = day.year * 12 + day.month - 1 + count
    found = months(f"{day:%Y-%m}", f"{end // 12}-{end % 12 + 1:02}")
    assert len(found) == count + 1
    parts = [interval(month) for month in found]
    assert all(one["end_date"] == two["start_date"] for one, two in pairwise(parts))
    assert all(part["backfill"] for part in parts)


def test_a_first_month_after_the_last_month_is_refused() -> None:
    with pytest.raises(ValueError, match="later than"):
        months("2026-03", "2026-01")
