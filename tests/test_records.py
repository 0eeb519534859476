import math
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Dialect, text
from sqlalchemy.dialects import postgresql

from db import records
from db.reading import ReadSession
from db.record_keys import Position, RecordOrder, RecordPage, Wanted
from db.rows import limited
from db.session import write_engine
from graph.records import read_position, write_position
from tests import small_records
from tests.client import Client
from tests.small_records import BIG, RECORDS

DATA = """
query ($source: String, $filter: RecordFilter, $search: String, $orderBy: RecordOrder! = ID_ASC,
       $first: Int, $after: String, $last: Int, $before: String) {
  data(source: $source, filter: $filter, search: $search, orderBy: $orderBy,
       first: $first, after: $after, last: $last, before: $before) {
    totalCount totalCountKind pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { id source sourceId title value createdAt updatedAt attributes } }
  }
}
"""
DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
COLUMNS = {"TITLE": "title", "VALUE": "value", "CREATED": "created_at", "UPDATED": "updated_at"}


def expected(order: RecordOrder, source: str | None = None) -> list[str]:
    """The ids in an order, as Python sorts them."""
    name, _, direction = order.partition("_")
    column = COLUMNS.get(name)
    rows = [row for row in RECORDS if source in (None, row["source"])]

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        value = row[column] if column else None
        if isinstance(value, float) and math.isnan(value):
            return (1, 0.0, row["source"], row["external_id"].encode())
        return (0, value.encode() if isinstance(value, str) else value, row["source"], row["external_id"].encode())

    known = [row for row in rows if column is None or row[column] is not None]
    unknown = [row for row in rows if row not in known]
    unknown_key = lambda row: (row["source"], row["external_id"].encode())  # noqa: E731
    is_reversed = direction == "DESC"
    ordered = sorted(known, key=key if column else unknown_key, reverse=is_reversed)
    ordered += sorted(unknown, key=unknown_key, reverse=is_reversed)
    return [f"{row['source']}/{row['external_id']}" for row in ordered]


async def walk(client: Client, backward: bool, size: int, **wanted: Any) -> list[str]:
    """The ids of all pages, one after the other, in the list's own order."""
    found: list[str] = []
    cursor = None
    while True:
        window = {"last": size, "before": cursor} if backward else {"first": size, "after": cursor}
        page = (await client.ask(DATA, **window, **wanted))["data"]
        ids = [edge["node"]["id"] for edge in page["edges"]]
        found = ids + found if backward else found + ids
        info = page["pageInfo"]
        assert info["hasNextPage" if not backward else "hasPreviousPage"] == (len(found) < page["totalCount"])
        assert (info["hasPreviousPage" if not backward else "hasNextPage"]) == (cursor is not None)
        if len(found) >= page["totalCount"]:
            return found
        cursor = info["startCursor" if backward else "endCursor"]


@pytest.mark.parametrize(("order", "backward"), list(product(RecordOrder, (False, True))))
async def test_data_pages_both_ways_in_every_order(shop: Client, order: RecordOrder, backward: bool) -> None:
    for source, size in ((None, 1), (None, 4), ("shop", 3), ("people", 100)):
        found = await walk(shop, backward, size, orderBy=order, source=source)
        assert found == expected(order, source)


async def test_data_goes_on_from_a_cursor_of_another_source(shop: Client) -> None:
    page = (await shop.ask(DATA, first=3, orderBy="VALUE_ASC", source="shop"))["data"]
    ids = expected(RecordOrder.VALUE_ASC)
    place = ids.index(page["edges"][-1]["node"]["id"])
    after = page["pageInfo"]["endCursor"]
    found = (await shop.ask(DATA, after=after, first=100, orderBy="VALUE_ASC", source="people"))["data"]["edges"]
    assert [edge["node"]["id"] for edge in found] == [one for one in ids[place + 1 :] if one.startswith("people")]


@pytest.mark.parametrize("order", list(RecordOrder))
def test_position_comes_back_from_its_cursor(order: RecordOrder) -> None:
    values: dict[type, list[Any]] = {
        str: ["", "Ä", "5", None],
        float: [0.1, -0.0, 1e300, math.inf, -math.inf, None],
        datetime: [datetime(1, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 1, 1, 1, 1, tzinfo=UTC), None],
    }
    for value in [None] if order.column is None else values[order.column.type.python_type]:
        position = Position(value, "shop", "a/b")
        assert read_position(write_position(position, order), order) == position


async def test_data_in_pages_skips_to_an_offset(shop: Client) -> None:
    session = ReadSession(shop.app.state.engine)
    for order in RecordOrder:
        found, has_more = await records.record_page(session, RecordPage(Wanted(), order, 4, offset=22))
        assert [f"{row.source}/{row.external_id}" for row in found] == expected(order)[22:26]
        assert has_more is True
    await session.close()


