"""Staging: what a run has extracted and transformed, kept in tables of its own until it is published at once.

A batch is appended with its checkpoint in one transaction. Publishing merges all of it into the tables that readers
see, in one transaction, so readers never meet half a run, and a killed run goes on where its last batch ended.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy.dialects import postgresql

from db.bulk import insert_found
from db.models.base import Base
from db.session import WriteSession

if TYPE_CHECKING:
    from etl.measurement import EarlyMeasures
    from etl.source import Prepared

SCHEMA = "staging"

Transactions = Callable[[], AbstractAsyncContextManager[WriteSession]]
"""Makes transactions of a run's own; those of a dry run are rolled back in the end."""


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A staging table for rows of `target`: some of its columns, and `extra` ones, as SQL types.

    The rows of a table that does not count come with those of others: they make a raw row no other kind of success.
    """

    name: str
    target: str
    columns: tuple[str, ...]
    extra: Mapping[str, str] = field(default_factory=dict)
    counts: bool = True

    @property
    def staged_columns(self) -> tuple[str, ...]:
        """The columns of the staging table, in the order in which rows are given."""
        return ("row_no", *self.extra, *self.columns)

    @property
    def types(self) -> tuple[str, ...]:
        """The SQL types of the staging table's columns."""
        columns = Base.metadata.tables[self.target].columns
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        own = (columns[name].type.compile(dialect).lower() for name in self.columns)
        return ("bigint", *self.extra.values(), *own)


class StagedRow(NamedTuple):
    """A record that is in the form of its staging table already."""

    name: str
    values: tuple[Any, ...]


class Load(Protocol):
    """How the records of one dataset get into its tables."""

    @property
    def tables(self) -> tuple[StagedTable, ...]:
        """The staging tables of a run."""

    def stage(self, record: object) -> tuple[str, tuple[Any, ...]]:
        """Return the staging table a record belongs to and its values, in the order of the table's columns."""

    async def publish(self, session: WriteSession, staging: "Staging") -> "Changes":
        """Merge the staged rows that are not rejected into their targets.

        A raw row makes one record that counts as it, and perhaps mentions of others, which do not count.
        """


