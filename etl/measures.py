"""What the shape of the whole graph says about each entity: degrees, level, PageRank, cycles and components.

Pure and in memory: entities are positions 0 … n-1, edges are arrays of positions. One million entities and five
million edges take what `benchmarks/measures.py` prints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import rustworkx
from numpy.typing import NDArray

from db.models.atlas import RelationshipType

Positions = NDArray[np.int64]

TYPES = tuple(RelationshipType)
PREREQUISITE = TYPES.index(RelationshipType.PREREQUISITE_FOR)

DAMPING = 0.85
PAGE_RANK_ERROR = 1e-9
"""The iteration ends when all ranks together, whose sum is 1, change by less: after about 130 rounds at 0.85."""
MAX_ROUNDS = 500

CHUNK_EDGES = 200_000
"""Edges become Python's tuples so many at a time: all five million at once would take 700 MB."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Entities by ascending internal id, and edges between their positions, sorted; `types` index TYPES."""

    ids: Positions
    sources: Positions
    types: Positions
    targets: Positions

    @classmethod
    def build(cls, ids: Positions, source_ids: Positions, types: Positions, target_ids: Positions) -> "Graph":
        """Make the graph of edges in any order, some perhaps given again; each must join two of the ids."""
        ids = np.sort(ids)
        size = max(len(ids), 1)
        # One number an edge sorts ten times as fast as three columns.
        edges = (np.searchsorted(ids, source_ids) * len(TYPES) + types) * size + np.searchsorted(ids, target_ids)
        edges.sort()
        edges = edges[np.diff(edges, prepend=-1) > 0]
        pairs, targets = np.divmod(edges, size)
        sources, sorted_types = np.divmod(pairs, len(TYPES))
        return cls(ids, sources, sorted_types, targets)

    def fingerprint(self) -> str:
        """Return the same text for the same entities and edges, and for no others."""
        digest = blake2b(digest_size=16)
        for array in (self.ids, self.sources, self.types, self.targets):
            digest.update(array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures by position; -1 stands for no level and no cycle.

    `incoming` and `outgoing` have a column a type. A cycle is named by its first position; `cycles` holds the
    positions of each, ascending, the largest cycles first. Components are of two entities or more, their sizes
    descending; `unconnected` counts the entities without any edge.
    """

    incoming: Positions
    outgoing: Positions
    levels: Positions
    page_ranks: NDArray[np.float64]
    cycle_of: Positions
    cycles: Sequence[Sequence[int]]
    component_sizes: Sequence[int]
    unconnected: int


def measure(graph: Graph) -> Measures:
    """Compute all measures."""
    size = len(graph.ids)
    outgoing = _degrees(size, graph.sources, graph.types)
    incoming = _degrees(size, graph.targets, graph.types)
    whole = _directed(size, graph.targets, graph.sources)
    component_sizes = sorted((len(members) for members in rustworkx.weakly_connected_components(whole)), reverse=True)
    connected = [members for members in component_sizes if members > 1]
    page_ranks = _page_ranks(whole)
    del whole
    levels, cycle_of, cycles = _levels(graph)
    unconnected = len(component_sizes) - len(connected)
    return Measures(incoming, outgoing, levels, page_ranks, cycle_of, cycles, connected, unconnected)


def _degrees(size: int, ends: Positions, types: Positions) -> Positions:
    counts = np.bincount(ends * len(TYPES) + types, minlength=size * len(TYPES))
    return counts.reshape(size, len(TYPES)).astype(np.int64, copy=False)


def _directed(size: int, tails: Positions, heads: Positions) -> "rustworkx.PyDiGraph[None, None]":
    graph: rustworkx.PyDiGraph[None, None] = rustworkx.PyDiGraph()
    graph.add_nodes_from([None] * size)
    for start in range(0, len(tails), CHUNK_EDGES):
        chunk = slice(start, start + CHUNK_EDGES)
        graph.add_edges_from_no_data(list(zip(tails[chunk].tolist(), heads[chunk].tolist(), strict=True)))
    return graph


def _page_ranks(backward: "rustworkx.PyDiGraph[None, None]") -> NDArray[np.float64]:
    """Rank by where a reader ends up who keeps asking "what led to this?": 1 is the average.

    Edges lead from the later to the earlier side, so rank gathers in what led to much. At each step the reader
    follows one of the edges, each as likely, or with probability 1 - DAMPING, or where there is none, goes on
    anywhere. Edges of several types between two entities count as often.
    """
    size = backward.num_nodes()
    if size == 0:
        return np.zeros(0)
    # rustworkx multiplies its tolerance by the number of nodes, as NetworkX does.
    found = rustworkx.pagerank(backward, alpha=DAMPING, tol=PAGE_RANK_ERROR / size, max_iter=MAX_ROUNDS)
    return np.fromiter(found.values(), np.float64, size) * size


def _levels(graph: Graph) -> tuple[Positions, Positions, list[list[int]]]:
    """Return levels, cycles by position, and the cycles, all over the prerequisites alone.

    A level is the length of the longest chain of prerequisites below, where the members of a cycle count as one.
    """
    size = len(graph.ids)
    is_prerequisite = graph.types == PREREQUISITE
    sources, targets = graph.sources[is_prerequisite], graph.targets[is_prerequisite]
    nodes = np.union1d(sources, targets)
    tails, heads = np.searchsorted(nodes, sources), np.searchsorted(nodes, targets)
    components = rustworkx.strongly_connected_components(_directed(len(nodes), tails, heads))
    component_of = np.zeros(len(nodes), np.int64)
    for number, members in enumerate(components):
        component_of[members] = number
    levels, cycle_of = np.full(size, -1), np.full(size, -1)
    levels[nodes] = _heights(len(components), component_of[tails], component_of[heads])[component_of]
    cycles = [sorted(nodes[members].tolist()) for members in components if len(members) > 1]
    cycles.sort(key=lambda members: (-len(members), members))
    for cycle in cycles:
        cycle_of[cycle] = cycle[0]
    return levels, cycle_of, cycles


def _heights(size: int, tails: Positions, heads: Positions) -> Positions:
    """Return for each node of an acyclic graph, its loops left out, the length of the longest path to it."""
    heights = np.zeros(size, np.int64)
    between = tails != heads
    edges = np.unique(tails[between] * max(size, 1) + heads[between])
    acyclic = _directed(size, *np.divmod(edges, max(size, 1)))
    for height, generation in enumerate(rustworkx.topological_generations(acyclic)):
        heights[generation] = height
    return heights
