"""Whether ``torch.compile`` pays within one evaluation: its compile time against what it saves.

Random genomes of ``small``, each trained as it is and compiled; both through evolver's step. Break-even
is how many images must be trained before the compiled network is ahead; an evaluation of 10 epochs of
40,000 images trains 400,000. Needs a C++ compiler.
"""

from __future__ import annotations

import math
import statistics
import time
from argparse import Namespace
from typing import Any

import common
import torch
from torch import nn
from training import Case, cases, images

from evolver import recipe
from evolver.recipe import Recipe
from workers import numerics, optim
from workers.data.device import DeviceDataset, prepare
from workers.memory import Fit
from workers.step import Step

EVALUATION = 400_000
"""Images of one evaluation in the paper."""


def seconds(step: Step, part: DeviceDataset, batch: int) -> list[float]:
    """The time of each step over the data, in order."""
    times = []
    for x, y in part.batches(torch.arange(len(part)), batch):
        began = time.perf_counter()
        step(x, y)
        step.loss.item()
        times.append(time.perf_counter() - began)
    return times


def run(network: nn.Module, settings: Recipe, part: DeviceDataset, *, compiled: bool) -> tuple[float, float]:
    """Seconds of the first step beyond those of a later one, and images a second after it."""
    device = part.x.device
    network.to(device).to(memory_format=numerics.memory_format(settings, network))
    optimizer = optim.optimizer(settings, network)
    trained = torch.compile(network) if compiled else network
    step = Step(trained, optimizer, settings, part, device, Fit())
    times = seconds(step, part, settings.batch_size)
    later = statistics.median(times[3:])
    return sum(times[:3]) - 3 * later, settings.batch_size / later


def compare(case: Case, batches: int) -> dict[str, Any]:
    """A genome as it is and compiled."""
    settings = recipe.load("paper", {"precision": "auto"})
    count = batches * settings.batch_size
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    raw, ref, augmentation = images(case.data, count + 2)
    part = prepare(ref, None, raw, device).train.augmented(augmentation).part(0, count)
    torch._dynamo.reset()
    with numerics.settings(settings):
        first, plain_rate = run(case.network(), settings, part, compiled=False)
        compile_s, rate = run(case.network(), settings, part, compiled=True)
    saved = 1 / plain_rate - 1 / rate
    break_even = (compile_s - first) / saved if saved > 0 else math.inf
    print(
        f"{case.space:5s} {case.data:13s} {case.flops / 1e6:8.1f} MFLOP: {plain_rate:6.0f} images/s, "
        f"compiled {rate:6.0f} after {compile_s:.0f} s, even after {break_even:.0f} images",
        flush=True,
    )
    return {
        **case.__dict__,
        "images_per_second": plain_rate,
        "compiled": rate,
        "compile_s": compile_s,
        "break_even": break_even if math.isfinite(break_even) else None,
    }


def main(args: Namespace) -> None:
    found = [compare(case, 20) for case in cases("small", 1 if args.quick else 5)]
    headline = {
        "compiled_over_eager": statistics.median(one["compiled"] / one["images_per_second"] for one in found),
        "compile_s": statistics.median(one["compile_s"] for one in found),
        "share_that_pays_in_an_evaluation": sum(
            one["break_even"] is not None and one["break_even"] < EVALUATION for one in found
        )
        / len(found),
    }
    common.report(args, headline, {"cases": found})


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
