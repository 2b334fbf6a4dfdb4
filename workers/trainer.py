"""The training loop of one network, with checkpoints that continue the same curve.

The training part lies on the device. Everything random is drawn from generators that the evaluation's
seed, the purpose of the draw and the epoch number seed (``stream``), so that an interrupted epoch can
be taken up in its middle. Sums of loss and errors stay on the device: the host waits for it at the
end of an epoch, and at a look for divergence every ``DIVERGENCE_CHECK_STEPS`` steps.

train           trains a network, from its beginning or from a checkpoint.
measure         loss and error of a network on one part of the data.
uses_bf16       whether a recipe trains in bf16 on a device.
memory_faults   turns the device's and the host's lack of memory into OutOfMemory.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evolver.errors import Diverged, EvaluationFailed, HandedBack, OutOfMemory
from evolver.evaluation import Context, Epoch, Resume, SavedCheckpoint
from evolver.recipe import Recipe
from evolver.space import Json
from workers import checkpoints, devices, optim
from workers.checkpoints import CheckpointUnusable
from workers.data.device import DeviceDataset

logger = logging.getLogger(__name__)

CHECKPOINT_INTERVAL_S = 30.0
"""The shortest time between two checkpoints at ends of epochs."""
DIVERGENCE_CHECK_STEPS = 50
MEASURE_BATCH = 512
"""Samples in a batch without gradients: large, yet no more memory than training in batches of 64 takes."""

# cuBLAS reads it once, at its first use in the process; without it, deterministic recipes are refused.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


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

    Raises Diverged, OutOfMemory, EvaluationFailed (batch norm cannot train on single samples), or
    HandedBack after a checkpoint.
    """
    if min(len(job.train), job.recipe.batch_size) < 2:
        raise EvaluationFailed(
            "batch norm needs batches of two samples or more; "
            f"here are {len(job.train)} samples and batch_size {job.recipe.batch_size}"
        )
    with memory_faults(), _determinism(job.recipe.deterministic):
        return _Training(job, context).run()


def measure(
    network: nn.Module, part: DeviceDataset, device: torch.device, *, bf16: bool
) -> tuple[float, float]:
    """Mean cross entropy (without smoothing) and share of errors, in evaluation mode."""
    network.eval()
    loss = torch.zeros((), device=device)
    errors = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for indices in torch.split(torch.arange(len(part), device=device), MEASURE_BATCH):
            x, y = part.batch(indices)
            with _autocast(device, bf16):
                logits = network(x)
            loss += F.cross_entropy(logits.float(), y, reduction="sum")
            errors += (logits.argmax(1) != y).sum()
    return loss.item() / len(part), errors.item() / len(part)


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether the recipe trains in bf16 autocast on this device: where the hardware computes in bf16."""
    if recipe.precision != "auto":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and devices.cpu_flags_bf16()


@contextmanager
def memory_faults() -> Iterator[None]:
    """Raise OutOfMemory where the device or the host has no memory left."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(_first_line(error)) from error
    except RuntimeError as error:
        # The CPU's and MPS's allocators, cuDNN and cuBLAS have no error type of their own.
        texts = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
        if any(text in str(error) for text in texts):
            raise OutOfMemory(_first_line(error)) from error
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Stream(IntEnum):
    """What random numbers are drawn for; each purpose has its own generators."""

    WEIGHTS = 0
    ORDER = 1
    AUGMENTATION = 2


def stream(seed: int, purpose: Stream, *position: int) -> np.random.SeedSequence:
    """The seed of a purpose at a position (epoch, step) of an evaluation's training."""
    return np.random.SeedSequence((seed, purpose, *position))


