"""How soon an idle worker starts a genome that was just born, and what idle connections cost the server.

An idle supervisor waits for work as ``evolver worker`` does (LISTEN, and polling with back-off); a genome
is enqueued, and the time until its claim has committed is measured. The same without notifications, by
polling alone, is the other side. Then 200 connections listen and poll from one process, and the server's
CPU time is read; what 1,000 workers would cost is extrapolated from it, and marked so.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import common
import psutil
from coordination import Evaluations
from history import grow
from sqlalchemy import text

from evolver.store import claims
from evolver.store.db import VARIABLE, Database
from evolver.store.wakeups import WORK, Wakeups, announce
from workers.loop import Backoff
from workers.supervisor import LISTENING_POLL_S, POLL_S

IDLE = 200
REPEAT = """
    INSERT INTO evaluation (experiment_id, genome_id, purpose, dataset_id, recipe_id, seed_no)
    SELECT experiment_id, genome_id, 'repeat', dataset_id, recipe_id,
           (SELECT count(*) FROM evaluation WHERE purpose = 'repeat')
    FROM evaluation ORDER BY id LIMIT 1"""


def waits(database: Database, number: int, *, listen: bool) -> list[float]:
    """Milliseconds from an enqueueing commit to the claim of an idle worker, so many times."""
    found: list[float] = []
    claimed = threading.Event()
    moments: dict[str, float] = {}

    def idle_worker() -> None:
        mine = Database(database.url)
        wakeups = Wakeups(mine.engine, WORK) if listen else None
        evaluations = Evaluations(mine)
        backoff = Backoff(*(LISTENING_POLL_S if listen else POLL_S))
        while len(found) < number:
            if evaluations.one():
                moments["claimed"] = time.perf_counter()
                claimed.set()
                backoff.reset()
                continue
            pause = backoff.delay()
            wakeups.wait(pause) if wakeups else time.sleep(pause)

    thread = threading.Thread(target=idle_worker, daemon=True)
    thread.start()
    for _ in range(number):
        time.sleep(random.uniform(1.0, 2.0))  # the worker is idle for a while: its pauses are long
        claimed.clear()
        with database.write() as connection:
            connection.execute(text(REPEAT))
            announce(connection, WORK)
        began = time.perf_counter()
        claimed.wait(10)
        found.append((moments["claimed"] - began) * 1000)
    thread.join(5)
    return found


def idle_cost(database: Database, server_data: Path, seconds: float) -> dict[str, Any]:
    """The server's CPU share while ``IDLE`` connections wait for work as idle workers do."""
    databases = [Database(database.url) for _ in range(IDLE)]
    waiting = [(one, Wakeups(one.engine, WORK), Backoff(*LISTENING_POLL_S)) for one in databases]
    due = []
    for one, _, backoff in waiting:
        _look(one)
        due.append(time.monotonic() + backoff.delay())
    _turn(waiting, due, time.monotonic() + 10.0)  # until the pauses have grown to their longest
    before = _cpu_seconds(server_data)
    began = time.monotonic()
    polls = _turn(waiting, due, began + seconds)
    used = _cpu_seconds(server_data) - before
    elapsed = time.monotonic() - began
    for one in databases:
        one.dispose()
    return {"connections": IDLE, "polls_per_second": polls / elapsed, "server_cpu_share": used / elapsed}


def supervisor_megabytes(database: Database) -> float:
    """Resident memory of a real supervisor that waits for work."""
    environment = {**os.environ, VARIABLE: common.url_of(database)}
    command = [sys.executable, "-m", "workers", "--device", "cpu"]
    process = subprocess.Popen(command, env=environment, cwd=common.ROOT, stderr=subprocess.DEVNULL)
    try:
        while not _registered(database, process.pid):
            time.sleep(0.1)
        time.sleep(3.0)
        return psutil.Process(process.pid).memory_info().rss / 2**20
    finally:
        process.terminate()
        process.wait()


def _registered(database: Database, pid: int) -> bool:
    with database.read() as connection:
        query = text("SELECT count(*) FROM worker WHERE pid = :pid")
        return bool(connection.execute(query, {"pid": pid}).scalar_one())


def _turn(waiting: list[tuple[Database, Wakeups, Backoff]], due: list[float], until: float) -> int:
    polls = 0
    while time.monotonic() < until:
        for index, (one, _, backoff) in enumerate(waiting):
            if time.monotonic() >= due[index]:
                _look(one)
                due[index] = time.monotonic() + backoff.delay()
                polls += 1
        time.sleep(0.002)
    return polls


def _look(database: Database) -> None:
    """What an idle worker asks for: is there an experiment, is there something to claim."""
    with database.read() as connection:
        offers = claims.offers(connection)
    with database.single() as connection:
        claims.claim(
            connection, 1, slot=0, device="cpu", device_name="cpu", versions={}, lease_s=60, offers=offers
        )


def _cpu_seconds(server_data: Path) -> float:
    """User and system time of all processes of the server."""
    postmaster = psutil.Process(int((server_data / "postmaster.pid").read_text().splitlines()[0]))
    total = 0.0
    for process in (postmaster, *postmaster.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def main() -> None:
    args = common.options(__doc__ or "")
    number, seconds = (10, 10.0) if args.quick else (40, 60.0)
    with common.postgresql(max_connections="400") as server:
        database = common.new_postgresql(server, "wakeups")
        grow(database, 1_000, epochs=1)
        with database.write() as connection:
            connection.execute(
                text("UPDATE experiment SET state = 'paused'")
            )  # nothing but what is enqueued here
        notified = waits(database, number, listen=True)
        polled = waits(database, number, listen=False)
        idle = idle_cost(database, server.data, seconds)
        megabytes = supervisor_megabytes(database)
    details = {
        "notified_ms": notified,
        "polled_ms": polled,
        "idle": idle,
        "extrapolated_server_cpu_share_of_1000_idle_workers": idle["server_cpu_share"] * 1000 / IDLE,
    }
    print(f"polling alone: median {statistics.median(polled):.0f} ms; idle: {idle}")
    headline = {
        "start_after_birth_ms": statistics.median(notified),
        "start_after_birth_ms_p95": statistics.quantiles(notified, n=20)[-1],
        "idle_200_server_cpu_share": idle["server_cpu_share"],
        "supervisor_megabytes": megabytes,
    }
    common.report(args, headline, details)


if __name__ == "__main__":
    main()
