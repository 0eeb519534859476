"""Compare compiled operations, and our executor, with Strawberry's own over the same data, operation by operation.

    uv run python -m tests.differential 20000
    uv run python -m tests.differential 20000 --seed 7

Every operation must have the same answer, in the same order of keys, told errors and cut lists included.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from db.embedded import database
from db.migrations import upgrade
from db.record_keys import Position, RecordOrder
from db.session import read_engine, write_engine
from db.settings import Settings
from db.statements import Readers
from graph import limits
from graph.cache import Answer
from graph.compiled.mapping import NotCompilableError
from graph.compiled.plans import Prepared
from graph.context import Context
from graph.errors import Code
from graph.execution import AtlasSchema, Compiling
from graph.pagination import decode_cursor
from graph.records import write_position
from graph.schema import build
from tests import small_graph, small_records
from tests.generated_operations import Generator, Material, Operation

ROOTS = (
    "entity",
    "node",
    "nodes",
    "figureDetail",
    "entities",
    "timelineFigures",
    "interdisciplinaryContext",
    "lineage",
    "knowledgeRoadmap",
    "roadmap",
    "entity",
    "entities",
    "figureDetail",
    "lineage",
    "data",
    "data",
    "path",
    "dataVersion",
)
"""The root fields to ask for; those that are never compiled are rare."""

_POSITIONS = {
    "NAME": "SELECT name_folded, id FROM entity ORDER BY hashint8(id) LIMIT 40",
    "START": "SELECT start_first, id FROM entity ORDER BY hashint8(id) LIMIT 40",
    "ID": "SELECT NULL, id FROM entity ORDER BY hashint8(id) LIMIT 40",
    "LEVEL": "SELECT level, entity_id FROM entity_measure ORDER BY hashint8(entity_id) LIMIT 40",
    "PAGERANK": "SELECT page_rank::float8, entity_id FROM entity_measure ORDER BY hashint8(entity_id) LIMIT 40",
    "DEGREE": "SELECT degree, entity_id FROM entity_measure ORDER BY hashint8(entity_id) LIMIT 40",
}


class Differential:
    """The ways to answer, over one database: by Strawberry's own executor, by ours, and compiled where that can be.

    What a request may have and cost is limited by its size alone.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._readers = Readers(engine)
        self.strawberry, self.plain = build(compiling=Compiling.NEVER), build(compiling=Compiling.NEVER)
        self.strawberry.execution_context_class = StrawberryGraphQLCoreExecutionContext
        self.compiling = build(compiling=Compiling.ALWAYS)
        for schema in (self.strawberry, self.plain, self.compiling):
            vars(schema.parsed)["check_cost"] = lambda _: None
        # The executor would answer then, and nothing would have been compared.
        vars(self.compiling)["note_failure"] = _fail

    async def check(self, operation: Operation) -> list[str | None]:
        """Compare both answers, with all variables; return why each is not compiled, None for one that is."""
        given = [operation.variables, *operation.others]
        with patch.object(limits, "MAX_ALIASES", 1_000):
            return [await self._compare(operation.document, variables) for variables in given]

    async def _compare(self, document: str, variables: dict[str, Any]) -> str | None:
        expected = await self._answer(self.strawberry, document, variables)
        for schema in (self.plain, self.compiling):
            found = await self._answer(schema, document, variables)
            assert comparable(found.body) == comparable(expected.body), f"{document}\n{variables}"
        if expected.outcome == Code.LIMIT:
            return "beyond a limit"
        try:
            self.compiling.compiler.prepare(document, None, variables)
        except NotCompilableError as reason:
            parts = self.compiling.compiler.prepare_parts(document, None, variables)
            return "compiled in part" if parts else " ".join(str(reason).split()[-4:])
        return None

    async def _answer(self, schema: AtlasSchema, document: str, variables: dict[str, Any]) -> Answer:
        return await schema.answer(self._readers, Context(self._engine), document, variables, None)


def _fail(_prepared: Prepared, error: Exception) -> None:
    raise AssertionError("a compiled statement failed") from error


