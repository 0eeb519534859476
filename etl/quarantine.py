"""The rows that could not be loaded: seen again, and tried again."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, select

from db.errors import AtlasError
from db.models.operations import EtlRun, Quarantine
from db.session import WriteSession
from etl.edges import replayed
from etl.source import Again, Batch, Checkpoint, RawRow, Source
from etl.sources import source_class

REPLAY_BATCH_ROWS = 500
REPLAY_PREFIX = "replay "


async def list_open(session: WriteSession, run: int | None = None, source: str | None = None) -> list[dict[str, Any]]:
    """Return the rows that no later run has loaded, oldest first, without their payloads."""
    table = Quarantine
    query = select(
        table.id, table.run_id.label("run"), table.source, table.external_id, table.field, table.value, table.reason
    ).where(table.resolved_run_id.is_(None))
    if run is not None:
        query = query.where(table.run_id == run)
    if source is not None:
        query = query.where(_of_source(source))
    return [dict(row._mapping) for row in (await session.execute(query.order_by(table.id))).all()]


def _of_source(source: str) -> ColumnElement[bool]:
    return (Quarantine.source == source) | Quarantine.source.startswith(f"{source}/", autoescape=True)


async def fetch_row(session: WriteSession, number: int) -> Row[Any]:
    """Return one quarantined row, whole; raises AtlasError when there is none of that number."""
    found = (await session.execute(select(*Quarantine.__table__.columns).where(Quarantine.id == number))).first()
    if found is None:
        raise AtlasError(f"no row {number} in quarantine: see `python -m etl quarantine list`")
    return found


async def replay_source(session: WriteSession, name: str) -> "ReplaySource | None":
    """Make the source of a source's open rows, or None when there are none; raises AtlasError for an unknown name."""
    original = source_class(name)
    open_rows = await session.execute(
        select(Quarantine.source, Quarantine.external_id, Quarantine.payload)
        .where(Quarantine.resolved_run_id.is_(None), _of_source(name))
        .order_by(Quarantine.id)
    )
    rows = [RawRow(row.source, row.external_id, row.payload) for row in open_rows.all()]
    if not rows:
        return None
    params = await session.execute(
        select(EtlRun.params).where(EtlRun.source == name).order_by(EtlRun.id.desc()).limit(1)
    )
    return ReplaySource(original.build(params.scalar_one()), rows)


class ReplaySource(Again):
    """The quarantined rows of a source, through that source's own transform."""

    # Rows that are bad still are no news: they stay where they are.
    max_failed_share = 1.0

    def __init__(self, original: Source, rows: list[RawRow]) -> None:
        super().__init__(original, REPLAY_PREFIX)
        self._rows = rows

    @classmethod
    def build(cls, params: dict[str, Any]) -> "ReplaySource":
        """Refuse: the rows still in quarantine are what a replay begins with."""
        raise AtlasError(f"a replay ({params}) is not resumed: run `python -m etl quarantine replay` again")

    async def count(self) -> int:
        """Return the number of rows to try."""
        return len(self._rows)

    async def batches(self, checkpoint: Checkpoint | None) -> AsyncIterator[Batch]:
        """Yield the quarantined rows."""
        start = 0 if checkpoint is None else checkpoint["row"]
        for position in range(start, len(self._rows), REPLAY_BATCH_ROWS):
            rows = self._rows[position : position + REPLAY_BATCH_ROWS]
            yield Batch(rows, {"row": position + len(rows)})

    def transform(self, row: RawRow) -> Iterable[object]:
        """Transform as the original does; an edge that could not be drawn is not of its making."""
        value = row.json()
        if isinstance(value, dict) and value.keys() >= {"source", "type", "target", "provenance"}:
            return replayed(value)
        return super().transform(row)
