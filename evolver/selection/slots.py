"""What all selectors do with slots: hand them over, fill empty ones, find another parent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.random import Generator

from evolver.selection.base import Change, Objectives, Population, Selection

EMPTY = "empty slot"


def hand_over(
    population: Population, slots: Iterable[int], genome_id: int, objectives: Objectives, reason: str
) -> tuple[Population, tuple[Change, ...]]:
    """The population in which the genome holds these slots, and the changes; one copy for all of them."""
    ids = list(population.genome_ids)
    rows = population.objectives.copy()
    changes = []
    for slot in slots:
        changes.append(Change(slot, genome_id, ids[slot], reason))
        ids[slot] = genome_id
        rows[slot] = objectives
    return Population(tuple(ids), rows), tuple(changes)


def fill_lowest_empty(
    population: Population, state: Mapping[str, Any], genome_id: int, objectives: Objectives
) -> Selection:
    """The genome takes the lowest empty slot; there must be one."""
    slot = population.genome_ids.index(None)
    return Selection(
        population.with_slot(slot, genome_id, objectives), state, (Change(slot, genome_id, None, EMPTY),)
    )


def draw(pool: list[int], rng: Generator) -> int:
    """One slot of the pool, each as likely."""
    return pool[int(rng.integers(len(pool)))]


def held_by_others(population: Population, pool: list[int], slot: int) -> list[int]:
    """The slots of the pool that another genome holds than the one in ``slot``."""
    genome_id = population.genome_ids[slot]
    return [other for other in pool if population.genome_ids[other] != genome_id]
