"""Real training in real workers: digits, on both databases."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from evolver.store import details, facts
from evolver.store.db import Database
from tests import factories
from tests.acceptance.invariants import assert_nothing_was_lost_or_doubled, is_finished, number
from tests.acceptance.processes import farm, wait_until

BEGUN = "SELECT count(*) FROM epoch_metric"


@pytest.mark.slow
def test_a_search_that_trains(database: Database, database_url: str, tmp_path: Path) -> None:
    factories.created(database, budget=8, population=4, evaluator="train", recipe="fast", epochs=3)
    with farm(database_url, tmp_path) as processes:
        processes.scheduler()
        processes.worker(lease_s=60)
        wait_until(lambda: is_finished(database), seconds=150, what="the end of the search")
    assert_nothing_was_lost_or_doubled(database, 8)
    with database.read() as connection:
        found = factories.current(database)
        assert found.dataset.sha256
        front = facts.front_members(connection, found)
        assert front[0].objectives["error"] < 0.3
        detail = details.genome_detail(connection, front[0].genome_id)
    assert [epoch.epoch for epoch in detail.evaluations[0].curve] == [1, 2, 3]
    attempt = detail.evaluations[0].attempts[0]
    assert attempt.dtype in ("fp32", "bf16")
    assert "torch" in number_of_versions(database)


def number_of_versions(database: Database) -> str:
    from sqlalchemy import select

    from evolver.store.schema import attempt

    with database.read() as connection:
        return str(connection.execute(select(attempt.c.versions)).scalar())


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoints", ["", "child.mid_checkpoint=kill"], ids=["in order", "killed at its checkpoint"]
)
def test_a_stopped_training_is_continued_by_another_worker(
    sqlite_url: str, tmp_path: Path, failpoints: str
) -> None:
    database = Database.open(sqlite_url)
    settings = {
        "evaluator": "train",
        "budget": 4,
        "population": 4,
        "epochs": 400,
        "space_settings": {"pools": [0, 0]},
    }
    factories.running(database, **settings)
    with farm(sqlite_url, tmp_path) as processes:
        first = processes.worker(lease_s=60, failpoints=failpoints)
        wait_until(lambda: number(database, BEGUN) > 0, what="the first epoch")
        first.send(signal.SIGTERM)
        assert first.popen.wait(30) == 0
        saved = number(database, "SELECT count(*) FROM checkpoint")
        assert saved == (0 if failpoints else 1)

        second = processes.worker(lease_s=60)
        resumed = (
            "SELECT count(*) FROM attempt WHERE number = 2 AND dtype IS NOT NULL AND resumed_from_epoch {}"
        )
        wait_until(
            lambda: number(database, resumed.format("IS NULL" if failpoints else ">= 1")) == 1,
            what="the second attempt",
        )
        second.send(signal.SIGTERM)
        second.popen.wait(30)
    assert number(database, "SELECT count(*) FROM checkpoint") == 1
    files = [path.name for path in (tmp_path / "checkpoints").rglob("*.safetensors")]
    assert len(files) == 1
    database.dispose()
