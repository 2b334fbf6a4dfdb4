"""Experiments, results and workers for tests, named after the state that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from sqlalchemy import func, select

from evolver import config, objectives, seeding, step
from evolver.evaluation import Task
from evolver.scheduler import Scheduler
from evolver.store import claims, experiments, leases, queue
from evolver.store.claims import Claim, WorkerInfo
from evolver.store.db import Database
from evolver.store.experiments import Experiment, NewDataset, Settings
from evolver.store.queue import NewEvaluation
from evolver.store.schema import genome

NO_VERSIONS: Mapping[str, str] = {}
DEFAULTS: Mapping[str, Any] = {
    "space": "tiny",
    "evaluator": "surrogate",
    "population": 4,
    "budget": 12,
    "epochs": 2,
}
FEW_PHENOTYPES: Mapping[str, Any] = {
    "blocks": [1, 1],
    "max_convs_per_block": 1,
    "pools": [1, 1],
    "channels": [4, 5],
    "conv_kernel": [1, 1],
    "dense_layers": [0, 0],
}
"""Settings of a space so small that duplicates are certain."""


def do(database: Database, function: Callable[..., Any], *arguments: Any, **values: Any) -> Any:
    """One function of the store, in a transaction of its own."""
    with database.write() as connection:
        return function(connection, *arguments, **values)


def created(database: Database, name: str = "search", **values: Any) -> Experiment:
    """An experiment of ``tiny`` on digits with the surrogate evaluator, as ``evolver new`` makes it."""
    settings, data = built(name, **values)
    with database.write() as connection:
        first = seeding.gather(settings, data, values.get("seed_genomes"), connection).seeds
        return experiments.create(connection, settings, data, config.initial_selector_state(settings), first)


def built(name: str = "search", **values: Any) -> tuple[Settings, NewDataset]:
    """The settings of such an experiment, which is not there yet."""
    return config.build(name, config.parse({**DEFAULTS, **values}), Path())


def running(database: Database, name: str = "search", **values: Any) -> Experiment:
    """An experiment that its scheduler has started, with the first genomes in the queue.

    Two for each slot that is alive, more than a search breeds ahead: so there is always one to claim.
    """
    created(database, name, **values)
    scheduler = Scheduler(database, [name])
    with mock.patch.object(step, "SLOTS_PER_PENDING", 0.5):
        scheduler.step()
    scheduler.close()
    return current(database, name)


def current(database: Database, name: str = "search") -> Experiment:
    """The experiment as it stands now."""
    with database.read() as connection:
        return experiments.get(connection, name)


def registered_worker(database: Database, *, slots: int = 1, host: str = "host") -> int:
    """A worker that is alive."""
    with database.write() as connection:
        return claims.register_worker(connection, WorkerInfo(host, 1, "cpu", slots, NO_VERSIONS))


def claimed(
    database: Database,
    worker_id: int,
    *,
    lease_s: float = 60.0,
    after: int | None = None,
    names: Sequence[str] = (),
) -> Claim | None:
    """The next evaluation, of these experiments or any, leased to this worker; None when there is none."""
    with database.write() as connection:
        return claims.claim(
            connection,
            worker_id,
            slot=0,
            device="cpu",
            device_name="a processor",
            versions=NO_VERSIONS,
            lease_s=lease_s,
            offers=claims.offers(connection, names),
            after=after,
        )


def must_claim(
    database: Database, worker_id: int, *, lease_s: float = 60.0, names: Sequence[str] = ()
) -> Claim:
    claim = claimed(database, worker_id, lease_s=lease_s, names=names)
    assert claim is not None, "nothing to claim"
    return claim


def enqueued(
    database: Database, name: str = "search", *, number: int = 1, first: int = 0, **values: Any
) -> None:
    """Pending evaluations of an experiment's first genome, by default for the purpose ``repeat``.

    Their ``seed_no`` counts from ``first``; ``values`` are fields of NewEvaluation.
    """
    found = current(database, name)
    with database.write() as connection:
        oldest = select(func.min(genome.c.id)).where(genome.c.experiment_id == found.id)
        genome_id = connection.execute(oldest).scalar_one()
        given = {"purpose": "repeat", "dataset_id": found.dataset.id, "recipe_id": found.recipe_id, **values}
        new = [NewEvaluation(found.id, genome_id, seed_no=first + i, **given) for i in range(number)]
        queue.enqueue(connection, new)


def made_up_values(task: Task) -> dict[str, float]:
    """Objective values that depend on the genome's code alone."""
    rng = np.random.default_rng(sum(repr(task.code).encode()))
    error, loss = rng.uniform(0.05, 0.6, 2)
    measured = {
        "validation_error": error,
        "validation_loss": loss,
        "params": rng.uniform(10, 99),
        "flops": 1.0,
    }
    return objectives.derive(objectives.load(["error", "loss", "params", "flops"]), measured)


def complete(database: Database, claim: Claim, values: Mapping[str, float] | None = None) -> None:
    """The worker's result, written."""
    with database.write() as connection:
        leases.complete(connection, claim.lease, made_up_values(claim.task) if values is None else values)


def fail(database: Database, claim: Claim, kind: str = "error", message: str = "no reason") -> None:
    with database.write() as connection:
        leases.fail(connection, claim.lease, kind, message)


def finished(
    database: Database,
    name: str = "search",
    *,
    end: Callable[[Database, Claim], None] = complete,
    **values: Any,
) -> Experiment:
    """A search that ran to its end in this process; ``end`` ends each evaluation, by default with success."""
    created(database, name, **values)
    run_to_the_end(database, name, end=end)
    return current(database, name)


def run_to_the_end(
    database: Database,
    name: str = "search",
    *,
    end: Callable[[Database, Claim], None] = complete,
    worker_id: int | None = None,
) -> None:
    """Be scheduler and worker in turn, until the search ends."""
    scheduler = Scheduler(database, [name])
    worker_id = worker_id or registered_worker(database)
    for _ in range(10_000):
        scheduler.step()
        if current(database, name).state == "finished":
            scheduler.close()
            return
        claim = claimed(database, worker_id)
        if claim is not None:
            end(database, claim)
    raise AssertionError("the search did not come to its end")


def run_with_new_leaders(database: Database, name: str, worker_id: int) -> None:
    """As ``run_to_the_end``, with another scheduler for each step."""
    while current(database, name).state != "finished":
        scheduler = Scheduler(database, [name])
        scheduler.step()
        scheduler.close()
        claim = claimed(database, worker_id)
        if claim is not None:
            complete(database, claim)
