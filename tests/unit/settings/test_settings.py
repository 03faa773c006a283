"""Settings: names, defaults, combinations, and the text of errors."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tap_email_metrics.errors import InvalidInput
from tap_email_metrics.providers import PROVIDERS, REPLACED, config_schema
from tap_email_metrics.providers.encompass.settings import SCHEMA, EncompassSettings
from tap_email_metrics.providers.luxsci.settings import LuxSciSettings
from tap_email_metrics.settings.check import conformed, errors, without_empty
from tap_email_metrics.settings.common import CommonSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY = 86_400.0
PROPERTY = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)

# These names and defaults must not change: users have them in their files.
COMMON: dict[str, object] = {
    "start_date": None,
    "end_date": None,
    "backfill": False,
    "max_run_minutes": 0,
    "max_lag_days": 0,
}
PII: dict[str, object] = {"mode": "plain", "pepper": None}
ENCOMPASS: dict[str, object] = {
    "site_url": None,
    "client_id": None,
    "client_secret": None,
    "region": "us",
    "api_url": None,
    "account": None,
    "activity_window_days": 365,
    "sweep_days": 90,
    "lookback_days": 2,
    "revisit": "decaying",
    "on_archive_gap": "warn",
    "max_concurrency": 4,
    "requests_per_second": 10,
    "daily_requests": None,
}
LUXSCI: dict[str, object] = {
    "auth": "secure",
    "token": None,
    "secret": None,
    "scope": "account",
    "account_id": None,
    "user": None,
    "password": None,
    "logins": None,
    "path_overrides": None,
    "openapi_path": None,
    "lookback_days": 2,
    "delivery_lookback_days": 30,
    "tracked_headers": False,
    "detail": False,
    "account": None,
    "api_url": "https://rest.luxsci.com/perl/api/v2",
    "max_concurrency": 2,
    "requests_per_minute": 60,
    "daily_requests": 5_800,
}
SECRETS = {
    *("client_secret", "pepper", "refresh_token"),
    *("token", "secret", "password"),
}
CREDENTIALS = {
    "site_url": "https://site.example.edu",
    "client_id": "1234",
    "client_secret": "secret",
}


def defaults(schema: Mapping[str, Any]) -> dict[str, object]:
    return {name: part.get("default") for name, part in schema["properties"].items()}


def objects(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects with fixed names, not those whose keys the user chooses."""
    if schema.get("properties"):
        yield schema
        for part in schema["properties"].values():
            yield from objects(part)


def parse(**section: object) -> EncompassSettings:
    parsed = EncompassSettings.parse({**CREDENTIALS, **section})
    assert parsed is not None
    return parsed


def common(now: float = NOW, **config: object) -> CommonSettings:
    return CommonSettings.parse(config, now)


# Names and defaults


def test_names_and_defaults_are_frozen() -> None:
    schema = config_schema(PROVIDERS)
    sections = {"pii", *(provider.name for provider in PROVIDERS)}
    found = defaults(schema)
    assert {k: v for k, v in found.items() if k not in sections} == COMMON
    assert set(found) == set(COMMON) | sections
    assert defaults(schema["properties"]["pii"]) == PII
    assert defaults(schema["properties"]["encompass"]) == ENCOMPASS
    assert defaults(schema["properties"]["luxsci"]) == LUXSCI
    assert list(LUXSCI) == list(schema["properties"]["luxsci"]["properties"])


def test_every_object_is_closed_and_every_setting_has_a_description() -> None:
    found = list(objects(config_schema(PROVIDERS)))
    assert len(found) == 2 + len(PROVIDERS)
    for schema in found:
        assert schema["additionalProperties"] is False
        for name, part in schema["properties"].items():
            assert part["title"], name
            assert part["description"].endswith("."), name
            assert bool(part.get("secret")) is (name in SECRETS), name
            # A section or a setting without a default may be left out.
            assert "required" not in schema


def test_the_schema_is_valid_and_a_new_object_each_time() -> None:
    Draft202012Validator.check_schema(config_schema(PROVIDERS))
    config_schema(PROVIDERS)["properties"].clear()
    assert config_schema(PROVIDERS)["properties"]


def test_the_fields_of_the_settings_are_those_of_the_schema() -> None:
    fields = [field.name for field in dataclasses.fields(EncompassSettings)]
    assert list(SCHEMA["properties"]) == list(ENCOMPASS)
    # The region only selects the URL: it has no field of its own.
    assert sorted([*fields, "region"]) == sorted(ENCOMPASS)
    wanted = {"start", "end", *(name for name in COMMON if "date" not in name)}
    found = {field.name for field in dataclasses.fields(CommonSettings)}
    assert found == wanted | {"privacy"}


