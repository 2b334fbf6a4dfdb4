"""The early end of a training that learns nothing.

NaN and infinite losses are seen by the trainer; here is the loss that stays where it began.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from evolver.errors import Diverged
from evolver.recipe import Recipe
from evolver.space import Json

MIN_STEPS = 100
"""An epoch of fewer steps shows nothing."""
FLAT_EPOCHS = 2
"""So many in a row end a training."""
LOSS_SHARE = 0.01
GAIN = 1e-3
DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Chance:
    """What the best constant answer reaches, the same for every sample.

    ``loss`` is the entropy of the (smoothed) share of each class: ln(classes) where all are equally
    frequent. ``error`` is the share of all classes but the most frequent, and ``error_deviation`` the
    standard deviation of such an error measured on so many samples.
    """

    loss: float
    error: float
    error_deviation: float

    @classmethod
    def of(cls, labels: Tensor, label_smoothing: float) -> Chance:
        """Of labels of shape (N,), int64. Waits for the device."""
        shares = torch.bincount(labels.cpu()).double() / len(labels)
        error = 1.0 - shares.max().item()
        smoothed = (1.0 - label_smoothing) * shares + label_smoothing / len(shares)
        loss = -torch.special.xlogy(smoothed, smoothed).sum().item()
        return cls(loss, error, math.sqrt(error * (1.0 - error) / len(labels)))


class FlatLoss:
    """Ends a training whose loss does not leave chance.

    An epoch is flat when all of these hold: it has at least ``MIN_STEPS`` steps and lies behind the warm-up
    of the learning rate; its training loss is at most ``LOSS_SHARE`` below that of the best constant
    answer; it is less than ``GAIN`` below the loss of the epoch before; and its training error is at
    most ``DEVIATIONS`` standard deviations below that of the best constant answer. The last does
    not hold for a network that fits random labels, ever so slowly. ``FLAT_EPOCHS`` flat epochs in a row
    are the end.
    """

    def __init__(self, recipe: Recipe, labels: Tensor, steps: int) -> None:
        """Of a training on these labels, of shape (N,), in so many steps an epoch."""
        self._previous_loss = math.inf
        self._flat_epochs = 0
        self._chance = Chance.of(labels, recipe.label_smoothing)
        self._is_on = recipe.stop_flat and steps >= MIN_STEPS
        self._warm_up_epochs = (
            math.ceil(recipe.warmup * recipe.epochs) if recipe.schedule == "onecycle" else 0
        )

    def look(self, epoch: int, loss: float, error: float) -> None:
        """Take in the training loss and error of an epoch (from 1). Raises Diverged."""
        chance = self._chance
        is_flat = (
            epoch > self._warm_up_epochs
            and loss > (1.0 - LOSS_SHARE) * chance.loss
            and loss > (1.0 - GAIN) * self._previous_loss
            and error > chance.error - DEVIATIONS * chance.error_deviation
        )
        self._previous_loss = loss
        self._flat_epochs = self._flat_epochs + 1 if is_flat else 0
        if self._is_on and self._flat_epochs >= FLAT_EPOCHS:
            raise Diverged(
                f"the training loss is still at chance in epoch {epoch}: {loss:.4g}, where the same answer "
                f"for every sample gives {chance.loss:.4g} (recipe setting stop_flat)"
            )

    def state(self) -> dict[str, Json]:
        """What the next look depends on, for checkpoints."""
        previous = self._previous_loss if math.isfinite(self._previous_loss) else None
        return {"previous_loss": previous, "flat_epochs": self._flat_epochs}

    def restore(self, state: Mapping[str, Json]) -> None:
        """Take over what ``state`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        previous = state["previous_loss"]
        self._previous_loss = math.inf if previous is None else float(previous)
        self._flat_epochs = int(state["flat_epochs"])
