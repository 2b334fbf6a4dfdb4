"""``evolver run``: scheduler and local workers of one search, under one display."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import click
from rich.text import Text

from evolver.cli import INTERRUPTED, notifying, settings
from evolver.cli.completing import experiment_names
from evolver.cli.display import Display
from evolver.cli.notifying import NO_NOTIFICATIONS, Notifications, event_options
from evolver.cli.options import (
    ANSWER_S,
    DATA_DIR,
    db_option,
    examples,
    exists,
    experiment_options,
    json_option,
    opened,
    typed_db,
    worker_options,
)
from evolver.cli.output import (
    console,
    echo_json,
    failures_text,
    front_rows,
    front_table,
    status_line,
    status_view,
    warmup_text,
)
from evolver.cli.settings import Given, New
from evolver.cli.stopping import Stopping, stop_workers
from evolver.errors import EvolverError, NotFound
from evolver.localrun import LocalOptions, LocalWorkers, check_data, check_options
from evolver.scheduler import Scheduler
from evolver.store import experiments, facts, fleet
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.experiments import Experiment
from evolver.store.facts import GenomeFact, Status
from evolver.store.wakeups import Wakeups
from evolver.words import counted

LOOK_EVERY_S = 0.5
LEASE_S = 5.0
"""Shorter than a scheduler's elsewhere: after a crash, the same command soon goes on."""


