"""Running many workers: who works, drain, gc, doctor. On both databases."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from evolver import doctor
from evolver.evaluation import SavedCheckpoint
from evolver.scheduler import Scheduler
from evolver.store import claims, fleet, leases, operations
from evolver.store.claims import WorkerInfo
from evolver.store.db import Database
from evolver.store.schema import checkpoint, evaluation, objective_value, worker
from tests import factories
from tests.acceptance.helpers import cli, facts_of, refused
from tests.acceptance.processes import farm, wait_until
from tests.factories import do

ROOT = Path(__file__).parents[2]


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


# --- workers and drain -------------------------------------------------------------------------------


def test_workers_are_listed_with_what_they_hold(database: Database) -> None:
    url = url_of(database)
    assert "no worker is alive; start one: evolver worker" in cli("workers", url=url).stdout
    assert facts_of("workers", "--all", url=url) == []
    factories.running(database)
    busy = factories.registered_worker(database, slots=2, host="node1")
    factories.must_claim(database, busy)
    gone = factories.registered_worker(database, host="node2")
    do(database, leases.heartbeat, gone, [], -1.0)
    faulted = factories.registered_worker(database, host="node3")
    do(database, claims.worker_state, faulted, "faulted", "no data")

    found = facts_of("workers", url=url)
    assert [(one["id"], one["state"], one["running"], one["note"]) for one in found] == [
        (busy, "active", 1, None), (faulted, "faulted", 0, "no data")]  # fmt: skip
    assert [one["state"] for one in facts_of("workers", "--all", url=url)] == ["active", "gone", "faulted"]
    shown = cli("workers", "--all", url=url).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("node1:1", "1/2", "gone", "no data", "s ago"):
        assert part in shown


def test_a_drained_worker_ends_its_work_and_leaves(database: Database, tmp_path: Path) -> None:
    factories.created(database, budget=500)
    url = url_of(database)
    with farm(url, tmp_path, seconds="0.3") as processes:
        processes.scheduler()
        drained, other = processes.worker(), processes.worker()
        wait_until(
            lambda: sum(one["running"] for one in facts_of("workers", url=url)) == 2, what="two trainings"
        )
        found = {one["pid"]: one for one in facts_of("workers", url=url)}[drained.popen.pid]
        said = cli("drain", f"{found['host']}:{found['pid']}", url=url).stdout
        assert "finishes 1 trainings and leaves" in said or "claims no more, leaves" in said
        wait_until(lambda: not drained.is_alive, what="the end of the drained worker")
        assert drained.popen.returncode == 0
        assert other.is_alive
        assert facts_of("drain", "--all", url=url)[0]["pid"] == other.popen.pid
        wait_until(lambda: not other.is_alive, what="the end of the other worker")
    with database.read() as connection:
        outcomes = set(connection.execute(text("SELECT outcome FROM attempt")).scalars())
        assert {one.state for one in fleet.every(connection)} == {"stopped"}
    assert outcomes == {"done"}


def test_a_worker_that_is_not_there_cannot_be_drained(database: Database) -> None:
    url = url_of(database)
    alive = factories.registered_worker(database)
    dead = factories.registered_worker(database, host="node2")
    do(database, leases.heartbeat, dead, [], -1.0)
    assert "there is no worker '99'" in refused("drain", alive, 99, url=url)
    assert "there is no worker 'node'" in refused("drain", "node", url=url)
    assert f"worker {dead} (node2:1) is gone since" in refused("drain", "node2:1", url=url)
    assert "name the workers" in refused("drain", url=url)
    assert "name the workers" in refused("drain", alive, "--all", url=url)
    with database.read() as connection:
        assert {one.state for one in fleet.every(connection)} == {"active"}


# --- gc ----------------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint directory, in which other files lie too."""
    path = tmp_path / "checkpoints"
    (path / "photos" / "2024").mkdir(parents=True)
    (path / "photos" / "2024" / "7.safetensors").write_bytes(b"mine")
    (path / "notes.txt").write_text("mine")
    return path


