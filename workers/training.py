"""The evaluator ``train``: decode a genome, train its network, measure it on held-out data.

A search trains on the training part and measures on the validation part. A retraining trains on both
and looks at the test part once, after its last epoch; nowhere else are test data read. A transfer is a
retraining on other data, of a network that is adapted to them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from evolver import objectives
from evolver.datasets import parse_argument
from evolver.errors import Diverged, EnvironmentFault, OutOfMemory
from evolver.evaluation import Context, DatasetRef, Outcome, SavedCheckpoint, Task
from evolver.recipe import Recipe
from evolver.space import Json
from workers import accuracy, checkpoints, measuring, numerics, trainer
from workers.data.base import RawDataset, fingerprint, load
from workers.data.device import DeviceData, prepare
from workers.decoder import Network, decode
from workers.individual import Individual, individual_of, plan_of, recipe_of
from workers.inheritance import inherit
from workers.memory import memory_faults
from workers.seeds import Stream, stream, torch_generator
from workers.trainer import Job

MEASURED_ALWAYS = frozenset({"validation_error", "validation_loss", "params", "flops", "train_s"})
"""In a search, whatever its objectives."""

# Data sets are loaded once in a process, and hashed once.
_fingerprint = lru_cache(maxsize=2)(fingerprint)


class TrainEvaluator:
    """Implements ``evolver.evaluation.Evaluator`` for spaces that have ``plan(genome, sample)``."""

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        """The sha256 of the data set as it is on this machine. Raises EnvironmentFault when it is not."""
        return _fingerprint(_raw(dataset, context))

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        """Look whether these can be measured on this device. Raises EnvironmentFault when one cannot."""
        measuring.require(set(measures) - MEASURED_ALWAYS, _device(context.device), context.device_slots)

    def evaluate(self, task: Task, context: Context) -> Outcome:
        """Train, and measure validation (search, repeat) or test data (retrain, transfer).

        What the objectives ask for beside is measured in a search or repeat only.

        Raises InvalidCode, Diverged, OutOfMemory, EvaluationFailed, EnvironmentFault, or HandedBack
        after a checkpoint.
        """
        individual, recipe = individual_of(task), recipe_of(task)
        device = _device(context.device)
        tests = task.purpose in ("retrain", "transfer")
        measures = frozenset() if tests else objectives.measures(objectives.load(task.objectives))
        self.check_measures(measures, context)
        data = self._data(task, context, device)
        with memory_faults():
            run = _Run(task, individual, recipe, _network(task, individual, context), data)
            measured = run.retrain(context) if tests else run.search(context, measures)
        return Outcome(
            {**measured, "params": float(individual.cost.params), "flops": float(individual.cost.flops)}
        )

    def _data(self, task: Task, context: Context, device: torch.device) -> DeviceData:
        raw = _raw(task.dataset, context)
        expected = task.dataset.sha256
        if expected is not None and expected != _fingerprint(raw):
            raise EnvironmentFault(
                f"dataset '{task.dataset.name}' in {context.data_dir} is not the experiment's: its sha256 is "
                f"{_fingerprint(raw)[:12]}…, not {expected[:12]}…"
            )
        try:
            with memory_faults():
                return prepare(task.dataset, task.limit_train, raw, device)
        except OutOfMemory as error:
            raise EnvironmentFault(
                f"dataset '{task.dataset.name}' does not fit into the memory of {device}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class _Run:
    """One evaluation, with all that it needs."""

    task: Task
    individual: Individual
    recipe: Recipe
    network: Network
    data: DeviceData

    def search(self, context: Context, measures: Collection[str]) -> dict[str, float]:
        """Train on the training part; the validation values of the last epoch are the result.

        Of ``measures``, what belongs to the device is measured as well.
        """
        device = self.data.device
        meter = measuring.Meter(measures, device)
        trained = trainer.train(self._job(retraining=False), context)
        loss, error = trained.last.validation_loss, trained.last.validation_error
        assert loss is not None
        assert error is not None
        measured = {"validation_loss": loss, "validation_error": error, "train_s": trained.train_s}
        measured |= meter.read(trained.train_s)
        bf16 = numerics.uses_bf16(self.recipe, device)
        with numerics.settings(self.recipe):
            measured |= measuring.latencies(measures, self.network, self.data.validation, device, bf16=bf16)
        return measured

    def retrain(self, context: Context) -> dict[str, float]:
        """Train on training and validation part, measure on the test part, save the weights."""
        trained = trainer.train(self._job(retraining=True), context)
        device = self.data.device
        bf16 = numerics.uses_bf16(self.recipe, device)
        with numerics.settings(self.recipe):
            loss, error = accuracy.measure(self.network, self.data.test, device, bf16=bf16)
        if not math.isfinite(loss):
            raise Diverged(f"the test loss became {loss} after epoch {trained.last.number}")
        self._save_weights(context)
        return {"test_loss": loss, "test_error": error, "train_s": trained.train_s}

    def _job(self, *, retraining: bool) -> Job:
        train = self.data.train_and_validation if retraining else self.data.train
        return Job(
            network=self.network,
            recipe=self.recipe,
            train=train.augmented(_augmentation(self.task.dataset, self.recipe)),
            validation=None if retraining else self.data.validation,
            seed=self.task.seed,
            evaluation_id=self.task.evaluation_id,
            token=self.task.token,
            phenotype=self.individual.phenotype,
            resume=self.task.resume,
        )

    def _save_weights(self, context: Context) -> None:
        key = checkpoints.weights_key(self.task.evaluation_id, self.task.token)
        weights = self.network.state_dict()
        written = checkpoints.save(context.checkpoint_url, key, weights, self._description())
        context.report_checkpoint(
            SavedCheckpoint("weights", self.recipe.epochs, written.key, written.sha256, written.bytes)
        )

    def _description(self) -> Mapping[str, Json]:
        """All that is needed to rebuild the network and to feed it, beside its weights.

        ``mean`` and ``std`` of raw values have one entry for each channel. With a ``source_sample``, the
        network is that of the code for this sample, adapted (``evolver.genome.transfer``) to the data set's.
        """
        part = self.data.train_and_validation
        return {
            "evaluation_id": self.task.evaluation_id,
            "genome_id": self.task.genome_id,
            "phenotype": self.individual.phenotype,
            "space": self.task.space,
            "space_settings": dict(self.task.space_settings),
            "code": self.task.code,
            "dataset": self.task.dataset.to_json(),
            "source_sample": self.task.origin.sample.to_json() if self.task.origin else None,
            "recipe": self.recipe.to_json(),
            "mean": _by_channel(part.mean),
            "std": _by_channel(part.std),
        }


def _raw(dataset: DatasetRef, context: Context) -> RawDataset:
    """The data set as it is on this machine: one copy, from before its hash was registered and after."""
    return load(replace(dataset, sha256=None), context.data_dir, context.download)


def _by_channel(constants: Tensor) -> list[float]:
    """Normalisation constants of shape (H, W, C) or (L, C), the same at every position, as C values."""
    values: list[float] = constants.flatten(0, -2)[0].tolist()
    return values


def _network(task: Task, individual: Individual, context: Context) -> Network:
    """The decoded network; its initial weights follow from the task's seed, and from those of its origin."""
    generator = torch_generator(stream(task.seed, Stream.WEIGHTS))
    plan = plan_of(task, individual.space, individual.genome)
    network = decode(plan, generator)
    # Also where the training is resumed: it begins again when its checkpoint turns out to be unusable.
    if task.origin and task.origin.weights:
        inherit(network, plan, task, individual, context.checkpoint_url)
    return network


def _augmentation(dataset: DatasetRef, recipe: Recipe) -> tuple[str, ...]:
    if recipe.augmentation == "none":
        return ()
    spec, _ = parse_argument(dataset.name)
    return spec.augmentation


def _device(name: str) -> torch.device:
    """The torch device, after a try. Raises EnvironmentFault when torch cannot use it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = str(error).strip().splitlines()[0]
        raise EnvironmentFault(f"torch {torch.__version__} cannot use the device {name}: {reason}") from error
    return device
