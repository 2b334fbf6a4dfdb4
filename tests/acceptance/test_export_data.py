"""An experiment as tables and as a study: what is written is what the database has."""

from __future__ import annotations

import json
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


@pytest.fixture
def searched(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A search that ran, beside another one; batches are smaller than it."""
    monkeypatch.setattr(store, "BATCH", 7)
    factories.finished(database, "other", budget=4)
    factories.finished(database, "demo", budget=24, end=end)
    return database


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def front(database: Database) -> list[facts.GenomeFact]:
    with database.read() as connection:
        return facts.front_members(connection, factories.current(database, "demo"))


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
        assert row["in_front"] == (one.genome_id in {member.genome_id for member in front(searched)})
    # The other experiment's rows are its own.
    facts_of("export-data", "other", "--format", kind, "--output", tmp_path / "2", url=url_of(searched))
    for name in FILES:
        read = pandas.read_parquet if kind == "parquet" else pandas.read_csv
        assert len(frames[name]) + len(read(tmp_path / f"2/{name}.{kind}")) == everything[name]
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


def test_nothing_is_overwritten_unless_asked(sqlite_url: str, tmp_path: Path) -> None:
    database = Database.open(sqlite_url)
    factories.finished(database, "demo", budget=4)
    arguments = ("export-data", "demo", "--format", "csv", "--output", tmp_path / "out")
    facts_of(*arguments, url=sqlite_url)
    (tmp_path / "out/genomes.csv").write_text("mine")
    assert "exists already" in refused(*arguments, url=sqlite_url)
    assert (tmp_path / "out/genomes.csv").read_text() == "mine"
    facts_of(*arguments, "--force", url=sqlite_url)
    assert (tmp_path / "out/genomes.csv").read_text().startswith("genome_id,birth")
    assert "did you mean demo" in refused("export-data", "dmo", url=sqlite_url)
    assert "--output" in refused("export-data", "demo", "--format", "optuna", url=sqlite_url)
    database.dispose()


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
    members = {one.genome_id for one in front(searched)}
    assert {one.user_attrs["genome_id"] for one in study.best_trials} == members
    assert {one.user_attrs["genome_id"] for one in study.trials if one.user_attrs["in_front"]} == members


def reloaded(storage: str) -> Any:
    if "://" in storage:
        return storage
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))


def test_one_objective_has_a_curve_and_constraints_count(database: Database) -> None:
    values = {"objectives": "error", "selector": "nsga2"}
    factories.finished(database, "demo", budget=12, end=end, **values)
    study = evolver.to_optuna("demo", url_of(database))
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.25}
    assert {one.user_attrs["genome_id"] for one in study.best_trials} == {
        one.genome_id for one in front(database)
    }


def test_what_breaks_constraints_is_no_best_trial(database: Database) -> None:
    factories.finished(database, "demo", budget=24, constraints=["error>=0.2"], selector="nsga2")
    study = evolver.to_optuna("demo", url_of(database))
    assert any(one.values[0] < 0.2 for one in study.trials)
    assert {one.user_attrs["genome_id"] for one in study.best_trials} == {
        one.genome_id for one in front(database)
    }


def test_to_optuna_without_optuna(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(EnvironmentFault, match="optuna"):
        evolver.to_optuna("demo", sqlite_url)
