"""How a run's records of the knowledge graph are staged, and merged into its tables."""

from typing import Any

import orjson

from db.bulk import bulk_change
from db.dates import HistoricalDate
from db.keys import internal_id
from db.models.atlas import DATE_PARTS
from db.session import WriteSession
from db.text import fold
from etl.records import AuthorshipRecord, EntityRecord, InfluenceRecord, MentionRecord
from etl.staging import Changes, StagedTable, Staging, upsert

FIELD_COLUMNS: dict[str, tuple[str, ...]] = {
    "name": ("name", "name_folded"),
    "labels": ("labels",),
    "description": ("description",),
    "disciplines": ("disciplines",),
    "field": ("field",),
    "work_type": ("work_type",),
    "discipline_keys": ("disciplines",),
    "field_keys": ("field",),
    "work_type_keys": ("work_type",),
    "start": tuple(f"start_{part}" for part in DATE_PARTS),
    "end": tuple(f"end_{part}" for part in DATE_PARTS),
    "details": ("details",),
}
ENTITY_COLUMNS = tuple(
    dict.fromkeys(("id", "key", "kind", "is_stub", "dataset", *(c for cs in FIELD_COLUMNS.values() for c in cs)))
)
KEY_COLUMNS = ("discipline_ids", "field_ids", "work_type_ids")
EDGE_COLUMNS = ("source_id", "type", "target_id", "confidence", "is_derived", "note", "provenance")


class AtlasLoad:
    """How the knowledge graph's records are staged and published."""

    tables: tuple[StagedTable, ...] = (
        StagedTable("entity", ENTITY_COLUMNS, extra={"covers": "text"} | dict.fromkeys(KEY_COLUMNS, "bigint[]")),
        StagedTable("influence", EDGE_COLUMNS, extra={"joins": "entity_kind"}),
        StagedTable("authorship", ("work_id", "agent_id"), extra={}),
    )

    def stage(self, record: object) -> tuple[str, tuple[Any, ...]]:
        """Return the table a record belongs to and its row; raises InvalidKeyError."""
        match record:
            case EntityRecord():
                return "entity", _entity_row(record)
            case MentionRecord():
                return "entity", _mention_row(record)
            case InfluenceRecord():
                return "influence", _influence_row(record)
            case AuthorshipRecord():
                return "authorship", (internal_id(record.work), internal_id(record.agent))
        raise TypeError(f"{type(record).__name__} is not a record of the atlas")

    async def publish(self, session: WriteSession, staging: Staging) -> Changes:
        """Merge entities, then edges and authorships, which refer to them."""
        changes = Changes()
        await _reject_key_collisions(session, staging)
        await _name_references(session, staging)
        covers = await session.execute(
            f"SELECT DISTINCT covers FROM {staging.table('entity')} WHERE NOT is_stub ORDER BY covers"
        )
        async with bulk_change(session, "entity", staging.table("entity")):
            for (fields,) in covers.all():
                changes += await _upsert_described(session, staging, fields)
            await _insert_mentioned(session, staging)
        changes += await _drop_misfits(session, staging)
        await _reject_impossible_times(session, staging)
        async with bulk_change(session, "influence", staging.table("influence")):
            changes += await _upsert_influences(session, staging)
        changes += await upsert(
            session,
            f"INSERT INTO authorship (work_id, agent_id, run_id)"
            f" SELECT DISTINCT work_id, agent_id, {staging.run_id} FROM {staging.accepted('authorship')} AS staged"
            f" ON CONFLICT DO NOTHING",
        )
        return changes + await _retire(session, staging)


def _entity_row(record: EntityRecord) -> tuple[Any, ...]:
    covers = ",".join(sorted(record.model_fields_set & FIELD_COLUMNS.keys()))
    return (
        covers,
        [internal_id(key) for key in record.discipline_keys],
        [internal_id(key) for key in record.field_keys],
        [internal_id(key) for key in record.work_type_keys],
        internal_id(record.key),
        record.key,
        record.kind.value,
        False,
        record.dataset,
        record.name,
        fold(record.name) if record.name else None,
        orjson.dumps(dict(record.labels), option=orjson.OPT_SORT_KEYS).decode(),
        record.description,
        list(record.disciplines),
        record.field,
        record.work_type,
        *_date_columns(record.start),
        *_date_columns(record.end),
        orjson.dumps(dict(record.details), option=orjson.OPT_SORT_KEYS).decode(),
    )


