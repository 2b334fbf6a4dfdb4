"""What people see: the views that fill a terminal, colours, widths, and completion in a shell."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from evolver.store import leases
from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import cli, create, facts_of, refused, search
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


class Terminal:
    """evolver in a terminal of its own, 80 columns wide."""

    def __init__(self, arguments: tuple[object, ...], url: str, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        given = {"EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evolver", *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=slave, env={**kept, **given, **environment},
            start_new_session=True,
        )  # fmt: skip
        self.output = ""

    def read_until(self, condition: Callable[[str], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self.output):
            assert time.monotonic() < deadline, self.output
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536).decode("utf-8", "replace")
            elif self.process.poll() is not None:
                assert condition(self.output), self.output
                return

    def end(self) -> int:
        """Its exit code, when it has ended by itself, and all that it printed is read."""
        code = self.process.wait(20)
        while select.select([self.master], [], [], 0.1)[0]:
            self.output += os.read(self.master, 65536).decode("utf-8", "replace")
        return code


@contextmanager
def terminal(*arguments: object, url: str, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(arguments, url, **environment)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.master)
        os.close(opened.slave)


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
    with terminal(*command, "--interval", "0.2", url=url) as opened:
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
        with terminal("status", "demo", "--watch", "--interval", "0.2", url=server_url) as opened:
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
    with terminal(*arguments, url=url) as opened:
        assert opened.end() == 0, opened.output
        lines = STYLE.sub("", opened.output).splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert max(map(cell_len, lines)) > 20


def test_colours_are_for_terminals_that_want_them(url: str) -> None:
    with terminal("status", f"{LONG}-1", url=url) as opened:
        assert opened.end() == 0
        assert COLOUR.search(opened.output)
    with terminal("status", f"{LONG}-1", url=url, NO_COLOR="1") as opened:
        assert opened.end() == 0
        assert LONG[:20] in opened.output
        assert not COLOUR.search(opened.output)
    assert "\x1b" not in cli("status", f"{LONG}-1", url=url).stdout


# --- completion --------------------------------------------------------------------------------------


def completed(line: str, url: str) -> list[str]:
    """What bash is offered at the end of a line; nothing may appear on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", "from evolver.cli import main; main(prog_name='evolver')"],
        env={
            **os.environ,
            "EVOLVER_DATABASE_URL": url,
            "PYTHONPATH": str(ROOT),
            "_EVOLVER_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [offered.partition(",")[2] for offered in done.stdout.splitlines() if offered]


def test_commands_options_and_names_are_completed(url: str) -> None:
    assert completed("evolver sta", url) == ["status"]
    assert completed("evolver status --wa", url) == ["--watch"]
    assert completed("evolver top --sort l", url) == ["lease"]
    names = [f"{LONG}-{number}" for number in (2, 3, 1)]
    assert completed("evolver front a-", url) == names
    assert completed(f"evolver compare {LONG}-1 a", url) == names[:2]
    assert completed(f"evolver front --db {url} a", "sqlite:///no-such.db") == names


@pytest.mark.parametrize(
    "database", ["sqlite:///no-such-file.db", "nonsense", "postgresql://127.0.0.1:1/x", "mysql://host/x"]
)
def test_completion_is_silent_whatever_is_wrong(database: str) -> None:
    assert completed("evolver front a", database) == []
    assert completed("evolver no-such-command a", database) == []


def test_bash_takes_the_script(url: str) -> None:
    script = cli("completion", "bash").stdout
    lines = f"""
evolver() {{ {sys.executable} -c "from evolver.cli import main; main(prog_name='evolver')" "$@"; }}
export -f evolver
{script}
complete -p evolver
"""
    done = subprocess.run(["bash", "--norc", "-c", lines], capture_output=True, text=True, timeout=30)
    assert "-F _evolver_completion" in done.stdout, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str) -> None:
    assert f"_EVOLVER_COMPLETE={shell}_complete" in cli("completion", shell).stdout


def test_an_unknown_shell_is_refused() -> None:
    assert "bash" in refused("completion", "tcsh")
