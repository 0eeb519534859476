"""uvicorn's protocol, which itself would take in a URL, a header or a trailer of any size, and wait for it for ever."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import Message
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from graph.answers import error_answer
from graph.errors import Code
from graph.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES
from graph.replies import Formed
from graph.short_way import ShortRequest, ShortWay

MAX_HEAD_BYTES = 2 * (MAX_URL_BYTES + MAX_HEADER_BYTES)
"""What comes in one piece, and what is only somewhat too long, is refused in words by graph.request_bounds."""

SLOW_SECONDS = 25
"""How long a request may take to come in, and a client to take in an answer that waits for it."""


_CLOSE = (b"connection", b"close")


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request's head grows beyond all bounds, or whose client is too slow.

    Between requests it may be idle for as long as uvicorn's keep-alive lasts. Plain GraphQL requests go the short way
    if the application's state has it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._piece_bytes = 0
        self._head_bytes = 0
        self._is_coming = True
        self._due: asyncio.TimerHandle | None = None
        self._write_due: asyncio.TimerHandle | None = None
        self._short_way: ShortWay | None = getattr(getattr(self.config.app, "state", None), "short_way", None)
        self._held: list[bytes] | None = None
        self.computing: ShortRequest | None = None
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._due = self.loop.call_later(SLOW_SECONDS, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._due, self._write_due, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        if self.computing is not None:
            self.computing.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes after a request's first piece and is no body: its head, a chunk's line, trailers."""
        self._piece_bytes = len(data)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._held is not None:
            # Requests that come in pieces go the long way.
            self._go_the_long_way(self._held)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(400, Code.LIMIT, f"the request's head is too long: send at most {MAX_HEAD_BYTES} bytes")
        # What comes in one piece, as nearly all requests do, needs no timer.
        if not self._is_coming:
            if self._due is not None:
                self._due.cancel()
                self._due = None
        elif self._due is None:
            self._due = self.loop.call_later(SLOW_SECONDS, self._end)

    def handle_websocket_upgrade(self) -> None:
        """Hand a connection over, unless its new protocol cannot read the request again.

        It has bounds of its own on headers and lines, and uvicorn would leave the client waiting for ever.
        """
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().handle_websocket_upgrade()
        protocol: Any = self.transport.get_protocol()
        if protocol.conn.handshake_exc is not None and not self.transport.is_closing():
            self._refuse(
                400, Code.LIMIT, "the request for a WebSocket is no GET, or has too many headers or too long ones"
            )

    def on_response_complete(self) -> None:
        """Begin the next request that waits, else be idle; a timer a request would take longer than all else here."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._end_if_idle)

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer alone: when it is due, it is known whether the connection was idle."""

    def _end_if_idle(self) -> None:
        is_idle = not self._is_coming and (self.cycle is None or self.cycle.response_complete)
        left = self._idle_since + self.timeout_keep_alive - self.loop.time() if is_idle else self.timeout_keep_alive
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._end_if_idle)
        else:
            self.transport.close()

    def _end(self) -> None:
        if not self.transport.is_closing():
            if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
                self._refuse(408, Code.LIMIT, f"the request did not come within {SLOW_SECONDS} seconds: send it faster")
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, Code.BAD_INPUT, msg)

    def _refuse(self, status: int, code: Code, message: str) -> None:
        """Answer before the application has a part in it, and close."""
        content = bytes(error_answer(message, code, status).body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        _write(self.transport, Formed(status, headers, content), self.server_state.default_headers, keeps_alive=False)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._write_due = self.loop.call_later(SLOW_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        if self._write_due is not None:
            self._write_due.cancel()
            self._write_due = None
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._is_coming = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Have the application answer, unless the request may go the short way once its body is there."""
        if self._may_go_short():
            self._held = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._head_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Know that the request is there."""
        self._is_coming = False
        if self._held is not None:
            if self._went_the_short_way(b"".join(self._held)):
                self._held = None
                return
            self._go_the_long_way(self._held)
        super().on_message_complete()

    def _may_go_short(self) -> bool:
        parser = self.parser
        return (
            self._short_way is not None
            and self._short_way.begins(parser.get_method(), self.url)
            and (self.cycle is None or self.cycle.response_complete)
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            # It is in its first piece, whose bytes are all that its headers can have.
            and self._head_bytes == 0
            and self._piece_bytes <= MAX_HEADER_BYTES
            and len(self.headers) <= MAX_HEADERS
            and len(self.url) <= MAX_URL_BYTES
            # A client that does not read is not written to.
            and self.transport.get_write_buffer_size() < HIGH_WATER_LIMIT
        )

    def _went_the_short_way(self, body: bytes) -> bool:
        """Answer the request that was held, or have it answered, if it is plain."""
        short_way = self._short_way
        assert short_way is not None
        if len(body) > MAX_BODY_BYTES:
            return False
        request = short_way.read(self.parser.get_method().decode(), self.url, self.headers, body)
        if request is None:
            return False
        if (formed := request.at_hand()) is not None:
            _write(self.transport, formed, self.server_state.default_headers)
            self.on_response_complete()
            return True
        self.cycle = exchange = _Exchange(self, short_way, request.method, body)  # type: ignore[assignment]
        if request.compute(exchange):
            self.computing = request
        else:
            exchange.begin()
        return True

    def _go_the_long_way(self, parts: Iterable[bytes]) -> None:
        """Have the application answer what was held for a moment."""
        self._held = None
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)


_UNHEARD = asyncio.Event()


class _Exchange:
    """A request whose answer is computed without a cycle, in whose place it stands for uvicorn."""

    response_started = False
    response_complete = False
    disconnected = False
    keep_alive = True
    message_event = _UNHEARD

    def __init__(self, protocol: BoundedProtocol, app: ShortWay, method: str, body: bytes) -> None:
        self._protocol = protocol
        self._app = app
        self._scope = protocol.scope
        self._method = method
        self._url = protocol.url
        self._body = body

    def respond(self, formed: Formed) -> None:
        """Send the answer."""
        protocol = self._protocol
        protocol.computing = None
        self.response_complete = True
        _write(protocol.transport, formed, protocol.server_state.default_headers, self.keep_alive)
        protocol.on_response_complete()

    def begin(self) -> None:
        """Have the short way compute the answer as an application."""
        protocol = self._protocol
        protocol.computing = None
        path, _, query = self._url.partition(b"?")
        further = {"method": self._method, "path": path.decode(), "raw_path": path, "query_string": query}
        self._scope.update(further)  # type: ignore[typeddict-item]
        cycle = _Cycle(
            scope=self._scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=False,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=protocol.on_response_complete,
        )
        cycle.body += self._body
        cycle.more_body = False
        cycle.message_event.set()
        # Another request may have come since.
        if protocol.cycle is self:  # type: ignore[comparison-overlap]
            protocol.cycle = cycle
        protocol._start_asgi_task(cycle, self._app)  # type: ignore[arg-type]


class _Cycle(RequestResponseCycle):
    """Sends answers in one piece, of which uvicorn would first examine each header."""

    _start: Message

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Take the answer's start, then send all of it."""
        if message["type"] == "http.response.start":
            self.response_started = True
            self._start = message
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        formed = Formed(self._start["status"], self._start["headers"], message["body"])
        _write(self.transport, formed, self.default_headers, self.keep_alive)
        self.response_complete = True
        self.message_event.set()
        self.on_response()


def _write(
    transport: asyncio.Transport,
    formed: Formed,
    default_headers: Iterable[tuple[bytes, bytes]],
    keeps_alive: bool = True,
) -> None:
    """Write an answer, and close the connection unless it is kept."""
    headers = (*default_headers, *formed.headers) if keeps_alive else (*default_headers, *formed.headers, _CLOSE)
    lines = [b"%b: %b\r\n" % header for header in headers]
    transport.write(b"".join((STATUS_LINE[formed.status], *lines, b"\r\n", formed.body)))
    if not keeps_alive:
        transport.close()
