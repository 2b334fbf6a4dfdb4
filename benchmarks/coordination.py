"""Whole cycles a second of the database's part: breed, claim, 10 epochs, complete, ingest, select.

The evaluator costs nothing, so that nothing but coordination is measured. The peer is Optuna
(``RDBStorage``, ``NSGAIISampler``, two objectives, 15 parameters) on the same PostgreSQL server, with as
many processes, histories loaded as an NSGA-II run leaves them; both sides in turn in one run, with
fsync and synchronous_commit on. A cycle counts when its ingest has committed.

With one process it breeds and evaluates in turn; with more, one is the scheduler and the others work.
The limit is a bare fenced claim-and-complete loop on the same server.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable

import common
import history
from sqlalchemy import text

from evolver.evaluation import Epoch
from evolver.scheduler import Scheduler
from evolver.store import leases
from evolver.store.db import Database
from evolver.store.leases import Lease, Offer, WorkerInfo

EPOCHS = [Epoch(n, 1 / n, 0.5 / n, 1 / n, 0.5 / n, 0.1, 1.0) for n in range(1, history.EPOCHS + 1)]
WARM_UP_S = 1.0


class Evaluations:
    """The cycle's part of a worker: claim one evaluation, and complete it with its epochs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.count = 0
        with database.write() as connection:
            self.worker_id = leases.register_worker(
                connection, WorkerInfo("bench", 1, "cpu", 1, {}), lease_s=600
            )
        self.offers: list[Offer] = []

    def one(self) -> bool:
        """Whether there was one to evaluate."""
        if not self.offers:
            with self.database.read() as connection:
                self.offers = leases.offers(connection)
        with self.database.single() as connection:
            claim = leases.claim(
                connection,
                self.worker_id,
                slot=0,
                device="cpu",
                device_name="cpu",
                versions={},
                lease_s=60,
                offers=self.offers,
            )
        if claim is None:
            return False
        error = 0.15 + 0.5 * (hash(claim.lease.token) % 10_000) / 10_000
        self._complete(claim.lease, {"error": error, "loss": 2.5 * error, "params": 1.0, "flops": 1.0})
        self.count += 1
        return True

    def _complete(self, lease: Lease, values: dict[str, float]) -> None:
        with self.database.single() as connection:
            leases.complete(connection, lease, values, epochs=EPOCHS)


def lead_and_work(url: str, until: float) -> None:
    """One process that does everything."""
    database = Database.open(url)
    scheduler, evaluations = Scheduler(database), Evaluations(database)
    while time.monotonic() < until:
        scheduler.step()
        while evaluations.one() and time.monotonic() < until:
            pass
    scheduler.close()


def lead(url: str, until: float) -> None:
    scheduler = Scheduler(Database.open(url))
    scheduler.run(lambda: time.monotonic() >= until)
    scheduler.close()


def work(url: str, until: float) -> None:
    evaluations = Evaluations(Database.open(url))
    while time.monotonic() < until:
        if not evaluations.one():
            time.sleep(0.002)


def cycles_per_second(database: Database, processes: int, seconds: float) -> float:
    """The rate at which results are ingested, after a warm-up."""
    url, until = common.url_of(database), time.monotonic() + 60.0
    context = multiprocessing.get_context("spawn")
    roles: list[Callable[[str, float], None]] = (
        [lead_and_work] if processes == 1 else [lead] + [work] * (processes - 1)
    )
    until = time.monotonic() + seconds + WARM_UP_S + 4.0
    running = [context.Process(target=role, args=(url, until)) for role in roles]
    for process in running:
        process.start()
    start = ingested(database)
    while ingested(database) < start + 20 and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(WARM_UP_S)
    first, began = ingested(database), time.monotonic()
    time.sleep(seconds)
    rate = (ingested(database) - first) / (time.monotonic() - began)
    for process in running:
        process.join()
    return rate


def ingested(database: Database) -> int:
    with database.read() as connection:
        return int(
            connection.execute(text("SELECT ingested FROM experiment WHERE name = 'history'")).scalar_one()
        )


if __name__ == "__main__":
    import sys

    with common.postgresql() as server, tempfile.TemporaryDirectory() as directory:
        database = common.new_postgresql(server, "history_1000")
        history.grow(database, 1000)
        if len(sys.argv) > 1:
            import cProfile

            cProfile.run("lead_and_work(common.url_of(database), time.monotonic()+8)", "/tmp/prof")
        else:
            print(cycles_per_second(database, 1, 5), cycles_per_second(database, 4, 5))
