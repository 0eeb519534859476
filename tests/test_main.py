import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from db.embedded import database
from db.settings import Settings
from graph.__main__ import KEEP_ALIVE_SECONDS

LIMIT_SECONDS = 60


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    # Not tmp_path: pytest closes its root to the user that a server started by root runs as.
    with tempfile.TemporaryDirectory(prefix="atlas-test-") as path:
        yield Path(path).resolve()


@pytest.fixture(scope="module")
def empty_url(data_dir: Path) -> Iterator[str]:
    """The URL of a server whose database has no tables yet."""
    with database(Settings(database_url=None, data_dir=data_dir / "other")) as url:
        yield url


def start(data_dir: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    return start_python(data_dir, "-m", "graph", *flags, **environment)


def start_python(data_dir: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ATLAS_", "DATABASE_"))}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=data_dir,
        env=inherited | {"ATLAS_DATA_DIR": str(data_dir), "ATLAS_PORT": "0"} | environment,
    )


def address_of(program: subprocess.Popen[str]) -> str:
    """Wait until the program has told its address."""
    assert program.stdout is not None
    for line in program.stdout:
        if found := re.search(r"http://(\S+)/health", line):
            return found[1]
    raise AssertionError(program.communicate()[1])


def ask(address: str, path: str) -> tuple[int, str | None]:
    """Return the status of an answer, and what becomes of the connection."""
    connection = http.client.HTTPConnection(address, timeout=LIMIT_SECONDS)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers["connection"]


def finish(program: subprocess.Popen[str], number: int) -> int:
    program.send_signal(number)
    program.communicate(timeout=LIMIT_SECONDS)
    return program.returncode


def post(address: str, query: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=LIMIT_SECONDS)
    connection.request("POST", "/graphql", f'{{"query": "{query}"}}', {"Content-Type": "application/json"})
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


def leftovers(data_dir: Path) -> list[psutil.Process]:
    """The servers of the data directory, and the loaders that work on it."""
    directory = f"{data_dir}/postgresql"
    found = psutil.process_iter(["cmdline", "environ"])
    return [process for process in found if re.search(f"{directory}|{quote(directory, safe='')}", str(process.info))]


def is_stopped(data_dir: Path) -> bool:
    return not leftovers(data_dir) and not (data_dir / "postgresql" / "postmaster.pid").exists()


def test_main_serves_the_sample_until_interrupted(data_dir: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        program = start(data_dir)
        address = address_of(program)
        assert '"name":' in post(address, "{ interdisciplinaryContext(year: 1780) { name } }")
        assert finish(program, number) == 0
        assert is_stopped(data_dir)


def test_main_drains_before_it_stops(data_dir: Path) -> None:
    program = start(data_dir)
    address = address_of(program)
    host, port = address.rsplit(":", 1)
    body = b'{"query": "{ interdisciplinaryContext(year: 1780) { name } }"}'
    head = f"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        socket.create_connection((host, int(port)), timeout=LIMIT_SECONDS) as begun,
        connect(f"ws://{address}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")]) as websocket,
    ):
        begun.sendall(head.encode() + body[:10])
        time.sleep(0.3)
        program.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        told = {path: ask(address, path) for path in ("/health/ready", "/health/live", "/data")}
        assert {path: status for path, (status, _) in told.items()} == {
            "/health/ready": 503,
            "/health/live": 200,
            "/data": 200,
        }
        assert {connection for _, connection in told.values()} == {"close"}
        begun.sendall(body[10:])
        answer = b"".join(iter(lambda: begun.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"name":' in answer
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(LIMIT_SECONDS)
        # Going away, or restarting: connect anew.
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (1001, 1012)
    assert finish(program, 0) == 0
    assert is_stopped(data_dir)


def test_main_keeps_idle_connections_for_75_seconds(data_dir: Path) -> None:
    assert KEEP_ALIVE_SECONDS == 75
    # Longer than uvicorn would keep them by itself, which is 5 seconds.
    seconds = 6
    changed = f"from graph import __main__ as main; main.KEEP_ALIVE_SECONDS = {seconds}; main.app()"
    program = start_python(data_dir, "-c", changed)
    address = address_of(program)
    for method, path, body in (("GET", "/health/live", None), ("POST", "/graphql", '{"query": "{ __typename }"}')):
        connection = http.client.HTTPConnection(address, timeout=LIMIT_SECONDS)
        for _ in range(2):
            began = time.monotonic()
            connection.request(method, path, body, {"Content-Type": "application/json"})
            assert connection.getresponse().read()
        assert connection.sock.recv(1) == b""
        assert time.monotonic() - began >= seconds
        connection.close()
    assert finish(program, signal.SIGTERM) == 0


def test_main_second_interrupt_leaves_nothing_behind(data_dir: Path) -> None:
    program = start(data_dir)
    address_of(program)
    program.send_signal(signal.SIGINT)
    program.send_signal(signal.SIGINT)
    _, stderr = program.communicate(timeout=LIMIT_SECONDS)
    assert "Traceback" not in stderr
    assert is_stopped(data_dir)


def test_main_interrupted_while_loading_stops_everything() -> None:
    with tempfile.TemporaryDirectory(prefix="atlas-test-") as path:
        program = start(Path(path))
        assert program.stderr is not None
        assert "loading the sample" in program.stderr.readline()
        assert finish(program, signal.SIGTERM) == 130
        assert is_stopped(Path(path))


def test_main_uses_the_given_database(data_dir: Path, empty_url: str) -> None:
    program = start(data_dir, DATABASE_URL=empty_url, ATLAS_DATA_DIR=str(data_dir / "unused"))
    assert "name" in post(address_of(program), "{ interdisciplinaryContext(year: 1780) { name } }")
    assert finish(program, signal.SIGTERM) == 0
    assert not (data_dir / "unused").exists()


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"DATABASE_URL": "postgresql://me@127.0.0.1:1/atlas"}, "127.0.0.1:1"),
        ({"DATABASE_URL": "postgresql://me@nowhere.invalid/atlas"}, "nowhere.invalid"),
        ({"DATABASE_URL": "mysql://me@localhost/atlas"}, "DATABASE_URL"),
        ({"ATLAS_DATA_DIR": "/dev/null/atlas"}, "ATLAS_DATA_DIR"),
        ({"ATLAS_PORT": "many"}, "ATLAS_PORT"),
        ({"DATABASE_URL": "postgresql://me@localhost:many/atlas"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://me@localhost:99999/atlas"}, "localhost:99999"),
        ({"DATABASE_URL": "postgresql://me@localhost/atlas?connect_timeout=5"}, "connect_timeout"),
        ({"ATLAS_DATA_DIR": "~nobody.of.that.name/atlas"}, "ATLAS_DATA_DIR"),
        ({"ATLAS_CORS_ORIGINS": "https://example.org"}, "ATLAS_CORS_ORIGINS"),
        ({"ATLAS_CORS_ORIGINS": '["https://example.org/"]'}, "ATLAS_CORS_ORIGINS"),
        ({"ATLAS_DEADLINE_SECONDS": "inf"}, "ATLAS_DEADLINE_SECONDS"),
        ({"ATLAS_HOST": "a" * 80 + ".org"}, "cannot listen"),
    ],
)
def test_main_tells_in_one_line_why_it_cannot_start(
    data_dir: Path, environment: dict[str, str], complaint: str
) -> None:
    program = start(data_dir, **environment)
    _, stderr = program.communicate(timeout=LIMIT_SECONDS)
    assert program.returncode == 1
    assert stderr.startswith("error: ")
    assert complaint in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(("part", "wrong"), [("/postgres?", "/nothing?"), ("//postgres@", "//stranger@")])
