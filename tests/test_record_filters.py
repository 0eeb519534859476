from datetime import timedelta
from typing import Any

import pytest

from tests.client import Client
from tests.small_records import BIG, START

COUNT = "query ($filter: RecordFilter, $search: String) { data(filter: $filter, search: $search) { totalCount } }"
DAY = (START + timedelta(days=3)).isoformat()


def at(path: str, **test: Any) -> dict[str, Any]:
    return {"attributes": [{"path": path, **test}]}


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 29),
        ({"title": {}}, 29),
        ({"title": {"eq": "Lamp 0"}}, 4),
        ({"title": {"eq": "lamp 0"}}, 0),
        ({"title": {"in": ["Lamp 0", "Ärger mit Äpfeln", "none"]}}, 5),
        ({"title": {"in": []}}, 0),
        ({"title": {"contains": "LAMP"}}, 20),
        ({"title": {"contains": "%"}}, 1),
        ({"title": {"contains": "_card\\"}}, 1),
        ({"title": {"startsWith": "100%"}}, 1),
        ({"title": {"startsWith": "amp"}}, 0),
        ({"title": {"isNull": True}}, 7),
        ({"title": {"isNull": False, "eq": "Lamp 0"}}, 4),
        ({"title": {"eq": None}}, 29),
        ({"description": {"contains": "GRÜNE"}}, 1),
        ({"sourceId": {"eq": "a/b %"}}, 1),
        ({"sourceId": {"startsWith": "1"}}, 4),
        ({"value": {"eq": 0.5}}, 6),
        ({"value": {"gt": 0.5, "lte": 2.5}}, 12),
        ({"value": {"gte": 1e300}}, 3),
        ({"value": {"isNull": True}}, 7),
        ({"createdAt": {"lt": DAY}}, 12),
        ({"createdAt": {"lte": DAY}}, 16),
        ({"createdAt": {"eq": "2024-01-04T02:00:00+02:00"}}, 4),
        ({"createdAt": {"eq": "2024-01-04T00:00:00"}}, 4),
        ({"updatedAt": {"gt": START.isoformat()}}, 12),
        ({"updatedAt": {"isNull": True}}, 5),
        (at("address.city", eq="Rome"), 8),
        (at("address.city", **{"in": ["Rome", "Paris", 1]}), 16),
        (at("address.city", contains="ERL"), 8),
        (at("address", contains={"city": "Rome"}), 8),
        (at("address", eq={"city": "Rome"}), 8),
        (at("tags", contains="t1"), 12),
        (at("tags.1", eq="t0"), 12),
        (at("tags", eq=["a", "t0"]), 12),
        (at("n", eq=3), 2),
        (at("n", eq=3.0), 2),
        (at("n", eq="3"), 0),
        (at("n", lt=3), 6),
        (at("n", gte=3, lt=5), 4),
        (at("address.city", gt="Paris"), 8),
        (at("address.city", gt=1), 0),
        (at("big", gt=1e29), 1),
        (at("n", exists=True), 24),
        (at("n", exists=False), 5),
        (at("null", exists=True), 1),
        (at("null", eq=None), 1),
        (at("a\\.b", exists=True), 1),
        (at("a.b", exists=True), 0),
        (at("n.x", exists=True), 0),
        ({"and": [{"title": {"eq": "Lamp 0"}}, {"value": {"gt": 1}}]}, 2),
        ({"or": [{"title": {"eq": "Lamp 0"}}, {"title": {"isNull": True}}]}, 11),
        ({"not": {"title": {"eq": "Lamp 0"}}}, 25),
        ({"not": {"not": {"value": {"lt": 1}}}}, 7),
        ({"and": []}, 29),
        ({"or": [{}]}, 29),
        ({"not": {}}, 0),
    ],
)
async def test_filter_finds_what_fits(shop: Client, wanted: dict[str, Any], count: int) -> None:
    assert (await shop.ask(COUNT, filter=wanted))["data"]["totalCount"] == count


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("lamp", 21),
        ("LAM", 21),
        ("am", 0),
        ("lamp 1", 8),
        ("number 1", 8),
        ("Äpfeln lampe", 1),
        ("zzz", 0),
        ("a'b & |", 0),
    ],
)
async def test_search_finds_words(shop: Client, words: str, count: int) -> None:
    assert (await shop.ask(COUNT, search=words))["data"]["totalCount"] == count


