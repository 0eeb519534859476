"""How a run's edges are merged into the graph: what they may join, when, and what becomes of those not made again."""

from typing import Any

from db.bulk import SORT_MEMORY, bulk_change, has_rows, insert_found, without_primary_key
from db.models.atlas import RelationshipType
from db.session import WriteSession
from etl.facts import InfluenceRecord
from etl.staging import Changes, Staging

EDGE_COLUMNS = ("source_id", "type", "target_id", "confidence", "is_derived", "note", "provenance")

_SAME_EDGE = "kept.source_id = staged.source_id AND kept.type = staged.type AND kept.target_id = staged.target_id"
_ENDS = "JOIN entity AS source ON source.id = edge.source_id JOIN entity AS target ON target.id = edge.target_id"
_IMPOSSIBLE = """source.start_first > target.end_last AND edge.type <> 'PART_OF'
                 AND source.start_first IS NOT NULL AND target.end_last IS NOT NULL"""
"""The source begins after the target ended, however their dates' precisions are read.

PART_OF is exempt: a part may be younger than a whole that is dated by its beginning alone. The last line says nothing
new, but leaves PostgreSQL fewer entities to join.
"""
_EXTERNAL_ID = "source.key || ' ' || edge.type || ' ' || target.key"
_PAYLOAD = """json_build_object('source', source.key, 'type', edge.type, 'target', target.key,
                                 'provenance', edge.provenance, 'note', edge.note)::text"""
_REASON = """source.key || ' begins in ' || source.start_year || ', after ' || target.key
               || ' ended in ' || target.end_year || ': it cannot have led there'"""


async def publish_edges(session: WriteSession, staging: Staging) -> Changes:
    """Merge the staged edges, whose entities are published already."""
    gone = staging.table("gone")
    await session.execute(f"CREATE TABLE {gone} AS SELECT source_id, type, target_id FROM influence WITH NO DATA")
    await session.execute(f"ALTER TABLE {gone} ADD statements text[]")
    changes = await _evict_impossible(session, staging)
    async with bulk_change(session, "influence", staging.table("influence")) as outgrows:
        changes += await _drop_misfits(session, staging, gone)
        if outgrows:
            fresh, suspects = staging.table("influence"), "influence"
        else:
            differing = staging.table("differing")
            await _compare(session, staging, differing)
            fresh = f"(SELECT * FROM {differing} WHERE is_fresh)"
            suspects = f"""(SELECT DISTINCT kept_source_id AS source_id, kept_type AS type, kept_target_id AS target_id
                            FROM {differing} WHERE is_suspect)"""
        await _reject_impossible(session, staging, await _drawn(session, staging, fresh))
        await _find_gone(session, staging, suspects, gone)
        changes += await _merge(session, staging, await _drawn(session, staging, fresh), outgrows)
        changes += await _retire(session, staging, gone)
    await session.execute(f"DROP TABLE IF EXISTS {gone}, {staging.table('differing')}")
    return changes


def replayed(payload: dict[str, Any]) -> list[InfluenceRecord]:
    """Make the records again of a quarantined edge, from the payload it was quarantined with."""
    return [
        InfluenceRecord(
            source=payload["source"],
            target=payload["target"],
            type=RelationshipType(payload["type"]),
            confidence=statement["confidence"],
            derived=statement["derived"],
            statement=statement["statement"],
            dataset=provenance.partition("/")[0],
            rule=provenance.partition("/")[2],
            note=payload["note"],
        )
        for provenance, statement in payload["provenance"].items()
    ]


async def _drop_misfits(session: WriteSession, staging: Staging, gone: str) -> Changes:
    """Drop derived edges between kinds their rule is not for: no statement is lost, a conclusion is not drawn.

    One that was drawn earlier, while its ends were thought to be of other kinds, is gone. A run published before, in
    part, may have dropped some already.
    """
    misfit = staging.table("misfit")
    before = await session.execute(f"WITH earlier AS (DELETE FROM {misfit} RETURNING 1) SELECT count(*) FROM earlier")
    dropped = await insert_found(
        session,
        misfit,
        "row_no, type",
        f"""
        SELECT edge.row_no, edge.type FROM {staging.table("influence")} AS edge {_ENDS}
        WHERE edge.joins IS NOT NULL AND (source.kind <> edge.joins OR target.kind <> edge.joins)
        """,
    )
    await session.execute(
        f"""
        INSERT INTO {gone}
        SELECT source_id, type, target_id, array_agg(DISTINCT statement)
        FROM {misfit} JOIN {staging.table("influence")} AS staged USING (row_no, type)
             JOIN influence AS kept USING (source_id, type, target_id),
             jsonb_object_keys(staged.provenance) AS statement
        WHERE kept.provenance ? statement
        GROUP BY source_id, type, target_id
        """
    )
    return Changes(dropped=dropped - int(before.scalar_one()))


