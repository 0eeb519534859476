"""The command line of the ETL: one command a source, and those that look after runs and quarantine."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from db.embedded import database
from db.errors import AtlasError
from db.migrations import upgrade
from db.models.operations import RunStatus
from db.session import write_engine, write_session
from db.settings import Settings
from etl import pipeline, progress, quarantine, runs, status
from etl.pipeline import Options, Report
from etl.source import Source
from etl.sources import source_class
from etl.sources.prerequisites import Prerequisites
from etl.sources.sample import Sample
from etl.sources.sparql_json import SparqlJson

EXIT_CODES = {RunStatus.DONE: 0, RunStatus.FAILED: 1, RunStatus.PARTIAL: 3, RunStatus.INTERRUPTED: 130}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Load dated, linked facts into the atlas. DATABASE_URL names the database; without it the embedded one in"
    " ATLAS_DATA_DIR is used. Data goes to stdout, messages to stderr."
    " Exit codes: 0 done, 1 failed, 2 usage, 3 partial, 130 interrupted (the first Ctrl-C ends after the batch, and"
    " `resume` goes on from there; the second aborts).",
)
quarantine_app = typer.Typer(no_args_is_help=True, help="The rows that could not be loaded.")
app.add_typer(quarantine_app, name="quarantine")

Limit = Annotated[int | None, typer.Option(min=1, help="Load at most so many rows.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do everything but keep nothing: tell what would change.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Work = Callable[[AsyncEngine], Coroutine[Any, Any, int]]


@app.command()
def sample(limit: Limit = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Load the shipped sample: philosophers and influences (Wikidata), concepts and prerequisites (Metacademy)."""
    _load(Sample(), limit, dry_run, as_json)


