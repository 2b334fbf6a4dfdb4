"""``evolver retrain``: train the front, or some genomes, in full, and look at the test data once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from evolver.cli import INTERRUPTED, infull, weights
from evolver.cli.completing import experiment_names
from evolver.cli.display import Display
from evolver.cli.options import (
    ANSWER_S,
    DATA_DIR,
    ID,
    db_option,
    examples,
    full_recipe_options,
    json_option,
    opened,
    worker_options,
)
from evolver.cli.output import console, echo_json, table
from evolver.errors import InvalidInput
from evolver.localrun import LocalOptions, check_data, check_options
from evolver.retraining import Asked, enqueue, full_recipe
from evolver.store import details, experiments
from evolver.store.db import Database
from evolver.store.details import GenomeDetail
from evolver.store.trainings import TrainingFact
from evolver.words import compact, counted, shown


@click.command(
    epilog=examples(
        "evolver retrain shirts --data-dir /data",
        "evolver retrain shirts --genome 17 --genome 40 --epochs 30",
        "evolver retrain shirts --workers 0    # for workers elsewhere",
    )
)
@click.argument("name", shell_complete=experiment_names)
@click.option("--front", is_flag=True, help="The genomes of the front, which is the default.")
@click.option(
    "--genome", "genome_ids", type=ID, multiple=True, metavar="ID", help="This genome; may be repeated."
)
@full_recipe_options
@worker_options
@db_option
@json_option
def retrain(
    name: str,
    front: bool,
    genome_ids: tuple[int, ...],
    epochs: int | None,
    recipe_name: str | None,
    workers: int,
    device: str,
    slots: int | Literal["auto"],
    data_dir: Path | None,
    download: bool,
    checkpoint_url: str | None,
    track: tuple[str, ...],
    db_url: str | None,
    as_json: bool,
) -> None:
    """Train genomes of NAME in full, then test them, with local workers.

    Trains from scratch on training and validation data together and looks at the test data once. What
    was retrained under the same recipe before is not trained again, unless it failed. Ctrl-C hands the
    work back (exit code 130), and the same command goes on later. Exit code 1 when all of them failed.
    """
    if front and genome_ids:
        raise InvalidInput("give --front or --genome, not both")
    local = LocalOptions(workers, device, slots, data_dir or DATA_DIR, download, checkpoint_url, track)
    with opened(db_url, answer_within_s=ANSWER_S) as database:
        with database.read() as connection:
            found = experiments.get(connection, name)
        full = full_recipe(found.settings.recipe, recipe_name, epochs)
        if workers:
            check_options(local)
            check_data(found.settings.evaluator, found.dataset, local)
        with database.write() as connection:
            asked = enqueue(connection, found, genome_ids, full)
        interrupted = False
        with Display(console(stderr=as_json)) as display:
            display.say(
                f"retraining {counted(len(asked.evaluation_ids), 'genome')} for "
                f"{counted(full.epochs, 'epoch')} ({full.name}), "
                f"{asked.enqueued} of them newly enqueued"
            )
            if workers:
                interrupted = infull.train_here(database, name, asked, local, display, "retraining")
        _report(database, asked, local, as_json=as_json)
    if interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _report(database: Database, asked: Asked, local: LocalOptions, *, as_json: bool) -> None:
    rows = infull.rows(database, asked)
    with database.read() as connection:
        genomes = [details.genome_detail(connection, row.genome_id) for row in rows]
    reports = [
        _result(row, detail, row.weights and weights.path_of(database, row.weights, local.checkpoint_url))
        for row, detail in zip(rows, genomes, strict=True)
    ]
    if as_json:
        echo_json(reports)
    else:
        _print_reports(reports)
    infull.require_a_success(rows, "final training")


def _print_reports(reports: list[dict[str, Any]]) -> None:
    made = table(
        "genome", "state", "search accuracy", "test accuracy", "test loss", "params", left=("state",)
    )
    for one in reports:
        state = f"failed: {one['failure_kind']}" if one["failure_kind"] else one["state"]
        made.add_row(
            str(one["genome_id"]),
            state,
            shown("error", one["search_error"]),
            shown("test_error", one["test_error"]),
            shown("test_loss", one["test_loss"]),
            compact(one["params"]),
        )
    out = console()
    out.print(made)
    for one in reports:
        if one["weights"]:
            out.print(f"weights of {one['genome_id']}: {one['weights']}", markup=False, soft_wrap=True)


def _result(row: TrainingFact, detail: GenomeDetail, weights_path: str | None) -> dict[str, Any]:
    """One final training, as ``--json`` prints it.

    ``weights_path``: where they lie if workers keep their checkpoints where this command's would.
    """
    searched = [one for one in detail.evaluations if one.purpose == "search" and one.state == "done"]
    values = {**searched[-1].other_values, **searched[-1].objectives} if searched else {}
    return {
        "genome_id": row.genome_id,
        "evaluation_id": row.evaluation_id,
        "state": row.state,
        "failure_kind": row.failure_kind,
        "failure_message": row.failure_message,
        "search_error": values.get("error"),
        "test_error": row.values.get("test_error"),
        "test_loss": row.values.get("test_loss"),
        "params": detail.params,
        "weights": weights_path,
    }
