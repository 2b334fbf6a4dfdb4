"""``evolver sql``: questions to the database, for those without a client of it."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evolver.cli.harmless import harmless
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import LONG_WORD, console, json_text, say, table
from evolver.errors import InvalidInput
from evolver.store import console as sql_console
from evolver.store.console import Answer, as_text
from evolver.words import counted, cut

LIMIT = 100
LONGEST = 200
"""Characters of a value that a table shows."""


@click.command(
    epilog=examples(
        "evolver sql \"SELECT * FROM front WHERE experiment = 'demo'\"",
        "evolver sql --file question.sql --csv > answer.csv",
        'echo "SELECT name, state FROM experiment" | evolver sql - --json',
    )
)
@click.argument("query", metavar="QUERY|-", required=False)
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), metavar="FILE|-",
              help="Read the query from a file; - is the standard input.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.001, 86400), default=30, metavar="SECONDS",
              show_default=True, help="The query is cut off after so long.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=LIMIT, metavar="N", show_default=True,
              help="Rows of the table; JSON and CSV have all.")  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a head.")
@db_option
@json_option
def sql(
    query: str | None,
    file: Path | None,
    timeout: float,
    limit: int,
    as_csv: bool,
    db_url: str | None,
    as_json: bool,
) -> None:
    """Ask the database one query in SQL; it can only read.

    Tables, views and questions with their answers are in docs/sql.md. Times are in UTC. JSON is a list of
    objects. Exit code 2: the query is wrong, or would write; 1: it took too long.
    """
    if as_csv and as_json:
        raise InvalidInput("give --csv or --json, not both")
    asked = _query(query, file)
    with opened(db_url) as database, sql_console.ask(database, asked, timeout_s=timeout) as answer:
        if as_csv:
            _print_csv(answer)
        elif as_json:
            _print_json(answer)
        else:
            _print_table(answer, limit)


def _query(query: str | None, file: Path | None) -> str:
    """The query that was given in one of three ways. Raises InvalidInput for none, two, or no text."""
    if (query is None) == (file is None):
        raise InvalidInput("give one query, as an argument, by --file FILE, or - for the standard input")
    if query is not None and query != "-":
        return query
    where = "-" if file is None else str(file)
    try:
        with click.open_file(where, encoding="utf-8") as stream:
            text: str = stream.read()
            return text
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise InvalidInput(f"cannot read {where}: {reason}") from error


def _print_csv(answer: Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    made: Callable[[str], str] = harmless if sys.stdout.isatty() else str
    writer.writerows([made(as_text(value)) for value in row] for row in answer.rows)


def _print_json(answer: Answer) -> None:
    """As ``echo_json`` would, an object a line, each printed as it comes."""
    out = sys.stdout
    before = "[\n"
    for row in answer.rows:
        values = dict(zip(answer.columns, map(_finite, row), strict=True))
        out.write(before + json_text(values))
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def _finite(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(answer: Answer, limit: int) -> None:
    """The first rows, in columns if they fit side by side."""
    rows = [[_cell(value) for value in row] for row in islice(answer.rows, limit)]
    has_more = next(answer.rows, None) is not None
    terminal = console()
    if _fits(answer.columns, terminal):
        numbers = _numeric(rows, len(answer.columns))
        left = [name for name, is_number in zip(answer.columns, numbers, strict=True) if not is_number]
        made = table(*answer.columns, left=left)
        for row in rows:
            made.add_row(*map(Text, row))
        terminal.print(made)
    else:
        _print_blocks(answer.columns, rows, terminal)
    if has_more:
        say(f"(the first {counted(limit, 'row')}; --limit N shows more, --csv and --json all)")
    else:
        say(f"({counted(len(rows), 'row')})")


def _fits(columns: Iterable[str], terminal: Console) -> bool:
    return sum(2 + min(LONG_WORD, len(name)) for name in columns) <= terminal.width + 2


def _numeric(rows: list[list[str]], columns: int) -> list[bool]:
    """Which columns have numbers only, and hence are aligned to the right."""
    return [all(_is_number(row[i]) for row in rows) for i in range(columns)]


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace("–", "0"))
    except ValueError:
        return False
    return True


def _print_blocks(columns: tuple[str, ...], rows: list[list[str]], terminal: Console) -> None:
    """A block for each row, a line for each value."""
    for number, row in enumerate(rows, start=1):
        terminal.print(Text(f"row {number}", "bold"))
        block = Table.grid(padding=(0, 2))
        block.add_column(overflow="fold")
        block.add_column(overflow="fold")
        for name, cell in zip(columns, row, strict=True):
            block.add_row(Text(f"  {name}"), Text(cell))
        terminal.print(block)


def _cell(value: Any) -> str:
    """A value for people: of one line, not too long, without what would steer the terminal."""
    if value is None:
        return "–"
    text = f"{value:.6g}" if isinstance(value, float) else as_text(value)
    return cut("".join(sign if sign.isprintable() else " " for sign in text), LONGEST)
