"""Experiments: their states, what they share, and that nothing of them remains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from evolver import config
from evolver.errors import IllegalTransition, InvalidInput, UnknownName
from evolver.evaluation import Epoch, SavedCheckpoint
from evolver.store import experiments, leases, schema
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.states import EXPERIMENT_STATES, EXPERIMENT_TRANSITIONS, ExperimentState
from tests import factories
from tests.factories import do, enqueued


def counts(database: Database) -> Mapping[str, int]:
    """The number of rows of each table."""
    with database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.metadata.sorted_tables
        }


def in_state(database: Database, name: str, state: str) -> experiments.Experiment:
    found = factories.created(database, name)
    with database.write() as connection:
        connection.execute(
            update(schema.experiment).where(schema.experiment.c.id == found.id).values(state=state)
        )
    return factories.current(database, name)


@pytest.mark.parametrize("before", EXPERIMENT_STATES)
def test_a_state_follows_the_table_of_transitions(database: Database, before: ExperimentState) -> None:
    for after in EXPERIMENT_STATES:
        found = in_state(database, f"to {after}", before)
        if after in EXPERIMENT_TRANSITIONS[before]:
            do(database, experiments.transition, found, after, "why")
            changed = factories.current(database, f"to {after}")
            assert (changed.state, changed.state_reason) == (after, "why")
        else:
            refusal = "is being deleted" if before == "deleting" else f"is {before}; .* can become {after}"
            with pytest.raises(IllegalTransition, match=f"'to {after}' {refusal}"):
                do(database, experiments.transition, found, after)
            assert factories.current(database, f"to {after}") == found


def test_times_tell_when_a_search_first_started_and_last_ended(database: Database) -> None:
    def become(state: str) -> experiments.Experiment:
        do(database, experiments.transition, factories.current(database), state)
        return factories.current(database)

    assert factories.created(database).started_at is None
    started = become("running").started_at
    assert started is not None
    assert become("paused").ended_at is None
    assert become("stopped").ended_at is not None
    again = become("running")
    assert (again.started_at, again.ended_at) == (started, None)


def test_what_is_created_is_found_again(database: Database) -> None:
    values: dict[str, Any] = {"seed": 5, "patience": 9, "max_hours": 1.5, "objectives": "error,params"}
    found = factories.created(database, **values)
    settings, _ = config.build("search", config.parse({**factories.DEFAULTS, **values}), Path())

    assert found.settings == settings
    assert (found.state, found.born, found.ingested, found.failed, found.active_s) == (
        "created",
        0,
        0,
        0,
        0.0,
    )
    with database.read() as connection:
        assert experiments.find(connection, "search") == experiments.by_id(connection, found.id) == found
        assert experiments.every(connection) == [found]
        assert experiments.every(connection, ["running", "paused"]) == []
        assert experiments.count(connection) == 1
        assert experiments.find(connection, "another") is None
        assert experiments.by_id(connection, found.id + 1) is None
        with pytest.raises(UnknownName, match="did you mean search"):
            experiments.get(connection, "serach")


def test_a_name_is_taken_once(database: Database) -> None:
    factories.created(database)
    before = counts(database)
    with pytest.raises(InvalidInput, match="'search' exists already"):
        factories.created(database, seed=1, epochs=3)
    assert counts(database) == before


def test_another_fault_of_the_row_is_not_taken_for_a_name(database: Database) -> None:
    found = factories.created(database, "the name of an experiment")
    data = experiments.NewDataset("digits", found.dataset.sample, 1, 1, 1, 0, None)
    wrong = replace(found.settings, name="another name of an experiment", population=3)
    with pytest.raises(IntegrityError, match="ck_experiment_population"):
        do(database, experiments.create, wrong, data, {})


def test_experiments_share_data_sets_and_recipes(database: Database) -> None:
    first, same = factories.created(database, "a"), factories.created(database, "b", seed=1)
    other = factories.created(database, "c", epochs=3)

    assert (first.dataset, first.recipe_id) == (same.dataset, same.recipe_id)
    assert other.dataset == first.dataset
    assert other.recipe_id != first.recipe_id
    assert counts(database)["recipe"] == 2


def test_data_of_other_contents_are_another_data_set(database: Database) -> None:
    first = factories.created(database, "a")

    def dataset_of(name: str, sha256: str | None) -> int:
        data = first.dataset
        new = experiments.NewDataset(data.name, data.sample, data.train, data.validation, data.test,
                                     data.split_seed, sha256)  # fmt: skip
        created = do(database, experiments.create, replace(first.settings, name=name), new, {})
        return int(created.dataset.id)

    read = dataset_of("b", "b" * 64)
    assert dataset_of("c", "c" * 64) not in (read, first.dataset.id)
    assert dataset_of("d", "b" * 64) == read
    assert dataset_of("e", None) == first.dataset.id


def test_a_budget_is_only_raised(database: Database) -> None:
    found = factories.created(database, budget=12)
    for budget in (11, 12):
        with pytest.raises(InvalidInput, match=rf"a budget of 12; .* \(got {budget}\)"):
            do(database, experiments.extend, found, budget)
    do(database, experiments.extend, found, 13)

    extended = factories.current(database)
    assert (extended.settings.budget, extended.state) == (13, "created")


@pytest.mark.parametrize("state", [state for state in EXPERIMENT_STATES if state != "deleting"])
def test_an_extended_experiment_goes_on_if_it_had_finished(database: Database, state: str) -> None:
    before = factories.created(database)
    found = in_state(database, "another", state)
    do(database, experiments.extend, found, 20)
    assert factories.current(database, "another").state == ("running" if state == "finished" else state)

    do(database, experiments.transition, before, "running")
    do(database, experiments.transition, before, "finished", "budget")
    do(database, experiments.extend, before, 20)  # read before it finished
    assert factories.current(database).state == "running"


def test_the_budget_is_held_by_the_database(database: Database) -> None:
    factories.created(database, budget=12)
    with pytest.raises(IntegrityError, match="ck_experiment_budget"), database.write() as connection:
        connection.execute(update(schema.experiment).values(born=13))


def test_nothing_of_a_removed_experiment_remains(database: Database) -> None:
    def end(database: Database, claim: Claim) -> None:
        with database.write() as connection:
            leases.record_epochs(connection, claim.lease, [Epoch(1, 1.0, 0.5, 1.0, 0.5, 0.1, 1.0)])
            key = f"{claim.lease.token}/1"
            leases.record_checkpoint(connection, claim.lease, SavedCheckpoint("resume", 1, key, "0" * 64, 1))
        factories.complete(database, claim)

    factories.created(database, "stays")
    before = counts(database)
    goes = factories.finished(database, "goes", end=end, budget=20, seed_genomes="lenet")
    twins = factories.finished(database, "twins", budget=20, space_settings=factories.FEW_PHENOTYPES)
    with database.read() as connection:
        duplicates = select(func.count(schema.genome.c.duplicate_of))
        assert connection.execute(duplicates).scalar_one() > 0
        evaluation_id = connection.execute(select(func.min(schema.evaluation.c.id))).scalar_one()
    enqueued(database, "goes", init_from=evaluation_id, waits_for=evaluation_id)
    full = counts(database)
    assert all(full.values()), full

    for found in (goes, twins):
        do(database, experiments.remove, found)
    assert counts(database) == {**before, "worker": full["worker"]}
