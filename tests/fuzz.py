"""Send operations that schemathesis makes up from the schema: whatever they are, none may fail on our side.

    uv run python -m tests.fuzz 5000
    uv run python -m tests.fuzz 5000 --seed 7

They are sent over the small graph; the outcomes are counted by status and code.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from graphql import ValueNode
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.graphql import nodes

from db.embedded import database
from db.migrations import upgrade
from db.session import write_engine
from db.settings import Settings
from graph.limits import MAX_ANSWER_BYTES
from graph.schema import schema
from tests import small_graph, small_records
from tests.loopback import on_loopback
from tests.test_attacks import INTERNALS

TEXTS = st.text(max_size=30).map(nodes.String)
INTEGERS = st.integers().map(nodes.Int)
SCALARS: dict[str, st.SearchStrategy[ValueNode]] = {
    "Year": st.one_of(st.integers(-4000, 2100).map(nodes.Int), INTEGERS, TEXTS),
    "BigInt": st.one_of(INTEGERS, st.integers().map(str).map(nodes.String), TEXTS),
    "Date": st.one_of(st.dates().map(lambda date: nodes.String(date.isoformat())), TEXTS),
    "DateTime": st.one_of(st.datetimes().map(lambda moment: nodes.String(moment.isoformat() + "Z")), TEXTS),
    "JSON": st.one_of(INTEGERS, TEXTS, st.booleans().map(nodes.Boolean), st.just(nodes.Null)),
    # Ids that are there, more often than not: else nothing would be found.
    "ID": st.one_of(st.sampled_from([row["key"] for row in small_graph.ENTITIES]).map(nodes.String), TEXTS),
}


def fuzz(url: str, examples: int, first: int) -> Counter[str]:
    """Send so many operations to the endpoint at a URL; raises AssertionError for an answer that must not be."""
    outcomes: Counter[str] = Counter()
    for name, strategy in SCALARS.items():
        schemathesis.graphql.scalar(name, strategy)
    made = schemathesis.graphql.from_file(schema.as_str()).as_strategy()

    @seed(first)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=made)
    def send(case: "Case[Any]") -> None:
        answer = http.post(url, json={"query": case.body})
        outcomes[outcome_of(case.body, answer)] += 1

    with httpx.Client(timeout=60) as http:
        send()
    return outcomes


def outcome_of(query: Any, answer: httpx.Response) -> str:
    """Return the status and the codes of an answer; raises AssertionError when we are to blame, or tell too much."""
    assert answer.status_code < 500, (query, answer.text)
    assert len(answer.content) <= MAX_ANSWER_BYTES, query
    assert not INTERNALS.search(answer.text), (query, answer.text)
    codes = sorted({error["extensions"]["code"] for error in answer.json().get("errors", ())})
    assert "INTERNAL" not in codes, (query, answer.text)
    return " ".join([str(answer.status_code), *codes])


async def run(examples: int, first: int) -> Counter[str]:
    """Serve the small graph and send it so many operations."""
    with tempfile.TemporaryDirectory() as directory:
        settings_ = Settings(database_url=None, data_dir=Path(directory))
        with database(settings_) as url:
            await asyncio.to_thread(upgrade, url)
            engine = write_engine(url)
            await small_graph.load(engine)
            await small_records.load(engine)
            await engine.dispose()
            async with on_loopback(url) as client:
                return await asyncio.to_thread(fuzz, f"{client.http.base_url}/graphql", examples, first)


def main() -> None:
    """Send what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given_ = parser.parse_args()
    begun = time.monotonic()
    outcomes = asyncio.run(run(given_.examples, given_.seed))
    seconds = time.monotonic() - begun
    lines = [f"seed {given_.seed}: {outcomes.total()} operations in {seconds:.0f} s, none of them failed"]
    lines += [f"{count:>7,}  {outcome}" for outcome, count in outcomes.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
