import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl import sparql
from etl.source import SourceError
from etl.sparql import (
    Budget,
    Endpoint,
    QueryFailedError,
    QueryTimeoutError,
    check_endpoint,
    parse_answer,
)
from tests import oxigraph
from tests.faulty_endpoint import Reply, rows, serving

QUERY = "SELECT ?n WHERE { VALUES ?n { 1 } }"
TRUNCATED = (
    rows(1, 2, 3).body[:-30] + b"\njava.util.concurrent.TimeoutException\n\tat java.util.concurrent.FutureTask.get\n"
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparql, "WAIT_INITIAL_SECONDS", 0.01)
    monkeypatch.setattr(sparql, "ATTEMPTS", 3)


def one_after_another(*replies: Reply) -> Callable[[str], Reply]:
    """Answer with each reply once, then with the last."""
    waiting = list(replies)
    return lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=500, body=b"java.lang.NullPointerException"),
        Reply(status=502),
        Reply(status=503),
        Reply(status=429),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(rows(1).body, is_cut=True),
        Reply(b"<html>Bad day</html>"),
        Reply(b'{"boolean": true}'),
    ],
)
async def test_fault_that_may_pass_is_asked_again(fault: Reply) -> None:
    with serving(one_after_another(fault, rows(7))) as peer:
        assert await Endpoint(peer.url, None).select(QUERY) == [{"n": {"value": "7"}}]
        assert len(peer.queries) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 414])
async def test_refusal_is_not_asked_again(status: int) -> None:
    with serving(lambda _: Reply(b"no", status=status)) as peer:
        with pytest.raises(SourceError) as raised:
            await Endpoint(peer.url, None).select(QUERY)
        assert not isinstance(raised.value, QueryFailedError)
        assert len(peer.queries) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Reply(TRUNCATED),
        Reply(rows(1, 2).body[:-1]),
        Reply(rows(1, 2).body + b"\njava.util.concurrent.TimeoutException"),
        Reply(b"java.util.concurrent.TimeoutException\n\tat ...", status=500),
        Reply(status=504),
    ],
)
async def test_timeout_is_told_at_once_and_nothing_of_it_kept(fault: Reply) -> None:
    with serving(lambda _: fault) as peer:
        with pytest.raises(QueryTimeoutError):
            await Endpoint(peer.url, None).select(QUERY)
        assert len(peer.queries) == 1


async def test_silence_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparql, "TIMEOUT_SECONDS", 1)

    def silent(_: str) -> Reply:
        time.sleep(1.5)
        return rows()

    with serving(silent) as peer, pytest.raises(QueryTimeoutError, match="no answer within 1 s"):
        await Endpoint(peer.url, None).select(QUERY)


async def test_answer_that_oxigraph_breaks_off_is_a_timeout(tmp_path: Path) -> None:
    triples = [
        f"<http://example.org/{number}> <http://example.org/p> <http://example.org/o> .\n" for number in range(5000)
    ]
    query = "SELECT ?a ?b WHERE { ?a ?p ?o . ?b ?p ?o }"
    with oxigraph.serving(tmp_path, triples, timeout_s=1) as url:
        endpoint = Endpoint(url, None)
        with pytest.raises(QueryTimeoutError, match="the answer is cut after"):
            await endpoint.select(query)
        assert len(await endpoint.select("SELECT ?a WHERE { ?a ?p ?o }")) == 5000


async def test_failure_that_stays_is_told_after_all_attempts() -> None:
    with serving(lambda _: Reply(status=500)) as peer:
        with pytest.raises(QueryFailedError, match="500"):
            await Endpoint(peer.url, None).select(QUERY)
        assert len(peer.queries) == 3


async def test_nobody_listening_is_a_failure_and_no_endpoint() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/sparql", None)
    with pytest.raises(QueryFailedError, match="Connection refused"):
        await endpoint.select(QUERY)
    with pytest.raises(SourceError, match=r"no longer answers .* resume"):
        await endpoint.check()


