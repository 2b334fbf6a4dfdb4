"""The peer of ``coordination.py``: Optuna with RDBStorage and NSGA-II, what a user would pick instead."""

from __future__ import annotations

import json
import random
from multiprocessing.synchronize import Event as Stop
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, distribution_to_json
from sqlalchemy import Connection, create_engine, insert, text

PARAMETERS = 15
POPULATION = 50
STUDY = "history"
CHUNK = 5_000
_KEY = "NSGAIISampler:generation"
_PARENTS = "NSGAIISampler:parent:"


def sampler(seed: int | None = None) -> Any:
    return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)


def objective(trial: Any) -> tuple[float, float]:
    """Free of cost, and two conflicting values."""
    x = [trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(PARAMETERS)]
    return sum(x), sum((1.0 - v) ** 2 for v in x)


def storage(url: str) -> Any:
    return optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg://"))


def study_at(url: str) -> Any:
    """The study, as a process that has just started opens it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=STUDY, storage=storage(url), sampler=sampler())


def load_history(url: str, trials: int) -> None:
    """A study with so many completed trials, as an NSGA-II run leaves them.

    Each trial has its parameters, values and generation; each generation's parents are cached in the
    study's attributes. Written in bulk to Optuna's own tables.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(
        study_name=STUDY, storage=storage(url), directions=["minimize", "minimize"], sampler=sampler()
    )
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for first in range(0, trials, CHUNK):
            _write(connection, made._study_id, range(first, min(first + CHUNK, trials)))
        _write_parents(connection, made._study_id, trials)
        for table, key in (("trials", "trial_id"), ("study_system_attributes", "study_system_attribute_id")):
            sequence = f"pg_get_serial_sequence('{table}', '{key}')"
            connection.execute(
                text(f"SELECT setval({sequence}, (SELECT coalesce(max({key}), 1) FROM {table}))")
            )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _write(connection: Connection, study_id: int, numbers: range) -> None:
    from optuna.storages._rdb import models

    rng = random.Random(numbers.start)
    distribution = distribution_to_json(FloatDistribution(0.0, 1.0))
    trials, params, values, attributes = [], [], [], []
    for number in numbers:
        key = number + 1
        x = [rng.random() for _ in range(PARAMETERS)]
        trials.append({"trial_id": key, "number": number, "study_id": study_id, "state": "COMPLETE"})
        params += [
            {"trial_id": key, "param_name": f"x{i}", "param_value": v, "distribution_json": distribution}
            for i, v in enumerate(x)
        ]
        for i, value in enumerate((sum(x), sum((1.0 - v) ** 2 for v in x))):
            values.append({"trial_id": key, "objective": i, "value": value, "value_type": "FINITE"})
        attributes.append({"trial_id": key, "key": _KEY, "value_json": json.dumps(number // POPULATION)})
    for model, rows in (
        (models.TrialModel, trials),
        (models.TrialParamModel, params),
        (models.TrialValueModel, values),
        (models.TrialSystemAttributeModel, attributes),
    ):
        connection.execute(insert(model.__table__), rows)  # type: ignore[arg-type]
    start = text(
        "UPDATE trials SET datetime_start = now(), datetime_complete = now() WHERE trial_id > :first"
    )
    connection.execute(start, {"first": numbers.start})


def _write_parents(connection: Connection, study_id: int, trials: int) -> None:
    from optuna.storages._rdb import models

    rows = [
        {
            "study_id": study_id,
            "key": f"{_PARENTS}{generation}",
            "value_json": json.dumps([(generation - 1) * POPULATION + i + 1 for i in range(POPULATION)]),
        }
        for generation in range(1, trials // POPULATION)
    ]
    connection.execute(insert(models.StudySystemAttributeModel.__table__), rows)  # type: ignore[arg-type]


def work(url: str, stop: Stop) -> None:
    """One process that evaluates trials until it is told to stop."""
    study = study_at(url)
    while not stop.is_set():
        study.optimize(objective, n_trials=1)


def completed(url: str) -> int:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM trials WHERE state = 'COMPLETE'")).scalar_one()
    engine.dispose()
    return int(found)
