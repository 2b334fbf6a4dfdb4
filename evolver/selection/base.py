"""What a selector is: which genomes are kept, and which become parents.

Selectors are steady-state: one result comes in, some slots change hands. They are pure: population
and state come in as values, new values come out. Objectives are minimised, one row for each slot.
Constraints act by constrained domination (Deb et al. 2002, section VI): a feasible genome beats an
infeasible one, of two infeasible ones that with the lesser violation is better, and two feasible ones
are compared by the selector's own rule.

Population  who holds which slot.
Change      one slot changes hands.
Selection   what one result did to the population.
Selector    the interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Objectives = NDArray[np.float64]
Violations = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Who holds which slot. A genome may hold several.

    ``genome_ids`` has one entry for each slot, None where it is empty; ``objectives`` has shape
    (slots, objectives), ``violations`` (slots,): 0.0 for a feasible holder, else by how much it breaks
    the constraints. Both are NaN where the slot is empty. Never written in place.
    """

    genome_ids: tuple[int | None, ...]
    objectives: Objectives
    violations: Violations

    @classmethod
    def empty(cls, slots: int, objectives: int) -> Population:
        return cls((None,) * slots, np.full((slots, objectives), np.nan), np.full(slots, np.nan))

    @property
    def is_full(self) -> bool:
        return None not in self.genome_ids

    def with_slot(
        self, slot: int, genome_id: int, objectives: Objectives, violation: float = 0.0
    ) -> Population:
        """A copy in which the genome holds the slot."""
        return self.with_slots([slot], genome_id, objectives, violation)

    def with_slots(
        self, slots: Iterable[int], genome_id: int, objectives: Objectives, violation: float
    ) -> Population:
        """A copy in which the genome holds these slots."""
        ids = list(self.genome_ids)
        rows = self.objectives.copy()
        violations = self.violations.copy()
        for slot in slots:
            ids[slot] = genome_id
            rows[slot] = objectives
            violations[slot] = violation
        return Population(tuple(ids), rows, violations)


@dataclass(frozen=True, slots=True)
class Change:
    """A slot changes hands: ``entered`` takes it from ``left`` (None: it was empty), for a reason."""

    slot: int
    entered: int
    left: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What one result did: the new population and state, and the changes that lead there."""

    population: Population
    state: Mapping[str, Any]
    changes: tuple[Change, ...]


class Selector(Protocol):
    """Keeps the population and chooses parents. Immutable; all that changes is in population and state."""

    name: str
    slots: int

    def initial_state(self) -> Mapping[str, Any]:
        """The state (JSON) before any result."""
        ...

    def insert(
        self,
        population: Population,
        state: Mapping[str, Any],
        genome_id: int,
        objectives: Objectives,
        slot: int,
        violation: float = 0.0,
    ) -> Selection:
        """Take in one successful result. ``objectives`` has shape (objectives,); ``slot`` is the one
        that the genome was bred for; ``violation`` is 0.0 if it is feasible. While a slot is empty, the
        result takes the lowest empty one.
        """
        ...

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int] | None:
        """The slots of two parents for a child that is bred for ``slot``; the population is full.

        None where the child is to be a random genome.
        """
        ...
