"""An experiment as tables and as a study: what is written is what the database has."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

import evolver
from evolver.errors import EnvironmentFault
from evolver.evaluation import Epoch
from evolver.store import facts, leases, schema
from evolver.store import tables as store
from evolver.store.claims import Claim
from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import facts_of, refused

optuna = pytest.importorskip("optuna")
parquet = pytest.importorskip("pyarrow.parquet")
pandas = pytest.importorskip("pandas")

FILES = ("genomes", "evaluations", "values", "attempts", "epochs", "memberships")
SOURCES = {
    "genomes": schema.genome,
    "evaluations": schema.evaluation,
    "values": schema.objective_value,
    "attempts": schema.attempt,
    "epochs": schema.epoch_metric,
    "memberships": schema.membership,
}


def end(database: Database, claim: Claim) -> None:
    epochs = [Epoch(number, 1.0, 0.5, 1.0 / number, 0.5 / number, 0.1, 2.0) for number in (1, 2)]
    factories.do(database, leases.record_epochs, claim.lease, epochs)
    if claim.task.genome_id % 5 == 0:
        factories.fail(database, claim, "oom", 'too, "large"')
    else:
        factories.complete(database, claim)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH", 7)


@pytest.fixture(scope="module")
def searched(module_database: Database) -> Database:
    """A search that ran, beside others: of one objective, and with a constraint that some break."""
    factories.finished(module_database, "other", budget=4)
    factories.finished(module_database, "demo", budget=24, end=end)
    factories.finished(module_database, "one", budget=12, end=end, objectives="error", selector="nsga2")
    factories.finished(module_database, "bounded", budget=16, constraints=["error>=0.2"], selector="nsga2")
    return module_database


@pytest.fixture(scope="module")
def small_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a small search."""
    path = tmp_path_factory.mktemp("small") / "evolver.db"
    shutil.copyfile(sqlite_template, path)
    database = Database.open(f"sqlite:///{path}")
    factories.finished(database, "demo", budget=4)
    database.dispose()
    return f"sqlite:///{path}"


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def front(database: Database, name: str = "demo") -> set[int]:
    with database.read() as connection:
        return {one.genome_id for one in facts.front_members(connection, factories.current(database, name))}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_tables_are_those_of_the_database(searched: Database, tmp_path: Path, kind: str) -> None:
    told = facts_of(
        "export-data", "demo", "--format", kind, "--output", tmp_path / "out", url=url_of(searched)
    )
    frames = {
        name: (pandas.read_parquet if kind == "parquet" else pandas.read_csv)(tmp_path / f"out/{name}.{kind}")
        for name in FILES
    }
    assert told["rows"] == {name: len(frame) for name, frame in frames.items()}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*(f"{name}.{kind}" for name in FILES), "experiment.json"]
    )

    with searched.read() as connection:
        found = factories.current(searched, "demo")
        known = {one.genome_id: one for one in facts.genomes(connection, found)}
        codes = dict(connection.execute(select(schema.genome.c.id, schema.genome.c.code)).all())
        born = dict(connection.execute(select(schema.genome.c.id, schema.genome.c.born_at)).all())
        edges = connection.execute(select(schema.parentage).order_by(schema.parentage.c.position)).all()
        members = {one.genome_id for one in facts.front_members(connection, found)}
        everything = {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in SOURCES.items()
        }
    genomes = frames["genomes"]
    assert list(genomes["genome_id"]) == sorted(known)
    for row in genomes.to_dict("records"):
        one = known[row["genome_id"]]
        assert (row["birth"], row["operator"], row["state"]) == (one.birth, one.operator, one.state)
        assert (row["params"], row["flops"]) == (one.params, one.flops)
        assert json.loads(row["code"]) == codes[one.genome_id]
        parents = json.loads(row["parents"]) if kind == "csv" else list(row["parents"])
        assert parents == [edge.parent_id for edge in edges if edge.child_id == one.genome_id]
        assert pandas.Timestamp(row["born_at"]).floor("ms") == pandas.Timestamp(born[one.genome_id]).floor(
            "ms"
        )
        values = {name: row[name] for name in ("error", "loss") if not pandas.isna(row[name])}
        assert values == one.objectives
        assert row["in_front"] == (one.genome_id in members)
    # The other experiments' rows are their own.
    others = [
        facts_of("export-data", name, "--format", kind, "--output", tmp_path / name, url=url_of(searched))
        for name in ("other", "one", "bounded")
    ]
    for name in FILES:
        assert len(frames[name]) + sum(other["rows"][name] for other in others) == everything[name]
    assert set(frames["epochs"]["validation_error"]) == {0.5, 0.25}
    assert set(frames["attempts"]["message"].dropna()) == {'too, "large"'}
    assert json.loads((tmp_path / "out/experiment.json").read_text())["settings"]["budget"] == 24


