from typing import Any

import pytest

from db.listings import EntityOrder
from graph.listings import SEARCH_CURSOR
from graph.pagination import encode_cursor
from tests.client import Client
from tests.small_graph import ENTITIES, MEASURES

PAGE = """
query ($filter: EntityFilter, $orderBy: EntityOrder!, $first: Int, $after: String, $last: Int, $before: String) {
  entities(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { id name start { year } } }
  }
}
"""
IDS = (
    "query ($filter: EntityFilter) { entities(filter: $filter, orderBy: ID_ASC, first: 100) { edges { node { id } } } }"
)

_COLUMNS = {
    "NAME": "name_folded",
    "START": "start_first",
    "LEVEL": "level",
    "PAGERANK": "page_rank",
    "DEGREE": "degree",
    "ID": "id",
}
ROWS: list[dict[str, Any]] = [
    dict.fromkeys(("level", "page_rank", "degree")) | row | MEASURES.get(row["key"], {}) for row in ENTITIES
]


def expected_order(order: EntityOrder) -> list[str]:
    """Sort as the order says, in Python: unknown last, ties by id, by bytes."""
    name, _, direction = order.partition("_")
    column = _COLUMNS[name]

    def comparable(row: dict[str, Any]) -> Any:
        value = row[column]
        return value.encode() if isinstance(value, str) else value

    descending = direction == "DESC"
    known = sorted(
        (row for row in ROWS if row[column] is not None),
        key=lambda row: (comparable(row), row["id"]),
        reverse=descending,
    )
    unknown = sorted((row for row in ROWS if row[column] is None), key=lambda row: row["id"], reverse=descending)
    return [row["key"] for row in known + unknown]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("order", EntityOrder)
async def test_pages_forwards_are_the_ordered_list(atlas: Client, order: EntityOrder, size: int) -> None:
    found, after, has_next = [], None, True
    while has_next:
        page = (await atlas.ask(PAGE, orderBy=order, first=size, after=after))["entities"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        found += [edge["node"]["id"] for edge in page["edges"]]
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == expected_order(order)
    assert page["totalCount"] == len(ENTITIES)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("order", EntityOrder)
async def test_pages_backwards_are_the_ordered_list(atlas: Client, order: EntityOrder, size: int) -> None:
    found: list[str] = []
    before, has_previous = None, True
    while has_previous:
        page = (await atlas.ask(PAGE, orderBy=order, last=size, before=before))["entities"]
        assert page["pageInfo"]["hasNextPage"] is (before is not None)
        found = [edge["node"]["id"] for edge in page["edges"]] + found
        before, has_previous = page["pageInfo"]["startCursor"], page["pageInfo"]["hasPreviousPage"]
    assert found == expected_order(order)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"kinds": ["WORK"]}, ["Q201", "Q202", "Q203", "Q204"]),
        ({"nameStartsWith": "KANT"}, ["Q106", "Q107"]),
        ({"nameStartsWith": "kurt go"}, ["Q41390"]),
        ({"nameStartsWith": "100% [wild] _"}, ["Q105"]),
        ({"nameStartsWith": "%"}, []),
        ({"disciplines": ["Biology", "mathematics"]}, ["Q868", "Q41390"]),
        ({"isStub": True}, ["Q104"]),
        ({"kinds": ["AGENT"], "datasets": ["other"]}, []),
        ({"bornBetween": {"from": -430, "to": -380}}, ["Q101", "Q859", "Q868"]),
        ({"bornBetween": {"from": 1844, "to": 1844}}, ["Q9358"]),
        ({"startBetween": {"from": 1880, "to": 1910}}, ["Q203", "Q204", "Q41390"]),
        ({"field": "logic", "nameStartsWith": "f"}, ["test:far"]),
        ({"kinds": []}, []),
    ],
)
async def test_filter_takes_what_fits(atlas: Client, wanted: dict[str, Any], expected: list[str]) -> None:
    page = (await atlas.ask(IDS, filter=wanted))["entities"]
    assert [edge["node"]["id"] for edge in page["edges"]] == expected


async def test_total_is_counted_only_when_asked(atlas: Client) -> None:
    with atlas.statements() as seen:
        await atlas.ask("{ entities(first: 2) { edges { node { id } } } }")
    assert len(seen) == 1
    assert "count(" not in seen[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ["Anaxagoras", "Socrates", "Plato", "Aristotle", "Kant", "Kantor Someone"]),
        ('discipline: ["Philosophy"]', ["Socrates", "Plato", "Aristotle", "Kant", "Friedrich Nietzsche"]),
        ('discipline: ["biology", null]', ["Aristotle"]),
        ("yearRange: [-500, -400]", ["Anaxagoras", "Socrates", "Plato"]),
        ("yearRange: [-400, -300]", ["Anaxagoras", "Aristotle"]),
        ("yearRange: [1724, 1724], discipline: []", ["Kant", "Kantor Someone"]),
    ],
)
async def test_timeline_goes_by_birth(atlas: Client, arguments: str, expected: list[str]) -> None:
    call = f"timelineFigures({arguments})" if arguments else "timelineFigures"
    found = [figure["name"] for figure in (await atlas.ask(f"{{ {call} {{ name }} }}"))["timelineFigures"]]
    assert found[:6] == expected