def comparable(body: bytes) -> Any:
    """Return JSON in which the order of keys counts, and of cut lists does not."""
    pairs = json.loads(body, object_pairs_hook=list, parse_float=_number, parse_int=_number)
    for name, extensions in pairs:
        if name == "extensions":
            extensions[:] = [[key, sorted(map(repr, listed))] for key, listed in extensions]
    return pairs


def _number(text: str) -> tuple[str, float]:
    # JSON has one kind of number: 1 and 1.0 are the same. A bool, for Python, is a number too.
    return "number", float(text) if len(text) < 15 or "." in text else int(text)


async def material(engine: AsyncEngine) -> Material:
    """Read what operations are made of."""
    async with engine.connect() as connection:
        keys = await connection.scalars(
            text(
                "(SELECT key FROM entity ORDER BY hashint8(id) LIMIT 150) UNION ALL"
                " (SELECT key FROM entity JOIN entity_measure ON entity_id = id ORDER BY degree DESC LIMIT 150)"
            )
        )
        names = await connection.scalars(
            text("SELECT name FROM entity WHERE name <> '' ORDER BY hashint8(id) LIMIT 50")
        )
        positions: dict[str, list[tuple[Any, ...]]] = {}
        for order, statement in _POSITIONS.items():
            rows = [tuple(row) for row in await connection.execute(text(statement))]
            positions |= {f"{order}_ASC": rows, f"{order}_DESC": rows}
        edges = await connection.execute(text("SELECT type::text, source_id FROM influence LIMIT 40"))
        positions["INFLUENCES"] = [tuple(row) for row in edges]
        for record_order in RecordOrder:
            value = "NULL" if record_order.column is None else record_order.column.name
            records = await connection.execute(
                text(f"SELECT {value}, source, external_id FROM record ORDER BY hashtext(external_id) LIMIT 40")
            )
            cursors = [write_position(Position(*row), record_order) for row in records]
            kinds = (str, type(None))
            positions[f"RECORD_{record_order}"] = [
                decode_cursor(one, f"RECORD_{record_order}", kinds, str, str) for one in cursors
            ]
        sources = await connection.scalars(text("SELECT DISTINCT source FROM record"))
        titles = await connection.scalars(text("SELECT DISTINCT title FROM record WHERE title IS NOT NULL LIMIT 40"))
        found = list(keys), list(names), positions, list(sources), list(titles)
    roots = [name for name in ROOTS if name == "dataVersion" or (found[3] if name == "data" else found[0])]
    return Material(*found[:3], roots, *found[3:])


async def run(url: str, cases: int, seed: int) -> Counter[str]:
    """Check operations; return how many were compiled, and why others were not."""
    engine = read_engine(url, 2, 30)
    counts: Counter[str] = Counter()
    try:
        differential = Differential(engine)
        generator = Generator(differential.strawberry._schema, await material(engine))
        chance = random.Random(seed)
        while counts.total() < cases:
            for reason in await differential.check(generator.operation(chance)):
                counts[reason or "compiled"] += 1
    finally:
        await engine.dispose()
    return counts


async def load_small(url: str, *, with_graph: bool) -> None:
    """Load the small records and the small graph, which have what is awkward."""
    engine = write_engine(url)
    if with_graph:
        await small_graph.load(engine)
    await small_records.load(engine)
    await engine.dispose()


def main() -> None:
    """Read the command line, load the sample into a database of its own, and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__.partition("\n")[0])
    parser.add_argument("cases", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="over the small graph of the tests, not the sample")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        database(Settings(database_url=None, data_dir=Path(directory))) as url,
    ):
        upgrade(url)
        if not options.small:
            environment = os.environ | {"DATABASE_URL": url}
            subprocess.run([sys.executable, "-m", "etl", "sample"], env=environment, check=True, capture_output=True)
        asyncio.run(load_small(url, with_graph=options.small))
        begin = time.perf_counter()
        counts = asyncio.run(run(url, options.cases, options.seed))
        seconds = time.perf_counter() - begin
    share = counts["compiled"] / counts.total()
    lines = [f"{counts.total()} operations, seed {options.seed}: all equal, {share:.0%} compiled, {seconds:.0f} s"]
    lines += [f"  {count:7} {reason}" for reason, count in counts.most_common(20)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
