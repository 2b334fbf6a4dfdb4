"""``evolver plot``: the front as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from evolver.cli.completing import experiment_names
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import echo_json, say
from evolver.store import experiments, facts
from evolver.words import counted


@click.command(
    epilog=examples("evolver plot demo --output front.png", "evolver plot demo --output costs.svg --y params")
)
@click.argument("name", shell_complete=experiment_names)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
              help="Picture to write: .png, .svg or .pdf.")  # fmt: skip
@click.option("--x", metavar="VALUE", help="Horizontal axis. [default: the first objective]")
@click.option("--y", metavar="VALUE", help="Vertical axis. [default: the second objective, or params]")
@db_option
@json_option
def plot(name: str, output: Path, x: str | None, y: str | None, db_url: str | None, as_json: bool) -> None:
    """Draw the front of NAME, with the genomes that it dominates behind it."""
    from evolver.plot import FrontPicture, axes_of, plot_front

    with opened(db_url) as database, database.read() as connection:
        found = experiments.get(connection, name)
        members = facts.front_members(connection, found)
        evaluated = facts.genomes(connection, found, states=("done",))
    x, y = axes_of(found.settings.objectives, x, y)
    plot_front(FrontPicture(name, found.dataset.name, x, y, members, evaluated), output)
    if as_json:
        echo_json({"output": output, "front": len(members), "evaluated": len(evaluated), "x": x, "y": y})
    else:
        drawn = counted(len(members), "genome")
        say(f"drew {drawn} of the front, {len(evaluated)} in all, into {output}")
