"""Steady-state NSGA-II (Deb et al. 2002; one child at a time as in Durillo et al. 2009).

The newcomer joins the population, and the worst of all leaves: the highest non-dominated rank first,
and within that rank the least crowding distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.random import Generator

from evolver.selection import pareto
from evolver.selection.base import Objectives, Population, Selection, Violations
from evolver.selection.slots import crowded_comparison, replace_worst, tournaments

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
        violation: float = 0.0,
    ) -> Selection:
        """The newcomer takes the slot of the worst holder, unless it is the worst itself.

        A newcomer whose objectives equal a holder's does not enter: copies would crowd out the rest.
        Of others that are equally bad, the newcomer leaves, then the highest slot.
        """
        return replace_worst(population, state, genome_id, objectives, violation, _worst, WORST)

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int]:
        """The winners of two binary tournaments on (rank, crowding distance); ``slot`` does not matter.

        The second tournament is among the slots that another genome holds than the first winner; where
        one genome holds all slots, both parents are the same slot.
        """
        return tournaments(population, crowded_comparison, rng)


def _worst(points: Objectives, violations: Violations) -> int:
    """The row of the highest rank with the least crowding distance in it, the last of equals."""
    last = pareto.last_front(points, violations)
    if len(last) == 1:
        return int(last[0])
    crowding = pareto.crowding_distance(points[last])
    return int(last[crowding == crowding.min()][-1])
