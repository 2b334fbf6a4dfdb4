"""A search with a long history, written in bulk: what a benchmark of the database starts from.

The rows are those that a search leaves: genomes with codes of the space, parents, one evaluation each
with one attempt, its objective values and ``EPOCHS`` epochs, and the memberships of population and
front in time. Codes repeat (``CODES`` different ones), phenotypes do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import JSON, Connection, Table, insert, text, update

from evolver import config
from evolver.rng import birth_rng
from evolver.store import claims, experiments, schema
from evolver.store.db import Database
from evolver.store.experiments import Experiment

CODES = 500
EPOCHS = 10
FRONT = 40
POPULATION = 100
CHUNK = 10_000


def grow(
    database: Database, genomes: int, *, name: str = "history", epochs: int = EPOCHS, **values: Any
) -> Experiment:
    """A running search that has evaluated so many genomes, at least ``POPULATION``; its queue is empty."""
    given = {"space": "small", "dataset": "fashion-mnist", "evaluator": "surrogate", "population": POPULATION,
             "budget": 10_000_000, **values}  # fmt: skip
    settings, data = config.build(name, config.parse(given), Path())
    with database.write() as connection:
        made = experiments.create(connection, settings, data, {"ideal": [0.0, 0.0]})
        experiments.transition(connection, made, "running")
        worker_id = claims.register_worker(connection, claims.WorkerInfo("bench", 1, "cpu", 1, {}), lease_s=0)
    for first in range(1, genomes + 1, CHUNK):
        with database.long_write() as connection:
            _write(connection, made, worker_id, range(first, min(first + CHUNK, genomes + 1)), epochs)
    with database.write() as connection:
        _write_members(connection, made, genomes)
        connection.execute(
            text(f"UPDATE experiment SET born = {genomes}, ingested = {genomes} WHERE id = {made.id}")
        )
        if not database.is_sqlite:
            _set_sequences(connection)
    _analyse(database)
    with database.read() as connection:
        return experiments.get(connection, name)


def _write(connection: Connection, made: Experiment, worker_id: int, numbers: range, epochs: int) -> None:
    """Genome i has evaluation i; values lie on no front but for the last ``FRONT`` (see _write_members)."""
    space, sample = _space(made), made.dataset.sample
    codes = _codes(space, sample)
    rng = np.random.default_rng(numbers.start)
    error = 0.2 + 0.5 * rng.random(len(numbers))
    rows: dict[Any, list[dict[str, Any]]] = {}
    for i, e in zip(numbers, error.tolist(), strict=True):
        code, params, flops = codes[i % CODES]
        for table, row in _rows(made, worker_id, i, e, code, params, flops, epochs):
            rows.setdefault(table, []).append(row)
    for table, values in rows.items():
        _insert(connection, table, values)


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Many rows at once: with COPY on PostgreSQL."""
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
        return
    names = list(rows[0])
    is_json = [isinstance(table.c[name].type, JSON) for name in names]
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:  # type: ignore[attr-defined]
        for row in rows:
            pairs = zip(row.values(), is_json, strict=True)
            copy.write_row([json.dumps(value) if as_json else value for value, as_json in pairs])


def _rows(
    made: Experiment, worker_id: int, i: int, error: float, code: Any, params: int, flops: int, epochs: int
) -> Iterator[tuple[Any, dict[str, Any]]]:
    yield schema.genome, {
        "id": i, "experiment_id": made.id, "birth": i, "code": code, "phenotype": f"{i:064x}",
        "operator": "random" if i <= POPULATION else "crossover", "rng_seed": [0, i], "tries": 1,
        "slot": (i - 1) % POPULATION, "born_after_ingest": max(0, i - 5), "breeder_version": 1,
        "params": params, "flops": flops,
    }  # fmt: skip
    if i > POPULATION:
        for position, back in enumerate((1 + i % 50, 51 + i % 49)):
            yield schema.parentage, {"child_id": i, "position": position, "parent_id": i - back}
    yield schema.evaluation, {
        "id": i, "experiment_id": made.id, "genome_id": i, "purpose": "search", "state": "done",
        "dataset_id": made.dataset.id, "recipe_id": made.recipe_id, "attempts": 1,
        "worker_id": worker_id, "token": f"{i:032x}", "ingest_no": i, "ended_at": made.created_at,
    }  # fmt: skip
    yield schema.attempt, {
        "evaluation_id": i, "number": 1, "worker_id": worker_id, "host": "bench", "slot": 0,
        "token": f"{i:032x}", "device": "cpu", "device_name": "cpu", "versions": {},
        "ended_at": made.created_at, "outcome": "done",
    }  # fmt: skip
    for objective, value in (("error", error), ("loss", 2.5 * error), ("params", params), ("flops", flops)):
        yield schema.objective_value, {"evaluation_id": i, "objective": objective, "value": value}
    for epoch in range(1, epochs + 1):
        yield schema.epoch_metric, {
            "evaluation_id": i, "epoch": epoch, "train_loss": 1 / epoch, "train_error": 0.5 / epoch,
            "validation_loss": 1 / epoch, "validation_error": 0.5 / epoch, "lr": 0.1, "seconds": 1.0,
        }  # fmt: skip


def _write_members(connection: Connection, made: Experiment, genomes: int) -> None:
    """The last genomes hold the slots, and the last few of those are the front."""
    slots = [{"kind": "population", "slot": slot, "genome_id": genomes - slot} for slot in range(POPULATION)]
    front = [{"kind": "front", "slot": None, "genome_id": genomes - i} for i in range(FRONT)]
    rows = [{"experiment_id": made.id, "entered_at": row["genome_id"], **row} for row in (*slots, *front)]
    connection.execute(insert(schema.membership), rows)
    values = schema.objective_value
    for i in range(FRONT):
        for objective, value in (("error", 0.1 + 0.002 * i), ("loss", 0.4 - 0.005 * i)):
            connection.execute(
                update(values)
                .where(values.c.evaluation_id == genomes - i, values.c.objective == objective)
                .values(value=value)
            )


def _space(made: Experiment) -> Any:
    from evolver.terms import load_space

    return load_space(made)


def _codes(space: Any, sample: Any) -> list[tuple[Any, int, int]]:
    made = []
    for i in range(CODES):
        genome = space.random(birth_rng(12345, i))
        cost = space.cost(genome, sample)
        made.append((json.loads(json.dumps(space.to_json(genome))), cost.params, cost.flops))
    return made


def _set_sequences(connection: Connection) -> None:
    for table in ("genome", "evaluation"):
        last = f"(SELECT max(id) FROM {table})"
        connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})"))


def _analyse(database: Database) -> None:
    with database.single() as connection:
        connection.exec_driver_sql("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE")
