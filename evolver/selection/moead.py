"""Steady-state MOEA/D with the Tchebycheff approach (Zhang and Li 2007, sections II.B and III).

Each slot has a weight vector and asks for the genome with the least Tchebycheff value under it. A child
is bred for a slot from parents of the slot's neighbourhood (slots with similar weights), and takes every
slot of that neighbourhood whose holder it beats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evolver.selection.base import Objectives, Population, Selection
from evolver.selection.slots import draw, fill_lowest_empty, hand_over, held_by_others

BEATEN = "lower Tchebycheff value"

_ZERO_WEIGHT = 1e-6
"""What a weight of zero counts as: else points that differ only in that objective would be equal."""

_ZERO_SPAN = 1e-30
"""A range up to this counts as none, and the objective stays unscaled."""


class MoeaD:
    """MOEA/D. The state is the ideal point: the least value of each objective over all feasible results;
    None before the first one.
    """

    name: str = "moead"

    def __init__(self, slots: int, objectives: int) -> None:
        self.slots = slots
        self.objectives = objectives
        self.weights = weight_vectors(slots, objectives)
        """Shape (slots, objectives); rows sum to 1."""
        self.neighbourhoods = neighbourhoods(self.weights)
        """Shape (slots, T): the slots near each slot, itself among them, in ascending order."""

    def initial_state(self) -> Mapping[str, Any]:
        return {"ideal": None}

    def insert(
        self,
        population: Population,
        state: Mapping[str, Any],
        genome_id: int,
        objectives: Objectives,
        slot: int,
        violation: float = 0.0,
    ) -> Selection:
        """The child takes all slots of the neighbourhood of ``slot`` whose holders it beats strictly.

        With a lesser violation it beats them, with a greater one not (Jain and Deb 2014, section II.C).
        Tchebycheff values of feasible ones are scaled by the ideal point, the child's included, and the
        nadir of the population before the child (the greatest value of each objective, of feasible
        holders).
        """
        if violation > 0.0:
            if not population.is_full:
                return fill_lowest_empty(population, state, genome_id, objectives, violation)
            near = self.neighbourhoods[slot]
            worse: list[int] = near[population.violations[near] > violation].tolist()
            return hand_over(population, state, worse, genome_id, objectives, violation, BEATEN)
        ideal = objectives if state["ideal"] is None else np.minimum(state["ideal"], objectives)
        new_state = {"ideal": ideal.tolist()}
        if not population.is_full:
            return fill_lowest_empty(population, new_state, genome_id, objectives, violation)
        beaten = self._beaten(population, ideal, objectives, slot)
        return hand_over(population, new_state, beaten, genome_id, objectives, violation, BEATEN)

    def _beaten(
        self, population: Population, ideal: Objectives, objectives: Objectives, slot: int
    ) -> list[int]:
        """The slots near ``slot`` whose holders a feasible child beats."""
        near = self.neighbourhoods[slot]
        is_feasible = population.violations == 0.0
        loses = ~is_feasible[near]
        if is_feasible.any():
            span = population.objectives[is_feasible].max(axis=0) - ideal
            factors = np.maximum(self.weights, _ZERO_WEIGHT) / np.where(span > _ZERO_SPAN, span, 1.0)
            held = (factors[near] * (population.objectives[near] - ideal)).max(axis=1)
            offered = (factors[near] * (objectives - ideal)).max(axis=1)
            loses |= offered < held
        beaten: list[int] = near[loses].tolist()
        return beaten

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int]:
        """Two slots of the neighbourhood of ``slot``, each drawn uniformly.

        The second is drawn among those that another genome holds; where one genome holds the whole
        neighbourhood, both parents are the same slot.
        """
        near: list[int] = self.neighbourhoods[slot].tolist()
        first = draw(near, rng)
        return first, draw(held_by_others(population, near, first) or [first], rng)


def weight_vectors(slots: int, objectives: int) -> NDArray[np.float64]:
    """Weights spread over the simplex, shape (slots, objectives); rows sum to 1.

    One objective: all ones. Two: evenly spaced. More: the least Das-Dennis lattice (1998) that has
    enough points and an inner one, thinned to ``slots`` points: its corners, then always the point
    farthest from those chosen. With fewer slots than objectives some corners are missing, and their
    objectives have no weight.
    """
    if objectives == 1:
        return np.ones((slots, 1))
    divisions = 1 if objectives == 2 else objectives
    while math.comb(divisions + objectives - 1, objectives - 1) < slots:
        divisions += 1
    return _thin(_lattice(divisions, objectives), slots) / divisions


def neighbourhoods(weights: NDArray[np.float64]) -> NDArray[np.int_]:
    """The T = min(N, max(2, N // 5)) slots with the nearest weights, shape (N, T), rows ascending.

    Euclidean distance; of equally distant slots the nearest number first, then the lower one. So
    with one objective, where all weights are equal, the neighbours are the adjacent slots.
    """
    slots = len(weights)
    size = min(slots, max(2, slots // 5))
    numbers = np.arange(slots)
    rows = []
    for slot in numbers:
        # Rounded: equal distances must not be told apart by the last bit.
        distances = np.linalg.norm(weights - weights[slot], axis=1).round(9)
        rows.append(np.sort(np.lexsort((np.abs(numbers - slot), distances))[:size]))
    return np.array(rows)


def _lattice(divisions: int, objectives: int) -> NDArray[np.int_]:
    """All vectors of ``objectives`` non-negative integers that sum to ``divisions``, in ascending order.

    Stars and bars: a vector is the gaps between ``objectives`` − 1 bars among ``divisions`` stars.
    """
    places = divisions + objectives - 1
    bars = np.array(list(combinations(range(places), objectives - 1)))
    gaps: NDArray[np.int_] = np.diff(bars, axis=1, prepend=-1, append=places) - 1
    return gaps


def _thin(lattice: NDArray[np.int_], size: int) -> NDArray[np.int_]:
    """``size`` points of the lattice: its corners, then greedily the farthest; in the lattice's order.

    Distances are of integers, so that ties are exact; the first of equals is taken.
    """
    corners = np.flatnonzero(lattice.max(axis=1) == lattice.sum(axis=1))[:size]
    chosen = corners.tolist()
    distances = np.min([((lattice - lattice[corner]) ** 2).sum(axis=1) for corner in chosen], axis=0)
    while len(chosen) < size:
        farthest = int(distances.argmax())
        chosen.append(farthest)
        distances = np.minimum(distances, ((lattice - lattice[farthest]) ** 2).sum(axis=1))
    thinned: NDArray[np.int_] = lattice[np.sort(chosen)]
    return thinned
