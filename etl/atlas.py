"""How a run's records of the knowledge graph are staged, and merged into its tables."""

from functools import lru_cache
from typing import Any

import orjson

from db.bulk import bulk_change, has_rows
from db.dates import HistoricalDate
from db.keys import HASHED, internal_id
from db.models.atlas import DATE_PARTS
from db.session import WriteSession
from db.text import fold
from etl.edges import EDGE_COLUMNS, publish_edges
from etl.facts import EntityRecord, InfluenceRecord, MentionRecord
from etl.staging import Changes, StagedRow, StagedTable, Staging, upsert

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
MENTION_COLUMNS = ("id", "key", "kind", "dataset", "name", "name_folded")
ENTITY_COLUMNS = tuple(
    dict.fromkeys(("id", "key", "kind", "dataset", *(c for cs in FIELD_COLUMNS.values() for c in cs)))
)
KEY_COLUMNS = ("discipline_ids", "field_ids", "work_type_ids")


class AtlasLoad:
    """How the knowledge graph's records are staged and published."""

    tables: tuple[StagedTable, ...] = (
        StagedTable("entity", "entity", ENTITY_COLUMNS, {"covers": "text"} | dict.fromkeys(KEY_COLUMNS, "bigint[]")),
        StagedTable("mention", "entity", MENTION_COLUMNS, counts=False),
        StagedTable("influence", "influence", EDGE_COLUMNS, {"joins": "entity_kind"}),
        # Edges that are staged but, between entities of these kinds, not drawn.
        StagedTable("misfit", "influence", ("type",), counts=False),
        StagedTable("authorship", "authorship", ("work_id", "agent_id", "dataset")),
    )

    def stage(self, record: object) -> tuple[str, tuple[Any, ...]]:
        """Return the table a record belongs to and its row; raises InvalidKeyError."""
        match record:
            case StagedRow():
                return record
            case EntityRecord():
                return "entity", _entity_row(record)
            case MentionRecord():
                return "mention", _mention_row(record)
            case InfluenceRecord():
                return "influence", _influence_row(record)
        raise TypeError(f"{type(record).__name__} is not a record of the atlas")

    async def publish(self, session: WriteSession, staging: Staging) -> Changes:
        """Merge entities, then edges and authorships, which refer to them."""
        changes = Changes()
        await _reject_key_collisions(session, staging)
        await _name_references(session, staging)
        covers = await session.execute(f"SELECT DISTINCT covers FROM {staging.table('entity')} ORDER BY covers")
        async with bulk_change(session, "entity", staging.table("entity")):
            for (fields,) in covers.all():
                changes += await _merge_described(session, staging, fields)
            await _merge_mentioned(session, staging)
        changes += await publish_edges(session, staging)
        return changes + await _publish_authorships(session, staging)


