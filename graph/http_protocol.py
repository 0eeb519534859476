"""uvicorn's protocol, which itself would take in a URL, a header or a trailer of any size, and wait for it for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from graph.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES

WEBSOCKETS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": MAX_BODY_BYTES,
    # A small message could unpack to a large one.
    "ws_per_message_deflate": False,
}
"""uvicorn's options of WebSockets."""

SLACK = 2
"""What is only somewhat too long is still read, to be refused in words by graph.request_bounds."""
MAX_UNFINISHED_BYTES = SLACK * MAX_HEADER_BYTES

SLOW_SECONDS = 25
"""How long a request may take to come in, and a client to take in an answer that waits for it."""
SLOW_ANSWER = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: 44\r\n\r\nThe request did not come within 25 seconds.\n"
)


class _TooMuchError(Exception):
    """The parser hands it on as its own error, which is answered with 400 and ends the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request's head grows beyond all bounds, or whose client is too slow.

    Between requests it may be idle for as long as uvicorn's keep-alive lasts.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unfinished = 0
        self._headers = 0
        self._header_bytes = 0
        self._is_coming = True
        self._due: asyncio.TimerHandle | None = None
        self._write_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._due = self.loop.call_later(SLOW_SECONDS, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._due, self._write_due):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes without finishing anything: a header or the line of a chunk that does not end."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MAX_UNFINISHED_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")
        # What comes in one piece, as nearly all requests do, needs no timer.
        if not self._is_coming:
            if self._due is not None:
                self._due.cancel()
                self._due = None
        elif self._due is None:
            self._due = self.loop.call_later(SLOW_SECONDS, self._end)

    def _end(self) -> None:
        if not self.transport.is_closing():
            if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
                self.transport.write(SLOW_ANSWER)
            self.transport.close()

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
        self._unfinished = self._headers = self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self._unfinished = 0
        super().on_url(url)
        if len(self.url) > SLACK * MAX_URL_BYTES:
            raise _TooMuchError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer after the body."""
        self._unfinished = 0
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > SLACK * MAX_HEADERS or self._header_bytes > SLACK * MAX_HEADER_BYTES:
            raise _TooMuchError
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Know that the request is there."""
        self._is_coming = False
        super().on_message_complete()
