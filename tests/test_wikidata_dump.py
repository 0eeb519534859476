import asyncio
import gzip
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import generated_dump
from db.binary_copy import numbered_rows, row_writer
from db.models.operations import RunStatus
from db.session import write_engine, write_session
from etl import lines, pipeline, quarantine
from etl.entity_lines import LineReader
from etl.lines import Chunk
from etl.pipeline import Options, Progress, Report
from etl.source import RawRow, SourceError
from etl.sources.wikidata_dump import WikidataDump, is_named_whole
from etl.statement_rows import TABLES as STAGED
from etl.wikidata import RELATION_PROPERTIES
from tests.conftest import Clone
from tests.kill_dump import KILLS
from tests.wikidata_facts import DIRECTORY, Entity, add_item, add_time, add_unknown

TABLES = (
    "SELECT (to_jsonb(entity) - 'run_id')::text FROM entity ORDER BY 1",
    "SELECT (to_jsonb(influence) - 'run_id')::text FROM influence ORDER BY 1",
    "SELECT work_id, agent_id FROM authorship ORDER BY 1, 2",
    "SELECT source, external_id, payload, field, value, reason FROM quarantine ORDER BY 1, 2",
    "SELECT status, processed, inserted, updated, unchanged, failed FROM etl_run",
    "SELECT tablename FROM pg_tables WHERE schemaname = 'staging'",
)


def item(number: int, **links: Any) -> Entity:
    """Make an entity named "N7" with links such as P737=[8, 9]."""
    name = {"en": {"language": "en", "value": f"N{number}"}}
    made: Entity = {"type": "item", "id": f"Q{number}", "labels": name, "descriptions": {}, "claims": {}}
    for property_id, values in links.items():
        for value in values:
            add_item(made, property_id, f"Q{value}")
    return made


def dump(path: Path, *entities: Entity | bytes) -> str:
    """Write entities, or lines as they are, as Wikidata's dumps have them; a name in .gz is packed."""
    written = [one if isinstance(one, bytes) else orjson.dumps(one) for one in entities]
    content = b"[\n" + b",\n".join(written) + b"\n]\n"
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def real(name: str) -> Entity:
    found: Entity = orjson.loads((DIRECTORY / f"{name}.json").read_bytes())
    return found


async def load(engine: AsyncEngine, location: str, workers: int = 0, **options: Any) -> Report:
    return await pipeline.run(engine, WikidataDump(location, workers=workers), Options(**options))


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(sql))]


async def contents(engine: AsyncEngine) -> list[list[tuple[Any, ...]]]:
    return [await query(engine, sql) for sql in TABLES]


EDGES = """
    SELECT source.key, type, target.key FROM influence
    JOIN entity AS source ON source.id = source_id JOIN entity AS target ON target.id = target_id ORDER BY 1, 2, 3
"""


async def test_statements_become_edges_and_items_entities(engine: AsyncEngine, tmp_path: Path) -> None:
    plato, aristotle = item(859, P106=[4964182]), item(868, P737=[859], P101=[5891])
    report = await load(engine, dump(tmp_path / "d.json.gz", plato, aristotle, item(5891), item(4964182), item(99)))
    assert await query(engine, EDGES) == [
        ("Q859", "INFLUENCED", "Q868"),
        ("Q868", "ASSOCIATED_WITH", "Q5891"),
    ]
    assert await query(engine, "SELECT key, name, kind, is_stub, disciplines FROM entity ORDER BY id") == [
        ("Q859", "N859", "AGENT", False, ["N4964182"]),
        ("Q868", "N868", "CONCEPT", False, []),
        ("Q5891", "N5891", "CONCEPT", False, []),
        ("Q4964182", "N4964182", "CONCEPT", False, []),
    ]
    assert (report.counts.processed, report.counts.inserted) == (6, 6)


async def test_items_named_only_are_described_in_later_passes(engine: AsyncEngine, tmp_path: Path) -> None:
    person = item(1, P31=[5], P737=[2])
    # Q2 has no statement that joins items, nor has its occupation, nor the science that studies that.
    named = [item(2, P31=[5], P106=[3]), item(3, P2579=[4]), item(4), item(5), item(6)]
    await load(engine, dump(tmp_path / "d.json", person, *named))
    found = await query(engine, "SELECT key, name, disciplines, field FROM entity ORDER BY key")
    assert found == [
        ("Q1", "N1", [], None),
        ("Q2", "N2", ["N3"], None),
        ("Q3", "N3", [], "N4"),
        ("Q4", "N4", [], None),
    ]


