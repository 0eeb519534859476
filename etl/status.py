"""What was loaded and how its runs went, as rows for a person or for `--json`."""

from typing import Any

from db.session import WriteSession
from etl.runs import lock_of

_RUN_COLUMNS = f"""
    id AS run, source,
    CASE WHEN status = 'RUNNING' AND NOT EXISTS (SELECT FROM pg_locks WHERE {lock_of("source")})
         THEN 'KILLED' ELSE status END AS status,
    to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\\:MI\\:SS"Z"') AS started,
    round(extract(epoch FROM greatest(coalesce(finished_at, now()) - started_at, '0'))::numeric, 1)::float8 AS seconds,
    processed, inserted, updated, unchanged, failed, retired, data_version, error
"""


async def recent_runs(session: WriteSession, source: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs first; one recorded as running whose process is gone is told as KILLED."""
    result = await session.execute(
        f"SELECT {_RUN_COLUMNS} FROM etl_run WHERE CAST(:source AS text) IS NULL OR source = :source"
        " ORDER BY id DESC LIMIT :limit",
        source=source,
        limit=limit,
    )
    return [dict(row) for row in result.mappings()]


async def latest_runs(session: WriteSession) -> list[dict[str, Any]]:
    """Return every source's newest run."""
    result = await session.execute(
        f"SELECT {_RUN_COLUMNS} FROM etl_run WHERE id IN (SELECT max(id) FROM etl_run GROUP BY source) ORDER BY source"
    )
    return [dict(row) for row in result.mappings()]


async def overview(session: WriteSession) -> dict[str, Any]:
    """Return the data version, how much there is of what, and how many runs wait to be resumed."""
    result = await session.execute(
        """
        SELECT (SELECT version FROM data_version) AS data_version,
               (SELECT count(*) FROM entity) AS entities,
               (SELECT count(*) FROM influence) AS influences,
               (SELECT count(*) FROM raw_record) AS raw_rows,
               (SELECT count(*) FROM quarantine WHERE resolved_run_id IS NULL) AS quarantined,
               (SELECT count(*) FROM etl_run WHERE status IN ('RUNNING', 'INTERRUPTED', 'FAILED')
                    AND to_regclass('staging.run_' || id || '_raw') IS NOT NULL) AS unfinished_runs
        """
    )
    return dict(result.mappings().one())
