"""Experiments: new, list, delete, pause, resume, stop, extend."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click
from rich.progress import Progress

from evolver.cli.completing import experiment_names
from evolver.cli.options import (
    BUDGET,
    DATA_DIR,
    data_dir_option,
    db_option,
    examples,
    experiment_options,
    json_option,
    opened,
    typed_db,
)
from evolver.cli.output import NONE_YET, console, echo_json, say, state_text, table, warmup_text
from evolver.errors import IllegalTransition
from evolver.store import experiments
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.store.states import ExperimentState
from evolver.words import counted

DELETED_AT_ONCE = 1_000
"""Genomes in one transaction."""


@click.command(
    epilog=examples(
        "evolver new shirts --dataset fashion-mnist --budget 300 --recipe fast",
        "evolver new own --dataset npz:/data/pets.npz --objectives error,params",
        "evolver new phone --constraint 'params<=1e6' --seed-genomes known",
        "evolver new again --seed-from shirts:best=10 --budget 500",
    )
)
@click.argument("name")
@experiment_options
@data_dir_option
@db_option
@json_option
def new(
    name: str,
    config_file: Path | None,
    data_dir: Path | None,
    db_url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make the experiment NAME, for schedulers and workers to search.

    Nothing is written unless all settings are right. A file has the names of these options as keys,
    with _ for -, and may refine presets by tables [space_settings] and [recipe_settings].
    """
    from evolver.cli import settings

    given = settings.read(options, config_file, data_dir)
    made = settings.of_new(name, given, db_url)
    built, data = made.settings, made.data
    for note in made.warmup.notes:
        say(note, err=True)
    with opened(db_url, create=True) as database, database.write() as connection:
        found = made.create(connection)
    if as_json:
        echo_json(_fact(found))
        return
    typed = quote(name)
    where = f" --data-dir {quote(str(given.data_dir))}" if given.data_dir != DATA_DIR else ""
    say(f"made experiment '{name}': {data.name}, budget {built.budget}, population {built.population}")
    if made.warmup.seeds:
        say(f"begins with {warmup_text(made.warmup)}")
    db = typed_db(database)
    say(f"search here:     evolver run {typed}{where}{db}")
    say(f"or on machines:  evolver scheduler {typed}{db}   and anywhere   evolver worker {typed}{where}{db}")


def _fact(found: Experiment) -> dict[str, Any]:
    return {
        "experiment": found.settings.name,
        "state": found.state,
        "state_reason": found.state_reason,
        "dataset": found.dataset.name,
        "objectives": found.settings.objectives,
        "constraints": [str(one) for one in found.settings.constraints],
        "selector": found.settings.selector,
        "evaluator": found.settings.evaluator,
        "population": found.settings.population,
        "parents": found.settings.parents,
        "candidates": found.settings.candidates,
        "operators": found.settings.operators,
        "budget": found.settings.budget,
        "epochs": found.settings.recipe["epochs"],
        "recipe": found.settings.recipe["name"],
        "seed": found.settings.seed,
        "seeds": found.seeds,
        "born": found.born,
        "ingested": found.ingested,
        "failed": found.failed,
        "created_at": found.created_at,
    }


@click.command("list", epilog=examples("evolver list", "evolver list --json | jq -r '.[].experiment'"))
@db_option
@json_option
def list_experiments(db_url: str | None, as_json: bool) -> None:
    """List the experiments, oldest first, with their settings."""
    with opened(db_url) as database, database.read() as connection:
        found = experiments.every(connection)
    if as_json:
        echo_json([_fact(one) for one in found])
        return
    if not found:
        say(NONE_YET)
        return
    shown = table("experiment", "state", "dataset", "objectives", "evaluated", "created",
                  left=("experiment", "state", "dataset", "objectives"))  # fmt: skip
    for one in found:
        shown.add_row(
            one.settings.name,
            state_text(one.state),
            one.dataset.name,
            ",".join(one.settings.objectives),
            f"{one.ingested}/{one.settings.budget}",
            f"{one.created_at:%Y-%m-%d}",
        )
    console().print(shown)