@click.command(
    epilog=examples(
        "evolver run demo --dataset digits --space tiny --budget 40 --workers 2",
        "evolver run shirts --dataset fashion-mnist --data-dir /data --download",
        "evolver run shirts --device all --data-dir /data",
        "evolver run shirts --on-event https://example.org/hook",
    )
)
@click.argument("name", shell_complete=experiment_names)
@experiment_options
@worker_options
@event_options
@db_option
@json_option
def run(
    name: str,
    config_file: Path | None,
    workers: int,
    device: str,
    slots: int | Literal["auto"],
    data_dir: Path | None,
    download: bool,
    checkpoint_url: str | None,
    track: tuple[str, ...],
    db_url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for NAME here: make it if it is not there, else go on with it.

    Runs the scheduler and local workers until the search is finished. Ctrl-C once stops in good order
    (exit code 130), and the same command goes on later; twice leaves at once. So does 'evolver drain' of
    all its workers. Other workers, on any machine, may join at any time. With --json, what happens is
    told on stderr. A search in which every evaluation failed ends with exit code 1.

    Events (docs/notifications.md): new-front-member, finished, stalled, failure-rate.
    """
    notifications = notifying.read(options)
    given = settings.read(options, config_file, data_dir)
    local = LocalOptions(workers, device, slots, given.data_dir, download, checkpoint_url, track)
    new = _checked(name, given, _find(db_url, name), local, db_url)
    with opened(db_url, create=True, answer_within_s=ANSWER_S) as database:
        with Display(console(stderr=as_json)) as display:
            found = _ready(database, name, new, display)
            interrupted = found.state != "finished" and search_here(
                database, name, local, display, notifications
            )
        _report(database, name, given, as_json=as_json, interrupted=interrupted)
    if interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _find(db_url: str | None, name: str) -> Experiment | None:
    if not exists(db_url):
        return None
    # A SQLite file without a schema is what a first start leaves that was killed: it is completed.
    with opened(db_url, create=True, answer_within_s=ANSWER_S) as database, database.read() as connection:
        return experiments.find(connection, name)


def _checked(
    name: str, given: Given, found: Experiment | None, local: LocalOptions, db_url: str | None
) -> New | None:
    """Check everything before anything is written; returns what to make if the experiment is not there.

    Data that are missing here would stop every local worker, so they are looked for as well.
    """
    new = None
    if found is None:
        new = settings.of_new(name, given, db_url)
        built, dataset = new.settings, new.data.as_ref()
    else:
        experiments.require_whole(found)
        settings.require_same(found, given)
        built, dataset = found.settings, found.dataset
    if local.number and not (found and found.state == "finished"):
        check_options(local)
        check_data(built.evaluator, dataset, local, built.objectives)
    return new


def _ready(database: Database, name: str, new: New | None, display: Display) -> Experiment:
    """The experiment, made or brought back to running. Raises NotFound when it was deleted meanwhile."""
    with database.write() as connection:
        found = experiments.find(connection, name)
        if found is None:
            if new is None:
                raise NotFound(f"experiment '{name}' was deleted meanwhile")
            made = new.create(connection)
            display.say(f"made experiment '{name}': {new.data.name}, budget {new.settings.budget}")
            for note in new.warmup.notes:
                display.say(note)
            if new.warmup.seeds:
                display.say(f"begins with {warmup_text(new.warmup)}")
            return made
        if found.state in ("paused", "stopped"):
            experiments.transition(connection, found, "running")
    if found.state == "finished":
        display.say(f"'{name}' is finished; more genomes: evolver extend {quote(name)} --budget N")
    else:
        was = f", was {found.state}" if found.state in ("paused", "stopped") else ""
        display.say(f"going on with '{name}'{was}: {found.ingested} of {found.settings.budget} evaluated")
    return found


def search_here(
    database: Database,
    name: str,
    local: LocalOptions,
    display: Display,
    notifications: Notifications = NO_NOTIFICATIONS,
) -> bool:
    """Search until the experiment has ended; returns whether it was interrupted before that."""
    workers = LocalWorkers(database.url, name, local)
    with (
        Stopping() as stopping,
        notifications.observer(database, lambda: stopping.requests > 1) as observer,
    ):
        scheduler = Scheduler(database, [name], lease_s=LEASE_S, observer=observer)
        watch = _Watch(database, name, workers, display, stopping, scheduler.wakeups)
        try:
            scheduler.run(lambda: stopping.requested or watch.ended or workers.all_left, watch.wait)
            if stopping.requested:
                display.say("stopping: the workers hand their work back; Ctrl-C again leaves at once")
            elif workers.all_left:
                display.say("stopping: no local worker is left; the same command goes on")
        finally:
            stop_workers(workers, stopping)
            scheduler.close()
    return not watch.ended


class _Watch:
    """What happens between two steps of the scheduler: workers are looked after, the display is kept up."""

    def __init__(
        self,
        database: Database,
        name: str,
        workers: LocalWorkers,
        display: Display,
        stopping: Stopping,
        wakeups: Wakeups,
    ) -> None:
        self._database, self._name = database, name
        self._workers, self._display, self._stopping = workers, display, stopping
        self._wakeups = wakeups
        self._look_at = 0.0
        self.ended = False

    def wait(self, seconds: float) -> None:
        for line in self._workers.attend():
            self._display.say(line)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            try:
                self._look()
            except DatabaseUnavailable as error:
                self._display.show(Text(f"{error}; trying again"), f"{error}; trying again")
        self._stopping.wait(seconds, self._wakeups.wait)

    def _look(self) -> None:
        with self._database.read() as connection:
            found = experiments.find(connection, self._name)
            if found is None:
                raise NotFound(f"experiment '{self._name}' was deleted meanwhile")
            experiments.require_whole(found)
            status = facts.status(connection, found)
            present = fleet.live(connection)
        notes = [f"worker {one.host}:{one.pid}: {one.note}" for one in present if one.note]
        self._display.show(status_view(status, notes), "; ".join([status_line(status), *notes]))
        self.ended = status.state in ("stopped", "finished")
        if status.state == "paused" and status.state_reason and not status.running:
            raise EvolverError(f"experiment '{self._name}' is paused: {status.state_reason}")


def _report(database: Database, name: str, given: Given, *, as_json: bool, interrupted: bool) -> None:
    with database.read() as connection:
        found = experiments.get(connection, name)
        status = facts.status(connection, found)
        members = facts.front_members(connection, found)
    objectives = found.settings.objectives
    if as_json:
        echo_json({"status": asdict(status), "front": front_rows(members, objectives)})
    else:
        out = console()
        out.print(status_line(status), markup=False, soft_wrap=True)
        if members and not interrupted:
            out.print()
            out.print(front_table(members, objectives, title=f"Front of '{name}'"))
        out.print()
        for line in _next_commands(database, given, status, members):
            out.print(line, markup=False, soft_wrap=True)
    if status.state == "finished" and status.failures and not members:
        raise EvolverError(
            f"all {counted(status.failed, 'evaluation')} of '{name}' failed: {failures_text(status)}; "
            f"see why: evolver logs {status.failures[0].genome_id}{typed_db(database)}"
        )


def _next_commands(
    database: Database, given: Given, status: Status, members: Sequence[GenomeFact]
) -> Iterator[str]:
    db = typed_db(database)
    data = f" --data-dir {quote(str(given.data_dir))}" if given.data_dir != DATA_DIR else ""
    typed = quote(status.experiment)
    if status.state != "finished":
        yield f"go on:  evolver run {typed}{data}{db}"
    elif members:
        yield f"draw it:          evolver plot {typed} --output front.png{db}"
        yield f"look at a genome: evolver show {members[0].genome_id}{db}"
        for one in status.failures[:1]:
            yield f"see a failure:    evolver logs {one.genome_id}{db}"
        yield f"train it in full: evolver retrain {typed}{data}{db}"
