"""`python -m graph`: start everything and serve."""

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from db.embedded import database
from db.errors import AtlasError, ConfigurationError
from db.settings import SECRETS, Settings
from db.signals import holding_signals

INTERRUPTED = 130
BACKLOG = 2048
# uvloop takes one connection at a time from each socket that listens, and then does what else there is to do: on a busy
# server, new clients would wait for tens of seconds.
ACCEPTS_AT_ONCE = 32
# Above the 60 seconds after which most proxies let go of an idle connection, so that the proxy closes it first.
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 10
DRAIN_SECONDS = 1.5
"""How long after SIGTERM new requests are still answered, while balancers see that the process is no more ready."""


def _variable(name: str) -> str:
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field is not None else name
    return alias if isinstance(alias, str) else f"ATLAS_{name.upper()}"


def _explain(name: str, field: FieldInfo) -> str:
    default = "" if field.default in (None, ()) else f" [{field.default}]"
    return f"  {_variable(name)}\n      {field.description}{default}"


HELP = f"""Start Chronos Atlas: PostgreSQL, its tables, the sample data if there is none yet, and the GraphQL server.

The embedded PostgreSQL keeps its data in the data directory and stops with the last program that uses it;
with DATABASE_URL that database is used instead and none is started. Ctrl-C or SIGTERM stops everything.

\b
Environment, which the options override:
{chr(10).join(_explain(name, field) for name, field in Settings.model_fields.items())}

Secrets can be in files: {", ".join(f"{variable}_FILE" for variable in SECRETS.values())} name them.

\b
Exit codes: 0 stopped on request, 1 could not start or serve (one line on stderr says why),
2 wrong usage, {INTERRUPTED} interrupted before serving."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _option(name: str) -> Any:
    return typer.Option(help=f"{Settings.model_fields[name].description}; else {_variable(name)}.")


@app.command(help=HELP)
def main(
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    data_dir: Annotated[Path | None, _option("data_dir")] = None,
) -> None:
    try:
        settings = _read_settings({"host": host, "port": port, "data_dir": data_dir})
        with _listen(settings.host, settings.port) as listener:
            _run(settings, listener)
    except AtlasError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _read_settings(flags: dict[str, Any]) -> Settings:
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        problem = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{_variable(name)} is {first['input']!r}: {problem}") from error


def _listen(host: str, port: int) -> socket.socket:
    """Claim the port: clients that come before everything is up wait in its queue."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # Two bound sockets may share a port until one of them listens.
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    # A host name too long for the DNS is a UnicodeError.
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error}): "
            "choose another with --host and --port"
        ) from error
    return listener


def _doors(listener: socket.socket) -> list[socket.socket]:
    """Return the sockets to serve: the same one several times."""
    return [listener, *(listener.dup() for _ in range(ACCEPTS_AT_ONCE - 1))]


def _run(settings: Settings, listener: socket.socket) -> None:
    with database(settings) as url:
        # Imported late: a busy port or an unusable directory is told at once.
        from db.migrations import upgrade
        from db.session import is_empty

        upgrade(url)
        if asyncio.run(is_empty(url)):
            _load_sample(url)
        from graph.app import create_app
        from graph.logs import configure

        configure()
        atlas = create_app(settings, url)
        _announce(settings, listener)
        _serve(atlas, listener)


def _load_sample(url: str) -> None:
    typer.echo("The database is empty: loading the sample.", err=True)
    loader = None
    try:
        with holding_signals():
            # A session of its own: a terminal's Ctrl-C comes here, and from here once to the loader.
            loader = subprocess.Popen(
                [sys.executable, "-m", "etl", "sample"],
                env=os.environ | {"DATABASE_URL": url},
                stdout=sys.stderr,
                start_new_session=True,
            )
        code = loader.wait()
    finally:
        if loader is not None:
            _end(loader)
    if code:
        raise AtlasError(
            f"the sample was not loaded (python -m etl sample ended with exit code {code}): see the lines above"
        )


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _announce(settings: Settings, listener: socket.socket) -> None:
    address, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, f"[{address}]" if ":" in address else address)
    where = "DATABASE_URL" if settings.database_url else settings.data_dir.resolve()
    typer.echo(
        f"GraphiQL  http://{host}:{port}/graphql\n"
        f"Health    http://{host}:{port}/health\n"
        f"Data      {where}\n"
        "Stop      Ctrl-C"
    )


def _serve(atlas: Any, listener: socket.socket) -> None:
    import uvicorn

    from graph.http_protocol import BoundedProtocol
    from graph.socket_protocol import WEBSOCKETS

    class Server(uvicorn.Server):
        drained_at: float | None = None

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            is_first = self.drained_at is None and not self.should_exit
            if self.should_exit:
                # A second Ctrl-C drops the requests in flight; uvicorn would print a traceback for each.
                logging.getLogger("uvicorn.error").disabled = True
            super().handle_exit(sig, frame)
            if sig == signal.SIGTERM and is_first and self.started:
                # Nobody balances for a person at a terminal, who would have to wait.
                self.should_exit = False
                self.drained_at = time.monotonic() + DRAIN_SECONDS
                atlas.state.is_draining = True
                self.config.encoded_headers.append((b"connection", b"close"))
                self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]

        async def on_tick(self, counter: int) -> bool:
            if self.drained_at is not None and time.monotonic() >= self.drained_at:
                self.should_exit = True
            return await super().on_tick(counter)

    config = uvicorn.Config(
        atlas,
        http=BoundedProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **WEBSOCKETS,
    )
    server = Server(config)
    # What was made so far stays: to look through it for garbage took up to a third of an answer's time. And an answer
    # may have some thousand objects, none of which is garbage before it is sent.
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=_doors(listener)))
    except SystemExit as error:
        raise AtlasError("the server could not start: see the lines above") from error
    except KeyboardInterrupt:
        # How uvicorn hands on the signal that stopped it.
        if not server.started:
            raise


if __name__ == "__main__":
    app(prog_name="python -m graph")
