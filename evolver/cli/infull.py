"""Waiting, under one display, for trainings in full that were asked for: of ``retrain`` and ``transfer``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolver.cli.display import Display
from evolver.cli.stopping import Stopping, stop_workers
from evolver.errors import EvolverError, NotFound
from evolver.localrun import LocalOptions, LocalWorkers
from evolver.retraining import Asked
from evolver.store import trainings
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.trainings import TrainingFact
from evolver.words import counted

LOOK_EVERY_S = 0.5
OPEN = ("pending", "running")
STATES = ("done", "running", "pending", "failed")


def train_here(
    database: Database, name: str, asked: Asked, local: LocalOptions, display: Display, verb: str
) -> bool:
    """Train with local workers until nothing that was asked for is open.

    Returns whether it was interrupted before that.
    """
    workers = LocalWorkers(database.url, name, local)
    left = -1
    with Stopping() as stopping:
        try:
            while left and not (stopping.requested or workers.all_left):
                try:
                    found = rows(database, asked)
                    left = sum(row.state in OPEN for row in found)
                    _show(display, found, verb)
                except DatabaseUnavailable as error:
                    display.show(Text(f"{error}; trying again"), f"{error}; trying again")
                if left:
                    for line in workers.attend():
                        display.say(line)
                    stopping.wait(LOOK_EVERY_S)
        finally:
            stop_workers(workers, stopping)
    return left != 0


def rows(database: Database, asked: Asked) -> list[TrainingFact]:
    """What was asked for, as it stands now. Raises NotFound when some of it was deleted."""
    with database.read() as connection:
        found = trainings.by_id(connection, asked.evaluation_ids)
    if len(found) < len(asked.evaluation_ids):
        raise NotFound("genomes that were to be trained were deleted meanwhile")
    return found


def _show(display: Display, found: Sequence[TrainingFact], verb: str) -> None:
    counts = Counter(row.state for row in found)
    ended = counts["done"] + counts["failed"]
    line = ", ".join(f"{counts[state]} {state}" for state in STATES)
    progress = Table.grid(padding=(0, 2))
    progress.add_row(ProgressBar(len(found), ended, width=36), f"{ended} of {len(found)}")
    display.show(Group(Text(f"{verb}: {line}"), progress), f"{verb}: {line}")


def require_a_success(found: Sequence[TrainingFact], noun: str) -> None:
    """Raises EvolverError when all of the trainings failed, with the kinds of failure."""
    failed = [row for row in found if row.state == "failed"]
    if failed and len(failed) == len(found):
        numbers = Counter(row.failure_kind for row in failed)
        kinds = ", ".join(f"{number} {kind}" for kind, number in numbers.items())
        raise EvolverError(
            f"all {counted(len(failed), noun)} failed: {kinds}; see why: evolver logs {failed[0].genome_id}"
        )
