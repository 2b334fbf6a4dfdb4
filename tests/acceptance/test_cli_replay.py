"""``evolver replay`` as people and scripts call it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from evolver.store.db import Database
from tests.acceptance.helpers import cli, create, facts_of, refused, search


@pytest.fixture
def url(sqlite_url: str) -> str:
    """A database with a finished search ``demo`` of 12 genomes, one of which failed."""
    database = Database.open(sqlite_url)
    create(database)
    search(database, failing=(3,))
    database.dispose()
    return sqlite_url


def change(url: str, statement: str) -> None:
    with closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")))) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_search_that_is_as_it_was_recorded(url: str) -> None:
    shown = cli("replay", "demo", url=url)
    assert shown.exit_code == 0
    assert "'demo': 12 births, 12 results and" in shown.stdout
    assert shown.stdout.endswith(" changes replayed: no difference\n")
    facts = facts_of("replay", "demo", url=url)
    assert (facts["births"], facts["results"], facts["differences"]) == (12, 12, [])
    assert "state" not in facts


def test_every_difference_is_a_line(url: str) -> None:
    change(url, "UPDATE membership SET reason = 'luck' WHERE left_at IS NOT NULL")
    shown = cli("replay", "demo", url=url)
    assert shown.exit_code == 1
    *lines, total = shown.stdout.splitlines()
    assert len(lines) > 1
    assert all(line.startswith(("derived but not recorded", "recorded but not derived")) for line in lines)
    assert total.endswith(f": {len(lines)} differences")
    as_json = cli("replay", "demo", "--json", url=url)
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["differences"] == lines


def test_the_state_after_some_results(url: str) -> None:
    shown = cli("replay", "demo", "--until", 6, url=url).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("Population after 6 results", "slot  genome  accuracy", "\nFront", "best of each: accuracy"):
        assert part in shown
    state = facts_of("replay", "demo", "--until", 6, url=url)["state"]
    assert [one["slot"] for one in state["population"]] == [0, 1, 2, 3]
    assert {one["genome_id"] for one in state["front"]} == {1, 2, 4, 5, 6}
    assert state["best"]["error"] == min(one["objectives"]["error"] for one in state["front"])
    nothing = facts_of("replay", "demo", "--until", 0, url=url)["state"]
    assert nothing == {"results": 0, "population": [], "front": [], "best": {}}


def test_what_cannot_be_replayed(url: str) -> None:
    assert "did you mean demo" in refused("replay", "dmo", url=url)
    assert "give --until a number from 0 to 12 (got 13)" in refused("replay", "demo", "--until", 13, url=url)
    change(url, "UPDATE experiment SET space_version = 7")
    assert "not comparable: " in refused("replay", "demo", url=url, code=1)


def test_births_of_another_version_of_evolver(url: str) -> None:
    change(url, "DROP TRIGGER genome_is_immutable")
    change(url, "UPDATE genome SET breeder_version = 0 WHERE birth <= 2")
    shown = cli("replay", "demo", url=url)
    assert shown.exit_code == 1
    assert "2 births not comparable: another version of evolver bred them" in shown.stdout
