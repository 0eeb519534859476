"""uvicorn's protocol of WebSockets, which itself would wait for a client that does not read for ever."""

import asyncio
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from graph.limits import MAX_BODY_BYTES, MAX_FRAGMENTS

SLOW_SECONDS = 25
"""How long a client may take to take in what waits for it."""


class BoundedSocket(WebSocketsSansIOProtocol):
    """Ends a socket whose client does not read, for whom nothing is gathered meanwhile."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._write_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Have all that cannot be sent at once count as waiting."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._write_due = self.loop.call_later(SLOW_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._stop_waiting()
        super().resume_writing()

    def handle_ping(self) -> None:
        """Answer a ping, unless the answers to those before still wait."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment of a message; empty ones would go past the bound on its size."""
        if self.close_sent:
            return
        if len(self.frames) >= MAX_FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"a message may have {MAX_FRAGMENTS} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    async def send(self, message: Any) -> None:
        """Send a message; once the client has broken the protocol, it is gone for the application."""
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)

    def _stop_waiting(self) -> None:
        if self._write_due is not None:
            self._write_due.cancel()
            self._write_due = None


WEBSOCKETS: dict[str, Any] = {
    "ws": BoundedSocket,
    "ws_max_size": MAX_BODY_BYTES,
    # A small message could unpack to a large one.
    "ws_per_message_deflate": False,
}
"""uvicorn's options of WebSockets."""
