import orjson
import pytest

from db.binary_copy import row_writer
from db.dates import Calendar, HistoricalDate, Precision
from etl.atlas import AtlasLoad
from etl.entity_lines import LineReader
from etl.entity_rows import write_entity
from etl.facts import MAX_TEXT_LENGTH
from etl.lines import Chunk
from etl.statement_rows import TABLES
from etl.wikidata import Item, describe, summarise

LANGUAGES = ("en", "mul")
ENGLISH = {"en": "Kurt  GÖDEL"}
BIG_BANG = HistoricalDate.build(-13_800_000_000, precision=Precision.BILLION_YEARS)
MONTH = HistoricalDate.build(-43, 3, precision=Precision.MONTH, calendar=Calendar.JULIAN)
DAY = HistoricalDate.build(1906, 4, 28)
STORABLE = [
    Item(1),
    Item(10**18 - 1, {"de": "Zahl", "fr": ""}),
    Item(2, {"en": "Q2", "mul": "Two"} | {"de": "Zwei"}, {"de": "Zahl", "en": "a 'number'\n\\ é"}),
    Item(3, ENGLISH, times={"P569": [DAY], "P570": [MONTH]}, links={"P31": [5], "P106": [9, 7, 9], "P101": [8]}),
    Item(4, ENGLISH, times={"P577": [MONTH, DAY]}, links={"P31": [571, 3331189]}),
    Item(6, ENGLISH, times={"P571": [BIG_BANG]}, links={"P279": [1], "P2579": [12, 11]}),
    Item(7, {"en": "x" * (MAX_TEXT_LENGTH - 100)}, {"en": "x" * MAX_TEXT_LENGTH}),
]


@pytest.mark.parametrize("item", STORABLE, ids=lambda item: item.key)
def test_row_is_that_of_the_record(item: Item) -> None:
    _, values = AtlasLoad().stage(describe(item, LANGUAGES))
    record = row_writer(TABLES["entity"].types)((12, *values))
    assert write_entity(12, item, summarise(item, LANGUAGES)) == record


@pytest.mark.parametrize(
    ("labels", "descriptions"),
    [
        ({"en": "a\0"}, {}),
        ({"\0": "a"}, {}),
        ({"en": "a" * (MAX_TEXT_LENGTH + 1)}, {}),
        ({}, {"en": "\0"}),
        ({}, {"mul": "a" * (MAX_TEXT_LENGTH + 1)}),
    ],
)
def test_text_that_cannot_be_stored_is_left_to_the_record(labels: dict[str, str], descriptions: dict[str, str]) -> None:
    item = Item(1, labels, descriptions)
    assert write_entity(12, item, summarise(item, LANGUAGES)) is None
    with pytest.raises(ValueError, match=r"NUL|at most"):
        describe(item, LANGUAGES)


def test_text_that_only_looks_unstorable_is_stored() -> None:
    label = "the \\u0000 of JSON"
    line = {"id": "Q1", "labels": {"en": {"value": label}}, "claims": {"P737": [{"mainsnak": value("Q2")}]}}
    extract = LineReader(LANGUAGES, 1)(Chunk(0, orjson.dumps(line)))
    assert not extract.prepared.rejects
    assert label.encode() in extract.prepared.written["entity"]


def value(key: str) -> dict[str, object]:
    return {"snaktype": "value", "datavalue": {"type": "wikibase-entityid", "value": {"id": key}}}
