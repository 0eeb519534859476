"""When a request must be answered at the latest, and whether its client still waits for that."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from db.session import READ_ERRORS, was_lost
from graph.errors import Code, RequestError, bad_input, causes_of

HEADER = "X-Request-Timeout"
LISTEN_AFTER_SECONDS = 0.1
"""Most answers are there before anybody could leave: only then it is worth listening whether somebody does."""

_NAME = HEADER.lower().encode()

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class Deadline:
    """The deadline of a request that begins now."""

    __slots__ = ("_ends", "_receive", "seconds")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Take the application's deadline, or an earlier one of the request's header; raises a RequestError."""
        self.seconds: float = scope["app"].state.deadline_seconds
        for name, value in scope["headers"]:
            if name == _NAME:
                self.seconds = min(self.seconds, _read(value))
        self._ends = asyncio.get_running_loop().time() + self.seconds
        self._receive = receive

    async def wait(self, work: "asyncio.Future[T]") -> T:
        """Wait for a future, which goes on when this ends before it.

        Raises a RequestError when the time is up, and ClientDisconnect when the client has left.
        """
        # What is there soon needs no listener.
        await asyncio.wait((work,), timeout=min(LISTEN_AFTER_SECONDS, self._left()))
        if work.done():
            return work.result()
        listener = asyncio.create_task(self._leave_with_client())
        try:
            await asyncio.wait((work, listener), timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if listener.done():
                listener.result()
                raise ClientDisconnect
        finally:
            listener.cancel()
        raise too_late(self.seconds)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the request's own task, which is cancelled when this ends; raises what `wait` does."""
        loop = asyncio.get_running_loop()
        listener: asyncio.Task[None] | None = None

        def listen() -> None:
            nonlocal listener
            limit.reschedule(self._ends)
            listener = asyncio.create_task(self._leave_with_client())
            listener.add_done_callback(lambda done: None if done.cancelled() else limit.reschedule(loop.time()))

        try:
            async with asyncio.timeout(None) as limit:
                # What is there soon needs no listener.
                timer = loop.call_later(min(LISTEN_AFTER_SECONDS, self._left()), listen)
                try:
                    return await work
                finally:
                    timer.cancel()
                    if listener is not None:
                        listener.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
        if listener is not None and listener.done() and not listener.cancelled():
            listener.result()
            raise ClientDisconnect
        raise too_late(self.seconds)

    def _left(self) -> float:
        return max(0.0, self._ends - asyncio.get_running_loop().time())

    async def _leave_with_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def too_late(seconds: float) -> RequestError:
    """Make the error of a request whose time is up."""
    return RequestError(
        Code.TIMEOUT, f"The answer took too long, over {seconds:g} s: ask for fewer rows, steps or types."
    )


def bounded(endpoint: Endpoint) -> Endpoint:
    """Make an endpoint that ends with its request's deadline or client, and the SQL with it.

    What it reads is read once more when the connection to the database breaks meanwhile.
    """

    async def tried_again(request: Request) -> Response:
        try:
            return await endpoint(request)
        except READ_ERRORS as error:
            if not any(was_lost(cause) for cause in causes_of(error)):
                raise
        return await endpoint(request)

    async def ended_in_time(request: Request) -> Response:
        deadline = Deadline(request.scope, request.receive)
        work = asyncio.ensure_future(tried_again(request))
        try:
            return await deadline.wait(work)
        finally:
            work.cancel()

    return ended_in_time


def _read(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    # Not a number is not greater than zero either.
    if not seconds > 0:
        shown = value[:20].decode("latin-1")
        raise bad_input(f"{HEADER} is {shown!r}: give a number of seconds above 0, such as 1.5")
    return seconds
