"""The commands for the sources of the file of sources: list, run, make records anew, print a schedule."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from db.session import WriteSession
from etl import pipeline, schedule, status
from etl.pipeline import Options
from etl.record_source import RecordSource
from etl.renormalise import Renormalise
from etl.source import SourceError
from etl.source_config import read_sources
from etl.sources import CONFIGURED, SOURCES
from etl.terminal import AsJson, DryRun, exiting, print_rows, show, watched, watched_together, with_database

app = typer.Typer()

Config = Annotated[Path, typer.Option("--config", help="The file of sources.", dir_okay=False)]
DEFAULT_CONFIG = Path("sources.toml")


def configured(config: Path, names: Sequence[str] = ()) -> list[RecordSource]:
    """Make the sources of a file, or those with the names; raises SourceError for what is wrong with either."""
    found = read_sources(config)
    if taken := sorted(found.keys() & SOURCES.keys()):
        raise SourceError(f"{config}: {', '.join(taken)} is the name of a command: choose another for the source")
    if unknown := sorted(set(names) - found.keys()):
        raise SourceError(f"{config} has no {', '.join(unknown)}: it has {', '.join(sorted(found)) or 'no sources'}")
    return [CONFIGURED[found[name].kind](name, found[name]) for name in dict.fromkeys(names or found)]


@app.command("sources")
def list_sources(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the sources of the file, what keeps one from being run, and how its last run ended."""

    async def read(session: WriteSession) -> None:
        latest = {run["source"]: run for run in await status.latest_runs(session)}
        rows = [
            {
                "source": source.name,
                "kind": source.kind,
                "location": source.location,
                "trouble": source.trouble(),
                "last_run": latest.get(source.name, {}).get("started"),
                "status": latest.get(source.name, {}).get("status"),
            }
            for source in configured(config)
        ]
        print_rows(rows, as_json, f"{config} has no sources")

    show(read)


@app.command("run")
def run_sources(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="The sources to load.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Load every source of the file.")] = False,
    config: Config = DEFAULT_CONFIG,
    limit: Annotated[int | None, typer.Option(min=1, help="Load at most so many rows of each.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Load sources of the file, several at a time; one that fails stops no other. Exits with the worst one's code."""
    if bool(names) == every:
        raise typer.BadParameter("give the names of sources, or --all")
    with exiting():
        sources = configured(config, names or ())
    runs = [(source, Options(limit=limit, dry_run=dry_run)) for source in sources]

    async def work(engine: AsyncEngine) -> int:
        return await watched_together(engine, runs, as_json)

    with_database(work)


@app.command()
def renormalise(
    name: Annotated[str, typer.Argument(metavar="SOURCE", help="The source whose records are made anew.")],
    config: Config = DEFAULT_CONFIG,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a source's records anew from its raw rows, by the mapping of today; nothing is fetched."""
    with exiting():
        (original,) = configured(config, [name])
    source, options = Renormalise(original), Options(dry_run=dry_run)

    async def work(engine: AsyncEngine) -> int:
        return await watched(source, options, as_json, lambda: pipeline.run(engine, source, options))

    with_database(work)


@app.command("schedule")
def print_schedule(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="The sources; by default all.")] = None,
    at: Annotated[str, typer.Option(help="The time of day, UTC.", metavar="HH:MM")] = "02:30",
    form: Annotated[
        Literal["cron", "systemd", "kubernetes"] | None, typer.Option("--for", help="Only this scheduler's lines.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print the lines that let cron, systemd or Kubernetes run sources every night; nothing is installed."""
    with exiting():
        configured(config, names or ())
        chosen = list(names or ["--all"])
        command = [sys.executable, "-m", "etl", "run", *chosen, "--config", str(config.resolve())]
        sys.stdout.write(schedule.lines(command, chosen, Path.cwd(), at, form))
