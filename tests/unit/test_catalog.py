"""The selection of a catalog, new or old, and catalogs that are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from singer_sdk.singerlib import Catalog

from tap_email_metrics.catalog import Facts, Understood, read_catalog
from tap_email_metrics.errors import InvalidInput

OPENS = "opens"
COLUMNS = ("id", "at", "ip", "extra")
KNOWN = {
    OPENS: Facts(columns=COLUMNS, key=("id",), replication_key="at"),
    "clicks": Facts(columns=("id",), key=("id",), replication_key=None),
}
TEXT = {"type": ["string", "null"]}
Entry = dict[str, Any]


def entry(*, metadata: Any = None, **changes: Any) -> Entry:
    """Return a fully selected entry with some parts changed; None removes a part."""
    root = {"breadcrumb": [], "metadata": {"selected-by-default": True}}
    automatic = {"breadcrumb": ["properties", "id"], "metadata": {}}
    automatic["metadata"] = {"inclusion": "automatic"}
    made = {
        "tap_stream_id": OPENS,
        "stream": OPENS,
        "schema": {"type": "object", "properties": dict.fromkeys(COLUMNS, TEXT)},
        "key_properties": ["id"],
        "replication_key": "at",
        "replication_method": "INCREMENTAL",
        "metadata": [root, automatic, *(metadata or ())],
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def item(breadcrumb: Any, **metadata: Any) -> dict[str, Any]:
    marks = {name.replace("_", "-"): value for name, value in metadata.items()}
    return {"breadcrumb": breadcrumb, "metadata": marks}


def schema(**columns: Any) -> dict[str, Any]:
    every = dict.fromkeys(COLUMNS, TEXT) | columns
    kept = {name: part for name, part in every.items() if part is not None}
    return {"type": "object", "properties": kept}


def understood(*entries: Entry) -> Understood:
    return read_catalog({"streams": list(entries)}, KNOWN)


def selected(given: Entry) -> set[str]:
    """Return the selected columns as the SDK finds them."""
    made = Catalog.from_dict(understood(given).catalog)[OPENS]
    mask = made.metadata.resolve_selection()
    return {name for name in COLUMNS if mask["properties", name]}


def refusal(*entries: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_catalog({"streams": list(entries)}, KNOWN)
    line = str(caught.value)
    assert line.startswith("--catalog: ")
    assert "\n" not in line
    return line


def test_an_unchanged_catalog_of_discovery_selects_everything() -> None:
    given = entry()
    before = copy.deepcopy(given)
    assert selected(given) == set(COLUMNS)
    assert understood(given).selected == [OPENS]
    assert given == before


# Columns that only one side has


def test_a_column_that_the_catalog_lacks_is_not_selected_and_is_named() -> None:
    """Targets refuse a record with a column that its SCHEMA message does not have."""
    given = entry(schema=schema(ip=None, extra=None))
    assert selected(given) == {"id", "at"}
    assert understood(given).new == {OPENS: ["ip", "extra"]}


def test_a_column_that_the_tap_lacks_stays_in_the_schema_and_is_named() -> None:
    found = understood(entry(schema=schema(old=TEXT)))
    assert found.gone == {OPENS: ["old"]}
    assert "old" in found.catalog["streams"][0]["schema"]["properties"]


def test_columns_of_a_deselected_stream_are_not_named() -> None:
    given = entry(schema=schema(ip=None, id=None), metadata=[item([], selected=False)])
    found = understood(given)
    assert (found.selected, found.new, found.gone) == ([], {}, {})


# Older ways to write a selection: each deselects ip


@pytest.mark.parametrize(
    "given",
    [
        entry(metadata=[item(["properties", "ip"], selected=False)]),
        entry(metadata=[item(["properties", "ip"], inclusion="unsupported")]),
        entry(metadata=[item("properties.ip", selected=False)]),
        entry(metadata=[item('["properties", "ip"]', selected=False)]),
        entry(schema=schema(ip={**TEXT, "selected": False})),
        entry(schema=schema(ip={**TEXT, "inclusion": "unsupported"})),
        entry(metadata=[item(["properties", "ip"], selected=False)] * 2),
        entry(metadata=[item(["properties", "ip"], selected_by_default=False)]),
        {
            "tap_stream_id": OPENS,
            "schema": schema(ip={**TEXT, "selected": False}),
            "metadata": None,
        },
        {"tap_stream_id": OPENS, "schema": schema(ip={**TEXT, "selected": False})},
        {
            "tap_stream_id": OPENS,
            "schema": schema(),
            "metadata": [item("properties.ip", selected=False)],
        },
    ],
    ids=str,
)
def test_a_deselected_column_is_left_out_however_it_is_written(given: Entry) -> None:
    assert selected(given) == set(COLUMNS) - {"ip"}
    assert understood(given).selected == [OPENS]


@pytest.mark.parametrize(
    "given",
    [
        entry(selected=False),
        entry(schema={**schema(), "selected": False}),
        entry(metadata=[item([], selected=False)]),
        entry(metadata=[item("", selected=False)]),
        entry(metadata=[item("[]", selected=False)]),
        {"tap_stream_id": OPENS, "schema": schema(), "selected": False},
    ],
    ids=str,
)
def test_a_deselected_stream_is_left_out_however_it_is_written(given: Entry) -> None:
    assert selected(given) == set()
    assert understood(given).selected == []


@pytest.mark.parametrize(
    "given",
    [
        {"tap_stream_id": OPENS, "schema": schema()},
        {"tap_stream_id": OPENS, "schema": schema(), "metadata": None},
        {"tap_stream_id": OPENS, "schema": schema(), "stream": None},
        {"tap_stream_id": OPENS, "schema": schema(), "selected": True},
        {"tap_stream_id": OPENS, "schema": {**schema(), "selected": True}},
        entry(metadata=[{"breadcrumb": ["properties", "ip"], "metadata": None}]),
    ],
    ids=str,
)
def test_columns_without_a_selection_are_selected(given: Entry) -> None:
    assert selected(given) == set(COLUMNS)
    assert understood(given).catalog["streams"][0]["key_properties"] == ["id"]


def test_a_property_of_an_object_column_can_be_deselected() -> None:
    part = {"type": "object", "properties": {"a": {**TEXT, "selected": False}}}
    made = Catalog.from_dict(understood(entry(schema=schema(extra=part))).catalog)
    mask = made[OPENS].metadata.resolve_selection()
    assert not mask["properties", "extra", "properties", "a"]
    assert mask["properties", "extra"]


def test_two_equal_entries_count_as_one() -> None:
    assert len(understood(entry(), entry()).catalog["streams"]) == 1


# Refused catalogs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [entry(), entry(selected=False)],
            "opens appears twice with different content",
        ),
        ([entry(tap_stream_id="open")], "did you mean opens? Or make a new one"),
        ([entry(stream="clicks")], "opens has another name under stream, 'clicks'"),
        ([entry(stream=5)], "Expected `str | null`, got `int` - at `$.streams[0]."),
        ([5], "not a Singer catalog: Expected `object`, got `int`"),
        ([{"stream": OPENS, "schema": {}}], "missing required field `tap_stream_id`"),
        ([entry(schema=None)], "missing required field `schema`"),
        ([entry(metadata=[{"metadata": {}}])], "missing required field `breadcrumb`"),
        ([entry(metadata=[item(None)])], "metadata[2].breadcrumb"),
        ([entry(metadata=[item("ip")])], "opens has an invalid breadcrumb, 'ip'"),
        ([entry(metadata=[item(["properties"])])], "an invalid breadcrumb"),
        ([entry(metadata=[item("[1]")])], "an invalid breadcrumb"),
        ([entry(metadata=[item(["items"])])], "an invalid breadcrumb"),
        ([entry(metadata=[item([], selected="false")])], "Expected `bool | null`"),
        ([entry(metadata=[item([], inclusion="x")])], "Invalid enum value 'x'"),
        (
            [entry(metadata=[item("properties.ip", selected=i > 0) for i in (0, 1)])],
            "it contradicts itself: selected of opens.ip is True and False; keep one",
        ),
        (
            [entry(selected=True, schema={**schema(), "selected": False})],
            "it contradicts itself: selected of opens is False and True",
        ),
        (
            [entry(metadata=[item("properties.ipp", selected=False)])],
            "it deselects opens.ipp, which does not exist; did you mean ip?",
        ),
        (
            [
                entry(
                    metadata=[
                        item("properties.extra.items.properties.a", selected=False)
                    ]
                )
            ],
            "a part of a list, opens.extra.items.properties.a: deselect opens.extra",
        ),
        ([entry(schema=schema(id=None))], "it lacks opens.id, a part of the key"),
        ([entry(schema=schema(id=5))], "Expected `object`, got `int`"),
        (
            [{**entry(), "metadata": [item("properties.id", selected=False)]}],
            "it deselects opens.id, a part of the key: select it",
        ),
        ([entry(key_properties=["idd"])], "opens.idd is a part of the key there"),
        ([entry(replication_key="ip")], "replication key 'ip': write at"),
        (
            [{"tap_stream_id": "clicks", "schema": schema(), "replication_key": "id"}],
            "replication key 'id': leave it out",
        ),
        ([entry(replication_method="LOG_BASED")], "Invalid enum value 'LOG_BASED'"),
    ],
    ids=str,
)
def test_an_ambiguous_catalog_is_refused_in_one_line(
    given: list[Any], said: str
) -> None:
    assert said in refusal(*given)


@pytest.mark.parametrize("given", [{}, {"streams": None}, {"streams": {}}, [], 5])
def test_a_file_that_is_not_a_catalog_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="not a Singer catalog"):
        read_catalog(given, KNOWN)


def test_a_catalog_that_is_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"properties": {"x": deep}}
    assert "nested too deep" in refusal(entry(schema=deep))


def test_a_key_that_lacks_columns_of_the_key_is_named() -> None:
    found = understood(entry(key_properties=["at"]))
    assert found.merging == {OPENS: ["id"]}
    assert "replace each other in the target: opens: id" in found.warnings()[0]
    assert not understood(entry(key_properties=["at", "id"])).warnings()
    assert not understood(entry(key_properties=[])).warnings()


def test_an_entry_without_a_key_is_accepted() -> None:
    """A target then appends rows, and the key columns may be missing."""
    found = understood(entry(key_properties=[], schema=schema(id=None)))
    assert found.catalog["streams"][0]["key_properties"] == []
    assert found.new == {OPENS: ["id"]}
