"""Searches for a worker under test: a migrated database, experiments with a queue, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select, update

from evolver import recipe
from evolver.evaluation import DatasetRef, Task
from evolver.space import Sample
from evolver.store import experiments, queue, schema, steps
from evolver.store.db import Database

SAMPLE = Sample(1, (8, 8), 10)
TASK = Task(
    evaluation_id=7,
    genome_id=3,
    token="token",
    purpose="search",
    rung=0,
    evaluator="misbehaving",
    space="conv",
    space_settings={},
    code={"do": "finish"},
    dataset=DatasetRef(1, "digits", SAMPLE, 1150, 287, 360, 1, None),
    limit_train=None,
    recipe={},
    objectives=("error", "loss"),
    seed=1,
    timeout_s=None,
)
"""An evaluation of the evaluator ``misbehaving``, which finishes."""
ENTRY_POINT = "[evolver.evaluators]\nmisbehaving = tests.workers.misbehaving:Misbehaving\n"


def install_misbehaving(directory: Path) -> None:
    """Make the plug-in ``misbehaving`` known to processes that have ``directory`` on their path."""
    info = directory / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT)


def start_search(
    database: Database, codes: Sequence[Any], name: str = "search", evaluator: str = "misbehaving"
) -> None:
    """A running experiment with one pending evaluation for each code."""
    settings = experiments.Settings(
        name=name,
        limit_train=None,
        space="conv",
        space_version=1,
        space_settings={},
        recipe=recipe.load("fast", {"epochs": 2}).to_json(),
        objectives=("error", "loss"),
        selector="moead",
        evaluator=evaluator,
        population=4,
        budget=len(codes),
        seed=1,
        front_limit=1000,
        max_params=None,
        max_memory_bytes=None,
        max_attempts=2,
        timeout_s=None,
        max_hours=None,
        patience=None,
        breeder_version=1,
    )
    data = experiments.NewDataset("digits", SAMPLE, 1150, 287, 360, 1, None)
    with database.write() as conn:
        made = experiments.create(conn, settings, data, {})
        experiments.transition(conn, made, "running")
        genome_ids = steps.reserve_ids(conn, schema.genome, len(codes))
        new = [
            _genome(key, birth, code) for birth, (key, code) in enumerate(zip(genome_ids, codes, strict=True))
        ]
        steps.insert_genomes(conn, made.id, new)
        queue.enqueue(
            conn,
            [
                queue.NewEvaluation(made.id, one, "search", made.dataset.id, made.recipe_id)
                for one in genome_ids
            ],
        )


def _genome(key: int, birth: int, code: Any) -> steps.NewGenome:
    return steps.NewGenome(
        id=key,
        birth=birth,
        code=code,
        phenotype=f"{birth:064d}",
        duplicate_of=None,
        operator="random",
        rng_seed=(1, birth),
        tries=1,
        slot=0,
        born_after_ingest=0,
        breeder_version=1,
        params=10,
        flops=20,
        parents=(),
    )


def rows(database: Database, table: Any) -> Sequence[Row[Any]]:
    """All rows of a table, oldest first."""
    with database.read() as conn:
        return conn.execute(select(table).order_by(*table.primary_key.columns)).all()


def set_timeout(database: Database, timeout_s: float) -> None:
    """Give every experiment this time-out."""
    with database.write() as conn:
        conn.execute(update(schema.experiment).values(timeout_s=timeout_s))
