"""What bad input gets: one line, an exit code, and nothing written."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from evolver.store.db import Database
from tests.acceptance.helpers import cli, create, facts_of, refused

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


BAD_SETTINGS = [
    (["--dataset", "mnits"], "did you mean mnist"),
    (["--space", "tini"], "did you mean tiny"),
    (["--objectives", "error,los"], "did you mean loss"),
    (["--selector", "moed"], "did you mean moead"),
    (["--recipe", "fst"], "did you mean fast"),
    (["--evaluator", "trian"], "did you mean train"),
    (["--population", "3"], "population must be at least 4, not 3"),
    (["--population", "20000", "--budget", "20000"], "population must be at most 10000"),
    (["--budget", "3000000000"], "budget must be at most 2147483647"),
    (["--budget", "5", "--population", "10"], "smaller than the population"),
    (["--epochs", "0"], "epochs"),
    (["--epochs", "many"], "See 'evolver"),
    (["--dataset", "npz:nothing.npz"], "nothing.npz"),
    (["--dataset", "npz"], "needs a path"),
    (["--config", "nothing.toml"], "nothing.toml"),
    (["--colour", "red"], "--colour"),
]


@pytest.mark.parametrize("command", [["new"], ["run"], ["run", "--workers", "0"]], ids=" ".join)
@pytest.mark.parametrize(("options", "message"), BAD_SETTINGS)
def test_bad_settings(directory: Path, command: list[str], options: list[str], message: str) -> None:
    assert message in refused(*command, "demo", *options)
    assert list(directory.iterdir()) == []


def test_an_unknown_key_in_a_config_file(directory: Path) -> None:
    (directory / "demo.toml").write_text('space = "tiny"\nbugdet = 30\n')
    assert "did you mean budget" in refused("new", "demo", "--config", "demo.toml")
    (directory / "demo.toml").write_text("space = tiny")
    assert "not valid TOML" in refused("new", "demo", "--config", "demo.toml")
    assert [path.name for path in directory.iterdir()] == ["demo.toml"]


def test_missing_data(directory: Path) -> None:
    assert "pets" in refused("run", "demo", "--dataset", "imagefolder:pets", "--space", "tiny")
    assert "--download" in refused("run", "demo", "--dataset", "mnist", "--space", "tiny", code=4)
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "malformed"),
        ("mysql://host/name", "not supported"),
        ("sqlite:///missing/evolver.db", "directory"),
        ("postgresql://me:secret@127.0.0.1:1/evolver", "cannot use the database"),
    ],
)
def test_bad_database_urls(url: str, message: str) -> None:
    line = refused("new", "demo", "--space", "tiny", "--db", url, code=3)
    assert message in line
    assert "secret" not in line


def test_a_server_that_is_away() -> None:
    for url, place in (("127.0.0.1:1", "host 127.0.0.1, port 1"), ("localhost:2", "host localhost, port 2")):
        line = refused("status", "--db", f"postgresql://me:secret@{url}/evolver", code=3)
        assert f"check that the server runs ({place}) and that the URL is right" in line
        assert "secret" not in line


def test_a_file_of_another_program(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "contacts.db")) as file:
        file.execute("CREATE TABLE people (name TEXT)")
    before = (directory / "contacts.db").read_bytes()
    for command in (
        ["new", "demo", "--space", "tiny"],
        ["run", "demo", "--space", "tiny"],
        ["db", "upgrade"],
    ):
        line = refused(*command, "--db", "sqlite:///contacts.db", code=3)
        assert "belongs to another program, which has tables there (people)" in line
    assert (directory / "contacts.db").read_bytes() == before


def test_a_file_that_is_no_database(directory: Path) -> None:
    (directory / "evolver.db").write_text("something else, of some length, that SQLite does not know" * 20)
    assert "not a SQLite database" in refused("status", code=3)


@pytest.mark.parametrize(
    "command",
    [["status"], ["front"], ["pause"], ["extend", "--budget", 9], ["retrain"], ["plot", "--output", "x.png"]],
)
def test_an_unknown_experiment(sqlite_url: str, command: list[object]) -> None:
    database = Database.open(sqlite_url)
    create(database)
    database.dispose()
    assert "did you mean demo" in refused(command[0], "dmo", *command[1:], url=sqlite_url)


@pytest.mark.parametrize("command", ["show", "lineage", "logs", "retry"])
def test_an_unknown_genome(sqlite_url: str, command: str) -> None:
    assert "there is no genome 77" in refused(command, 77, url=sqlite_url)


@pytest.mark.parametrize("command", ["show", "lineage", "logs", "retry"])
def test_an_id_that_no_column_holds(sqlite_url: str, command: str) -> None:
    assert "not in the range" in refused(command, 10**20, url=sqlite_url)


def test_a_budget_that_no_column_holds(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    create(database)
    database.dispose()
    assert "not in the range" in refused("extend", "demo", "--budget", 10**20, url=sqlite_url)


@pytest.mark.parametrize(
    ("option", "value", "code", "message"),
    [("--device", "gpu", 2, "unknown device"), ("--device", "cuda:99", 2, "this machine has"),
     ("--checkpoint-url", "nowhere://x", 4, "checkpoints cannot be kept"),
     ("--checkpoint-url", "/dev/null/x", 4, "Not a directory; give another --checkpoint-url")],
)  # fmt: skip
def test_what_no_worker_here_can_do(
    directory: Path, option: str, value: str, code: int, message: str
) -> None:
    assert message in refused("run", "demo", "--space", "tiny", option, value, code=code)
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("command", [["retrain", "demo"], ["worker"]], ids=lambda command: command[0])
def test_no_training_begins_where_its_checkpoints_cannot_be_kept(sqlite_url: str, command: list[str]) -> None:
    database = Database.open(sqlite_url)
    create(database)
    database.dispose()
    line = refused(*command, "--checkpoint-url", "/dev/null/x", url=sqlite_url, code=4)
    assert "checkpoints at /dev/null/x cannot be written: Not a directory" in line


def test_names(directory: Path) -> None:
    assert "cannot be an experiment's name" in refused("new", "--", "-x")
    assert list(directory.iterdir()) == []
    shown = cli("new", "a $name", "--space", "tiny").stdout
    assert "evolver run 'a $name'" in shown


def test_what_to_do_next_names_the_database_that_was_typed(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    shown = cli("new", "typed", "--db", sqlite_url).stdout
    assert f"evolver run typed --db {database}" in shown
    assert f"evolver worker typed --db {database}" in shown
    assert "--db" not in cli("new", "known", url=sqlite_url).stdout
    database.dispose()


def test_unknown_commands_and_missing_arguments(sqlite_url: str) -> None:
    assert "did you mean status" in refused("statsu")
    assert "evolver db --help" in refused("db")
    assert "give the id of a genome" in refused("retry", url=sqlite_url)
    assert "not both" in refused("retrain", "x", "--front", "--genome", 1, url=sqlite_url)


def test_a_name_that_exists_with_other_settings(sqlite_url: str) -> None:
    assert (
        cli("new", "demo", "--space", "tiny", "--recipe", "fast", "--epochs", 3, url=sqlite_url).exit_code
        == 0
    )
    before = facts_of("list", url=sqlite_url)
    assert "exists already" in refused("new", "demo", url=sqlite_url)
    for option, value, shown in (
        ("--space", "small", "(tiny, not small)"),
        ("--epochs", 4, "(fast 3, not fast 4)"),
        ("--recipe", "paper", "(fast 3, not paper 10)"),
        ("--budget", 300, "evolver extend"),
        ("--seed", 5, "(0, not 5)"),
        ("--dataset", "mnist", "(digits, not mnist)"),
    ):
        line = refused("run", "demo", option, value, url=sqlite_url)
        assert f"another {option}" in line
        assert shown in line
    assert facts_of("list", url=sqlite_url) == before


def test_new_takes_file_and_options(directory: Path) -> None:
    (directory / "demo.toml").write_text(
        'space = "tiny"\nbudget = 30\npopulation = 6\nobjectives = ["error", "params"]\n'
        "[recipe_settings]\nlr = 0.5\n"
    )
    made = facts_of("new", "demo", "--config", "demo.toml", "--budget", 40)
    assert (made["budget"], made["population"], made["objectives"]) == (40, 6, ["error", "params"])
    shown = cli("new", "again", "--config", "demo.toml").stdout
    assert "evolver run again" in shown


def test_the_path_of_own_data_is_not_stored(directory: Path) -> None:
    (directory / "far" / "away").mkdir(parents=True)
    images = np.zeros((100, 8, 8), dtype=np.uint8)
    labels = np.arange(100) % 2
    np.savez(directory / "far/away/pets.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    shown = cli("new", "demo", "--space", "tiny", "--dataset", f"npz:{directory}/far/away/pets.npz").stdout
    assert f"evolver worker demo --data-dir {directory}/far/away" in shown
    assert facts_of("list")[0]["dataset"] == "npz:pets.npz"


# --- the process itself ------------------------------------------------------------------------------


def called(
    *arguments: str | bytes, url: str, stdout: int | IO[bytes] = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """evolver as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from evolver.cli import main; main(prog_name='evolver')", *arguments],
        env={**os.environ, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT), **environment},
        stdout=stdout, stderr=subprocess.PIPE, timeout=60,
    )  # fmt: skip