def test_settings_that_are_not_given_have_their_defaults() -> None:
    parsed = dataclasses.asdict(parse())
    kept = {name: value for name, value in ENCOMPASS.items() if name != "region"}
    assert parsed == {
        **kept,
        **CREDENTIALS,
        "api_url": "https://emapi.imodules.com",
        "account": "1234",
    }
    shared = common()
    assert dataclasses.replace(shared, privacy=None) == CommonSettings(  # type: ignore[arg-type]
        start=None,
        end=None,
        backfill=False,
        max_run_minutes=0.0,
        max_lag_days=0.0,
        privacy=None,  # type: ignore[arg-type]
    )
    assert shared.privacy.mode == "plain"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse().account = "x"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        common().backfill = True  # type: ignore[misc]


# Encompass


def test_a_provider_without_credentials_is_off() -> None:
    assert EncompassSettings.parse({}) is None
    assert EncompassSettings.parse({"region": "ca", "sweep_days": 5}) is None


@pytest.mark.parametrize("missing", list(CREDENTIALS))
def test_a_provider_with_some_of_its_credentials_names_the_missing_one(
    missing: str,
) -> None:
    section = {key: value for key, value in CREDENTIALS.items() if key != missing}
    with pytest.raises(InvalidInput, match=rf"^encompass\.{missing} is missing"):
        EncompassSettings.parse(section)


def test_the_url_follows_the_region_unless_given() -> None:
    assert parse(region="ca").api_url == "https://emapi-ca.imodules.com"
    assert parse(region="ca", api_url="https://x.example/").api_url == (
        "https://x.example"
    )
    assert parse(account="one").account == "one"


@pytest.mark.parametrize("name", ["site_url", "api_url"])
@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:5000", "http://127.0.0.1:1", "http://[::1]:80/"),
        *("https://site.example.edu/", "HTTPS://Site.example.edu/path/"),
    ],
)
def test_valid_urls_are_accepted(name: str, url: str) -> None:
    assert getattr(parse(**{name: url}), name) == url.rstrip("/")


@pytest.mark.parametrize("name", ["site_url", "api_url"])
@pytest.mark.parametrize(
    "url",
    [
        *("http://canary.example.edu", "http://localhost.canary.org", "canary"),
        *("ftp://canary", "https://", "https:///canary", "https://canary:port"),
        *("https://canary:0", "https://canary@x.org", "https://u:canary@x.org"),
        *("https://x.org/?canary", "https://x.org/#canary", "https://[canary"),
        *("http://127.0.0.1.canary.org", "file:///canary", "//canary.org"),
    ],
)
def test_invalid_urls_are_refused_without_quoting_them(name: str, url: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^encompass\.{name} ") as caught:
        parse(**{name: url})
    assert "canary" not in str(caught.value)


# Common settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-01", 1_767_225_600),
        ("2026-01-01T00:00:00", 1_767_225_600),
        ("2026-01-01T00:00:00Z", 1_767_225_600),
        ("2026-01-01T05:45:00+05:45", 1_767_225_600),
    ],
)
def test_dates_without_an_offset_are_utc(text: str, seconds: int) -> None:
    assert common(start_date=text).start == seconds


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"start_date": "canary"}, "start_date is not a date"),
        ({"start_date": "2026-09-22"}, "start_date is in the future"),
        ({"start_date": "9999-12-31T23:59:59-12:00"}, "start_date"),
        ({"backfill": True, "end_date": "canary"}, "end_date is not a date"),
        ({"backfill": True}, "backfill needs"),
        ({"backfill": True, "start_date": "2026-01-01"}, "backfill needs"),
        ({"backfill": True, "end_date": "2026-01-01"}, "backfill needs"),
        ({"end_date": "2026-01-01"}, "for backfills only"),
        (
            {"backfill": True, "start_date": "2026-01-01", "end_date": "2026-01-01"},
            "must be later",
        ),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(
    config: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        common(**config)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_backfill_with_a_start_and_an_end_is_accepted() -> None:
    parsed = common(backfill=True, start_date="2026-01-01", end_date="2026-02-01")
    assert parsed.backfill
    assert (parsed.end or 0) - (parsed.start or 0) == 31 * DAY


# Validation


def test_a_full_config_is_valid() -> None:
    config = {
        "start_date": "2026-01-01",
        "pii": {"mode": "hash", "pepper": "x"},
        "encompass": {**CREDENTIALS, "requests_per_second": 0.5},
    }
    assert errors(config, config_schema(PROVIDERS)) == []
    assert errors({}, config_schema(PROVIDERS)) == []


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"batch_config": {"storage": {"root": "file:///tmp"}}},
            (
                "batch_config is refused: BATCH files would contain columns that are "
                "not selected; leave it out, records are written as RECORD messages"
            ),
        ),
        ({"startdate": "x"}, "unknown setting startdate; did you mean start_date?"),
        (
            {"encompass": {"site": 1}},
            "unknown setting encompass.site; did you mean site_url?",
        ),
        (
            {"pii": {"zzz": 1}},
            "unknown setting pii.zzz; known: ['mode', 'pepper']",
        ),
        ({"backfill": "canary"}, "backfill must be of type boolean"),
        ({"max_lag_days": -1}, "max_lag_days must be at least 0"),
        ({"pii": {"mode": "canary"}}, "pii.mode must be one of plain, hash, domain"),
        ({"encompass": "canary"}, "encompass must be of type object"),
        (
            {"encompass": {"max_concurrency": 65}},
            "encompass.max_concurrency must be at most 64",
        ),
        (
            {"encompass": {"requests_per_second": 0}},
            "encompass.requests_per_second must be above 0",
        ),
    ],
    ids=str,
)
def test_a_wrong_setting_is_described_in_one_line(
    config: dict[str, Any], line: str
) -> None:
    [found] = errors(config, config_schema(PROVIDERS))
    assert found.startswith(line)
    assert "canary" not in found


