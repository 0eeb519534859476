"""The data-quality report of a run: what is in the atlas after it, beside what was there after the one before."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, insert, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError
from db.models.operations import EtlRun, FigureGroup, RunReport, RunStatus
from db.session import WriteSession

Figures = dict[tuple[FigureGroup, str], int]
"""Counts by group and name."""

ODD_SHARE = 0.2
ODD_COUNT = 10

SWINGING = ("inserted", "updated", "unchanged")
"""Rows of a run that are never odd: a first load inserts what the next one finds unchanged."""

MOST_REASONS = 100
OTHER_REASONS = "(all other reasons)"

_VALUES = re.compile(
    r"""(?x)
    "[^"]*" | '[^']*'           # a value as it was given
    | \b\w+:[^\s:]\S*           # a URI, or a key such as metacademy:bayes_rule
    | \b[QPL]\d+\b              # a Wikidata id
    | -?\b\d+(?:[.,:T-]\d+)*    # a number, a date or a time
    """
)

_ENTITIES = """
    SELECT count(*) FILTER (WHERE kind = 'AGENT') AS "agents",
           count(*) FILTER (WHERE kind = 'WORK') AS "works",
           count(*) FILTER (WHERE kind = 'CONCEPT') AS "concepts",
           count(*) FILTER (WHERE is_stub) AS "stubs",
           count(*) FILTER (WHERE name IS NULL AND NOT is_stub) AS "described entities without a name",
           count(*) FILTER (WHERE name IS NULL AND is_stub) AS "stubs without a name",
           count(*) FILTER (WHERE start_year BETWEEN 1 AND 99) AS "starts in the years 1 to 99",
           count(*) FILTER (WHERE end_year BETWEEN 1 AND 99) AS "ends in the years 1 to 99",
           count(*) FILTER (WHERE end_last < start_first) AS "ends before the start"
    FROM entity
"""
_GROUPS = {"agents": FigureGroup.ENTITIES, "described": FigureGroup.LABELS, "starts": FigureGroup.DATES}
"""The groups of the columns above, each from the column on whose name begins so."""

# A join with the keys would take longer: PostgreSQL would look for each edge's provenance among those before.
_STATEMENTS = """
    SELECT statement, count(*) AS edges FROM (SELECT jsonb_object_keys(provenance) AS statement FROM influence) AS named
    GROUP BY statement
"""
_GRAPH = """
    SELECT cycles AS "prerequisite cycles", components AS "components", largest_component AS "largest component",
           unconnected AS "entities without an edge"
    FROM measurement JOIN data_version USING (version)
"""
_FIELDS = "SELECT field, type, count FROM record_field WHERE run_id = :run"
_QUALITY: ColumnElement[dict[str, Any] | None] = literal_column(
    "(SELECT to_jsonb(run_quality) - 'run_id' FROM run_quality WHERE run_quality.run_id = run_report.run_id)", JSONB
).label("quality")
_REJECTS = "SELECT field, reason, count(*) AS rows FROM quarantine WHERE run_id = :run GROUP BY field, reason"


async def make_report(engine: AsyncEngine, run_id: int) -> None:
    """Count what a finished run left and keep it; nothing is done where that was done: finishing drops a report.

    Figures of the graph are left out while it is not measured. As long as the data version stands, what the run
    before counted of the atlas is taken over.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            session = WriteSession(connection)
            made = await session.execute(select(RunReport.run_id).where(RunReport.run_id == run_id))
            if made.scalar() is None:
                await _keep(session, run_id)


async def make_missing_report(engine: AsyncEngine) -> None:
    """Make the report of the newest finished run, if it was killed before it had one."""
    async with engine.connect() as connection:
        newest = select(EtlRun.id).where(EtlRun.status.in_((RunStatus.DONE, RunStatus.PARTIAL)))
        run_id = (await connection.execute(newest.order_by(EtlRun.id.desc()).limit(1))).scalar()
    if run_id is not None:
        await make_report(engine, run_id)


async def find_report(session: WriteSession, run_id: int | None) -> dict[str, Any] | None:
    """Return a run's report, or the newest one: run, source, previous_run, data_version, figures and quality."""
    query = select(
        RunReport.run_id.label("run"),
        EtlRun.source,
        RunReport.previous_run_id.label("previous_run"),
        RunReport.version.label("data_version"),
        RunReport.figures,
        _QUALITY,
    ).join(EtlRun, EtlRun.id == RunReport.run_id)
    if run_id is not None:
        query = query.where(RunReport.run_id == run_id)
    found = (await session.execute(query.order_by(RunReport.run_id.desc()).limit(1))).mappings().first()
    return None if found is None else dict(found) | {"figures": [_ordered(row) for row in found["figures"]]}


def _ordered(row: Mapping[str, Any]) -> dict[str, Any]:
    # jsonb keeps no order of keys.
    return {name: row[name] for name in ("group", "name", "value", "previous", "odd")}


async def load_report(session: WriteSession, run_id: int | None) -> dict[str, Any]:
    """Return a run's report, or the newest one; raises AtlasError, with the reason, when there is none."""
    found = await find_report(session, run_id)
    if found is not None:
        return found
    if run_id is None:
        raise AtlasError("no run has a report yet: load something first, such as `python -m etl sample`")
    status = (await session.execute(select(EtlRun.status).where(EtlRun.id == run_id))).scalar()
    if status is None:
        raise AtlasError(f"there is no run {run_id}: see `python -m etl runs`")
    raise AtlasError(f"run {run_id} ({status}) has no report: only the end of a finished run makes one")