def test_an_argument_that_is_no_text(sqlite_url: str) -> None:
    done = called("front", b"d\xff", url=sqlite_url)
    assert (done.returncode, done.stderr) == (2, b"evolver: 'd\\udcff' is no text in UTF-8\n")


def test_an_unknown_option_before_the_command() -> None:
    assert "No such option" in refused("--bogus")
    assert "evolver run demo" in cli().output  # nothing at all: the help


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["sql", "SELECT 1", "--csv"]])
def test_an_output_that_is_full(sqlite_url: str, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = called(*arguments, url=sqlite_url, stdout=full)
    assert (done.returncode, done.stderr) == (4, b"evolver: cannot go on: No space left on device\n")


@pytest.mark.parametrize("form", ["--csv", "--json", "--limit=100000"])
def test_an_output_that_nobody_reads_on(sqlite_url: str, form: str) -> None:
    query = "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a LIMIT 3000) SELECT x FROM a"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = called("sql", query, form, url=sqlite_url, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_output_that_is_not_of_unicode(sqlite_url: str) -> None:
    assert cli("new", "é✨", url=sqlite_url).exit_code == 0
    for command in (["list"], ["status", "é✨"]):
        done = called(*command, url=sqlite_url, PYTHONIOENCODING="latin-1")
        assert (done.returncode, done.stderr) == (0, b"")
        assert "é?".encode("latin-1") in done.stdout
    done = called("list", "--json", url=sqlite_url, PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)[0]["experiment"] == "é✨"
