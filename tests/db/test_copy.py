"""A database copied into another: nothing is lost, and the search goes on there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from evolver.errors import InvalidInput
from evolver.evaluation import Epoch, SavedCheckpoint
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.store import claims, leases
from evolver.store.copy import CHUNK, Copied, copy
from evolver.store.db import Database
from evolver.store.schema import attempt, evaluation, leader, metadata, worker
from tests import factories
from tests.acceptance.helpers import cli, facts_of, refused
from tests.factories import do

TABLES = [table for table in metadata.sorted_tables if table is not leader]


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def pair(
    request: pytest.FixtureRequest, sqlite_url: str, postgresql_url: str
) -> Iterator[tuple[Database, Database]]:
    """An open source and an open, empty target."""
    urls = (
        [sqlite_url, postgresql_url] if request.param.startswith("sqlite") else [postgresql_url, sqlite_url]
    )
    source, target = map(Database.open, urls)
    yield source, target
    source.dispose()
    target.dispose()


def half_finished(database: Database) -> None:
    """A search with results, a failure, one evaluation under way, and one that waits for it."""
    factories.created(database, budget=24)
    scheduler = Scheduler(database, ["search"])
    worker_id = factories.registered_worker(database)
    for number in range(14):
        scheduler.step()
        claim = factories.claimed(database, worker_id)
        if claim is None:
            continue
        do(database, leases.record_epochs, claim.lease, [Epoch(1, 0.1 + number, 0.5, 1.0, 0.5, 0.1, 2.0)])
        if number == 3:
            factories.fail(database, claim, "oom", "zu groß")
        elif number == 5:
            do(database, leases.environment_fault, claim.lease, "no disk")
        else:
            factories.complete(database, claim)
    scheduler.step()
    running = factories.must_claim(database, factories.registered_worker(database, host="other"))
    key = f"{running.lease.evaluation_id}/{running.lease.token}/1.safetensors"
    do(database, leases.record_checkpoint, running.lease, SavedCheckpoint("resume", 1, key, "0" * 64, 9))
    factories.enqueued(database, waits_for=running.lease.evaluation_id)
    scheduler.close()


def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All rows but leaders; times to the millisecond, which is what SQLite keeps."""
    found: dict[str, list[dict[str, Any]]] = {}
    with database.read() as connection:
        for table in TABLES:
            rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            found[table.name] = [{key: _rounded(value) for key, value in row.items()} for row in rows]
    return found


