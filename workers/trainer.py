"""The training loop of one network, with checkpoints that continue the same curve.

The host waits for the device at the end of an epoch, and at a look for divergence every
``DIVERGENCE_CHECK_STEPS`` steps; what a step does there is in ``workers.step``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from evolver.errors import Diverged, EvaluationFailed, HandedBack, OutOfMemory
from evolver.evaluation import Context, Epoch, Resume
from evolver.recipe import Recipe
from evolver.space import Json
from workers import blocks, checkpoints, numerics, optim
from workers.accuracy import measure
from workers.checkpoint_writer import CheckpointWriter, State
from workers.checkpoints import CheckpointUnusable
from workers.cuda_graph import launcher
from workers.data.device import DeviceDataset
from workers.hopeless import FlatLoss
from workers.memory import Fit, first_line, memory_faults, release
from workers.seeds import Stream, stream, torch_seed
from workers.step import Step

logger = logging.getLogger(__name__)

CHECKPOINT_INTERVAL_S = 30.0
"""The shortest time between two checkpoints at ends of epochs."""
DIVERGENCE_CHECK_STEPS = 50


@dataclass(frozen=True, slots=True)
class Job:
    """One network to train. ``evaluation_id``, ``token`` and ``phenotype`` name its checkpoints."""

    network: nn.Module
    recipe: Recipe
    train: DeviceDataset
    validation: DeviceDataset | None
    seed: int
    evaluation_id: int
    token: str
    phenotype: str
    resume: Resume | None = None

    def identity(self) -> dict[str, Json]:
        """What a checkpoint must agree with to be this job's."""
        return {
            "evaluation_id": self.evaluation_id,
            "phenotype": self.phenotype,
            "recipe_sha256": self.recipe.sha256,
        }


@dataclass(frozen=True, slots=True)
class Trained:
    """The metrics of the last epoch, and the seconds of all epochs over all attempts."""

    last: Epoch
    train_s: float


def train(job: Job, context: Context) -> Trained:
    """Train the job's network in place, on the context's device, and report its epochs.

    Where the memory does not suffice, the training goes on from its last checkpoint, or begins again,
    in a more thrifty way (``workers.memory.Fit``); each epoch's ``extra`` then says which.

    Raises Diverged, OutOfMemory after the last of these ways, EvaluationFailed (batch norm cannot train
    on single samples), or HandedBack after a checkpoint.
    """
    if min(len(job.train), job.recipe.batch_size) < 2:
        raise EvaluationFailed(
            "batch norm needs batches of two samples or more; "
            f"here are {len(job.train)} samples and batch_size {job.recipe.batch_size}"
        )
    device = torch.device(context.device)
    try:
        with numerics.settings(job.recipe):
            return _train_within_memory(job, context, device)
    finally:
        release(device)


def _train_within_memory(job: Job, context: Context, device: torch.device) -> Trained:
    initial = {name: tensor.to("cpu", copy=True) for name, tensor in job.network.state_dict().items()}
    fit = Fit()
    while True:
        try:
            with memory_faults(), CheckpointWriter(context, job.resume) as writer:
                return _Training(job, context, writer, fit).run()
        except OutOfMemory as error:
            thriftier = fit.thriftier(job.recipe.batch_size)
            if thriftier is None:
                raise
            reason = str(error)
        # Only now, when the error and with it the frames of the training are gone, is its memory free.
        fit = thriftier
        logger.warning("evaluation %d is trained again %s: %s", job.evaluation_id, fit, reason)
        job.network.zero_grad(set_to_none=True)
        job.network.load_state_dict(initial)
        release(device)
        job = replace(job, resume=writer.last)


@dataclass(slots=True)
class _Progress:
    """Where training stands: ``step`` steps of epoch ``epoch`` (from 1) are done.

    ``train_s`` is the time of the epochs before.
    """

    epoch: int
    step: int
    epoch_s: float
    train_s: float


