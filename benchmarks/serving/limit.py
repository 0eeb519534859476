"""The limit of this machine with Python and PostgreSQL: SQL by hand that writes the JSON, and no GraphQL at all."""

import os
from typing import Any

import orjson
import uvicorn

from benchmarks.serving.connections import Connections, read

HEADERS = [(b"content-type", b"application/json")]
ARGUMENTS = {
    "entity": lambda given: (given["id"],),
    "page": lambda given: (int(given["after"]), 101),
    "nested": lambda given: (given["id"],),
    "roadmap": lambda given: (given["id"], given["depth"], 1000),
}
_ENTITY = """
    json_build_object('id', key, 'kind', kind, 'name', name, 'description', description, 'isStub', is_stub,
        'start', CASE WHEN start_year IS NOT NULL THEN json_build_object('year', start_year) END)
"""


def _influences(parent: str, first: int, further: str = "") -> str:
    return f"""
        json_build_object('edges', (
            SELECT coalesce(json_agg(json_build_object('type', type, 'confidence', confidence,
                'node', json_build_object('id', key, 'name', name {further})) ORDER BY type, source_id), '[]')
            FROM (
                SELECT source_id, type, confidence FROM influence WHERE target_id = {parent}
                ORDER BY type, source_id LIMIT {first}
            ) AS edge JOIN entity AS far_{first} ON far_{first}.id = edge.source_id
        ))
    """


STATEMENTS = {
    "entity": f"SELECT {_ENTITY}::text FROM entity WHERE key = $1",
    "page": f"""
        WITH page AS (SELECT * FROM ({read("page")["page"]}) AS page),
        kept AS (SELECT * FROM page ORDER BY id LIMIT $2 - 1)
        SELECT json_build_object(
            'edges', (SELECT json_agg(json_build_object('node', {_ENTITY}) ORDER BY id) FROM kept),
            'pageInfo', json_build_object('hasNextPage', (SELECT count(*) FROM page) = $2,
                'endCursor', (SELECT max(id)::text FROM kept)))::text
    """,
    "nested": f"""
        SELECT json_build_object('id', key, 'name', name,
            'influences', {_influences("entity.id", 20, ", 'influences', " + _influences("far_20.id", 5))})::text
        FROM entity WHERE key = $1
    """,
    "roadmap": f"""
        SELECT json_build_object('concept', json_build_object('id', key, 'name', name),
            'nodes', coalesce(nodes, '[]'), 'edges', coalesce(edges, '[]'), 'isTruncated', is_truncated)::text
        FROM ({read("roadmap")["roadmap"]}) AS roadmap
    """,
}
FIELDS = {"entity": b"entity", "page": b"entities", "nested": b"entity", "roadmap": b"roadmap"}
connections = Connections()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer POST /<shape> with {"variables": {...}}."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    shape = scope["path"][1:]
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message.get("more_body"):
            break
    async with connections.use() as statements:
        found = await statements[shape].fetchval(*ARGUMENTS[shape](orjson.loads(body)["variables"]))
    answer = b'{"data":{"%b":%b}}' % (FIELDS[shape], (found or "null").encode())
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
