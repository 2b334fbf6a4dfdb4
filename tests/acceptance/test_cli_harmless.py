"""Texts that somebody wrote into the database to steer the terminals of others."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from evolver.cli import main
from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import cli, create, facts_of, search
from tests.acceptance.terminals import terminal

ROOT = Path(__file__).parents[2]
MARKUP = "[/][red]:smile:"
EVIL = f"\x1b]0;mine\x07\x1b[2J\x9b31m\r{MARKUP}"
FAILED = 3


@pytest.fixture(scope="module")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search and workers whose every free text is evil."""
    path = tmp_path_factory.mktemp("filled") / "evolver.db"
    database = Database.open(f"sqlite:///{path}", create=True)
    create(database)
    search(database, failing=(FAILED,))
    factories.registered_worker(database, slots=2, host="host")
    evil = {"evil": EVIL}
    with database.write() as connection:
        for change in (
            "experiment SET name = name || :evil, state_reason = :evil",
            "worker SET host = host || :evil, device = :evil, note = :evil",
            "evaluation SET failure_message = :evil WHERE failure_kind IS NOT NULL",
            "attempt SET host = :evil, device = :evil, log_tail = :evil",
            "attempt SET message = :evil WHERE failure_kind IS NOT NULL",
            "dataset SET name = name || :evil",
        ):
            connection.execute(text(f"UPDATE {change}"), evil)
    database.dispose()
    return path


VIEWS = [
    ["list"],
    ["status"],
    ["status", f"demo{EVIL}"],
    ["top", "--once"],
    ["workers", "--all"],
    ["drain", "--all"],
    ["front", "dem"],  # a name that is near is offered
    ["show", FAILED],
    ["logs", FAILED],
    ["retry", FAILED],
    ["compare", f"demo{EVIL}"],
    ["replay", f"demo{EVIL}"],
    ["doctor"],
    ["sql", "SELECT name FROM experiment"],
    ["sql", "SELECT name FROM experiment", "--json"],
    ["list", "--json"],
]


@pytest.mark.parametrize("arguments", VIEWS, ids=lambda arguments: " ".join(map(str, arguments))[:14])
def test_no_text_of_the_database_steers_the_terminal(url: str, arguments: list[object]) -> None:
    environment = {"EVOLVER_DATABASE_URL": url, "COLUMNS": "200"}
    result = CliRunner().invoke(main, list(map(str, arguments)), env=environment, color=True)
    assert isinstance(result.exception, SystemExit | None)
    assert result.output.replace("\n", "").isprintable()
    if arguments[0] != "top":  # whose cells are cut
        assert MARKUP in result.output  # as it is: no markup, no emoji


def test_no_text_of_the_database_steers_a_real_terminal(url: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment = {**kept, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    for arguments in (["logs", "3"], ["sql", "SELECT name FROM experiment", "--csv"]):
        with terminal([sys.executable, "-m", "evolver", *arguments], environment, columns=200) as opened:
            assert opened.end() == 0
            assert MARKUP in opened.output
            assert re.sub(r"\x1b\[[\d;]*m|\r\n", "", opened.output).isprintable()


def test_logs_show_what_the_terminal_of_the_worker_showed_at_last(url: str) -> None:
    database = Database.open(url)
    log = "epoch 1\n 10%|# |\r 99%|##|\x1b[K\n\tloss 0.5\n"
    with database.write() as connection:
        connection.execute(text("UPDATE attempt SET log_tail = :log"), {"log": log})
    database.dispose()
    assert cli("logs", 12, url=url).stdout.splitlines()[1:] == ["epoch 1", " 99%|##|", "\tloss 0.5"]
    (attempt,) = facts_of("logs", 12, url=url)
    assert attempt["log_tail"] == log


def test_what_people_see_is_printed_in_one_place() -> None:
    others = {"output.py", "completion.py", "__init__.py"}
    modules = [path for path in (ROOT / "evolver/cli").glob("*.py") if path.name not in others]
    own = re.compile(r"click\.s?echo\(|(?<!\.)\bprint\(|\bConsole\(")
    assert [path.name for path in modules if own.search(path.read_text(encoding="utf-8"))] == []
    assert own.search((ROOT / "evolver/cli/output.py").read_text(encoding="utf-8"))
