"""Objectives that belong to a device: who is offered their work, and values of different devices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import pytest
from sqlalchemy import select, update

from evolver.store import claims, experiments, facts
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.schema import attempt, evaluation
from tests import factories
from tests.factories import enqueued

MEASURED = ("error", "latency_ms:8")


def offered(database: Database) -> list[tuple[str, ...]]:
    with database.read() as connection:
        return [offer.objectives for offer in claims.offers(connection)]


def set_state(database: Database, state: str) -> None:
    found = factories.current(database)
    with database.write() as connection:
        experiments.transition(connection, found, state)


def test_an_offer_names_the_objectives_that_must_be_measured(database: Database) -> None:
    factories.running(database, objectives=MEASURED)
    assert offered(database) == [MEASURED]


def test_a_retraining_must_measure_no_objectives(database: Database) -> None:
    factories.running(database, objectives=MEASURED)
    enqueued(database, purpose="retrain")
    set_state(database, "paused")
    assert offered(database) == [()]


def test_a_transfer_must_measure_no_objectives_while_the_search_runs(database: Database) -> None:
    factories.running(database, objectives=MEASURED)
    other = factories.created(database, "other", dataset="mnist").dataset
    enqueued(database, purpose="transfer", dataset_id=other.id)
    assert offered(database) == [MEASURED, ()]


def search(database: Database, objectives: Sequence[str]) -> None:
    """A search that has ended; every genome is better than those before, in one objective and worse in
    the other, so that all of them are in the front."""
    numbers = count(1)

    def end(database: Database, claim: Claim) -> None:
        number = next(numbers)
        values = {objectives[0]: 1.0 / number, objectives[1]: float(number)}
        factories.complete(database, claim, values)

    factories.finished(database, end=end, objectives=tuple(objectives), population=4, budget=6)


def set_device(database: Database, genome_id: int, name: str) -> None:
    of_genome = select(evaluation.c.id).where(evaluation.c.genome_id == genome_id)
    with database.write() as connection:
        connection.execute(
            update(attempt).where(attempt.c.evaluation_id.in_(of_genome)).values(device_name=name)
        )


def mixed(database: Database) -> tuple[str, ...]:
    with database.read() as connection:
        return facts.mixed_devices(connection, factories.current(database))


def member(database: Database) -> int:
    """A genome that is in the front now."""
    with database.read() as connection:
        return facts.front_members(connection, factories.current(database))[0].genome_id


@pytest.mark.parametrize("objective", ["latency_ms", "train_s"])
def test_values_of_several_devices_are_told_of(database: Database, objective: str) -> None:
    search(database, ("error", objective))
    assert mixed(database) == ()
    set_device(database, member(database), "another processor")
    assert mixed(database) == ("a processor", "another processor")


def test_values_that_belong_to_no_device_may_be_mixed(database: Database) -> None:
    search(database, ("error", "params"))
    set_device(database, member(database), "another processor")
    assert mixed(database) == ()


def test_attempts_that_gave_no_value_do_not_count(database: Database) -> None:
    search(database, ("error", "latency_ms"))
    genome_id = member(database)
    set_device(database, genome_id, "another processor")
    with database.write() as connection:
        of_genome = select(evaluation.c.id).where(evaluation.c.genome_id == genome_id)
        connection.execute(
            update(attempt).where(attempt.c.evaluation_id.in_(of_genome)).values(outcome="released")
        )
    assert mixed(database) == ()