@pytest.mark.parametrize(
    ("section", "name", "line"),
    [
        *(
            (
                provider,
                "daily_reserve",
                (
                    "daily_requests is the number of requests that the tap may send: "
                    "subtract the reserve from it, and leave daily_reserve out"
                ),
            )
            for provider in ("encompass", "constant_contact", "luxsci")
        ),
        (
            "luxsci",
            "host",
            "write luxsci.api_url, as https://your.host.example/perl/api/v2",
        ),
        (
            "luxsci",
            "window_days",
            (
                "leave it out: the first window of the history is one day, and the "
                "tap adapts the length of the next ones"
            ),
        ),
    ],
)
def test_a_removed_setting_names_its_replacement(
    section: str, name: str, line: str
) -> None:
    found = errors({section: {name: "canary"}}, config_schema(PROVIDERS), REPLACED)
    assert found == [f"{section}.{name} is refused: {line}"]


def test_an_error_of_any_json_schema_rule_quotes_no_value() -> None:
    schema = {"properties": {"name": {"pattern": "^x$"}}}
    assert errors({"name": "canary"}, schema) == [
        "name does not fit the schema (pattern)"
    ]


def settings_of(schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (section, name)
        for section, part in schema["properties"].items()
        for name in part.get("properties", [""])
    ]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["canary", "canary-canary"]) | st.just({"canary": "canary"}),
    lambda inner: st.lists(inner, max_size=2) | st.just({}),
    max_leaves=3,
)


@given(st.sampled_from(settings_of(config_schema(PROVIDERS))), json_values)
@PROPERTY
def test_no_error_quotes_a_value(place: tuple[str, str], value: Any) -> None:
    section, name = place
    config = {section: {name: value} if name else value}
    for line in errors(config, config_schema(PROVIDERS)):
        assert "canary" not in line.replace(f"unknown setting {section}.canary", "")


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_true_is_not_accepted_as_a_number(kind: str) -> None:
    for name, part in SCHEMA["properties"].items():
        if kind in part["type"]:
            [found] = errors({"encompass": {name: True}}, config_schema(PROVIDERS))
            assert found == f"encompass.{name} must be of type {kind}"


# Empty values


def test_empty_values_are_left_out() -> None:
    given_config = {
        "start_date": "",
        "end_date": None,
        "backfill": False,
        "max_run_minutes": 0,
        "pii": {"mode": None, "pepper": ""},
        "encompass": {"region": "", "client_id": "1"},
        "stream_maps": {"encompass_opens": None, "x": {"y": ""}},
        "stream_map_config": {},
    }
    before = repr(given_config)
    assert without_empty(given_config) == {
        "backfill": False,
        "max_run_minutes": 0,
        "encompass": {"client_id": "1"},
        "stream_maps": {"encompass_opens": None, "x": {"y": ""}},
        "stream_map_config": {},
    }
    assert repr(given_config) == before


def test_a_decimal_becomes_a_plain_number() -> None:
    found = without_empty({"encompass": {"requests_per_second": Decimal("2.5")}})
    assert repr(found) == "{'encompass': {'requests_per_second': 2.5}}"


def test_white_space_around_a_credential_is_dropped() -> None:
    """A secret that is read from a file often ends in a line break."""
    section = {"client_secret": " abc\n", "account": "\t", "region": "us"}
    assert without_empty({"encompass": section}) == {
        "encompass": {"client_secret": "abc", "region": "us"}
    }


