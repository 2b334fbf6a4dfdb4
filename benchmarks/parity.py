"""Accuracy parity: the same genome, data and recipe, trained by evolver and by the peer.

One genome of ``small`` on Fashion-MNIST, with as many seeds on both sides. The peer is that of
``training.py``; initial weights are the same for the same seed, orders and augmentations are each side's
own. The test error of both is measured by the same code. Prints the difference of the means with its 95%
interval (Welch).
"""

from __future__ import annotations

import statistics
from argparse import Namespace

import common
import numpy as np
import torch
from scipy import stats
from training import Silent, random_network
from training_peer import Peer, PilDataset

from evolver import recipe, registry
from evolver.datasets.files import RawDataset
from evolver.evaluation import DatasetRef
from evolver.recipe import Recipe
from workers import accuracy, trainer
from workers.data.base import load
from workers.data.device import prepare
from workers.decoder import Network
from workers.numerics import uses_bf16
from workers.trainer import Job

DATA = "fashion-mnist"
GENOME = 2
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def network(seed: int, ref: DatasetRef) -> Network:
    return random_network("small", GENOME, ref.sample, seed)


def reference() -> DatasetRef:
    """Fashion-MNIST as a search splits it."""
    sample = registry.load("dataset", DATA).info.sample
    return DatasetRef(0, DATA, sample, 48_000, 12_000, 10_000, 0, None)


def error_of(trained: Network, settings: Recipe, ref: DatasetRef, raw: RawDataset, limit: int) -> float:
    """The share of errors on the test part."""
    test = prepare(ref, limit, raw, DEVICE).test
    return accuracy.measure(trained.to(DEVICE), test, DEVICE, bf16=uses_bf16(settings, DEVICE))[1]


def ours(seed: int, settings: Recipe, ref: DatasetRef, raw: RawDataset, limit: int) -> float:
    """The test error after evolver's training."""
    made = network(seed, ref)
    augmentation = registry.load("dataset", DATA).augmentation
    part = prepare(ref, limit, raw, DEVICE).train.augmented(augmentation)
    trainer.train(Job(made, settings, part, None, seed, 0, "t", "p"), Silent(str(DEVICE)))
    return error_of(made, settings, ref, raw, limit)


def theirs(seed: int, settings: Recipe, ref: DatasetRef, raw: RawDataset, limit: int) -> float:
    """The test error after the peer's training, on the same samples."""
    made = network(seed, ref)
    torch.manual_seed(seed)
    part = prepare(ref, limit, raw, torch.device("cpu")).train
    x = np.ascontiguousarray(part.x.numpy().transpose(0, 3, 1, 2))
    dataset = PilDataset(x, part.y.numpy(), registry.load("dataset", DATA).augmentation)
    Peer(made, dataset, settings, DEVICE).train(settings.epochs)
    return error_of(made, settings, ref, raw, limit)


def main(args: Namespace) -> None:
    seeds, limit, epochs = (2, 2_500, 1) if args.quick else (5, 25_000, 5)
    settings = recipe.load("paper", {"epochs": epochs, "precision": "auto"})
    ref = reference()
    raw = load(ref, args.data_dir, download=False)
    sides = [("ours", ours), ("peer", theirs)]
    errors: dict[str, list[float]] = {name: [] for name, _ in sides}
    for seed in range(seeds):
        for name, side in sides:
            errors[name].append(side(seed, settings, ref, raw, limit))
            print(f"seed {seed}, {name}: test error {errors[name][-1]:.2%}", flush=True)
    difference = statistics.mean(errors["ours"]) - statistics.mean(errors["peer"])
    interval = stats.ttest_ind(errors["ours"], errors["peer"], equal_var=False).confidence_interval(0.95)
    print(
        f"difference of the means {difference:+.2%}, 95% interval {interval.low:+.2%} to {interval.high:+.2%}"
    )
    headline = {"error_ours_less_peer": difference}
    details = {"errors": errors, "interval": [interval.low, interval.high], "epochs": epochs, "limit": limit}
    common.report(args, headline, details)


if __name__ == "__main__":
    main(common.options(__doc__ or "", needs_data=True))
