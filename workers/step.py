"""One training step: all that happens on the device between two batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evolver.recipe import Recipe
from workers.data.device import DeviceDataset
from workers.memory import Fit
from workers.numerics import autocast, memory_format, uses_bf16
from workers.seeds import torch_seed


class Step:
    """A training step, as a function of a raw batch.

    It reads and writes tensors that stay where they are, and never waits for the device, so that a
    CUDA graph can repeat it. Loss and errors are summed over the samples of an epoch, in ``loss``
    (float32) and ``errors`` (int64), both of shape ().
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        data: DeviceDataset,
        device: torch.device,
        fit: Fit,
    ) -> None:
        self.loss = torch.zeros((), device=device)
        self.errors = torch.zeros((), dtype=torch.int64, device=device)
        self.augmentation = torch.Generator(device)
        self._network, self._optimizer, self._recipe, self._data = network, optimizer, recipe, data
        self._device, self._fit = device, fit
        self._bf16 = uses_bf16(recipe, device)
        self._format = memory_format(recipe, network)

    def begin(self, seed: np.random.SeedSequence) -> None:
        """Begin an epoch: sums of zero, and the augmentation from this seed on."""
        self.loss.zero_()
        self.errors.zero_()
        self.augmentation.manual_seed(torch_seed(seed))

    def __call__(self, x: Tensor, y: Tensor) -> None:
        """Augment, normalise, forward, backward, and one step of the optimiser.

        x, as ``DeviceDataset.batches`` gives it, may be changed; y has shape (B,).
        """
        x = self._data.normalised(x, self.augmentation).contiguous(memory_format=self._format)
        self._optimizer.zero_grad(set_to_none=True)
        for x_part, y_part in zip(self._fit.split(x), self._fit.split(y), strict=True):
            self._backward(x_part, y_part, share=len(y_part) / len(y))
        self._optimizer.step()

    def _backward(self, x: Tensor, y: Tensor, share: float) -> None:
        """Add the gradients of a micro-batch, which is ``share`` of its batch."""
        with autocast(self._device, self._bf16):
            logits = self._network(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=self._recipe.label_smoothing)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        self.loss += loss.detach() * len(y)
        self.errors += (logits.detach().argmax(1) != y).sum()

    def state(self) -> dict[str, Tensor]:
        """What the rest of an epoch depends on, by name, for checkpoints."""
        return {
            "sum.loss": self.loss,
            "sum.errors": self.errors,
            "augmentation": self.augmentation.get_state(),
        }

    def restore(self, tensors: Mapping[str, Tensor], *, same_device_type: bool) -> None:
        """Take over what ``state`` gave. Raises KeyError or RuntimeError when that is not complete.

        The generator of another type of device is of no use here, and is left as it is.
        """
        self.loss.copy_(tensors["sum.loss"])
        self.errors.copy_(tensors["sum.errors"])
        if same_device_type:
            self.augmentation.set_state(tensors["augmentation"])
