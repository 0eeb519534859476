import asyncio
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import RunStatus
from db.session import write_engine
from etl import lines, pipeline
from etl.pipeline import Options
from etl.source import Source
from etl.sources.wikidata_dump import WikidataDump
from etl.sources.wikidata_sparql import WikidataSparql
from tests import oxigraph, wikidata_facts
from tests.conftest import Clone
from tests.test_wikidata_sparql import awkward_entities, triples
from tests.wikidata_facts import Entity

TABLES = {
    "entity": "SELECT key, (to_jsonb(entity) - 'run_id')::text FROM entity ORDER BY key",
    "influence": "SELECT (to_jsonb(influence) - 'run_id')::text FROM influence ORDER BY 1",
    "authorship": "SELECT work_id, agent_id FROM authorship ORDER BY 1, 2",
}


async def tables(engine: AsyncEngine, source: Source) -> dict[str, list[tuple[Any, ...]]]:
    """Load a source and return what readers see then."""
    assert (await pipeline.run(engine, source, Options())).status is RunStatus.DONE
    async with engine.connect() as connection:
        return {name: [tuple(row) for row in await connection.execute(text(sql))] for name, sql in TABLES.items()}


def real_facts() -> list[Entity]:
    return wikidata_facts.entities()


def facts_without_some_items() -> list[Entity]:
    """Return the facts less every seventh item, which others name all the same."""
    return [entity for number, entity in enumerate(wikidata_facts.entities()) if number % 7]


def presumptions() -> list[Entity]:
    """Return items that name an absent one as the work of one and the subject of the other."""
    work: Entity = {"type": "item", "id": "Q1", "labels": {}, "claims": {}}
    subject: Entity = {"type": "item", "id": "Q2", "labels": {}, "claims": {}}
    wikidata_facts.add_item(work, "P800", "Q9")
    wikidata_facts.add_item(subject, "P921", "Q9")
    return [work, subject]


@pytest.mark.parametrize("facts", [presumptions, real_facts, awkward_entities, facts_without_some_items])
async def test_query_and_dump_fill_the_same_tables(
    engine: AsyncEngine, clone: Clone, migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: Any
) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", 100_000)
    entities = facts()
    with oxigraph.serving(tmp_path, triples(entities)) as url:
        queried = await tables(engine, WikidataSparql(url))
    # A dump is in no order that anything could rely on.
    random.Random(5).shuffle(entities)
    (tmp_path / "dump.json").write_bytes(b"\n".join(map(orjson.dumps, entities)))
    other = write_engine(await asyncio.to_thread(clone, migrated))
    dumped = await tables(other, WikidataDump(str(tmp_path / "dump.json"), workers=0))
    await other.dispose()
    for name, rows in queried.items():
        assert rows or name == "authorship"
        assert dumped[name] == rows
