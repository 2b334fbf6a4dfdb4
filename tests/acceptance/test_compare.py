"""``evolver replicate`` and ``evolver compare`` on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from evolver.store.db import Database
from tests.acceptance.helpers import cli, create, facts_of, refused, search


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


def test_what_cannot_be_compared(database: Database, url: str) -> None:
    assert "no result to compare" in refused("compare", "demo", url=url)
    assert "has no replicates" in refused("compare", "demo@", url=url)
    assert "did you mean demo" in refused("compare", "dem@", url=url)
    create(database, "costs", objectives="error,params")
    assert "name what both measured" in refused("compare", "demo", "costs", url=url)
