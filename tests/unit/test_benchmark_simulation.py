"""The virtual time of ``benchmarks/simulation.py``: what it charges, and whom it lets wait."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.simulation import Evaluate, Run, Simulation
from evolver.evaluation import Task
from evolver.store.db import Database
from tests import factories

WORKERS = 3
LONG_S, SHORT_S = 4500.0, 1000.0


def of_equal_length(task: Task) -> tuple[float, Mapping[str, float]]:
    return SHORT_S, factories.made_up_values(task)


def long_for_the_first(task: Task) -> tuple[float, Mapping[str, float]]:
    return LONG_S if task.evaluation_id == 1 else SHORT_S, factories.made_up_values(task)


def simulated(database: Database, evaluate: Evaluate, *, results: int) -> Run:
    made = factories.created(database, budget=1000)
    return Simulation(database, made, WORKERS, evaluate).run(lambda found: len(found) >= results)


def test_time_is_that_of_evaluations_and_calls(database: Database) -> None:
    run = simulated(database, of_equal_length, results=4 * WORKERS)
    charged = run.seconds - 4 * SHORT_S
    assert 0 < charged < 60  # the calls' real time, and no evaluation more
    assert run.busy_s == pytest.approx(4 * SHORT_S * WORKERS, abs=1.0)
    assert 0.98 < run.utilisation < 1.0


def test_who_is_quick_does_not_wait_for_who_is_slow(database: Database) -> None:
    run = simulated(database, long_for_the_first, results=9)
    assert [result.duration_s for result in run.results] == [SHORT_S] * 8 + [LONG_S]
    ended = [result.ended_s for result in run.results]
    assert ended == sorted(ended)
    assert ended[-2] == pytest.approx(4 * SHORT_S, rel=0.02)


def test_a_running_evaluation_counts_as_busy_until_the_search_is_stopped(database: Database) -> None:
    run = simulated(database, long_for_the_first, results=2)
    assert run.busy_s == pytest.approx(WORKERS * SHORT_S, rel=0.02)


def test_a_step_takes_in_every_result_that_was_there(database: Database) -> None:
    run = simulated(database, of_equal_length, results=5 * WORKERS)
    last = run.steps[-1].began_s
    there = [result for result in run.results if result.ended_s <= last]
    assert factories.current(database).ingested >= len(there) > 0


def test_nothing_is_claimed_before_the_step_that_bred_it_has_ended(database: Database) -> None:
    run = simulated(database, of_equal_length, results=2 * WORKERS)
    first = min(run.results, key=lambda result: result.started_s)
    assert first.started_s > run.steps[0].ended_s > run.steps[0].began_s == 0.0
