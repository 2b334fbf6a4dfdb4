"""``evolver transfer``: train genomes of one data set on another one, and say how well their ranks agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from statistics import stdev
from typing import Any, Literal

import click

from evolver import transfer as transfers
from evolver.cli import INTERRUPTED, infull, weights
from evolver.cli.completing import experiment_names
from evolver.cli.display import Display
from evolver.cli.options import (
    ANSWER_S,
    DATA_DIR,
    db_option,
    examples,
    full_recipe_options,
    json_option,
    opened,
    worker_options,
)
from evolver.cli.output import console, echo_json, table
from evolver.correlation import Correlation
from evolver.errors import EnvironmentFault, InvalidInput
from evolver.localrun import LocalOptions, check_data, check_options
from evolver.retraining import Asked, full_recipe
from evolver.store import experiments
from evolver.store.db import Database
from evolver.store.experiments import Experiment, NewDataset
from evolver.transfer import Chosen, Outcome, Start
from evolver.words import compact, counted, shown


@click.command(
    epilog=examples(
        "evolver transfer shirts --dataset cifar10 --data-dir /data",
        "evolver transfer shirts --dataset imagefolder:pets --top 20 --seeds 3",
        "evolver transfer shirts --dataset mnist --from weights",
        "evolver transfer shirts --dataset cifar10 --workers 0    # others train",
    )
)
@click.argument("name", shell_complete=experiment_names)
@click.option("--dataset", required=True, metavar="NAME", help="The data set to train on: mnist, npz:PATH, …")
@click.option("--front", is_flag=True, help="The genomes of the front, which is the default.")
@click.option("--top", type=click.IntRange(1, 2**31 - 1), metavar="K", help="The K genomes of least error.")
@click.option(
    "--from", "start", type=click.Choice(["scratch", "weights"]), default="scratch", show_default=True,
    help="Begin with new weights, or with those of 'evolver retrain'.",
)  # fmt: skip
@full_recipe_options
@click.option(
    "--seeds", type=click.IntRange(1, 1000), default=1, metavar="K", show_default=True,
    help="Trainings of each genome; their mean counts.",
)  # fmt: skip
@worker_options
@db_option
@json_option
def transfer(
    name: str,
    dataset: str,
    front: bool,
    top: int | None,
    start: Start,
    epochs: int | None,
    recipe_name: str | None,
    seeds: int,
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
    """Train genomes of NAME on another data set, with local workers.

    The stem and the output are adapted: the stem brings samples to the size that the genomes were found
    for. Trains on training and validation data together, looks at the test data once, and tells how well the
    errors of the search foretell those on the other data (Kendall's tau-b). A search that is running goes
    first. Ctrl-C hands the work back (exit code 130), and the same command goes on later; what failed is
    tried again. Exit code 1 when all of them failed.
    """
    if front and top:
        raise InvalidInput("give --front or --top, not both")
    local = LocalOptions(workers, device, slots, data_dir or DATA_DIR, download, checkpoint_url, track)
    data = transfers.target(dataset, local.data_dir)
    with opened(db_url, answer_within_s=ANSWER_S) as database:
        with database.read() as connection:
            found = experiments.get(connection, name)
            full = full_recipe(found.settings.recipe, recipe_name, epochs)
            transfers.require_possible(found, data, full)
            chosen = transfers.choose(connection, found, top, start)
        if workers:
            check_options(local)
            _require_weights_here(database, name, chosen, local)
            check_data(found.settings.evaluator, data.as_ref(), local)
        with database.write() as connection:
            asked = transfers.enqueue(connection, found, data, chosen, full, seeds)
        interrupted = False
        with Display(console(stderr=as_json)) as display:
            for line in _begun(found, data, chosen, asked, top, start):
                display.say(line)
            if workers:
                interrupted = infull.train_here(database, name, asked, local, display, "transferring")
        _report(database, data, chosen, asked, start, as_json=as_json)
    if interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _require_weights_here(database: Database, name: str, chosen: Chosen, local: LocalOptions) -> None:
    """Weights that are missing here would stop every local worker, so they are looked for before."""
    for genome_id, kept in chosen.weights.items():
        path = weights.path_of(database, kept.key, local.checkpoint_url)
        if "://" not in path and not Path(path).is_file():
            raise EnvironmentFault(
                f"the weights of genome {genome_id} are not at {path}: give the --checkpoint-url under which "
                f"'evolver retrain {quote(name)}' wrote them"
            )


def _begun(
    found: Experiment, data: NewDataset, chosen: Chosen, asked: Asked, top: int | None, start: Start
) -> list[str]:
    genomes, trainings = len(chosen.genomes), len(asked.evaluation_ids)
    each = f", {counted(trainings, 'training')}" if trainings > genomes else ""
    lines = [
        f"transferring {counted(genomes, 'genome')} of '{found.settings.name}' from {found.dataset.name} to "
        f"{data.name}{each}, from {start}, for {counted(asked.recipe.epochs, 'epoch')} "
        f"({asked.recipe.name}), {asked.enqueued} of them newly enqueued"
    ]
    if top and genomes < top:
        lines.insert(0, f"there are only {genomes} different genomes with a result: all of them are taken")
    if found.state == "running":
        lines.append(f"'{found.settings.name}' is running: its own evaluations go first")
    return lines


# --- the report --------------------------------------------------------------------------------------


def _report(
    database: Database, data: NewDataset, chosen: Chosen, asked: Asked, start: Start, *, as_json: bool
) -> None:
    rows = infull.rows(database, asked)
    outcomes = transfers.outcomes(chosen, rows)
    correlation, why_none = transfers.correlate(outcomes)
    if as_json:
        echo_json(
            {
                "dataset": data.name,
                "from": start,
                "recipe": asked.recipe.to_json(),
                "genomes": [_as_json(one) for one in outcomes],
                "correlation": None if correlation is None else asdict(correlation),
                "no_correlation": why_none,
            }
        )
    else:
        _print(outcomes, correlation, why_none)
    infull.require_a_success(rows, "training")


def _as_json(one: Outcome) -> dict[str, Any]:
    return {
        "genome_id": one.genome_id,
        "source_error": one.source_error,
        "target_error": one.error,
        "target_loss": one.loss,
        "params": one.params,
        "flops": one.flops,
        "trainings": [asdict(row) for row in one.trainings],
    }


def _print(outcomes: Sequence[Outcome], correlation: Correlation | None, why_none: str | None) -> None:
    made = table(
        "genome", "state", "source accuracy", "target accuracy", "target loss", "params", left=("state",)
    )
    for one in outcomes:
        made.add_row(
            str(one.genome_id),
            _state(one),
            shown("error", one.source_error),
            shown("test_error", one.error) + _spread(one),
            shown("test_loss", one.loss),
            "–" if one.params is None else compact(one.params),
        )
    out = console()
    out.print(made)
    out.print(_told(correlation, why_none), markup=False, soft_wrap=True)


def _state(one: Outcome) -> str:
    """The state of a genome's training, or how many of them are in each."""
    states = [f"failed: {row.failure_kind}" if row.failure_kind else row.state for row in one.trainings]
    numbers = Counter(states)
    if len(numbers) == 1:
        return states[0]
    return ", ".join(f"{number} {state}" for state, number in numbers.items())


def _spread(one: Outcome) -> str:
    """The standard deviation between the trainings, where there are several."""
    errors = [row.values["test_error"] for row in one.trainings if row.state == "done"]
    return f" ± {100 * stdev(errors):.2f}" if len(errors) > 1 else ""


def _told(correlation: Correlation | None, why_none: str | None) -> str:
    if correlation is None:
        return f"no rank correlation can be given: {why_none}"
    return (
        f"rank correlation of source and target error (Kendall's tau-b): {correlation.tau:.2f}, "
        f"95 % interval {correlation.low:.2f} to {correlation.high:.2f}, "
        f"p = {correlation.probability:.2g}, {correlation.pairs} genomes"
    )