def _rounded(value: Any) -> Any:
    return (
        value.replace(microsecond=value.microsecond // 1000 * 1000)
        if hasattr(value, "microsecond")
        else value
    )


def silent(*_arguments: object) -> None:
    pass


def copied(pair: tuple[Database, Database]) -> Copied:
    source, target = pair
    return copy(source, target, silent, force=True)


def test_the_copy_has_every_row_and_the_search_goes_on(pair: tuple[Database, Database]) -> None:
    source, target = pair
    half_finished(source)
    before = contents(source)
    report = copied(pair)

    assert report.rows == {name: len(rows) for name, rows in before.items()}
    assert report.handed_back == 1
    after = contents(target)
    for table in ("dataset", "recipe", "experiment", "genome", "parentage", "membership", "objective_value",
                  "epoch_metric", "checkpoint"):  # fmt: skip
        assert after[table] == before[table]
    assert replay(target, "search").is_clean

    factories.run_to_the_end(target)
    found = factories.current(target)
    assert (found.born, found.ingested) == (24, 24)
    assert replay(target, "search").is_clean
    assert contents(source) == before


def test_what_was_running_arrives_as_pending_without_a_strike(pair: tuple[Database, Database]) -> None:
    half_finished(pair[0])
    copied(pair)
    with pair[0].read() as connection:
        running = connection.execute(select(evaluation).where(evaluation.c.state == "running")).one()
    with pair[1].read() as connection:
        same = connection.execute(select(evaluation).where(evaluation.c.id == running.id)).one()
        last = connection.execute(
            select(attempt).where(attempt.c.evaluation_id == running.id).order_by(attempt.c.number.desc())
        ).first()
        workers = connection.execute(select(worker.c.state)).scalars().all()
        assert connection.execute(select(leader)).all() == []
    assert (same.state, same.strikes, same.attempts) == ("pending", running.strikes, running.attempts)
    assert same.lease_expires_at is None
    assert last is not None
    assert (last.outcome, last.ended_at is not None) == ("released", True)
    assert set(workers) == {"stopped"}
    while (
        claim := factories.must_claim(pair[1], factories.registered_worker(pair[1]))
    ).lease.evaluation_id != same.id:
        pass
    assert claim.task.resume is not None
    assert claim.task.resume.epoch == 1


def test_more_rows_than_one_chunk_and_a_progress_for_each(pair: tuple[Database, Database]) -> None:
    source, target = pair
    factories.running(source)
    factories.enqueued(source, number=CHUNK + 10)
    seen: list[tuple[str, int, int]] = []
    copy(source, target, lambda *step: seen.append(step), force=True)
    done = [step for step in seen if step[0] == "evaluation"]
    assert [step[1] for step in done] == [CHUNK, done[0][2]]


def test_a_copy_is_refused_unless_source_is_idle_and_target_empty(pair: tuple[Database, Database]) -> None:
    source, target = pair
    factories.created(source)
    scheduler = Scheduler(source)
    scheduler.step()
    with pytest.raises(InvalidInput, match=r"in use by scheduler .* \(search\).*--force"):
        copy(source, target, silent)
    scheduler.close()
    worker_id = factories.registered_worker(source)
    with pytest.raises(InvalidInput, match="in use by worker host:1"):
        copy(source, target, silent)
    do(source, claims.worker_state, worker_id, "stopped")
    copy(source, target, silent)
    with pytest.raises(InvalidInput, match="is not empty"):
        copy(source, target, silent)


def test_a_copy_that_fails_leaves_nothing(pair: tuple[Database, Database]) -> None:
    source, target = pair
    half_finished(source)

    def fail(table: str, _done: int, _total: int) -> None:
        if table == "objective_value":
            raise RuntimeError("the cable was pulled")

    with pytest.raises(RuntimeError, match="cable"):
        copy(source, target, fail, force=True)
    assert not any(contents(target).values())


# --- the command -------------------------------------------------------------------------------------


def test_the_command_makes_a_sqlite_file_and_says_what_is_next(database_url: str, tmp_path: Path) -> None:
    source = Database.open(database_url)
    factories.finished(source)
    worker_states(source, "stopped")
    source.dispose()
    target = f"sqlite:///{tmp_path}/copy.db"
    shown = cli("db", "copy", database_url, target).stdout
    assert f"set EVOLVER_DATABASE_URL to {target}" in shown
    assert facts_of("front", "search", url=target) == facts_of("front", "search", url=database_url)
    assert "is not empty" in refused("db", "copy", database_url, target)
    report = facts_of("db", "copy", database_url, f"sqlite:///{tmp_path}/again.db")
    assert (report["rows"]["genome"], report["handed_back"]) == (12, 0)


def worker_states(database: Database, state: str) -> None:
    with database.write() as connection:
        for worker_id in connection.execute(select(worker.c.id)).scalars().all():
            claims.worker_state(connection, worker_id, state)


def test_the_command_refuses_before_it_makes_a_file(sqlite_url: str, tmp_path: Path) -> None:
    source = Database.open(sqlite_url)
    factories.registered_worker(source)
    source.dispose()
    target = tmp_path / "target.db"
    assert "in use by worker" in refused("db", "copy", sqlite_url, f"sqlite:///{target}")
    assert "same database" in refused("db", "copy", sqlite_url, sqlite_url)
    assert "no database" in refused(
        "db", "copy", f"sqlite:///{tmp_path}/none.db", f"sqlite:///{target}", code=3
    )
    assert not target.exists()


def test_a_target_at_another_revision_is_refused(sqlite_url: str, empty_postgresql_url: str) -> None:
    assert "evolver db upgrade" in refused("db", "copy", sqlite_url, empty_postgresql_url, code=3)
