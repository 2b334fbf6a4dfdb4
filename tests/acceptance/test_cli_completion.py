"""Completion in bash, zsh and fish: each runs in a terminal, set up by the lines of the documentation."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from evolver.store.db import Database
from tests.acceptance.helpers import create, refused
from tests.acceptance.terminals import Terminal, terminal

ROOT = Path(__file__).parents[2]
SHELLS = ("bash", "zsh", "fish")
SOME_SLOW = ("bash", *(pytest.param(name, marks=pytest.mark.slow) for name in SHELLS[1:]))
NAMES = ("demo", "demo@1", "demo@2", "my search", "a:b", "it's é ✨", "solo@1", "$HOME", 'say "hi"', "Upper")
"""Signs at which a shell ends a word, quotes it, or takes it for something else."""
STYLE = re.compile(r"\x1b(?:\[[\d;?]*[A-Za-z]|\([A-B])")
PROMPT = "ready> "
COMMANDS = {"bash": ["bash", "--noprofile", "-i"], "zsh": ["zsh", "-d", "-i"], "fish": ["fish", "-i"]}
SETUPS = {
    "bash": (".bashrc", f"PS1='{PROMPT}'\n"),
    "zsh": (".zshrc", f"PROMPT='{PROMPT}'\n"),
    "fish": (".config/fish/config.fish", f"function fish_prompt; echo -n '{PROMPT}'; end\n"),
}
"""The file that each shell reads at its start, and how its prompt is set."""


@pytest.fixture(scope="module")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "evolver.db"
    database = Database.open(f"sqlite:///{path}", create=True)
    for name in NAMES:
        create(database, name)
    database.dispose()
    return path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an ``evolver`` that answers shells as the real one, and else shows its arguments."""
    directory = tmp_path_factory.mktemp("programs")
    program = directory / "evolver"
    program.write_text(f"""#!/bin/sh
if [ -n "$_EVOLVER_COMPLETE" ] || [ "$1" = completion ]; then
    exec {sys.executable} -c "from evolver.cli import main; main(prog_name='evolver')" "$@"
fi
printf 'called'; printf '[%s]' "$@"; echo ' so'
""")
    program.chmod(0o755)
    return directory


class Shell:
    """A shell that completes, before a terminal."""

    def __init__(self, opened: Terminal) -> None:
        self.terminal = opened
        self._seen = 0

    def completed(self, line: str) -> list[str]:
        """The arguments that evolver is called with, after TAB at the end of a line."""
        self.terminal.type(f"{line}\t\r")
        self.terminal.read_until(lambda output: re.search(r"called\S.* so", output[self._seen :]))
        output = self.terminal.output[self._seen :]
        self._seen = len(self.terminal.output)
        for complaint in ("Traceback", "evolver: ", "not found", "Error"):
            assert complaint not in output
        called = re.search(r"called\[(.*)\] so", output)
        assert called
        return called[1].split("][")

    def listed(self, line: str, *expected: str) -> str:
        """What is listed after two TABs, as soon as all that is expected is there."""
        self.terminal.type(f"{line}\t\t")
        self.terminal.read_until(lambda output: all(one in self._plain(output) for one in expected))
        listed = self._plain(self.terminal.output)
        self.terminal.type("\x15\r")  # the line is dropped
        self._seen = len(self.terminal.output)
        return listed

    def _plain(self, output: str) -> str:
        return STYLE.sub("", output[self._seen :])


def documented(shell: str) -> list[str]:
    """The lines that set a shell up, as the documentation has them."""
    text = (ROOT / "docs/terminal.md").read_text(encoding="utf-8")
    block = text.split("## Completion")[1].split("```")[1]
    marks = {"bash": ("completion bash",), "zsh": ("completion zsh",), "fish": ("fish",)}[shell]
    return [line for line in block.splitlines() if any(mark in line for mark in marks)]


