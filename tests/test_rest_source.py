import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from aiohttp import web

from etl import rest_client
from etl.record_source import Found, Page
from etl.rest_client import Pace
from etl.source import Checkpoint, RawRow, RowError, SourceError
from etl.source_config import RestConfig
from etl.sources.rest import Rest
from tests.rest_server import Handler, Server, collections, cuts, drips, reply, resets, sends, serving

SECRET = "s3cret/of+the=source"
ROW = {"id": 1}
PAGINATIONS = {
    "none": ("plain", None, None),
    "page": ("plain", None, {"by": "page", "parameter": "page", "size_parameter": "size", "size": 700}),
    "offset": ("plain", None, {"by": "offset", "size_parameter": "size", "size": 700}),
    "cursor": ("cursor", "data.items", {"by": "cursor", "path": "meta.cursor", "size_parameter": "size", "size": 700}),
    "link": ("link", None, {"by": "link"}),
    "next_url": ("next", "data.items", {"by": "next_url", "path": "next"}),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_client, "WAIT_INITIAL_SECONDS", 0.01)
    monkeypatch.setattr(rest_client, "WAIT_MAX_SECONDS", 0.01)
    monkeypatch.setattr(rest_client, "ATTEMPTS", 4)
    monkeypatch.setenv("REST_SECRET", SECRET)


def source(url: str, **config: Any) -> Rest:
    return Rest("api", RestConfig.model_validate({"kind": "rest", "url": url, "requests_per_second": 1000} | config))


async def pages(of: Rest, position: Checkpoint | None = None, state: dict[str, Any] | None = None) -> list[Page]:
    return [page async for page in of.pages(position, state or {})]


def values(found: list[Page]) -> list[Any]:
    return [row.value for page in found for row in page.rows]


async def read(url: str, **config: Any) -> list[Any]:
    return values(await pages(source(url, **config)))


def config_of(pagination: str) -> dict[str, Any]:
    _, rows, by = PAGINATIONS[pagination]
    return {"rows": rows, "pagination": by}


def path_of(pagination: str) -> str:
    return f"/{PAGINATIONS[pagination][0]}/photos" + ("?size=700" if pagination in ("link", "next_url") else "")


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


AUTHS: list[tuple[dict[str, str], str, str]] = [
    ({}, "Authorization", f"Bearer {SECRET}"),
    ({"send": "header", "name": "X-Api-Key"}, "X-Api-Key", SECRET),
    ({"send": "query", "name": "api_key"}, "api_key", SECRET),
]


