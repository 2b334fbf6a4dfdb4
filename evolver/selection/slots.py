"""What all selectors do with slots: hand them over, fill empty ones, hold tournaments between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.random import Generator

from evolver.selection.base import Change, Objectives, Population, Selection, Violations

EMPTY = "empty slot"
BREAKS_MORE = "breaks the constraints more"
TOURNAMENT = 5
"""Slots of a tournament for a parent. The papers have two; one child at a time, five search faster."""

Better = Callable[[Population, int, int], int]


def hand_over(
    population: Population,
    state: Mapping[str, Any],
    slots: Sequence[int],
    genome_id: int,
    objectives: Objectives,
    violation: float,
    reason: str,
) -> Selection:
    """The genome takes these slots of a full population; who breaks the constraints more leaves for that."""
    changes = tuple(
        Change(
            slot,
            genome_id,
            population.genome_ids[slot],
            BREAKS_MORE if population.violations[slot] > violation else reason,
        )
        for slot in slots
    )
    changed = population.with_slots(slots, genome_id, objectives, violation) if slots else population
    return Selection(changed, state, changes)


def fill_lowest_empty(
    population: Population,
    state: Mapping[str, Any],
    genome_id: int,
    objectives: Objectives,
    violation: float,
) -> Selection:
    """The genome takes the lowest empty slot; there must be one."""
    slot = population.genome_ids.index(None)
    filled = population.with_slot(slot, genome_id, objectives, violation)
    return Selection(filled, state, (Change(slot, genome_id, None, EMPTY),))


def replace_worst(
    population: Population,
    state: Mapping[str, Any],
    genome_id: int,
    objectives: Objectives,
    violation: float,
    worst: Callable[[Objectives, Violations], int],
    reason: str,
) -> Selection:
    """The genome joins a full population, and the worst of all leaves; ``worst`` tells its row.

    ``worst`` is given the objectives and violations of all slots with the newcomer's behind them. A
    newcomer whose objectives equal a holder's does not enter: copies would crowd out the rest.
    """
    if not population.is_full:
        return fill_lowest_empty(population, state, genome_id, objectives, violation)
    if (population.objectives == objectives).all(axis=1).any():
        return Selection(population, state, ())
    leaver = worst(
        np.vstack([population.objectives, objectives]), np.append(population.violations, violation)
    )
    if leaver == len(population.genome_ids):
        return Selection(population, state, ())
    return hand_over(population, state, [leaver], genome_id, objectives, violation, reason)


def tournaments(population: Population, better: Better, rng: Generator) -> tuple[int, int]:
    """The winners of two tournaments of ``TOURNAMENT`` slots, drawn uniformly, with replacement.

    ``better`` is asked for the better of two slots. The second tournament is among the slots that
    another genome holds than the first winner; where one genome holds all slots, both are the same
    slot.
    """

    def winner(pool: Sequence[int]) -> int:
        return reduce(partial(better, population), (draw(pool, rng) for _ in range(TOURNAMENT)))

    everyone = range(len(population.genome_ids))
    first = winner(everyone)
    return first, winner(held_by_others(population, everyone, first) or [first])


def draw(pool: Sequence[int], rng: Generator) -> int:
    """One slot of the pool, each as likely."""
    return pool[int(rng.integers(len(pool)))]


def held_by_others(population: Population, pool: Sequence[int], slot: int) -> list[int]:
    """The slots of the pool that another genome holds than the one in ``slot``."""
    genome_id = population.genome_ids[slot]
    return [other for other in pool if population.genome_ids[other] != genome_id]