@click.command(epilog=examples("evolver delete demo", "evolver delete demo --yes"))
@click.argument("name", shell_complete=experiment_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@db_option
@json_option
def delete(name: str, yes: bool, db_url: str | None, as_json: bool) -> None:
    """Delete the experiment NAME with its genomes, results and history.

    Files of checkpoints and weights stay. A scheduler or worker that is at it drops what it does. Should
    it be interrupted, the experiment is 'deleting' and of no other use; the same command ends it.
    """
    with opened(db_url) as database:
        with database.read() as connection:
            found = experiments.get(connection, name)
        if not yes:
            what = f"experiment '{name}' ({found.state}) with its {counted(found.born, 'genome')}"
            click.confirm(f"Delete {what} for ever?", abort=True, err=True)
        _delete(database, found)
    if as_json:
        echo_json({"experiment": name, "deleted": True})
    else:
        say(f"deleted '{name}'")


def _delete(database: Database, found: Experiment) -> None:
    """In parts, so that the searches beside it need not wait; what was begun can be repeated."""
    with database.long_write() as connection:
        experiments.begin_removal(connection, found)
    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("deleting", total=found.born)
        removed = 1
        while removed:
            with database.long_write() as connection:
                removed = experiments.remove_genomes(connection, found, DELETED_AT_ONCE)
            progress.advance(task, removed)
    with database.long_write() as connection:
        experiments.remove(connection, found)


@click.command(epilog=examples("evolver pause demo"))
@click.argument("name", shell_complete=experiment_names)
@db_option
@json_option
def pause(name: str, db_url: str | None, as_json: bool) -> None:
    """Pause the search NAME: nothing is bred or claimed until 'evolver resume'; running work ends."""
    _change(db_url, name, "paused", as_json)


@click.command(epilog=examples("evolver resume demo"))
@click.argument("name", shell_complete=experiment_names)
@db_option
@json_option
def resume(name: str, db_url: str | None, as_json: bool) -> None:
    """Go on with the paused or stopped search NAME."""
    _change(db_url, name, "running", as_json)


@click.command(epilog=examples("evolver stop demo"))
@click.argument("name", shell_complete=experiment_names)
@db_option
@json_option
def stop(name: str, db_url: str | None, as_json: bool) -> None:
    """Stop the search NAME: running work is handed back. 'evolver resume' goes on with it."""
    _change(db_url, name, "stopped", as_json)


def _change(db_url: str | None, name: str, to: ExperimentState, as_json: bool) -> None:
    with opened(db_url) as database, database.write() as connection:
        found = experiments.get(connection, name)
        if found.state == "finished":
            raise IllegalTransition(
                f"experiment '{name}' is finished; give it a larger budget: "
                f"evolver extend {quote(name)} --budget N"
            )
        experiments.transition(connection, found, to)
    if as_json:
        echo_json({"experiment": name, "state": to})
    else:
        say(f"'{name}' is {to} now (before: {found.state})")


@click.command(epilog=examples("evolver extend demo --budget 400"))
@click.argument("name", shell_complete=experiment_names)
@click.option("--budget", type=BUDGET, required=True, metavar="N", help="Genomes in all, more than now.")
@db_option
@json_option
def extend(name: str, budget: int, db_url: str | None, as_json: bool) -> None:
    """Raise the budget of the search NAME; a finished one goes on."""
    with opened(db_url) as database, database.write() as connection:
        experiments.extend(connection, experiments.get(connection, name), budget)
        found = experiments.get(connection, name)
    if as_json:
        echo_json({"experiment": name, "state": found.state, "budget": found.settings.budget})
    else:
        say(f"'{name}' has a budget of {budget} now, and is {found.state}")
