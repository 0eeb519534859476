from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.learning import Edge, escape_label, learning_order, mermaid

nodes = st.integers(0, 9)
graphs = st.lists(st.tuples(nodes, nodes).filter(lambda edge: edge[0] != edge[1]), unique=True, max_size=30)


def ranks(edges: list[Edge]) -> dict[int, tuple[int, str]]:
    return {node: (node % 3, f"name {node}") for node in sorted({node for edge in edges for node in edge})}


def reachable(edges: list[Edge], start: int) -> set[int]:
    seen: set[int] = set()
    frontier = {start}
    while frontier:
        frontier = {target for source, target in edges if source in frontier} - seen
        seen |= frontier
    return seen


@given(graphs)
def test_learning_order_puts_prerequisites_first(edges: list[Edge]) -> None:
    groups = learning_order(ranks(edges), edges).groups
    position = {node: number for number, group in enumerate(groups) for node in group}
    assert sorted(position) == sorted(ranks(edges))
    assert sum(map(len, groups)) == len(position)
    assert all(position[source] <= position[target] for source, target in edges)


@given(graphs)
def test_learning_order_groups_exactly_the_cycles(edges: list[Edge]) -> None:
    for group in learning_order(ranks(edges), edges).groups:
        for first in ranks(edges):
            is_same = first == group[0] or (group[0] in reachable(edges, first) and first in reachable(edges, group[0]))
            assert (first in group) is is_same


@given(graphs)
def test_redundant_edges_are_those_that_others_imply(edges: list[Edge]) -> None:
    redundant = learning_order(ranks(edges), edges).redundant
    kept = [edge for edge in edges if edge not in redundant]
    assert all(reachable(kept, node) == reachable(edges, node) for node in ranks(edges))
    for source, target in redundant:
        assert source not in reachable(edges, target)


@given(graphs, st.randoms())
def test_learning_order_is_the_same_however_edges_come(edges: list[Edge], chance: object) -> None:
    shuffled = list(edges)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert learning_order(ranks(edges), edges) == learning_order(ranks(edges), shuffled)


def test_learning_order_leaves_no_direct_way_beside_a_longer_one() -> None:
    order = learning_order({1: (0, "goal"), 2: (1, "b"), 3: (1, "a")}, [(3, 2), (2, 1), (3, 1)])
    assert order.groups == [[3], [2], [1]]
    assert order.redundant == {(3, 1)}


def test_learning_order_breaks_ties_by_depth_name_and_id() -> None:
    free = {5: (0, "goal"), 4: (1, "b"), 3: (1, "a"), 2: (1, "a"), 1: (2, "z")}
    assert learning_order(free, []).groups == [[1], [2], [3], [4], [5]]


def test_mermaid_draws_nodes_and_edges() -> None:
    drawing = mermaid({7: "the goal", 8: "first"}, 7, [(8, 7)])
    assert drawing.splitlines() == [
        "flowchart TD",
        '    n0["the goal"]',
        '    n1["first"]',
        "    n1 --> n0",
        "    classDef goal stroke-width:3px",
        "    class n0 goal",
    ]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ('say "hi"', "say #34;hi#34;"),
        ("a < b & c > d", "a #60; b #38; c #62; d"),
        ("C# `code`", "C#35; #96;code#96;"),
        ("1. first", "1#46; first"),
        ("- item", "#45; item"),
        ("A* [search]", "A#42; #91;search#93;"),
        ("two\nlines\x00", "two lines "),
        ("", " "),
        ("Gödel's 不完全性", "Gödel's 不完全性"),
    ],
)
def test_mermaid_labels_hold_no_syntax(name: str, label: str) -> None:
    assert escape_label(name) == label


@given(st.lists(st.text(max_size=20), min_size=2, max_size=6))
def test_mermaid_has_a_line_for_each_node_and_edge(names: list[str]) -> None:
    drawing = mermaid(dict(enumerate(names)), 0, list(pairwise(range(len(names)))))
    assert len(drawing.splitlines()) == 3 + len(names) + len(names) - 1
