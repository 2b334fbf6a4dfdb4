"""Steady-state selection by ranks: what NSGA-II and SMS-EMOA have in common.

The newcomer joins the population, and one genome of the worst non-dominated rank leaves. Parents win
tournaments by rank and crowding distance.

RankSelector        the selector; a subclass says who of the worst rank leaves.
crowded_comparison  the better of two slots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from numpy.random import Generator

from evolver.selection import pareto
from evolver.selection.base import Objectives, Population, Selection, Violations
from evolver.selection.slots import replace_worst, tournaments


class RankSelector(ABC):
    """It needs no state, and a child may take any slot. ``reason``: why the one that leaves has to."""

    name: str
    reason: str

    def __init__(self, slots: int, objectives: int) -> None:
        self.slots = slots
        self.objectives = objectives

    @abstractmethod
    def least(self, points: Objectives) -> int:
        """Which one leaves of the points of the worst rank, two or more: the last of equals."""

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
        return replace_worst(population, state, genome_id, objectives, violation, self._worst, self.reason)

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int]:
        """The winners of two tournaments on (rank, crowding distance); ``slot`` does not matter.

        The second tournament is among the slots that another genome holds than the first winner; where
        one genome holds all slots, both parents are the same slot.
        """
        return tournaments(population, crowded_comparison, rng)

    def _worst(self, points: Objectives, violations: Violations) -> int:
        last = pareto.last_front(points, violations)
        return int(last[0 if len(last) == 1 else self.least(points[last])])


def crowded_comparison(population: Population, first: int, second: int) -> int:
    """The better of two slots: by rank, then by crowding distance, of equals the first.

    The crowded-comparison operator of NSGA-II (Deb et al. 2002, section III.C).
    """
    rank, other = _ranks(population)[first], _ranks(population)[second]
    if rank != other:
        return first if rank < other else second
    crowding = _crowding(population, rank)
    return second if crowding[second] > crowding[first] else first


@lru_cache(maxsize=8)
def _crowding(population: Population, rank: int) -> dict[int, float]:
    """The crowding distance of each slot of this rank among those of its rank."""
    members = [slot for slot, other in enumerate(_ranks(population)) if other == rank]
    distances = pareto.crowding_distance(population.objectives[members])
    return dict(zip(members, distances.tolist(), strict=True))


@lru_cache(maxsize=4)
def _ranks(population: Population) -> tuple[int, ...]:
    """The rank of each slot by constrained domination; remembered for the populations asked for last."""
    return tuple(pareto.constrained_ranks(population.objectives, population.violations).tolist())
