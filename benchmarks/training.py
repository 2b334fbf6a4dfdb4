"""Training: images a second against the paper's way of training, and what share of the machine that is.

For random genomes of ``small`` and ``paper`` at 28×28×1 and 32×32×3, each trained on the same random
images (what they show does not matter for time) in the same batches: by evolver's training loop, and by
the peer (``training_peer.py``), in turn. ``share`` is how much of the machine's own matrix-product rate,
measured in the same run and precision, evolver's side reaches.

Where there is a GPU, also evaluations an hour (``training_slots.py``), for the recipes ``paper`` and
``fast``, each with several numbers of slots.
"""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from training_peer import Peer, PilDataset

from evolver import recipe, registry
from evolver.datasets.files import RawDataset
from evolver.evaluation import DatasetRef, Epoch, SavedCheckpoint
from evolver.genome.space import ConvSpace
from evolver.recipe import Recipe
from evolver.space import Sample
from workers import numerics, trainer
from workers.data.device import DeviceDataset, prepare
from workers.decoder import Network, decode
from workers.trainer import Job

SAMPLES = {"fashion-mnist": Sample(1, (28, 28), 10), "cifar10": Sample(3, (32, 32), 10)}
MATRIX = 2048
FORWARD_AND_BACKWARD = 3
"""A training step's arithmetic over that of its forward pass."""


class Silent:
    """A context that nothing is told to; implements ``evolver.evaluation.Context``."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.device_slots = 1
        self.data_dir = Path()
        self.download = False
        self.checkpoint_url = "memory://benchmark"

    def started(self, *, dtype: str, resumed_from_epoch: int | None) -> None:
        pass

    def report_epoch(self, epoch: Epoch) -> None:
        pass

    def report_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        pass

    def stop_requested(self) -> bool:
        return False


@dataclass(frozen=True)
class Case:
    """A genome's network on one kind of images. ``flops``: of a forward pass of one sample."""

    space: str
    data: str
    seed: int
    flops: int
    params: int

    def network(self) -> Network:
        return random_network(self.space, self.seed, SAMPLES[self.data], self.seed)


def random_network(space_name: str, number: int, sample: Sample, weights_seed: int) -> Network:
    """The random genome of this number, decoded."""
    space = ConvSpace.from_settings(ConvSpace.presets()[space_name])
    genome = space.random(np.random.default_rng(number))
    return decode(space.plan(genome, sample), torch.Generator().manual_seed(weights_seed))


def cases(space_name: str, number: int) -> list[Case]:
    """``number`` random genomes, each at one kind of images after the other."""
    space = ConvSpace.from_settings(ConvSpace.presets()[space_name])
    found = []
    for seed in range(number):
        for data, sample in SAMPLES.items():
            cost = space.cost(space.random(np.random.default_rng(seed)), sample)
            found.append(Case(space_name, data, seed, cost.flops, cost.params))
    return found


def images(data: str, count: int) -> tuple[RawDataset, DatasetRef, tuple[str, ...]]:
    """Random pixels in the shape of a data set, and its augmentation."""
    sample = SAMPLES[data]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, *sample.shape), dtype=np.uint8)
    y = rng.integers(0, sample.classes, count)
    ref = DatasetRef(0, data, sample, count - 2, 2, 2, 0, None)
    augmentation = registry.load("dataset", data).augmentation
    return RawDataset(x, y, x[:2], y[:2], sample.classes), ref, augmentation


def our_rate(case: Case, settings: Recipe, part: DeviceDataset, device: str) -> float:
    """Images a second of the last epoch of evolver's own training."""
    job = Job(case.network(), settings, part, None, case.seed, 0, "t", "p")
    return len(part) / trainer.train(job, Silent(device)).last.seconds


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a product of two square matrices: what the machine can do at best."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        (a @ b).sum().item()
        times.append(time.perf_counter() - began)
    return 2 * MATRIX**3 / min(times)


