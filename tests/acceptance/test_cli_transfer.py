"""``evolver transfer`` as a user calls it: enqueued, refused, trained for real, killed and taken up."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import cli, facts_of, refused
from tests.acceptance.invariants import number
from tests.acceptance.processes import farm, wait_until

DONE = "SELECT count(*) FROM evaluation WHERE purpose = 'transfer' AND state = 'done'"


@pytest.fixture
def searched(sqlite_url: str) -> Database:
    """A search by training, with made-up results."""
    database = Database.open(sqlite_url)
    factories.finished(database, "demo", evaluator="train")
    factories.created(database, "empty", evaluator="train")
    factories.created(database, "synthetic")
    return database


def test_transfers_are_enqueued_for_workers_elsewhere(searched: Database, sqlite_url: str) -> None:
    command = ["transfer", "demo", "--dataset", "mnist", "--top", 4, "--workers", 0]
    told = facts_of(*command, "--seeds", 2, "--recipe", "fast", url=sqlite_url)
    assert (told["dataset"], told["from"], told["recipe"]["epochs"]) == ("mnist", "scratch", 5)
    assert [len(one["trainings"]) for one in told["genomes"]] == [2, 2, 2, 2]
    errors = [one["source_error"] for one in told["genomes"]]
    assert errors == sorted(errors)
    assert {one["target_error"] for one in told["genomes"]} == {None}
    assert told["correlation"] is None
    assert told["no_correlation"] == "fewer than three genomes have a result (0 of 4)"
    again = cli(*command, "--seeds", 2, "--recipe", "fast", url=sqlite_url).stdout
    assert "8 trainings, from scratch, for 5 epochs (fast), 0 of them newly enqueued" in again
    assert "no rank correlation can be given: fewer than three genomes" in again
    assert max(len(line) for line in again.splitlines()[1:] if "rank" not in line) <= 80
    searched.dispose()


def test_more_than_there_are_means_all(searched: Database, sqlite_url: str) -> None:
    shown = cli("transfer", "demo", "--dataset", "mnist", "--top", 99, "--workers", 0, url=sqlite_url)
    assert "there are only 12 different genomes with a result: all of them are taken" in shown.stdout
    assert shown.exit_code == 0
    searched.dispose()


def test_the_report_is_of_all_genomes_and_their_ranks(searched: Database, sqlite_url: str) -> None:
    command = ["transfer", "demo", "--dataset", "mnist", "--top", 4, "--workers", 0]
    cli(*command, url=sqlite_url)
    worker_id = factories.registered_worker(searched)
    for rank in range(4):
        claim = factories.must_claim(searched, worker_id)
        if rank == 0:
            factories.fail(searched, claim, "oom")
        else:
            values = {"test_error": 0.5 - 0.1 * rank, "test_loss": 1.0, "params": 1234.0, "flops": 9.0}
            factories.complete(searched, claim, values)
    told = facts_of(*command, url=sqlite_url)  # asks for the failed one again
    assert [one["trainings"][0]["state"] for one in told["genomes"]].count("pending") == 1
    assert told["correlation"]["tau"] == -1.0
    shown = cli(*command, url=sqlite_url).stdout
    assert "Kendall's tau-b): -1.00, 95 % interval -1.00 to -1.00, p = 0.33, 3 genomes" in shown
    assert "80.00 %" in shown
    assert "1.23 k" in shown
    searched.dispose()


def test_what_cannot_be_transferred_ends_with_one_line(
    searched: Database, sqlite_url: str, tmp_path: Path
) -> None:
    x = np.zeros((80, 2, 30), np.float32)
    y = np.arange(80) % 2
    np.savez(tmp_path / "series.npz", x_train=x, y_train=y, x_test=x, y_test=y, layout="NCL")
    cases: list[tuple[list[Any], str]] = [
        (["demo", "--dataset", "mnits"], "unknown dataset 'mnits'; did you mean mnist"),
        (["nobody", "--dataset", "mnist"], "unknown experiment 'nobody'"),
        (["demo", "--dataset", "none"], "no data to train and to test"),
        (["demo", "--dataset", "digits"], "evolver retrain demo"),
        (
            ["demo", "--dataset", "npz:series.npz", "--data-dir", tmp_path],
            "these data are series of length 30",
        ),
        (["demo", "--dataset", "npz:away.npz", "--data-dir", tmp_path], "no file at"),
        (["empty", "--dataset", "mnist"], "'empty' has an empty front"),
        (["empty", "--dataset", "mnist", "--top", 3], "'empty' has no genome with a result yet"),
        (["synthetic", "--dataset", "mnist"], "trains no networks"),
        (["demo", "--dataset", "mnist", "--from", "weights"], "no weights to begin with; make them: evolver"),
        (["demo", "--dataset", "mnist", "--top", 3, "--front"], "not both"),
        (["demo", "--dataset", "mnist", "--recipe", "slow"], "unknown recipe 'slow'"),
        (["demo", "--dataset", "mnist", "--seeds", 0], "--seeds"),
        (["demo", "--dataset", "mnist", "--epochs", 0], "epochs"),
        (["demo"], "--dataset"),
    ]
    for arguments, message in cases:
        assert message in refused("transfer", *arguments, url=sqlite_url)
    assert number(searched, "SELECT count(*) FROM evaluation WHERE purpose = 'transfer'") == 0
    missing = refused(
        "transfer", "demo", "--dataset", "mnist", "--data-dir", tmp_path, url=sqlite_url, code=4
    )
    assert "add --download" in missing
    assert number(searched, "SELECT count(*) FROM evaluation WHERE purpose = 'transfer'") == 0
    searched.dispose()


@pytest.mark.slow
def test_a_transfer_that_is_killed_is_taken_up_by_the_same_command(sqlite_url: str, tmp_path: Path) -> None:
    """Digits to images of three colours that are larger; the weights of the front come along."""
    database = Database.open(sqlite_url)
    small = {"stem_channels": 4, "channels": [4, 8]}
    with farm(sqlite_url, tmp_path) as processes:
        factories.created(
            database, "demo", budget=6, evaluator="train", recipe="fast", epochs=1, space_settings=small
        )
        processes.scheduler()
        processes.worker(lease_s=30)
        finished = "SELECT count(*) FROM experiment WHERE state = 'finished'"
        wait_until(lambda: number(database, finished) == 1, seconds=200, what="the end of the search")
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    x = rng.integers(0, 90, (400, 3, 20, 24), dtype=np.uint8)
    x[np.arange(400), y % 3, np.where(y < 3, 4, 12)] += 120
    np.savez(tmp_path / "large.npz", x_train=x[:320], y_train=y[:320], x_test=x[320:], y_test=y[320:])
    options = ["--dataset", "npz:large.npz", "--data-dir", str(tmp_path), "--epochs", "4"]
    with farm(sqlite_url, tmp_path) as processes:
        command = ["transfer", "demo", *options, "--top", "4"]
        first = processes.command(*command)
        wait_until(lambda: number(database, DONE) >= 1, seconds=200, what="the first result")
        first.popen.send_signal(signal.SIGKILL)
        first.popen.wait(10)
        second = processes.command(*command, "--json")
        assert second.popen.wait(200) == 0
        text = second.log.read_text()
        told = json.loads(text[text.index("\n{") :])
        assert [one["trainings"][0]["state"] for one in told["genomes"]] == ["done"] * len(told["genomes"])
        assert number(database, DONE) == len(told["genomes"])
        assert all(one["target_error"] < 0.5 for one in told["genomes"])

        assert processes.command("retrain", "demo", "--epochs", "1").popen.wait(200) == 0
        weights = processes.command("transfer", "demo", *options, "--from", "weights")
        assert weights.popen.wait(200) == 0, weights.log.read_text()
    assert number(database, "SELECT count(*) FROM evaluation WHERE init_from IS NOT NULL") > 0
    database.dispose()
