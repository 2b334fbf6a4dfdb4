"""Random search: the baseline that every other selector has to beat.

All children are random genomes, whatever was found before. So what the search keeps is the front alone;
the population holds recent results and no parents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.random import Generator

from evolver.selection.base import Change, Objectives, Population, Selection
from evolver.selection.slots import fill_lowest_empty

LATER = "a later result"


class RandomSearch:
    """Random search. It needs no state."""

    name: str = "random"

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
        """The newcomer takes the slot that it was bred for, however good it is."""
        if not population.is_full:
            return fill_lowest_empty(population, state, genome_id, objectives, violation)
        change = Change(slot, genome_id, population.genome_ids[slot], LATER)
        return Selection(population.with_slot(slot, genome_id, objectives, violation), state, (change,))

    def parents(self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator) -> None:
        """None: every child is random."""
