import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from etl import rest_client
from etl.rest_client import Pace
from etl.source import SourceError
from tests.rest_reading import ROW, read
from tests.rest_server import Handler, Server, collections, cuts, drips, resets, sends, serving

pytestmark = pytest.mark.usefixtures("impatient_client")


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
    (sends({"e": "bad"}, 400), r"HTTP 400 Bad Request, '{\"e\":\"bad\"}'"),
    (sends("no", 401), r"HTTP 401 Unauthorized, '.no.': does the source need `auth`\?"),
    (sends("no", 403), "HTTP 403"),
    (sends("no", 404), r"HTTP 404 Not Found, '.no.': is the url right\?"),
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


def test_pace_spaces_requests_and_saves_up_none() -> None:
    pace = Pace(4)
    assert [pace.book(now) for now in (100.0, 100.0, 100.1, 200.0, 200.0)] == pytest.approx([0, 0.25, 0.4, 0, 0.25])
