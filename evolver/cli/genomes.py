"""Genomes: front, show, lineage, logs, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from shlex import quote

import click
from sqlalchemy import Connection

from evolver.cli import weights
from evolver.cli.completing import experiment_names
from evolver.cli.harmless import transcript
from evolver.cli.options import ID, db_option, examples, json_option, opened
from evolver.cli.output import NONE_FEASIBLE, console, device_warning, echo_json, front_rows, front_table, say
from evolver.errors import InvalidInput
from evolver.store import details, experiments, facts, queue
from evolver.store.details import AttemptFact
from evolver.store.queue import Failed
from evolver.store.states import FAILURE_KINDS
from evolver.words import counted


@click.command(epilog=examples("evolver front demo", "evolver front demo --json > front.json"))
@click.argument("name", shell_complete=experiment_names)
@db_option
@json_option
def front(name: str, db_url: str | None, as_json: bool) -> None:
    """The front of NAME: the genomes that no other dominates, sorted by the first objective.

    All of them keep the constraints. JSON has their codes as well, for --seed-genomes.
    """
    with opened(db_url) as database, database.read() as connection:
        found = experiments.get(connection, name)
        members = facts.front_members(connection, found)
        codes = details.codes(connection, [one.genome_id for one in members]) if as_json else {}
        devices = facts.mixed_devices(connection, found)
    if devices:
        say(f"warning: {device_warning(devices)}", err=True)
    objectives = found.settings.objectives
    if as_json:
        rows = front_rows(members, objectives)
        echo_json([{**row, "code": codes[row["genome_id"]]} for row in rows])
        return
    if members:
        console().print(front_table(members, objectives))
    elif found.ingested > found.failed:
        say(f"the front of '{name}' is empty: {NONE_FEASIBLE}")
    else:
        say(f"the front of '{name}' is empty: no genome has been evaluated with success yet")
    if found.settings.constraints:
        say(f"constraints: {', '.join(map(str, found.settings.constraints))}")


@click.command(epilog=examples("evolver show 17", "evolver show 17 --json | jq .code"))
@click.argument("genome_id", type=ID)
@db_option
@json_option
def show(genome_id: int, db_url: str | None, as_json: bool) -> None:
    """Everything about one genome: its network block by block, results, attempts and curve.

    In JSON, objectives are those of the experiment, other_values were measured beside them, and weights are
    relative to the --checkpoint-url of the worker.
    """
    with opened(db_url) as database, database.read() as connection:
        detail = details.genome_detail(connection, genome_id)
        found = experiments.get(connection, detail.experiment)
    if as_json:
        echo_json(detail)
        return
    from evolver.cli import portrait

    console().print(portrait.of(detail, found))
    for one in detail.evaluations:
        if one.weights:
            say(f"weights of evaluation {one.evaluation_id}: {weights.found(database, one.weights)}")


@click.command(
    epilog=examples("evolver lineage 17", "evolver lineage 17 --depth 10", "evolver lineage 17 --json")
)
@click.argument("genome_id", type=ID)
@click.option(
    "--depth", type=click.IntRange(1), default=4, metavar="N", show_default=True,
    help="Generations in the tree. JSON has all of them.",
)  # fmt: skip
@db_option
@json_option
def lineage(genome_id: int, depth: int, db_url: str | None, as_json: bool) -> None:
    """The ancestors of a genome, as a tree of parents."""
    with opened(db_url) as database, database.read() as connection:
        genome, *ancestors = details.lineage(connection, genome_id)
    if as_json:
        own = {"genome_id": genome_id, "parent_ids": genome.parent_ids, "operator": genome.operator}
        echo_json({**own, "ancestors": [asdict(one) for one in ancestors]})
        return
    from evolver.cli import portrait

    console().print(portrait.family(genome, ancestors, depth))


@click.command(epilog=examples("evolver logs 17", "evolver logs 17 --all"))
@click.argument("genome_id", type=ID)
@click.option("--all", "all_attempts", is_flag=True, help="All attempts, not the last one only.")
@db_option
@json_option
def logs(genome_id: int, all_attempts: bool, db_url: str | None, as_json: bool) -> None:
    """What the training process of a genome printed last, in its last attempt.

    Without what would steer the terminal; of a line that was overwritten, its last state. JSON has all.
    """
    with opened(db_url) as database, database.read() as connection:
        detail = details.genome_detail(connection, genome_id)
    attempts = [
        (evaluation.purpose, attempt) for evaluation in detail.evaluations for attempt in evaluation.attempts
    ]
    attempts.sort(key=lambda pair: pair[1].started_at)
    chosen = attempts if all_attempts else attempts[-1:]
    if as_json:
        echo_json([{"purpose": purpose, **asdict(attempt)} for purpose, attempt in chosen])
        return
    if not chosen:
        say(f"genome {genome_id} has not been tried yet")
    for purpose, attempt in chosen:
        say(_heading(purpose, attempt))
        say(transcript(attempt.log_tail or "").rstrip() or "(it printed nothing)")


def _heading(purpose: str, attempt: AttemptFact) -> str:
    message = " ".join((attempt.message or "").split())
    reason = f", {attempt.failure_kind}: {message}" if attempt.failure_kind else ""
    return (
        f"--- {purpose}, attempt {attempt.number} on {attempt.host} ({attempt.device}), "
        f"{attempt.started_at:%Y-%m-%d %H:%M:%S} UTC: {attempt.outcome}{reason}"
    )


@click.command(
    epilog=examples("evolver retry 17", "evolver retry --kind oom", "evolver retry --kind lost shirts")
)
@click.argument("target", metavar="GENOME_ID|NAME", required=False)
@click.option(
    "--kind", type=click.Choice(FAILURE_KINDS), help="All failures of this kind, in NAME or everywhere."
)
@db_option
@json_option
def retry(target: str | None, kind: str | None, db_url: str | None, as_json: bool) -> None:
    """Evaluate a failed genome again, or all that failed for one reason.

    The failure stays on record, the budget is not touched. A finished search goes back to running.
    """
    with opened(db_url) as database, database.write() as connection:
        if kind is not None:
            found = experiments.get(connection, target) if target else None
            if found:
                experiments.require_whole(found)
            failed = queue.failed_search(connection, kind=kind, experiment_id=found.id if found else None)
        else:
            failed = queue.failed_search(connection, genome_id=_genome_id(target))
            if not failed:
                detail = details.genome_detail(connection, _genome_id(target))
                experiments.require_whole(experiments.get(connection, detail.experiment))
        for one in failed:
            queue.retry(connection, one)
        states = _reopen(connection, failed)
    if as_json:
        echo_json({"retried": [one.genome_id for one in failed], "states": states})
        return
    say(
        f"{counted(len(failed), 'genome')} will be evaluated again"
        if failed
        else "nothing to retry: no such failure, or it was retried already"
    )
    for name, state in states.items():
        go_on = "" if state in ("created", "running") else f"; go on with it: evolver resume {quote(name)}"
        say(f"'{name}' is {state}{go_on}")


def _genome_id(target: str | None) -> int:
    if target is None or not target.isdecimal():
        raise InvalidInput("give the id of a genome, or --kind KIND for all failures of a kind")
    return int(ID(target))


def _reopen(connection: Connection, failed: Sequence[Failed]) -> dict[str, str]:
    """Let finished experiments go on; returns the state of each by name."""
    states: dict[str, str] = {}
    for experiment_id in sorted({one.experiment_id for one in failed}):
        found = experiments.by_id(connection, experiment_id)
        if found is None:
            continue
        states[found.settings.name] = found.state
        if found.state == "finished":
            experiments.transition(connection, found, "running", "retried")
            states[found.settings.name] = "running"
    return states
