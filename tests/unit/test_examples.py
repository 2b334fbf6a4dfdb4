"""The commands that help texts and documents show are commands that evolver takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from evolver.cli import main
from tests.unit.test_deploy import require_accepted

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"^\s*(?:\$ )?evolver ([a-z].*)$", re.MULTILINE)
_END = re.compile(r"\s[|<>&]+(\s|$)|\s{2,}|\s#")
"""Where the command ends: the shell goes on, or a remark."""


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each line that begins with ``evolver``."""
    for found in _COMMAND.finditer(re.sub(r"\\\n\s*", "", text)):
        yield shlex.split(_END.split(found[1])[0])


def all_commands(command: click.Command = main, *names: str) -> Iterator[list[str]]:
    """The names of all commands and, of groups, their subcommands."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield [*names, name]
            yield from all_commands(inner, *names, name)


@pytest.mark.parametrize("names", [[], *all_commands()], ids=lambda names: " ".join(names) or "evolver")
def test_the_help_of_a_command_has_examples_that_it_takes(names: list[str]) -> None:
    done = CliRunner().invoke(main, [*names, "--help"])
    assert done.exit_code == 0
    text = done.stdout
    examples = text.partition("Examples:")[2] if names else text
    assert any(arguments[: len(names)] == names for arguments in commands(examples))
    for arguments in commands(text):
        require_accepted(arguments)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_in_a_document_are_taken(document: Path) -> None:
    for block in re.findall(r"^```\w*\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        for arguments in commands(block):
            require_accepted(arguments)