async def test_pause_that_is_asked_for_is_kept_by_all_queries() -> None:
    """The endpoint pauses for a second from its first answer on, and counts who does not wait."""
    open_at: list[float] = []
    early: list[str] = []

    def pausing(query: str) -> Reply:
        if not open_at:
            open_at.append(time.monotonic() + 1)
            return Reply(status=429, headers={"Retry-After": "1"})
        if time.monotonic() < open_at[0]:
            early.append(query)
        return rows(1)

    said: list[str] = []
    with serving(pausing) as peer:
        endpoint = Endpoint(peer.url, None, parallel=1, say=said.append)
        await asyncio.gather(*(endpoint.select(QUERY) for _ in range(4)))
        assert len(peer.queries) == 5
    assert not early
    assert any("429 Too Many Requests, asks to wait 1 s (attempt 1 of 3)" in line for line in said)


async def test_pause_beyond_patience_ends_the_run() -> None:
    with serving(lambda _: Reply(status=429, headers={"Retry-After": "86400"})) as peer:
        with pytest.raises(SourceError, match=r"asks to wait 86400 seconds: .* resume") as raised:
            await Endpoint(peer.url, None).select(QUERY)
        assert not isinstance(raised.value, QueryFailedError)
        assert len(peer.queries) == 1


async def test_no_more_queries_run_at_once_than_allowed() -> None:
    running: list[int] = [0]
    most: list[int] = []

    def counting(_: str) -> Reply:
        running[0] += 1
        most.append(running[0])
        time.sleep(0.05)
        running[0] -= 1
        return rows()

    with serving(counting) as peer:
        endpoint = Endpoint(peer.url, None, parallel=2)
        await asyncio.gather(*(endpoint.select(QUERY) for _ in range(8)))
    assert max(most) == 2


async def test_budget_used_up_is_waited_for_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with serving(lambda _: rows()) as peer:
        endpoint = Endpoint(peer.url, None, say=said.append)
        monkeypatch.setattr(endpoint, "_budget", Budget(seconds=0.000001, window_seconds=0.2))
        for _ in range(3):
            await endpoint.select(QUERY)
    assert len(said) >= 2
    assert all("this minute's query time is used up" in line for line in said)


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(0, 5)), min_size=1, max_size=40))
def test_budget_is_never_used_up_when_a_query_starts(queries: list[tuple[int, int]]) -> None:
    budget, now = Budget(60, 60), 0.0
    past: list[tuple[float, float]] = []
    for seconds, idle in queries:
        now += idle
        now += budget.wait_seconds(now)
        assert budget.wait_seconds(now) == 0
        assert sum(spent for ended, spent in past if ended > now - 60) < 60
        budget.spend(now, now + seconds)
        now += seconds
        past.append((now, seconds))


@pytest.mark.parametrize(
    ("url", "contact", "message"),
    [
        (sparql.PUBLIC_ENDPOINT, None, "must be told whom to contact"),
        ("https://query-scholarly.wikidata.org/sparql", None, "must be told whom to contact"),
        (sparql.PUBLIC_ENDPOINT, "me", "neither an e-mail address nor a URL"),
        (sparql.PUBLIC_ENDPOINT, "me@example.org\nX: y", "neither an e-mail address nor a URL"),
        ("nonsense", None, "'nonsense' is no endpoint"),
        ("https://me:secret@example.org/sparql", None, "'example.org' is no endpoint: .* without a password"),
    ],
)
def test_endpoint_that_cannot_be_asked_is_said_before(url: str, contact: str | None, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        check_endpoint(url, contact)


async def test_client_names_itself_and_whom_to_contact() -> None:
    with serving(lambda _: rows()) as peer:
        await Endpoint(peer.url, "https://example.org/me").select(QUERY)
    assert peer.agents[0].startswith("ChronosAtlas/")
    assert "(https://example.org/me)" in peer.agents[0]


@given(st.integers(min_value=0))
def test_answer_cut_anywhere_is_never_accepted(length: int) -> None:
    body = rows(1, 22, 333).body
    with pytest.raises(QueryFailedError):
        parse_answer(body[: length % len(body)])
