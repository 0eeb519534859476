import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import RunStatus
from etl import entity_json, pipeline, sparql
from etl.facts import EntityRecord
from etl.pipeline import Options, Report
from etl.source import RawRow
from etl.sources import wikidata_sparql
from etl.sources.wikidata_sparql import WikidataSparql
from etl.wikidata import RELATION_PROPERTIES, Item, describe, relate
from etl.wikidata_queries import Scope
from tests import oxigraph, wikidata_facts, wikidata_rdf
from tests.faulty_endpoint import CUT, STATEMENTS, always, serving
from tests.wikidata_facts import Entity

FACTS = wikidata_facts.entities()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparql, "WAIT_INITIAL_SECONDS", 0.01)
    monkeypatch.setattr(sparql, "ATTEMPTS", 3)


def triples(entities: Iterable[Entity]) -> list[str]:
    return list(wikidata_rdf.lines(entities))


async def load(engine: AsyncEngine, source: WikidataSparql, **options: Any) -> Report:
    return await pipeline.run(engine, source, Options(**options))


async def resume(engine: AsyncEngine, source: WikidataSparql, run: int) -> Report:
    return await pipeline.resume(engine, source, Options(), run)


GRAPH = {
    "entity": "id, key, kind, is_stub, dataset, name, labels, description, disciplines, field, work_type, start_year,"
    " start_month, start_day, start_precision, start_calendar, end_year, end_month, end_day, end_precision",
    "influence": "source_id, type, target_id, confidence, is_derived, provenance",
    "authorship": "work_id, agent_id",
}


