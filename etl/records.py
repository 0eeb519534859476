"""How a run's records of any source are staged, and merged into the table `record`."""

from typing import Any

from db.bulk import bulk_change
from db.session import WriteSession
from etl.mapping import RECORD_COLUMNS
from etl.quality import keep_quality
from etl.staging import Changes, StagedRow, StagedTable, Staging

_KEPT = RECORD_COLUMNS[1:]

REBUILT_FROM = 0.5
"""Indexes are built anew when new records are this share of the old: entry by entry costs eight times as much."""


class RecordLoad:
    """How the records of one configured source are staged and published.

    Beside the records a run stages how often it met which fields (`field`) and what the next run begins from (`state`).
    """

    tables: tuple[StagedTable, ...] = (
        StagedTable("record", "record", RECORD_COLUMNS),
        StagedTable("field", "record_field", ("field", "type", "count"), counts=False),
        StagedTable("state", "source_state", ("state",), counts=False),
    )

    def __init__(self, source: str, mapped: tuple[str, ...], fresh_within_days: float | None) -> None:
        self._source = source
        self._mapped = mapped
        self._fresh_within_days = fresh_within_days

    def stage(self, record: object) -> tuple[str, tuple[Any, ...]]:
        """Return the table a record belongs to and its row."""
        if isinstance(record, StagedRow):
            return record
        raise TypeError(f"{type(record).__name__} is not a record")

    async def publish(self, session: WriteSession, staging: Staging) -> Changes:
        """Merge the records, then keep what the run tells of its source."""
        await self._reject_repeated(session, staging)
        fresh = staging.table("fresh")
        await self._find_fresh(session, staging, fresh)
        async with bulk_change(session, "record", fresh, REBUILT_FROM):
            changes = await self._merge(session, staging, fresh)
        await session.execute(f"DROP TABLE {fresh}")
        if staging.retiring:
            await self._drop_former_refusals(session, staging)
        await self._keep_state(session, staging)
        await keep_quality(session, staging, self._source, self._mapped, self._fresh_within_days)
        return changes

    async def _find_fresh(self, session: WriteSession, staging: Staging, fresh: str) -> None:
        """Put the records that are not stored as they are into a table."""
        old, new = (", ".join(f"{row}.{column}" for column in _KEPT) for row in ("kept", "staged"))
        await session.execute(
            f"""
            CREATE TABLE {fresh} AS
            SELECT DISTINCT ON (staged.external_id) staged.*, kept.external_id IS NULL AS is_new
            FROM {staging.accepted("record")} AS staged
            LEFT JOIN record AS kept ON kept.source = '{self._source}' AND kept.external_id = staged.external_id
            WHERE kept.external_id IS NULL OR ({old}) IS DISTINCT FROM ({new})
            ORDER BY staged.external_id, row_no DESC
            """
        )

    async def _merge(self, session: WriteSession, staging: Staging, fresh: str) -> Changes:
        columns = ", ".join(_KEPT)
        changed = (await session.execute(f"SELECT count(*) FROM {fresh} WHERE NOT is_new")).scalar_one()
        if changed:
            await session.execute(
                f"UPDATE record SET ({columns}, run_id) = ROW ({', '.join(f'fresh.{column}' for column in _KEPT)},"
                f" {staging.run_id}) FROM {fresh} AS fresh"
                f" WHERE NOT is_new AND source = '{self._source}' AND record.external_id = fresh.external_id"
            )
        inserted = await session.execute(
            f"INSERT INTO record (source, external_id, {columns}, run_id)"
            f" SELECT '{self._source}', external_id, {columns}, {staging.run_id} FROM {fresh} WHERE is_new"
        )
        return Changes(inserted.rowcount, changed)

    async def _reject_repeated(self, session: WriteSession, staging: Staging) -> None:
        """Keep the last of the rows with one id; those that say something else go to quarantine, by their own place."""
        new, last = (", ".join(f"{row}.{column}" for column in _KEPT) for row in ("staged", "last"))
        await session.execute(
            f"""
            WITH repeated AS (
                SELECT external_id, max(row_no) AS last_no FROM {staging.accepted("record")} AS staged
                GROUP BY external_id HAVING count(*) > 1
            )
            INSERT INTO {staging.table("reject")} (row_no, source, external_id, payload, field, value, reason)
            SELECT staged.row_no, raw.source, staged.external_id || '@' || staged.row_no, raw.payload, 'id',
                   staged.external_id, 'row ' || last_no || ' of the same run has the same id and is kept'
            FROM repeated JOIN {staging.table("record")} AS staged USING (external_id)
            JOIN {staging.table("record")} AS last ON last.row_no = last_no
            JOIN {staging.table("raw")} AS raw ON raw.row_no = staged.row_no
            WHERE staged.row_no <> last_no AND ({new}) IS DISTINCT FROM ({last})
            """
        )

    async def _drop_former_refusals(self, session: WriteSession, staging: Staging) -> None:
        """Drop raw rows that were refused and that a complete run no longer has; quarantine tells of them still."""
        await session.execute(
            f"""
            DELETE FROM raw_record WHERE source = '{self._source}' AND NOT is_processed AND NOT EXISTS (
                SELECT FROM {staging.table("raw")} AS raw WHERE raw.external_id = raw_record.external_id)
            """
        )

    async def _keep_state(self, session: WriteSession, staging: Staging) -> None:
        await session.execute(
            f"""
            INSERT INTO source_state (source, state, run_id)
            SELECT '{self._source}', state, {staging.run_id} FROM {staging.table("state")}
            ORDER BY row_no DESC LIMIT 1
            ON CONFLICT (source) DO UPDATE SET state = excluded.state, run_id = excluded.run_id
            """
        )


async def read_state(session: WriteSession, source: str) -> dict[str, Any]:
    """Return what a source's last complete run ended with; nothing before the first."""
    found = await session.execute("SELECT state FROM source_state WHERE source = :source", source=source)
    return dict(found.scalar() or {})
