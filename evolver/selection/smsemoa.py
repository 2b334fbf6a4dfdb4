"""Steady-state SMS-EMOA (Beume, Naujoks and Emmerich 2007, "SMS-EMOA: Multiobjective selection based on
dominated hypervolume", algorithms 1 and 2).

The newcomer joins the population, and one genome leaves: of the worst non-dominated rank the one that adds
least to the hypervolume.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.random import Generator

from evolver.selection import pareto
from evolver.selection.base import Objectives, Population, Selection, Violations
from evolver.selection.slots import crowded_comparison, replace_worst, tournaments

LEAST = "worst rank, then least hypervolume contribution"

_OFFSET = 1.0
"""How far the reference point lies behind the worst values, in units of the range: the paper's 1, on scaled
objectives. That far away the extremes of a front outlast all others but the closest ones."""


class SmsEmoa:
    """SMS-EMOA. It needs no state, and a child may take any slot."""

    name: str = "smsemoa"

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
        """The newcomer takes the slot of the worst holder, unless it is the worst itself or a copy."""
        return replace_worst(population, state, genome_id, objectives, violation, _worst, LEAST)

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int]:
        """The winners of two binary tournaments on (rank, crowding distance), as in NSGA-II.

        The paper draws parents uniformly; with tournaments the search converges sooner. ``slot`` does
        not matter.
        """
        return tournaments(population, crowded_comparison, rng)


def _worst(points: Objectives, violations: Violations) -> int:
    """The row of the highest rank with the least contribution in it, the last of equals."""
    last = pareto.last_front(points, violations)
    if len(last) == 1:
        return int(last[0])
    return int(last[pareto.least_contributor(points[last], _OFFSET)])
