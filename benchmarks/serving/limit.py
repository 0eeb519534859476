"""The limit of this machine with Python and PostgreSQL: JSON from SQL written by hand, and no GraphQL at all.

PostgreSQL writes the JSON of what is nested, by joining texts, which is faster than its functions for JSON; the rows
of a flat answer it gives faster than their JSON.
"""

import os
from typing import Any

import orjson
import uvicorn

from benchmarks.serving.connections import Connections, Statements, read

HEADERS = [(b"content-type", b"application/json")]
PAGE_SIZE = 100
DATA_SIZE = 50
ROADMAP_NODES = 1000


def _object(**members: str) -> str:
    """Write an expression for a JSON object, of expressions for the JSON of its members."""
    return "'{" + " || ',".join(f'"{name}":\' || {member}' for name, member in members.items()) + " || '}'"


def _list(item: str, order: str, rows: str) -> str:
    return f"'[' || coalesce((SELECT string_agg({item}, ',' ORDER BY {order}) FROM {rows}), '') || ']'"


def _text(column: str) -> str:
    return f"coalesce(to_json({column})::text, 'null')"


def _influences(parent: str, first: int, **further: str) -> str:
    far = f"far_{first}"
    node = _object(id=_text(f"{far}.key"), name=_text(f"{far}.name"), **further)
    edge = _object(type=_text("edge.type"), confidence="edge.confidence", node=node)
    rows = f"""(
        SELECT source_id, type, confidence FROM influence WHERE target_id = {parent}
        ORDER BY type, source_id LIMIT {first}
    ) AS edge JOIN entity AS {far} ON {far}.id = edge.source_id"""
    return _object(edges=_list(edge, "edge.type, edge.source_id", rows))


def _nested() -> str:
    inner = _influences("far_20.id", 5)
    outer = _influences("entity.id", 20, influences=inner)
    return f"SELECT {_object(id=_text('key'), name=_text('name'), influences=outer)} FROM entity WHERE key = $1"


def _roadmap() -> str:
    concept = _object(id=_text("key"), name=_text("name"))
    edge = _object(
        source=_object(id=_text("source_key")),
        target=_object(id=_text("target_key")),
        type=_text("type"),
        confidence="confidence",
    )
    roadmap = _object(
        concept=_object(id=_text("entity.key"), name=_text("entity.name")),
        nodes=_list(_object(depth="depth", concept=concept), "depth, id", "kept WHERE depth > 0"),
        edges=_list(edge, "target_id, type, source_id", "edges"),
        isTruncated="""(to_json((SELECT count(*) FROM reached) > (SELECT count(*) FROM kept)
            OR (SELECT count(*) FROM edges) > 20000))::text""",
    )
    return f"{read('roadmap_parts')['roadmap_parts']} SELECT {roadmap} FROM start JOIN entity USING (id)"


STATEMENTS = read("entity", "page", "records") | {"nested": _nested(), "roadmap": _roadmap()}
connections = Connections()


def _entity(row: Any) -> dict[str, Any]:
    year = row["start_year"]
    return {
        "id": row["key"],
        "kind": row["kind"],
        "name": row["name"],
        "description": row["description"],
        "isStub": row["is_stub"],
        "start": None if year is None else {"year": year},
    }


async def _answer_entity(statements: Statements, given: dict[str, Any]) -> bytes:
    row = await statements["entity"].fetchrow(given["id"])
    return orjson.dumps({"data": {"entity": _entity(row) if row else None}})


async def _answer_page(statements: Statements, given: dict[str, Any]) -> bytes:
    rows = await statements["page"].fetch(int(given["after"]), PAGE_SIZE + 1)
    kept = rows[:PAGE_SIZE]
    page = {"hasNextPage": len(rows) > PAGE_SIZE, "endCursor": str(kept[-1]["id"]) if kept else None}
    edges = [{"node": _entity(row)} for row in kept]
    return orjson.dumps({"data": {"entities": {"edges": edges, "pageInfo": page}}})


async def _answer_data(statements: Statements, given: dict[str, Any]) -> bytes:
    rows = await statements["records"].fetch(given["after"], DATA_SIZE + 1)
    kept = rows[:DATA_SIZE]
    page = {"hasNextPage": len(rows) > DATA_SIZE, "endCursor": kept[-1]["external_id"] if kept else None}
    return orjson.dumps({"data": {"data": {"edges": [{"node": _record(row)} for row in kept], "pageInfo": page}}})


def _record(row: Any) -> dict[str, Any]:
    return {
        "sourceId": row["external_id"],
        "title": row["title"],
        "value": row["value"],
        "createdAt": row["created_at"],
        "attributes": orjson.Fragment(row["attributes"]),
    }


async def _answer_nested(statements: Statements, given: dict[str, Any]) -> bytes:
    text = await statements["nested"].fetchval(given["id"])
    return b'{"data":{"entity":%b}}' % (text or "null").encode()


async def _answer_roadmap(statements: Statements, given: dict[str, Any]) -> bytes:
    text = await statements["roadmap"].fetchval(given["id"], given["depth"], ROADMAP_NODES)
    return b'{"data":{"roadmap":%b}}' % (text or "null").encode()


ANSWERS = {
    "entity": _answer_entity,
    "page": _answer_page,
    "nested": _answer_nested,
    "roadmap": _answer_roadmap,
    "data": _answer_data,
}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer POST /<shape> with {"variables": {...}}."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body += message["body"]
        has_more = message.get("more_body", False)
    async with connections.use() as statements:
        answer = await ANSWERS[scope["path"][1:]](statements, orjson.loads(body)["variables"])
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})


async def _live(receive: Any, send: Any) -> None:
    await receive()
    await connections.open(STATEMENTS)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    """Serve on PORT."""
    uvicorn.run(app, port=int(os.environ["PORT"]), http="httptools", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
