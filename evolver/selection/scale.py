"""How selection sees objectives: as they are, or those that range over orders of magnitude by logarithm.

A network of 2,000 parameters is to one of 1,000 what one of 2,000,000 is to one of 1,000,000. On a linear
scale the two small ones are the same point beside the large ones, and whatever is measured between points
(hypervolume, crowding distance, weighted distance from the ideal point) is blind to them. Domination does not
depend on scales. LEMONADE (Elsken, Metzen and Hutter 2019) takes logarithms of parameters likewise.

Scale   which objectives count by their logarithm.
LINEAR  none of them.
Scaled  a selector that sees objectives on a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random import Generator

from evolver.selection.base import Objectives, Population, Selection, Selector

LEAST = 1e-12
"""What is less counts as this: a time or an energy that a device is too coarse to measure is 0."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The columns of the objectives that count by their logarithm to base 10."""

    logarithmic: tuple[int, ...] = ()

    def seen(self, values: Objectives) -> Objectives:
        """The values, shape (objectives,) or (n, objectives), on this scale; NaN stays NaN."""
        if not self.logarithmic:
            return values
        columns = list(self.logarithmic)
        scaled = values.copy()
        scaled[..., columns] = np.log10(np.maximum(values[..., columns], LEAST))
        return scaled


LINEAR = Scale()


class Scaled:
    """A selector that sees objectives on a scale. Populations come in and go out with values as they are."""

    def __init__(self, selector: Selector, scale: Scale) -> None:
        self.name, self.slots = selector.name, selector.slots
        self._selector, self._scale = selector, scale

    def initial_state(self) -> Mapping[str, Any]:
        """That of the selector, which keeps values of the scale."""
        return self._selector.initial_state()

    def insert(
        self,
        population: Population,
        state: Mapping[str, Any],
        genome_id: int,
        objectives: Objectives,
        slot: int,
        violation: float = 0.0,
    ) -> Selection:
        """Take in one result, as the selector does with values of the scale."""
        before, vector = _seen(population, self._scale), self._scale.seen(objectives)
        made = self._selector.insert(before, state, genome_id, vector, slot, violation)
        slots = [change.slot for change in made.changes]
        after = population.with_slots(slots, genome_id, objectives, violation) if slots else population
        return Selection(after, made.state, made.changes)

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int] | None:
        """The selector's choice, by values of the scale."""
        return self._selector.parents(_seen(population, self._scale), state, slot, rng)


@lru_cache(maxsize=4)
def _seen(population: Population, scale: Scale) -> Population:
    """The population on a scale; the same object for the same one, so that selectors can remember it."""
    return Population(population.genome_ids, scale.seen(population.objectives), population.violations)