@pytest.mark.parametrize(
    ("year", "fields", "expected"),
    [
        (-400, None, ["Anaxagoras", "Socrates", "Plato"]),
        (1844, None, ["Without Birth", "Without Death", "Friedrich Nietzsche"]),
        (1844, ["philosophy"], ["Friedrich Nietzsche"]),
        (1900, None, ["Without Death", "Friedrich Nietzsche"]),
        (1931, None, ["Kurt Gödel"]),
        (1785, None, ["Kant", "Kantor Someone", "Without Birth"]),
    ],
)
async def test_context_is_who_may_have_lived(
    atlas: Client, year: int, fields: list[str] | None, expected: list[str]
) -> None:
    query = "query ($year: Int!, $fields: [String]) { interdisciplinaryContext(year: $year, fields: $fields) { name } }"
    found = (await atlas.ask(query, year=year, fields=fields))["interdisciplinaryContext"]
    assert sorted(figure["name"] for figure in found) == sorted(expected)


async def test_timeline_says_when_it_is_cut(atlas: Client) -> None:
    answer = await atlas.answer("{ timelineFigures(first: 2) { name } }")
    assert [figure["name"] for figure in answer["data"]["timelineFigures"]] == ["Anaxagoras", "Socrates"]
    assert answer["extensions"]["truncated"] == [{"path": ["timelineFigures"], "limit": 2}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("godel", ["Q41390"]),
        ("GÖDEL  kurt", ["Q41390"]),
        ("Kant", ["Q106", "Q107", "Q108"]),
        ("friedrich nie", ["Q9358"]),
        ("Aristoteles", ["Q868"]),
        ("アリストテレス", ["Q868"]),
        ("knowing kant", []),
        ("kants", ["Q106", "Q108"]),
        ("100% [wild]", ["Q105"]),
        ("%", []),
        ("' | !( : *", []),
    ],
)
async def test_search_finds_names_before_mentions(atlas: Client, query: str, expected: list[str]) -> None:
    search = "query ($query: String!) { search(query: $query) { totalCount edges { node { id } } } }"
    found = (await atlas.ask(search, query=query))["search"]
    assert [edge["node"]["id"] for edge in found["edges"]] == expected
    assert found["totalCount"] == len(expected)


@pytest.mark.parametrize("query", ["", "  ", "\u0301"])
async def test_search_for_nothing_is_refused(atlas: Client, query: str) -> None:
    code, message = await atlas.refusal("query ($text: String!) { search(query: $text) { totalCount } }", text=query)
    assert code == "BAD_INPUT"
    assert "at least one letter" in message


@pytest.mark.parametrize("position", [(2**62, 0.0, 1), (-(2**62), -1e308, 1)])
async def test_search_takes_any_position(atlas: Client, position: tuple[int, float, int]) -> None:
    cursor = encode_cursor(SEARCH_CURSOR, position)
    await atlas.ask('query ($after: String) { search(query: "a", after: $after) { totalCount } }', after=cursor)


async def test_search_pages_and_keeps_to_kinds(sample: Client) -> None:
    query = """query ($first: Int, $after: String, $kinds: [Kind!]) {
        search(query: "bayes", first: $first, after: $after, kinds: $kinds) {
            pageInfo { hasNextPage endCursor } edges { node { id } } } }"""
    whole = (await sample.ask(query, first=100))["search"]["edges"]
    found, after, has_next = [], None, True
    while has_next:
        page = (await sample.ask(query, first=7, after=after))["search"]
        found += page["edges"]
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == whole
    agents = (await sample.ask(query, first=100, kinds=["AGENT"]))["search"]["edges"]
    assert agents == [edge for edge in whole if edge["node"]["id"].startswith("Q")]


async def test_sample_has_the_timeline_of_antiquity(sample: Client) -> None:
    query = '{ timelineFigures(discipline: ["philosophy"], yearRange: [-430, -380], first: 100) { name birthYear } }'
    figures = (await sample.ask(query))["timelineFigures"]
    assert {"Plato", "Aristotle"} <= {figure["name"] for figure in figures}
    years = [figure["birthYear"] for figure in figures]
    assert years == sorted(years)
