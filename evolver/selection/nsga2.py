"""Steady-state NSGA-II (Deb et al. 2002; one child at a time as in Durillo et al. 2009).

The newcomer joins the population, and the worst of all leaves: the highest non-dominated rank first,
and within that rank the least crowding distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evolver.selection import pareto
from evolver.selection.base import Objectives, Population, Selection
from evolver.selection.slots import draw, fill_lowest_empty, hand_over, held_by_others

WORST = "worst rank, then least crowding distance"


class Nsga2:
    """NSGA-II. It needs no state, and a child may take any slot."""

    name: str = "nsga2"

    def __init__(self, slots: int, objectives: int) -> None:
        self.slots = slots
        self.objectives = objectives

    def initial_state(self) -> Mapping[str, Any]:
        return {}

    def insert(
        self,
        population: Population,
        state: Mapping[str, Any],
        genome_id: int,
        objectives: Objectives,
        slot: int,
    ) -> Selection:
        """The newcomer takes the slot of the worst holder, unless it is the worst itself.

        A newcomer whose objectives equal a holder's does not enter: copies would crowd out the rest.
        Of others that are equally bad, the newcomer leaves, then the highest slot.
        """
        if not population.is_full:
            return fill_lowest_empty(population, state, genome_id, objectives)
        if (population.objectives == objectives).all(axis=1).any():
            return Selection(population, state, ())
        worst = _worst(np.vstack([population.objectives, objectives]))
        if worst == self.slots:
            return Selection(population, state, ())
        changed, changes = hand_over(population, [worst], genome_id, objectives, WORST)
        return Selection(changed, state, changes)

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int]:
        """The winners of two binary tournaments on (rank, crowding distance); ``slot`` does not matter.

        The second tournament is among the slots that another genome holds than the first winner; where
        one genome holds all slots, both parents are the same slot.
        """
        ranks = pareto.ranks(population.objectives)
        crowding = _crowding_by_rank(population.objectives, ranks)
        keys = list(zip(ranks.tolist(), (-crowding).tolist(), strict=True))
        everyone = list(range(self.slots))
        first = _tournament(everyone, keys, rng)
        return first, _tournament(held_by_others(population, everyone, first) or [first], keys, rng)


def _tournament(pool: list[int], keys: list[tuple[int, float]], rng: Generator) -> int:
    """The better (lower key) of two slots drawn with replacement, of equals the first drawn."""
    return min(draw(pool, rng), draw(pool, rng), key=keys.__getitem__)


def _worst(points: Objectives) -> int:
    """The row of the highest rank with the least crowding distance in it, the last of equals."""
    ranks = pareto.ranks(points)
    last_front = np.flatnonzero(ranks == ranks.max())
    crowding = pareto.crowding_distance(points[last_front])
    return int(last_front[crowding == crowding.min()][-1])


def _crowding_by_rank(points: Objectives, ranks: NDArray[np.int_]) -> NDArray[np.float64]:
    """The crowding distance of each point among those of its rank."""
    crowding = np.empty(len(points))
    for rank in range(int(ranks.max()) + 1):
        members = ranks == rank
        crowding[members] = pareto.crowding_distance(points[members])
    return crowding