def stored(base: Path, name: str, *, days_old: float = 0) -> Path:
    path = base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(100))
    changed = time.time() - days_old * 86400
    os.utime(path, (changed, changed))
    return path


def saved(database: Database, base: Path, lease: leases.Lease, name: str, kind: Any = "resume") -> Path:
    """A checkpoint of a running evaluation: its file and its row."""
    key = f"{lease.evaluation_id}/{lease.token}/{name}.safetensors"
    do(database, leases.record_checkpoint, lease, SavedCheckpoint(kind, 1, key, "0" * 64, 100))
    return stored(base, key)


def test_gc_removes_what_is_of_no_use_and_nothing_else(database: Database, base: Path) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    ended, running = (factories.must_claim(database, worker_id).lease for _ in range(2))
    useless = saved(database, base, ended, "1")
    weights = saved(database, base, ended, "weights", "weights")
    needed = saved(database, base, running, "1")
    do(database, leases.complete, ended, {"error": 0.5})
    partial = stored(base, f"{running.evaluation_id}/{running.token}/2.safetensors.partial", days_old=2)
    bad = stored(base, "77/token/3-12.safetensors.bad", days_old=2)
    unknown = stored(base, "78/token/1.safetensors", days_old=2)
    fresh = stored(base, "79/token/1.safetensors")
    foreign = stored(base, "80/token/weights.safetensors", days_old=9)
    (base / "81" / "token").mkdir(parents=True)
    before = sorted(base.rglob("*"))

    command = ("gc", "--checkpoint-url", base)
    planned = facts_of(*command, "--dry-run", url=url_of(database))
    assert sorted(base.rglob("*")) == before
    freed = facts_of(*command, url=url_of(database))
    assert {**planned, "dry_run": False} == freed
    assert (freed["checkpoints"], freed["leftovers"], freed["bytes"]) == (1, 3, 400)
    assert (freed["directories"], freed["kept_weights"]) == (6, 1)
    assert not any(path.exists() for path in (useless, partial, bad, unknown, base / "77", base / "81"))
    assert all(
        path.exists() for path in (weights, needed, fresh, foreign, base / "photos/2024/7.safetensors")
    )
    with database.read() as connection:
        assert operations.checkpoint_keys(connection) == {
            str(path.relative_to(base)) for path in (weights, needed)
        }
    again = facts_of(*command, url=url_of(database))
    assert (again["checkpoints"], again["leftovers"], again["directories"]) == (0, 0, 0)
    assert "kept 1 weights" in cli(*command, url=url_of(database)).stdout


def test_gc_forgets_workers_that_are_long_gone(database: Database, base: Path) -> None:
    url = url_of(database)
    factories.running(database)
    ids = [factories.registered_worker(database, host=f"node{number}") for number in range(4)]
    alive, holder, left, young = ids
    factories.must_claim(database, holder)
    factories.fail(database, factories.must_claim(database, left))
    for one in (holder, left, young):
        do(database, leases.heartbeat, one, [], -1.0)
    with database.write() as connection:
        silent_since = datetime.now(UTC) - timedelta(days=9)
        connection.execute(
            update(worker).where(worker.c.id.in_([holder, left])).values(heartbeat_at=silent_since)
        )
    assert facts_of("gc", "--checkpoint-url", base, "--older-than", 10, url=url)["workers"] == 0
    assert facts_of("gc", "--checkpoint-url", base, url=url)["workers"] == 1
    with database.read() as connection:
        assert [one.id for one in fleet.every(connection)] == [alive, holder, young]
        hosts = connection.execute(text("SELECT host FROM attempt ORDER BY id")).scalars().all()
    assert hosts == ["node1", "node2"]


def test_gc_refuses_a_key_that_leads_out_of_the_directory(
    database: Database, base: Path, tmp_path: Path
) -> None:
    factories.running(database)
    lease = factories.must_claim(database, factories.registered_worker(database)).lease
    saved(database, base, lease, "1")
    do(database, leases.complete, lease, {"error": 0.5})
    victim = tmp_path / "victim.safetensors"
    victim.write_text("precious")
    with database.write() as connection:
        connection.execute(update(checkpoint).values(key="../victim.safetensors"))
    assert "not the name of a checkpoint" in refused(
        "gc", "--checkpoint-url", base, url=url_of(database), code=4
    )
    assert victim.exists()


