"""Memory of a training process over 200 genomes: it must not grow.

One process trains random genomes of ``small`` one after the other, a few batches each, as a worker's
training process does. After each, the memory of the process (resident), and on a GPU what torch holds of
it, is read. ``growth`` is the median of the last 20 readings less that of the first 20 after a warm-up.
``growth_repeated`` is that of three more rounds over the last 20 genomes, whose shapes are not new any more.
``per_slot`` is the last reading on a CPU, the peak on a GPU: what a slot takes.
"""

from __future__ import annotations

import os
import statistics
from argparse import Namespace

import common
import torch
from training import SAMPLES, Silent, images, random_network

from evolver import recipe
from workers import trainer
from workers.data.device import prepare
from workers.trainer import Job

DATA = "cifar10"
WARM_UP, WINDOW = 20, 20
MIB = 2**20


def held(device: torch.device) -> tuple[float, float]:
    """What the process holds now, in MiB: of the host's memory, and of the device's."""
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    reserved = torch.cuda.memory_reserved(device) / MIB if device.type == "cuda" else 0.0
    return resident, reserved


def growth(readings: list[float]) -> float:
    """The median of the last window less that of the first one after the warm-up."""
    first = readings[WARM_UP : WARM_UP + WINDOW]
    return statistics.median(readings[-WINDOW:]) - statistics.median(first)


def main(args: Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    genomes, batches = (WARM_UP + 2 * WINDOW, 2) if args.quick else (200, 5)
    settings = recipe.load("fast", {"epochs": 1, "stop_flat": False})
    count = batches * settings.batch_size
    raw, ref, augmentation = images(DATA, count + 2)
    data = prepare(ref, None, raw, device)
    part = data.train.augmented(augmentation).part(0, count)
    readings = []
    again = [*range(genomes - WINDOW, genomes)] * 3
    for seed in [*range(genomes), *again]:
        network = random_network("small", seed, SAMPLES[DATA], seed)
        trainer.train(Job(network, settings, part, None, seed, 0, "t", "p"), Silent(str(device)))
        readings.append(held(device))
        if len(readings) % 20 == 0:
            host_now, device_now = readings[-1]
            print(
                f"{len(readings)} trained: {host_now:.0f} MiB, {device_now:.0f} MiB on the device", flush=True
            )
    host, on_device = ([reading[i] for reading in readings] for i in (0, 1))
    headline = {
        "growth_host_mib": growth(host[:genomes]),
        "growth_repeated_host_mib": host[-1] - host[genomes - 1],
        "per_slot_host_mib": host[-1],
    }
    if device.type == "cuda":
        headline |= {
            "growth_device_mib": growth(on_device[:genomes]),
            "per_slot_device_mib": torch.cuda.max_memory_reserved(device) / MIB,
        }
    common.report(args, headline, {"host_mib": host, "device_mib": on_device})


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
