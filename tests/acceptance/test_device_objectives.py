"""Objectives of a device on the command line: their names, and the warning where devices are mixed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from evolver.store.db import Database
from evolver.store.schema import attempt
from tests.acceptance.helpers import cli, facts_of, refused, search

SEARCH = ("--space", "tiny", "--evaluator", "surrogate", "--population", "4")
WARNING = "devices of several types, whose values must not be compared: GPU A, GPU B"


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    """Of a search whose first genome was measured on another device than the others."""
    database = Database.open(sqlite_url)
    result = cli("new", "demo", *SEARCH, "--objectives", "error,loss,train_s", "--budget", 6, url=sqlite_url)
    assert result.exit_code == 0, result.output
    search(database)
    with database.write() as connection:
        connection.execute(update(attempt).values(device_name="GPU A"))
        connection.execute(update(attempt).where(attempt.c.id == 1).values(device_name="GPU B"))
    yield database
    database.dispose()


def test_front_and_status_warn_of_values_of_several_devices(sqlite: Database, sqlite_url: str) -> None:
    front = cli("front", "demo", url=sqlite_url)
    assert WARNING in front.stderr
    assert "warning" not in front.stdout
    assert WARNING in " ".join(cli("status", "demo", url=sqlite_url).stdout.split())
    assert facts_of("status", "demo", url=sqlite_url)["mixed_devices"] == ["GPU A", "GPU B"]


def test_there_is_no_warning_of_one_device(sqlite: Database, sqlite_url: str) -> None:
    with sqlite.write() as connection:
        connection.execute(update(attempt).values(device_name="GPU A"))
    assert cli("front", "demo", url=sqlite_url).stderr == ""
    assert "compared" not in cli("status", "demo", url=sqlite_url).stdout
    assert facts_of("status", "demo", url=sqlite_url)["mixed_devices"] == []


def test_an_objective_may_have_an_argument(sqlite_url: str) -> None:
    names = "error,latency_ms,latency_ms:64,peak_memory_bytes,energy_j"
    made = facts_of("new", "demo", *SEARCH, "--objectives", names, url=sqlite_url)
    assert made["objectives"] == names.split(",")
    line = refused("new", "other", *SEARCH, "--objectives", "error,latency_ms:one", url=sqlite_url)
    assert "latency_ms:64" in line


@pytest.mark.parametrize("command", [("run", "demo", *SEARCH), ("worker",)])
def test_a_wrong_place_to_track_to_is_told_at_once(command: tuple[str, ...], sqlite_url: str) -> None:
    assert "give tensorboard:DIR or mlflow:URI" in refused(*command, "--track", "nowhere", url=sqlite_url)