def test_gc_says_when_there_are_no_checkpoints(sqlite_url: str, tmp_path: Path) -> None:
    shown = cli("gc", url=sqlite_url).stdout
    assert f"there are no checkpoints at {tmp_path}/evolver.checkpoints" in shown
    assert "removed 0 checkpoints" in shown


def test_gc_loads_no_torch(sqlite_url: str, tmp_path: Path) -> None:
    code = (
        "import sys; from evolver.cli import main; code = main(['gc'], standalone_mode=False); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    environment = {**os.environ, "EVOLVER_DATABASE_URL": sqlite_url, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)


# --- doctor ------------------------------------------------------------------------------------------


def diagnosis(database: Database) -> dict[str, list[tuple[str, str]]]:
    """What the doctor finds in a database: level and message of each check."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in doctor.examine(database):
        assert (one.remedy is None) == (one.level == "ok")
        found.setdefault(one.check, []).append((one.level, one.message))
    return found


def the_one(database: Database, check: str) -> tuple[str, str]:
    (found,) = diagnosis(database)[check]
    return found


def test_a_healthy_search_has_no_complaints(database: Database) -> None:
    factories.created(database)
    scheduler = Scheduler(database)
    scheduler.step()
    factories.must_claim(database, factories.registered_worker(database))
    found = diagnosis(database)
    assert {level for levels in found.values() for level, _ in levels} == {"ok"}
    assert found["workers"] == [("ok", "1 alive, 1 trainings")]
    assert found["scheduler"] == [("ok", "every running experiment is led (1)")]
    scheduler.close()


def test_a_search_without_a_scheduler(database: Database) -> None:
    factories.running(database)
    factories.complete(database, factories.must_claim(database, factories.registered_worker(database)))
    level, message = the_one(database, "scheduler")
    assert (level, message) == ("problem", "'search' is running and no scheduler leads it")
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    with database.write() as connection:
        connection.execute(update(evaluation).where(evaluation.c.state == "done").values(ended_at=long_ago))
    assert "1 results wait for one" in the_one(database, "scheduler")[1]
    scheduler = Scheduler(database)
    scheduler._look_for_work()
    assert the_one(database, "scheduler") == (
        "warning", "1 results of 'search' wait for long, though it is led")  # fmt: skip
    scheduler.close()


def test_leases_that_ran_out_or_have_no_holder(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    held = factories.must_claim(database, worker_id)
    with database.write() as connection:
        connection.execute(text("UPDATE evaluation SET worker_id = NULL WHERE state = 'running'"))
    assert the_one(database, "leases") == (
        "problem", f"evaluations are leased to nobody: {held.lease.evaluation_id}")  # fmt: skip
    expired = factories.must_claim(database, worker_id, lease_s=-100.0)
    assert the_one(database, "leases") == (
        "problem",
        f"leases ran out and nobody took them back: evaluations {expired.lease.evaluation_id}",
    )


def test_rows_that_do_not_fit_together(database: Database) -> None:
    worker_id = factories.registered_worker(database, slots=2)
    factories.running(database)
    factories.complete(database, factories.must_claim(database, worker_id))
    factories.must_claim(database, worker_id)
    with database.write() as connection:
        connection.execute(delete(objective_value))
        connection.execute(text("UPDATE attempt SET outcome = 'running', ended_at = NULL"))
        pending = evaluation.c.state == "pending"
        connection.execute(delete(evaluation).where(pending))
    found = {message.split(" ", 1)[1]: message.split()[0] for _, message in diagnosis(database)["rows"]}
    assert found["open attempts of evaluations that do not run"] == "1"
    assert found["evaluations that are done but have no values"] == "1"
    assert int(found["genomes without an evaluation"]) >= 1


def test_a_host_that_fails_more_than_the_others(database: Database) -> None:
    factories.created(database, budget=40)
    scheduler = Scheduler(database)
    good = factories.registered_worker(database, host="good", slots=8)
    broken = factories.registered_worker(database, host="broken", slots=8)
    for number in range(16):
        scheduler.step()
        if number % 2:
            factories.complete(database, factories.must_claim(database, good))
        else:
            factories.fail(database, factories.must_claim(database, broken), "error")
    scheduler.close()
    failures = diagnosis(database)["failures"]
    assert failures[0] == (
        "warning", "host broken failed 8 of its last 8 attempts (8 error), the others 0 of 8")  # fmt: skip
    assert failures[1] == ("ok", "8 of the last 16 attempts: 8 error")


def test_workers_at_fault_and_workers_that_differ(database: Database) -> None:
    for host, torch in (("new", "2.14"), ("old", "2.9")):
        do(database, claims.register_worker, WorkerInfo(host, 1, "cpu", 1, {"torch": torch, "evolver": "1"}))
    faulted = factories.registered_worker(database, host="broken")
    do(database, claims.worker_state, faulted, "faulted", "disk full")
    idle = factories.registered_worker(database, host="idle")
    do(database, claims.worker_state, idle, "active", "no mnist here")
    found = diagnosis(database)
    assert found["versions"] == [("warning", "torch differs: 2.14 on new:1; 2.9 on old:1")]
    assert ("warning", "worker broken:1 gave up: disk full") in found["workers"]
    assert ("warning", "worker idle:1 has nothing that it can do: no mnist here") in found["workers"]


def test_a_clock_that_is_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    off = time.time() + 100
    monkeypatch.setattr("evolver.doctor.time.time", lambda: off)
    level, message = the_one(database, "clock")
    assert level == "warning"
    assert "100 s ahead of the database" in message


def test_a_sqlite_file_in_the_wrong_place_or_mode(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(doctor, "MOUNTS", mounts)
    opened = Database.open(sqlite_url)
    with opened.engine.connect() as connection:
        connection.rollback()
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA journal_mode = DELETE")
    assert the_one(opened, "journal")[0] == "problem"
    level, message = the_one(opened, "file")
    assert (level, "network file system (nfs4)" in message) == ("warning", True)
    opened.dispose()


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("a / ext4 rw\nb /data nfs rw\nc /data/fast xfs rw", "nfs"),
        ("a / ext4 rw\nb /data\\040x nfs rw", "ext4"),
        ("a / overlay rw\nb /data/db nfs rw\nc /data/db cifs rw", "cifs"),
        ("", None),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(mounts: str, kind: str | None) -> None:
    assert doctor.filesystem_of(Path("/data/db/evolver.db"), mounts) == kind


def test_the_command_checks_this_machine_too(sqlite_url: str, base: Path, tmp_path: Path) -> None:
    opened = Database.open(sqlite_url)
    factories.created(opened)
    factories.created(opened, "real", evaluator="train", dataset="digits")
    opened.dispose()
    findings = facts_of("doctor", "--checkpoint-url", base, "--data-dir", tmp_path, url=sqlite_url)
    by_check: dict[str, list[dict[str, Any]]] = {}
    for one in findings:
        by_check.setdefault(one["check"], []).append(one)
    assert by_check["checkpoints"][0]["message"].startswith(f"{base} can be written")
    assert "cpu" in by_check["devices"][0]["message"]
    assert [one["level"] for one in by_check["data"]] == ["ok", "ok"]
    shown = cli("doctor", "--checkpoint-url", "nosuch://x", url=sqlite_url)
    assert shown.exit_code == 1
    assert "problem  checkpoints: checkpoints cannot be kept at this URL" in shown.stdout
    assert "→ give another --checkpoint-url" in shown.stdout


def test_a_database_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    shown = cli("doctor", url=f"sqlite:///{tmp_path}/none.db")
    assert shown.exit_code == 1
    assert "problem  database: there is no database" in shown.stdout
