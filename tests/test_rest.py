from typing import Any

import pytest
from pydantic import TypeAdapter

from db.record_keys import RecordOrder
from graph.openapi import document
from graph.rest_answers import HealthAnswer, StatsAnswer
from tests.client import Client, serving
from tests.small_records import BIG
from tests.test_records import expected


async def get(client: Client, path: str = "/data", /, **parameters: Any) -> Any:
    response = await client.http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def test_data_is_a_page_of_records(shop: Client) -> None:
    response = await shop.http.get("/data", params={"source_id": "a/b %"}, headers={"x-request-id": "mine"})
    answer = response.json()
    (record,) = answer.pop("data")
    assert answer.pop("api_latency_ms") > 0
    assert answer == {
        "total": 1,
        "total_kind": "EXACT",
        "page": 1,
        "page_size": 20,
        "has_more": False,
        "next_cursor": None,
        "request_id": "mine",
    }
    assert (record["id"], record["source"], record["source_id"]) == ("shop/a/b %", "shop", "a/b %")
    assert (record["title"], record["value"], record["created_at"]) == ('100% "wild" _card\\', None, None)
    assert str(BIG).encode() in response.content


@pytest.mark.parametrize("order", ["ID_ASC", "VALUE_DESC", "CREATED_ASC"])
@pytest.mark.parametrize("paging", ["page", "offset", "cursor"])
async def test_data_pages_by_number_offset_and_cursor(shop: Client, order: str, paging: str) -> None:
    found: list[str] = []
    number = 1
    place: dict[str, Any] = {}
    while True:
        size: dict[str, Any] = {"limit" if paging == "offset" else "page_size": 7}
        page = await get(shop, order=order, **size, **place)
        found += [record["id"] for record in page["data"]]
        assert page["page"] == (None if paging == "cursor" and number > 1 else number)
        assert page["has_more"] == (page["next_cursor"] is not None) == (len(found) < page["total"])
        if not page["has_more"]:
            break
        number += 1
        place = {"page": {"page": number}, "offset": {"offset": len(found)}, "cursor": {"cursor": page["next_cursor"]}}[
            paging
        ]
    assert found == expected(RecordOrder(order))


@pytest.mark.parametrize(
    ("parameters", "total"),
    [
        ({"source": "people"}, 15),
        ({"title": "Lamp 0"}, 4),
        ({"title_contains": "LAMP"}, 20),
        ({"title_starts_with": "100%"}, 1),
        ({"description_contains": "grüne"}, 1),
        ({"value": "0.5"}, 6),
        ({"value_gt": "0.5", "value_lte": "2.5"}, 12),
        ({"value_lt": "1", "value_gte": "0"}, 6),
        ({"created_before": "2024-01-04"}, 12),
        ({"created_after": "2024-01-04T00:00:00Z"}, 4),
        ({"updated_after": "2024-01-01T00:00:00Z", "updated_before": "2025-01-01"}, 12),
        ({"search": "lamp 1", "source": "shop"}, 4),
        ({"page": 500}, 29),
    ],
)
async def test_data_is_filtered(shop: Client, parameters: dict[str, Any], total: int) -> None:
    assert (await get(shop, **parameters))["total"] == total


@pytest.mark.parametrize(
    ("query", "field", "part"),
    [
        ("page=0", "page", "greater than or equal to 1"),
        ("page=x", "page", "valid integer"),
        ("page_size=101", "page_size", "less than or equal to 100"),
        ("limit=0", "limit", "greater than or equal to 1"),
        ("offset=-1", "offset", "greater than or equal to 0"),
        ("page=101&page_size=100", "page", "give the next_cursor"),
        ("offset=9999&limit=2", "offset", "reached by cursor"),
        ("page=99999999999999999999", "page", "reached by cursor"),
        ("page=1&offset=1", "offset", "only one of page, offset and cursor"),
        ("page=1&cursor=x", "page", "only one of page, offset and cursor"),
        ("limit=1&page_size=1", "limit", "both mean the same"),
        ("cursor=x", "cursor", "is not one of this list"),
        ("order=UP", "order", "'ID_ASC'"),
        ("value=x", "value", "valid number"),
        ("value_lt=nan", "value_lt", "finite number"),
        ("created_after=2024", "created_after", "ISO 8601"),
        ("created_after=soon", "created_after", "datetime"),
        ("created_after=0001-01-01T00:00:00%2B01:00", "created_after", "years 1 to 9999"),
        ("title=%00", "title", "NUL"),
        ("source=%00", "source", "NUL"),
        ("search=--", "search", "at least one letter"),
        ("search=" + "x" * 501, "search", "at most 500"),
        ("colour=red", "colour", "there is no such parameter: give any of source, search"),
        ("page=1&page=2", "page", "give it once"),
    ],
)
async def test_parameter_that_cannot_be_used_tells_the_fix(shop: Client, query: str, field: str, part: str) -> None:
    response = await shop.http.get(f"/data?{query}")
    answer = response.json()
    (problem,) = answer["problems"]
    assert (response.status_code, answer["code"], problem["field"]) == (400, "BAD_INPUT", field)
    assert part in problem["fix"]
    assert part in answer["error"]
    assert answer["request_id"] == response.headers["x-request-id"]
    assert len(response.content) < 2_500