def _entity_row(record: EntityRecord) -> tuple[Any, ...]:
    return (
        _covers(frozenset(record.model_fields_set)),
        [internal_id(key) for key in record.discipline_keys],
        [internal_id(key) for key in record.field_keys],
        [internal_id(key) for key in record.work_type_keys],
        internal_id(record.key),
        record.key,
        record.kind.value,
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


@lru_cache
def _covers(fields: frozenset[str]) -> str:
    return ",".join(sorted(fields & FIELD_COLUMNS.keys()))


def _mention_row(record: MentionRecord) -> tuple[Any, ...]:
    folded = fold(record.name) if record.name else None
    return (internal_id(record.key), record.key, record.kind.value, record.dataset, record.name, folded)


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


async def _publish_authorships(session: WriteSession, staging: Staging) -> Changes:
    staged = staging.accepted("authorship")
    changes = await upsert(
        session,
        f"INSERT INTO authorship (work_id, agent_id, dataset, run_id)"
        f" SELECT DISTINCT ON (work_id, agent_id) work_id, agent_id, dataset, {staging.run_id} FROM {staged} AS staged"
        f" ON CONFLICT DO NOTHING",
    )
    retired = await session.execute(
        f"""
        DELETE FROM authorship AS kept WHERE dataset || '/authorship' = ANY(:retiring) AND NOT EXISTS (
            SELECT FROM {staged} AS staged WHERE staged.work_id = kept.work_id AND staged.agent_id = kept.agent_id)
        """,
        retiring=list(staging.retiring),
    )
    return changes + Changes(retired=retired.rowcount)


async def _reject_key_collisions(session: WriteSession, staging: Staging) -> None:
    """Two keys with one hash cannot both be kept; the one that came first stays."""
    await staging.reject_where(
        session,
        f"""
        WITH staged AS (
            SELECT row_no, id, key FROM {staging.table("entity")} WHERE id >= {HASHED}
            UNION ALL SELECT row_no, id, key FROM {staging.table("mention")} WHERE id >= {HASHED}
        )
        SELECT staged.row_no, staged.key, json_build_object('key', staged.key)::text, 'key', staged.key,
               'has the same internal id as ' || first.key
        FROM staged JOIN (
            SELECT id, min(key) AS key FROM staged GROUP BY id HAVING min(key) <> max(key)
            UNION ALL SELECT id, key FROM entity WHERE id IN (SELECT id FROM staged)
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
                        SELECT DISTINCT ON (id) id, name FROM {entity} ORDER BY id, row_no DESC
                    ) AS described USING (id)
                    LEFT JOIN entity AS kept USING (id)
                    WHERE referring.{ids} <> '{{}}'
                ) AS name GROUP BY row_no
            ) AS named WHERE named.row_no = staged.row_no
            """
        )


async def _merge_described(session: WriteSession, staging: Staging, covers: str) -> Changes:
    """Merge the entities whose records speak about the same fields: those fields are set, the others stay."""
    columns = ("kind", *(c for field in covers.split(",") if field for c in FIELD_COLUMNS[field]))
    names = ", ".join(columns)
    newest = f"""
        (SELECT DISTINCT ON (id) id, key, dataset, false AS is_stub, {names}
         FROM {staging.accepted("entity")} AS staged WHERE covers = '{covers}' ORDER BY id, row_no DESC) AS staged
    """
    changing = (*columns, "is_stub")
    old, new = (", ".join(f"{row}.{column}" for column in changing) for row in ("kept", "staged"))
    changes = Changes()
    if await has_rows(session, "entity"):
        assigned = ", ".join(f"{column} = staged.{column}" for column in (*changing, "dataset"))
        updated = await session.execute(
            f"""
            UPDATE entity AS kept SET run_id = {staging.run_id}, {assigned}
            FROM {newest} WHERE kept.id = staged.id AND ({old}) IS DISTINCT FROM ({new})
            """
        )
        changes = Changes(updated=updated.rowcount)
    inserted = await session.execute(
        f"""
        INSERT INTO entity (id, key, dataset, is_stub, {names}, run_id)
        SELECT *, {staging.run_id} FROM {newest} WHERE {_IS_UNKNOWN} ORDER BY id
        """
    )
    return changes + Changes(inserted=inserted.rowcount)


async def _merge_mentioned(session: WriteSession, staging: Staging) -> None:
    """Add entities that are only mentioned; of one that is there, at most a missing name is filled in."""
    mentioned = f"""
        (SELECT DISTINCT ON (id) id, key, kind, true AS is_stub, dataset, name, name_folded
         FROM {staging.accepted("mention")} AS staged ORDER BY id, name IS NULL, kind, row_no) AS staged
    """
    await session.execute(
        f"""
        UPDATE entity AS kept SET name = staged.name, name_folded = staged.name_folded, run_id = {staging.run_id}
        FROM {mentioned} WHERE kept.id = staged.id AND kept.is_stub AND kept.name IS NULL AND staged.name IS NOT NULL
        """
    )
    await session.execute(
        f"""
        INSERT INTO entity (id, key, kind, is_stub, dataset, name, name_folded, run_id)
        SELECT *, {staging.run_id} FROM {mentioned} WHERE {_IS_UNKNOWN} ORDER BY id
        """
    )


_IS_UNKNOWN = "NOT EXISTS (SELECT FROM entity AS kept WHERE kept.id = staged.id)"