async def _drawn(session: WriteSession, staging: Staging, fresh: str) -> str:
    """Return a subquery of the fresh edges that are neither rejected nor misfits, as far as is known by now.

    Where there are none of these they are not mentioned: PostgreSQL would sort millions of edges to look for them.
    """
    rejected, misfit = staging.table("reject"), staging.table("misfit")
    accepted = staging.accepted_of(fresh) if await has_rows(session, rejected) else fresh
    if not await has_rows(session, misfit):
        return accepted
    return f"""
        (SELECT * FROM {accepted} AS edge WHERE NOT EXISTS (
            SELECT FROM {misfit} AS misfit WHERE misfit.row_no = edge.row_no AND misfit.type = edge.type))
    """


async def _compare(session: WriteSession, staging: Staging, differing: str) -> None:
    """Put what staged and stored edges do not have in common into a table: of a load without news, nothing.

    A staged edge is fresh when it is not stored as it is. A stored edge is suspect when no staged one says all that
    it says, of what may be retired: nearly all are cleared so, and only the rest looked at statement by statement.
    """
    is_fresh = """staged.row_no IS NOT NULL AND (kept.source_id IS NULL OR NOT kept.provenance @> staged.provenance
                  OR kept.note IS DISTINCT FROM coalesce(staged.note, kept.note))"""
    is_other = """staged.provenance IS DISTINCT FROM kept.provenance
                  OR kept.note IS DISTINCT FROM coalesce(staged.note, kept.note)"""
    is_suspect = """kept.provenance ?| CAST(:retiring AS text[])
                    AND (staged.row_no IS NULL OR NOT staged.provenance @> kept.provenance)"""
    # Without anything to retire only the stored edges that are staged again are read.
    join = "FULL" if staging.retiring else "LEFT"
    await session.execute(
        f"""
        CREATE TABLE {differing} AS
        SELECT staged.*, {is_fresh} AS is_fresh, {is_suspect} AS is_suspect,
               kept.source_id AS kept_source_id, kept.type AS kept_type, kept.target_id AS kept_target_id
        FROM {await _drawn(session, staging, staging.table("influence"))} AS staged
             {join} JOIN influence AS kept ON {_SAME_EDGE}
        WHERE ({is_other}) AND (({is_fresh}) OR ({is_suspect}))
        """,
        retiring=list(staging.retiring),
    )


async def _reject_impossible(session: WriteSession, staging: Staging, drawn: str) -> None:
    await staging.reject_where(
        session,
        f"""
        SELECT edge.row_no, {_EXTERNAL_ID}, {_PAYLOAD}, 'source', source.key, {_REASON}
        FROM {drawn} AS edge {_ENDS} WHERE {_IMPOSSIBLE}
        """,
    )


async def _evict_impossible(session: WriteSession, staging: Staging) -> Changes:
    """Quarantine stored edges that dates learnt in this run make impossible."""
    evicted = await session.execute(
        f"""
        WITH dated AS (SELECT id FROM entity WHERE run_id = {staging.run_id}),
        edge AS (
            SELECT * FROM influence WHERE source_id IN (SELECT id FROM dated)
            UNION SELECT * FROM influence WHERE target_id IN (SELECT id FROM dated)
        ),
        impossible AS (
            SELECT edge.source_id, edge.type, edge.target_id, {_EXTERNAL_ID} AS external_id, {_PAYLOAD} AS payload,
                   source.key AS source_key, {_REASON} AS reason
            FROM edge {_ENDS} WHERE {_IMPOSSIBLE}
        ),
        quarantined AS (
            INSERT INTO quarantine (source, external_id, payload, field, value, reason, run_id)
            SELECT etl_run.source, external_id, payload, 'source', source_key, reason, etl_run.id
            FROM impossible, etl_run WHERE etl_run.id = {staging.run_id}
            ON CONFLICT (source, external_id) WHERE resolved_run_id IS NULL DO NOTHING
        )
        DELETE FROM influence AS kept USING impossible AS staged WHERE {_SAME_EDGE}
        """
    )
    return Changes(retired=evicted.rowcount)


