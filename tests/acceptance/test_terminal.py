"""What people see: the views that fill a terminal, colours, widths, and completion in a shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from evolver.store import leases
from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import cli, create, facts_of, refused, search
from tests.acceptance.terminals import Terminal, terminal
from tests.postgres import Server

ROOT = Path(__file__).parents[2]
LONG = "a-search-with-a-name-as-long-as-names-may-be-" + "x" * 50
HOST = "a-node-with-a-long-name.in-a-cluster.example.org"
ENTERS, LEAVES = "\x1b[?1049h", "\x1b[?1049l"
COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3\d|4\d|9\d|10\d)(?:;[\d;]*)?m")
STYLE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search and one under way, both with long names; three workers on hosts with long names."""
    path = tmp_path_factory.mktemp("filled") / "evolver.db"
    database = Database.open(f"sqlite:///{path}", create=True)
    for number in (1, 3):
        create(database, f"{LONG}-{number}")
        search(database, f"{LONG}-{number}", failing=(3,))
    workers = [
        factories.registered_worker(database, slots=16, host=f"{HOST}-{number}") for number in range(3)
    ]
    factories.running(database, f"{LONG}-2", budget=1_000_000)
    for worker_id in workers:
        claim = factories.must_claim(database, worker_id)
        factories.do(database, leases.heartbeat, worker_id, [claim.lease], 3600)
    database.dispose()
    return path


@contextmanager
def evolver(*arguments: object, url: str, **environment: str) -> Iterator[Terminal]:
    """evolver in a terminal of its own, 80 columns wide."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    given = {"EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "evolver", *map(str, arguments)]
    with terminal(command, {**kept, **given, **environment}) as opened:
        yield opened


# --- views that fill the terminal --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda one: os.write(one.master, b"q"), 0),
        (lambda one: one.process.send_signal(signal.SIGINT), 130),
        (lambda one: one.process.send_signal(signal.SIGTERM), 130),
    ],
    ids=["q", "Ctrl-C", "SIGTERM"],
)
@pytest.mark.parametrize("command", [["status", "--watch"], ["top"]], ids=["status", "top"])
def test_a_view_fills_the_terminal_and_leaves_it_as_it_was(
    url: str, command: list[str], leave: Callable[[Terminal], object], code: int
) -> None:
    with evolver(*command, "--interval", "0.2", url=url) as opened:
        opened.read_until(lambda output: output.count("q leaves") >= 2)
        assert opened.output.startswith(ENTERS) or ENTERS in opened.output
        assert LEAVES not in opened.output
        leave(opened)
        assert opened.end() == code
        assert LEAVES in opened.output
        assert opened.output.rfind("\x1b[?25h") > opened.output.rfind("\x1b[?25l")  # the cursor is back
        assert "Traceback" not in opened.output
        assert termios.tcgetattr(opened.slave) == opened.before


def test_a_lost_connection_is_said_and_waited_for(postgresql_server: str, tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        server_url = server.url("postgres")
        assert cli("db", "upgrade", url=server_url).exit_code == 0
        database = Database.open(server_url)
        factories.created(database, "demo")
        database.dispose()
        with evolver("status", "demo", "--watch", "--interval", "0.2", url=server_url) as opened:
            opened.read_until(lambda output: "time left" in output)
            server.shut_down()
            opened.read_until(lambda output: "no connection" in output)
            length = len(opened.output)
            opened.read_until(lambda output: "trying again" in output[length:])
            # What was read last is still there.
            opened.read_until(lambda output: "time left" in output[length:])
            server.start()
            length = len(opened.output)
            opened.read_until(lambda o: "no connection" not in o[o.rfind("q leaves") :] and len(o) > length)
            os.write(opened.master, b"q")
            assert opened.end() == 0
    finally:
        server.stop()


@pytest.mark.parametrize("command", [["status", "--watch"], ["status", f"{LONG}-1", "--watch"], ["top"]])
def test_without_a_terminal_a_block_is_printed_each_time(url: str, command: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "evolver", *command, "--interval", "0.1"],
        env={**os.environ, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    while sum(line.startswith("evolver ") for line in lines) < 3:
        lines.append(process.stdout.readline())
        assert lines[-1]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.stdout.close()
    assert "\x1b" not in "".join(lines)


def test_status_refuses_an_interval_without_watch(url: str) -> None:
    assert "--watch" in refused("status", "--interval", 3, url=url)


# --- top ---------------------------------------------------------------------------------------------


def test_top_as_json(url: str) -> None:
    found = facts_of("top", url=url)
    assert found["left_out"] == 0
    assert [row["host"] for row in found["rows"]] == [f"{HOST}-{number}" for number in range(3)]
    row = found["rows"][0]
    assert (row["experiment"], row["genome_id"], row["running"], row["slots"]) == (f"{LONG}-2", 25, 1, 16)
    assert (row["epoch"], row["epochs"]) == (0, 2)
    assert row["lease_left_s"] > 3000
    limited = facts_of("top", "--rows", 1, "--sort", "lease", url=url)
    assert (len(limited["rows"]), limited["left_out"]) == (1, 2)
    assert limited["rows"][0]["worker_id"] == row["worker_id"]  # it claimed first


def test_top_shows_a_line_for_each_training(url: str) -> None:
    shown = cli("top", "--once", "--rows", 2, url=url).stdout.splitlines()
    assert shown[0] == "workers 3, trainings 3, slots 48"
    assert shown[1].split()[:2] == ["worker", "device"]
    assert len(shown) == 5
    assert all(":1 " in line and "1/16" in line for line in shown[2:4])
    assert shown[4] == "and 1 more"


def test_top_without_workers_says_what_to_do(sqlite_url: str) -> None:
    assert "evolver worker" in cli("top", "--once", url=sqlite_url).stdout
    assert facts_of("top", url=sqlite_url) == {"rows": [], "left_out": 0}


# --- widths and colours ------------------------------------------------------------------------------

TABLES = [
    ["list"],
    ["status"],
    ["status", f"{LONG}-1"],
    ["status", f"{LONG}-2"],
    ["top", "--once"],
    ["workers"],
    ["workers", "--all"],
    ["front", f"{LONG}-1"],
    ["show", "12"],
    ["lineage", "12"],
    ["compare", f"{LONG}-1", f"{LONG}-3"],
]


@pytest.mark.parametrize("arguments", TABLES, ids=" ".join)
def test_every_table_fits_80_columns(url: str, arguments: list[str]) -> None:
    with evolver(*arguments, url=url) as opened:
        assert opened.end() == 0, opened.output
        lines = STYLE.sub("", opened.output).splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert max(map(cell_len, lines)) > 20


def test_colours_are_for_terminals_that_want_them(url: str) -> None:
    with evolver("status", f"{LONG}-1", url=url) as opened:
        assert opened.end() == 0
        assert COLOUR.search(opened.output)
    with evolver("status", f"{LONG}-1", url=url, NO_COLOR="1") as opened:
        assert opened.end() == 0
        assert LONG[:20] in opened.output
        assert not COLOUR.search(opened.output)
    assert "\x1b" not in cli("status", f"{LONG}-1", url=url).stdout
