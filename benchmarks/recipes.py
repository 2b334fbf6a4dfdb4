"""The recipe ``fast`` against ``paper``: validation error and seconds, on the same genomes and data.

Random genomes of ``small`` on Fashion-MNIST, each trained once by either recipe from the same initial
weights, measured on the validation part as in a search. Prints the mean of the paired differences with
its 95% interval (Student's t), and the ratio of the times. Errors do not depend on how busy the machine is.
"""

from __future__ import annotations

import statistics
from argparse import Namespace
from dataclasses import dataclass

import common
from parity import DATA, DEVICE, reference
from scipy import stats
from training import Silent, random_network

from evolver import recipe, registry
from evolver.evaluation import DatasetRef
from workers import trainer
from workers.data.base import load
from workers.data.device import DeviceData, prepare
from workers.trainer import Job

RECIPES = ("fast", "paper")


@dataclass(frozen=True)
class Result:
    """``error``: of the last epoch, on the validation part; ``seconds``: of all epochs."""

    error: float
    seconds: float


def trained(number: int, recipe_name: str, epochs: int | None, ref: DatasetRef, data: DeviceData) -> Result:
    settings = recipe.load(recipe_name, {"epochs": epochs} if epochs else {})
    part = data.train.augmented(registry.load("dataset", DATA).augmentation)
    job = Job(
        random_network("small", number, ref.sample, number),
        settings,
        part,
        data.validation,
        number,
        0,
        "t",
        "p",
    )
    found = trainer.train(job, Silent(str(DEVICE)))
    assert found.last.validation_error is not None
    return Result(found.last.validation_error, found.train_s)


def main(args: Namespace) -> None:
    genomes, limit, epochs = (2, 2_500, 1) if args.quick else (6, 12_500, None)
    ref = reference()
    data = prepare(ref, limit, load(ref, args.data_dir, download=False), DEVICE)
    results: dict[str, list[Result]] = {name: [] for name in RECIPES}
    for number in range(genomes):
        for name in RECIPES:
            results[name].append(trained(number, name, epochs, ref, data))
            last = results[name][-1]
            print(f"genome {number}, {name:5s}: error {last.error:.2%}, {last.seconds:.0f} s", flush=True)
    pairs = list(zip(results["fast"], results["paper"], strict=True))
    differences = [fast.error - paper.error for fast, paper in pairs]
    low, high = stats.t.interval(0.95, len(pairs) - 1, statistics.mean(differences), stats.sem(differences))
    ratio = statistics.median(fast.seconds / paper.seconds for fast, paper in pairs)
    mean = statistics.mean(differences)
    print(f"fast less paper: {mean:+.2%}, 95% interval {low:+.2%} to {high:+.2%}; {ratio:.2f} of the time")
    headline = {"error_fast_less_paper": mean, "seconds_fast_over_paper": ratio}
    details = {
        "interval": [low, high],
        "limit": limit,
        "results": {name: [one.__dict__ for one in found] for name, found in results.items()},
    }
    common.report(args, headline, details)


if __name__ == "__main__":
    main(common.options(__doc__ or "", needs_data=True))