@contextmanager
def shell_of(name: str, url: str | None, programs: Path, home: Path, before: str = "") -> Iterator[Shell]:
    """The shell of a new user, who followed the documentation; ``before`` stands before its line."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if key in ("LANG", "LC_ALL", "TMPDIR")}
    environment = {"LANG": "C.UTF-8", **kept, "HOME": str(home), "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    if url:
        environment["EVOLVER_DATABASE_URL"] = url
    path, setup = SETUPS[name]
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    lines = documented(name)
    (home / path).write_text(setup + before + ("" if name == "fish" else "\n".join(lines)))
    if name == "fish":
        subprocess.run(["fish", "-c", "\n".join(lines)], env=environment, cwd=home, check=True, timeout=30)
    with terminal(COMMANDS[name], environment, columns=200, directory=home) as opened:
        opened.read_until(lambda output: PROMPT in output)
        assert "not found" not in opened.output
        yield Shell(opened)


@pytest.mark.parametrize("name", SOME_SLOW)
def test_a_shell_completes_the_line(name: str, url: str, programs: Path, tmp_path: Path) -> None:
    with shell_of(name, url, programs, tmp_path / "home") as shell:
        assert shell.completed("evolver statu") == ["status"]
        assert shell.completed("evolver top --so") == ["top", "--sort"]
        assert shell.completed("evolver top --sort l") == ["top", "--sort", "lease"]
        assert shell.completed("evolver top --sort=l") == ["top", "--sort=lease"]
        assert shell.completed("evolver front solo@") == ["front", "solo@1"]
        assert shell.completed("evolver compare solo@1 a:") == ["compare", "solo@1", "a:b"]
        assert shell.completed("evolver front my") == ["front", "my search"]
        assert shell.completed("evolver front my\\ se") == ["front", "my search"]
        assert shell.completed('evolver front "my se') == ["front", "my search"]
        assert shell.completed("evolver front it") == ["front", "it's é ✨"]
        assert shell.completed("evolver front \\$") == ["front", "$HOME"]
        assert shell.completed("evolver front 'say") == ["front", 'say "hi"']
        assert "my search" not in shell.listed("evolver front demo", "demo@1", "demo@2")
        shell.listed("evolver st", "status", "stop")


@pytest.mark.parametrize("name", SOME_SLOW)
def test_a_shell_knows_the_database_on_the_line_and_files(
    name: str, url: str, programs: Path, tmp_path: Path
) -> None:
    with shell_of(name, None, programs, tmp_path / "home") as shell:
        assert shell.completed("evolver front sol") == ["front", "sol"]  # the database is not known
        assert shell.completed("evolver no-such-command a") == ["no-such-command", "a"]
        assert shell.completed(f"evolver front --db {url} sol") == ["front", "--db", url, "solo@1"]
        assert shell.completed(f"evolver front --db={url} sol") == ["front", f"--db={url}", "solo@1"]
        (tmp_path / "home/settings.toml").touch()
        (tmp_path / "home/data-directory").mkdir()
        assert shell.completed("evolver new x --config sett") == ["new", "x", "--config", "settings.toml"]
        assert shell.completed("evolver new x --config=sett") == ["new", "x", "--config=settings.toml"]
        directory = shell.completed("evolver doctor --data-dir data-")[-1]
        assert directory.rstrip("/") == "data-directory"


def test_a_zsh_that_has_completion_already_keeps_it(url: str, programs: Path, tmp_path: Path) -> None:
    before = "autoload -Uz compinit && compinit -i\ncompdef _files mytool\n"
    with shell_of("zsh", url, programs, tmp_path / "home", before) as shell:
        assert shell.completed("evolver statu") == ["status"]
        shell.terminal.type("echo is-$_comps[mytool]\r")
        shell.terminal.read_until(lambda output: "is-_files" in output)


# --- without a shell ---------------------------------------------------------------------------------


def answer(words: list[str], word: str, url: str) -> list[list[str]]:
    """What fish is offered: the fields of each line; nothing may appear on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", "from evolver.cli import main; main(prog_name='evolver')"],
        env={
            **os.environ,
            "EVOLVER_DATABASE_URL": url,
            "PYTHONPATH": str(ROOT),
            "_EVOLVER_COMPLETE": "fish_complete",
            "_EVOLVER_WORDS": "\n".join(["evolver", *words]),
            "_EVOLVER_WORD": word,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    "wrong", ["sqlite:///none.db", "nonsense", "postgresql://127.0.0.1:1/x", "mysql://h/x"]
)
def test_an_answer_is_silent_whatever_is_wrong(wrong: str) -> None:
    assert answer(["front"], "d", wrong) == []


def test_an_answer_has_the_youngest_first_and_not_what_is_on_the_line(url: str) -> None:
    names = [one[1] for one in answer(["compare", "demo@1"], "dem", url)]
    assert names == ["demo@2", "demo"]
    assert answer(["front"], "upper", url) == []
    assert answer([], "statu", url) == [["plain", "status", "How the searches stand."]]


def test_a_name_that_would_steer_the_terminal_is_not_offered(url: str) -> None:
    database = Database.open(url)
    create(database, "demo-of-old")
    with database.write() as connection:
        connection.execute(
            text("UPDATE experiment SET name = 'demo' || char(27) || '[2J' WHERE name = 'demo'")
        )
    database.dispose()
    assert [one[1] for one in answer(["front"], "demo", url)] == ["demo-of-old", "demo@2", "demo@1"]


def test_a_database_that_never_answers_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/x"
        began = time.monotonic()
        assert answer(["front"], "d", url) == []
        assert time.monotonic() - began < 15  # two seconds, and the start of Python on a busy machine


def test_an_unknown_shell_is_refused() -> None:
    assert "bash" in refused("completion", "tcsh")
