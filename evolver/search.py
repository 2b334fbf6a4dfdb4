"""One result at a time: what it does to population and front. Pure, used by the scheduler and by replay.

SearchState  everything that selection knows of a search.
ingest       takes in one numbered result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evolver import credit
from evolver.credit import Credit
from evolver.selection import archive
from evolver.selection.archive import Front, FrontUpdate
from evolver.selection.base import Population, Selection, Selector
from evolver.selection.scale import LINEAR, Scale


@dataclass(frozen=True, slots=True)
class Entry:
    """A genome enters the population (``slot``) or the front (None) at an ingest number."""

    kind: str
    slot: int | None
    genome_id: int
    at: int


@dataclass(frozen=True, slots=True)
class Exit:
    """A genome leaves the population (``slot``) or the front (None) at an ingest number, for a reason."""

    kind: str
    slot: int | None
    genome_id: int
    at: int
    reason: str


MembershipChange = Entry | Exit


@dataclass(frozen=True, slots=True, eq=False)
class SearchState:
    """Population, front, the selector's own state, the number of results ingested so far, and the credit of
    operators where they are learned.
    """

    population: Population
    front: Front
    selector_state: Mapping[str, Any]
    ingested: int
    credit: Credit

    @classmethod
    def initial(cls, selector: Selector, objectives: int) -> SearchState:
        return cls(
            Population.empty(selector.slots, objectives),
            Front.empty(objectives),
            selector.initial_state(),
            ingested=0,
            credit={},
        )


def ingest(
    selector: Selector,
    state: SearchState,
    *,
    genome_id: int,
    slot: int,
    objectives: Sequence[float] | None,
    front_limit: int,
    violation: float = 0.0,
    operator: str | None = None,
    scale: Scale = LINEAR,
) -> tuple[SearchState, list[MembershipChange]]:
    """Take in the next result: ``objectives`` is None for a failure, which takes a number and no more.

    ``violation`` says by how much the genome breaks constraints; above 0.0 it never enters the front.
    ``operator`` is the one that bred it, if that is to learn whether the genome enters the front. ``scale``
    is the one on which a full front tells who leaves; the selector has its own.
    """
    number = state.ingested + 1
    if objectives is None:
        return replace(state, ingested=number, credit=_taught(state.credit, operator, success=False)), []
    vector = np.asarray(objectives, dtype=np.float64)
    selection = selector.insert(state.population, state.selector_state, genome_id, vector, slot, violation)
    update = (
        archive.update(state.front, genome_id, vector, front_limit, scale)
        if violation == 0.0
        else FrontUpdate(state.front, entered=False, left=())
    )
    changes = [*_population_changes(selection, number), *_front_changes(update, genome_id, number)]
    learned = _taught(state.credit, operator, success=update.entered)
    return SearchState(selection.population, update.front, selection.state, number, learned), changes


def _taught(known: Credit, operator: str | None, *, success: bool) -> Credit:
    return known if operator is None else credit.after(known, operator, success=success)


def _population_changes(selection: Selection, number: int) -> list[MembershipChange]:
    changes: list[MembershipChange] = []
    for change in selection.changes:
        if change.left is not None:
            changes.append(Exit("population", change.slot, change.left, number, change.reason))
        changes.append(Entry("population", change.slot, change.entered, number))
    return changes


def _front_changes(update: FrontUpdate, genome_id: int, number: int) -> list[MembershipChange]:
    changes: list[MembershipChange] = [
        Exit("front", None, left, number, reason) for left, reason in update.left
    ]
    if update.entered:
        changes.append(Entry("front", None, genome_id, number))
    return changes