@pytest.mark.parametrize(("auth", "name", "sent"), AUTHS)
@pytest.mark.parametrize("pagination", ["page", "link", "next_url"])
async def test_secret_is_sent_with_every_request(auth: dict[str, str], name: str, sent: str, pagination: str) -> None:
    server = Server()
    async with serving(server) as url:
        config = config_of(pagination) | {"auth": {"env": "REST_SECRET"} | auth}
        api = source(url + path_of(pagination), **config)
        found = await pages(api)
    assert {request.headers.get(name, request.query.get(name)) for request in server.asked} == {sent}
    kept = repr(found) + repr(api.params()) + repr(vars(api))
    assert len(found) > 7
    assert "s3cret" not in kept


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "não"])
async def test_secret_that_cannot_be_sent_is_told_before_any_request(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("REST_SECRET") if value is None else monkeypatch.setenv("REST_SECRET", value)
    server = Server()
    async with serving(server) as url:
        with pytest.raises(SourceError, match=r"REST_SECRET is not set|does not allow") as raised:
            await read(f"{url}/plain/users", auth={"env": "REST_SECRET"})
    assert server.asked == []
    assert not value or not value.strip() or value not in str(raised.value)


def echo(status: int, text: str = "{}", headers: dict[str, str] | None = None) -> Handler:
    """Return a handler that repeats the request's address and secret."""

    async def handle(request: web.Request) -> web.StreamResponse:
        said = text.format(f"{request.url} {request.headers.get('Authorization')} {SECRET}")
        return web.Response(status=status, reason=f"{SECRET} again", text=said, headers=headers)

    return handle


ECHOES = [
    echo(401),
    echo(404),
    echo(503),
    echo(200),
    echo(200, "<html>{}"),
    echo(200, '{{"error": "{}"}}'),
    echo(200, '["{}"'),
    echo(302, headers={"Location": f"http://127.0.0.2/?k={SECRET}"}),
    echo(302, headers={"Location": f"ftp://{SECRET}"}),
]


@pytest.mark.parametrize("auth", [auth for auth, _, _ in AUTHS])
@pytest.mark.parametrize("handler", ECHOES)
async def test_secret_is_in_no_message(auth: dict[str, str], handler: Handler) -> None:
    async with serving(Server(always=handler)) as url:
        with pytest.raises(SourceError) as raised:
            await read(f"{url}/plain/users", auth={"env": "REST_SECRET"} | auth)
    assert raised.value.__cause__ is None
    assert not any(said in str(raised.value) for said in ("s3cret", "the=source", "the%3Dsource"))


async def test_secret_that_rows_repeat_is_hidden_in_them() -> None:
    server = Server(
        sends([{"self": f"https://x/1?key={SECRET}"}, {"self": "https://x/2?key=s3cret%2Fof%2Bthe%3Dsource"}])
    )
    async with serving(server) as url:
        found = await read(f"{url}/plain/users", auth={"env": "REST_SECRET", "send": "query", "name": "key"})
    assert found == [{"self": "https://x/1?key=***"}, {"self": "https://x/2?key=***"}]


@pytest.mark.parametrize("config", [{"auth": {"env": "REST_SECRET"}}, {"headers": {"X-Token": "x"}}])
@pytest.mark.parametrize("way", ["link", "next_url", "redirect"])
async def test_nothing_is_sent_to_another_server(way: str, config: dict[str, Any]) -> None:
    other = Server()
    async with serving(other) as elsewhere:
        handlers = {
            "link": sends([ROW], headers={"Link": f'<{elsewhere}/plain/users>; rel="next"'}),
            "next_url": sends({"data": {"items": [ROW]}, "next": f"{elsewhere}/plain/users"}),
            "redirect": sends(status=307, headers={"Location": f"{elsewhere}/plain/users"}),
        }
        async with serving(Server(handlers[way])) as url:
            with pytest.raises(
                SourceError, match=f"it leads to {elsewhere}, and the secret .* sent only to {url}/plain"
            ):
                await read(f"{url}/plain/users", **config, **({} if way == "redirect" else config_of(way)))
    assert other.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "javascript:1", "http://u:p@127.0.0.1/", "http://["])
async def test_next_page_is_only_at_a_web_address(target: str) -> None:
    async with serving(Server(sends({"data": {"items": [ROW]}, "next": target}))) as url:
        with pytest.raises(SourceError, match=r"page 1: it leads to "):
            await read(f"{url}/next/users", **config_of("next_url"))


async def test_redirects_are_followed_where_the_secret_may_go() -> None:
    server = Server(sends(status=302, headers={"Location": "users?moved=1"}))
    async with serving(server) as url:
        assert len(await read(f"{url}/plain/posts", auth={"env": "REST_SECRET"})) == 10
    assert [request.headers.get("Authorization") for request in server.asked] == [f"Bearer {SECRET}"] * 2


async def test_endless_redirects_end() -> None:
    async with serving(Server(always=sends(status=302, headers={"Location": "users"}))) as url:
        with pytest.raises(SourceError, match="more than 5 redirects"):
            await read(f"{url}/plain/users")


