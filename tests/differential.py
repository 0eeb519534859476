"""Compare compiled operations with Strawberry's executor over the same data, operation by operation.

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

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.embedded import database
from db.migrations import upgrade
from db.session import read_engine, write_engine
from db.settings import Settings
from db.statements import Readers
from graph.compiled.mapping import NotCompilableError
from graph.compiled.plans import Compiler
from graph.context import Context
from graph.errors import Code
from graph.execution import Compiling
from graph.schema import build
from tests import small_graph
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
    """The two ways to answer, over one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._readers = Readers(engine)
        self.schema = build(compiling=Compiling.NEVER)
        self._compiler = Compiler(self.schema)

    async def check(self, operation: Operation) -> list[str | None]:
        """Compare both answers, with all variables; return why each is not compiled, None for one that is."""
        given = [operation.variables, *operation.others]
        return [await self._compare(operation.document, variables) for variables in given]

    async def _compare(self, document: str, variables: dict[str, Any]) -> str | None:
        context = Context(self._engine)
        answer = await self.schema.answer(self._readers, context, document, variables, None)
        if answer.outcome == Code.LIMIT:
            return "beyond a limit"
        try:
            prepared = self._compiler.prepare(document, None, variables)
        except NotCompilableError as reason:
            return " ".join(str(reason).split()[-4:])
        row = await self._readers.row(prepared.sql, prepared.arguments)
        expected, found = comparable(answer.body), comparable(prepared.body(row["data"], row["cuts"]))
        assert found == expected, f"{document}\n{variables}\n{prepared.sql}"
        return None


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
        return Material(list(keys), list(names), positions, ROOTS)


async def run(url: str, cases: int, seed: int) -> Counter[str]:
    """Check operations; return how many were compiled, and why others were not."""
    engine = read_engine(url, 2, 30)
    counts: Counter[str] = Counter()
    try:
        differential = Differential(engine)
        generator = Generator(differential.schema._schema, await material(engine))
        chance = random.Random(seed)
        while counts.total() < cases:
            for reason in await differential.check(generator.operation(chance)):
                counts[reason or "compiled"] += 1
    finally:
        await engine.dispose()
    return counts


async def load_small(url: str) -> None:
    """Load the small graph, which has what is awkward."""
    engine = write_engine(url)
    await small_graph.load(engine)
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
        environment = os.environ | {"DATABASE_URL": url}
        if options.small:
            asyncio.run(load_small(url))
        else:
            subprocess.run([sys.executable, "-m", "etl", "sample"], env=environment, check=True, capture_output=True)
        begin = time.perf_counter()
        counts = asyncio.run(run(url, options.cases, options.seed))
        seconds = time.perf_counter() - begin
    share = counts["compiled"] / counts.total()
    lines = [f"{counts.total()} operations, seed {options.seed}: all equal, {share:.0%} compiled, {seconds:.0f} s"]
    lines += [f"  {count:7} {reason}" for reason, count in counts.most_common(20)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