async def _keep(session: WriteSession, run_id: int) -> None:
    version = int((await session.execute("SELECT version FROM data_version")).scalar_one())
    found = await session.execute(select(*EtlRun.__table__.columns).where(EtlRun.id == run_id))
    run = dict(found.mappings().one())
    figures = _rows(run) | await _rejects(session, run_id)
    # A run of records leaves the atlas as it is.
    is_of_records = "config" in run["params"]
    figures |= await _fields(session, run_id) if is_of_records else await _atlas(session, version)
    previous = (
        await session.execute(
            select(RunReport.run_id, RunReport.figures)
            .join(EtlRun, EtlRun.id == RunReport.run_id)
            .where(EtlRun.source == run["source"], RunReport.run_id < run_id)
            .order_by(RunReport.run_id.desc())
            .limit(1)
        )
    ).first()
    before = None if previous is None else read_figures(previous.figures)
    await session.execute(
        insert(RunReport).values(
            run_id=run_id,
            previous_run_id=None if previous is None else previous.run_id,
            version=version,
            figures=compare(figures, before),
        )
    )


def _rows(run: Mapping[str, Any]) -> Figures:
    names = ("processed", "inserted", "updated", "unchanged", "failed", "retired")
    return {(FigureGroup.ROWS, name): run[name] for name in names}


async def _rejects(session: WriteSession, run_id: int) -> Figures:
    counts: dict[str, int] = {}
    for row in (await session.execute(_REJECTS, run=run_id)).mappings():
        name = kind_of_reason(row["field"], row["reason"])
        counts[name] = counts.get(name, 0) + row["rows"]
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept, rest = dict(ordered[:MOST_REASONS]), sum(count for _, count in ordered[MOST_REASONS:])
    if rest:
        kept[OTHER_REASONS] = rest
    return {(FigureGroup.REJECTS, name): count for name, count in kept.items()}


def kind_of_reason(field: str | None, reason: str) -> str:
    """Name a group of rejected rows: the field and the reason, with `…` for the values that the reason tells."""
    kind = _VALUES.sub("…", reason)
    return kind if field is None else f"{field}: {kind}"


async def _fields(session: WriteSession, run_id: int) -> Figures:
    found = (await session.execute(_FIELDS, run=run_id)).mappings()
    return {(FigureGroup.FIELDS, f"{row['field']}: {row['type']}"): row["count"] for row in found}


async def _atlas(session: WriteSession, version: int) -> Figures:
    """Count what the data version holds, unless a report of the same version has done so."""
    earlier = await session.execute(
        select(RunReport.figures)
        .join(EtlRun, EtlRun.id == RunReport.run_id)
        .where(RunReport.version == version, ~EtlRun.params.has_key("config"))
        .order_by(RunReport.run_id.desc())
        .limit(1)
    )
    kept = earlier.scalar()
    if kept is not None:
        own = (FigureGroup.ROWS, FigureGroup.REJECTS)
        return {key: value for key, value in read_figures(kept).items() if key[0] not in own}
    figures: Figures = {}
    group = FigureGroup.ENTITIES
    for name, value in (await session.execute(_ENTITIES)).mappings().one().items():
        group = _GROUPS.get(name.split()[0], group)
        figures[group, name] = value
    for row in (await session.execute(_STATEMENTS)).mappings():
        figures[FigureGroup.STATEMENTS, row["statement"]] = row["edges"]
    measured = (await session.execute(_GRAPH)).mappings().first()
    return figures | {(FigureGroup.GRAPH, name): value for name, value in (measured or {}).items()}


def read_figures(rows: list[dict[str, Any]]) -> Figures:
    """Return the counts of a stored report."""
    return {(FigureGroup(row["group"]), row["name"]): row["value"] for row in rows}


def compare(figures: Figures, before: Figures | None) -> list[dict[str, Any]]:
    """Set counts beside the earlier ones, by group and name, and mark those that moved oddly.

    What only one side names counts as zero on the other, unless that side has nothing of the whole group.
    """
    earlier = before or {}
    groups = {group for group, _ in earlier}
    if FigureGroup.ROWS in groups:
        # A run without any rejected row has counted them all the same.
        groups.add(FigureGroup.REJECTS)
    counted = {group for group, _ in figures} | {FigureGroup.REJECTS}
    keys = figures.keys() | {key for key in earlier if key[0] in counted}
    order = list(FigureGroup)
    rows = []
    for group, name in sorted(keys, key=lambda key: (order.index(key[0]), key[1])):
        value = figures.get((group, name), 0)
        previous = earlier.get((group, name), 0) if group in groups else None
        odd = previous is not None and name not in SWINGING and is_odd(value, previous)
        rows.append({"group": group.value, "name": name, "value": value, "previous": previous, "odd": odd})
    return rows


def is_odd(value: int, previous: int) -> bool:
    """Tell whether a count moved oddly: by ODD_COUNT and by more than ODD_SHARE, or from or to zero."""
    moved = abs(value - previous)
    return (moved >= ODD_COUNT and moved > ODD_SHARE * previous) or (value == 0) != (previous == 0)


def summary(report: Mapping[str, Any]) -> str:
    """Say in one line what a report is of and what it is compared with."""
    previous, marked = report["previous_run"], sum(figure["odd"] for figure in report["figures"])
    compared = "nothing to compare with" if previous is None else f"compared with run {previous}: {marked} moved oddly"
    return f"run {report['run']} of {report['source']}, data version {report['data_version']}, {compared}"