def _mention_row(record: MentionRecord) -> tuple[Any, ...]:
    folded = fold(record.name) if record.name else None
    head: tuple[Any, ...] = (
        "",
        [],
        [],
        [],
        internal_id(record.key),
        record.key,
        record.kind.value,
        True,
        record.dataset,
        record.name,
        folded,
    )
    return (*head, "{}", None, [], None, None, *_date_columns(None), *_date_columns(None), "{}")


def _date_columns(date: HistoricalDate | None) -> tuple[int | None, ...]:
    if date is None:
        return (None,) * len(DATE_PARTS)
    return (date.year, date.month, date.day, int(date.precision), int(date.calendar), date.first, date.last)


def _influence_row(record: InfluenceRecord) -> tuple[Any, ...]:
    statement = {"confidence": record.confidence, "derived": record.derived, "statement": record.statement}
    return (
        record.joins.value if record.joins else None,
        internal_id(record.source),
        record.type.value,
        internal_id(record.target),
        round(record.confidence, 4),
        record.derived,
        record.note,
        orjson.dumps({f"{record.dataset}/{record.rule}": statement}).decode(),
    )


async def _reject_key_collisions(session: WriteSession, staging: Staging) -> None:
    """Two keys with one hash cannot both be kept; the one that came first stays."""
    await staging.reject_where(
        session,
        f"""
        SELECT staged.row_no, staged.key, json_build_object('key', staged.key)::text, 'key', staged.key,
               'has the same internal id as ' || first.key
        FROM {staging.table("entity")} AS staged
        JOIN (
            SELECT id, min(key) AS key FROM {staging.table("entity")} GROUP BY id HAVING min(key) <> max(key)
            UNION ALL SELECT id, key FROM entity WHERE id IN (SELECT id FROM {staging.table("entity")})
        ) AS first ON first.id = staged.id AND first.key <> staged.key
        """,
    )


async def _name_references(session: WriteSession, staging: Staging) -> None:
    """Write the names of the entities that others refer to for their discipline, field or work type."""
    entity = staging.table("entity")
    for column, ids, found in (
        ("disciplines", "discipline_ids", "array_agg(DISTINCT name ORDER BY name)"),
        ("field", "field_ids", "min(name)"),
        ("work_type", "work_type_ids", "min(name)"),
    ):
        await session.execute(
            f"""
            UPDATE {entity} AS staged SET {column} = named.found
            FROM (
                SELECT row_no, {found} AS found FROM (
                    SELECT referring.row_no, coalesce(described.name, kept.name, 'Q' || wanted.id) AS name
                    FROM {entity} AS referring, unnest(referring.{ids}) AS wanted (id)
                    LEFT JOIN (
                        SELECT DISTINCT ON (id) id, name FROM {entity} WHERE NOT is_stub ORDER BY id, row_no DESC
                    ) AS described USING (id)
                    LEFT JOIN entity AS kept USING (id)
                ) AS name GROUP BY row_no
            ) AS named WHERE named.row_no = staged.row_no AND NOT staged.is_stub
            """
        )


async def _upsert_described(session: WriteSession, staging: Staging, covers: str) -> Changes:
    """Merge the entities whose records speak about the same fields: those fields are set, the others stay."""
    columns = ("kind", "is_stub", *(c for field in covers.split(",") if field for c in FIELD_COLUMNS[field]))
    names = ", ".join(columns)
    updates = ", ".join(f"{column} = excluded.{column}" for column in (*columns, "dataset", "run_id"))
    old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("entity", "excluded"))
    return await upsert(
        session,
        f"""
        INSERT INTO entity (id, key, dataset, run_id, {names})
        SELECT DISTINCT ON (id) id, key, dataset, {staging.run_id}, {names}
        FROM {staging.accepted("entity")} AS staged WHERE NOT is_stub AND covers = '{covers}'
        ORDER BY id, row_no DESC
        ON CONFLICT (id) DO UPDATE SET {updates} WHERE ({old}) IS DISTINCT FROM ({new})
        """,
    )


