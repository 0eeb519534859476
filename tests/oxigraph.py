"""Oxigraph, a real SPARQL endpoint, on loopback."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

OXIGRAPH = Path(sys.executable).with_name("oxigraph")


@contextmanager
def serving(directory: Path, triples: Iterable[str], timeout_s: int | None = None) -> Iterator[str]:
    """Load N-Triples into a store in an empty directory and serve it; gives the endpoint's URL."""
    file = directory / "triples.nt"
    file.write_text("".join(triples))
    store = ["--location", str(directory / "store")]
    subprocess.run([OXIGRAPH, "load", *store, "--file", str(file)], check=True, capture_output=True, timeout=60)
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*chosen.getsockname())
    limit = [] if timeout_s is None else ["--timeout-s", str(timeout_s)]
    server = subprocess.Popen(
        [OXIGRAPH, "serve-read-only", *store, "--bind", address, *limit],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://{address}/", server)
        yield f"http://{address}/query"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert server.poll() is None, "Oxigraph ended at once"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("Oxigraph did not start within ten seconds")