def test_types_of_parquet(searched: Database, tmp_path: Path) -> None:
    facts_of("export-data", "demo", "--output", tmp_path, url=url_of(searched))
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "genomes.parquet")}
    assert types["genome_id"] == "int64"
    assert types["duplicate_of"] == "int64"
    assert types["born_at"] == "timestamp[us, tz=UTC]"
    assert types["parents"].startswith("list<")
    assert types["error"] == "double"


def test_nothing_is_overwritten_unless_asked(small_url: str, tmp_path: Path) -> None:
    arguments = ("export-data", "demo", "--format", "csv", "--output", tmp_path / "out")
    facts_of(*arguments, url=small_url)
    (tmp_path / "out/genomes.csv").write_text("mine")
    assert "exists already" in refused(*arguments, url=small_url)
    assert (tmp_path / "out/genomes.csv").read_text() == "mine"
    facts_of(*arguments, "--force", url=small_url)
    assert (tmp_path / "out/genomes.csv").read_text().startswith("genome_id,birth")
    assert "did you mean demo" in refused("export-data", "dmo", url=small_url)
    assert "--output" in refused("export-data", "demo", "--format", "optuna", url=small_url)


@pytest.mark.parametrize(("package", "extra"), [("pyarrow", "parquet"), ("optuna", "optuna")])
def test_a_missing_package_is_named_with_its_extra(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    arguments = ("export-data", "demo", "--format", extra, "--output", tmp_path / "out")
    assert f"evolver[{extra}]" in refused(*arguments, url=sqlite_url, code=4)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("storage", ["sqlite:///{}/study.db", "{}/study.log"])
def test_a_study_is_the_search(searched: Database, tmp_path: Path, storage: str) -> None:
    storage = storage.format(tmp_path)
    arguments = ("export-data", "demo", "--format", "optuna", "--output", storage)
    assert facts_of(*arguments, url=url_of(searched))["rows"] == {"trials": 24}
    assert "already" in refused(*arguments, url=url_of(searched))
    assert facts_of(*arguments, "--force", url=url_of(searched))["rows"] == {"trials": 24}

    study = optuna.load_study(study_name="demo", storage=reloaded(storage))
    assert [one.name for one in study.directions] == ["MINIMIZE"] * 2
    with searched.read() as connection:
        known = facts.genomes(connection, factories.current(searched, "demo"))
    for trial, one in zip(study.trials, known, strict=True):
        assert trial.number == one.birth - 1
        assert trial.user_attrs["genome_id"] == one.genome_id
        assert trial.user_attrs["operator"] == one.operator
        assert trial.params["params"] == one.params
        assert trial.datetime_start <= trial.datetime_complete
        assert trial.state.name == ("COMPLETE" if one.state == "done" else "FAIL")
        assert (trial.values or []) == list(one.objectives.values())
    members = front(searched)
    assert {one.user_attrs["genome_id"] for one in study.best_trials} == members
    assert {one.user_attrs["genome_id"] for one in study.trials if one.user_attrs["in_front"]} == members


def reloaded(storage: str) -> Any:
    if "://" in storage:
        return storage
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))


def best(study: Any) -> set[int]:
    return {one.user_attrs["genome_id"] for one in study.best_trials}


def test_one_objective_has_a_curve(searched: Database) -> None:
    study = evolver.to_optuna("one", url_of(searched))
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.25}
    assert best(study) == front(searched, "one")


def test_what_breaks_constraints_is_no_best_trial(searched: Database) -> None:
    study = evolver.to_optuna("bounded", url_of(searched))
    assert any(one.values[0] < 0.2 for one in study.trials)
    assert best(study) == front(searched, "bounded")


@pytest.mark.parametrize("storage", ["sqlite:///{}/study.db", "{}/study.log"])
def test_an_error_of_optuna_leaves_no_half_study(
    small_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    storage = storage.format(tmp_path)
    arguments = ("export-data", "demo", "--format", "optuna", "--output", storage)
    add_trial = optuna.Study.add_trial

    def failing(study: Any, trial: Any) -> None:
        if trial.number == 2:
            assert len(study.trials) == 2
            raise OSError("No space left on device")
        add_trial(study, trial)

    with monkeypatch.context() as broken:
        broken.setattr(optuna.Study, "add_trial", failing)
        line = refused(*arguments, url=small_url)
    assert line == f"evolver: Optuna cannot use the storage '{storage}': No space left on device"
    assert optuna.get_all_study_names(reloaded(storage)) == []
    assert facts_of(*arguments, url=small_url)["rows"] == {"trials": 4}


def test_an_error_of_a_storage_is_one_line_without_the_password(small_url: str, tmp_path: Path) -> None:
    arguments = ("export-data", "demo", "--format", "optuna", "--output")
    (tmp_path / "file").write_text("no journal\n")
    for storage in (f"{tmp_path}/none/study.log", f"{tmp_path}/file", "nonsense://me:secret@host/name"):
        line = refused(*arguments, storage, url=small_url)
        assert "Optuna cannot use the storage" in line
        assert "secret" not in line


def test_to_optuna_without_optuna(small_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(EnvironmentFault, match="optuna"):
        evolver.to_optuna("demo", small_url)