@app.command("sparql-json")
def sparql_json(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Saved SPARQL JSON results.")],
    discipline: Annotated[list[str] | None, typer.Option(help="A discipline of all the people in the files.")] = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Load saved SPARQL results: people (variables p, birth, death, …Label) or influences (p, influenced).

    In the latter `influenced` holds the one who influenced p.
    """
    _load(SparqlJson(files, discipline or ()), limit, dry_run, as_json)


@app.command()
def prerequisites(
    concepts: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="CSV with tag, title, summary.")],
    edges: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="CSV with prerequisite_tag, concept_tag, reason.")
    ],
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Load Metacademy's concepts and their prerequisites from its two CSV files."""
    _load(Prerequisites(concepts, edges), limit, dry_run, as_json)


@app.command("runs")
def list_runs(
    source: Annotated[str | None, typer.Option(help="Only the runs of this source.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            _print_rows(await status.recent_runs(session, source, limit), as_json, "no runs yet")
        return 0

    _with_database(work)


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Tell what the database holds, how each source's last run ended, and what waits to be resumed."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            overview, latest = await status.overview(session), await status.latest_runs(session)
        if as_json:
            _print_json({**overview, "latest_runs": latest})
        else:
            _print_rows([overview], as_json, "")
            _print_rows(latest, as_json, "no runs yet")
        return 0

    _with_database(work)


@app.command()
def resume(
    run: Annotated[int | None, typer.Argument(help="The run; by default the newest that is unfinished.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was interrupted, killed or failed, from its last checkpoint."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            found = [row for row in await runs.unfinished(session) if run in (None, row.id)]
        if not found:
            print("nothing to resume" if run is None else f"run {run} is not unfinished", file=sys.stderr)
            return 0 if run is None else 1
        row = found[0]
        source = source_class(row.source.removeprefix(quarantine.REPLAY_PREFIX)).build(row.params)
        options = Options(limit=row.params.get("limit"))
        return await _watched(source, options, as_json, lambda: pipeline.resume(engine, source, options, row.id))

    _with_database(work)


@quarantine_app.command("list")
def quarantine_list(
    run: Annotated[int | None, typer.Option(help="Only rows of this run.")] = None,
    source: Annotated[str | None, typer.Option(help="Only rows of this source.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the open rows, oldest first, with the reason."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            _print_rows(await quarantine.list_open(session, run, source), as_json, "quarantine is empty")
        return 0

    _with_database(work)


@quarantine_app.command("show")
def quarantine_show(number: Annotated[int, typer.Argument(help="The row's number in the list.")]) -> None:
    """Print one row as JSON, with the payload as it was received."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            _print_json(dict((await quarantine.fetch_row(session, number))._mapping))
        return 0

    _with_database(work)


@quarantine_app.command("replay")
def quarantine_replay(
    source: Annotated[str, typer.Argument(help="The source whose open rows are tried again.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try a source's open rows again, with the code and rules of today."""

    async def work(engine: AsyncEngine) -> int:
        async with write_session(engine) as session:
            replayed = await quarantine.replay_source(session, source)
        if replayed is None:
            print(f"nothing of {source} is in quarantine", file=sys.stderr)
            return 0
        options = Options(dry_run=dry_run)
        return await _watched(replayed, options, as_json, lambda: pipeline.run(engine, replayed, options))

    _with_database(work)


def _load(source: Source, limit: int | None, dry_run: bool, as_json: bool) -> None:
    options = Options(limit=limit, dry_run=dry_run)

    async def work(engine: AsyncEngine) -> int:
        return await _watched(source, options, as_json, lambda: pipeline.run(engine, source, options))

    _with_database(work)


def _with_database(work: Work) -> None:
    """Run work on the migrated database and exit with its code; what one line can explain is one line."""
    try:
        with database(Settings()) as url:
            upgrade(url)
            code = asyncio.run(_connected(url, work))
    except KeyboardInterrupt:
        code = EXIT_CODES[RunStatus.INTERRUPTED]
    except AtlasError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except ValidationError as error:
        first = error.errors()[0]
        print(f"error: ATLAS_{'_'.join(map(str, first['loc'])).upper()}: {first['msg']}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)


async def _connected(url: str, work: Work) -> int:
    engine = write_engine(url)
    try:
        return await work(engine)
    finally:
        await engine.dispose()


async def _watched(
    source: Source, options: Options, as_json: bool, start: Callable[[], Coroutine[Any, Any, Report]]
) -> int:
    """Run or resume a source, showing progress; the first Ctrl-C or SIGTERM stops after the batch, the second now."""
    with progress.shown(source.name) as watch:
        options.watch = watch
        task = asyncio.create_task(start())
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            if options.stop.is_set():
                task.cancel()
            options.stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        try:
            report = await task
        except asyncio.CancelledError:
            print("aborted: `python -m etl resume` goes on from the last batch", file=sys.stderr)
            return EXIT_CODES[RunStatus.INTERRUPTED]
    _print_report(report, options, as_json)
    return EXIT_CODES[report.status]


def _print_report(report: Report, options: Options, as_json: bool) -> None:
    counts = report.counts
    if as_json:
        _print_json(report.as_dict() | {"dry_run": options.dry_run})
    else:
        print(
            f"{'dry run of ' if options.dry_run else ''}{report.source}: {report.status.value.lower()},"
            f" {counts.processed} rows: {counts.inserted} inserted, {counts.updated} updated,"
            f" {counts.unchanged} unchanged, {counts.failed} failed"
            + (f"; {counts.retired} retired" if counts.retired else "")
        )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in report.problems:
        print(f"not read: {problem}", file=sys.stderr)
    if report.status in (RunStatus.INTERRUPTED, RunStatus.PARTIAL):
        print(f"run {report.run} is unfinished: `python -m etl resume` goes on with it", file=sys.stderr)
    elif counts.failed and not options.dry_run:
        print(f"see `python -m etl quarantine list --run {report.run}`", file=sys.stderr)


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _print_rows(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        _print_json(rows)
        return
    if not rows:
        print(nothing, file=sys.stderr)
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
