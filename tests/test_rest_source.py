from typing import Any

import orjson
import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.operations import RunStatus
from etl import pipeline
from etl.pipeline import Options, Progress
from etl.record_source import Found
from etl.source import RawRow, RowError, SourceError
from etl.sources.rest import Rest
from tests.rest_reading import PAGINATIONS, ROW, config_of, pages, read, source, values
from tests.rest_server import Server, collections, reply, sends, serving

pytestmark = pytest.mark.usefixtures("impatient_client")


async def test_rows_are_kept_as_received() -> None:
    rows = [
        b'{"z":1,"a":1.10, "n":123456789012345678901234567890}',
        b'{"a": "\\u00e9\\/", "a":2, "x":[1 , 2]}',
        '{"é": "日本"}'.encode(),
    ]
    async with serving(Server(sends(body=b"\xef\xbb\xbf [" + b" ,\n".join(rows) + b"]\n"))) as url:
        (page,) = await pages(source(f"{url}/plain/users"))
    assert [row.payload.encode() for row in page.rows] == rows
    assert page.rows[0].value == {"z": 1, "a": 1.1, "n": 123456789012345678901234567890}
    assert source(url).parse(RawRow("api", "1", page.rows[0].payload)) == page.rows[0].value


@pytest.mark.parametrize("bad", [b'{"a":NaN}', b'{"a":tru}', b'{"s":"\\ud800"}', b'{"n":1e400}', b'{"s":"\xff"}', b"x"])
@pytest.mark.parametrize("path", [None, "data.items"])
async def test_row_that_is_no_json_does_not_end_its_page(bad: bytes, path: str | None) -> None:
    body = b'[{"id":1}, ' + bad + b', {"id":"]"}]'
    async with serving(Server(sends(body=b'{"data":{"items":' + body + b"}}" if path else body))) as url:
        (page,) = await pages(source(f"{url}/plain/users", rows=path))
    first, refused, last = page.rows
    assert (first.value, last.value) == ({"id": 1}, {"id": "]"})
    assert isinstance(refused.value, RowError)
    assert refused == Found(bad.decode("utf-8", "backslashreplace"), refused.value, "page 1, row 2")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": "limit", "code": 7}, "there is no data.items in the answer, which has error, code: '{"),
        ([ROW], "there is no data.items in the answer, which is a list"),
        (None, "there is no data.items|expected a list of rows, not 'null'"),
        ({"data": {"items": None}}, "expected a list of rows at data.items, not 'null'"),
        ({"data": {"items": {"a": 1}}}, "expected a list of rows at data.items, not '{"),
    ],
)
async def test_answer_without_its_rows_is_refused(body: object, reason: str) -> None:
    async with serving(Server(sends(body))) as url:
        with pytest.raises(SourceError, match=reason):
            await read(f"{url}/plain/users", rows="data.items")


async def tagged(request: web.Request) -> web.StreamResponse:
    """Answer with validators, and 304 to those who know them; a `page` parameter gives pages."""
    known = request.headers.get("If-None-Match") == '"1"' or "If-Modified-Since" in request.headers
    if known:
        return web.Response(status=304)
    rows = collections()["users"] if request.query.get("page", "1") == "1" else []
    return reply(rows, headers={"ETag": '"1"', "Last-Modified": "Fri, 20 Nov 2026 07:00:00 GMT"})


async def test_source_that_is_not_modified_is_not_read_again() -> None:
    server = Server(always=tagged)
    async with serving(server) as url:
        (first,) = await pages(source(f"{url}/plain/users"))
        again = source(f"{url}/plain/users")
        (second,) = await pages(again, state=first.state)
    assert (len(first.rows), second.rows, second.state) == (10, (), first.state)
    assert again.notes == ["not modified since the last run"]
    assert server.asked[1].headers["If-Modified-Since"] == "Fri, 20 Nov 2026 07:00:00 GMT"


async def test_first_of_several_pages_says_nothing_of_the_others() -> None:
    async with serving(Server(always=tagged)) as url:
        found = await pages(source(f"{url}/plain/users", pagination={"by": "page"}))
        again = await pages(source(f"{url}/plain/users", pagination={"by": "page"}), state=found[-1].state)
    assert values(again) == collections()["users"]


async def test_other_configuration_is_read_anew() -> None:
    async with serving(Server(always=tagged)) as url:
        (page,) = await pages(source(f"{url}/plain/users"))
        other = source(f"{url}/plain/users", record={"id": "id"})
        assert values(await pages(other, state=page.state)) == collections()["users"]
    assert any("configuration has changed" in note for note in other.notes)


