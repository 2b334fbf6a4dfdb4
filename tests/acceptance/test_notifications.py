"""``--on-event`` with real schedulers and workers: what arrives, and that nothing holds up the search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import refused
from tests.acceptance.processes import farm, wait_until
from tests.unit.test_notify import serving, silent

ROOT = Path(__file__).parents[2]
SEARCH = ["--space", "tiny", "--evaluator", "surrogate", "--population", "4", "--budget", "12"]
APPEND = "import os, sys\nwith open(sys.argv[1], 'a') as file:\n    file.write(sys.stdin.read() + '\\n')\n"


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def appending(tmp_path: Path) -> tuple[str, Path]:
    """A command that appends each event to a file, and the file."""
    script, file = tmp_path / "append.py", tmp_path / "events.jsonl"
    script.write_text(APPEND)
    file.touch()
    return f"{sys.executable} {script} {file}", file


def kinds(file: Path) -> list[str]:
    return [json.loads(line)["event"] for line in file.read_text().splitlines()]


def searched(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A whole search by one command."""
    return subprocess.run(
        [sys.executable, "-m", "evolver", "run", "demo", *SEARCH, *options],
        env={**os.environ, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_search_tells_of_its_front_and_its_end_once(database_url: str, appending: tuple[str, Path]) -> None:
    command, file = appending
    with serving(200) as received:
        done = searched(database_url, "--on-event", command, "--on-event", received.url)
    assert done.returncode == 0, done.stderr
    told = kinds(file)
    assert told[0] == "new-front-member"
    assert told[-1] == "finished"
    assert told.count("finished") == 1
    assert len(told) <= 3  # the burst at the beginning is merged, and what is left is told at the end
    assert [one["event"] for one in received.bodies] == told
    ids = [one["genome_id"] for body in received.bodies for one in body.get("genomes", ())]
    assert len(ids) == len(set(ids)) > 0


def test_targets_that_hang_or_fail_do_not_hold_up_the_search(sqlite_url: str) -> None:
    with silent() as url:
        done = searched(sqlite_url, "--on-event", url, "--on-event", "sleep 61.25", "--on-event", "false")
    returned_at = datetime.now(UTC)
    database = Database.open(sqlite_url)
    ended_at = factories.current(database, "demo").ended_at
    database.dispose()
    assert done.returncode == 0, done.stderr
    assert "Front of 'demo'" in done.stdout
    assert ended_at is not None
    assert (returned_at - ended_at).total_seconds() < 20  # five, and a machine that is busy
    said = " ".join((done.stdout + done.stderr).split())
    assert "command false did not take 'finished': exit code 1" in said
    assert "command sleep is too slow" in said
    assert "/… is too slow" in said
    assert "secret" not in said
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", "61.25"] not in commands  # killed, not orphaned


def test_a_scheduler_tells_of_a_stall_and_of_failures(sqlite_url: str, appending: tuple[str, Path]) -> None:
    command, file = appending
    with farm(sqlite_url, file.parent) as running:
        new = running.command("new", "demo", *SEARCH)
        new.popen.wait(30)
        scheduler = running.command("scheduler", "--on-event", command, "--stalled-after", "0.02")
        wait_until(lambda: "stalled" in kinds(file), what="an event of the stall")
        time.sleep(2.5)
        assert kinds(file) == ["stalled"]
        assert json.loads(file.read_text())["workers"] == 0
        running.worker("demo")
        wait_until(lambda: "finished" in kinds(file), what="an event of the end")
        assert kinds(file).count("finished") == 1
        scheduler.popen.terminate()
        assert scheduler.popen.wait(20) == 0


@pytest.mark.parametrize(
    ("target", "words"),
    [("no-such-command", "there is no command 'no-such-command'"), ("gopher://example.org", "gopher://")],
)
def test_a_target_that_cannot_be_is_one_line(sqlite_url: str, target: str, words: str) -> None:
    for command in (["run", "demo", *SEARCH], ["scheduler"]):
        assert words in refused(*command, "--on-event", target, url=sqlite_url)


def test_targets_may_come_from_the_environment(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVER_ON_EVENT", "cat -u\nno-such-command --now")
    assert "there is no command 'no-such-command'" in refused("scheduler", url=sqlite_url)