def nested(depth: int) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    for _ in range(depth):
        wanted = {"not": wanted}
    return wanted


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ({"title": {"eq": "a\0"}}, "filter.title.eq 'a\\x00' has a NUL"),
        ({"title": {"in": ["x" * 501]}}, "filter.title.in has 501 characters"),
        ({"title": {"in": ["x"] * 101}}, "filter.title.in has 101 entries: give at most 100"),
        ({"value": {"eq": "1"}}, "$filter"),
        ({"createdAt": {"lt": "soon"}}, "soon"),
        ({"createdAt": {"lt": "0001-01-01T00:00:00+01:00"}}, "filter.createdAt.lt is 0001-01-01"),
        (at("", eq=1), "filter.attributes[0].path is '': give names joined by single dots"),
        (at("a..b", eq=1), "'a..b'"),
        (at(".".join("abcdefghijk"), eq=1), "has 11 names: give at most 10"),
        (at("a\0", eq=1), "NUL"),
        (at("a"), "filter.attributes[0] tests nothing at 'a'"),
        (at("a", lt=True), "filter.attributes[0].lt is True: give a number or a text"),
        (at("a", gte={"b": 1}), "give a number or a text"),
        (at("a", eq={"b": ["\0"]}), "NUL"),
        (at("a", eq={"\0": 1}), "NUL"),
        (at("a", eq=["x" * 400] * 6), "characters as JSON: give at most 2000"),
        (at("a", **{"in": [1] * 101}), "has 101 entries"),
        ({"or": []}, "filter.or is []: give at least one filter"),
        ({"and": [{"value": {"gt": 1}}] * 26}, "at most 50"),
        (nested(10), "is nested 11 deep: nest filters at most 10 deep"),
    ],
)
async def test_filter_that_cannot_be_used_tells_the_fix(shop: Client, wanted: dict[str, Any], part: str) -> None:
    answer = await shop.answer(COUNT, filter=wanted)
    (error,) = answer["errors"]
    assert (error["extensions"]["code"], part in error["message"]) == ("BAD_INPUT", True), error


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ('data(search: "--") { totalCount }', "search is '--': give at least one letter or digit"),
        ('data(source: "a\\u0000") { totalCount }', "NUL"),
        ("data(first: 101) { totalCount }", "first is 101: give 0 to 100"),
        ("data(first: 1, last: 1) { totalCount }", "only one of the two"),
        ('data(after: "x") { totalCount }', "cursor 'x'"),
        ('data(after: "WyJSRUNPUkRfVkFMVUVfQVNDIiwxLCJhIiwiYiJd") { totalCount }', "is not one of this list"),
        (
            'data(orderBy: CREATED_ASC, after: "WyJSRUNPUkRfQ1JFQVRFRF9BU0MiLCJ4IiwiYSIsImIiXQ") { totalCount }',
            "cursor",
        ),
        ('data(orderBy: TITLE_ASC, after: "WyJSRUNPUkRfVElUTEVfQVNDIiwxLjUsImEiLCJiIl0") { totalCount }', "cursor"),
        ("data(filter: {value: {gt: 1e999}}) { totalCount }", "filter.value.gt is inf"),
        ('data(filter: {attributes: [{path: "a", eq: 1e999}]}) { totalCount }', "whose numbers are finite"),
        ('record(id: "shop") { id }', "id is 'shop': give a source and an id there"),
        ("record { id }", "needs either id, or source and sourceId"),
        ('record(id: "a/b", source: "a") { id }', "needs either id"),
        ('record(source: "a", sourceId: "\\u0000") { id }', "NUL"),
    ],
)
async def test_argument_that_cannot_be_used_tells_the_fix(shop: Client, field: str, part: str) -> None:
    code, message = await shop.refusal(f"{{ {field} }}")
    assert (code, part in message) == ("BAD_INPUT", True), message


async def test_numbers_in_the_document_are_compared_with_every_digit(shop: Client) -> None:
    for number, count in ((BIG, 1), (BIG + 1, 0)):
        query = f'{{ data(filter: {{attributes: [{{path: "big", eq: {number}}}]}}) {{ totalCount }} }}'
        assert (await shop.ask(query))["data"]["totalCount"] == count


@pytest.mark.parametrize("depth", [200, 500, 10_000])
async def test_filter_nested_beyond_reason_is_refused(shop: Client, depth: int) -> None:
    wanted = '{"not":' * depth + "{}" + "}" * depth
    body = f'{{"query": "{COUNT}", "variables": {{"filter": {wanted}}}}}'
    response = await shop.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_INPUT", error
