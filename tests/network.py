"""A network on loopback that fails as told: it stands between a client and a server that listens on TCP.

Linux drops what arrives at a socket that a packet filter refuses, acknowledgements and keepalive probes included. So to
both sides a silent network is what it is in earnest: nothing comes back, not even from the other side's kernel.
"""

import ctypes
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# From <asm-generic/socket.h>; Python does not name them.
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_RETURN = 0x06
_BLOCK_BYTES = 1 << 16


class Network:
    """Carries connections from `port` on loopback to another address, until it is told to fail."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._delay_seconds = 0.0
        self._is_silent = False
        self._sockets: list[socket.socket] = []
        self._turn = threading.RLock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def blackhole(self) -> None:
        """Let no packet through from here on, of connections that are open or new."""
        with self._turn:
            self._is_silent = True
            for one in self._all():
                _drop_arriving(one)

    def restore(self) -> None:
        """Carry packets as ever; what was sent meanwhile and is still wanted is sent again by either kernel."""
        with self._turn:
            self._is_silent, self._delay_seconds = False, 0.0
            for one in self._all():
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)

    def delay(self, seconds: float) -> None:
        """Hold every piece of data for so long, each way."""
        self._delay_seconds = seconds

    def cut(self) -> None:
        """Close all connections in order, as a server that ends; new ones are carried."""
        self._end(is_reset=False)

    def reset(self) -> None:
        """Reset all connections (RST), as a middle box that has forgotten them; new ones are carried."""
        self._end(is_reset=True)

    def close(self) -> None:
        """Refuse new connections and reset all."""
        # A thread that waits in accept() keeps the port open until it is woken.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.reset()

    def _end(self, *, is_reset: bool) -> None:
        with self._turn:
            ending, self._sockets = self._sockets, []
        for one in ending:
            with suppress(OSError):
                if is_reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _all(self) -> list[socket.socket]:
        return [*self._sockets, self._listening]

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                near.close()
                continue
            for one in (near, far):
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._turn:
                self._sockets += [near, far]
                if self._is_silent:
                    _drop_arriving(near)
                    _drop_arriving(far)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while True:
                select.select([source], [], [], 0.2)
                with suppress(BlockingIOError):
                    data = source.recv(_BLOCK_BYTES)
                    if not data:
                        break
                    time.sleep(self._delay_seconds)
                    while data:
                        select.select([], [target], [], 0.2)
                        with suppress(BlockingIOError):
                            data = data[target.send(data) :]
        except (OSError, ValueError):
            # Either side is gone, or told to go: the other follows.
            pass
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _drop_arriving(one: socket.socket) -> None:
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(nothing))
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


@contextmanager
def between(port: int, host: str = "127.0.0.1") -> Iterator[Network]:
    """Give a network to a server's port."""
    network = Network(host, port)
    try:
        yield network
    finally:
        network.close()
