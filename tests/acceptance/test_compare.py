"""``evolver replicate`` and ``evolver compare`` on both databases."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text

from evolver.replay import replay
from evolver.store import experiments
from evolver.store.db import Database
from tests.acceptance.helpers import cli, create, facts_of, refused, search
from tests.acceptance.processes import farm, wait_until


@pytest.fixture
def url(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    create(database)
    create(database, "other", selector="nsga2")
    return database.url.render_as_string(hide_password=False)


def test_replicates_are_compared(database: Database, url: str, tmp_path: Path) -> None:
    for name in ("demo", "other"):
        made = facts_of("replicate", name, "--runs", 2, "--workers", 0, url=url)
        assert [(one["experiment"], one["seed"]) for one in made] == [(f"{name}@1", 1), (f"{name}@2", 2)]
        for one in made:
            search(database, one["experiment"], failing=(3,))
    found = facts_of("compare", "demo@", "other@", "--output", tmp_path / "c.png", url=url)
    first, second = found["groups"]
    assert (first["runs"], second["evaluations"]) == (["demo@1", "demo@2"], 24)
    assert first["failures"] == 1
    assert {one["measure"] for one in found["tests"]} == {"hypervolume", "error", "loss"}
    assert found["warnings"] == []
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (2250, 630)
    lines = cli("compare", "demo@", "other@", url=url).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("Mann-Whitney" in line for line in lines)
    assert "no test" in cli("compare", "demo@1", "other@1", url=url).stdout


def test_what_breaks_constraints_is_in_no_comparison(database: Database, url: str) -> None:
    create(database, "bounded", constraints=["error<=0.25"])
    search(database, "bounded", failing=(3,))
    (group,) = facts_of("compare", "bounded", url=url)["groups"]
    curve = group["curves"]["evaluations"]
    best = facts_of("status", "bounded", url=url)["best"]["error"]
    assert group["failures"] == 1
    assert group["finals"]["error"] == [best]
    assert all(value is None or value <= 0.25 for value in curve["error"]["median"])


def test_replicating_again_goes_on_and_never_changes_settings(url: str) -> None:
    assert len(facts_of("replicate", "demo", "--runs", 1, "--workers", 0, url=url)) == 1
    assert len(facts_of("replicate", "demo", "--runs", 3, "--workers", 0, url=url)) == 3
    assert "another seed" in refused(
        "replicate", "demo", "--runs", 3, "--workers", 0, "--start-seed", 7, url=url
    )
    assert cli("extend", "demo", "--budget", 20, url=url).exit_code == 0
    assert "another budget" in refused("replicate", "demo", "--runs", 3, "--workers", 0, url=url)
    assert len(facts_of("list", url=url)) == 5


# --- replicates that are searched here ---------------------------------------------------------------


def of_each(database: Database, query: str) -> list[int]:
    """What a query counts for demo@1 and demo@2; it has an experiment's name as :name."""
    with database.read() as connection:
        return [connection.execute(text(query), {"name": f"demo@{number}"}).scalar_one() for number in (1, 2)]


def count(what: str) -> str:
    return (
        f"SELECT count({what}) FROM evaluation e JOIN experiment x ON x.id = e.experiment_id "
        "LEFT JOIN attempt a ON a.evaluation_id = e.id WHERE x.name = :name"
    )


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_workers_search_replicates_one_after_the_other(database: Database, url: str, tmp_path: Path) -> None:
    with farm(url, tmp_path) as processes:
        process = processes.command("replicate", "demo", "--runs", "2", "--workers", "2", "--json")
        assert process.popen.wait(60) == 0, process.log.read_text()
        printed = process.log.read_text()
    told = json.loads(printed[printed.index("[\n") :])
    assert [(one["experiment"], one["state"], one["ingested"]) for one in told] == [
        ("demo@1", "finished", 12),
        ("demo@2", "finished", 12),
    ]
    assert "run 2 of 2: 'demo@2', seed 2" in printed
    assert of_each(database, count("DISTINCT a.worker_id")) == [2, 2]
    assert all(replay(database, f"demo@{number}").is_clean for number in (1, 2))
    with database.read() as connection:
        first, second = (experiments.get(connection, f"demo@{number}") for number in (1, 2))
        assert experiments.get(connection, "demo").state == "created"
        (ended,), (began,) = (
            connection.execute(
                text(f"SELECT {bound} FROM attempt a JOIN evaluation e ON e.id = a.evaluation_id "
                     "WHERE e.experiment_id = :id"), {"id": one.id},
            ).one()
            for one, bound in ((first, "max(a.ended_at)"), (second, "min(a.started_at)"))
        )  # fmt: skip
    assert ended <= began


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_ctrl_c_in_replicate_hands_work_back_and_the_same_command_goes_on(
    database: Database, url: str, tmp_path: Path
) -> None:
    command = ["replicate", "demo", "--runs", "2", "--workers", "2"]
    done = count("DISTINCT e.id") + " AND e.state = 'done'"
    running = count("DISTINCT e.id") + " AND e.state = 'running'"
    with farm(url, tmp_path, seconds="0.1:0.3") as processes:
        first = processes.command(*command)
        wait_until(
            lambda: of_each(database, done)[1] >= 2 and of_each(database, running)[1] > 0,
            what="results of the second replicate",
        )
        os.killpg(first.popen.pid, signal.SIGINT)  # as a terminal does it: the workers hear of it as well
        assert first.popen.wait(30) == 130, first.log.read_text()
        assert not first.children()
        printed = first.log.read_text()
        assert "'demo' has 2 replicates, 1 of them finished" in printed
        assert "go on:        the same command" in printed
        assert of_each(database, running) == [0, 0]
        assert of_each(database, count("*") + " AND a.outcome IN ('lost', 'running')") == [0, 0]
        before = of_each(database, done)
        assert before[0] == 12
        assert 2 <= before[1] < 12
        assert processes.command(*command).popen.wait(60) == 0
    assert "2 of them finished" in cli(*command, url=url).stdout  # nothing is left to do
    assert of_each(database, done) == [12, 12]
    assert of_each(database, count("*") + " AND a.outcome = 'done'") == [12, 12]  # none of them twice
    assert all(replay(database, f"demo@{number}").is_clean for number in (1, 2))


def test_what_cannot_be_compared(database: Database, url: str) -> None:
    assert "no result to compare" in refused("compare", "demo", url=url)
    assert "has no replicates" in refused("compare", "demo@", url=url)
    assert "did you mean demo" in refused("compare", "dem@", url=url)
    create(database, "costs", objectives="error,params")
    assert "name what both measured" in refused("compare", "demo", "costs", url=url)
