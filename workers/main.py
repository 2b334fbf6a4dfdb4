"""Starting a worker: from Python with ``run_worker``, from a shell with ``worker_command``.

Nothing here imports torch: only the training processes do.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import click

from evolver.cli.completing import experiment_names
from evolver.cli.harmless import harmless, log_to_stderr
from evolver.cli.options import SlotCount
from evolver.errors import EvolverError
from evolver.store import experiments
from evolver.store.claims import WorkerInfo
from evolver.store.db import DEFAULT_URL, VARIABLE, Database
from workers import devices, tracking
from workers.admission import DeviceMemory, auto_slots
from workers.checkpoint_files import require_writable
from workers.options import MEMORY_SHARE, WorkerOptions, checkpoint_base
from workers.process import Surroundings
from workers.slots import Slot
from workers.supervisor import Supervisor, WorkerEvent

RECORDED_PACKAGES = ("evolver", "torch", "torchvision", "numpy")
"""Whose versions stand in the record of each attempt."""
SHORTEST_WAIT_S = 0.5
"""Any database may take so long to answer, however short the lease is."""

log = logging.getLogger("evolver.worker")


def run_worker(options: WorkerOptions, on_event: Callable[[WorkerEvent], None] | None = None) -> int:
    """Be a worker until there is a reason to leave; returns the exit status (see ``Supervisor.run``).

    Runs in the main thread, and handles SIGTERM and SIGINT until it returns. Raises InvalidInput for
    a device that is not here or an experiment that is not in the database, DatabaseError for a database
    that cannot be used, EnvironmentFault for a place of checkpoints that cannot be written or a package
    that tracking needs.
    """
    tracking.require_packages(options.track)
    found = devices.parse_devices(options.device)
    # One thread does everything: it must not wait for the database until its leases run out.
    wait_s = max(SHORTEST_WAIT_S, options.lease_s / 4)
    database = Database.open(options.db_url, wait_s=wait_s, answer_within_s=wait_s)
    try:
        with database.read() as conn:
            for name in options.experiments:
                experiments.require_whole(experiments.get(conn, name))
        base = checkpoint_base(options, database.url)
        require_writable(base)
        slots = make_slots(found, options, base)
        for one in {slot.memory: slot for slot in slots}.values():
            log.info("%s (%s): %s", one.device, one.device_name, one.memory)
        info = WorkerInfo(socket.gethostname(), os.getpid(), ",".join(found), len(slots), versions())
        return Supervisor(database, slots, info, options, on_event).run()
    finally:
        database.dispose()


def make_slots(found: tuple[str, ...], options: WorkerOptions, checkpoint_url: str) -> list[Slot]:
    """``options.slots`` slots for each device; all together share the CPU's cores."""
    memories = [device_memory(device, options, devices.cores() // len(found)) for device in found]
    bound = [memory for memory in memories for _ in range(memory.slots)]
    surroundings = Surroundings(
        data_dir=options.data_dir.resolve(),
        download=options.download,
        checkpoint_url=checkpoint_url,
        cpu_threads=max(1, devices.cores() // len(bound)),
        track=options.track,
    )
    return [
        Slot(
            number,
            memory,
            devices.device_name(memory.device),
            replace(surroundings, device_slots=memory.slots),
        )
        for number, memory in enumerate(bound)
    ]


def device_memory(device: str, options: WorkerOptions, cores: int) -> DeviceMemory:
    """The memory that a worker may use of a device, and the slots there; ``cores`` are the device's share."""
    free = devices.free_bytes(device)
    available = None if free is None else int(free * options.memory_share)
    slots = auto_slots(device, available, cores) if options.slots == "auto" else options.slots
    return DeviceMemory(device, available, slots)


def versions() -> dict[str, str]:
    """The versions that an evaluation here depends on, of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@click.command("worker", context_settings={"show_default": True})
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=experiment_names)
@click.option(
    "--db",
    "db_url",
    metavar="URL",
    envvar=VARIABLE,
    help=f"Database. [default: {DEFAULT_URL}]",
)
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda:N, mps, or all.")
@click.option(
    "--slots",
    default=1,
    type=SlotCount(min=1),
    metavar="N|auto",
    help="Evaluations at a time, for each device; auto: by its memory and the cores of the host.",
)
@click.option(
    "--memory-share",
    default=MEMORY_SHARE,
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="What trainings may be given of a device's memory that is free at the start.",
)
@click.option("--max-evaluations", metavar="N", type=click.IntRange(min=1), help="Leave after N evaluations.")
@click.option(
    "--idle-timeout",
    "idle_timeout_s",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    help="Leave after S seconds without work.",
)
@click.option("--data-dir", default="data", type=click.Path(path_type=Path), help="Where the data sets are.")
@click.option("--download", is_flag=True, help="Download data sets that are missing.")
@click.option(
    "--checkpoint-url",
    metavar="URL",
    help="Directory of checkpoints. [default: beside the SQLite file, else evolver-checkpoints]",
)
@click.option(
    "--lease",
    "lease_s",
    default=60.0,
    metavar="S",
    type=click.FloatRange(min=1),
    help="Seconds after which a silent worker's work goes to another.",
)
@click.option(
    "--track",
    multiple=True,
    metavar="KIND:WHERE",
    help="Write curves to tensorboard:DIR or mlflow:URI; may be given twice.",
)
def worker_command(names: tuple[str, ...], **options: object) -> None:
    """Train genomes: claim, train, report, until stopped.

    Serves the experiments of these NAMEs, or all. Ctrl-C hands the work back and leaves; a second
    Ctrl-C leaves at once.

    \b
    Examples:
      evolver worker                            # on the best device here
      evolver worker --device all --slots 2     # two at a time on each GPU
      evolver worker --device all --slots auto  # as many as each GPU is good for
      evolver worker cifar --idle-timeout 600   # leave after ten idle minutes
    """
    log_to_stderr()
    try:
        status = run_worker(WorkerOptions(experiments=names, **options))  # type: ignore[arg-type]
    except EvolverError as error:
        click.echo(harmless(f"evolver: {error}"), err=True)
        status = error.exit_code
    sys.exit(status)
