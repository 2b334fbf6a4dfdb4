"""``evolver scheduler``: breed and select, without workers."""

from __future__ import annotations

from typing import Any

import click

from evolver.cli import notifying
from evolver.cli.completing import experiment_names
from evolver.cli.harmless import log_to_stderr
from evolver.cli.notifying import event_options
from evolver.cli.options import db_option, examples, opened
from evolver.cli.stopping import Stopping
from evolver.store import experiments


@click.command(
    epilog=examples(
        "evolver scheduler",
        "evolver scheduler shirts pets",
        "evolver scheduler --on-event ./tell-me.sh --stalled-after 120",
    )
)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=experiment_names)
@click.option(
    "--lease",
    "lease_s",
    default=15.0,
    show_default=True,
    metavar="S",
    type=click.FloatRange(min=1),
    help="Seconds without a step after which another scheduler takes over.",
)
@event_options
@db_option
def scheduler(names: tuple[str, ...], lease_s: float, db_url: str | None, **options: Any) -> None:
    """Breed genomes and select, for the experiments of these NAMEs or all, until stopped.

    Any number may run: one leads an experiment, the others stand by. Ctrl-C or SIGTERM ends it with
    exit code 0; another one, or the same command later, goes on.

    Events (docs/notifications.md): new-front-member, finished, stalled, failure-rate.
    """
    from evolver.scheduler import Scheduler

    notifications = notifying.read(options)
    log_to_stderr()
    with opened(db_url, answer_within_s=lease_s) as database:
        with database.read() as connection:
            for name in names:
                experiments.require_whole(experiments.get(connection, name))
        with (
            Stopping() as stopping,
            notifications.observer(database, lambda: stopping.requests > 1) as observer,
        ):
            leading = Scheduler(database, names, lease_s=lease_s, observer=observer)
            try:
                leading.run(
                    lambda: stopping.requested, lambda seconds: stopping.wait(seconds, leading.wakeups.wait)
                )
            finally:
                leading.close()
