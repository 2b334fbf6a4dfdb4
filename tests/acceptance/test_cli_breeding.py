"""The options of breeding on the command line and in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.helpers import cli, refused

OPTIONS = ("--parents", "least-used", "--candidates", "4", "--operators", "learned")
SEARCH = ("--objectives", "error,params", "--space", "tiny", "--evaluator", "surrogate",
          "--population", "4", "--budget", "30", "--epochs", "1")  # fmt: skip


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_are_kept_shown_replicated_and_replayed(directory: Path) -> None:
    made = json.loads(cli("new", "demo", *SEARCH, *OPTIONS, "--json").stdout)
    assert (made["parents"], made["candidates"], made["operators"]) == ("least-used", 4, "learned")
    assert "'demo' exists with another --candidates (4, not 8)" in refused("run", "demo", "--candidates", "8")
    cli("run", "demo", *OPTIONS, "--workers", "1", "--device", "cpu")
    assert "no difference" in cli("replay", "demo").stdout
    cli("replicate", "demo", "--runs", "1", "--workers", "0")
    listed = json.loads(cli("list", "--json").stdout)
    keys = ("parents", "candidates", "operators")
    assert [[one[key] for key in keys] for one in listed] == [["least-used", 4, "learned"]] * 2


def test_options_in_a_file_and_defaults(directory: Path) -> None:
    (directory / "demo.toml").write_text(
        'objectives = ["error", "flops"]\nparents = "least-used"\ncandidates = 16\noperators = "learned"\n'
    )
    made = json.loads(cli("new", "demo", "--config", "demo.toml", "--candidates", "2", "--json").stdout)
    assert (made["parents"], made["candidates"], made["operators"]) == ("least-used", 2, "learned")
    plain = json.loads(cli("new", "plain", "--json").stdout)
    assert (plain["parents"], plain["candidates"], plain["operators"]) == ("drawn", 1, "fixed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parents", "oldest"], "parents must be 'drawn' or 'least-used', not 'oldest'"),
        (["--operators", "best"], "operators must be 'fixed' or 'learned', not 'best'"),
        (["--candidates", "0"], "candidates must be at least 1, not 0"),
        (["--candidates", "99"], "candidates must be at most 64, not 99"),
        (["--candidates", "4"], "none of error,loss is: leave --candidates out, or add one"),
        (["--selector", "random", "--operators", "learned"], "from no parents: leave --operators out"),
        (["--selector", "random", *SEARCH[:2], *OPTIONS], "--parents and --candidates and --operators out"),
    ],
)
def test_wrong_options_get_one_line(directory: Path, options: list[str], message: str) -> None:
    assert message in refused("new", "demo", *options)
    assert list(directory.iterdir()) == []


def test_a_random_search_takes_what_is_so_by_default() -> None:
    assert cli("new", "demo", "--selector", "random", "--candidates", "1").exit_code == 0
    assert "leave --candidates out" in refused("run", "demo", *SEARCH[:2], "--candidates", "4")