async def test_next_run_asks_for_what_came_after_the_greatest_value() -> None:
    changes: list[dict[str, Any]] = [
        {"id": 1, "at": "2026-01-02T00:00:00Z"},
        {"id": 2, "at": "2026-01-01T23:00:00-05:00"},
        {"id": 3},
    ]

    async def since(request: web.Request) -> web.StreamResponse:
        return reply([row for row in changes if row.get("at", "") >= request.query.get("since", "")])

    server = Server(always=since)
    config: dict[str, Any] = {"incremental": {"field": "at", "parameter": "since"}, "query": {"all": True}}
    async with serving(server) as url:
        api = source(f"{url}/plain/users", **config)
        (first,) = await pages(api)
        (second,) = await pages(source(f"{url}/plain/users", **config), state=first.state)
    assert server.queries() == [{"all": "true"}, {"all": "true", "since": "2026-01-01T23:00:00-05:00"}]
    assert api.notes == ["1 rows have no number or past time in at that could be sent as since, the first is 'None'"]
    assert second.state is not None


async def test_watermark_of_a_resumed_run_counts_its_earlier_pages() -> None:
    config = {"incremental": {"field": "id", "parameter": "from"}, **config_of("page")}
    server = Server()
    async with serving(server) as url:
        found = await pages(source(f"{url}/plain/photos", **config))
        resumed = await pages(source(f"{url}/plain/photos", **config), found[3].position)
        server.asked.clear()
        await pages(source(f"{url}/plain/photos", **config), state=resumed[-1].state)
    assert [page.state for page in resumed[-1:]] == [found[-1].state]
    assert {query["from"] for query in server.queries()} == {"5000"}


def loading(url: str, pagination: str = "offset", collection: str = "photos", **config: Any) -> Rest:
    style, rows, by = PAGINATIONS[pagination]
    return source(
        f"{url}/{style}/{collection}?size=700",
        rows=rows,
        pagination=by,
        record={"id": "id", "title": "title", "description": "body"},
        **config,
    )


async def scalar(engine: AsyncEngine, sql: str) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text(sql))).scalar_one()


async def test_all_records_are_loaded_and_unchanged_the_next_time(engine: AsyncEngine) -> None:
    async with serving(Server()) as url:
        for expected in ("inserted", "unchanged"):
            total = 0
            for name, rows in collections().items():
                api = Rest(name, loading(url, collection=name).config)
                counts = (await pipeline.run(engine, api, Options())).counts
                assert getattr(counts, expected) == counts.processed == len(rows)
                total += counts.processed
            assert total == 5910
    assert await scalar(engine, "SELECT count(*) FROM record") == 5910
    kept = await scalar(engine, "SELECT payload FROM raw_record WHERE source = 'users' AND external_id = '3'")
    assert kept == orjson.dumps(collections()["users"][2]).decode()


@pytest.mark.parametrize("pagination", ["page", "cursor", "link", "next_url"])
async def test_run_that_breaks_off_is_resumed_where_it_was(engine: AsyncEngine, pagination: str) -> None:
    server = Server()
    async with serving(server) as url:

        def watch(progress: Progress) -> None:
            if progress.processed >= 2100:
                server.always = sends("gone", 503)

        with pytest.raises(SourceError, match="HTTP 503"):
            await pipeline.run(engine, loading(url, pagination), Options(watch=watch))
        assert await scalar(engine, "SELECT count(*) FROM record") == 0
        server.always = None
        server.asked.clear()
        report = await pipeline.resume(engine, loading(url, pagination), Options(), 1)
    assert (report.counts.inserted, report.counts.failed, len(server.asked)) == (5000, 0, 5)


async def test_run_of_a_source_that_is_not_modified_changes_nothing(engine: AsyncEngine) -> None:
    async with serving(Server(always=tagged)) as url:
        first = await pipeline.run(engine, source(f"{url}/plain/users", record={"id": "id"}), Options())
        second = await pipeline.run(engine, source(f"{url}/plain/users", record={"id": "id"}), Options())
    assert (first.counts.inserted, second.counts.processed, second.status) == (10, 0, RunStatus.DONE)
    assert second.notes == ["not modified since the last run"]


async def test_incremental_runs_ask_for_news_and_keep_what_waits_in_quarantine(engine: AsyncEngine) -> None:
    config = {"incremental": {"field": "id", "parameter": "since"}, "record": {"id": "id"}, "max_failed_share": 1}
    server = Server(sends([{"id": 1}, {"id": [2]}, {"id": 7}]), sends([{"id": 7}, {"id": 9}]), sends([]), sends([]))
    async with serving(server) as url:
        outcomes = []
        for _ in range(4):
            counts = (await pipeline.run(engine, source(f"{url}/plain/users", **config), Options())).counts
            outcomes.append((counts.inserted, counts.unchanged, counts.failed))
    assert outcomes == [(2, 0, 1), (1, 1, 0), (0, 0, 0), (0, 0, 0)]
    assert [query.get("since") for query in server.queries()] == [None, "7", "9", "9"]
    assert await scalar(engine, "SELECT count(*) FROM quarantine WHERE resolved_run_id IS NULL") == 1
