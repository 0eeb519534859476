from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.dates import Calendar, HistoricalDate, Precision
from db.errors import AtlasError
from db.models.atlas import Kind
from db.models.operations import FigureGroup
from db.session import write_session
from etl import pipeline
from etl.facts import EntityRecord
from etl.pipeline import Options
from etl.reports import compare, is_odd, kind_of_reason, load_report, summary
from etl.source import RawRow
from tests.rows import Rows

GROUP = FigureGroup.ENTITIES


class DatedRows(Rows):
    """Rows whose "born" and "died" are years."""

    max_failed_share = 1.0

    def transform(self, row: RawRow) -> Any:
        value = row.json()
        if "born" not in value:
            return super().transform(row)
        dates = {
            side: HistoricalDate.build(value[name], None, None, Precision.YEAR, Calendar.GREGORIAN)
            for side, name in (("start", "born"), ("end", "died"))
            if value.get(name) is not None
        }
        return [EntityRecord(key=value["id"], kind=Kind.AGENT, dataset="test", name=value["id"], **dates)]


def edge(source: str, target: str, rule: str = "P737", edge_type: str = "INFLUENCED") -> dict[str, str]:
    return {"from": source, "to": target, "rule": rule, "type": edge_type}


ROWS = [
    {"id": "Q1", "born": 85, "died": 40},
    {"id": "Q2", "born": 1900, "died": None},
    {"id": "Q3"},
    {"id": "Q4", "name": "Concept", "kind": "CONCEPT"},
    edge("Q5", "Q1"),
    edge("Q5", "Q1", "P941"),
    edge("Q3", "Q4", "P279", "PREREQUISITE_FOR"),
    edge("Q4", "Q3", "P527", "PREREQUISITE_FOR"),
    edge("Q2", "Q1"),
    {"id": "Q7", "bad": "17"},
    {"id": "Q8", "bad": "x"},
]


async def load(engine: AsyncEngine, rows: list[Any], name: str = "rows") -> dict[str, Any]:
    """Load rows and return the run's report, its figures as {(group, name): (value, previous, odd)}."""
    report = await pipeline.run(engine, DatedRows(rows, name), Options())
    async with write_session(engine) as session:
        found = await load_report(session, report.run)
    figures = {(row["group"], row["name"]): (row["value"], row["previous"], row["odd"]) for row in found["figures"]}
    return found | {"figures": figures}


async def test_report_counts_what_the_run_left(engine: AsyncEngine) -> None:
    report = await load(engine, ROWS)
    values = {key: value for key, (value, _, _) in report["figures"].items()}
    assert values == {
        ("ROWS", "processed"): 11,
        ("ROWS", "inserted"): 7,
        ("ROWS", "updated"): 0,
        ("ROWS", "unchanged"): 1,
        ("ROWS", "failed"): 3,
        ("ROWS", "retired"): 0,
        ("REJECTS", "bad: marked as bad"): 2,
        ("REJECTS", "source: … begins in …, after … ended in …: it cannot have led there"): 1,
        ("ENTITIES", "agents"): 4,
        ("ENTITIES", "works"): 0,
        ("ENTITIES", "concepts"): 1,
        ("ENTITIES", "stubs"): 1,
        ("STATEMENTS", "test/P737"): 1,
        ("STATEMENTS", "test/P941"): 1,
        ("STATEMENTS", "test/P279"): 1,
        ("STATEMENTS", "test/P527"): 1,
        ("LABELS", "described entities without a name"): 1,
        ("LABELS", "stubs without a name"): 1,
        ("DATES", "starts in the years 1 to 99"): 1,
        ("DATES", "ends in the years 1 to 99"): 1,
        ("DATES", "ends before the start"): 1,
        ("GRAPH", "prerequisite cycles"): 1,
        ("GRAPH", "components"): 2,
        ("GRAPH", "largest component"): 2,
        ("GRAPH", "entities without an edge"): 1,
    }
    assert {previous for _, previous, _ in report["figures"].values()} == {None}


