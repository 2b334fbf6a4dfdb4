"""``evolver replicate``: the same search again, with other seeds."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Literal

import click

from evolver.cli import INTERRUPTED
from evolver.cli.completing import experiment_names
from evolver.cli.display import Display
from evolver.cli.options import ANSWER_S, DATA_DIR, db_option, examples, json_option, opened, worker_options
from evolver.cli.output import console, echo_json, say
from evolver.errors import InvalidInput
from evolver.localrun import LocalOptions, check_data, check_options
from evolver.store import experiments
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.words import counted

MAX_SEED = 2**63 - 1


@click.command(
    epilog=examples(
        "evolver replicate demo --runs 5 --workers 2",
        "evolver replicate demo --runs 5 --workers 0    # only makes them",
    )
)
@click.argument("name", shell_complete=experiment_names)
@click.option("--runs", type=click.IntRange(1, 1000), required=True, metavar="K", help="Replicates in all.")
@click.option("--start-seed", type=click.IntRange(0, MAX_SEED - 1000), metavar="S",
              help="Seed of the first. [default: the seed of NAME + 1]")  # fmt: skip
@worker_options
@db_option
@json_option
def replicate(
    name: str,
    runs: int,
    start_seed: int | None,
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
    """Search as NAME does K times more, with other seeds: NAME@1 to NAME@K.

    Local workers run one after the other, so that each has all of them, as NAME had. Ctrl-C stops (exit
    code 130); the same command goes on, and with a larger K makes more. 'evolver compare NAME@' tells how
    they did.
    """
    from evolver import replication

    local = LocalOptions(workers, device, slots, data_dir or DATA_DIR, download, checkpoint_url, track)
    with opened(db_url, answer_within_s=ANSWER_S) as database:
        with database.read() as connection:
            source = experiments.get(connection, name)
        first_seed = source.settings.seed + 1 if start_seed is None else start_seed
        if first_seed + runs - 1 > MAX_SEED:
            raise InvalidInput(f"seeds end at {MAX_SEED}; give a smaller --start-seed")
        if workers:
            check_options(local)
            check_data(source.settings.evaluator, source.dataset, local, source.settings.objectives)
        with database.write() as connection:
            made = replication.replicate(connection, source, runs, first_seed)
        interrupted = bool(workers) and _run_all(database, made, local, as_json=as_json)
        with database.read() as connection:
            made = [experiments.get(connection, one.settings.name) for one in made]
    _report(name, made, as_json=as_json, interrupted=interrupted)
    if interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _run_all(database: Database, made: list[Experiment], local: LocalOptions, *, as_json: bool) -> bool:
    """Run those that are not finished, one after the other; returns whether it was interrupted."""
    from evolver.cli.run import search_here

    with Display(console(stderr=as_json)) as display:
        for number, one in enumerate(made, start=1):
            if one.state == "finished":
                continue
            if one.state in ("paused", "stopped"):
                with database.write() as connection:
                    experiments.transition(connection, one, "running")
            display.say(f"run {number} of {len(made)}: '{one.settings.name}', seed {one.settings.seed}")
            if search_here(database, one.settings.name, local, display):
                return True
    return False


def _report(name: str, made: list[Experiment], *, as_json: bool, interrupted: bool) -> None:
    if as_json:
        keys = ("state", "ingested", "failed")
        echo_json(
            [
                {"experiment": one.settings.name, "replicates": name, "seed": one.settings.seed}
                | {key: getattr(one, key) for key in keys}
                for one in made
            ]
        )
        return
    finished = sum(one.state == "finished" for one in made)
    say(f"'{name}' has {counted(len(made), 'replicate')}, {finished} of them finished")
    if interrupted:
        say("go on:        the same command")
    if finished < len(made):
        names = " ".join(quote(one.settings.name) for one in made if one.state != "finished")
        say(f"on machines:  evolver scheduler {names}   and anywhere   evolver worker {names}")
    say(f"compare:      evolver compare {quote(name + '@')} …")
