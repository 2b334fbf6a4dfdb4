"""``evolver gc``: remove what the database and its checkpoint directory no longer need."""

from __future__ import annotations

import click

from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import echo_json, say
from evolver.errors import EnvironmentFault
from evolver.garbage import Freed, sweep
from evolver.words import size

DAY_S = 86400.0


@click.command(
    epilog=examples(
        "evolver gc --dry-run",
        "evolver gc --checkpoint-url /shared/checkpoints",
        "evolver gc --older-than 30",
    )
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--checkpoint-url", metavar="URL", help="Where the workers keep their checkpoints.")
@click.option(
    "--older-than", "days", type=click.FloatRange(0), default=7.0, metavar="DAYS", show_default=True,
    help="Forget workers that are gone for longer.",
)  # fmt: skip
@db_option
@json_option
def gc(dry_run: bool, checkpoint_url: str | None, days: float, db_url: str | None, as_json: bool) -> None:
    """Remove resume checkpoints of ended evaluations, left-over files, and the rows of dead workers.

    A file that no row knows goes when it is older than a day; so a checkpoint directory belongs to one
    database. Weights always stay. Searches may go on meanwhile.
    """
    try:
        from workers.checkpoint_files import CheckpointDirectory
        from workers.options import WorkerOptions, checkpoint_base
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"'evolver gc' needs {error.name}, which is not installed; run: pip install 'evolver[worker]'"
        ) from error
    with opened(db_url) as database:
        base = checkpoint_base(WorkerOptions(checkpoint_url=checkpoint_url), database.url)
        directory = CheckpointDirectory(base)
        is_there = directory.exists
        freed = sweep(database, directory, workers_older_than_s=days * DAY_S, dry_run=dry_run)
    if as_json:
        echo_json({"dry_run": dry_run, "checkpoint_url": base, "found": is_there, **_fact(freed)})
        return
    if not is_there:
        say(f"there are no checkpoints at {base}; if they are elsewhere, give --checkpoint-url")
    say(_report(freed, "would remove" if dry_run else "removed"))
    if freed.kept_weights:
        say(
            f"kept {freed.kept_weights} weights ({size(freed.kept_weights_bytes)}) at {base} that no "
            "evaluation of this database knows; delete them by hand if nobody needs them"
        )


def _fact(freed: Freed) -> dict[str, int]:
    return {name: getattr(freed, name) for name in Freed.__slots__}


def _report(freed: Freed, verb: str) -> str:
    return (
        f"{verb} {freed.checkpoints} checkpoints of ended evaluations, {freed.leftovers} left-over files "
        f"({size(freed.bytes)} together), {freed.directories} empty directories, "
        f"and the rows of {freed.workers} dead workers"
    )
