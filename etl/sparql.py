"""A SPARQL 1.1 endpoint, asked politely: few queries at once, within a budget of seconds, again when it was busy.

An answer is accepted only when its JSON parses to its end: the query service breaks off an answer it has begun when
its time is up, and writes a stack trace after it, all with status 200.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http.client import HTTPException, HTTPResponse
from importlib.metadata import version
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import orjson
import stamina
from SPARQLWrapper import JSON, POST, SPARQLWrapper
from SPARQLWrapper.SPARQLExceptions import EndPointInternalError, SPARQLWrapperException

from etl.http import parse_retry_after
from etl.source import SourceError

PUBLIC_ENDPOINT = "https://query.wikidata.org/sparql"
TIMEOUT_SECONDS = 70
"""The public service gives up a query after 60 seconds, and then still has to say so."""

ATTEMPTS = 5
WAIT_INITIAL_SECONDS = 2.0
WAIT_MAX_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 900.0
BUDGET_SECONDS = 60.0
"""Processing time the public service grants a client in a minute
(https://www.mediawiki.org/wiki/Wikidata_Query_Service/User_Manual#Query_limits)."""

Binding = dict[str, dict[str, str]]
"""A row of an answer: by variable, a term with `type`, `value` and perhaps `xml:lang`."""


class QueryFailedError(SourceError):
    """A query was not answered, though another attempt, or a smaller query, may be."""


class QueryTimeoutError(QueryFailedError):
    """A query takes longer than the endpoint allows, or its answer was cut: only a smaller one can help."""


class BusyError(QueryFailedError):
    """The endpoint asks to come again after so many seconds, None when it does not say."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Budget:
    """Query seconds that may be used up in any window of time; both in seconds of one clock."""

    def __init__(self, seconds: float = BUDGET_SECONDS, window_seconds: float = 60.0) -> None:
        self.seconds = seconds
        self.window_seconds = window_seconds
        self._spent: deque[tuple[float, float]] = deque()

    def spend(self, started: float, ended: float) -> None:
        """Record a query that ran from one time to another."""
        self._spent.append((ended, ended - started))

    def wait_seconds(self, now: float) -> float:
        """Return how long to wait until the queries ended in the window have used less than the budget."""
        while self._spent and self._spent[0][0] <= now - self.window_seconds:
            self._spent.popleft()
        used = sum(seconds for _, seconds in self._spent)
        wait = 0.0
        for ended, seconds in self._spent:
            if used < self.seconds:
                break
            used -= seconds
            wait = max(wait, ended + self.window_seconds - now)
        return wait


def tell(message: str) -> None:
    """Write a line for the person at the terminal."""
    sys.stderr.write(f"{message}\n")


class Endpoint:
    """A SPARQL endpoint. `parallel` queries run at most at once; the public one allows a client five."""

    def __init__(self, url: str, contact: str | None, parallel: int = 2, say: Callable[[str], None] = tell) -> None:
        """Raise SourceError when the public endpoint would be asked without naming whom to contact."""
        self.url = url
        check_endpoint(url, contact)
        name = f"ChronosAtlas/{version('chronos-atlas')}"
        self._agent = f"{name} ({contact}) SPARQLWrapper/2.0.0" if contact else f"{name} SPARQLWrapper/2.0.0"
        self._turns = asyncio.Semaphore(parallel)
        self._budget = Budget(BUDGET_SECONDS if is_public(url) else float("inf"))
        self._not_before = 0.0
        self._say = say

    async def select(self, query: str) -> list[Binding]:
        """Return all rows of a query's answer.

        Raises QueryTimeoutError at once, QueryFailedError after several attempts, and plain SourceError when asking
        again is of no use.
        """
        async for attempt in stamina.retry_context(
            on=_backoff,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=WAIT_INITIAL_SECONDS,
            wait_max=WAIT_MAX_SECONDS,
            wait_jitter=WAIT_INITIAL_SECONDS,
        ):
            with attempt:
                try:
                    return await self._ask(query)
                except QueryFailedError as error:
                    self._say(f"{self.url}: {error} (attempt {attempt.num} of {ATTEMPTS})")
                    raise
        raise AssertionError("a retry context returns or raises")

    async def check(self) -> None:
        """Raise SourceError unless the endpoint answers a query that costs nothing."""
        try:
            await self._ask("SELECT (1 AS ?one) WHERE {}")
        except QueryFailedError as error:
            raise SourceError(
                f"{self.url} no longer answers ({error}): `python -m etl resume` goes on later"
            ) from error

    async def _ask(self, query: str) -> list[Binding]:
        async with self._turns:
            await self._leave()
            started = time.monotonic()
            try:
                return parse_answer(await _in_thread(partial(self._send, query)))
            except BusyError as error:
                self._pause(error)
                raise
            finally:
                self._budget.spend(started, time.monotonic())

    async def _leave(self) -> None:
        """Wait until the endpoint's pause is over and the budget allows another query."""
        while True:
            now = time.monotonic()
            pause, rest = self._not_before - now, self._budget.wait_seconds(now)
            if pause <= 0 and rest <= 0:
                return
            reason = "it asked to wait" if pause > rest else "this minute's query time is used up"
            self._say(f"{self.url}: {reason}, going on in {max(pause, rest):.0f} s")
            await asyncio.sleep(max(pause, rest))

    def _pause(self, error: BusyError) -> None:
        seconds = error.retry_after_seconds or 0.0
        if seconds > LONGEST_PAUSE_SECONDS:
            raise SourceError(
                f"{self.url} asks to wait {seconds:.0f} seconds: `python -m etl resume` goes on after that"
            ) from error
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _send(self, query: str) -> bytes:
        # One instance a call: SPARQLWrapper keeps the query in itself, and this runs in several threads.
        client = SPARQLWrapper(self.url, agent=self._agent)
        client.setQuery(query)
        client.setReturnFormat(JSON)
        client.setOnlyConneg(True)
        # The public service's cache answers a GET, and so may count what it no longer has.
        client.setMethod(POST)
        client.setTimeout(TIMEOUT_SECONDS)
        try:
            return _read(client.query().response)
        except HTTPError as error:
            error.close()
            raise _refusal(self.url, error) from error
        except SPARQLWrapperException as error:
            raise _refusal(self.url, error) from error
        except (HTTPException, OSError) as error:
            if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
                raise QueryTimeoutError(f"no answer within {TIMEOUT_SECONDS} s") from error
            reason = error.reason if isinstance(error, URLError) else error
            raise QueryFailedError(f"the connection failed: {reason!r}") from error


async def _in_thread(work: Callable[[], bytes]) -> bytes:
    """Run work in a thread that, unlike those of asyncio.to_thread, does not keep an aborted process waiting."""
    outcome: Future[bytes] = Future()

    def run() -> None:
        outcome.set_running_or_notify_cancel()
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 (it is raised where the outcome is awaited)
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(outcome)


def is_public(url: str) -> bool:
    """Tell whether an endpoint is Wikimedia's, with its rules."""
    return (urlsplit(url).hostname or "").endswith((".wikidata.org", ".wikimedia.org"))


def check_endpoint(url: str, contact: str | None) -> None:
    """Raise SourceError when a URL is none, or is a public endpoint's and the contact is missing."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise SourceError(f"{parts.hostname or url!r} is no endpoint: expected https://host/path without a password")
    if contact is None:
        if is_public(url):
            raise SourceError(
                f"{url} must be told whom to contact (https://meta.wikimedia.org/wiki/User-Agent_policy):"
                " give --contact or ATLAS_CONTACT, an e-mail address or a URL"
            )
    elif not contact.isprintable() or not ("@" in contact or contact.startswith(("http://", "https://"))):
        raise SourceError(f"the contact {contact!r} is neither an e-mail address nor a URL")


def parse_answer(body: bytes) -> list[Binding]:
    """Read a SPARQL JSON answer; raises QueryTimeoutError when it is cut, QueryFailedError when it is none."""
    try:
        answer: dict[str, Any] = orjson.loads(body)
        bindings: list[Binding] = answer["results"]["bindings"]
    except orjson.JSONDecodeError as error:
        if body.lstrip().startswith(b"{"):
            raise QueryTimeoutError(f"the answer is cut after {len(body)} bytes: {error}") from error
        raise QueryFailedError(f"the answer is no JSON: {body[:80]!r}") from error
    except (KeyError, TypeError) as error:
        raise QueryFailedError(f"the answer is no SPARQL result: {body[:80]!r}") from error
    return bindings


def _read(response: HTTPResponse) -> bytes:
    # A socket's timeout begins anew with each piece, so a trickle would never end.
    deadline = time.monotonic() + TIMEOUT_SECONDS
    pieces: list[bytes] = []
    with response:
        while piece := response.read(1 << 20):
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise TimeoutError
    if response.length:
        raise QueryFailedError(f"the connection was cut {response.length} bytes before the end")
    return b"".join(pieces)


def _refusal(url: str, error: HTTPError | SPARQLWrapperException) -> SourceError:
    """Tell what an answer with an error's status means; SPARQLWrapper has types of its own for some of them."""
    if isinstance(error, EndPointInternalError):
        # The public service answers a query that runs into its limit with 500 and a stack trace.
        timed_out = "timeout" in str(error).lower()
        return QueryTimeoutError("500, timed out") if timed_out else QueryFailedError("500 Internal Server Error")
    if isinstance(error, SPARQLWrapperException):
        return SourceError(f"{url} refuses the query: {' '.join(str(error).split())[:300]}")
    status = f"{error.code} {error.reason}"
    if error.code in (408, 504):
        return QueryTimeoutError(status)
    if error.code in (429, 503):
        seconds = parse_retry_after(error.headers.get("Retry-After"))
        return BusyError(status if seconds is None else f"{status}, asks to wait {seconds:.0f} s", seconds)
    if error.code >= 500:
        return QueryFailedError(status)
    if error.code == 403:
        return SourceError(f"{url} refuses this client (403 {error.reason}): is the contact a real one?")
    return SourceError(f"{url} refuses the query: {status}")


def _backoff(error: Exception) -> bool | float:
    if isinstance(error, BusyError) and error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return isinstance(error, QueryFailedError) and not isinstance(error, QueryTimeoutError)
