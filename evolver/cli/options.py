"""Options that several commands share, and opening the database that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click

from evolver.store.db import VARIABLE, Database, resolve_url

F = TypeVar("F", bound=Callable[..., Any])

ID = click.IntRange(1, 2**63 - 1)
BUDGET = click.IntRange(1, 2**31 - 1)
"""No larger numbers fit into the columns of the database."""
ANSWER_S = 15.0
"""A PostgreSQL server that is silent for so long counts as away, for commands that go on."""
DATA_DIR = Path("data")
"""Where data sets are looked for unless ``--data-dir`` says otherwise."""


def examples(*lines: str) -> str:
    """A command's epilogue; click keeps its lines as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


db_option = click.option(
    "--db",
    "db_url",
    metavar="URL",
    envvar=VARIABLE,
    help="Database, also EVOLVER_DATABASE_URL. [default: sqlite:///evolver.db]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class SlotCount(click.IntRange):
    """A number of slots, or ``auto``."""

    name = "number of slots"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else super().convert(value, param, ctx)


def applied(function: F, options: list[Callable[[F], F]]) -> F:
    """A command with these options, which its help lists in this order."""
    for option in reversed(options):
        function = option(function)
    return function


def _or_none(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    """What may be repeated and was not given, as other options are."""
    return value or None


def experiment_options(function: F) -> F:
    """The settings of a new experiment. Ranges are checked in one place, ``evolver.config``."""
    return applied(
        function,
        [
            click.option("--dataset", metavar="NAME", help="digits, mnist, …, npz:PATH. [default: digits]"),
            click.option("--space", metavar="NAME", help="tiny, small or paper. [default: small]"),
            click.option("--objectives", metavar="A,B", help="Minimised values. [default: error,loss]"),
            click.option(
                "--constraint",
                "constraints",
                multiple=True,
                metavar="NAME<=N",
                callback=_or_none,
                help="Bound an objective, params, flops or activations, also with >=; may be repeated.",
            ),
            click.option(
                "--selector",
                metavar="NAME",
                help="moead, nsga2, smsemoa, weighted or random. [default: moead]",
            ),
            click.option("--evaluator", metavar="NAME", help="train or surrogate. [default: train]"),
            click.option("--population", type=int, metavar="N", help="Slots, at least 4. [default: 20]"),
            click.option("--budget", type=int, metavar="N", help="Genomes in all. [default: 200]"),
            click.option(
                "--epochs", type=int, metavar="N", help="Epochs of each training. [default: the recipe's]"
            ),
            click.option("--recipe", metavar="NAME", help="paper or fast. [default: paper]"),
            click.option("--seed", type=int, metavar="N", help="Of all that is random. [default: 0]"),
            click.option("--limit-train", type=int, metavar="N", help="Use N training samples only."),
            click.option("--max-hours", type=float, metavar="H", help="End after H hours of search."),
            click.option(
                "--patience", type=int, metavar="N", help="End when N results left the front as is."
            ),
            click.option("--max-params", type=int, metavar="N", help="Refuse larger networks at birth."),
            click.option("--timeout", type=float, metavar="S", help="Seconds that one training may take."),
            click.option("--max-attempts", type=int, metavar="N", help="Tries after crashes. [default: 3]"),
            click.option("--parents", metavar="HOW", help="drawn or least-used. [default: drawn]"),
            click.option(
                "--candidates",
                type=int,
                metavar="N",
                help="Children of which one is born, chosen by params or flops. [default: 1]",
            ),
            click.option("--operators", metavar="HOW", help="fixed or learned. [default: fixed]"),
            click.option(
                "--seed-genomes",
                metavar="FILE.json|NAMES",
                help="Begin with these genomes; known, or some of lenet,vgg,resnet.",
            ),
            click.option(
                "--seed-from",
                metavar="NAME[:WHICH]",
                help="Begin with genomes of another experiment: its front, population or best=K. "
                "[default: front]",
            ),
            click.option(
                "--config",
                "config_file",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE.toml",
                help="Settings from a file; options win.",
            ),
        ],
    )


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the data sets are on this machine. [default: data]",
)


def worker_options(function: F) -> F:
    """How local workers work."""
    return applied(
        function,
        [
            click.option("--workers", type=click.IntRange(0), default=1, metavar="N", show_default=True,
                         help="Local worker processes; 0 for none."),
            click.option("--device", default="auto", metavar="DEVICE", show_default=True,
                         help="auto, cpu, cuda:N, mps, or all."),
            click.option("--slots", type=SlotCount(1), default=1, metavar="N|auto", show_default=True,
                         help="Evaluations at a time, for each worker and device; auto for one worker only."),
            data_dir_option,
            click.option("--download", is_flag=True, help="Download data sets that are missing."),
            click.option("--checkpoint-url", metavar="URL", help="Directory of checkpoints and weights."),
            click.option("--track", multiple=True, metavar="KIND:WHERE",
                         help="Write curves to tensorboard:DIR or mlflow:URI; may be given twice."),
        ],
    )  # fmt: skip


def full_recipe_options(function: F) -> F:
    """The recipe of trainings in full, see ``evolver.retraining.full_recipe``."""
    return applied(
        function,
        [
            click.option("--epochs", type=int, metavar="N",
                         help="[default: 90 for the recipe paper, else the recipe's own]"),
            click.option("--recipe", "recipe_name", metavar="NAME",
                         help="paper or fast. [default: the search's]"),
        ],
    )  # fmt: skip


@contextmanager
def opened(
    db_url: str | None, *, create: bool = False, answer_within_s: float | None = None
) -> Iterator[Database]:
    """The database, closed at the end.

    With ``create``, a SQLite file is made when there is none; ``answer_within_s`` is for those who lead.
    """
    database = Database.open(db_url, create=create, answer_within_s=answer_within_s)
    try:
        yield database
    finally:
        database.dispose()


def typed_db(database: Database) -> str:
    """What other commands need to find the database, when it was named on the command line."""
    source = click.get_current_context().get_parameter_source("db_url")
    return f" --db {quote(str(database))}" if source is click.core.ParameterSource.COMMANDLINE else ""


def exists(db_url: str | None) -> bool:
    """Whether there is a database to look into: False for a SQLite file that is not made yet."""
    url = resolve_url(db_url)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").exists()