async def test_data_gives_large_numbers_and_odd_names_whole(shop: Client) -> None:
    response = await shop.http.post("/graphql", json={"query": DATA, "variables": {"search": "wild card"}})
    assert str(BIG).encode() in response.content
    (edge,) = response.json()["data"]["data"]["edges"]
    assert (edge["node"]["title"], edge["node"]["attributes"]["a.b"]) == ('100% "wild" _card\\', {"": None})


async def test_value_that_is_not_finite_is_null(shop: Client) -> None:
    edges = (await shop.ask(DATA, source="people", filter={"sourceId": {"in": ["inf", "nan", "00"]}}))["data"]["edges"]
    assert [edge["node"]["value"] for edge in edges] == [0.5, None, None]


RAW = '{ record(id: "shop/00") { id raw { id kind payload } run { id source } } }'


async def test_record_has_its_raw_row_and_run(shop: Client) -> None:
    response = await shop.http.post("/graphql", json={"query": RAW})
    assert f'"payload":{{"value": {BIG}}}'.encode() in response.content
    record = response.json()["data"]["record"]
    assert (record["raw"]["id"], record["raw"]["kind"], record["run"]) == (
        "rest/shop/00",
        "rest",
        {"id": 4, "source": "shop"},
    )


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ('id: "shop/a/b %"', "shop/a/b %"),
        ('source: "shop", sourceId: "Ä"', "shop/Ä"),
        ('id: "people/99"', None),
        ('id: "shop/"', None),
    ],
)
async def test_record_is_found_by_its_id(shop: Client, arguments: str, found: str | None) -> None:
    record = (await shop.ask(f"{{ record({arguments}) {{ id }} }}"))["record"]
    assert record == (found and {"id": found})


async def test_nested_fields_cost_a_statement_a_level(shop: Client) -> None:
    with shop.statements() as seen:
        await shop.ask("{ data(first: 20) { edges { node { raw { run { id } } run { id } } } } }")
    assert len(seen) == 4


@pytest.mark.parametrize(("field", "cost"), [("edges { cursor }", 1), ("totalCount totalCountKind", 2)])
async def test_count_costs_nothing_unless_asked(shop: Client, field: str, cost: int) -> None:
    with shop.statements() as seen:
        await shop.ask(f"{{ data {{ {field} }} }}")
    assert len(seen) == cost


async def test_count_above_the_bound_is_estimated(shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "EXACT_UP_TO", 5)
    with shop.statements() as seen:
        page = (await shop.ask('{ data(search: "number") { totalCount totalCountKind } }'))["data"]
    assert (page["totalCount"] >= 6, page["totalCountKind"]) == (True, "ESTIMATED")
    assert seen[-1].startswith("EXPLAIN (FORMAT JSON) SELECT")
    few = (await shop.ask(DATA, filter={"title": {"startsWith": "100%"}}))["data"]
    assert (few["totalCount"], few["totalCountKind"]) == (1, "EXACT")


async def test_lists_read_indexes_only_as_far_as_they_must(database: str) -> None:
    engine = write_engine(database)
    await small_records.load(engine)
    gaps = ", ".join(
        f"CASE WHEN n < 18000 THEN {value} END" for value in ("md5(n::text)", "n % 1000", *2 * ["to_timestamp(n)"])
    )
    fill = (
        "INSERT INTO record (source, external_id, title, value, created_at, updated_at, run_id)"
        f" SELECT 's' || n % 3, lpad(n::text, 5, '0'), {gaps}, 1 FROM generate_series(1, 20000) AS n"
    )
    async with engine.begin() as connection:
        await connection.execute(text(fill))
        await connection.execute(text("ANALYZE record"))
    values: dict[str, Any] = {"TITLE": "8", "VALUE": 500.0, "CREATED": datetime.fromtimestamp(10_000, UTC)}
    async with engine.connect() as connection:
        for order, source, is_first in product(RecordOrder, (None, "s1"), (True, False)):
            value = values.get(order.partition("_")[0], values["CREATED"]) if order.column else None
            position = None if is_first else Position(value, "s1", "05000")
            page = RecordPage(Wanted(source=source), order, 20, position, is_within=source is not None)
            keys = limited(page.rows().select(["source", "external_id", "title"]), 20)
            statement = keys.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
            plan = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
            assert most_rows_read(plan.scalar_one()[0]["Plan"]) <= 21 * 3 * 4, order
    await engine.dispose()


def most_rows_read(plan: dict[str, Any]) -> float:
    """The most rows that a node of a plan gave or passed over, in all of its loops."""
    here: float = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return max([here, *(most_rows_read(child) for child in plan.get("Plans", ()))])