async def test_report_is_compared_with_the_run_before_of_its_source(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    await load(engine, [{"id": f"Q{number}", "name": "More"} for number in range(100, 120)], "others")
    third = await load(engine, [*ROWS[:-2], *({"id": f"Q{number}", "bad": "y"} for number in range(200, 213))])
    assert third["previous_run"] == 1
    assert third["figures"]["REJECTS", "bad: marked as bad"] == (13, 2, True)
    assert third["figures"]["ENTITIES", "agents"] == (24, 4, True)
    assert third["figures"]["ROWS", "inserted"] == (0, 7, False)
    assert third["figures"]["STATEMENTS", "test/P737"] == (1, 1, False)
    assert summary(third | {"figures": [{"odd": True}]}).endswith("compared with run 1: 1 moved oddly")


async def test_reason_that_is_gone_counts_as_zero(engine: AsyncEngine) -> None:
    await load(engine, ROWS)
    second = await load(engine, ROWS[:-2])
    assert second["figures"]["REJECTS", "bad: marked as bad"] == (0, 2, True)


async def test_unchanged_run_takes_the_counts_over(engine: AsyncEngine) -> None:
    first = await load(engine, ROWS)
    async with engine.begin() as connection:
        # Counting again would find it.
        await connection.execute(text("UPDATE entity SET start_year = 50 WHERE key = 'Q3'"))
    second = await load(engine, ROWS)
    assert second["data_version"] == first["data_version"]
    assert second["figures"]["DATES", "starts in the years 1 to 99"] == (1, 1, False)
    assert not any(odd for _, _, odd in second["figures"].values())


@pytest.mark.parametrize(
    ("value", "previous", "odd"),
    [
        (100, 100, False),
        (120, 100, False),
        (121, 100, True),
        (79, 100, True),
        (80, 100, False),
        (19, 10, False),
        (20, 10, True),
        (1, 0, True),
        (0, 3, True),
        (0, 0, False),
        (1_000_000, 900_000, False),
    ],
)
def test_count_is_odd_when_it_moves_much(value: int, previous: int, odd: bool) -> None:
    assert is_odd(value, previous) is odd


def test_comparison_leaves_out_what_was_not_counted() -> None:
    figures = {(GROUP, "agents"): 5}
    measured = figures | {(FigureGroup.GRAPH, "cycles"): 1}
    assert [row["previous"] for row in compare(measured, figures)] == [5, None]
    assert [row["name"] for row in compare(figures, measured)] == ["agents"]
    assert compare(figures, {(GROUP, "works"): 2})[1] == {
        "group": "ENTITIES",
        "name": "works",
        "value": 0,
        "previous": 2,
        "odd": True,
    }


@pytest.mark.parametrize(
    ("field", "reason", "expected"),
    [
        (
            "source",
            "Q1 begins in 1900, after Q22 ended in -5: it cannot have led there",
            "source: … begins in …, after … ended in …: it",
        ),
        (None, "has the same internal id as metacademy:bayes_rule", "has the same internal id as …"),
        ("p", "not the URI of a Wikidata item", "p: not the URI of a Wikidata item"),
        ("p", "'abc' is not a date", "p: … is not a date"),
        ("x", "cannot read http://example.org/a?b=1 at 2.5", "x: cannot read … at …"),
        (
            None,
            "not JSON: unexpected end of data: line 1 column 7",
            "not JSON: unexpected end of data: line … column …",
        ),
    ],
)
def test_reason_is_grouped_without_its_values(field: str | None, reason: str, expected: str) -> None:
    assert kind_of_reason(field, reason).startswith(expected)


async def test_run_without_a_report_says_why(engine: AsyncEngine) -> None:
    async with write_session(engine) as session:
        with pytest.raises(AtlasError, match="no run has a report yet"):
            await load_report(session, None)
        with pytest.raises(AtlasError, match="there is no run 7"):
            await load_report(session, 7)
        await session.execute("INSERT INTO etl_run (source, params, status) VALUES ('a', '{}', 'FAILED')")
        with pytest.raises(AtlasError, match=r"run 1 \(FAILED\) has no report"):
            await load_report(session, 1)