async def test_all_parameters_that_cannot_be_used_are_told(shop: Client) -> None:
    response = await shop.http.get("/data?page=0&value=x&colour=red")
    assert [one["field"] for one in response.json()["problems"]] == ["page", "value", "colour"]


async def test_stats_tell_of_records_and_sources(shop: Client) -> None:
    answer = await get(shop, "/stats")
    TypeAdapter(StatsAnswer).validate_python(answer)
    assert (answer["records"], answer["raw_records"], answer["runs"]["DONE"]) == (29, 2, 2)
    people, items = answer["sources"]
    assert [people[name] for name in ("source", "kind", "records", "quality")] == ["people", "csv", 15, None]
    assert (items["last_success"]["id"], items["last_failure"]["error"]) == (4, "https://shop.example/items: 503")
    assert (items["quality"]["run_id"], items["quality"]["drift"][0]["change"]) == (4, "RETYPED")


async def test_health_tells_of_the_newest_run(shop: Client) -> None:
    answer = await get(shop, "/health")
    TypeAdapter(HealthAnswer).validate_python(answer)
    assert (answer["status"], answer["db_connected"], answer["etl_status"]) == ("ok", True, "RUNNING")
    assert (answer["last_etl_run"]["id"], answer["last_etl_run"]["source"]) == (5, "people")


async def test_health_before_any_run_has_none(database: str) -> None:
    async with serving(database) as client:
        answer = await get(client, "/health")
    assert (answer["status"], answer["last_etl_run"], answer["etl_status"]) == ("ok", None, None)


async def test_rest_without_a_database_is_unavailable() -> None:
    async with serving("postgresql://nobody@127.0.0.1:1/none") as client:
        for path in ("/data", "/stats"):
            response = await client.http.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "UNAVAILABLE")
        answer = await client.http.get("/health")
    assert (answer.status_code, answer.json()["db_connected"]) == (503, False)


@pytest.mark.parametrize("path", ["/", "/data", "/stats", "/health", "/health/live", "/health/ready", "/openapi.json"])
async def test_endpoints_are_for_reading(shop: Client, path: str) -> None:
    assert (await shop.http.head(path)).status_code == 200
    response = await shop.http.post(path)
    assert (response.status_code, "POST" in response.json()["error"]) == (405, True)
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_openapi_describes_what_is_served(shop: Client) -> None:
    described = await get(shop, "/openapi.json")
    assert (described["openapi"], described) == ("3.1.0", document())
    for path, item in described["paths"].items():
        assert list(item) == ["get"]
        assert (await shop.http.get(path)).status_code == 200
    parameters = {one["name"]: one for one in described["paths"]["/data"]["get"]["parameters"]}
    assert parameters["page_size"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100}
    assert parameters["order"]["schema"]["$ref"] == "#/components/schemas/RecordOrder"
    assert all(one["description"] for one in parameters.values())
    assert set(references(described)) <= set(described["components"]["schemas"])


def references(described: Any) -> list[str]:
    if isinstance(described, list):
        return [name for one in described for name in references(one)]
    if not isinstance(described, dict):
        return []
    here = [described["$ref"].removeprefix("#/components/schemas/")] if "$ref" in described else []
    return here + references(list(described.values()))


async def test_not_every_problem_is_told_of_many(shop: Client) -> None:
    for query in ("&".join(f"p{n}=1" for n in range(900)), "&".join(f"p{n}=1&p{n}=2" for n in range(500))):
        refused = await shop.http.get(f"/data?{query}")
        assert (refused.status_code, len(refused.json()["problems"])) == (400, 20)
        assert len(refused.content) < 20_000
