"""Faults on purpose: a search on PostgreSQL whose processes, connections and server are broken at random.

Real schedulers and workers with an evaluator of 30 to 300 ms. At random: SIGKILL, or SIGSTOP past the
lease and SIGCONT, to workers, training processes and schedulers; PostgreSQL stopped in immediate mode and
started again; connections cut by the server; a network that stalls (workers go through a proxy). At the
end nothing may be lost, doubled, or wrong against the replay; nobody repairs anything by hand.

The seed of the faults is printed; EVOLVER_CHAOS_SEED repeats them.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import common
import psutil
from sqlalchemy import text

from evolver.store import experiments
from evolver.store.db import Database, DatabaseUnavailable
from tests import factories
from tests.acceptance.invariants import assert_nothing_was_lost_or_doubled
from tests.acceptance.processes import Farm, Process, farm
from tests.postgres import Server
from tests.proxy import Proxy

LEASE_S = 4
FROZEN_S = 6.0
STALL_S = 3.0
EXTENSION = 500
"""Evaluations by which the budget is raised while there is time left."""


class Chaos:
    """The processes of one search, and the faults."""

    def __init__(self, server: Server, proxy: Proxy, processes: Farm, database: Database, seed: int) -> None:
        self.server, self.proxy, self.processes, self.database = server, proxy, processes, database
        self.rng = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.schedulers = [processes.scheduler() for _ in range(2)]
        self.workers = [self._worker() for _ in range(3)]
        self._thaw: list[tuple[float, Process]] = []

    def _worker(self) -> Process:
        return self.processes.worker("--slots", "2", lease_s=LEASE_S)

    def faults_by_weight(self) -> list[tuple[int, Callable[[], str]]]:
        return [
            (6, self.kill_worker),
            (8, self.kill_training_process),
            (4, self.kill_scheduler),
            (4, self.freeze_worker),
            (3, self.freeze_scheduler),
            (5, self.restart_server),
            (4, self.cut_connections),
            (3, self.stall_network),
        ]

    def inject(self) -> None:
        """One fault, by weight, and what a service manager would do: start again what has ended."""
        weights, faults = zip(*self.faults_by_weight(), strict=True)
        self.faults[self.rng.choices(faults, weights)[0]()] += 1
        self.look_after()

    def look_after(self) -> None:
        for at, frozen in list(self._thaw):
            if time.monotonic() >= at:
                frozen.send_tree(signal.SIGCONT)
                self._thaw.remove((at, frozen))
        self.schedulers = [one if one.is_alive else self.processes.scheduler() for one in self.schedulers]
        self.workers = [one if one.is_alive else self._worker() for one in self.workers]

    def kill_worker(self) -> str:
        victim = self.rng.choice(self.workers)
        victim.send(signal.SIGCONT)
        victim.send(signal.SIGKILL)
        victim.popen.wait(10)
        return "SIGKILL to a worker"

    def kill_training_process(self) -> str:
        for child in self.rng.choice(self.workers).children()[:1]:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return "SIGKILL to a training process"

    def kill_scheduler(self) -> str:
        victim, which = self._leading_scheduler()
        victim.send(signal.SIGCONT)
        victim.send(signal.SIGKILL)
        victim.popen.wait(10)
        return f"SIGKILL to {which}"

    def freeze_worker(self) -> str:
        self._freeze(self.rng.choice(self.workers))
        return f"SIGSTOP to a worker for {FROZEN_S:g} s (its lease: {LEASE_S} s)"

    def freeze_scheduler(self) -> str:
        victim, which = self._leading_scheduler()
        self._freeze(victim)
        return f"SIGSTOP to {which} for {FROZEN_S:g} s (its lease: 2 s)"

    def _leading_scheduler(self) -> tuple[Process, str]:
        """The one that leads, or any if none can be told."""
        with suppress(DatabaseUnavailable), self.database.read() as connection:
            holder = connection.execute(text("SELECT holder FROM leader")).scalar() or "::"
            for one in self.schedulers:
                if holder.split(":")[1] == str(one.popen.pid):
                    return one, "the leading scheduler"
        return self.rng.choice(self.schedulers), "a scheduler"

    def _freeze(self, victim: Process) -> None:
        victim.send_tree(signal.SIGSTOP)
        self._thaw.append((time.monotonic() + FROZEN_S, victim))

    def restart_server(self) -> str:
        self.server.shut_down("immediate")
        time.sleep(self.rng.uniform(0.0, 2.0))
        self.server.start()
        return "PostgreSQL stopped in immediate mode and started"

    def cut_connections(self) -> str:
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'chaos' AND pid <> pg_backend_pid()"
        )
        with suppress(DatabaseUnavailable), self.database.write() as connection:
            connection.execute(text(others))
        return "all connections cut by the server"

    def stall_network(self) -> str:
        self.proxy.stall()
        time.sleep(STALL_S)
        self.proxy.go_on()
        return f"the workers' network stalled for {STALL_S:g} s"

    def end(self) -> None:
        """No more faults: everything goes on."""
        for _, frozen in self._thaw:
            frozen.send_tree(signal.SIGCONT)
        self._thaw.clear()


def ingested(database: Database) -> int:
    with suppress(DatabaseUnavailable):
        return factories.current(database).ingested
    return -1


def needs_more(database: Database, seconds_left: float) -> bool:
    """Whether faults shall go on; while there is time left, the budget is raised, as a user may do."""
    found = ingested(database)
    if found < 0:
        return True
    current = factories.current(database)
    if found < 0.9 * current.settings.budget:
        return True
    if seconds_left <= 0:
        return False
    with suppress(DatabaseUnavailable), database.write() as connection:
        experiments.extend(connection, current, current.settings.budget + EXTENSION)
    return True


def run(budget: int, least_s: float, seed: int, directory: Path) -> dict[str, object]:
    """A search of at least this budget, under faults for at least so long."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(directory, port=port)
    server.start()
    database = common.new_postgresql(server, "chaos")
    factories.created(database, budget=budget, population=20, max_attempts=1000)
    began = time.monotonic()
    try:
        with Proxy(("127.0.0.1", port)) as proxy:
            through = server.url("chaos").replace(f":{port}/", f":{proxy.port}/")
            with farm(through, directory, seconds="0.03:0.3") as processes:
                chaos = Chaos(server, proxy, processes, database, seed)
                while needs_more(database, began + least_s - time.monotonic()):
                    pause = time.monotonic() + chaos.rng.uniform(0.5, max(1.0, least_s / 100))
                    while time.monotonic() < pause:
                        time.sleep(0.1)
                        chaos.look_after()
                    chaos.inject()
                    if sum(chaos.faults.values()) % 10 == 0:
                        print(f"{time.monotonic() - began:4.0f} s: {ingested(database)} ingested", flush=True)
                chaos.end()
                while factories.current(database).state != "finished":
                    chaos.look_after()
                    time.sleep(0.2)
                seconds = time.monotonic() - began
        budget = factories.current(database).settings.budget
        assert_nothing_was_lost_or_doubled(database, budget)
        with database.read() as connection:
            query = "SELECT outcome, count(*) AS number FROM attempt GROUP BY outcome"
            outcomes = {row.outcome: row.number for row in connection.execute(text(query))}
    finally:
        database.dispose()
        server.stop()
    return {
        "evaluations": budget,
        "seconds": seconds,
        "faults": dict(chaos.faults),
        "attempts": outcomes,
        "seed": seed,
    }


def main() -> None:
    args = common.options(__doc__ or "")
    seed = int(os.environ.get("EVOLVER_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"EVOLVER_CHAOS_SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        found = run(*((200, 30.0) if args.quick else (2_000, 600.0)), seed, Path(directory))
    faults = found["faults"]
    assert isinstance(faults, dict)
    for fault, number in sorted(faults.items()):
        print(f"{number:4d} × {fault}")
    print(f"survived: {found['evaluations']} evaluations in {found['seconds']:.0f} s, each recorded once")
    print(f"attempts: {found['attempts']}")
    common.report(args, {"faults_survived": float(sum(faults.values()))}, found)


if __name__ == "__main__":
    main()