def compare(case: Case, batches: int, runs: int, device: torch.device) -> dict[str, Any]:
    """Both sides on one genome, interleaved."""
    settings = recipe.load("paper", {"epochs": 2, "stop_flat": False, "precision": "auto"})
    count = batches * settings.batch_size
    raw, ref, augmentation = images(case.data, count + 2)
    part = prepare(ref, None, raw, device).train.augmented(augmentation).part(0, count)
    dataset = PilDataset(raw.train_x[:count], raw.train_y[:count], augmentation)
    workers = 8 if device.type == "cuda" else 0
    measured = common.interleaved(
        runs,
        [
            ("ours", lambda: our_rate(case, settings, part, str(device))),
            ("peer", lambda: Peer(case.network(), dataset, settings, device, workers).train(2)),
        ],
    )
    dtype = torch.bfloat16 if numerics.uses_bf16(settings, device) else torch.float32
    rate = statistics.median(measured["ours"])
    share = rate * case.flops * FORWARD_AND_BACKWARD / matrix_rate(device, dtype)
    ratio = common.median_of_ratios(measured["ours"], measured["peer"])
    print(
        f"{case.space:5s} {case.data:13s} {case.params / 1e6:7.2f} M params {case.flops / 1e6:8.1f} MFLOP: "
        f"{rate:8.0f} images/s, peer {statistics.median(measured['peer']):8.0f}, "
        f"ratio {ratio:5.2f}, share {share:4.0%}",
        flush=True,
    )
    return {**case.__dict__, "images_per_second": measured, "ratio": ratio, "share": share}


PARTS = {
    "convolution": "convolution",
    "batch norm": "norm",
    "batch norm, folded": "Folded",
    "ReLU": "threshold",
}
"""What an operator's name holds, by the part of a step that it belongs to; _backward included."""


def shares_of_time(case: Case, device: torch.device) -> dict[str, float]:
    """Where evolver's own time goes on a CPU: the share of each part, all threads' operators together."""
    settings = recipe.load("paper", {"epochs": 1, "stop_flat": False, "precision": "auto"})
    count = 20 * settings.batch_size
    raw, ref, augmentation = images(case.data, count + 2)
    part = prepare(ref, None, raw, device).train.augmented(augmentation).part(0, count)
    our_rate(case, settings, part, str(device))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        our_rate(case, settings, part, str(device))
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(times.values())
    return {
        name: sum(time for key, time in times.items() if text in key and "autograd::" not in key) / total
        for name, text in PARTS.items()
    }


def by_slots(quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Evaluations an hour on the GPU, by recipe and number of slots."""
    from training_slots import evaluations_per_hour

    sizes, seconds, numbers = ((4_000, 1_000), 10.0, [1]) if quick else ((40_000, 10_000), 50.0, [1, 2, 4, 8])
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("paper", "fast"):
        settings = recipe.load(name, {"precision": "auto", "stop_flat": False})
        for slots in numbers:
            one = evaluations_per_hour("cuda:0", slots, settings, sizes, seconds)
            found.setdefault(name, []).append(one)
            print(name, one, flush=True)
    return found


def main(args: Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plan = {"small": (3, 10), "paper": (1, 2)} if args.quick else {"small": (20, 20), "paper": (5, 5)}
    runs = 1 if args.quick else 3
    headline: dict[str, float] = {}
    details: dict[str, Any] = {}
    for space, (number, batches) in plan.items():
        found = [compare(case, batches, runs, device) for case in cases(space, number)]
        headline[f"images_ratio_vs_peer_{space}"] = statistics.median(one["ratio"] for one in found)
        headline[f"share_of_matrix_rate_{space}"] = statistics.median(one["share"] for one in found)
        details[space] = found
    if device.type == "cpu":
        rates = {dtype: matrix_rate(device, dtype) for dtype in (torch.bfloat16, torch.float32)}
        headline["matrix_rate_bf16_over_fp32"] = rates[torch.bfloat16] / rates[torch.float32]
        for space in plan:
            details[f"shares_of_time_{space}"] = found = shares_of_time(cases(space, 1)[0], device)
            print(space, ", ".join(f"{part} {share:.0%}" for part, share in found.items()))
    if device.type == "cuda":
        details["slots"] = found = by_slots(args.quick)
        best = max(found["paper"], key=lambda one: one["evaluations_per_hour"])
        headline["evaluations_per_hour"] = best["evaluations_per_hour"]
        headline["gpu_busy_share"] = best["busy"]
    common.report(args, headline, details)


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
