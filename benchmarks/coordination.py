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
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Event as Stop
from pathlib import Path
from typing import Any

import common
import history
import optuna_peer
from sqlalchemy import Engine, create_engine, event, text

from evolver.evaluation import Epoch
from evolver.scheduler import Scheduler
from evolver.store import claims, leases, single
from evolver.store.claims import Offer, WorkerInfo
from evolver.store.db import Database, resolve_url
from evolver.store.leases import Lease
from evolver.store.wakeups import WORK, Wakeups
from tests.postgres import Server

EPOCHS = [Epoch(n, 1 / n, 0.5 / n, 1 / n, 0.5 / n, 0.1, 1.0) for n in range(1, history.EPOCHS + 1)]
Role = Callable[[str, Stop], None]
LOOK_S = 0.05
IDLE_S = 0.01
START_S = 400.0
"""What processes may take to start, at most; the window opens when results come in."""


class Evaluations:
    """The cycle's part of a worker: claim one evaluation, and complete it with its epochs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.count = 0
        with database.write() as connection:
            self.worker_id = claims.register_worker(
                connection, WorkerInfo("bench", 1, "cpu", 1, {}), lease_s=600
            )
        self.offers: list[Offer] = []

    def one(self) -> bool:
        """Whether there was one to evaluate."""
        if not self.offers:
            with self.database.read() as connection:
                self.offers = claims.offers(connection)
        with self.database.single() as connection:
            claim = claims.claim(
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


def lead_and_work(url: str, stop: Stop) -> None:
    """One process that does everything."""
    database = Database.open(url)
    scheduler, evaluations = Scheduler(database), Evaluations(database)
    while not stop.is_set():
        scheduler.step()
        while evaluations.one() and not stop.is_set():
            pass
    scheduler.close()


def lead(url: str, stop: Stop) -> None:
    scheduler = Scheduler(Database.open(url))
    scheduler.run(stop.is_set)
    scheduler.close()


def work(url: str, stop: Stop) -> None:
    database = Database.open(url)
    wakeups = Wakeups(database.engine, WORK)
    evaluations = Evaluations(database)
    while not stop.is_set():
        if not evaluations.one():
            wakeups.wait(IDLE_S)


def rate(roles: list[Role], url: str, done: Callable[[], int], seconds: float) -> float:
    """How many results a second these processes record together, once they are under way."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    running = [context.Process(target=role, args=(url, stop)) for role in roles]
    for process in running:
        process.start()
    start, given_up = done(), time.monotonic() + START_S
    while done() < start + len(roles) and time.monotonic() < given_up:
        time.sleep(LOOK_S)
    first, began = done(), time.monotonic()
    time.sleep(seconds)
    found = (done() - first) / (time.monotonic() - began)
    stop.set()
    for process in running:
        process.join()
    return found


def our_rate(database: Database, processes: int, seconds: float) -> float:
    roles: list[Role] = [lead_and_work] if processes == 1 else [lead, *[work] * (processes - 1)]
    return rate(roles, common.url_of(database), lambda: ingested(database), seconds)


def ingested(database: Database) -> int:
    with database.read() as connection:
        query = text("SELECT ingested FROM experiment WHERE name = 'history'")
        return int(connection.execute(query).scalar_one())


def peer_rate(url: str, processes: int, seconds: float) -> float:
    return rate([optuna_peer.work] * processes, url, lambda: optuna_peer.completed(url), seconds)


# --- the limit: a bare fenced claim and completion, nothing bred, nothing selected ---------------------

BARE = [
    "CREATE TABLE IF NOT EXISTS bare (id bigint PRIMARY KEY, state text NOT NULL, token text)",
    "CREATE INDEX IF NOT EXISTS bare_pending ON bare (id) WHERE state = 'pending'",
    "TRUNCATE bare",
    "INSERT INTO bare SELECT i, 'pending', NULL FROM generate_series(1, 60000) i",
    "ANALYZE bare",
]
BARE_CLAIM = (
    "UPDATE bare SET state = 'running', token = %(token)s WHERE id = (SELECT id FROM bare "
    "WHERE state = 'pending' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
)
BARE_COMPLETE = "UPDATE bare SET state = 'done' WHERE id = %(id)s AND state = 'running' AND token = %(token)s"