def torch_generator(seed: np.random.SeedSequence, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on a device, from a seed sequence."""
    return torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))


@dataclass(slots=True)
class _Progress:
    """Where training stands: ``step`` steps of epoch ``epoch`` (from 1) are done.

    ``loss`` and ``errors`` are sums over the samples of the epoch so far; ``train_s`` is the time of
    the epochs before.
    """

    epoch: int
    step: int
    loss: Tensor
    errors: Tensor
    augmentation: torch.Generator
    epoch_s: float
    train_s: float


class _Training:
    """The state of one call of ``train``."""

    def __init__(self, job: Job, context: Context) -> None:
        self._job, self._recipe, self._context = job, job.recipe, context
        self._device = torch.device(context.device)
        self._bf16 = uses_bf16(job.recipe, self._device)
        self._network = job.network.to(self._device)
        self._format = torch.contiguous_format
        if job.recipe.channels_last and any(p.dim() == 4 for p in self._network.parameters()):
            self._format = torch.channels_last
            self._network.to(memory_format=torch.channels_last)
        self._optimizer = optim.optimizer(job.recipe, self._network)
        count, batch = len(job.train), job.recipe.batch_size
        # A last batch of one sample is left out of its epoch: batch norm has no variance of it.
        self._samples = count - 1 if count % batch == 1 else count
        self._steps = math.ceil(self._samples / batch)
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
                self._save(progress)

    def _beginning(self, epoch: int, train_s: float) -> _Progress:
        return _Progress(
            epoch=epoch,
            step=0,
            loss=torch.zeros((), device=self._device),
            errors=torch.zeros((), dtype=torch.int64, device=self._device),
            augmentation=torch_generator(stream(self._job.seed, Stream.AUGMENTATION, epoch), self._device),
            epoch_s=0.0,
            train_s=train_s,
        )

    def _epoch(self, progress: _Progress) -> Epoch:
        """The rest of an epoch, and its validation."""
        began = time.monotonic() - progress.epoch_s
        self._network.train()
        order = np.random.default_rng(stream(self._job.seed, Stream.ORDER, progress.epoch))
        indices = torch.from_numpy(order.permutation(len(self._job.train))[: self._samples]).to(self._device)
        batches = torch.split(indices, self._recipe.batch_size)
        lr = self._recipe.lr
        while progress.step < self._steps:
            if self._context.stop_requested():
                progress.epoch_s = time.monotonic() - began
                self._save(progress)
                raise HandedBack(f"evaluation {self._job.evaluation_id} stops in epoch {progress.epoch}")
            lr = self._step(progress, batches[progress.step])
            if progress.step % DIVERGENCE_CHECK_STEPS == 0:
                self._refuse_divergence("training", progress.loss.item(), progress.epoch)
        train_loss = progress.loss.item() / self._samples
        self._refuse_divergence("training", train_loss, progress.epoch)
        validation_loss, validation_error = self._validated(progress.epoch)
        return Epoch(
            number=progress.epoch,
            train_loss=train_loss,
            train_error=progress.errors.item() / self._samples,
            validation_loss=validation_loss,
            validation_error=validation_error,
            lr=lr,
            seconds=time.monotonic() - began,
        )

    def _step(self, progress: _Progress, indices: Tensor) -> float:
        """One step of the optimiser; adds to the sums of the epoch, without waiting for the device."""
        step = (progress.epoch - 1) * self._steps + progress.step
        lr = optim.learning_rate(self._recipe, step, self._recipe.epochs * self._steps)
        optim.set_learning_rate(self._optimizer, lr)
        x, y = self._job.train.batch(indices, progress.augmentation)
        with _autocast(self._device, self._bf16):
            logits = self._network(x.contiguous(memory_format=self._format))
        loss = F.cross_entropy(logits.float(), y, label_smoothing=self._recipe.label_smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        progress.loss += loss.detach() * len(indices)
        progress.errors += (logits.detach().argmax(1) != y).sum()
        progress.step += 1
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

    def _save(self, progress: _Progress) -> None:
        """Write a resume checkpoint: all that the rest of the curve depends on."""
        network = {f"network.{name}": tensor for name, tensor in self._network.state_dict().items()}
        optimizer = {f"optimizer.{name}": tensor for name, tensor in optim.state(self._optimizer).items()}
        tensors = {
            **network,
            **optimizer,
            "sum.loss": progress.loss,
            "sum.errors": progress.errors,
            "augmentation": progress.augmentation.get_state(),
        }
        meta = {
            **self._job.identity(),
            "device_type": self._device.type,
            "epoch": progress.epoch,
            "step": progress.step,
            "epoch_s": progress.epoch_s,
            "train_s": progress.train_s,
        }
        completed = progress.epoch - 1
        key = checkpoints.resume_key(self._job.evaluation_id, self._job.token, completed, progress.step)
        written = checkpoints.save(self._context.checkpoint_url, key, tensors, meta)
        self._saved_at = time.monotonic()
        self._context.report_checkpoint(
            SavedCheckpoint("resume", completed, written.key, written.sha256, written.bytes)
        )

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
        """Weights, optimiser and progress of a checkpoint. Raises CheckpointUnusable, nothing changed."""
        for name, expected in self._job.identity().items():
            if meta.get(name) != expected:
                raise CheckpointUnusable(key, f"its {name} is {meta.get(name)!r}, not {expected!r}")
        try:
            progress = self._beginning(int(meta["epoch"]), float(meta["train_s"]))
            progress = replace(
                progress,
                step=int(meta["step"]),
                epoch_s=float(meta["epoch_s"]),
                loss=tensors["sum.loss"].to(self._device),
                errors=tensors["sum.errors"].to(self._device),
            )
            if meta["device_type"] == self._device.type:
                progress.augmentation.set_state(tensors["augmentation"].cpu())
            else:  # generators of different devices draw differently: the curve goes on, with other draws
                seed = stream(self._job.seed, Stream.AUGMENTATION, progress.epoch, progress.step)
                progress.augmentation = torch_generator(seed, self._device)
            network = _below("network.", tensors)
            _refuse_other_shapes(self._network.state_dict(), network)
            optim.restore(self._optimizer, _below("optimizer.", tensors))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointUnusable(key, f"it is not complete: {_first_line(error)}") from error
        self._network.load_state_dict(network)
        return progress


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _refuse_other_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    if shapes != {name: tensor.shape for name, tensor in found.items()}:
        raise ValueError("its weights have other names or shapes than the network")


def _autocast(device: torch.device, bf16: bool) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms inside, if wanted; torch's settings are put back afterwards."""
    if not wanted:
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]