async def _insert_mentioned(session: WriteSession, staging: Staging) -> None:
    """Add entities that are only mentioned; of one that is there, at most a missing name is filled in."""
    await session.execute(
        f"""
        INSERT INTO entity (id, key, kind, is_stub, dataset, run_id, name, name_folded)
        SELECT DISTINCT ON (id) id, key, kind, true, dataset, {staging.run_id}, name, name_folded
        FROM {staging.accepted("entity")} AS staged WHERE is_stub
        ORDER BY id, name IS NULL, row_no
        ON CONFLICT (id) DO UPDATE
        SET name = excluded.name, name_folded = excluded.name_folded, run_id = excluded.run_id
        WHERE entity.is_stub AND entity.name IS NULL AND excluded.name IS NOT NULL
        """
    )


async def _drop_misfits(session: WriteSession, staging: Staging) -> Changes:
    """Drop derived edges between kinds their rule is not for: no statement is lost, a conclusion is not drawn."""
    dropped = await session.execute(
        f"""
        DELETE FROM {staging.table("influence")} AS edge USING entity AS source, entity AS target
        WHERE source.id = edge.source_id AND target.id = edge.target_id
          AND (source.kind <> edge.joins OR target.kind <> edge.joins)
        """
    )
    return Changes(dropped=dropped.rowcount)


async def _reject_impossible_times(session: WriteSession, staging: Staging) -> None:
    """Reject edges whose source begins after their target ends, however the dates' precisions are read.

    PART_OF is exempt: a part may be younger than a whole that is dated by its beginning alone.
    """
    await staging.reject_where(
        session,
        f"""
        SELECT edge.row_no, source.key || ' > ' || target.key,
               json_build_object('source', source.key, 'type', edge.type, 'target', target.key,
                                 'provenance', edge.provenance, 'note', edge.note)::text,
               'source', source.key,
               source.key || ' begins in ' || source.start_year || ', after ' || target.key
               || ' ended in ' || target.end_year || ': it cannot have led there'
        FROM {staging.accepted("influence")} AS edge
        JOIN entity AS source ON source.id = edge.source_id
        JOIN entity AS target ON target.id = edge.target_id
        WHERE source.start_first > target.end_last AND edge.type <> 'PART_OF'
        """,
    )


async def _upsert_influences(session: WriteSession, staging: Staging) -> Changes:
    """Merge edges: statements add up, the same statement again changes nothing."""
    return await upsert(
        session,
        f"""
        INSERT INTO influence AS kept ({", ".join(EDGE_COLUMNS)}, run_id)
        SELECT source_id, type, target_id,
               CASE count(*) WHEN 1 THEN max(confidence)
                             ELSE provenance_confidence(provenance_merge(provenance ORDER BY row_no)) END,
               bool_and(is_derived), max(note), provenance_merge(provenance ORDER BY row_no), {staging.run_id}
        FROM {staging.accepted("influence")} AS staged
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
    """Take away statements that a complete run did not make again, edges without any left, and forlorn entities."""
    if not staging.retiring:
        return Changes()
    provenance = list(staging.retiring)
    gone = f"""
        SELECT kept.source_id, kept.type, kept.target_id, array_agg(statement) AS statements
        FROM influence AS kept, jsonb_object_keys(kept.provenance) AS statement
        WHERE kept.provenance ?| :provenance AND statement = ANY(:provenance) AND NOT EXISTS (
            SELECT FROM {staging.accepted("influence")} AS staged
            WHERE staged.source_id = kept.source_id AND staged.type = kept.type
              AND staged.target_id = kept.target_id AND staged.provenance ? statement)
        GROUP BY kept.source_id, kept.type, kept.target_id
    """
    await session.execute(
        f"""
        UPDATE influence AS kept
        SET provenance = kept.provenance - gone.statements, run_id = {staging.run_id},
            confidence = provenance_confidence(kept.provenance - gone.statements),
            is_derived = NOT jsonb_path_exists(kept.provenance - gone.statements, '$.* ? (@.derived == false)')
        FROM ({gone}) AS gone
        WHERE (kept.source_id, kept.type, kept.target_id) = (gone.source_id, gone.type, gone.target_id)
          AND kept.provenance - gone.statements <> '{{}}'
        """,
        provenance=provenance,
    )
    edges = await session.execute(
        f"""
        DELETE FROM influence AS kept USING ({gone}) AS gone
        WHERE (kept.source_id, kept.type, kept.target_id) = (gone.source_id, gone.type, gone.target_id)
          AND kept.provenance - gone.statements = '{{}}'
        """,
        provenance=provenance,
    )
    return Changes(retired=edges.rowcount)
