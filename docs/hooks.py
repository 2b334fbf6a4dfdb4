"""What the site needs besides MkDocs: files from outside ``docs/``, and help texts as Markdown.

Documents link to files of the repository (``../deploy/slurm/worker.sbatch``), which works where the
repository is browsed. On the site each such file becomes a page, and the link leads there.

on_config          help texts of commands, with their examples, in the Markdown that mkdocs-click prints.
on_files           pages for the files of the repository that documents link to.
on_page_markdown   links to them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path, PurePosixPath
from textwrap import dedent
from typing import Any

import click
from mkdocs.structure.files import File, Files, InclusionLevel

from evolver.cli import main

ROOT = Path(__file__).parents[1]
DOCS = PurePosixPath("docs")
CHANGELOG = PurePosixPath("CHANGELOG.md")
LANGUAGES = {"": "text", ".sbatch": "bash", ".service": "ini", ".example": "bash"}
"""For files whose ending does not tell how to colour them."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)(?=[)#])")


def on_config(config: Any, **_: Any) -> Any:
    """Give every command, loaded, a help text that is Markdown. The command line itself is not concerned."""
    for command in _commands(main, click.Context(main)):
        command.short_help = command.get_short_help_str(limit=200)
        text = "\n\n".join(cleandoc(part or "") for part in (command.help, command.epilog))
        command.help = "\n\n".join(map(_markdown, text.split("\n\n")))
    return config


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the changelog, and every file of the repository that a document links to."""
    wanted = {CHANGELOG}
    for file in files.documentation_pages():
        wanted |= set(_linked(file.content_string, DOCS / file.src_uri))
    added: set[PurePosixPath] = set()
    while wanted:
        path = wanted.pop()
        added.add(path)
        file = File.generated(config, _page_of(path), content=_content(path))
        file.inclusion = InclusionLevel.INCLUDED if path == CHANGELOG else InclusionLevel.NOT_IN_NAV
        files.append(file)
        wanted |= set(_linked(file.content_string, path)) - added
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the pages on which the site shows what they mean."""
    here = PurePosixPath(page.file.src_uri)
    shown = (path for path in (here, here.with_suffix("")) if (ROOT / path).is_file())
    path = next(shown, DOCS / here)

    def moved(link: re.Match[str]) -> str:
        target = _target(link[1], path)
        return os.path.relpath(_page_of(target), here.parent) if target else link[1]

    return _LINK.sub(moved, markdown)


def _commands(command: click.Command, context: click.Context) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from _commands(found, context)


def _markdown(paragraph: str) -> str:
    """A paragraph of a help text; after ``\\b`` its lines are kept as they are."""
    if not paragraph.startswith("\b\n"):
        return paragraph
    title, _, lines = paragraph.removeprefix("\b\n").partition("\n")
    language = "bash" if lines.lstrip().startswith("evolver ") else "text"
    return f"**{title}**\n\n```{language}\n{dedent(lines)}\n```"


def _linked(markdown: str, path: PurePosixPath) -> Iterator[PurePosixPath]:
    """The files outside ``docs/`` that a document links to."""
    for link in _LINK.finditer(markdown):
        target = _target(link[1], path)
        if target and DOCS not in target.parents:
            yield target


def _target(link: str, path: PurePosixPath) -> PurePosixPath | None:
    """The file of the repository that a link of the file ``path`` means; of a directory its README."""
    found = (ROOT / path.parent / link).resolve()
    if found.is_dir():
        found /= "README.md"
    is_ours = found.is_file() and found.is_relative_to(ROOT)
    return PurePosixPath(found.relative_to(ROOT).as_posix()) if is_ours else None


def _page_of(path: PurePosixPath) -> str:
    """The source of the page on which the site shows a file of the repository."""
    if DOCS in path.parents:
        return str(path.relative_to(DOCS))
    return str(path) if path.suffix == ".md" else f"{path}.md"


def _content(path: PurePosixPath) -> str:
    text = (ROOT / path).read_text()
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        return "\n\n".join(map(_cell, json.loads(text)["cells"]))
    language = LANGUAGES.get(path.suffix, path.suffix[1:])
    return f"# {path}\n\n````{language}\n{text}````\n"


def _cell(cell: dict[str, Any]) -> str:
    """A cell of a notebook, without what it printed."""
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"````python\n{source}\n````"
