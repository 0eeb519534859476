from typing import Any

import pytest
from aiohttp import web

from etl.source import SourceError
from tests.rest_reading import ROW, SECRET, config_of, pages, path_of, read, source
from tests.rest_server import Handler, Server, sends, serving

pytestmark = pytest.mark.usefixtures("impatient_client")


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
