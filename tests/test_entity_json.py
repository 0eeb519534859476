from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from db.dates import Calendar, HistoricalDate, Precision
from db.errors import InvalidDateError
from etl import entity_json
from etl.entity_json import Reading, TimeValue, excerpt, parse_time
from etl.source import RowError
from etl.wikidata import describe
from tests.wikidata_facts import DIRECTORY, GREGORIAN, add_item, add_time, add_unknown

JULIAN = "http://www.wikidata.org/entity/Q1985786"


def real(name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((DIRECTORY / f"{name}.json").read_bytes())
    return found


def blank() -> dict[str, Any]:
    return {"type": "item", "id": "Q7", "labels": {}, "descriptions": {}, "claims": {}}


def parse(entity: Any) -> Reading:
    reading = entity_json.parse(orjson.dumps(entity))
    assert isinstance(reading, Reading)
    return reading


def read_time(value: dict[str, Any]) -> HistoricalDate:
    return parse_time(msgspec.convert(value, TimeValue))


def time(text: str, precision: int, calendar: str = GREGORIAN) -> dict[str, Any]:
    return {"time": text, "timezone": 0, "before": 0, "after": 0, "precision": precision, "calendarmodel": calendar}


TIMES = [
    # What the JSON says; year, month, day, as astronomy counts; precision.
    (time("+1916-12-31T00:00:00Z", 11), (1916, 12, 31), 11),
    (time("-0384-01-01T00:00:00Z", 11), (-383, 1, 1), 11),
    (time("-0384-00-00T00:00:00Z", 9), (-383, None, None), 9),
    (time("-0001-00-00T00:00:00Z", 9), (0, None, None), 9),
    (time("+1990-11-00T00:00:00Z", 10), (1990, 11, None), 10),
    (time("+1990-11-17T00:00:00Z", 9), (1990, None, None), 9),
    (time("+1500-00-00T00:00:00Z", 7), (1500, None, None), 7),
    (time("-0400-00-00T00:00:00Z", 7), (-399, None, None), 7),
    (time("-13798000000-00-00T00:00:00Z", 3), (-13_798_000_000, None, None), 3),
    (time("-13798000000-00-00T00:00:00Z", 0), (-13_798_000_000, None, None), 0),
    (time("+00000001869-11-01T00:00:00Z", 11), (1869, 11, 1), 11),
    (time("+2016-05-04T12:30:00Z", 13), (2016, 5, 4), 11),
    (time("+1582-10-04T00:00:00Z", 11, JULIAN), (1582, 10, 14), 11),
    (time("+1500-02-29T00:00:00Z", 11, JULIAN), (1500, 3, 10), 11),
    (time("-0044-03-15T00:00:00Z", 11, JULIAN), (-43, 3, 13), 11),
    (time("+1291-00-00T00:00:00Z", 9, JULIAN), (1291, None, None), 9),
    (time("+1291-08-00T00:00:00Z", 10, JULIAN), (1291, 8, None), 10),
]


@pytest.mark.parametrize(("value", "parts", "precision"), TIMES)
def test_time_is_counted_as_astronomy_does(value: dict[str, Any], parts: tuple[Any, ...], precision: int) -> None:
    date = read_time(value)
    assert (date.year, date.month, date.day) == parts
    assert date.precision == Precision(precision)
    assert date.calendar == (Calendar.JULIAN if value["calendarmodel"] == JULIAN else Calendar.GREGORIAN)


def test_century_before_the_era_is_the_one_its_number_ends() -> None:
    date = read_time(time("-0400-00-00T00:00:00Z", 7))
    assert (date.first, date.last) == (
        read_time(time("-0400-01-01T00:00:00Z", 11)).first,
        read_time(time("-0301-12-31T00:00:00Z", 11)).last,
    )


@pytest.mark.parametrize(
    ("text", "precision", "calendar"),
    [
        ("+1990-13-01T00:00:00Z", 11, GREGORIAN),
        ("+1990-13-01T00:00:00Z", 11, JULIAN),
        ("+1990-02-30T00:00:00Z", 11, GREGORIAN),
        ("+1501-02-29T00:00:00Z", 11, JULIAN),
        ("+1990-00-00T00:00:00Z", 11, GREGORIAN),
        ("+1990-00-00T00:00:00Z", 10, GREGORIAN),
        ("+0000-01-01T00:00:00Z", 11, GREGORIAN),
        ("-99999999999-00-00T00:00:00Z", 0, GREGORIAN),
        ("yesterday", 11, GREGORIAN),
    ],
)
def test_time_that_names_no_day_is_refused(text: str, precision: int, calendar: str) -> None:
    with pytest.raises(InvalidDateError):
        read_time(time(text, precision, calendar))


def test_bad_time_loses_neither_the_item_nor_its_good_times() -> None:
    entity = blank()
    add_time(entity, "P569", "+1990-13-01T00:00:00Z", 11)
    add_time(entity, "P569", "+1990-00-00T00:00:00Z", 9)
    reading = parse(entity)
    assert [date.year for date in reading.item.times["P569"]] == [1990]
    assert [error.parts()[:2] for error in reading.bad_times] == [("P569", "+1990-13-01T00:00:00Z")]


TRUTHS = [
    # Ranks of Q1, Q2 and of an unknown value; the values that stand; how many are unknown.
    ("normal", "normal", None, [1, 2], 0),
    ("preferred", "normal", None, [1], 0),
    ("preferred", "preferred", "normal", [1, 2], 0),
    ("normal", "deprecated", None, [1], 0),
    ("deprecated", "deprecated", None, None, 0),
    ("deprecated", "deprecated", "normal", None, 1),
    ("normal", "normal", "normal", [1, 2], 1),
    ("normal", "deprecated", "preferred", None, 1),
    ("normal", "preferred", "deprecated", [2], 0),
]


@pytest.mark.parametrize(("first", "second", "unknown", "values", "count"), TRUTHS)
def test_only_the_best_rank_is_read(first: str, second: str, unknown: str, values: list[int], count: int) -> None:
    entity = blank()
    add_item(entity, "P737", "Q1", first)
    add_item(entity, "P737", "Q2", second)
    if unknown:
        add_unknown(entity, "P737", unknown)
    reading = parse(entity)
    assert reading.item.links.get("P737") == values
    assert reading.unknown == count


def test_novalue_is_counted_as_unknown() -> None:
    entity = blank()
    snak = {"snaktype": "novalue", "property": "P570"}
    entity["claims"]["P570"] = [{"mainsnak": snak, "rank": "normal", "type": "statement"}]
    reading = parse(entity)
    assert (reading.item.times, reading.unknown) == ({}, 1)


def test_unknown_values_of_other_properties_are_not_counted() -> None:
    reading = parse(real("dump/empty_values"))
    assert (reading.item.key, reading.item.links, reading.unknown) == ("Q4115189", {}, 0)


def test_statement_without_an_id_is_read_by_its_number() -> None:
    entity = blank() | {"claims": {"P737": real("dump/old_claim_format")}}
    assert parse(entity).item.links == {"P737": [123]}


def test_value_that_is_a_lexeme_is_no_link() -> None:
    assert parse(blank() | {"claims": {"P737": [real("dump/lexeme_claim")]}}).item.links == {}


@pytest.mark.parametrize("other", ["text", 7, ["Q1"], {"id": 7}, {"numeric-id": "7", "time": 7}])
def test_values_of_other_kinds_are_passed_over(other: object) -> None:
    entity = blank()
    add_item(entity, "P737", "Q1")
    add_time(entity, "P569", "+1990-00-00T00:00:00Z", 9)
    for property_id in ("P737", "P569"):
        snak = {"snaktype": "value", "datavalue": {"type": "other", "value": other}}
        entity["claims"][property_id].append({"mainsnak": snak, "rank": "normal"})
    reading = parse(entity)
    assert reading.item.links == {"P737": [1]}
    assert [date.year for date in reading.item.times["P569"]] == [1990]


def test_same_value_stated_twice_is_one_link() -> None:
    entity = blank()
    for value in ("Q1", "Q2", "Q1"):
        add_item(entity, "P737", value)
    assert parse(entity).item.links == {"P737": [1, 2]}


def test_real_person_is_read() -> None:
    item = parse(real("dump/Q646148")).item
    assert item.labels["en"] == "Henning Christophersen"
    assert [date.isoformat() for date in (*item.times["P569"], *item.times["P570"])] == ["1939-11-08", "2016-12-31"]
    assert item.links == {"P31": [5], "P106": [193391, 82955]}
    assert describe(item).discipline_keys == ("Q82955", "Q193391")


def test_real_book_before_the_era_keeps_its_year() -> None:
    assert [date.year for date in parse(real("dump/Q4132785-negative-date")).item.times["P577"]] == [-1952]


def test_real_months_and_years_keep_their_precision() -> None:
    births = parse(real("entities/Q970917")).item.times["P569"]
    assert [(date.year, date.month, date.precision) for date in births] == [
        (1869, 11, 10),
        (1990, 11, 10),
        (1990, None, 9),
    ]


def test_big_bang_keeps_its_year() -> None:
    (statement,) = real("dump/Q1")["claims"]["P580"]
    assert read_time(statement["mainsnak"]["datavalue"]["value"]).year == -13_798_000_000


def test_empty_maps_may_be_written_as_lists() -> None:
    assert parse({"id": "Q7", "labels": [], "descriptions": [], "claims": []}).item.labels == {}


@pytest.mark.parametrize(
    "entity",
    [
        {},
        {"id": "L525"},
        {"id": "Q0"},
        {"id": 7},
        {"id": "Q7", "labels": {"en": "One"}},
        {"id": "Q7", "claims": {"P737": [{}]}},
        {"id": "Q7", "claims": {"P737": {"rank": "normal"}}},
        {"id": "Q7", "claims": {"P569": [{"mainsnak": {"snaktype": "value"}}]}},
    ],
)
def test_what_is_no_item_is_refused(entity: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        parse(entity)


def test_excerpt_reads_the_same() -> None:
    for file in sorted(Path(DIRECTORY).glob("*/Q*.json")):
        entity = orjson.loads(file.read_bytes())
        whole, part = parse(entity), parse(excerpt(entity, ["en", "mul"]))
        assert (part.item.links, part.item.times) == (whole.item.links, whole.item.times)
        assert describe(part.item) == describe(whole.item)
