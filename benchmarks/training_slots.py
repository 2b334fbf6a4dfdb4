"""Part of ``training.py``: evaluations an hour of a device, with several genomes on it at a time.

Each slot is a process, as in a worker, and trains one random genome of ``paper`` after the other: all
epochs of the recipe on 40,000 random images of 32×32×3, validation on 10,000 more after each. Unfinished
evaluations count by their epochs.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from training import Silent, images

from evolver.errors import HandedBack, OutOfMemory
from evolver.evaluation import Epoch
from evolver.genome.space import ConvSpace
from evolver.recipe import Recipe
from workers import trainer
from workers.data.device import prepare
from workers.decoder import decode
from workers.trainer import Job

BUSY_EVERY_S = 0.1


class Until(Silent):
    """A context that asks to stop at a time, and notes when epochs end (both of the monotonic clock)."""

    def __init__(self, device: str, end: float) -> None:
        super().__init__(device)
        self.end = end
        self.ended: list[float] = []

    def report_epoch(self, epoch: Epoch) -> None:
        self.ended.append(time.monotonic())

    def stop_requested(self) -> bool:
        return time.monotonic() > self.end


def slot(number: int, slots: int, device: str, settings: Recipe, sizes: tuple[int, int], seconds: float,
         answer: Connection) -> None:  # fmt: skip
    """One slot's process: sends the share of evaluations done, and the seconds of each whole one."""
    train, validation = sizes
    raw, ref, augmentation = images("cifar10", train + validation + 2)
    data = prepare(ref, None, raw, torch.device(device)).train
    part, rest = data.augmented(augmentation).part(0, train), data.part(train, train + validation)
    answer.send("ready")
    answer.recv()
    until = Until(device, time.monotonic() + seconds)
    space = ConvSpace.from_settings(ConvSpace.presets()["paper"])
    whole: list[float] = []
    failed = 0
    seed = number
    while not until.stop_requested():
        genome = space.random(np.random.default_rng(seed))
        network = decode(space.plan(genome, ref.sample), torch.Generator().manual_seed(seed))
        began = time.monotonic()
        try:
            trainer.train(Job(network, settings, part, rest, seed, 0, "t", "p"), until)
            whole.append(time.monotonic() - began)
        except OutOfMemory:
            failed += 1
        except HandedBack:
            break
        seed += slots
    answer.send((len(until.ended) / settings.epochs, whole, failed))


def evaluations_per_hour(
    device: str, slots: int, settings: Recipe, sizes: tuple[int, int], seconds: float
) -> dict[str, Any]:
    """What so many slots do together within this time, and how busy the device is meanwhile."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(slots)]
    running = [
        context.Process(target=slot, args=(n, slots, device, settings, sizes, seconds, theirs))
        for n, (_, theirs) in enumerate(pipes)
    ]
    for process in running:
        process.start()
    for ours, _ in pipes:
        ours.recv()
    for ours, _ in pipes:
        ours.send("go")
    busy = _busy_share(device, lambda: not any(ours.poll() for ours, _ in pipes))
    answers = [ours.recv() for ours, _ in pipes]
    for process in running:
        process.join()
    whole = sorted(second for _, seconds_of, _ in answers for second in seconds_of)
    return {
        "slots": slots,
        "evaluations_per_hour": sum(done for done, _, _ in answers) / seconds * 3600,
        "median_s": statistics.median(whole) if whole else None,
        "p95_s": whole[int(0.95 * (len(whole) - 1))] if whole else None,
        "out_of_memory": sum(failed for _, _, failed in answers),
        "busy": busy,
    }


def _busy_share(device: str, goes_on: Callable[[], bool]) -> float | None:
    """The mean share of time in which a kernel ran, as NVML tells; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    found = []
    while goes_on():
        found.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        time.sleep(BUSY_EVERY_S)
    pynvml.nvmlShutdown()
    return statistics.mean(found)
