"""What is asked: the shapes, as each system's queries, and one form of their answers to compare them in."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Sample = dict[str, Any]
"""The variables of one request, with "row_id" in place of a cursor."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of request. `read` brings PostGraphile's answers into the form of ours."""

    name: str
    title: str
    query: str
    postgraphile: str
    read: Callable[[Any], Any]
    page: str | None = None
    """The field of a page in the form of ours, where a cursor is among the variables."""


def _entity(found: Any) -> Any:
    names = {"key": "id", "kind": "kind", "name": "name", "description": "description", "isStub": "isStub"}
    entity = {ours: found[theirs] for theirs, ours in names.items() if theirs in found}
    if "startYear" in found:
        entity["start"] = None if found["startYear"] is None else {"year": int(found["startYear"])}
    if "influencesByTargetId" in found:
        entity["influences"] = {"edges": [_edge(edge) for edge in found["influencesByTargetId"]["nodes"]]}
    return entity


def _edge(found: Any) -> Any:
    return {"type": found["type"], "confidence": found["confidence"], "node": _entity(found["entityBySourceId"])}


def _page(found: Any) -> Any:
    page = found["allEntities"]
    return {"entities": {"edges": [{"node": _entity(node)} for node in page["nodes"]], "pageInfo": page["pageInfo"]}}


def _data(found: Any) -> Any:
    page = found["allRecords"]
    nodes = [{"sourceId": node.pop("externalId"), **node} for node in page["nodes"]]
    return {"data": {"edges": [{"node": node} for node in nodes], "pageInfo": page["pageInfo"]}}


def _roadmap(found: Any) -> Any:
    roadmap = found["benchRoadmap"]
    return {
        "roadmap": {
            "concept": _entity({name: roadmap[name] for name in ("key", "name")}),
            "nodes": [{"depth": node["depth"], "concept": _entity(node)} for node in roadmap["nodes"]],
            "edges": [
                edge | {"source": {"id": edge["source"]}, "target": {"id": edge["target"]}} for edge in roadmap["edges"]
            ],
            "isTruncated": roadmap["isTruncated"],
        }
    }


def _one(found: Any) -> Any:
    return {"entity": _entity(found["entityByKey"])}


ENTITY = Shape(
    "entity",
    "an entity by id, 6 fields",
    "query($id: ID!) { entity(id: $id) { id kind name description isStub start { year } } }",
    "query($id: String!) { entityByKey(key: $id) { key kind name description isStub startYear } }",
    _one,
)
PAGE = Shape(
    "page",
    "a page of 100 entities, 6 fields each",
    "query($after: String) { entities(orderBy: ID_ASC, first: 100, after: $after) {"
    " edges { node { id kind name description isStub start { year } } } pageInfo { hasNextPage endCursor } } }",
    "query($after: Cursor) { allEntities(orderBy: [ROW_ID_ASC], first: 100, after: $after) {"
    " nodes { key kind name description isStub startYear } pageInfo { hasNextPage endCursor } } }",
    _page,
    page="entities",
)
NESTED = Shape(
    "nested",
    "an entity, 20 influences, 5 influences of each",
    "query($id: ID!) { entity(id: $id) { id name influences(first: 20) { edges { type confidence node { id name"
    " influences(first: 5) { edges { type confidence node { id name } } } } } } } }",
    "query($id: String!) { entityByKey(key: $id) { key name"
    " influencesByTargetId(first: 20, orderBy: [TYPE_ASC, SOURCE_ID_ASC]) { nodes { type confidence"
    " entityBySourceId { key name influencesByTargetId(first: 5, orderBy: [TYPE_ASC, SOURCE_ID_ASC]) {"
    " nodes { type confidence entityBySourceId { key name } } } } } } } }",
    _one,
)
ROADMAP = Shape(
    "roadmap",
    "a roadmap of about 200 concepts, with edges",
    "query($id: ID!, $depth: Int!) { roadmap(conceptId: $id, maxDepth: $depth, first: 1000) { concept { id name }"
    " nodes { depth concept { id name } } edges { source { id } target { id } type confidence } isTruncated } }",
    "query($id: String!, $depth: Int!) { benchRoadmap(conceptKey: $id, maxDepth: $depth, first: 1000) { key name"
    " nodes { depth key name } edges { source target type confidence } isTruncated } }",
    _roadmap,
)
DATA = Shape(
    "data",
    "a page of 50 records, with their JSON",
    "query($after: String) { data(first: 50, after: $after) {"
    " edges { node { sourceId title value createdAt attributes } } pageInfo { hasNextPage endCursor } } }",
    "query($after: Cursor) { allRecords(orderBy: [PRIMARY_KEY_ASC], first: 50, after: $after) {"
    " nodes { externalId title value createdAt attributes } pageInfo { hasNextPage endCursor } } }",
    _data,
    page="data",
)
SHAPES = {shape.name: shape for shape in (ENTITY, PAGE, NESTED, ROADMAP, DATA)}


def canonical(value: Any) -> Any:
    """Return an answer without what may differ: how cursors and times are written, and digits a REAL does not have."""
    if isinstance(value, dict):
        return {name: _FORMS.get(name, canonical)(item) for name, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


_FORMS: dict[str, Callable[[Any], Any]] = {
    "endCursor": lambda cursor: cursor is not None,
    "createdAt": lambda time: time and datetime.fromisoformat(time).timestamp(),
}


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Tell the first place where two answers differ; None when they are equal."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((found for name in one if (found := difference(one[name], other[name], f"{path}.{name}"))), None)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for at, pair in pairs if (found := difference(*pair, f"{path}[{at}]"))), None)
    return None if one == other else f"{path}: {str(one)[:300]} is not {str(other)[:300]}"


def moved(cursor: str, row_id: str, target: str) -> str:
    """Return a cursor of the row `row_id` as one of another; both APIs that have cursors write base64 of JSON."""
    padded = cursor + "=" * (-len(cursor) % 4)
    head, found, tail = base64.urlsafe_b64decode(padded).decode().rpartition(row_id)
    if not found:
        raise ValueError(f"the cursor {cursor} does not hold the id {row_id}")
    return base64.urlsafe_b64encode(f"{head}{target}{tail}".encode()).rstrip(b"=").decode()