@dataclass(frozen=True, slots=True)
class Changes:
    """What publishing did, in records: new ones, ones that differed, and old ones that are no longer stated.

    `dropped` counts conclusions that were not drawn after all; they are taken off the rows of the run.
    """

    inserted: int = 0
    updated: int = 0
    retired: int = 0
    dropped: int = 0

    def __add__(self, other: "Changes") -> "Changes":
        return Changes(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.retired + other.retired,
            self.dropped + other.dropped,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How the rows of a run ended: processed = inserted + updated + unchanged + failed.

    `retired` counts records of earlier runs that a complete run no longer states; they are none of its rows.
    """

    processed: int
    inserted: int
    updated: int
    unchanged: int
    failed: int
    retired: int


class Staging:
    """The staging tables of one run.

    `retiring` names the provenance that publishing may retire, since the run states all of it; none for most. `early`
    is begun by publishing when it has all entities, and knows the edges, of a graph that was empty.
    """

    def __init__(self, run_id: int, load: Load) -> None:
        self.run_id = run_id
        self.load = load
        self.retiring: tuple[str, ...] = ()
        self.early: EarlyMeasures | None = None

    def table(self, name: str) -> str:
        """Return the qualified name of the run's staging table of that name."""
        return f"{SCHEMA}.{self._bare(name)}"

    def _bare(self, name: str) -> str:
        return f"run_{self.run_id}_{name}"

    async def create(self, session: WriteSession) -> None:
        """Create the empty tables."""
        # Tables that only grow, and are then dropped: vacuuming them meanwhile would read them again and again.
        unvacuumed = "WITH (autovacuum_enabled = off)"
        row = "row_no bigint, source text, external_id text, payload text"
        await session.execute(f"CREATE TABLE {self.table('raw')} ({row}) {unvacuumed}")
        await session.execute(
            f"CREATE TABLE {self.table('reject')} ({row}, field text, value text, reason text) {unvacuumed}"
        )
        for staged in self.load.tables:
            extra = "".join(f", NULL::{sql_type} AS {name}" for name, sql_type in staged.extra.items())
            await session.execute(
                f"CREATE TABLE {self.table(staged.name)} {unvacuumed} AS SELECT NULL::bigint AS row_no{extra},"
                f" {', '.join(staged.columns)} FROM {staged.target} WITH NO DATA"
            )

    async def exists(self, session: WriteSession) -> bool:
        """Tell whether the tables are there, that is, whether the run can be resumed."""
        found = await session.execute("SELECT to_regclass(:name) IS NOT NULL", name=self.table("raw"))
        return bool(found.scalar_one())

    async def drop(self, session: WriteSession) -> None:
        """Drop the tables, if they are there."""
        for name in ("raw", "reject", *(staged.name for staged in self.load.tables)):
            await session.execute(f"DROP TABLE IF EXISTS {self.table(name)}")

    async def append(self, session: WriteSession, prepared: "Prepared") -> None:
        """Append a batch."""
        columns = {staged.name: staged.staged_columns for staged in self.load.tables}
        columns["raw"] = ("row_no", "source", "external_id", "payload")
        for name, rows in prepared.tables.items():
            await self._copy(session, name, columns[name], rows)
        for name, written in prepared.written.items():
            if written:
                await session.copy_written(SCHEMA, self._bare(name), columns[name], (written,))
        await self._copy(
            session,
            "reject",
            ("row_no", "source", "external_id", "payload", "field", "value", "reason"),
            [
                (number, row.source, storable(row.external_id), row.payload, *map(storable, error.parts()))
                for number, row, error in prepared.rejects
            ],
        )

    async def _copy(
        self, session: WriteSession, name: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        if rows:
            await session.copy(SCHEMA, self._bare(name), columns, rows)

    async def reject_where(self, session: WriteSession, query: str) -> None:
        """Reject the rows a query finds.

        It selects row_no, external_id, payload, field, value and reason; the first two of a row kept raw stand there.
        """
        columns = "row_no, external_id, payload, field, value, reason"
        await insert_found(session, self.table("reject"), columns, query)

    def accepted(self, name: str) -> str:
        """Return a subquery of a staging table's rows that are not rejected."""
        return self.accepted_of(self.table(name))

    def accepted_of(self, table: str) -> str:
        """Return a subquery of the rows of a table, numbered as staged rows are, that are not rejected."""
        return (
            f"(SELECT * FROM {table} AS kept WHERE NOT EXISTS"
            f" (SELECT FROM {self.table('reject')} AS rejected WHERE rejected.row_no = kept.row_no))"
        )

    async def counts(self, session: WriteSession, processed: int, changes: Changes) -> Counts:
        """Count how the rows ended, once the changes are known that publishing made."""
        rejected = await session.execute(f"SELECT count(DISTINCT row_no) FROM {self.table('reject')}")
        failed = int(rejected.scalar_one())
        processed -= changes.dropped
        unchanged = processed - changes.inserted - changes.updated - failed
        return Counts(processed, changes.inserted, changes.updated, unchanged, failed, changes.retired)

    async def keep_raw(self, session: WriteSession, kind: str) -> None:
        """Bring raw_record up to date with the raw rows of a kind; one that came back the same is not touched."""
        await session.execute(
            f"""
            WITH received AS (
                SELECT DISTINCT ON (source, external_id) source, external_id, payload,
                       rejected.row_no IS NULL AS is_processed
                FROM {self.table("raw")} AS raw
                LEFT JOIN (SELECT DISTINCT row_no FROM {self.table("reject")}) AS rejected USING (row_no)
                ORDER BY source, external_id, row_no DESC
            )
            INSERT INTO raw_record (kind, source, external_id, payload, is_processed, run_id)
            SELECT '{kind}', source, external_id, received.payload, received.is_processed, {self.run_id}
            FROM received LEFT JOIN raw_record AS kept USING (source, external_id)
            WHERE kept.kind IS DISTINCT FROM '{kind}' OR kept.content_hash <> md5(received.payload)::uuid
               OR kept.is_processed <> received.is_processed
            ON CONFLICT (source, external_id, kind) DO UPDATE
            SET payload = excluded.payload, is_processed = excluded.is_processed, run_id = excluded.run_id,
                received_at = CASE WHEN raw_record.content_hash = excluded.content_hash
                                   THEN raw_record.received_at ELSE now() END
            """
        )

    async def reject_again(self, session: WriteSession, run_id: int) -> None:
        """Reject the rows once more that an earlier run put into quarantine and that are still there."""
        await session.execute(
            f"""
            INSERT INTO {self.table("reject")} (row_no, source, external_id, payload, field, value, reason)
            SELECT row_number() OVER (ORDER BY id), source, external_id, payload, field, value, reason
            FROM quarantine WHERE run_id = {run_id} AND resolved_run_id IS NULL
            """
        )

    async def keep_rejects(self, session: WriteSession, source: str) -> None:
        """Put the rejected rows into quarantine, one entry a row; a row still there from before is renewed."""
        await session.execute(
            f"""
            INSERT INTO quarantine (source, external_id, payload, field, value, reason, run_id)
            SELECT DISTINCT ON (1, 2)
                   coalesce(reject.source, raw.source, :source),
                   CASE WHEN reject.source IS NULL THEN coalesce(raw.external_id, reject.external_id)
                        ELSE reject.external_id END,
                   coalesce(raw.payload, reject.payload), field, value, reason, {self.run_id}
            FROM {self.table("reject")} AS reject LEFT JOIN {self.table("raw")} AS raw USING (row_no)
            ORDER BY 1, 2, row_no DESC, reason
            ON CONFLICT (source, external_id) WHERE resolved_run_id IS NULL DO UPDATE
            SET payload = excluded.payload, field = excluded.field, value = excluded.value,
                reason = excluded.reason, run_id = excluded.run_id, quarantined_at = now()
            """,
            source=source,
        )

    async def release(self, session: WriteSession) -> None:
        """Mark quarantined rows as resolved that this run loaded."""
        await session.execute(
            f"""
            UPDATE quarantine SET resolved_run_id = {self.run_id}
            FROM {self.accepted("raw")} AS loaded
            WHERE quarantine.resolved_run_id IS NULL AND quarantine.source = loaded.source
              AND quarantine.external_id = loaded.external_id
            """
        )

    async def release_all(self, session: WriteSession, source: str) -> None:
        """Mark a source's quarantined rows as resolved unless this run, which was complete, rejected them again."""
        await session.execute(
            f"""
            UPDATE quarantine SET resolved_run_id = {self.run_id}
            WHERE resolved_run_id IS NULL AND run_id <> {self.run_id}
              AND (source = :source OR starts_with(source, :source || '/'))
            """,
            source=source,
        )


async def upsert(session: WriteSession, insert: str) -> Changes:
    """Run an INSERT … ON CONFLICT DO UPDATE, given without a RETURNING, and count what it changed."""
    result = await session.execute(
        f"WITH changed AS ({insert} RETURNING xmax = 0 AS is_insert)"
        " SELECT count(*) FILTER (WHERE is_insert) AS inserted, count(*) FILTER (WHERE NOT is_insert) AS updated"
        " FROM changed"
    )
    return Changes(**result.mappings().one())


def storable(value: str | None) -> str | None:
    """Make a text PostgreSQL can store: NUL and lone surrogates are written as escapes."""
    if value is None:
        return None
    return value.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()
