"""``evolver retrain``: train the front, or some genomes, in full, and look at the test data once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import click
from rich.text import Text

from evolver.cli import INTERRUPTED, weights
from evolver.cli.display import Display
from evolver.cli.options import (
    ANSWER_S,
    DATA_DIR,
    ID,
    db_option,
    examples,
    json_option,
    opened,
    worker_options,
)
from evolver.cli.output import compact, console, counted, echo_json, shown, table
from evolver.cli.stopping import Stopping, stop_workers
from evolver.errors import EvolverError, InvalidInput, NotFound
from evolver.localrun import LocalOptions, LocalWorkers, check_data, check_options
from evolver.retraining import Retraining, enqueue, full_recipe
from evolver.store import details, experiments
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.details import GenomeDetail, RetrainFact

LOOK_EVERY_S = 0.5
OPEN = ("pending", "running")


@click.command(
    epilog=examples(
        "evolver retrain shirts --data-dir /data",
        "evolver retrain shirts --genome 17 --genome 40 --epochs 30",
        "evolver retrain shirts --workers 0    # for workers elsewhere",
    )
)
@click.argument("name")
@click.option("--front", is_flag=True, help="The genomes of the front, which is the default.")
@click.option(
    "--genome", "genome_ids", type=ID, multiple=True, metavar="ID", help="This genome; may be repeated."
)
@click.option(
    "--epochs", type=int, metavar="N", help="[default: 90 for the recipe paper, else the recipe's own]"
)
@click.option("--recipe", "recipe_name", metavar="NAME", help="paper or fast. [default: the search's]")
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
                f"retraining {counted(len(asked.genome_ids), 'genome')} for "
                f"{counted(full.epochs, 'epoch')} ({full.name}), "
                f"{asked.enqueued} of them newly enqueued"
            )
            if workers:
                interrupted = _train(database, name, asked, local, display)
        _report(database, asked, local, as_json=as_json)
    if interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _train(database: Database, name: str, asked: Retraining, local: LocalOptions, display: Display) -> bool:
    """Train until nothing that was asked for is open; returns whether it was interrupted before that."""
    workers = LocalWorkers(database.url, name, local)
    left = -1
    with Stopping() as stopping:
        try:
            while left and not (stopping.requested or workers.all_left):
                try:
                    rows = _rows(database, asked)
                    left = sum(row.state in OPEN for row in rows)
                    display.show(Text(_progress(rows)), _progress(rows))
                except DatabaseUnavailable as error:
                    display.show(Text(f"{error}; trying again"), f"{error}; trying again")
                if left:
                    for line in workers.attend():
                        display.say(line)
                    stopping.wait(LOOK_EVERY_S)
        finally:
            stop_workers(workers, stopping)
    return left != 0


def _rows(database: Database, asked: Retraining) -> list[RetrainFact]:
    with database.read() as connection:
        found = details.retrainings(connection, asked.genome_ids, asked.recipe_id)
    if len(found) < len(asked.genome_ids):
        raise NotFound("genomes that were to be retrained were deleted meanwhile")
    return found


def _progress(rows: list[RetrainFact]) -> str:
    counts = Counter(row.state for row in rows)
    return "retraining: " + ", ".join(
        f"{counts[state]} {state}" for state in ("done", "running", "pending", "failed")
    )


def _report(database: Database, asked: Retraining, local: LocalOptions, *, as_json: bool) -> None:
    with database.read() as connection:
        rows = details.retrainings(connection, asked.genome_ids, asked.recipe_id)
        genomes = [details.genome_detail(connection, row.genome_id) for row in rows]
    reports = [
        _result(row, detail, row.weights and weights.path_of(database, row.weights, local.checkpoint_url))
        for row, detail in zip(rows, genomes, strict=True)
    ]
    if as_json:
        echo_json(reports)
    else:
        _print_reports(reports)
    failed = [row for row in rows if row.state == "failed"]
    if failed and len(failed) == len(rows):
        kinds = ", ".join(
            f"{number} {kind}" for kind, number in Counter(r.failure_kind for r in failed).items()
        )
        raise EvolverError(
            f"all {counted(len(failed), 'final training')} failed: {kinds}; "
            f"see why: evolver logs {failed[0].genome_id}"
        )


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


def _result(row: RetrainFact, detail: GenomeDetail, weights_path: str | None) -> dict[str, Any]:
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
