"""The network of the tests fails as a real one does."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.network import Network, between


@pytest.fixture
def network() -> Iterator[Network]:
    """A way to a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(ConnectionError):
                while data := connection.recv(1000):
                    connection.sendall(data)

        def accept() -> None:
            # A test may end before as many have come.
            with suppress(OSError):
                for _ in range(3):
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        with between(listening.getsockname()[1]) as network:
            yield network


def connected(network: Network) -> socket.socket:
    return socket.create_connection(("127.0.0.1", network.port), timeout=20)


def test_silent_network_acknowledges_nothing_until_it_is_restored(network: Network) -> None:
    with connected(network) as client, connected(network) as patient:
        for one in (client, patient):
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
        network.blackhole()
        client.sendall(b"lost")
        patient.sendall(b"late")
        with pytest.raises(OSError) as raised:  # noqa: PT011 (the number is checked)
            client.recv(1)
        assert raised.value.errno == errno.ETIMEDOUT
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", network.port), timeout=0.3)
        network.restore()
        assert patient.recv(4) == b"late"


def test_cut_ends_connections_and_carries_new_ones(network: Network) -> None:
    with connected(network) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        network.cut()
        assert client.recv(1) == b""
    with connected(network) as client:
        client.sendall(b"y")
        assert client.recv(1) == b"y"
        network.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_closed_network_refuses(network: Network) -> None:
    network.close()
    with pytest.raises(ConnectionRefusedError):
        connected(network)
