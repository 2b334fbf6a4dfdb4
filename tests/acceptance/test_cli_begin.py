"""Options that bound a new search (``--constraint``) and begin it (``--seed-genomes``, ``--seed-from``)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evolver.store import experiments
from evolver.store.db import Database
from tests.acceptance.helpers import cli, create, facts_of, refused, search

SMALL = ["--space", "tiny", "--evaluator", "surrogate", "--population", 4, "--budget", 8]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def url(directory: Path) -> str:
    """A database with a finished search ``demo``."""
    url = f"sqlite:///{directory}/evolver.db"
    database = Database.open(url, create=True)
    create(database)
    search(database)
    database.dispose()
    return url


@pytest.mark.parametrize("command", [["new"], ["run", "--workers", 0]], ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--constraint", "parms<=10"], "did you mean params"),
        (["--constraint", "params<10"], "is no constraint"),
        (["--constraint", "params<=1e9", "--constraint", "params>=2e9"], "contradict each other"),
        (["--constraint", "train_s<=10"], "needs train_s among the objectives"),
        (["--constraint", "params<=10"], "params<=10 in 1000 tries"),
        (["--max-params", "1"], "no genome within max_params 1 and"),
        (["--seed-genomes", "lenett"], "did you mean lenet"),
        (["--seed-genomes", "none.json"], "No such file"),
        (["--seed-from", "demo"], "there is no database"),
    ],
)
def test_what_is_refused(directory: Path, command: list[object], options: list[str], message: str) -> None:
    code = 3 if "--seed-from" in options else 2
    assert message in refused(*command, "next", *SMALL, *options, code=code)
    assert list(directory.iterdir()) == []


def test_constraints_from_options_and_files(directory: Path) -> None:
    made = facts_of("new", "a", *SMALL, "--constraint", "params<=1e6", "--constraint", "error<=0.5")
    assert made["constraints"] == ["error<=0.5", "params<=1000000"]
    (directory / "list.toml").write_text('constraints = ["error<=0.5", "params<=1e6"]')
    assert facts_of("new", "b", *SMALL, "--config", "list.toml")["constraints"] == made["constraints"]
    (directory / "one.toml").write_text('constraints = "flops<=1e9"')
    assert facts_of("new", "c", *SMALL, "--config", "one.toml")["constraints"] == ["flops<=1000000000"]
    won = facts_of("new", "d", *SMALL, "--config", "list.toml", "--constraint", "loss<=2")
    assert won["constraints"] == ["loss<=2"]


def test_status_and_front_show_constraints(directory: Path) -> None:
    cli("new", "next", *SMALL, "--constraint", "error<=0.01")
    database = Database.open("sqlite:///evolver.db")
    search(database, "next")  # its least error is 0.0625
    database.dispose()
    shown = cli("status", "next").stdout
    assert re.search("constraints +error<=0.01", shown)
    assert "! no genome so far keeps all constraints" in shown
    assert facts_of("status", "next")["none_feasible"] is True
    lines = cli("front", "next").stdout.splitlines()
    assert lines == [
        "the front of 'next' is empty: no genome so far keeps all constraints", "constraints: error<=0.01",
    ]  # fmt: skip
    assert "breaks error<=0.01" in cli("show", 8).stdout
    assert facts_of("show", 8)["evaluations"][0]["violated"] == ["error<=0.01"]


def test_the_same_command_goes_on(url: str, directory: Path) -> None:
    (directory / "begin").mkdir()
    codes = [row["code"] for row in facts_of("front", "demo", url=url)][:3]
    (directory / "begin" / "some.json").write_text(json.dumps(codes))
    bounded = ["--constraint", "params<=1e6", "--constraint", "error<=0.9"]
    begun = ["--seed-genomes", "begin/some.json", "--seed-from", "demo:best=1"]
    shown = cli("run", "next", *SMALL, "--workers", 0, *bounded, *begun[:2], "--max-hours", "1e-9", url=url)
    assert shown.exit_code == 0, shown.output
    database = Database.open(url)
    with database.read() as connection:
        assert experiments.get(connection, "next").seeds == 3
    database.dispose()
    again = cli("run", "next", "--workers", 0, *reversed_options(bounded), *begun[:2], url=url)
    assert again.exit_code == 0, again.output

    for option, value, message in [
        (
            "--constraint",
            "params<=1e7",
            "another --constraint (error<=0.9,params<=1000000, not params<=10000000)",
        ),
        ("--seed-genomes", "known", "another --seed-genomes (some.json, not known)"),
        ("--seed-from", "demo", "another --seed-from (None, not demo)"),
    ]:
        assert message in refused("run", "next", "--workers", 0, option, value, url=url)


def reversed_options(options: list[str]) -> list[str]:
    return options[2:] + options[:2]


def test_new_says_what_a_search_begins_with(url: str) -> None:
    shown = cli("new", "next", *SMALL, "--epochs", 10, "--seed-from", "demo:best=3", url=url)
    assert "begins with 3 given genomes, 3 results known" in shown.stdout
    assert shown.stderr == ""
    shown = cli("new", "other", *SMALL, "--epochs", 5, "--seed-from", "demo:best=3", url=url)
    assert "begins with 3 given genomes\n" in shown.stdout
    assert shown.stderr == "the genomes of 'demo' are trained again, since the recipe is another one\n"
    assert [one["seeds"] for one in facts_of("list", url=url)] == [0, 3, 3]
    assert "more than the budget" in refused("new", "x", *SMALL, "--seed-from", "demo:best=12", url=url)


def test_a_front_and_a_genome_can_be_carried_to_another_database(url: str, directory: Path) -> None:
    (directory / "front.json").write_text(cli("front", "demo", "--json", url=url).stdout)
    (directory / "one.json").write_text(cli("show", 5, "--json", url=url).stdout)
    elsewhere = f"sqlite:///{directory}/elsewhere.db"
    assert (
        facts_of("new", "a", *SMALL, "--budget", 40, "--seed-genomes", "front.json", url=elsewhere)["seeds"]
        == 12
    )
    assert facts_of("new", "b", *SMALL, "--seed-genomes", "one.json", url=elsewhere)["seeds"] == 1
    assert "genome" in cli("show", 5, url=url).stdout


def test_show_says_where_a_genome_comes_from(url: str) -> None:
    cli("new", "next", *SMALL, "--epochs", 10, "--seed-from", "demo:best=1", url=url)
    database = Database.open(url)
    search(database, "next")
    database.dispose()
    detail = facts_of("show", 13, url=url)
    assert (detail["operator"], detail["origin"]) == ("seed", "genome 12 of 'demo'")
    assert "born by    seed: genome 12 of 'demo'" in cli("show", 13, url=url).stdout
