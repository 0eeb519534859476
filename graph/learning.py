"""What a set of prerequisites says about learning: an order, cycles, edges that say nothing new, and a drawing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import rustworkx

Edge = tuple[int, int]
"""A prerequisite, and what it is needed for: node ids."""

_ESCAPES = str.maketrans({character: f"#{ord(character)};" for character in '#"&<>`\\*_~[]$:'})
_LIST_MARKER = re.compile(r"^(\s*\d*)([-+.)])")


@dataclass(frozen=True, slots=True)
class LearningOrder:
    """Groups of nodes, prerequisites first, and the edges that other edges imply.

    A group of several nodes is a cycle: each of them is, directly or not, a prerequisite of every other.
    """

    groups: list[list[int]]
    redundant: frozenset[Edge]


def learning_order(ranks: Mapping[int, tuple[int, str]], edges: Sequence[Edge]) -> LearningOrder:
    """Order nodes so that every edge leads onward, except within a cycle.

    Where the edges leave it open, the greater first part of the rank (the depth) comes first, then the lesser second
    part (the name), then the lesser id: the same order every time. Edges must join nodes of `ranks`.
    """
    graph: rustworkx.PyDiGraph[int, None] = rustworkx.PyDiGraph()
    ids = sorted(ranks)
    index_of = dict(zip(ids, graph.add_nodes_from(ids), strict=True))
    graph.add_edges_from_no_data([(index_of[source], index_of[target]) for source, target in edges])
    groups = [
        sorted((graph[index] for index in component), key=lambda node: _sort_key(ranks[node], node))
        for component in rustworkx.strongly_connected_components(graph)
    ]
    condensed, group_of = _condense(groups, edges)
    order = rustworkx.lexicographical_topological_sort(condensed, lambda group: _sort_key(ranks[group[0]], group[0]))
    return LearningOrder(list(order), _implied(condensed, group_of, edges))


def _sort_key(rank: tuple[int, str], node: int) -> str:
    depth, name = rank
    return f"{999 - depth:03d} {name} {node:020d}"


def _condense(
    groups: list[list[int]], edges: Sequence[Edge]
) -> tuple["rustworkx.PyDiGraph[list[int], None]", dict[int, int]]:
    condensed: rustworkx.PyDiGraph[list[int], None] = rustworkx.PyDiGraph()
    indices = condensed.add_nodes_from(groups)
    group_of = {node: index for index, group in zip(indices, groups, strict=True) for node in group}
    between = {(group_of[source], group_of[target]) for source, target in edges}
    condensed.add_edges_from_no_data(sorted((source, target) for source, target in between if source != target))
    return condensed, group_of


def _implied(
    condensed: "rustworkx.PyDiGraph[list[int], None]", group_of: Mapping[int, int], edges: Sequence[Edge]
) -> frozenset[Edge]:
    reduced, new_index = rustworkx.transitive_reduction(condensed)
    kept = set(reduced.edge_list())
    return frozenset(
        (source, target)
        for source, target in edges
        if group_of[source] != group_of[target]
        and (new_index[group_of[source]], new_index[group_of[target]]) not in kept
    )


def mermaid(names: Mapping[int, str], goal: int, edges: Iterable[Edge]) -> str:
    """Draw a flowchart that Mermaid reads as it is; arrows lead from a prerequisite to what needs it."""
    numbers = {node: number for number, node in enumerate(names)}
    lines = ["flowchart TD"]
    lines += [f'    n{numbers[node]}["{escape_label(name)}"]' for node, name in names.items()]
    lines += [f"    n{numbers[source]} --> n{numbers[target]}" for source, target in edges]
    lines += ["    classDef goal stroke-width:3px", f"    class n{numbers[goal]} goal"]
    return "\n".join(lines) + "\n"


def escape_label(name: str) -> str:
    """Write a name so that nothing in it is Mermaid's syntax, Markdown or HTML."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    escaped = printable.translate(_ESCAPES)
    return _LIST_MARKER.sub(lambda marker: f"{marker[1]}#{ord(marker[2])};", escaped) or " "
