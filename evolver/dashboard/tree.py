"""Where the genomes of a lineage are drawn: in layers, every genome above its parents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolver.store.kin import Relative

STEP_X, STEP_Y, MARGIN = 58, 74, 34
SWEEPS = 4
"""How often the order within layers is improved."""


@dataclass(frozen=True, slots=True)
class Node:
    """A genome, at (x, y)."""

    relative: Relative
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """From a parent to its child, bred by ``operator``."""

    parent: Node
    child: Node
    operator: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A lineage, drawn; ``width`` and ``height`` hold all of it."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float


def layout(relatives: Sequence[Relative]) -> Tree:
    """Place relatives, of whom each id occurs once; parents that are not among them are left out."""
    by_id = {one.genome_id: one for one in relatives}
    layers = _layers(by_id)
    _order(layers, by_id)
    widest = max((len(layer) for layer in layers), default=1)
    placed: dict[int, Node] = {}
    for depth, layer in enumerate(layers):
        left = MARGIN + (widest - len(layer)) * STEP_X / 2
        for place, key in enumerate(layer):
            placed[key] = Node(by_id[key], left + place * STEP_X, MARGIN + depth * STEP_Y)
    edges = tuple(
        Edge(placed[parent], placed[key], by_id[key].operator)
        for key in placed
        for parent in dict.fromkeys(by_id[key].parent_ids)
        if parent in placed
    )
    width = 2 * MARGIN + (widest - 1) * STEP_X
    return Tree(tuple(placed.values()), edges, width, 2 * MARGIN + (len(layers) - 1) * STEP_Y)


def _layers(by_id: Mapping[int, Relative]) -> list[list[int]]:
    """Ids by layer: a genome is one below the lowest of its children. Parents have smaller ids."""
    depth = dict.fromkeys(by_id, 0)
    for key in sorted(by_id, reverse=True):
        for parent in by_id[key].parent_ids:
            if parent in depth:
                depth[parent] = max(depth[parent], depth[key] + 1)
    layers: list[list[int]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for key in sorted(by_id):
        layers[depth[key]].append(key)
    return layers


def _order(layers: list[list[int]], by_id: Mapping[int, Relative]) -> None:
    """Bring relatives near each other: each to the mean place of its neighbours (Sugiyama et al. 1981)."""
    neighbours: dict[int, set[int]] = {key: set() for key in by_id}
    for key, one in by_id.items():
        for parent in one.parent_ids:
            if parent in by_id:
                neighbours[key].add(parent)
                neighbours[parent].add(key)
    for _ in range(SWEEPS):
        places = {key: i / max(1, len(layer)) for layer in layers for i, key in enumerate(layer)}
        for layer in layers:
            layer.sort(key=lambda key: (_mean([places[n] for n in neighbours[key]], places[key]), key))
            places.update({key: i / max(1, len(layer)) for i, key in enumerate(layer)})


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
