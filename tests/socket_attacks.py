"""What wants to break the server's WebSockets, as bytes; what must work is in tests/legitimate.py.

Each ends with an operation of the id `LAST`, so that a server that holds either answers that or has closed the socket.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.attacks import ATTACKS, Attack
from tests.legitimate import LEGITIMATE

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
PATIENCE_SECONDS = 10
FLOOD_BYTES = 256_000
"""What uvloop reads at once, and so what holds the loop at once."""

HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: atlas\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YXRsYXMgYXRsYXMgYXRsYQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
LAST = "last"
ENDS = tuple(f'{{"type":"{kind}","id":"{LAST}"'.encode() for kind in ("complete", "error"))


@dataclass(frozen=True, slots=True)
class SocketAttack:
    """Frames, as bytes."""

    name: str
    sent: bytes


def frame(payload: bytes | str, kind: int = TEXT, *, is_final: bool = True, reserved: int = 0) -> bytes:
    """Return a client's frame, masked with zeros."""
    content = payload if isinstance(payload, bytes) else payload.encode()
    length = len(content)
    head = bytes([is_final << 7 | reserved << 4 | kind])
    if length < 126:
        told = bytes([0x80 | length])
    elif length < 1 << 16:
        told = bytes([0x80 | 126]) + length.to_bytes(2)
    else:
        told = bytes([0x80 | 127]) + length.to_bytes(8)
    return head + told + bytes(4) + content


def subscribed(body: bytes, operation_id: str = LAST) -> bytes:
    """Return the frame of an operation, whatever its body is."""
    return frame(b'{"type": "subscribe", "id": "%b", "payload": %b}' % (operation_id.encode(), body))


def flood(one: bytes) -> bytes:
    return one * (FLOOD_BYTES // len(one))


HELLO = frame('{"type": "connection_init"}')
ASKED = json.dumps({"query": "{ __typename }"}).encode()
FAREWELL = subscribed(ASKED)


def after_hello(name: str, *frames: bytes) -> SocketAttack:
    return SocketAttack(name, b"".join((HELLO, *frames, FAREWELL)))


FLOODS = [
    SocketAttack("pings before the first message", flood(frame('{"type": "ping"}')) + HELLO + FAREWELL),
    after_hello("empty pings", flood(frame(b"", PING))),
    after_hello("long pings", flood(frame(b"x" * 125, PING))),
    after_hello("empty pongs", flood(frame(b"", PONG))),
    after_hello("empty texts", flood(frame(""))),
    after_hello("ping messages", flood(frame('{"type": "ping"}'))),
    after_hello("pong messages", flood(frame('{"type": "pong"}'))),
    after_hello("ends of operations that there are not", flood(frame('{"type": "complete", "id": "a"}'))),
    after_hello("operations that end at once", flood(subscribed(ASKED, "a") + frame('{"type":"complete","id":"a"}'))),
    after_hello("operations at the same time", *(subscribed(ASKED, str(number)) for number in range(3_000))),
    after_hello("empty fragments", frame("{", is_final=False), flood(frame(b"", CONTINUATION, is_final=False))),
    after_hello("short fragments", frame("{", is_final=False), flood(frame(b"x", CONTINUATION, is_final=False))),
    after_hello(
        "a message of 900 fragments",
        frame('{"type": "ping"}', is_final=False),
        *(frame(b" ", CONTINUATION, is_final=n == 899) for n in range(900)),
    ),
    after_hello("a message too large", frame("x" * 300_000)),
    after_hello("a message nested deeply", frame("[" * 250_000)),
    after_hello("a message of many names", frame(json.dumps({str(n): n for n in range(15_000)}))),
    after_hello("a type of 200 KB", frame(json.dumps({"type": "x" * 200_000}))),
]

FRAMES = [
    SocketAttack("no frame", b"\0" * 1_000),
    SocketAttack("another request", HANDSHAKE * 2),
    SocketAttack("no mask", b"\x81\x01a"),
    after_hello("an enormous length", b"\x81\xff\x7f" + b"\xff" * 7 + bytes(4)),
    after_hello("a length below zero", b"\x81\xff" + b"\xff" * 8 + bytes(4)),
    after_hello("reserved bits", frame("a", reserved=4)),
    after_hello("a reserved kind", frame("a", 3)),
    after_hello("bytes", frame(b"\0\1", BINARY)),
    after_hello("no UTF-8", frame(b"\xff\xfe")),
    after_hello("half a character", frame(b"\xed\xa0\x80")),
    after_hello("half a character as an escape", frame('{"type": "\\ud800"}')),
    after_hello("a NUL as an escape", frame('{"type": "\\u0000"}')),
    after_hello("a fragment of nothing", frame("a", CONTINUATION)),
    after_hello("a text within a text", frame("a", is_final=False), frame("b")),
    after_hello("a ping in fragments", frame("a", PING, is_final=False)),
    after_hello("a ping too long", frame("a" * 126, PING)),
    after_hello("a close of one byte", frame("a", CLOSE)),
    after_hello("a close of an unknown code", frame((999).to_bytes(2), CLOSE)),
    after_hello("a close that is no UTF-8", frame((1000).to_bytes(2) + b"\xff", CLOSE)),
    after_hello("a close and more", frame((1000).to_bytes(2), CLOSE)),
    after_hello("hello twice", HELLO),
    SocketAttack(
        "a token of 200 KB",
        frame(json.dumps({"type": "connection_init", "payload": {"authorization": "Bearer " + "x" * 200_000}}))
        + FAREWELL,
    ),
    SocketAttack("an odd payload", frame('{"type": "connection_init", "payload": [7]}') + FAREWELL),
]


def _operations(requests: Sequence[Attack]) -> list[SocketAttack]:
    """Return requests of HTTP as operations of a socket."""
    return [
        SocketAttack(f"{request.name} as an operation", HELLO + subscribed(request.content))
        for request in requests
        if request.method == "POST" and request.url == "/graphql" and request.content is not None
    ]


SOCKET_ATTACKS = [*FLOODS, *FRAMES, *_operations(ATTACKS)]
LEGITIMATE_OPERATIONS = _operations(LEGITIMATE)


@dataclass(slots=True)
class Socket:
    """A connection after the handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_open: bool = False
    """Whether an attack was answered to its end."""

    async def sent(self, attack: SocketAttack) -> bytes:
        """Send an attack; return the frames that come until its last operation is answered or the socket is closed."""
        received, seen = bytearray(), 0
        # What is reset was closed while more was sent.
        with suppress(ConnectionError):
            self.writer.write(attack.sent)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while part := await self.reader.read(1 << 20):
                    received += part
                    seen, kind = _look(received, seen)
                    if kind is not None:
                        self.is_open = kind == TEXT
                        break
        return bytes(received)

    async def close(self) -> None:
        """End the connection."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def _look(received: bytearray, seen: int) -> tuple[int, int | None]:
    """Pass over the server's whole frames; tell where they end, and the kind of the one that ends all."""
    while len(received) >= seen + 2:
        start, length = seen + 2, received[seen + 1]
        if length >= 126:
            size = 2 if length == 126 else 8
            start, length = start + size, int.from_bytes(received[start : start + size])
        if len(received) < start + length:
            break
        kind = received[seen] & 0x0F
        if kind == CLOSE or received.startswith(ENDS, start):
            return seen, kind
        seen = start + length
    return seen, None


async def open_socket(port: int) -> Socket:
    """Connect to a server of loopback, and shake hands."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    return Socket(reader, writer)
