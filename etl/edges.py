"""How a run's edges are merged into the graph: what they may join, when, and what becomes of those not made again."""

from typing import Any

from db.bulk import bulk_change
from db.models.atlas import RelationshipType
from db.session import WriteSession
from etl.facts import InfluenceRecord
from etl.staging import Changes, Staging, upsert

EDGE_COLUMNS = ("source_id", "type", "target_id", "confidence", "is_derived", "note", "provenance")

_SAME_EDGE = "kept.source_id = staged.source_id AND kept.type = staged.type AND kept.target_id = staged.target_id"
_ENDS = "JOIN entity AS source ON source.id = edge.source_id JOIN entity AS target ON target.id = edge.target_id"
_IMPOSSIBLE = "source.start_first > target.end_last AND edge.type <> 'PART_OF'"
"""The source begins after the target ended, however their dates' precisions are read.

PART_OF is exempt: a part may be younger than a whole that is dated by its beginning alone.
"""
_EXTERNAL_ID = "source.key || ' ' || edge.type || ' ' || target.key"
_PAYLOAD = """json_build_object('source', source.key, 'type', edge.type, 'target', target.key,
                                 'provenance', edge.provenance, 'note', edge.note)::text"""
_REASON = """source.key || ' begins in ' || source.start_year || ', after ' || target.key
               || ' ended in ' || target.end_year || ': it cannot have led there'"""


async def publish_edges(session: WriteSession, staging: Staging) -> Changes:
    """Merge the staged edges, whose entities are published already."""
    changes = await _evict_impossible(session, staging)
    async with bulk_change(session, "influence", staging.table("influence")) as outgrows:
        fresh = staging.table("influence")
        if not outgrows:
            fresh = staging.table("fresh")
            await _find_fresh(session, staging, fresh)
        changes += await _drop_misfits(session, fresh)
        await _reject_impossible(session, staging, fresh)
        changes += await _upsert(session, staging, fresh)
    if not outgrows:
        await session.execute(f"DROP TABLE {fresh}")
    return changes + await _retire(session, staging)


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


async def _find_fresh(session: WriteSession, staging: Staging, fresh: str) -> None:
    """Put the staged edges that are not stored as they are into a table: of a load without news, none."""
    await session.execute(
        f"""
        CREATE TABLE {fresh} AS
        SELECT staged.* FROM {staging.accepted("influence")} AS staged
        LEFT JOIN influence AS kept ON {_SAME_EDGE}
        WHERE kept.source_id IS NULL OR NOT kept.provenance @> staged.provenance
           OR kept.note IS DISTINCT FROM coalesce(staged.note, kept.note)
        """
    )


async def _drop_misfits(session: WriteSession, fresh: str) -> Changes:
    """Drop derived edges between kinds their rule is not for: no statement is lost, a conclusion is not drawn."""
    dropped = await session.execute(
        f"""
        DELETE FROM {fresh} AS edge USING entity AS source, entity AS target
        WHERE edge.joins IS NOT NULL AND source.id = edge.source_id AND target.id = edge.target_id
          AND (source.kind <> edge.joins OR target.kind <> edge.joins)
        """
    )
    return Changes(dropped=dropped.rowcount)


async def _reject_impossible(session: WriteSession, staging: Staging, fresh: str) -> None:
    await staging.reject_where(
        session,
        f"""
        SELECT edge.row_no, {_EXTERNAL_ID}, {_PAYLOAD}, 'source', source.key, {_REASON}
        FROM {fresh} AS edge {_ENDS} WHERE {_IMPOSSIBLE}
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


async def _upsert(session: WriteSession, staging: Staging, fresh: str) -> Changes:
    """Merge edges: statements add up, the same statement again changes nothing."""
    return await upsert(
        session,
        f"""
        INSERT INTO influence AS kept ({", ".join(EDGE_COLUMNS)}, run_id)
        SELECT source_id, type, target_id,
               CASE count(*) WHEN 1 THEN max(confidence)
                             ELSE provenance_confidence(provenance_merge(provenance ORDER BY row_no)) END,
               bool_and(is_derived), max(note), provenance_merge(provenance ORDER BY row_no), {staging.run_id}
        FROM {staging.accepted_of(fresh)} AS staged
        GROUP BY source_id, type, target_id ORDER BY source_id, type, target_id
        ON CONFLICT (source_id, type, target_id) DO UPDATE
        SET provenance = kept.provenance || excluded.provenance,
            confidence = provenance_confidence(kept.provenance || excluded.provenance),
            is_derived = NOT jsonb_path_exists(
                kept.provenance || excluded.provenance, '$.* ? (@.derived == false)'),
            note = coalesce(excluded.note, kept.note),
            run_id = excluded.run_id
        WHERE (kept.provenance || excluded.provenance, coalesce(excluded.note, kept.note))
              IS DISTINCT FROM (kept.provenance, kept.note)
        """,
    )


async def _retire(session: WriteSession, staging: Staging) -> Changes:
    """Take away statements that a complete run did not make again, and edges without any left."""
    if not staging.retiring:
        return Changes()
    gone = staging.table("gone")
    # Of nearly all edges a staged one says all they say; only the rest are looked at statement by statement.
    await session.execute(
        f"""
        CREATE TABLE {gone} AS
        WITH suspect AS (
            SELECT kept.* FROM influence AS kept WHERE kept.provenance ?| :provenance AND NOT EXISTS (
                SELECT FROM {staging.table("influence")} AS staged
                WHERE {_SAME_EDGE} AND staged.provenance @> kept.provenance)
        )
        SELECT kept.source_id, kept.type, kept.target_id, array_agg(statement) AS statements
        FROM suspect AS kept, jsonb_object_keys(kept.provenance) AS statement
        WHERE statement = ANY(:provenance) AND NOT EXISTS (
            SELECT FROM {staging.accepted("influence")} AS staged WHERE {_SAME_EDGE} AND staged.provenance ? statement)
        GROUP BY kept.source_id, kept.type, kept.target_id
        """,
        provenance=list(staging.retiring),
    )
    weakened = await session.execute(
        f"""
        UPDATE influence AS kept
        SET provenance = kept.provenance - staged.statements, run_id = {staging.run_id},
            confidence = provenance_confidence(kept.provenance - staged.statements),
            is_derived = NOT jsonb_path_exists(kept.provenance - staged.statements, '$.* ? (@.derived == false)')
        FROM {gone} AS staged WHERE {_SAME_EDGE} AND kept.provenance - staged.statements <> '{{}}'
        """
    )
    edges = await session.execute(
        f"""
        DELETE FROM influence AS kept USING {gone} AS staged
        WHERE {_SAME_EDGE} AND kept.provenance - staged.statements = '{{}}'
        """
    )
    await session.execute(f"DROP TABLE {gone}")
    return Changes(retired=weakened.rowcount + edges.rowcount)