@pytest.mark.parametrize(
    ("section", "name", "value", "text"),
    [
        ("encompass", "client_id", 10055, "10055"),
        ("luxsci", "account_id", 7, "7"),
        ("luxsci", "token", 7.0, "7"),
        ("constant_contact", "account", 12, "12"),
        ("encompass", "sweep_days", 4.0, 4),
        ("encompass", "client_id", True, True),
        ("encompass", "client_id", 1.5, 1.5),
        ("encompass", "region", 5, 5),
        ("encompass", "requests_per_second", 2.0, 2.0),
    ],
)
def test_an_id_may_be_a_number(
    section: str, name: str, value: object, text: object
) -> None:
    """YAML and JSON files may hold an id as a number."""
    found = conformed({section: {name: value}}, config_schema(PROVIDERS))
    assert repr(found) == repr({section: {name: text}})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_an_infinite_number_is_refused(value: float) -> None:
    found = errors({"max_run_minutes": value}, config_schema(PROVIDERS))
    assert "max_run_minutes must be a finite number" in found


@given(
    st.recursive(
        st.none() | st.just("") | st.text(max_size=3) | st.integers() | st.booleans(),
        lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
@PROPERTY
def test_leaving_out_empty_values_twice_changes_nothing(value: Any) -> None:
    once = without_empty({"a": value, "b": {"c": value}})
    assert without_empty(once) == once
    assert "None" not in repr(once) or isinstance(value, (str, dict))


@pytest.mark.parametrize(
    ("name", "credentials"),
    [
        (
            "encompass",
            {"site_url": "https://x.org", "client_id": "1", "client_secret": "secret"},
        ),
        (
            "constant_contact",
            {"client_id": "key", "client_secret": "secret", "refresh_token": "token"},
        ),
        (
            "luxsci",
            {"token": "token", "secret": "secret", "account_id": "1", "auth": "key"},
        ),
    ],
)
@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{}\r\n"])
def test_white_space_around_any_providers_credentials_is_dropped(
    name: str, credentials: dict[str, str], around: str
) -> None:
    (provider,) = (one for one in PROVIDERS if one.name == name)
    spaced = {key: around.format(value) for key, value in credentials.items()}
    found = without_empty({name: {**spaced, "logins": [around.format("a")]}})
    assert found[name].pop("logins") == ["a"]
    assert provider.parse(found[name]) == provider.parse(credentials)


def test_a_credential_of_white_space_alone_counts_as_missing() -> None:
    assert without_empty({"luxsci": {"token": " \n"}}) == {}


def test_stream_maps_keep_their_white_space_and_nulls() -> None:
    maps = {"stream_maps": {"x": {"y": " 'a' ", "z": None}}}
    assert without_empty(maps) == maps


@pytest.mark.parametrize("client_id", [10055, "10055", " 10055\n"])
def test_the_client_id_may_be_a_number(client_id: object) -> None:
    section = {
        "site_url": "https://x.org",
        "client_id": client_id,
        "client_secret": "secret",
    }
    schema = config_schema(PROVIDERS)
    config = conformed(without_empty({"encompass": section}), schema)
    assert errors(config, schema) == []
    parsed = EncompassSettings.parse(config["encompass"])
    assert parsed is not None
    assert (parsed.client_id, parsed.account) == ("10055", "10055")


def test_invisible_characters_around_a_text_are_dropped() -> None:
    section = {"a": "\ufeffkey\u200b\n", "b": "\u200b \ufeff", "c": ["", " x\u2060"]}
    assert without_empty(section) == {"a": "key", "c": ["x"]}


@pytest.mark.parametrize("text", ["canary\0", "can\udce9ary"])
def test_a_text_with_half_a_character_is_refused_without_quoting_it(text: str) -> None:
    schema = config_schema(PROVIDERS)
    for name, value in (("token", text), ("logins", ["a", text])):
        (line,) = errors({"luxsci": {name: value}}, schema)
        assert line == f"luxsci.{name} has a character that is not text: write it again"


@pytest.mark.parametrize("secret", ["can\u200bary", "canary\u2019s", "can\nary"])
def test_a_credential_that_no_header_can_carry_is_named(secret: str) -> None:
    luxsci = {"auth": "api_key", "token": "t", "secret": secret, "account_id": "1"}
    login = {"client_id": "a", "client_secret": secret, "refresh_token": "r"}
    for section, name in (
        ({"luxsci": luxsci}, "luxsci.secret"),
        ({"constant_contact": login}, "constant_contact.client_secret"),
    ):
        for provider in PROVIDERS:
            if provider.name in section:
                with pytest.raises(InvalidInput, match=name) as refused:
                    provider.parse(section[provider.name])
                assert "can" not in str(refused.value).replace("cannot", "")


def test_a_file_in_the_home_of_an_unknown_user_is_refused() -> None:
    luxsci = {"token": "t", "secret": "s", "account_id": "1"}
    with pytest.raises(InvalidInput, match="openapi_path begins with ~"):
        LuxSciSettings.parse({**luxsci, "openapi_path": "~no-such-user/api.yaml"})


def test_a_start_before_all_data_counts_as_1970() -> None:
    assert common(start_date="0001-01-01").start == 0