async def test_item_absent_from_the_dump_stays_a_stub(engine: AsyncEngine, tmp_path: Path) -> None:
    await load(engine, dump(tmp_path / "d.json", item(1, P737=[2])))
    assert await query(engine, "SELECT key, name, is_stub FROM entity ORDER BY key") == [
        ("Q1", "N1", False),
        ("Q2", None, True),
    ]


async def test_real_entities_are_loaded(engine: AsyncEngine, tmp_path: Path) -> None:
    files = [*sorted(DIRECTORY.glob("dump/[QLP]*.json")), DIRECTORY / "entities" / "Q22002395.json"]
    location = dump(tmp_path / "d.json.gz", *(orjson.loads(file.read_bytes()) for file in files))
    report = await load(engine, location, workers=1)
    assert report.status is RunStatus.DONE
    assert list(report.notes) == ["left out: 1 lexeme", "left out: 1 property", "left out: 2 unknown values"]
    dates = (
        "SELECT key, start_year, start_precision, start_calendar FROM entity WHERE start_year IS NOT NULL ORDER BY 1"
    )
    assert await query(engine, dates) == [("Q4132785", -1952, 9, 0)]
    assert (4132785, 947986) in await query(engine, "SELECT work_id, agent_id FROM authorship")


async def test_answer_of_the_api_is_loaded(engine: AsyncEngine) -> None:
    await load(engine, str(DIRECTORY / "entities" / "wbgetentities_response.json"))
    assert ("Q3235026",) in await query(engine, "SELECT key FROM entity WHERE NOT is_stub")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"type":"item","id":"Q8","claims":{"P737":[{"mainsn', "not JSON"),
        (b'{"type":"item","id":"Q8","labels":{"en"', "not JSON"),
        (b"\x00\xff garbage", "not JSON"),
        (b'"Q8"', "Expected `object`, got `str`"),
        (b'{"answer":42}', "not an entity as Wikidata writes it"),
        (b'{"type":"item","id":"Q8","claims":{"P737":[7]}}', "not an entity as Wikidata writes it"),
    ],
)
async def test_malformed_line_goes_to_quarantine(engine: AsyncEngine, tmp_path: Path, line: bytes, reason: str) -> None:
    rows = [item(number, P737=[number + 1]) for number in range(10, 20)]
    report = await load(engine, dump(tmp_path / "d.json", rows[0], line, *rows[1:], item(20)))
    (found,) = await query(engine, "SELECT source, external_id, reason FROM quarantine")
    assert found[:2] == ("wikidata-dump/lines", f"byte {2 + len(orjson.dumps(rows[0])) + 2}")
    assert reason in found[2]
    assert (report.counts.failed, report.counts.inserted) == (1, 21)


async def test_bad_time_costs_the_time_alone(engine: AsyncEngine, tmp_path: Path) -> None:
    bad = item(1, P31=[5], P737=list(range(2, 20)))
    add_time(bad, "P569", "+1990-13-01T00:00:00Z", 11)
    add_time(bad, "P570", "+2020-00-00T00:00:00Z", 9)
    location = dump(tmp_path / "d.json", bad)
    await load(engine, location)
    assert await query(engine, "SELECT source, external_id, field, value FROM quarantine") == [
        ("wikidata-dump/entities", "Q1#P569", "P569", "+1990-13-01T00:00:00Z")
    ]
    assert await query(engine, "SELECT start_year, end_year FROM entity WHERE key = 'Q1'") == [(None, 2020)]
    async with write_session(engine) as session:
        replayed = await quarantine.replay_source(session, "wikidata-dump")
    assert replayed is not None
    report = await pipeline.run(engine, replayed, Options())
    assert (report.counts.processed, report.counts.failed) == (1, 1)


async def test_item_that_cannot_be_stored_is_a_stub_of_its_statements(engine: AsyncEngine, tmp_path: Path) -> None:
    bad = item(1, P737=list(range(2, 20)))
    bad["labels"]["en"]["value"] = "has a \0"
    await load(engine, dump(tmp_path / "d.json", bad, item(2, P737=[1])))
    assert await query(engine, "SELECT is_stub FROM entity WHERE key = 'Q1'") == [(True,)]
    assert await query(engine, "SELECT source, external_id FROM quarantine") == [("wikidata-dump/entities", "Q1")]
    assert len(await query(engine, EDGES)) == 19


def test_transform_of_rows_gives_what_the_reader_gives() -> None:
    source = WikidataDump("d.json", workers=0)
    # Every property, so every rule.
    links = {name: [2, 3] for name in RELATION_PROPERTIES}
    person = item(1, P31=[5], P106=[7], **links)
    add_unknown(person, "P800")
    add_time(person, "P569", "-0384-00-00T00:00:00Z", 9)
    person["descriptions"]["en"] = {"language": "en", "value": "Ἀριστοτέλης"}
    extract = LineReader(("en", "mul"), 1)(Chunk(0, orjson.dumps(person)))
    rows = [RawRow.from_json("wikidata-dump/entities", "Q1", person)] + [
        RawRow.from_json(
            "wikidata-dump/statements", f"Q1#{name} > Q{value}", {"subject": 1, "property": name, "value": value}
        )
        for name in RELATION_PROPERTIES
        for value in links[name]
    ]
    prepared = pipeline.prepare(source, rows, 1 << 56)
    assert extract.prepared.processed == prepared.processed
    for name in ("entity", "influence", "authorship"):
        write = row_writer(STAGED[name].types)
        written = [row for _, row in numbered_rows(extract.prepared.written[name])]
        assert sorted(written) == sorted(map(write, prepared.tables[name]))
    # The chunk describes Q1, so its statements need not mention it.
    mentioned = {(id_, kind) for _, id_, _, kind, *_ in prepared.tables["mention"] if id_ != 1}
    assert {(number, kind) for kind, found in extract.mentions.items() for number in found.numbers} == mentioned


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
async def test_cut_file_fails_and_goes_on_when_it_is_whole(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", 100_000)
    file = tmp_path / f"latest-all.{suffix}"
    dump(file, *generated_dump.lines(60))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SourceError, match="is cut"):
        await load(engine, str(file))
    assert await query(engine, "SELECT count(*) FROM influence") == [(0,)]
    file.write_bytes(whole)
    report = await pipeline.resume(engine, WikidataDump(str(file), workers=0), Options(), 1)
    again = await load(engine, str(file))
    assert report.status is RunStatus.DONE
    assert (again.counts.processed, again.counts.unchanged) == (report.counts.processed, report.counts.processed)


async def test_file_that_stands_loaded_is_not_read_again(engine: AsyncEngine, tmp_path: Path) -> None:
    bad = item(3, P737=[4])
    add_time(bad, "P569", "+1990-13-01T00:00:00Z", 11)
    location = dump(tmp_path / "latest-all.json", bad, *(item(number, P737=[2]) for number in range(10, 20)))
    await load(engine, location)
    before = (await contents(engine))[:4]
    for _ in range(2):
        again = await load(engine, location)
        assert (again.status, again.counts.processed, again.counts.unchanged) == (RunStatus.DONE, 23, 22)
        assert (again.counts.failed, again.counts.retired) == (1, 0)
        assert [note for note in again.notes if note.startswith("not read: the file is as run ")]
        assert (await contents(engine))[:4] == before


async def test_file_is_read_again_when_it_or_the_atlas_has_changed(engine: AsyncEngine, tmp_path: Path) -> None:
    location, other = dump(tmp_path / "d.json", item(1, P737=[2])), dump(tmp_path / "other.json", item(1, P737=[3]))
    os.utime(location, (0, 0))
    await load(engine, location)
    # Of the same size, and said to be as old.
    dump(tmp_path / "d.json", item(1, P737=[4]))
    os.utime(location, (0, 0))
    assert (await load(engine, location)).counts.inserted == 1
    await load(engine, other)
    report = await load(engine, location)
    assert (report.counts.unchanged, list(report.notes)) == (report.counts.processed, [])


async def test_run_killed_as_it_found_a_file_unchanged_goes_on(engine: AsyncEngine, tmp_path: Path) -> None:
    location = dump(tmp_path / "latest-all.json", item(1, P737=[2]))
    await load(engine, location)

    def die(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await load(engine, location, watch=die)
    report = await pipeline.resume(engine, WikidataDump(location, workers=0), Options(), 2)
    assert (report.counts.processed, report.counts.unchanged, report.counts.retired) == (2, 2, 0)
    assert await query(engine, "SELECT count(*) FROM influence") == [(1,)]


async def test_run_does_not_go_on_with_another_file(engine: AsyncEngine, tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    location = dump(tmp_path / "d.json", item(1, P737=[2]))
    assert (await load(engine, location, stop=stop)).status is RunStatus.INTERRUPTED
    dump(tmp_path / "d.json", item(3, P737=[2]))
    with pytest.raises(SourceError, match="not the file the run began with"):
        await pipeline.resume(engine, WikidataDump(location, workers=0), Options(), 1)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dump of three passes with all that is odd in it."""
    bad = item(500, P31=[5], P737=[1000, 501])
    add_time(bad, "P569", "+1990-13-01T00:00:00Z", 11)
    odd: list[Entity | bytes] = [
        bad,
        b'{"cut',
        item(501, P106=[502]),
        item(502, P2579=[503]),
        item(503),
        real("dump/L525"),
    ]
    generated = list(generated_dump.lines(50))
    return dump(tmp_path_factory.mktemp("dump") / "d.json.gz", *generated[:25], *odd, *generated[25:])


@pytest.fixture(scope="module")
async def uninterrupted(big: str, clone: Clone, migrated: str) -> list[list[tuple[Any, ...]]]:
    engine = write_engine(await asyncio.to_thread(clone, migrated))
    await load(engine, big)
    found = await contents(engine)
    await engine.dispose()
    return found


async def test_killed_runs_resume_to_the_same_tables(
    engine: AsyncEngine, database: str, big: str, uninterrupted: list[list[tuple[Any, ...]]]
) -> None:
    command = [sys.executable, "-m", "tests.kill_dump", big, "20261120"]
    environment = os.environ | {"DATABASE_URL": database}
    done = await asyncio.to_thread(subprocess.run, command, env=environment, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (KILLS, "")
    assert await contents(engine) == uninterrupted


async def test_killed_worker_costs_no_row(
    database: str, clone: Clone, migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK_BYTES", 30_000)
    location = dump(tmp_path / "d.json", *generated_dump.lines(40))
    engine, other = write_engine(database), write_engine(await asyncio.to_thread(clone, migrated))
    await load(other, location)
    killed: list[int] = []

    def watch(progress: Progress) -> None:
        for worker in multiprocessing.active_children()[:1] if len(killed) < 2 else ():
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    await load(engine, location, workers=2, watch=watch)
    assert len(killed) == 2
    assert await contents(engine) == await contents(other)
    await engine.dispose()
    await other.dispose()


async def test_limit_is_kept_and_retires_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    location = dump(tmp_path / "latest-all.json", *(item(number, P737=[number + 1]) for number in range(10, 30)))
    await load(engine, location)
    report = await load(engine, location, limit=7)
    assert (report.counts.processed, report.counts.unchanged, report.counts.retired) == (7, 7, 0)


@pytest.mark.parametrize(("name", "retired"), [("latest-all.json.gz", 1), ("some.json.gz", 0)])
async def test_whole_dump_retires_what_it_leaves_out(
    engine: AsyncEngine, tmp_path: Path, name: str, retired: int
) -> None:
    await load(engine, dump(tmp_path / name, item(1, P737=[2, 3]), item(2), item(3)))
    report = await load(engine, dump(tmp_path / name, item(1, P737=[3]), item(2), item(3)))
    assert report.counts.retired == retired
    assert len(await query(engine, EDGES)) == 2 - retired


@pytest.mark.parametrize(
    ("location", "is_whole"),
    [
        ("/data/latest-all.json.bz2", True),
        ("https://example.org/wikidata-20260101-all.json.gz", True),
        ("latest-all.json", True),
        ("latest-truthy.nt.gz", False),
        ("humans.json", False),
    ],
)
def test_whole_dumps_are_known_by_name(location: str, is_whole: bool) -> None:
    assert is_named_whole(location) is is_whole
