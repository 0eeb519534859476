import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from sqlalchemy import BigInteger, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine

from db import traversal
from db.models.atlas import Dataset, Influence, Kind, RelationshipType
from db.models.base import Base
from db.models.operations import EtlRun
from db.reading import ReadSession
from db.session import read_engine, write_engine
from db.traversal import Cut, LinkRows, Links, PathLimitError, Walk, edges_among, shortest_path, walk
from tests.conftest import Clone
from tests.small_graph import TERMS

GRAPHS = 40
NODES = 12
TYPES = [RelationshipType.INFLUENCED, RelationshipType.TAUGHT]

Edge = tuple[int, RelationshipType, int]


def random_edges(number: int) -> list[Edge]:
    """Make a graph with cycles, in its own range of ids; the lower its number, the sparser it is."""
    chance = random.Random(number)
    base = number * 100 + 1
    pairs = {(chance.randrange(NODES), chance.randrange(NODES)) for _ in range(number)}
    return [(base + a, chance.choice(TYPES), base + b) for a, b in sorted(pairs) if a != b]


@pytest.fixture(scope="module")
async def graphs(clone: Clone, migrated: str) -> AsyncIterator[AsyncEngine]:
    """A database with GRAPHS random graphs."""
    url = await asyncio.to_thread(clone, migrated)
    writing = write_engine(url)
    await _load(writing)
    await writing.dispose()
    engine = read_engine(url, 2, 10)
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(graphs: AsyncEngine) -> AsyncIterator[ReadSession]:
    session = ReadSession(graphs)
    yield session
    await session.close()


async def _load(engine: AsyncEngine) -> None:
    entity = {"kind": Kind.AGENT, "is_stub": True, "dataset": "test", "run_id": 1}
    edge = {"confidence": 0.5, "is_derived": False, "provenance": {}, "run_id": 1}
    async with engine.begin() as connection:
        await connection.execute(insert(EtlRun), {"source": "test", "params": {}, "status": "DONE"})
        await connection.execute(insert(Dataset), {"name": "test", "licence_url": "", **TERMS})
        ids = [graph * 100 + 1 + node for graph in range(GRAPHS) for node in range(NODES)]
        entities = [entity | {"id": i, "key": f"Q{i}"} for i in ids]
        await connection.execute(insert(Base.metadata.tables["entity"]), entities)
        rows = [
            {"source_id": source, "type": edge_type, "target_id": target, **edge}
            for graph in range(GRAPHS)
            for source, edge_type, target in random_edges(graph)
        ]
        await connection.execute(insert(Influence), rows)


def expected_depths(edges: list[Edge], start: int, types: list[RelationshipType], *, backward: bool) -> dict[int, int]:
    """Walk breadth first in Python."""
    steps = [(b, a) if backward else (a, b) for a, edge_type, b in edges if edge_type in types]
    depths, frontier, depth = {start: 0}, {start}, 0
    while frontier:
        depth += 1
        frontier = {far for near, far in steps if near in frontier} - depths.keys()
        depths |= dict.fromkeys(frontier, depth)
    del depths[start]
    return dict(sorted(depths.items(), key=lambda item: (item[1], item[0])))


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("types", [TYPES, TYPES[:1]])
async def test_walk_reaches_each_node_once_at_its_smallest_depth(
    session: ReadSession, types: list[RelationshipType], backward: bool
) -> None:
    for graph in range(GRAPHS):
        start = graph * 100 + 1
        found = await walk(session, start, types, backward=backward, max_depth=32, first=100)
        expected = expected_depths(random_edges(graph), start, types, backward=backward)
        assert list(found.depths.items()) == list(expected.items())
        assert found.cuts == ()