def bare_work(url: str, stop: Stop) -> None:
    engine = create_engine(resolve_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        count = 0
        while not stop.is_set():
            token = f"{time.monotonic_ns()}-{count}"
            claimed = connection.exec_driver_sql(BARE_CLAIM, {"token": token}).scalar_one()
            connection.exec_driver_sql(BARE_COMPLETE, {"id": claimed, "token": token})
            count += 1


def bare_rate(server: Server, processes: int, seconds: float) -> float:
    url = server.url("bare")
    engine = create_engine(resolve_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in BARE:
            connection.execute(text(statement))

    def done() -> int:
        with engine.connect() as connection:
            query = text("SELECT count(*) FROM bare WHERE state = 'done'")
            return int(connection.execute(query).scalar_one())

    found = rate([bare_work] * processes, url, done, seconds)
    engine.dispose()
    return found


# --- what a cycle sends, and what a new process needs ---------------------------------------------------


@contextmanager
def counted(engine: Engine) -> Iterator[dict[str, int]]:
    """Statements and commits that this process sends through an engine."""
    counts = {"statements": 0, "commits": 0}

    def count(_c: Any, _cursor: Any, sql: str, _parameters: Any, context: Any, _many: bool) -> None:
        counts["statements"] += 1
        if context is not None and context.execution_options.get("evolver_mode") == "single":
            counts["commits"] += 1  # a statement that is a transaction of its own

    def commit(connection: Any) -> None:
        counts["commits"] += connection.get_execution_options().get("evolver_mode") != "single"

    event.listen(engine, "before_cursor_execute", count)
    event.listen(engine, "commit", commit)
    yield counts
    event.remove(engine, "before_cursor_execute", count)
    event.remove(engine, "commit", commit)


def fill_queue(database: Database) -> None:
    """Something to claim for a process that only works."""
    scheduler = Scheduler(database)
    scheduler.step()
    scheduler.close()


def our_traffic(database: Database, seconds: float = 2.0) -> dict[str, float]:
    """Statements and commits a cycle, of one process that does everything."""
    scheduler, evaluations = Scheduler(database), Evaluations(database)
    scheduler.step()
    first, until = ingested(database), time.monotonic() + seconds
    with counted(database.engine) as counts:
        while time.monotonic() < until:
            scheduler.step()
            while evaluations.one():
                pass
        scheduler.step()
    scheduler.close()
    cycles = ingested(database) - first
    return {name: number / cycles for name, number in counts.items()}


def our_profile(database: Database, seconds: float = 3.0) -> dict[str, float]:
    """Milliseconds a cycle of one process that does everything, and how many of them go where.

    ``step`` holds the scheduler's steps, of which ``step_statements`` waits for the database; ``claim`` and
    ``completion`` are the waits for those two statements. The rest of the cycle is the driver's work on them.
    """
    scheduler, evaluations = Scheduler(database), Evaluations(database)
    spent: dict[str, float] = dict.fromkeys(("step", "step_statements", "claim", "completion"), 0.0)
    started = 0.0

    def before(*_: Any) -> None:
        nonlocal started
        started = time.perf_counter()

    def after(_c: Any, _cursor: Any, sql: str, *_: Any) -> None:
        kinds = {single.CLAIM: "claim", single.COMPLETE: "completion"}
        spent[kinds.get(sql, "step_statements")] += time.perf_counter() - started

    scheduler.step()
    event.listen(database.engine, "before_cursor_execute", before)
    event.listen(database.engine, "after_cursor_execute", after)
    first, began = evaluations.count, time.perf_counter()
    while time.perf_counter() < began + seconds:
        step_began = time.perf_counter()
        scheduler.step()
        spent["step"] += time.perf_counter() - step_began
        while evaluations.one():
            pass
    spent["cycle"] = time.perf_counter() - began
    event.remove(database.engine, "before_cursor_execute", before)
    event.remove(database.engine, "after_cursor_execute", after)
    scheduler.close()
    return {name: 1000 * value / (evaluations.count - first) for name, value in spent.items()}


def peer_traffic(url: str, trials: int = 20) -> dict[str, float]:
    study = optuna_peer.study_at(url)
    study.optimize(optuna_peer.objective, n_trials=1)
    with counted(study._storage._backend.engine) as counts:
        study.optimize(optuna_peer.objective, n_trials=trials)
    return {name: number / trials for name, number in counts.items()}


def peak_megabytes() -> float:
    """The peak of this process's resident memory; ``ru_maxrss`` would count the parent's peak too."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def our_first_claim(url: str, answer: Pipe) -> None:
    began = time.perf_counter()
    database = Database.open(url)
    assert Evaluations(database).one()
    answer.send((time.perf_counter() - began, peak_megabytes()))


def peer_first_claim(url: str, answer: Pipe) -> None:
    began = time.perf_counter()
    trial = optuna_peer.study_at(url).ask()
    optuna_peer.objective(trial)
    answer.send((time.perf_counter() - began, peak_megabytes()))


def first_claim(role: Callable[[str, Pipe], None], url: str) -> dict[str, float]:
    """Seconds after the imports, and peak memory, of a new process until its first claim."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=role, args=(url, theirs))
    process.start()
    seconds, megabytes = ours.recv()
    process.join()
    return {"seconds": seconds, "megabytes": megabytes}


# --- the runs -------------------------------------------------------------------------------------------


def compare(
    server: Server, genomes: int, runs: Mapping[int, int], peer_runs: Mapping[int, int], seconds: float
) -> dict[str, Any]:
    """All sides at one length of history, interleaved: so many runs for each number of processes.

    The peer takes part in the first ``peer_runs`` of them: 70 s and 3.7 GB for each of its processes at
    100,000 do not allow more.
    """
    database = common.new_postgresql(server, f"ours_{genomes}")
    history.grow(database, genomes)
    peer = _new_database(server, f"peer_{genomes}")
    optuna_peer.load_history(peer, genomes)
    fill_queue(database)
    found: dict[str, Any] = {
        "first_claim": first_claim(our_first_claim, common.url_of(database)),
        "first_claim_peer": first_claim(peer_first_claim, peer),
        "traffic": our_traffic(database),
        "profile_ms": our_profile(database),
        "traffic_peer": peer_traffic(peer),
    }
    _say(genomes, **found)
    for processes, number in runs.items():
        ours = ("ours", partial(our_rate, database, processes, seconds))
        bare = ("bare", partial(bare_rate, server, processes, seconds))
        theirs = ("peer", partial(peer_rate, peer, processes, seconds))
        with_peer = peer_runs.get(processes, number)
        measured = common.interleaved(with_peer, [ours, theirs, bare])
        for name, values in common.interleaved(number - with_peer, [ours, bare]).items():
            measured[name] += values
        found[f"processes_{processes}"] = measured
        if measured["peer"]:
            measured_with = {name: values[:with_peer] for name, values in measured.items()}
            found[f"ratio_{processes}"] = common.median_of_ratios(
                measured_with["ours"], measured_with["peer"]
            )
        medians = {name: statistics.median(values) for name, values in measured.items() if values}
        _say(genomes, processes=processes, **medians, ratio=found.get(f"ratio_{processes}"))
    return found


def flatness(server: Server, largest: int, processes: list[int], runs: int, seconds: float) -> dict[str, Any]:
    """Our seconds a cycle at the largest history against those at 1,000, interleaved."""
    databases = {}
    for genomes in (1_000, largest):
        databases[genomes] = common.new_postgresql(server, f"flat_{genomes}")
        history.grow(databases[genomes], genomes, epochs=1)
    fill_queue(databases[largest])
    found: dict[str, Any] = {
        "genomes": largest,
        "first_claim": first_claim(our_first_claim, common.url_of(databases[largest])),
    }
    for number in processes:
        sides = [(str(n), partial(our_rate, d, number, seconds)) for n, d in databases.items()]
        measured = common.interleaved(runs, sides)
        found[f"processes_{number}"] = measured
        found[f"ratio_{number}"] = common.median_of_ratios(measured["1000"], measured[str(largest)])
        medians = {name: statistics.median(values) for name, values in measured.items()}
        _say(largest, processes=number, **medians, ratio=found[f"ratio_{number}"])
    _say(largest, first_claim=found["first_claim"])
    return found


def _say(genomes: int, **figures: object) -> None:
    print(f"{genomes} genomes:", ", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


def on_sqlite(genomes: int, processes: list[int], runs: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        database = common.new_sqlite(Path(directory), "ours")
        history.grow(database, genomes)
        sides = [(f"processes_{n}", lambda n=n: our_rate(database, n, seconds)) for n in processes]
        return common.interleaved(runs, sides)


def _new_database(server: Server, name: str) -> str:
    engine = create_engine(resolve_url(server.url("postgres")), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.url(name)


def main(args: Namespace) -> None:
    runs, seconds = (3, 3.0) if args.quick else (5, 5.0)
    several = {1: runs, 4: 3, 8: 3}
    plan = {1_000: {1: runs}} if args.quick else {1_000: several, 10_000: several, 100_000: several}
    peer_runs = {100_000: {1: 3, 4: 1, 8: 0}}
    largest, processes = (10_000, [1]) if args.quick else (1_000_000, [1, 4, 8])
    headline: dict[str, float] = {}
    details: dict[str, Any] = {"runs": runs, "seconds": seconds}
    with common.postgresql() as server:
        _new_database(server, "bare")
        for genomes, numbers in plan.items():
            found = compare(server, genomes, numbers, peer_runs.get(genomes, {}), seconds)
            headline[f"cycles_ratio_vs_optuna_{genomes // 1000}k"] = found["ratio_1"]
            details[f"history_{genomes}"] = found
        details["flatness"] = flat = flatness(server, largest, processes, 3, seconds)
        headline["flatness"] = flat["ratio_1"]
        headline["first_claim_s"] = flat["first_claim"]["seconds"]
    details["sqlite"] = on_sqlite(1_000, processes, runs, seconds)
    common.report(args, headline, details)


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
