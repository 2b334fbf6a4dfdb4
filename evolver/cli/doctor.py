"""``evolver doctor``: what is wrong with the database, or with this machine, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import click
from rich.text import Text

from evolver.cli.options import DATA_DIR, data_dir_option, db_option, examples, json_option
from evolver.cli.output import console, echo_json
from evolver.doctor import Finding, examine
from evolver.errors import DatabaseError, EvolverError
from evolver.store import operations
from evolver.store.db import Database
from evolver.words import size

LOW_DISK_BYTES = 2_000_000_000
"""Less than that is soon filled by the checkpoints of a few large networks."""
STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command(
    epilog=examples(
        "evolver doctor",
        "evolver doctor --data-dir /data --checkpoint-url /shared/checkpoints",
        "evolver doctor --json | jq '.[] | select(.level != \"ok\")'",
    )
)
@data_dir_option
@click.option("--checkpoint-url", metavar="URL", help="Where workers on this machine keep checkpoints.")
@db_option
@json_option
def doctor(data_dir: Path | None, checkpoint_url: str | None, db_url: str | None, as_json: bool) -> None:
    """Check the database, the searches, the workers, and this machine; say how to mend what is wrong.

    Exit code 1 when there is a problem; warnings do not count. What belongs to the machine (data sets,
    devices, disk) is checked for the one that this runs on.
    """
    findings = [*_database(db_url), *_machine(db_url, data_dir or DATA_DIR, checkpoint_url)]
    if as_json:
        echo_json([asdict(one) for one in findings])
    else:
        for one in findings:
            _print(one)
    if any(one.level == "problem" for one in findings):
        click.get_current_context().exit(EvolverError.exit_code)


def _print(one: Finding) -> None:
    line = Text.assemble((f"{one.level:8}", STYLES[one.level]), f" {one.check}: {one.message}")
    console().print(line, soft_wrap=True)
    if one.remedy:
        console().print(Text(f"{'':8}   → {one.remedy}"), soft_wrap=True)


def _database(db_url: str | None) -> list[Finding]:
    """All checks of the database; a single problem when it cannot be opened."""
    try:
        database = Database.open(db_url)
        try:
            return examine(database)
        finally:
            database.dispose()
    except DatabaseError as error:
        return [Finding("database", "problem", str(error), "see docs/operations.md, 'The database'")]


# --- this machine ------------------------------------------------------------------------------------


def _machine(db_url: str | None, data_dir: Path, checkpoint_url: str | None) -> Iterator[Finding]:
    """What a worker would need here; nothing where the worker's packages are not installed."""
    if not (find_spec("torch") and find_spec("fsspec")):
        yield Finding(
            "machine", "ok", "no workers run here ('evolver[worker]' is not installed): its data, devices "
            "and checkpoints were not checked",
        )  # fmt: skip
        return
    yield _devices()
    try:
        database = Database.open(db_url)
    except DatabaseError:
        return  # reported already
    try:
        yield _checkpoints(database, checkpoint_url)
        yield from _data(database, data_dir)
    finally:
        database.dispose()


def _devices() -> Finding:
    from workers import devices
    from workers.main import device_memory
    from workers.options import WorkerOptions

    here = devices.available()
    cores = devices.cores() // max(1, len(here) - 1)  # accelerators are served without the CPU
    automatic = WorkerOptions(slots="auto")
    named = ", ".join(
        f"{device} ({devices.device_name(device)}; auto: {device_memory(device, automatic, cores)})"
        for device in here
    )
    return Finding("devices", "ok", named)


def _checkpoints(database: Database, checkpoint_url: str | None) -> Finding:
    from workers.checkpoint_files import CheckpointDirectory
    from workers.options import WorkerOptions, checkpoint_base

    base = checkpoint_base(WorkerOptions(checkpoint_url=checkpoint_url), database.url)
    try:
        free = CheckpointDirectory(base).probe()
    except EvolverError as error:
        return Finding("checkpoints", "problem", str(error), "give another --checkpoint-url, or mend it")
    if free is not None and free < LOW_DISK_BYTES:
        return Finding(
            "checkpoints", "warning", f"only {size(free)} free at {base}", "free space: evolver gc --dry-run"
        )
    return Finding("checkpoints", "ok", f"{base} can be written" + (f", {size(free)} free" if free else ""))


def _data(database: Database, data_dir: Path) -> Iterator[Finding]:
    """Whether this machine has the data of every search that is not finished, by their hash."""
    from evolver.localrun import LocalOptions, check_data

    local = LocalOptions(1, "cpu", 1, data_dir, download=False, checkpoint_url=None)
    with database.read() as connection:
        needed = operations.needed_data(connection)
    for name, evaluator, dataset in needed:
        try:
            check_data(evaluator, dataset, local)
        except EvolverError as error:
            yield Finding(
                "data", "warning", f"workers here would skip '{name}': {error}",
                "give its --data-dir; workers elsewhere are not affected",
            )  # fmt: skip
        else:
            yield Finding("data", "ok", f"'{dataset.name}' of '{name}' can be used here")