def test_main_names_what_the_server_refuses(data_dir: Path, empty_url: str, part: str, wrong: str) -> None:
    program = start(data_dir, DATABASE_URL=empty_url.replace(part, wrong))
    _, stderr = program.communicate(timeout=LIMIT_SECONDS)
    assert program.returncode == 1
    assert stderr.startswith("error: ")
    assert "does not exist" in stderr
    assert stderr.count("\n") == 1


def test_main_names_an_unreadable_redis(data_dir: Path, empty_url: str) -> None:
    program = start(data_dir, DATABASE_URL=empty_url, REDIS_URL="localhost:6379")
    _, stderr = program.communicate(timeout=LIMIT_SECONDS)
    assert program.returncode == 1
    assert stderr.splitlines()[-1].startswith("error: REDIS_URL")
    assert "Traceback" not in stderr


def test_main_names_a_busy_port_before_anything_starts(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        program = start(data_dir, "--port", port, "--data-dir", str(data_dir / "untouched"))
        _, stderr = program.communicate(timeout=LIMIT_SECONDS)
    assert program.returncode == 1
    assert stderr.startswith(f"error: cannot listen on 127.0.0.1 port {port}")
    assert stderr.count("\n") == 1
    assert not (data_dir / "untouched").exists()


def test_main_help_names_every_variable(data_dir: Path) -> None:
    program = start(data_dir, "--help")
    stdout, _ = program.communicate(timeout=LIMIT_SECONDS)
    assert program.returncode == 0
    for field in Settings.model_fields.values():
        assert str(field.description) in stdout
    assert "DATABASE_URL" in stdout
    assert "Exit codes" in stdout
