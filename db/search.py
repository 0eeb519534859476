"""Search by name and text: accents and case do not matter, names come before mentions."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Double, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.lookups import entities_by_id
from db.models.atlas import Entity, Kind
from db.reading import ReadSession
from db.rows import EntityRow
from db.text import fold

SearchPosition = tuple[int, float, int]
"""Where a page of hits ends: tier, negated rank, internal id."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An entity found, and its position."""

    entity: EntityRow
    position: SearchPosition


# Labels in other languages keep their accents in the index and descriptions are stemmed as English, hence three
# queries. The last word counts as begun, for search while typing.
_QUERY = """
    (CASE WHEN plainto_tsquery('simple', :folded)::text = '' THEN ''::tsquery
        ELSE (plainto_tsquery('simple', :folded)::text || ':*')::tsquery END
     || plainto_tsquery('simple', :given) || plainto_tsquery('english', :given))
"""
_HITS = f"""
    SELECT id,
        CASE WHEN name_folded = :folded THEN 0 WHEN name_folded LIKE :prefix THEN 1 ELSE 2 END AS tier,
        -ts_rank(document, {_QUERY})::float8 AS rank
    FROM entity
    WHERE (name_folded LIKE :prefix OR document @@ {_QUERY}) AND kind = ANY (:kinds)
"""
_PARAMETERS = (
    bindparam("folded", type_=Text),
    bindparam("given", type_=Text),
    bindparam("prefix", type_=Text),
    bindparam("kinds", type_=ARRAY(Entity.kind.type)),
)
_PAGE = text(f"""
    SELECT id, tier, rank FROM ({_HITS}) AS hit
    WHERE (tier, rank, id) > (:after_tier, :after_rank, :after_id)
    ORDER BY tier, rank, id LIMIT :size
""").bindparams(
    *_PARAMETERS,
    bindparam("after_tier", type_=BigInteger),
    bindparam("after_rank", type_=Double),
    bindparam("after_id", type_=BigInteger),
    bindparam("size", type_=Integer),
)
_COUNT = text(f"SELECT count(*) FROM ({_HITS}) AS hit").bindparams(*_PARAMETERS)


async def search_page(
    session: ReadSession, query: str, kinds: Sequence[Kind], size: int, after: SearchPosition | None
) -> tuple[list[Hit], bool]:
    """Return the hits after a position and whether there are more.

    Exact names come first, then names that begin with the query, then everything whose name, labels or description
    hold its words, by rank.
    """
    tier, rank, last_id = after or (-1, 0.0, 0)
    position = {"after_tier": tier, "after_rank": rank, "after_id": last_id}
    rows = await session.rows(_PAGE, {**_parameters(query, kinds), **position, "size": size + 1})
    entities = await entities_by_id(session, [row.id for row in rows[:size]]) if rows else {}
    hits = [Hit(entities[row.id], (row.tier, row.rank, row.id)) for row in rows[:size]]
    return hits, len(rows) > size


async def count_hits(session: ReadSession, query: str, kinds: Sequence[Kind]) -> int:
    """Return how many entities a search finds."""
    rows = await session.rows(_COUNT, _parameters(query, kinds))
    return int(rows[0][0])


def _parameters(query: str, kinds: Sequence[Kind]) -> dict[str, object]:
    folded = fold(query)
    escaped = folded.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return {"folded": folded, "given": query, "prefix": escaped + "%", "kinds": list(kinds)}
