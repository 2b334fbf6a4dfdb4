"""How much room searches take, on SQLite and on PostgreSQL: figures of docs/operations.md.

A real scheduler and a real worker of four slots run a search of ``small`` for Fashion-MNIST (error and
parameters, the synthetic evaluator, which takes no time). ``bytes_a_genome`` is what the database grew by
between the ``FIRST`` genome, when the population is full, and the last, divided by their number: with
indexes, and with the room that changed rows gave up. Once with ten epochs and once with one:
``bytes_an_epoch`` is a ninth of the difference. On PostgreSQL autovacuum is as it comes.

Meanwhile the connections of the two to the server are counted, and the resident memory of each is read, the
most at once. ``checkpoint_bytes_a_parameter`` is that of files to resume from and of weights, the median over
random genomes of ``small``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import psutil
import torch
from sqlalchemy import text
from training import SAMPLES, Silent, images, random_network

from evolver import config, recipe
from evolver.errors import HandedBack
from evolver.evaluation import SavedCheckpoint
from evolver.store import experiments
from evolver.store.db import Database
from tests.acceptance.processes import farm
from workers import checkpoints, trainer
from workers.data.device import prepare
from workers.trainer import Job

FIRST = 200
"""Genomes before the first measurement: the population is full, and each table has its first pages."""
NETWORKS = 20
LOOK_S = 0.2
GIVEN_UP_S = 900.0
MIB = 2**20

CONNECTIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
INGESTED = text("SELECT ingested FROM experiment WHERE name = 'sizing'")


def create(database: Database, budget: int, epochs: int) -> None:
    given = {"space": "small", "dataset": "fashion-mnist", "evaluator": "surrogate", "epochs": epochs,
             "objectives": ["error", "params"], "population": 100, "budget": budget, "seed": 1}  # fmt: skip
    settings, data = config.build("sizing", config.parse(given), Path())
    with database.write() as connection:
        experiments.create(connection, settings, data, config.initial_selector_state(settings))


def size(database: Database) -> int:
    """The bytes of the database, with what SQLite has in its write-ahead log brought into the file."""
    if not database.is_sqlite:
        with database.read() as connection:
            query = text("SELECT pg_database_size(current_database())")
            return int(connection.execute(query).scalar_one())
    with database.read() as connection:
        pages = connection.execute(text("SELECT page_count FROM pragma_page_count")).scalar_one()
        return int(pages) * int(connection.execute(text("PRAGMA page_size")).scalar_one())


def connections(database: Database) -> int:
    """Those of others than this process, which holds one; SQLite has none."""
    if database.is_sqlite:
        return 0
    with database.read() as connection:
        return int(connection.execute(CONNECTIONS).scalar_one())


def ingested(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(INGESTED).scalar_one())


def search(database: Database, directory: Path, budget: int, epochs: int) -> dict[str, float]:
    """What one search took: bytes a genome, connections, memory of scheduler and worker in MiB."""
    create(database, budget, epochs)
    first: tuple[int, int] | None = None
    most = 0
    given_up = time.monotonic() + GIVEN_UP_S
    with farm(common.url_of(database), directory, seconds="0") as processes:
        parts = {"scheduler": processes.scheduler(), "worker": processes.worker("--slots", "4")}
        memory = dict.fromkeys(parts, 0.0)
        while (done := ingested(database)) < budget:
            if time.monotonic() > given_up:
                raise TimeoutError(f"{done} of {budget} genomes after {GIVEN_UP_S:g} s")
            if first is None and done >= FIRST:
                first = done, size(database)
            most = max(most, connections(database))
            for name, process in parts.items():
                resident = psutil.Process(process.popen.pid).memory_info().rss / MIB
                memory[name] = max(memory[name], resident)
            time.sleep(LOOK_S)
        last = size(database)
    assert first is not None
    grown = (last - first[1]) / (budget - first[0])
    return {"bytes_a_genome": grown, "connections": most, **{f"{n}_mib": m for n, m in memory.items()}}


class Leaving(Silent):
    """A context that asks to stop after the first step; keeps what it is told of the checkpoint."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.saved: list[SavedCheckpoint] = []
        self._asked = 0

    def stop_requested(self) -> bool:
        self._asked += 1
        return self._asked > 1

    def report_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self.saved.append(checkpoint)


def checkpoint_bytes(number: int) -> dict[str, float]:
    """Bytes a parameter of a file to resume from and of one of weights: medians over random genomes."""
    settings = recipe.load("fast", {"epochs": 1})
    raw, ref, _augmentation = images("fashion-mnist", 2 * settings.batch_size + 2)
    part = prepare(ref, None, raw, torch.device("cpu")).train.part(0, 2 * settings.batch_size)
    found: dict[str, list[float]] = {"resume": [], "weights": []}
    for seed in range(number):
        network = random_network("small", seed, SAMPLES["fashion-mnist"], seed)
        parameters = sum(tensor.numel() for tensor in network.parameters())
        leaving = Leaving()
        try:
            trainer.train(Job(network, settings, part, None, seed, seed + 1, "t", "p"), leaving)
        except HandedBack:
            found["resume"].append(leaving.saved[-1].bytes / parameters)
        key = checkpoints.weights_key(seed + 1, "t")
        written = checkpoints.save("memory://benchmark", key, network.state_dict(), {})
        found["weights"].append(written.bytes / parameters)
    return {name: statistics.median(values) for name, values in found.items()}


def main(args: Namespace) -> None:
    budget = 600 if args.quick else 2_000
    headline: dict[str, float] = {}
    details: dict[str, Any] = {"genomes": budget, "first": FIRST}
    with common.postgresql() as server, tempfile.TemporaryDirectory() as directory:
        kinds: dict[str, Callable[[str], Database]] = {
            "sqlite": lambda name: common.new_sqlite(Path(directory), name),
            "postgresql": lambda name: common.new_postgresql(server, name),
        }
        for kind, make in kinds.items():
            for epochs in (10, 1):
                database = make(f"epochs_{epochs}")
                found = details[f"{kind}_epochs_{epochs}"] = search(database, Path(directory), budget, epochs)
                database.dispose()
                print(kind, f"epochs {epochs}:", found, flush=True)
            ten, one = (details[f"{kind}_epochs_{epochs}"] for epochs in (10, 1))
            headline[f"bytes_a_genome_{kind}"] = ten["bytes_a_genome"]
            headline[f"bytes_an_epoch_{kind}"] = (ten["bytes_a_genome"] - one["bytes_a_genome"]) / 9
            headline[f"scheduler_mib_{kind}"] = ten["scheduler_mib"]
            headline[f"worker_mib_{kind}"] = ten["worker_mib"]
    headline["connections_of_scheduler_and_worker"] = max(
        details[f"postgresql_epochs_{epochs}"]["connections"] for epochs in (10, 1)
    )
    for name, value in checkpoint_bytes(5 if args.quick else NETWORKS).items():
        headline[f"checkpoint_bytes_a_parameter_{name}"] = value
    common.report(args, headline, details)


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