IN_A_MOMENT = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
PASSING: dict[str, tuple[Handler, str]] = {
    "500": (sends("no", 500), "HTTP 500"),
    "503 with a date": (sends("no", 503, headers={"Retry-After": IN_A_MOMENT}), "HTTP 503"),
    "429 with seconds": (sends("no", 429, headers={"Retry-After": "0"}), "HTTP 429"),
    "408": (sends("no", 408), "HTTP 408"),
    "425": (sends("no", 425), "HTTP 425"),
    "cut": (cuts(), "the answer was cut"),
    "reset": (resets, "the connection failed"),
    "half of JSON": (sends(body=b'[{"id": 1}, {"id"'), r"no whole JSON, it is cut .*: '\[{"),
    "JSON and more": (sends(body=b'[{"id": 1}] Timeout'), "goes on after its end"),
    "HTML": (sends(body=b"<!DOCTYPE html>\n<html>busy"), "HTML or XML instead of JSON: '<!DOCTYPE html> <html>busy'"),
    "text": (sends(body=b"Service temporarily down"), "no JSON: 'Service"),
    "nothing": (sends(body=b""), "the answer is empty"),
    "drip": (drips, "no whole answer in time"),
    "no gzip": (sends(body=b"[1]", headers={"Content-Encoding": "gzip"}), "the answer was cut, or cannot be unpacked"),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_what_may_pass_is_asked_again(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(rest_client, "REQUEST_SECONDS", 0.5)
    handler, _ = PASSING[fault]
    server = Server(handler, handler)
    async with serving(server) as url:
        assert await read(f"{url}/plain/users") == collections()["users"]
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", PASSING)
async def test_what_does_not_pass_fails_in_the_end(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(rest_client, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(rest_client, "ATTEMPTS", 2)
    handler, reason = PASSING[fault]
    server = Server(always=handler)
    async with serving(server) as url:
        with pytest.raises(SourceError, match=rf"{url}/plain/users, page 1: .*{reason}.* \(asked 2 times\)"):
            await read(f"{url}/plain/users")
    # aiohttp asks once more by itself when a connection was reset.
    assert len(server.asked) in (2, 4)


async def test_server_that_is_not_there_is_given_up() -> None:
    async with serving(Server()) as url:
        pass
    with pytest.raises(SourceError, match="the connection failed"):
        await read(f"{url}/plain/users")


HOPELESS = [
    (sends({"e": "bad"}, 400), r"HTTP 400 Bad Request: '{\"e\":\"bad\"}'"),
    (sends("no", 401), r"HTTP 401 Unauthorized, does the source need `auth`\?"),
    (sends("no", 403), "HTTP 403"),
    (sends("no", 404), r"HTTP 404 Not Found, is the url right\?"),
    (sends("no", 202), "HTTP 202"),
    (
        sends("no", 429, headers={"Retry-After": "301"}),
        "HTTP 429 Too Many Requests, asks to wait 301 s: `python -m etl resume`",
    ),
    (sends(None), "expected a list of rows, not 'null'"),
    (sends(7), "expected a list of rows, not '7'"),
    (sends({"data": [ROW]}), "expected a list of rows \\(name the path to its rows: `rows`\\), not '{"),
]


@pytest.mark.parametrize(("handler", "reason"), HOPELESS)
async def test_what_cannot_pass_is_asked_once(handler: Handler, reason: str) -> None:
    server = Server(handler)
    async with serving(server) as url:
        with pytest.raises(SourceError, match=rf"{url}/plain/users, page 1: {reason}"):
            await read(f"{url}/plain/users?token=abc")
    assert len(server.asked) == 1


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


@pytest.mark.parametrize("is_packed", [False, True])
async def test_answer_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch, is_packed: bool) -> None:
    body = b"[" + b" " * 3_000_000 + b"]"
    packed = sends(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    server = Server(packed if is_packed else sends(body=body))
    monkeypatch.setattr(rest_client, "MAX_BODY_BYTES", 2 << 20)
    async with serving(server) as url:
        with pytest.raises(SourceError, match="more than 2 MB"):
            await read(f"{url}/plain/users")
    assert len(server.asked) == 1


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


def test_pace_spaces_requests_and_saves_up_none() -> None:
    pace = Pace(4)
    assert [pace.book(now) for now in (100.0, 100.0, 100.1, 200.0, 200.0)] == pytest.approx([0, 0.25, 0.4, 0, 0.25])