@pytest.mark.parametrize("max_depth", [0, 1, 2, 5])
@pytest.mark.parametrize("first", [0, 1, 4, 11])
async def test_walk_within_bounds_is_the_beginning_and_says_so(
    session: ReadSession, max_depth: int, first: int
) -> None:
    for graph in range(GRAPHS):
        start = graph * 100 + 1
        full = expected_depths(random_edges(graph), start, TYPES, backward=False)
        inside = {node: depth for node, depth in full.items() if depth <= max_depth}
        cuts = [Cut.FIRST] if len(inside) > first else [Cut.MAX_DEPTH] if len(full) > len(inside) else []
        found = await walk(session, start, TYPES, backward=False, max_depth=max_depth, first=first)
        assert found == Walk(dict(list(inside.items())[:first]), tuple(cuts))


async def test_walk_from_an_unknown_node_reaches_nothing(session: ReadSession) -> None:
    assert await walk(session, 99_999, TYPES, backward=True, max_depth=5, first=5) == Walk({}, ())


@pytest.mark.parametrize("types", [TYPES, TYPES[:1]])
async def test_path_is_a_shortest_one(session: ReadSession, types: list[RelationshipType]) -> None:
    for graph in range(0, GRAPHS, 3):
        edges = random_edges(graph)
        steps = {(source, target) for source, edge_type, target in edges if edge_type in types}
        start = graph * 100 + 1
        depths = expected_depths(edges, start, types, backward=False)
        for goal in range(start + 1, start + NODES):
            path = await shortest_path(session, start, goal, types, 32)
            if goal not in depths:
                assert path is None
                continue
            assert path is not None
            assert (path[0], path[-1], len(path) - 1) == (start, goal, depths[goal])
            assert all(step in steps for step in pairwise(path))
            assert await shortest_path(session, start, goal, types, depths[goal]) == path
            assert await shortest_path(session, start, goal, types, depths[goal] - 1) is None


async def test_path_from_a_node_to_itself_is_that_node(session: ReadSession) -> None:
    assert await shortest_path(session, 1, 1, TYPES, 5) == [1]


async def test_path_gives_up_beyond_its_bound(session: ReadSession, monkeypatch: pytest.MonkeyPatch) -> None:
    start = (GRAPHS - 1) * 100 + 1
    monkeypatch.setattr(traversal, "MAX_PATH_NODES", 3)
    with pytest.raises(PathLimitError, match="first 3 entities"):
        await shortest_path(session, start, 1, TYPES, 32)


async def test_edges_among_nodes_are_all_and_only_those(session: ReadSession) -> None:
    edges = random_edges(GRAPHS - 1)
    nodes = {node for source, _, target in edges[::2] for node in (source, target)}
    found, has_more = await edges_among(session, list(nodes), TYPES[:1])
    expected = {edge for edge in edges if edge[0] in nodes and edge[2] in nodes and edge[1] is TYPES[0]}
    assert {(edge.source_id, edge.type, edge.target_id) for edge in found} == expected
    assert not has_more


async def test_edges_beyond_the_bound_are_told(session: ReadSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traversal, "MAX_EDGES", 2)
    nodes = range((GRAPHS - 1) * 100, GRAPHS * 100)
    found, has_more = await edges_among(session, nodes, TYPES)
    assert (len(found), has_more) == (2, True)


@pytest.mark.parametrize(("kind", "share"), [(None, 1), (Kind.AGENT, 1), (Kind.WORK, 0)])
async def test_links_are_the_edges_with_both_ends(session: ReadSession, kind: Kind | None, share: int) -> None:
    edges = random_edges(GRAPHS - 1)
    nodes = sorted({node for source, _, target in edges for node in (source, target)})[:8]
    among = [(one, way, two) for one, way, two in edges if {one, two} <= set(nodes) and way is TYPES[0]]
    expected = [(f"Q{one}", way, f"Q{two}") for one, way, two in sorted(among, key=lambda edge: edge[::-1])] * share
    # More end at the nodes than begin at them, too: to count those is not enough.
    for most in (len(among) - 1, len(among)):
        links = LinkRows({"all_ids": literal(nodes, ARRAY(BigInteger))}, Links(TYPES[0], kind), most)
        rows = await session.rows(links.select(["source_key", "type", "target_key"]))
        assert [tuple(row) for row in rows] == expected[:most]
        assert await session.scalar(select(links.has_more())) is (len(expected) > most)