async def _merge(session: WriteSession, staging: Staging, drawn: str, outgrows: bool) -> Changes:
    """Merge edges into the stored ones; where they outgrow these, the primary key is made afterwards."""
    if not outgrows:
        return await _update(session, staging, drawn) + await _insert(session, staging, drawn, _IS_UNKNOWN)
    if await has_rows(session, "influence"):
        changes = await _update(session, staging, drawn)
        async with without_primary_key(session, "influence"):
            return changes + await _insert(session, staging, drawn, _IS_UNKNOWN)
    # A table that is new in its transaction is not logged by a server whose log is minimal, as the embedded one's is.
    await session.execute("TRUNCATE influence")
    await session.execute(f"SET LOCAL work_mem = '{SORT_MEMORY}'")
    if staging.early is not None:
        await staging.early.begin(session, drawn)
    async with without_primary_key(session, "influence"):
        return await _insert(session, staging, drawn, "true")


def _merged(drawn: str, where: str) -> str:
    """Return a query of the edges for which a condition holds, each with all of its staged statements."""
    return f"""
        SELECT source_id, type, target_id,
               CASE count(*) WHEN 1 THEN max(confidence)
                             ELSE provenance_confidence(provenance_merge(provenance ORDER BY row_no)) END AS confidence,
               bool_and(is_derived) AS is_derived, max(note) AS note,
               provenance_merge(provenance ORDER BY row_no) AS provenance
        FROM {drawn} AS staged WHERE {where}
        GROUP BY source_id, type, target_id ORDER BY source_id, type, target_id
    """


_IS_KNOWN = f"EXISTS (SELECT FROM influence AS kept WHERE {_SAME_EDGE})"
_IS_UNKNOWN = f"NOT {_IS_KNOWN}"


async def _update(session: WriteSession, staging: Staging, drawn: str) -> Changes:
    """Merge edges into those that are stored: statements add up, the same statement again changes nothing."""
    merged = "kept.provenance || staged.provenance"
    updated = await session.execute(
        f"""
        UPDATE influence AS kept
        SET provenance = {merged}, confidence = provenance_confidence({merged}), is_derived = {_is_derived(merged)},
            note = coalesce(staged.note, kept.note), run_id = {staging.run_id}
        FROM ({_merged(drawn, _IS_KNOWN)}) AS staged
        WHERE {_SAME_EDGE}
          AND ({merged}, coalesce(staged.note, kept.note)) IS DISTINCT FROM (kept.provenance, kept.note)
        """
    )
    return Changes(updated=updated.rowcount)


async def _insert(session: WriteSession, staging: Staging, drawn: str, where: str) -> Changes:
    """Add the edges for which a condition holds, none of which is stored."""
    inserted = await session.execute(
        f"""
        INSERT INTO influence ({", ".join(EDGE_COLUMNS)}, run_id)
        SELECT {", ".join(EDGE_COLUMNS)}, {staging.run_id} FROM ({_merged(drawn, where)}) AS merged
        """
    )
    return Changes(inserted=inserted.rowcount)


def _is_derived(provenance: str) -> str:
    return f"NOT jsonb_path_exists({provenance}, '$.* ? (@.derived == false)')"


async def _find_gone(session: WriteSession, staging: Staging, suspects: str, gone: str) -> None:
    """Find the stored statements that a complete run did not make again."""
    if not staging.retiring:
        return
    await session.execute(
        f"""
        INSERT INTO {gone}
        SELECT source_id, type, target_id, array_agg(statement)
        FROM {suspects} AS suspect JOIN influence AS kept USING (source_id, type, target_id),
             jsonb_object_keys(kept.provenance) AS statement
        WHERE statement = ANY(:retiring) AND NOT EXISTS (
            SELECT FROM {await _drawn(session, staging, staging.table("influence"))} AS staged
            WHERE {_SAME_EDGE} AND staged.provenance ? statement)
        GROUP BY source_id, type, target_id
        """,
        retiring=list(staging.retiring),
    )


async def _retire(session: WriteSession, staging: Staging, gone: str) -> Changes:
    """Take away the statements that are gone, and edges without any left."""
    staged = f"""
        (SELECT source_id, type, target_id, array_agg(statement) AS statements
         FROM {gone}, unnest(statements) AS statement GROUP BY source_id, type, target_id) AS staged
    """
    left = "kept.provenance - staged.statements"
    weakened = await session.execute(
        f"""
        UPDATE influence AS kept
        SET provenance = {left}, confidence = provenance_confidence({left}), is_derived = {_is_derived(left)},
            run_id = {staging.run_id}
        FROM {staged} WHERE {_SAME_EDGE} AND {left} <> '{{}}'
        """
    )
    edges = await session.execute(
        f"DELETE FROM influence AS kept USING {staged} WHERE {_SAME_EDGE} AND {left} = '{{}}'"
    )
    return Changes(retired=weakened.rowcount + edges.rowcount)
