"""The command line of the ETL: one command a source, and those that look after runs and quarantine."""

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from db.session import WriteSession, write_session
from db.settings import Settings
from etl import pipeline, quarantine, reports, runs, source_commands, status
from etl.follow_up import catch_up
from etl.pipeline import Options
from etl.sources import rebuild
from etl.sources.prerequisites import Prerequisites
from etl.sources.sample import Sample
from etl.sources.sparql_json import SparqlJson
from etl.sources.wikidata_dump import WikidataDump
from etl.sources.wikidata_sparql import WikidataSparql
from etl.sparql import PUBLIC_ENDPOINT
from etl.terminal import AsJson, DryRun, load, print_json, print_rows, show, watched, with_database
from etl.wikidata import DEFAULT_LANGUAGES
from etl.wikidata_queries import Scope

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
app.add_typer(source_commands.app)

Limit = Annotated[int | None, typer.Option(min=1, help="Load at most so many rows.")]


@app.command()
def sample(limit: Limit = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Load the shipped sample: philosophers and influences (Wikidata), concepts and prerequisites (Metacademy)."""
    load(lambda _: Sample(), limit, dry_run, as_json)


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
    load(lambda _: SparqlJson(files, discipline or ()), limit, dry_run, as_json)


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
    load(lambda _: Prerequisites(concepts, edges), limit, dry_run, as_json)


@app.command("wikidata-dump")
def wikidata_dump(
    location: Annotated[str, typer.Argument(metavar="FILE|URL", help="Entities as JSON, plain or as .gz or .bz2.")],
    whole: Annotated[
        bool | None,
        typer.Option(
            "--whole/--part",
            help="Whether the file has all of Wikidata, so that what it leaves out is retired. By default told by the"
            " name of Wikimedia's whole dumps, such as latest-all.json.gz.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes beside this one; by default one a core.", show_default=False)
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Languages of names, the best first; by default en and mul.")
    ] = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Load a Wikidata JSON dump: an entity a line as in latest-all.json, or an answer of wbgetentities."""
    languages = language or DEFAULT_LANGUAGES
    load(
        lambda _: WikidataDump(location, is_whole=whole, workers=workers, languages=languages), limit, dry_run, as_json
    )


def parse_item(text: str) -> int:
    """Read an item's id, such as Q5."""
    if not re.fullmatch(r"Q[1-9][0-9]{0,17}", text):
        raise typer.BadParameter(f"{text!r} is not an item: expected Q and a number, as in Q5")
    return int(text[1:])


@app.command()
def wikidata(
    endpoint: Annotated[str, typer.Option(help="URL of a SPARQL 1.1 endpoint.")] = PUBLIC_ENDPOINT,
    contact: Annotated[
        str | None, typer.Option(help="Your e-mail address or URL, for the endpoint; else ATLAS_CONTACT.")
    ] = None,
    properties: Annotated[
        list[str] | None, typer.Option("--property", metavar="P…", help="Only statements of it (repeatable).")
    ] = None,
    classes: Annotated[
        list[int] | None,
        typer.Option("--seed-class", parser=parse_item, metavar="Q…", help="Only statements of its direct instances."),
    ] = None,
    occupations: Annotated[
        list[int] | None,
        typer.Option("--occupation", parser=parse_item, metavar="Q…", help="Only statements of people who have it."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only statements of items changed since.")
    ] = None,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="Of names and descriptions, best first: en, mul.")
    ] = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Load Wikidata's statements and the items they join from a SPARQL endpoint."""
    scope = Scope(tuple(classes or ()), tuple(occupations or ()), since.date() if since else None)

    def make(settings: Settings) -> WikidataSparql:
        source = WikidataSparql(endpoint, contact or settings.contact, properties or (), scope, languages or ())
        source.check()
        return source

    load(make, limit, dry_run, as_json)


@app.command("runs")
def list_runs(
    source: Annotated[str | None, typer.Option(help="Only the runs of this source.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first."""

    async def read(session: WriteSession) -> None:
        print_rows(await status.recent_runs(session, source, limit), as_json, "no runs yet")

    show(read)


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Tell what the database holds, how each source's last run ended, and what waits to be resumed."""

    async def read(session: WriteSession) -> None:
        overview, latest = await status.overview(session), await status.latest_runs(session)
        if as_json:
            print_json({**overview, "latest_runs": latest})
        else:
            print_rows([overview], as_json, "")
            print_rows(latest, as_json, "no runs yet")

    show(read)


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
            # A run that was killed right after it was published needs no more than this.
            await catch_up(engine)
            print("nothing to resume" if run is None else f"run {run} is not unfinished", file=sys.stderr)
            return 0 if run is None else 1
        row = found[0]
        source = rebuild(row.source.removeprefix(quarantine.REPLAY_PREFIX), row.params)
        options = Options(limit=row.params.get("limit"))
        return await watched(source, options, as_json, lambda: pipeline.resume(engine, source, options, row.id))

    with_database(work)


@app.command("measure")
def measure_graph(
    anew: Annotated[bool, typer.Option("--anew", help="Even where the graph is the one that was measured.")] = False,
) -> None:
    """Measure the graph (levels, degrees, PageRank, cycles), as every load does that is not killed before its end."""

    async def work(engine: AsyncEngine) -> int:
        is_measured = await catch_up(engine, anew=anew)
        print("measured" if is_measured else "the measures are up to date", file=sys.stderr)
        return 0

    with_database(work)


@app.command("report")
def show_report(
    run: Annotated[int | None, typer.Argument(help="The run; by default the newest that has a report.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a run left in the atlas, beside what the source's run before had left; odd changes are marked."""

    async def read(session: WriteSession) -> None:
        report = await reports.load_report(session, run)
        if as_json:
            print_json(report)
        else:
            print_rows(report["figures"], as_json, "")
            if quality := report["quality"]:
                lists = quality.pop("drift"), quality.pop("anomalies")
                for rows in ([quality], *(found for found in lists if found)):
                    print_rows(rows, as_json, "")
            print(reports.summary(report), file=sys.stderr)

    show(read)


@quarantine_app.command("list")
def quarantine_list(
    run: Annotated[int | None, typer.Option(help="Only rows of this run.")] = None,
    source: Annotated[str | None, typer.Option(help="Only rows of this source.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the open rows, oldest first, with the reason."""

    async def read(session: WriteSession) -> None:
        print_rows(await quarantine.list_open(session, run, source), as_json, "quarantine is empty")

    show(read)


@quarantine_app.command("show")
def quarantine_show(number: Annotated[int, typer.Argument(help="The row's number in the list.")]) -> None:
    """Print one row as JSON, with the payload as it was received."""

    async def read(session: WriteSession) -> None:
        print_json(dict((await quarantine.fetch_row(session, number))._mapping))

    show(read)


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
        return await watched(replayed, options, as_json, lambda: pipeline.run(engine, replayed, options))

    with_database(work)
