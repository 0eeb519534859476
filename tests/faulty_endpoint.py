"""A SPARQL endpoint on loopback that misbehaves as told, and otherwise hands on what a real one answers."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode

import orjson


@dataclass(frozen=True)
class Reply:
    """What to answer; a cut one ends before as many bytes as it promises."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False


Answer = Callable[[str], Reply | None]
"""Takes a query's text; None hands it on."""


@dataclass
class Peer:
    """The endpoint's URL, and what it was asked: the queries and the clients' names, in order of arrival."""

    url: str = ""
    queries: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)


def rows(*values: int) -> Reply:
    """Answer with a variable `n` and its values."""
    return Reply(orjson.dumps({"head": {}, "results": {"bindings": [{"n": {"value": str(one)}} for one in values]}}))


def ask(url: str, query: str) -> bytes:
    """Return what an endpoint answers to a query."""
    request = urllib.request.Request(
        url, urlencode({"query": query}).encode(), {"Accept": "application/sparql-results+json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return bytes(response.read())


@contextmanager
def serving(answer: Answer, upstream: str = "") -> Iterator[Peer]:
    """Serve on a free port of loopback while the block lasts."""
    peer = Peer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            query = parse_qs(body.decode())["query"][0]
            peer.queries.append(query)
            peer.agents.append(self.headers["User-Agent"])
            reply = answer(query) or Reply(ask(upstream, query))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + (1 if reply.is_cut else 0)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer.url = f"http://127.0.0.1:{server.server_address[1]}/sparql"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def once(fault: Reply, *parts: str) -> Answer:
    """Answer each different query that has all the parts with a fault, the first time."""
    seen: set[str] = set()

    def answer(query: str) -> Reply | None:
        if query in seen or not all(part in query for part in parts):
            return None
        seen.add(query)
        return fault

    return answer


def always(fault: Reply, *parts: str) -> Answer:
    return lambda query: fault if all(part in query for part in parts) else None


CUT = Reply(b'{"head":{"vars":["s","v"]},"results":{"bindings":[{"s":{"ty\njava.util.concurrent.TimeoutException\n')
STATEMENTS, COUNT, ITEMS = "SELECT ?s ?v WHERE", "COUNT(*)", "VALUES ?s"
"""What the queries for statements, for their number and about items have in them."""
