"""A client for APIs that answer in JSON: asks at the source's pace, again when a failure may pass, within bounds."""

import time
from asyncio import sleep
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import aiohttp
import stamina
from yarl import URL

from etl.auth import Credential
from etl.http import USER_AGENT, PassingError, asked_to_wait, is_passing
from etl.source import SourceError
from etl.source_config import RestConfig

MAX_BODY_BYTES = 64 << 20
REQUEST_SECONDS = 120
"""For an answer to its end: a server that drips would otherwise hold a run for ever."""
ATTEMPTS = 5
WAIT_INITIAL_SECONDS = 1.0
WAIT_MAX_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 300.0
MAX_REDIRECTS = 5
SHOWN_CHARACTERS = 80

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WHOLE = frozenset({200, 203, 204})
_READ_OF_REFUSAL_BYTES = 4096

Parsed = TypeVar("Parsed")


class RefusedError(Exception):
    """An answer, or the way to it, that no other attempt would change."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class NotThereError(SourceError):
    """The server knows no such page (404)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end (status 200, 203, 204 or 304); neither address nor body has the secret."""

    status: int
    url: URL
    body: bytes
    next_link: str | None
    etag: str | None
    last_modified: str | None


class Pace:
    """Spaces requests evenly."""

    def __init__(self, per_second: float) -> None:
        self._gap_seconds = 1 / per_second
        self._next = 0.0

    def book(self, now: float) -> float:
        """Take the next turn and return how many seconds it is away."""
        wait = max(0.0, self._next - now)
        self._next = now + wait + self._gap_seconds
        return wait


class RestClient:
    """Asks one source; a context manager. Errors name the address without its query, and never the secret."""

    def __init__(self, config: RestConfig, credential: Credential, pace: Pace) -> None:
        self._credential = credential
        self._pace = pace
        self._origin = _origin(URL(config.url))
        self._shown = str(URL(config.url).with_query(None).with_fragment(None))
        self._stays = config.auth is not None or bool(config.headers)
        given = {name.lower() for name in config.headers}
        usual = {"Accept": "application/json", "User-Agent": USER_AGENT}
        self._headers = {**{name: usual[name] for name in usual if name.lower() not in given}, **config.headers}

    async def __aenter__(self) -> "RestClient":
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=30, sock_read=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(
        self, url: URL, place: str, parse: Callable[[Answer], Parsed], validators: Mapping[str, str] | None = None
    ) -> Parsed:
        """Ask for an address until its answer can be parsed.

        `parse` may raise PassingError, to ask again, or RefusedError. Raises SourceError, NotThereError for a 404.
        """
        try:
            async for attempt in stamina.retry_context(
                on=_backoff,
                attempts=ATTEMPTS,
                timeout=None,
                wait_initial=WAIT_INITIAL_SECONDS,
                wait_max=WAIT_MAX_SECONDS,
                wait_jitter=WAIT_INITIAL_SECONDS,
            ):
                with attempt:
                    return parse(await self._ask(url, validators or {}))
        # What aiohttp says of an error may hold the address as it was sent, so nothing is chained.
        except PassingError as error:
            raise SourceError(self.tell(place, f"{error} (asked {ATTEMPTS} times)")) from None
        except RefusedError as error:
            kind = NotThereError if error.status == 404 else SourceError
            raise kind(self.tell(place, str(error))) from None
        raise AssertionError("a retry context returns or raises")

    def tell(self, place: str, reason: str) -> str:
        """Return an error's message."""
        return self._credential.hide(f"{self._shown}, {place}: {reason}")

    def resolve(self, base: URL, text: str) -> URL:
        """Return the address that an answer from `base` names, without the secret; raises RefusedError."""
        text = self._credential.hide_received(text.encode()).decode()
        try:
            url = base.join(URL(text)).with_fragment(None)
        except ValueError as error:
            raise RefusedError(f"it leads to {text[:SHOWN_CHARACTERS]!r}, which is no address") from error
        if url.scheme not in ("http", "https") or not url.host or url.user is not None:
            raise RefusedError(f"it leads to {text[:SHOWN_CHARACTERS]!r}: only http and https, without a password")
        if self._stays and _origin(url) != self._origin:
            raise RefusedError(
                f"it leads to {url.scheme}://{url.authority}, and the secret and headers of the source are sent only to"
                f" {self._shown}: if the source has moved there, correct its url"
            )
        return self._credential.strip(url)

    async def _ask(self, url: URL, validators: Mapping[str, str]) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            await sleep(self._pace.book(time.monotonic()))
            try:
                found = await self._ask_once(url, validators)
            except aiohttp.ClientConnectorCertificateError as error:
                raise RefusedError(f"the server's certificate is not right: {error.certificate_error}") from error
            except (aiohttp.ClientError, OSError) as error:
                raise PassingError(_reason(error)) from error
            if isinstance(found, Answer):
                return found
            url = found
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects")

    async def _ask_once(self, url: URL, validators: Mapping[str, str]) -> Answer | URL:
        """Return the answer, or the address of a redirect."""
        headers = {**validators, **self._credential.headers()}
        async with self._session.get(self._credential.sign(url), headers=headers, allow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status in _REDIRECTS and location is not None:
                return self.resolve(url, location)
            if response.status not in _WHOLE and not (response.status == 304 and validators):
                raise await self._failure(response)
            return Answer(
                response.status,
                url,
                self._credential.hide_received(await _read(response)),
                _next_link(response),
                _validator(response, "ETag"),
                _validator(response, "Last-Modified"),
            )

    async def _failure(self, response: aiohttp.ClientResponse) -> PassingError | RefusedError:
        status = f"HTTP {response.status} {response.reason}"
        if is_passing(response.status):
            seconds = asked_to_wait(response.headers)
            if seconds is not None and seconds > LONGEST_PAUSE_SECONDS:
                return RefusedError(
                    f"{status}, asks to wait {seconds:.0f} s: `python -m etl resume` goes on after that"
                )
            return PassingError(status, seconds)
        body = b""
        with suppress(aiohttp.ClientError, TimeoutError):
            body = await response.content.read(_READ_OF_REFUSAL_BYTES)
        # Hidden before it is cut: half a secret would not be found.
        shown = excerpt(self._credential.hide(body.decode("utf-8", "replace")).encode())
        return RefusedError(f"{status}, {shown}{self._advice(response.status)}", response.status)

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            variable = self._credential.variable
            return f": is the secret in {variable} right?" if variable else ": does the source need `auth`?"
        return ": is the url right?" if status in (404, 410) else ""


def excerpt(body: bytes) -> str:
    """Return the beginning of what came, on one line."""
    return repr(" ".join(body[:_READ_OF_REFUSAL_BYTES].decode("utf-8", "replace").split())[:SHOWN_CHARACTERS])


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    received = response.content_length or 0
    if received <= MAX_BODY_BYTES:
        received = 0
        # Pieces are unpacked already, so a small packed answer cannot become a large one unseen.
        async for piece in response.content.iter_any():
            received += len(piece)
            if received > MAX_BODY_BYTES:
                break
            pieces.append(piece)
    if received > MAX_BODY_BYTES:
        raise RefusedError(f"the answer has more than {MAX_BODY_BYTES >> 20} MB: ask for smaller pages")
    return b"".join(pieces)


def _next_link(response: aiohttp.ClientResponse) -> str | None:
    """Return the target of the Link header's rel="next" (RFC 8288)."""
    try:
        links = response.links.items()
    except ValueError as error:
        raise RefusedError("the Link header has an address that is none") from error
    return next((str(link["url"]) for relation, link in links if "next" in relation.lower().split()), None)


def _validator(response: aiohttp.ClientResponse, name: str) -> str | None:
    found = response.headers.get(name)
    return found if found and found.isascii() and found.isprintable() else None


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.host, url.port


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no whole answer in time, which is {REQUEST_SECONDS} s at most"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer was cut, or cannot be unpacked"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer is not proper HTTP: {error.message}"
    return f"the connection failed: {error or type(error).__name__}"


def _backoff(error: Exception) -> bool | float:
    if isinstance(error, PassingError) and error.wait_seconds is not None:
        return error.wait_seconds
    return isinstance(error, PassingError)