async def graph(engine: AsyncEngine) -> dict[str, list[str]]:
    """Return what readers see of the graph, table by table."""
    async with engine.connect() as connection:
        return {
            table: [
                str(row)
                for row in (await connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY 1, 2"))).all()
            ]
            for table, columns in GRAPH.items()
        }


def differing(one: dict[str, list[str]], other: dict[str, list[str]]) -> list[str]:
    """Return the rows that are not in both."""
    return [row for table in GRAPH for row in {*one[table]} ^ {*other[table]}]


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


class Recorded(WikidataSparql):
    """Remembers the rows it transformed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[RawRow] = []

    def transform(self, row: RawRow) -> Iterable[object]:
        self.seen.append(row)
        return super().transform(row)

    def records(self, source: str) -> dict[str, list[object]]:
        return {
            row.external_id: list(super(Recorded, self).transform(row)) for row in self.seen if row.source == source
        }


def item_of(entity: Entity) -> Item:
    reading = entity_json.parse(orjson.dumps(entity))
    assert isinstance(reading, entity_json.Reading)
    return reading.item


def described_in_json(entities: Iterable[Entity]) -> dict[str, EntityRecord]:
    items = [item_of(entity) for entity in entities]
    return {item.key: describe(item) for item in items}


def related_in_json(entities: Iterable[Entity]) -> dict[str, list[object]]:
    items = [item_of(entity) for entity in entities]
    return {
        f"{item.key}#{name} > Q{value}": list(relate(item.number, name, value))
        for item in items
        for name in RELATION_PROPERTIES
        for value in item.links.get(name, ())
    }


async def test_all_statements_and_items_come_out_as_from_json(engine: AsyncEngine, wikidata_url: str) -> None:
    source = Recorded(wikidata_url)
    report = await load(engine, source)
    assert (report.status, report.counts.failed) == (RunStatus.DONE, 0)
    assert source.records("wikidata/statements") == related_in_json(FACTS)
    found = {key: record for key, (record,) in source.records("wikidata/entities").items()}
    expected = described_in_json(FACTS)
    assert len(found) > 1000
    assert found == {key: expected[key] for key in found}
    linked = {key for row in source.records("wikidata/statements") for key in re.findall(r"Q\d+", row)}
    assert linked & expected.keys() <= found.keys()
    assert report.notes == ["left out: 2 unknown values"]


JULIAN = wikidata_rdf.JULIAN
TIMES = [
    ("+1879-03-14T00:00:00Z", 11, wikidata_facts.GREGORIAN),
    ("-0044-03-15T00:00:00Z", 11, JULIAN),
    ("+1643-01-04T00:00:00Z", 11, JULIAN),
    ("+0800-02-29T00:00:00Z", 11, JULIAN),
    ("+0900-02-29T00:00:00Z", 11, JULIAN),
    ("-0384-00-00T00:00:00Z", 9, JULIAN),
    ("-0001-00-00T00:00:00Z", 9, JULIAN),
    ("-0428-05-00T00:00:00Z", 10, JULIAN),
    ("+1548-02-00T00:00:00Z", 10, JULIAN),
    ("-0430-00-00T00:00:00Z", 8, JULIAN),
    ("-0500-00-00T00:00:00Z", 7, JULIAN),
    ("+0200-00-00T00:00:00Z", 7, JULIAN),
    ("-3000-00-00T00:00:00Z", 6, wikidata_facts.GREGORIAN),
    ("-12000-00-00T00:00:00Z", 5, wikidata_facts.GREGORIAN),
    ("-13798000000-00-00T00:00:00Z", 3, wikidata_facts.GREGORIAN),
    ("+0000-00-00T00:00:00Z", 9, wikidata_facts.GREGORIAN),
]


def blank(number: int) -> Entity:
    return {"type": "item", "id": f"Q{number}", "labels": {}, "descriptions": {}, "claims": {}}


def awkward_entities() -> list[Entity]:
    """Return items of every kind of date, rank and name that one path could read differently from the other."""
    found = [blank(number) for number in range(1, 41)]
    for entity, (time, precision, calendar) in zip(found, TIMES, strict=False):
        wikidata_facts.add_time(entity, "P569", time, precision, calendar)
    for entity in found[1:]:
        wikidata_facts.add_item(entity, "P737", "Q1")
    ranked, unknown, deprecated, nameless, own_id, foreign, many, work, concept = found[20:29]
    wikidata_facts.add_item(ranked, "P737", "Q2", rank="preferred")
    wikidata_facts.add_time(ranked, "P569", "+1900-00-00T00:00:00Z", 9, rank="preferred")
    wikidata_facts.add_time(ranked, "P569", "+1901-05-06T00:00:00Z", 11)
    wikidata_facts.add_unknown(unknown, "P737", rank="preferred")
    wikidata_facts.add_item(unknown, "P800", "Q5")
    wikidata_facts.add_unknown(unknown, "P106", rank="preferred")
    wikidata_facts.add_item(unknown, "P106", "Q3")
    wikidata_facts.add_item(deprecated, "P106", "Q3", rank="deprecated")
    nameless["labels"] = {}
    own_id["labels"] = {"en": {"value": own_id["id"]}, "fr": {"value": "Nom"}}
    foreign["labels"] = {"ja": {"value": "名"}, "de": {"value": 'Ein "Name"\n\\'}}
    many["labels"] = {"mul": {"value": "Name"}, "en": {"value": "A name"}, "de": {"value": "Name"}}
    many["descriptions"] = {"de": {"value": "Beschreibung"}, "mul": {"value": "description"}}
    wikidata_facts.add_time(work, "P577", "-0800-00-00T00:00:00Z", 7)
    wikidata_facts.add_item(work, "P31", "Q571")
    wikidata_facts.add_item(concept, "P279", "Q571")
    wikidata_facts.add_item(concept, "P2579", "Q30")
    return found


async def test_awkward_dates_ranks_and_names_come_out_as_from_json(engine: AsyncEngine, tmp_path: Path) -> None:
    entities = awkward_entities()
    with oxigraph.serving(tmp_path, triples(entities)) as url:
        source = Recorded(url)
        report = await load(engine, source)
    assert source.records("wikidata/statements") == related_in_json(entities)
    found = {key: record for key, (record,) in source.records("wikidata/entities").items()}
    expected = described_in_json(entities)
    assert found == {key: expected[key] for key in found}
    assert len(found) == len(entities)
    assert report.notes == ["left out: 1 unknown values"]
    (rejected,) = await query(engine, "SELECT source, external_id, field, value, reason FROM quarantine")
    assert rejected[:2] == ("wikidata/dates", "Q16#P569 +0000-00-00T00:00:00Z")
    assert "names no day" in rejected[4]


async def test_small_shards_and_batches_give_the_same_tables(
    engine: AsyncEngine, database: str, clone: Any, migrated: str, wikidata_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(engine, WikidataSparql(wikidata_url))
    whole = await graph(engine)
    monkeypatch.setattr(wikidata_sparql, "SHARD_ROWS", 15)
    monkeypatch.setattr(wikidata_sparql, "BATCH_ITEMS", 70)
    with serving(lambda _: None, wikidata_url) as peer:
        report = await load(engine, WikidataSparql(peer.url))
    assert (report.counts.inserted, report.counts.updated, report.counts.retired) == (0, 0, 0)
    assert differing(await graph(engine), whole) == []
    assert sum("STRSTARTS" in one and "?s wdt:P737 ?v" in one for one in peer.queries) > 2 * 377 // 15


def without(entities: list[Entity], property_id: str) -> list[Entity]:
    """Return the entities without every other one's statements of a property."""
    stating = [entity["id"] for entity in entities if property_id in entity["claims"]]
    return [
        entity | {"claims": {name: value for name, value in entity["claims"].items() if name != property_id}}
        if entity["id"] in stating[::2]
        else entity
        for entity in entities
    ]


async def test_what_is_no_longer_stated_is_retired_by_a_complete_run_only(
    engine: AsyncEngine, wikidata_url: str, tmp_path: Path
) -> None:
    await load(engine, WikidataSparql(wikidata_url))
    fewer = without(FACTS, "P737")
    left = sum(len(item_of(entity).links.get("P737", ())) for entity in fewer)
    influences = "SELECT count(*) FROM influence WHERE provenance ? 'wikidata/P737'"
    with oxigraph.serving(tmp_path, triples(fewer)) as later:
        with serving(always(CUT, STATEMENTS, "?s wdt:P101 ?v"), later) as peer:
            assert (await load(engine, WikidataSparql(peer.url))).counts.retired == 0
        for scope in (Scope(classes=(5,)), Scope(occupations=(4964182,)), Scope(since=date(2019, 1, 1))):
            assert (await load(engine, WikidataSparql(later, None, ["P737"], scope))).counts.retired == 0
        assert (await load(engine, WikidataSparql(later, None, ["P101"]))).counts.retired == 0
        assert (await load(engine, WikidataSparql(later), limit=10)).counts.retired == 0
        assert await query(engine, influences) == [(377,)]
        report = await load(engine, WikidataSparql(later, None, ["P737"]))
        assert report.counts.retired == 377 - left
        assert await query(engine, influences) == [(left,)]


@pytest.mark.parametrize(
    ("scope", "is_in"),
    [
        (Scope(classes=(5,)), lambda item: 5 in item.links.get("P31", ())),
        (Scope(classes=(5, 571)), lambda item: {5, 571} & set(item.links.get("P31", ()))),
        (Scope(occupations=(4964182, 49757)), lambda item: {4964182, 49757} & set(item.links.get("P106", ()))),
        (
            Scope(classes=(5,), occupations=(4964182,)),
            lambda item: 5 in item.links.get("P31", ()) and 4964182 in item.links.get("P106", ()),
        ),
    ],
)
async def test_scope_limits_whose_statements_are_read(
    engine: AsyncEngine, wikidata_url: str, scope: Scope, is_in: Any
) -> None:
    source = Recorded(wikidata_url, None, ["P737", "P50", "P101"], scope)
    await load(engine, source)
    items = [item_of(entity) for entity in FACTS]
    expected = {
        f"{item.key}#{name} > Q{value}"
        for item in items
        if is_in(item)
        for name in ("P737", "P50", "P101")
        for value in item.links.get(name, ())
    }
    assert expected
    assert {row.external_id for row in source.seen if row.source == "wikidata/statements"} == expected


async def test_since_reads_only_what_changed(engine: AsyncEngine, tmp_path: Path) -> None:
    entities = [blank(number) | {"modified": f"20{number:02}-06-01T00:00:00Z"} for number in range(10, 20)]
    for entity in entities[1:]:
        wikidata_facts.add_item(entity, "P737", "Q10")
    with oxigraph.serving(tmp_path, triples(entities)) as url:
        await load(engine, WikidataSparql(url, None, (), Scope(since=date(2016, 6, 1))))
    assert await query(engine, "SELECT min(target_id), count(*) FROM influence") == [(16, 4)]


async def test_languages_are_those_asked_for_or_any(engine: AsyncEngine, wikidata_url: str) -> None:
    await load(engine, WikidataSparql(wikidata_url, None, ["P737"], None, ["ja", "de"]))
    names = dict(await query(engine, "SELECT id, name FROM entity WHERE id IN (868, 9358)"))
    assert names[9358] == "フリードリヒ・ニーチェ"
    assert all(names.values())
