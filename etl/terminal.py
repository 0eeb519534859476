"""What the commands share: work on the database, runs that a person watches and may interrupt, and results printed."""

import asyncio
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine
from stamina.instrumentation import set_on_retry_hooks

from db.embedded import database
from db.errors import AtlasError
from db.migrations import upgrade
from db.models.operations import RunStatus
from db.session import DATABASE_ERRORS, WriteSession, fault_of_server, one_line, write_engine, write_session
from db.settings import Settings
from etl import pipeline, progress
from etl.pipeline import Options, Report
from etl.source import Source

EXIT_CODES = {RunStatus.DONE: 0, RunStatus.FAILED: 1, RunStatus.PARTIAL: 3, RunStatus.INTERRUPTED: 130}

TOGETHER = 4
"""So many sources are loaded at the same time: more would only wait for each other's publishing."""

_ABORTED = "aborted: `python -m etl resume` goes on from the last batch"

DryRun = Annotated[bool, typer.Option("--dry-run", help="Do everything but keep nothing: tell what would change.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Work = Callable[[AsyncEngine], Coroutine[Any, Any, int]]


def load(make: Callable[[Settings], Source], limit: int | None, dry_run: bool, as_json: bool) -> None:
    """Load the source that is made of the settings, and exit with the run's code."""
    with exiting():
        settings = Settings()
        source = make(settings)
        options = Options(limit=limit, dry_run=dry_run)

        async def work(engine: AsyncEngine) -> int:
            return await watched(source, options, as_json, lambda: pipeline.run(engine, source, options))

        _run(settings, work)


def with_database(work: Work) -> None:
    """Run work on the migrated database and exit with its code."""
    with exiting():
        _run(Settings(), work)


def show(read: Callable[[WriteSession], Coroutine[Any, Any, None]]) -> None:
    """Read from the migrated database and print, in one transaction."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            await read(session)
        return 0

    with_database(work)


def _run(settings: Settings, work: Work) -> None:
    # Sources say themselves what they try again, in words for a person.
    set_on_retry_hooks([])
    with database(settings) as url:
        upgrade(url)
        raise typer.Exit(asyncio.run(_connected(url, work)))


@contextmanager
def exiting() -> Iterator[None]:
    """Exit with 1 and a line for what one line can explain, with 130 for Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_CODES[RunStatus.INTERRUPTED]) from None
    except AtlasError as error:
        _print_error(error)
        raise typer.Exit(1) from error
    except DATABASE_ERRORS as error:
        if fault_of_server(error) is None:
            raise
        _print_error(error)
        raise typer.Exit(1) from error
    except ValidationError as error:
        first = error.errors()[0]
        print(f"error: ATLAS_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}", file=sys.stderr)
        raise typer.Exit(1) from error


async def _connected(url: str, work: Work) -> int:
    engine = write_engine(url)
    try:
        return await work(engine)
    finally:
        await engine.dispose()


async def watched(
    source: Source, options: Options, as_json: bool, start: Callable[[], Coroutine[Any, Any, Report]]
) -> int:
    """Run or resume a source, showing progress; the first Ctrl-C or SIGTERM stops after the batch, the second now."""
    with progress.shown() as watcher:
        options.watch = watcher(source.name)
        task = asyncio.create_task(start())
        _stop_on_signals([options], [task])
        try:
            report = await task
        except asyncio.CancelledError:
            print(_ABORTED, file=sys.stderr)
            return EXIT_CODES[RunStatus.INTERRUPTED]
    if as_json:
        print_json(report.as_dict() | {"dry_run": options.dry_run})
    else:
        _print_report(report, options)
    _print_remarks(report, options)
    return EXIT_CODES[report.status]


async def watched_together(engine: AsyncEngine, runs: Sequence[tuple[Source, Options]], as_json: bool) -> int:
    """Run sources at the same time, a few at once; what goes wrong with one is told and stops no other."""
    turns = asyncio.Semaphore(TOGETHER)
    with progress.shown() as watcher:

        async def run(source: Source, options: Options) -> Report:
            async with turns:
                options.watch = watcher(source.name)
                return await pipeline.run(engine, source, options)

        tasks = [asyncio.create_task(run(source, options)) for source, options in runs]
        _stop_on_signals([options for _, options in runs], tasks)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    codes, told = [], []
    for (source, options), result in zip(runs, results, strict=True):
        if isinstance(result, Report):
            told.append(result.as_dict() | {"dry_run": options.dry_run})
            if not as_json:
                _print_report(result, options)
            _print_remarks(result, options)
            codes.append(EXIT_CODES[result.status])
        else:
            told.append({"source": source.name, "status": RunStatus.FAILED.value, "error": one_line(result)})
            codes.append(_print_failure(source.name, result))
    if as_json:
        print_json(told)
    return next((code for code in (1, 130, 3) if code in codes), 0)


def _stop_on_signals(options: Sequence[Options], tasks: Sequence[asyncio.Task[Report]]) -> None:
    def interrupt() -> None:
        if any(one.stop.is_set() for one in options):
            for task in tasks:
                task.cancel()
        for one in options:
            one.stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)


def _print_failure(source: str, error: BaseException) -> int:
    """Tell why a source's run ended without a report; what no line explains is told with its traceback."""
    if isinstance(error, asyncio.CancelledError):
        print(f"{source}: {_ABORTED}", file=sys.stderr)
        return EXIT_CODES[RunStatus.INTERRUPTED]
    if not isinstance(error, AtlasError) and fault_of_server(error) is None:
        traceback.print_exception(error)
    _print_error(error, f"{source}: ")
    return 1


def _print_error(error: BaseException, place: str = "") -> None:
    """Print what went wrong, and below it what to do if the error has a note of that."""
    print(f"error: {place}{(fault_of_server(error) or one_line(error)).removeprefix(place)}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(note, file=sys.stderr)


def _print_report(report: Report, options: Options) -> None:
    counts = report.counts
    if report.status is RunStatus.INTERRUPTED:
        print(
            f"{report.source}: interrupted after {counts.processed} rows, {counts.failed} failed; nothing is published"
        )
    else:
        print(
            f"{'dry run of ' if options.dry_run else ''}{report.source}: {report.status.value.lower()},"
            f" {counts.processed} rows: {counts.inserted} inserted, {counts.updated} updated,"
            f" {counts.unchanged} unchanged, {counts.failed} failed"
            + (f"; {counts.retired} retired" if counts.retired else "")
        )


def _print_remarks(report: Report, options: Options) -> None:
    for note in report.notes:
        print(f"note: {report.source}: {note}", file=sys.stderr)
    for problem in report.problems:
        print(f"not read: {report.source}: {problem}", file=sys.stderr)
    if report.status in (RunStatus.INTERRUPTED, RunStatus.PARTIAL):
        print(f"run {report.run} is unfinished: `python -m etl resume` goes on with it", file=sys.stderr)
    elif report.counts.failed and not options.dry_run:
        print(f"see `python -m etl quarantine list --run {report.run}`", file=sys.stderr)


def print_json(value: object) -> None:
    """Print a value as indented JSON on stdout."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_rows(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    """Print rows as a table on stdout, or as JSON; `nothing` is said on stderr when there are none."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        print(nothing, file=sys.stderr)
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
