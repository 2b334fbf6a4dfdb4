"""What a search must survive: processes that die or freeze at any moment, on both databases.

Real processes and signals, a torch-free evaluator, and named failpoints; one random run, seeded.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from evolver.store.db import Database
from tests import factories
from tests.acceptance.invariants import assert_nothing_was_lost_or_doubled, is_finished, number
from tests.acceptance.processes import Farm, Process, farm, wait_until

WORKER_POINTS = [
    "worker.after_claim",
    "worker.before_complete",
    "worker.after_complete",
    "child.after_start",
    "child.before_outcome",
]
SCHEDULER_POINTS = [
    "scheduler.before_step",
    "scheduler.mid_step",
    "scheduler.before_commit",
    "scheduler.after_commit",
]
INGESTED = "SELECT coalesce(max(ingested), 0) FROM experiment"


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_that_dies_at_a_failpoint(
    database: Database, database_url: str, tmp_path: Path, point: str
) -> None:
    factories.created(database, budget=8, population=4)
    with farm(database_url, tmp_path, seconds="0") as processes:
        processes.scheduler()
        doomed = processes.worker(failpoints=f"{point}=kill")
        if point.startswith("worker."):
            wait_until(lambda: not doomed.is_alive, what="the worker's death")
            assert doomed.popen.returncode == -signal.SIGKILL
        else:  # its training process dies, the worker lives
            died = "SELECT count(*) FROM attempt WHERE outcome = 'failed' AND failure_kind = 'crash'"
            wait_until(lambda: number(database, died) > 0, what="the training process's death")
            assert doomed.is_alive
            doomed.end()
        processes.worker()
        wait_until(lambda: is_finished(database), what="the end of the search")
    assert_nothing_was_lost_or_doubled(database, 8)


@pytest.mark.parametrize("point", SCHEDULER_POINTS)
def test_a_scheduler_that_dies_at_a_failpoint(
    database: Database, database_url: str, tmp_path: Path, point: str
) -> None:
    factories.created(database, budget=8, population=4)
    with farm(database_url, tmp_path, seconds="0") as processes:
        doomed = processes.scheduler(failpoints=f"{point}=kill")
        wait_until(lambda: not doomed.is_alive, what="the scheduler's death")
        processes.scheduler()
        processes.worker()
        wait_until(lambda: is_finished(database), what="the end of the search")
    assert_nothing_was_lost_or_doubled(database, 8)


def test_a_frozen_worker_comes_back_too_late(database: Database, database_url: str, tmp_path: Path) -> None:
    factories.created(database, budget=12, population=4)
    with farm(database_url, tmp_path, seconds="0.5") as processes:
        processes.scheduler()
        frozen = processes.worker(lease_s=2)
        held = "SELECT count(*) FROM evaluation WHERE state = 'running'"
        wait_until(lambda: number(database, held) == 1, what="the first claim")
        frozen.send_tree(signal.SIGSTOP)
        evaluation_id = number(database, "SELECT id FROM evaluation WHERE state = 'running'")
        token = f"SELECT count(*) FROM attempt WHERE evaluation_id = {evaluation_id} AND outcome = '{{}}'"

        other = processes.worker("--max-evaluations", "6")
        wait_until(lambda: number(database, token.format("done")) == 1, what="the other worker's result")
        assert number(database, token.format("lost")) == 1
        wait_until(lambda: not other.is_alive, what="the other worker's leave")
        frozen.send_tree(signal.SIGCONT)
        wait_until(lambda: is_finished(database), what="the end of the search")
        assert frozen.is_alive
    assert number(database, f"SELECT count(*) FROM attempt WHERE evaluation_id = {evaluation_id}") == 2
    assert number(database, "SELECT count(*) FROM attempt WHERE outcome = 'done' AND worker_id = 1") > 0
    assert_nothing_was_lost_or_doubled(database, 12)


def test_a_frozen_scheduler_is_replaced_and_writes_nothing_more(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    factories.created(database, budget=10, population=4)
    with farm(database_url, tmp_path, seconds="0.1") as processes:
        frozen = processes.scheduler(failpoints="scheduler.before_step=stop")
        wait_until(
            lambda: psutil.Process(frozen.popen.pid).status() == psutil.STATUS_STOPPED, what="the freeze"
        )
        processes.scheduler()
        processes.worker()
        born = "SELECT count(*) FROM genome"
        wait_until(lambda: number(database, born) > 0, what="the second scheduler's births")
        frozen.send(signal.SIGCONT)
        wait_until(lambda: is_finished(database), what="the end of the search")
        assert "another scheduler leads" in frozen.log.read_text()
    assert_nothing_was_lost_or_doubled(database, 10)


def test_sigterm_hands_the_work_back(database: Database, database_url: str, tmp_path: Path) -> None:
    factories.running(database, budget=8, population=4)
    with farm(database_url, tmp_path, seconds="30") as processes:
        leaving = processes.worker()
        begun = "SELECT count(*) FROM attempt WHERE dtype IS NOT NULL"
        wait_until(lambda: number(database, begun) == 1, what="the first training")
        leaving.send(signal.SIGTERM)
        assert leaving.popen.wait(10) == 0
    assert number(database, "SELECT count(*) FROM attempt WHERE outcome = 'released'") == 1
    assert number(database, "SELECT count(*) FROM evaluation WHERE state = 'pending' AND strikes = 0") >= 1
    assert number(database, "SELECT count(*) FROM worker WHERE state = 'stopped'") == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_kills_of_everything(database: Database, database_url: str, tmp_path: Path) -> None:
    """SIGKILL to schedulers, workers and training processes at random, over 60 evaluations."""
    seed = int(os.environ.get("EVOLVER_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"EVOLVER_CRASH_SEED={seed}")
    rng = random.Random(seed)
    factories.created(database, budget=60, population=8, max_attempts=50)
    with farm(database_url, tmp_path) as processes:
        schedulers, workers = [processes.scheduler()], [processes.worker(), processes.worker()]
        for _ in range(10):
            target = factories.current(database).ingested + rng.randrange(1, 6)
            wait_until(
                lambda target=target: is_finished(database) or factories.current(database).ingested >= target,
                what=f"{target} results",
            )
            _kill_something(rng, processes, schedulers, workers)
        wait_until(lambda: is_finished(database), seconds=90, what="the end of the search")
    assert_nothing_was_lost_or_doubled(database, 60)


def _kill_something(
    rng: random.Random, processes: Farm, schedulers: list[Process], workers: list[Process]
) -> None:
    what = rng.choice(["scheduler", "worker", "worker and child", "child", "child"])
    if what == "scheduler":
        schedulers.pop().send(signal.SIGKILL)
        schedulers.append(processes.scheduler())
        return
    victim = rng.choice(workers)
    if what == "child":
        for child in victim.children():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return
    victim.send_tree(signal.SIGKILL) if what == "worker and child" else victim.send(signal.SIGKILL)
    workers.remove(victim)
    workers.append(processes.worker())


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_command(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    run = [
        "run",
        "search",
        "--space=tiny",
        "--evaluator=surrogate",
        "--population=4",
        "--budget=60",
        "--workers=2",
    ]
    with farm(database_url, tmp_path) as processes:
        for _ in range(2):
            killed = processes.command(*run)
            target = number(database, INGESTED) + 3
            wait_until(lambda target=target: number(database, INGESTED) > target, what="progress")
            children = killed.children()
            assert len(children) >= 2
            killed.send(signal.SIGKILL)
            _, alive = psutil.wait_procs(children, timeout=20)
            assert not alive, "workers outlive their run"
        last = processes.command(*run)
        assert last.popen.wait(120) == 0
    assert_nothing_was_lost_or_doubled(database, 60)


@pytest.mark.slow
def test_sixteen_processes_on_one_sqlite_file(sqlite_url: str, tmp_path: Path) -> None:
    database = Database.open(sqlite_url)
    factories.created(database, budget=120, population=8)
    with farm(sqlite_url, tmp_path, seconds="0") as processes:
        schedulers = [processes.scheduler() for _ in range(2)]
        workers = [processes.worker("--idle-timeout", "3", lease_s=60) for _ in range(14)]
        wait_until(lambda: is_finished(database), seconds=120, what="the end of the search")
        wait_until(lambda: not any(one.is_alive for one in workers), what="the workers' leave")
        assert {one.popen.returncode for one in workers} == {0}
        assert all(one.is_alive for one in schedulers)
        assert "locked" not in processes.logs()
    assert_nothing_was_lost_or_doubled(database, 120)
    database.dispose()
