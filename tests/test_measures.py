from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.measures import DAMPING, PREREQUISITE, TYPES, Graph, Measures, measure

Edge = tuple[int, int, int]
"""A source's and a target's number, and a type's."""

IDS = (17, 5, 4611686018427387904, 99, 3, 1234, 868, 42)
EDGES = st.sets(
    st.tuples(
        st.integers(0, 7), st.integers(0, 7), st.sampled_from([PREREQUISITE, PREREQUISITE, 0, len(TYPES) - 1])
    ).filter(lambda edge: edge[0] != edge[1]),
    max_size=24,
).map(sorted)


def measured(edges: list[Edge], size: int = len(IDS)) -> tuple[Graph, Measures]:
    ids = np.array(IDS[:size], np.int64)
    columns = np.array(edges, np.int64).reshape(-1, 3)
    graph = Graph.build(ids, ids[columns[:, 0]], columns[:, 2], ids[columns[:, 1]])
    return graph, measure(graph)


def test_edge_given_again_is_one() -> None:
    edges: list[Edge] = [(2, 1, 0), (0, 1, 3), (0, 1, 0)]
    assert measured(edges + edges)[0].fingerprint() == measured(edges)[0].fingerprint()


def prerequisites(edges: list[Edge]) -> dict[int, set[int]]:
    """Map each entity that has a prerequisite edge to what it needs directly, by internal ids."""
    found: dict[int, set[int]] = {}
    for source, target, edge_type in edges:
        if edge_type == PREREQUISITE:
            found.setdefault(IDS[source], set())
            found.setdefault(IDS[target], set()).add(IDS[source])
    return found


def reach(start: int, needed: dict[int, set[int]]) -> set[int]:
    found, frontier = set[int](), set(needed[start])
    while frontier:
        found |= frontier
        frontier = {near for node in frontier for near in needed[node]} - found
    return found


def brute_levels(needed: dict[int, set[int]]) -> dict[int, int]:
    """Walk every chain of groups: exponential, and without any algorithm of a library."""
    reached = {node: reach(node, needed) for node in needed}
    groups = {node: frozenset({node} | {other for other in reached[node] if node in reached[other]}) for node in needed}

    def level(group: frozenset[int]) -> int:
        below = {groups[near] for node in group for near in needed[node]} - {group}
        return max((level(lower) + 1 for lower in below), default=0)

    return {node: level(group) for node, group in groups.items()}


@given(EDGES)
@settings(deadline=None)
def test_levels_are_the_longest_chains(edges: list[Edge]) -> None:
    graph, found = measured(edges)
    expected = brute_levels(prerequisites(edges))
    assert found.levels.tolist() == [expected.get(node, -1) for node in graph.ids.tolist()]


@given(EDGES)
@settings(deadline=None)
def test_cycles_are_what_needs_itself(edges: list[Edge]) -> None:
    graph, found = measured(edges)
    needed = prerequisites(edges)
    reached = {node: reach(node, needed) for node in needed}
    expected = {
        tuple(sorted(other for other in reached[node] if node in reached[other]))
        for node in needed
        if node in reached[node]
    }
    ids = graph.ids.tolist()
    assert {tuple(ids[position] for position in cycle) for cycle in found.cycles} == expected
    sizes = [len(cycle) for cycle in found.cycles]
    assert sizes == sorted(sizes, reverse=True)
    for position, first in enumerate(found.cycle_of.tolist()):
        assert [first] == [cycle[0] for cycle in found.cycles if position in cycle] or first == -1


@given(EDGES)
@settings(deadline=None)
def test_degrees_are_counted_by_type(edges: list[Edge]) -> None:
    graph, found = measured(edges)
    incoming = Counter((IDS[target], edge_type) for _, target, edge_type in edges)
    outgoing = Counter((IDS[source], edge_type) for source, _, edge_type in edges)
    for position, node in enumerate(graph.ids.tolist()):
        for edge_type in range(len(TYPES)):
            assert found.incoming[position, edge_type] == incoming[node, edge_type]
            assert found.outgoing[position, edge_type] == outgoing[node, edge_type]


@given(EDGES)
@settings(deadline=None)
def test_page_rank_is_that_of_direct_iteration(edges: list[Edge]) -> None:
    graph, found = measured(edges)
    size = len(IDS)
    later: dict[int, list[int]] = {}
    for source, target, _ in edges:
        later.setdefault(IDS[target], []).append(IDS[source])
    ranks = dict.fromkeys(IDS, 1.0)
    for _ in range(300):
        lost = sum(rank for node, rank in ranks.items() if node not in later)
        new = dict.fromkeys(IDS, 1 - DAMPING + DAMPING * lost / size)
        for node, earlier in later.items():
            for near in earlier:
                new[near] += DAMPING * ranks[node] / len(earlier)
        ranks = new
    assert found.page_ranks == pytest.approx([ranks[node] for node in graph.ids.tolist()], rel=1e-6)
    assert found.page_ranks.sum() == pytest.approx(size)


def test_page_rank_favours_what_led_to_much() -> None:
    graph, found = measured([(0, 1, 0), (1, 2, 0), (1, 3, 0), (1, 4, 0)], size=5)
    ranks = dict(zip(graph.ids.tolist(), found.page_ranks.tolist(), strict=True))
    assert ranks[IDS[0]] > ranks[IDS[1]] > ranks[IDS[2]] == ranks[IDS[3]]


def test_components_are_counted_over_all_types() -> None:
    _, found = measured([(0, 1, 0), (2, 1, PREREQUISITE), (3, 4, 5)])
    assert (found.component_sizes, found.unconnected) == ([3, 2], 3)


def test_long_chain_and_long_cycle_need_no_deep_stack() -> None:
    ids = np.arange(200_000)
    chain = measure(Graph.build(ids, ids[:-1], np.full(len(ids) - 1, PREREQUISITE), ids[1:]))
    assert chain.levels.max() == len(ids) - 1
    cycle = measure(Graph.build(ids, ids, np.full(len(ids), PREREQUISITE), np.roll(ids, -1)))
    assert (cycle.levels.max(), len(cycle.cycles[0])) == (0, len(ids))


@given(EDGES, st.randoms())
@settings(deadline=None)
def test_fingerprint_is_of_the_set_of_edges(edges: list[Edge], random: Random) -> None:
    shuffled = list(edges)
    random.shuffle(shuffled)
    fingerprint = measured(edges)[0].fingerprint()
    assert measured(shuffled)[0].fingerprint() == fingerprint
    if edges:
        assert measured(edges[1:])[0].fingerprint() != fingerprint
        (source, target, edge_type), *rest = edges
        turned = (target, source, edge_type)
        assert turned in rest or measured([turned, *rest])[0].fingerprint() != fingerprint


def test_nothing_has_no_measures() -> None:
    _, found = measured([], size=0)
    assert (len(found.page_ranks), found.cycles, found.component_sizes, found.unconnected) == (0, [], [], 0)