class _Training:
    """One try to train: everything that belongs to it goes with it."""

    def __init__(self, job: Job, context: Context, writer: CheckpointWriter, fit: Fit) -> None:
        self._job, self._recipe, self._context, self._writer = job, job.recipe, context, writer
        self._fit = fit
        self._device = torch.device(context.device)
        self._bf16 = numerics.uses_bf16(job.recipe, self._device)
        self._network = job.network.to(self._device)
        self._network.to(memory_format=numerics.memory_format(job.recipe, self._network))
        if fit.recompute:
            blocks.recompute(self._network)
        self._optimizer = optim.optimizer(job.recipe, self._network)
        self._step = Step(self._network, self._optimizer, job.recipe, job.train, self._device, fit)
        self._launch = launcher(self._step, self._device, job.recipe.batch_size)
        count, batch = len(job.train), job.recipe.batch_size
        # A last batch of one sample is left out of its epoch: batch norm has no variance of it.
        self._samples = count - 1 if count % batch == 1 else count
        self._steps = math.ceil(self._samples / batch)
        self._flat_loss = FlatLoss(job.recipe, job.train.y, self._steps)
        self._saved_at = time.monotonic()

    def run(self) -> Trained:
        progress = self._resumed()
        resumed_from = None if progress is None else progress.epoch - 1
        self._context.started(dtype="bf16" if self._bf16 else "fp32", resumed_from_epoch=resumed_from)
        progress = progress or self._beginning(1, train_s=0.0)
        while True:
            last = self._epoch(progress)
            self._context.report_epoch(last)
            train_s = progress.train_s + last.seconds
            if last.number >= self._recipe.epochs:
                return Trained(last, train_s)
            progress = self._beginning(last.number + 1, train_s)
            if time.monotonic() - self._saved_at >= CHECKPOINT_INTERVAL_S:
                self._writer.save(self._state(progress))
                self._saved_at = time.monotonic()

    def _beginning(self, epoch: int, train_s: float) -> _Progress:
        self._step.begin(stream(self._job.seed, Stream.AUGMENTATION, epoch))
        return _Progress(epoch, step=0, epoch_s=0.0, train_s=train_s)

    def _epoch(self, progress: _Progress) -> Epoch:
        """The rest of an epoch, and its validation."""
        began = time.monotonic() - progress.epoch_s
        self._network.train()
        order = np.random.default_rng(stream(self._job.seed, Stream.ORDER, progress.epoch))
        remaining = order.permutation(len(self._job.train))[: self._samples]
        remaining = remaining[progress.step * self._recipe.batch_size :]
        lr = self._recipe.lr
        for x, y in self._job.train.batches(torch.from_numpy(remaining), self._recipe.batch_size):
            if self._context.stop_requested():
                progress.epoch_s = time.monotonic() - began
                self._writer.save_now(self._state(progress))
                raise HandedBack(f"evaluation {self._job.evaluation_id} stops in epoch {progress.epoch}")
            lr = self._set_learning_rate(progress)
            self._launch(x, y)
            progress.step += 1
            if progress.step % DIVERGENCE_CHECK_STEPS == 0:
                self._refuse_divergence("training", self._step.loss.item(), progress.epoch)
        train_loss = self._step.loss.item() / self._samples
        train_error = self._step.errors.item() / self._samples
        self._refuse_divergence("training", train_loss, progress.epoch)
        self._flat_loss.look(progress.epoch, train_loss, train_error)
        validation_loss, validation_error = self._validated(progress.epoch)
        return Epoch(
            number=progress.epoch,
            train_loss=train_loss,
            train_error=train_error,
            validation_loss=validation_loss,
            validation_error=validation_error,
            lr=lr,
            seconds=time.monotonic() - began,
            extra={} if self._fit == Fit() else {"memory": str(self._fit)},
        )

    def _set_learning_rate(self, progress: _Progress) -> float:
        step = (progress.epoch - 1) * self._steps + progress.step
        lr = optim.learning_rate(self._recipe, step, self._recipe.epochs * self._steps)
        optim.set_learning_rate(self._optimizer, lr)
        return lr

    def _validated(self, epoch: int) -> tuple[float, float] | tuple[None, None]:
        if self._job.validation is None:
            return None, None
        loss, error = measure(self._network, self._job.validation, self._device, bf16=self._bf16)
        self._refuse_divergence("validation", loss, epoch)
        return loss, error

    def _refuse_divergence(self, part: str, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"the {part} loss became {loss} in epoch {epoch}")

    def _state(self, progress: _Progress) -> State:
        """What a checkpoint holds: all that the rest of the curve depends on."""
        network = {f"network.{name}": tensor for name, tensor in self._network.state_dict().items()}
        optimizer = {f"optimizer.{name}": tensor for name, tensor in optim.state(self._optimizer).items()}
        meta = {
            **self._job.identity(),
            "device_type": self._device.type,
            "epoch": progress.epoch,
            "step": progress.step,
            "epoch_s": progress.epoch_s,
            "train_s": progress.train_s,
            "flat_loss": self._flat_loss.state(),
        }
        completed = progress.epoch - 1
        key = checkpoints.resume_key(self._job.evaluation_id, self._job.token, completed, progress.step)
        return State(key, completed, {**network, **optimizer, **self._step.state()}, meta)

    def _resumed(self) -> _Progress | None:
        """Take up the job's checkpoint; None where there is none that can be used."""
        resume = self._job.resume
        if resume is None:
            return None
        base = self._context.checkpoint_url
        try:
            tensors, meta = checkpoints.load(base, resume.key, resume.sha256)
            return self._restored(resume.key, tensors, meta)
        except CheckpointUnusable as error:
            logger.warning("evaluation %d starts over: %s", self._job.evaluation_id, error)
            with suppress(CheckpointUnusable):  # its key was tampered with: there is no file of that name
                checkpoints.set_aside(base, resume.key)
            return None

    def _restored(self, key: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Json]) -> _Progress:
        """Weights, optimiser and progress of a checkpoint.

        Raises CheckpointUnusable; what was changed by then is what the first epoch sets anew.
        """
        for name, expected in self._job.identity().items():
            if meta.get(name) != expected:
                raise CheckpointUnusable(key, f"its {name} is {meta.get(name)!r}, not {expected!r}")
        try:
            progress = self._beginning(int(meta["epoch"]), float(meta["train_s"]))
            progress = replace(progress, step=int(meta["step"]), epoch_s=float(meta["epoch_s"]))
            is_same = meta["device_type"] == self._device.type
            self._step.restore(tensors, same_device_type=is_same)
            if not is_same:
                # Generators of different devices draw differently: the curve goes on, with other draws.
                seed = stream(self._job.seed, Stream.AUGMENTATION, progress.epoch, progress.step)
                self._step.augmentation.manual_seed(torch_seed(seed))
            flat_loss = copy(self._flat_loss)
            flat_loss.restore(meta["flat_loss"])
            network = _below("network.", tensors)
            _refuse_other_shapes(self._network.state_dict(), network)
            optim.restore(self._optimizer, _below("optimizer.", tensors))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointUnusable(key, f"it is not complete: {first_line(error)}") from error
        self._network.load_state_dict(network)
        self._flat_loss = flat_loss
        return progress


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _refuse_other_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    if shapes != {name: tensor.shape for name, tensor in found.items()}:
        raise ValueError("its weights have other names or shapes than the network")
