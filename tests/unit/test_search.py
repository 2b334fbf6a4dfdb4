"""One result at a time: numbers, population and front."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from evolver import selection
from evolver.search import Entry, Exit, MembershipChange, SearchState, ingest
from tests.unit.selection import oracles
from tests.unit.selection.oracles import Point, constrained_points, tuples

FRONT_LIMIT = 1_000


@pytest.mark.parametrize("name", selection.SELECTORS)
@given(constrained_points(1, 20))
@settings(deadline=None, max_examples=20)
def test_only_feasible_genomes_enter_the_front(name: str, results: list[tuple[Point, float]]) -> None:
    objectives = len(results[0][0])
    selector = selection.load(name, 5, objectives)
    state = SearchState.initial(selector, objectives)
    held: dict[int | None, int] = {}
    front: set[int] = set()
    for number, (point, violation) in enumerate(results, start=1):
        slot = (number - 1) % 5
        state, changes = ingest(
            selector,
            state,
            genome_id=number,
            slot=slot,
            objectives=point,
            front_limit=FRONT_LIMIT,
            violation=violation,
        )
        apply(changes, held, front, number)
        assert state.ingested == number
    feasible = [point for point, violation in results if violation == 0.0]
    assert set(tuples(state.front.objectives)) == oracles.front(feasible)
    assert front == set(state.front.genome_ids)
    assert [held.get(slot) for slot in range(5)] == list(state.population.genome_ids)


def apply(changes: list[MembershipChange], held: dict[int | None, int], front: set[int], number: int) -> None:
    """Follow the recorded changes."""
    for change in changes:
        assert change.at == number
        match change:
            case Entry("population"):
                assert held.setdefault(change.slot, change.genome_id) == change.genome_id
            case Exit("population"):
                assert held.pop(change.slot) == change.genome_id
            case Entry("front"):
                front.add(change.genome_id)
            case Exit("front"):
                front.remove(change.genome_id)


@pytest.mark.parametrize("name", sorted(set(selection.SELECTORS) - {"random"}))
def test_feasible_results_drive_out_the_infeasible(name: str) -> None:
    selector = selection.load(name, 4, 2)
    state = SearchState.initial(selector, 2)
    for number in range(1, 41):
        is_feasible = number > 8
        state, _ = ingest(
            selector,
            state,
            genome_id=number,
            slot=(number - 1) % 4,
            objectives=(10.0 + number, 50.0 - number) if is_feasible else (0.0 + number, 9.0 - number),
            front_limit=FRONT_LIMIT,
            violation=0.0 if is_feasible else 1.0 / number,
        )
    assert state.population.violations.tolist() == [0.0] * 4
    assert min(state.front.genome_ids) > 8


def test_operators_learn_who_entered_the_front() -> None:
    selector = selection.load("nsga2", 4, 2)
    state = SearchState.initial(selector, 2)
    results = [
        ("mutation", (1.0, 1.0), 0.0),  # enters, being the first
        ("mutation", (2.0, 2.0), 0.0),  # is dominated
        ("crossover", (0.5, 2.0), 0.0),  # enters
        (None, (0.1, 0.1), 0.0),  # enters, and teaches nothing
        ("crossover", None, 0.0),  # failed
        ("mutation:add", (0.0, 0.0), 1.0),  # breaks a constraint
    ]
    for number, (operator, objectives, violation) in enumerate(results, start=1):
        state, _ = ingest(
            selector,
            state,
            genome_id=number,
            slot=0,
            objectives=objectives,
            front_limit=FRONT_LIMIT,
            violation=violation,
            operator=operator,
        )
    assert state.credit == {"mutation": [2.0, 2.0], "crossover": [2.0, 2.0], "mutation:add": [1.0, 2.0]}


def test_a_failure_takes_a_number_and_no_more() -> None:
    selector = selection.load("nsga2", 4, 2)
    before = SearchState.initial(selector, 2)
    after, changes = ingest(selector, before, genome_id=1, slot=0, objectives=None, front_limit=FRONT_LIMIT)
    assert changes == []
    assert after.ingested == 1
    assert after.population is before.population
    assert after.front is before.front
