from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.mapping import RECORD_COLUMNS, Mapper, look_up
from etl.source import RowError
from etl.source_config import FieldType, RecordMapping


def mapped(row: Any, mapping: dict[str, Any], types: dict[str, FieldType] | None = None) -> dict[str, Any]:
    mapper = Mapper(RecordMapping.model_validate({"id": "id"} | mapping), types or {})
    return dict(zip(RECORD_COLUMNS, mapper.values(row, str(row)), strict=True))


def refusal(row: Any, mapping: dict[str, Any], types: dict[str, FieldType] | None = None) -> RowError:
    with pytest.raises(RowError) as caught:
        mapped(row, mapping, types)
    return caught.value


def test_row_becomes_columns_and_the_rest_attributes() -> None:
    row = {"id": 7, "name": "Seven", "size": "7.5", "body": "text", "made": "2024-05-17", "tags": ["a"], "none": None}
    found = mapped(row, {"title": "name", "value": "size", "description": "body", "created": "made"})
    assert found == {
        "external_id": "7",
        "title": "Seven",
        "value": 7.5,
        "description": "text",
        "created_at": datetime(2024, 5, 17, tzinfo=UTC),
        "updated_at": None,
        "attributes": '{"tags":["a"],"none":null}',
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.b", 1), ("l.1", "y"), ("l.2", None), ("dotted.key", 5), ("a.b.c", None), ("missing", None), ("a", {"b": 1})],
)
def test_path_finds_what_stands_in_objects_and_lists(path: str, expected: object) -> None:
    assert look_up({"a": {"b": 1}, "l": ["x", "y"], "dotted.key": 5}, path) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-17T08:30:00Z", datetime(2024, 5, 17, 8, 30, tzinfo=UTC)),
        ("2024-05-17 08:30:00", datetime(2024, 5, 17, 8, 30, tzinfo=UTC)),
        ("2024-05-17T08:30:00+02:00", datetime(2024, 5, 17, 6, 30, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_timestamp_is_read_as_utc(value: object, expected: datetime | None) -> None:
    assert mapped({"id": 1, "at": value}, {"updated": "at"})["updated_at"] == expected


def test_format_tells_how_a_date_is_written() -> None:
    updated = {"path": "at", "format": "%d/%m/%Y"}
    found = mapped({"id": 1, "at": "03/02/2024"}, {"updated": updated})["updated_at"]
    assert found == datetime(2024, 2, 3, tzinfo=UTC)
    assert refusal({"id": 1, "at": "2024-02-03"}, {"updated": updated}).parts() == (
        "at",
        "2024-02-03",
        "expected a date or time written %d/%m/%Y",
    )


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"name": "x"}, "id", "has no id"),
        ({"id": ""}, "id", "has no id"),
        ({"id": None}, "id", "has no id"),
        ({"id": True}, "id", "as id, not boolean"),
        ({"id": [1]}, "id", "as id, not list"),
        ({"id": "x" * 501}, None, "501 characters"),
        ({"id": "a\0b"}, "id", "NUL"),
        ({"id": 1, "size": "1,5"}, "size", "finite number"),
        ({"id": 1, "size": "1_000"}, "size", "finite number"),
        ({"id": 1, "size": "inf"}, "size", "finite number"),
        ({"id": 1, "size": True}, "size", "finite number"),
        ({"id": 1, "size": [1]}, "size", "finite number"),
        ({"id": 1, "at": "soon"}, "at", "date or time"),
        ({"id": 1, "at": 1e30}, "at", "date or time"),
        ({"id": 1, "name": "a\0b"}, "name", "NUL"),
        ({"id": 1, "name": "\ud800"}, "name", "not valid Unicode"),
        ({"id": 1, "other": "a\0b"}, None, "NUL"),
        ({"id": 1, "other": "\ud800"}, None, "JSON"),
        ([1], None, "expected an object with fields, not list"),
        (5, None, "expected an object with fields, not integer"),
    ],
)
def test_bad_row_is_refused_with_field_and_reason(row: Any, field: str | None, reason: str) -> None:
    error = refusal(row, {"title": "name", "value": "size", "updated": "at"})
    assert error.field == field
    assert reason in error.reason


def test_escaped_backslash_is_no_nul() -> None:
    assert mapped({"id": 1, "path": "C:\\u0000"}, {})["attributes"] == '{"path":"C:\\\\u0000"}'


def test_integer_beyond_64_bits_stays_exact() -> None:
    assert mapped({"id": 1, "big": 123456789012345678901234567890}, {})["attributes"] == (
        '{"big":123456789012345678901234567890}'
    )


@pytest.mark.parametrize(
    ("kind", "given_text", "expected"),
    [
        ("integer", " 42 ", 42),
        ("integer", "-7", -7),
        ("number", "1.5", 1.5),
        ("number", "12", 12),
        ("boolean", "Yes", True),
        ("boolean", "0", False),
        ("date", "2024-05-17T23:00:00", "2024-05-17"),
        ("timestamp", "2024-05-17", "2024-05-17T00:00:00+00:00"),
        ("json", '{"a":[1]}', {"a": [1]}),
        ("text", 5, "5"),
        ("integer", "", None),
    ],
)
def test_declared_type_converts_an_attribute(kind: FieldType, given_text: Any, expected: object) -> None:
    found = mapped({"id": 1, "x": given_text}, {}, {"x": kind})
    assert orjson.loads(found["attributes"]) == {"x": expected}


def test_declared_type_of_a_nested_field_converts_it_where_it_stands() -> None:
    found = mapped({"id": 1, "a": {"b": "5"}}, {}, {"a.b": "integer", "a.missing": "integer"})
    assert found["attributes"] == '{"a":{"b":5}}'


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("integer", "1.5"),
        ("integer", 1.5),
        ("integer", float("inf")),
        ("boolean", "maybe"),
        ("json", "{"),
        ("date", "x"),
    ],
)
def test_value_of_another_type_than_declared_is_refused(kind: FieldType, value: object) -> None:
    assert refusal({"id": 1, "x": value}, {}, {"x": kind}).field == "x"


def test_several_id_fields_are_joined_and_stay_attributes() -> None:
    found = mapped({"entity": "a/b~c", "year": 1900}, {"id": ["entity", "year"]})
    assert found["external_id"] == "a~1b~0c/1900"
    assert found["attributes"] == '{"entity":"a/b~c","year":1900}'


def test_without_an_id_equal_rows_have_one() -> None:
    mapper = Mapper(RecordMapping(), {})
    first, again, other = (mapper.external_id({}, payload) for payload in ('{"a":1}', '{"a":1}', '{"a":2}'))
    assert first == again != other


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_any_row_is_mapped_or_refused(row: dict[str, Any]) -> None:
    mapper = Mapper(
        RecordMapping.model_validate({"id": "id", "title": "a", "value": "b", "updated": "c"}), {"d": "json"}
    )
    try:
        values = mapper.values(dict(row), "payload")
    except RowError:
        return
    kept = {name: value for name, value in row.items() if name not in ("id", "a", "b", "c", "d")}
    assert {k: v for k, v in orjson.loads(values[-1]).items() if k != "d"} == orjson.loads(orjson.dumps(kept))


@given(st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5))])))
def test_iso_timestamp_keeps_its_moment(moment: datetime) -> None:
    expected = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        expected = expected.astimezone(UTC)
    except OverflowError:
        return
    assert mapped({"id": 1, "at": moment.isoformat()}, {"created": "at"})["created_at"] == expected
