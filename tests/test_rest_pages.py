from typing import Any

import orjson
import pytest
from aiohttp import web

from etl.source import SourceError
from tests.rest_reading import PAGINATIONS, ROW, config_of, pages, path_of, read, source, values
from tests.rest_server import Handler, Server, collections, reply, sends, serving

pytestmark = pytest.mark.usefixtures("impatient_client")


@pytest.mark.parametrize("pagination", PAGINATIONS)
async def test_every_pagination_reads_every_record(pagination: str) -> None:
    server = Server()
    async with serving(server) as url:
        found = await pages(source(url + path_of(pagination), **config_of(pagination)))
    assert values(found) == collections()["photos"]
    assert len(server.asked) == (1 if pagination == "none" else 8)
    assert [page.state is not None for page in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("pagination", [name for name in PAGINATIONS if name != "none"])
@pytest.mark.parametrize("stopped_after", [1, 4, 8])
async def test_resume_asks_for_the_rest_only(pagination: str, stopped_after: int) -> None:
    server = Server()
    async with serving(server) as url:
        address, config = url + path_of(pagination), config_of(pagination)
        before = (await pages(source(address, **config)))[:stopped_after]
        server.asked.clear()
        after = await pages(source(address, **config), orjson.loads(orjson.dumps(before[-1].position)))
    assert values(before) + values(after) == collections()["photos"]
    assert len(server.asked) == 8 - stopped_after
    assert after[-1].state is not None


@pytest.mark.parametrize("by", ["page", "offset"])
@pytest.mark.parametrize("collection", ["users", "posts", "todos"])
async def test_server_that_gives_fewer_rows_than_asked_for_is_read_to_its_end(by: str, collection: str) -> None:
    server = Server(cap=50)
    async with serving(server) as url:
        config = config_of(by)["pagination"] | {"size": 100}
        assert await read(f"{url}/plain/{collection}", pagination=config) == collections()[collection]


async def test_page_after_a_short_first_one_need_not_be_there() -> None:
    server = Server(sends([ROW]), sends({"detail": "Invalid page."}, 404))
    async with serving(server) as url:
        assert await read(f"{url}/plain/users", **config_of("page")) == [ROW]


async def test_no_content_is_a_page_without_rows() -> None:
    async with serving(Server(sends([ROW]), sends(body=b"", status=204))) as url:
        assert await read(f"{url}/plain/users", pagination={"by": "page"}) == [ROW]


ENDLESS: list[tuple[dict[str, Any], Handler, str]] = [
    ({"pagination": {"by": "page"}}, sends([ROW]), "page 2: the same page again"),
    ({"pagination": {"by": "offset"}}, sends([ROW]), "page 2: the same page again"),
    (config_of("cursor"), sends({"data": {"items": [ROW]}, "meta": {"cursor": 7}}), "page 2: the same page again: '7'"),
    (config_of("next_url"), sends({"data": {"items": [ROW]}, "next": "?p=1"}), "page 2: the same page again"),
    (config_of("link"), sends([ROW], headers={"Link": '<>; rel="next"'}), "page 1: the same page again"),
]


@pytest.mark.parametrize(("config", "handler", "reason"), ENDLESS)
async def test_same_page_again_is_refused(config: dict[str, Any], handler: Handler, reason: str) -> None:
    async with serving(Server(always=handler)) as url:
        with pytest.raises(SourceError, match=reason):
            await read(f"{url}/plain/users", **config)


async def test_cursors_that_go_round_are_refused() -> None:
    async def goes_round(request: web.Request) -> web.StreamResponse:
        following = {"": "a", "a": "b", "b": "c", "c": "a"}[request.query.get("cursor", "")]
        return reply({"data": {"items": [ROW]}, "meta": {"cursor": following}})

    async with serving(Server(always=goes_round)) as url:
        with pytest.raises(SourceError, match="page 4: the same page again: 'a'"):
            await read(f"{url}/plain/users", **config_of("cursor"))


async def test_pages_without_end_reach_their_bound() -> None:
    async def counts(request: web.Request) -> web.StreamResponse:
        return reply([{"id": request.query["page"]}])

    async with serving(Server(always=counts)) as url:
        with pytest.raises(SourceError, match="page 6: there is more after max_pages = 5"):
            await read(f"{url}/plain/users", pagination={"by": "page"}, max_pages=5)


@pytest.mark.parametrize("last", [None, "", 0, False])
async def test_cursor_that_says_nothing_is_the_end(last: object) -> None:
    async with serving(Server(sends({"data": {"items": [ROW]}, "meta": {"cursor": last}}))) as url:
        assert await read(f"{url}/plain/users", **config_of("cursor")) == [ROW]


async def test_cursor_repeated_without_rows_is_the_end() -> None:
    first = sends({"data": {"items": [ROW]}, "meta": {"cursor": "x"}})
    async with serving(Server(first, sends({"data": {"items": []}, "meta": {"cursor": "x"}}))) as url:
        assert await read(f"{url}/plain/users", **config_of("cursor")) == [ROW]


@pytest.mark.parametrize("cursor", [{"a": 1}, [1], True, "a\0b", "x" * 5000])
async def test_cursor_that_is_none_is_refused(cursor: object) -> None:
    async with serving(Server(sends({"data": {"items": [ROW]}, "meta": {"cursor": cursor}}))) as url:
        with pytest.raises(SourceError, match=r"meta\.cursor, is neither text nor number"):
            await read(f"{url}/plain/users", **config_of("cursor"))


async def test_answer_that_does_not_say_what_follows_is_noted() -> None:
    async with serving(Server()) as url:
        api = source(
            f"{url}/cursor/users", **config_of("cursor") | {"pagination": {"by": "cursor", "path": "meta.nxt"}}
        )
        await pages(api)
    assert any("does not say what follows" in note for note in api.notes)
