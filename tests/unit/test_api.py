"""The Python API."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import evolver
from evolver.api import frame
from evolver.errors import DatabaseError, EnvironmentFault, NotFound, UnknownName
from evolver.store.db import Database
from tests.acceptance.helpers import create, search


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('api')}/evolver.db"
    database = Database.open(url, create=True)
    create(database, budget=8)
    search(database, failing=(2,))
    database.dispose()
    return url


def test_experiments_and_what_they_hold(url: str) -> None:
    with evolver.open(url) as db:
        assert [one.settings.name for one in db.experiments()] == ["demo"]
        demo = db.experiment("demo")
        assert demo.facts().state == "finished"
        assert demo.status().evaluated == 8
        assert demo.front() == db.front("demo")
        assert len(demo.front()) == 7
        assert [one.birth for one in demo.genomes()] == list(range(1, 9))
        assert demo.genomes() == db.genomes("demo")
        assert demo.front(at=0) == []
        assert {tuple(one.objectives) for one in demo.front()} == {("error", "loss")}
        assert {tuple(one.other_values) for one in demo.front()} == {("train_s",)}
        assert demo.replay().is_clean
        assert {one.genome_id for one in demo.replay(until=5).state.front} == {
            one.genome_id for one in demo.front(at=5)
        }


def test_genomes(url: str) -> None:
    with evolver.open(url) as db:
        assert db.genome(8).experiment == "demo"
        assert db.lineage(8)[0].genome_id == 8
        points = db.curves(8)
        assert [point.epoch for point in points] == [1, 2, 3]
        assert {point.purpose for point in points} == {"search"}


def test_what_is_not_there(url: str, tmp_path: Path) -> None:
    with evolver.open(url) as db:
        with pytest.raises(UnknownName, match="did you mean demo"):
            db.experiment("dmo")
        with pytest.raises(NotFound):
            db.curves(99)
    with pytest.raises(DatabaseError, match="no database"):
        evolver.open(f"sqlite:///{tmp_path}/missing.db")


def test_data_frames(url: str) -> None:
    pytest.importorskip("pandas")
    with evolver.open(url) as db:
        genomes = frame(db.genomes("demo"))
        assert len(genomes) == 8
        assert genomes.set_index("genome_id").loc[8, "error"] == pytest.approx(0.5 / 8)
        assert genomes.set_index("genome_id").loc[8, "train_s"] == 6.0
        assert list(frame(db.curves(8))["epoch"]) == [1, 2, 3]


def test_data_frames_need_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentFault, match="pandas"):
        frame([])
