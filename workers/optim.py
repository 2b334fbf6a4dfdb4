"""From a recipe to an optimiser and the learning rate of each step.

optimizer            the optimiser of a network's parameters.
learning_rate        the learning rate of a step.
set_learning_rate    gives it to the optimiser.
state, restore       the optimiser's state as named tensors, for checkpoints.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from evolver.recipe import Recipe

# Its warm-up and ragged steps are not captured, on purpose.
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")


def optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser.

    Weight decay applies to all parameters, biases and batch norm included, as in MO-ResNet's reference.
    On CUDA the learning rate is a tensor there, since a graph of the step reads it at each replay.
    """
    parameters = list(network.parameters())
    on_cuda = parameters[0].is_cuda
    lr = torch.tensor(recipe.lr, device=parameters[0].device) if on_cuda else recipe.lr
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=lr, weight_decay=recipe.weight_decay, fused=True, capturable=on_cuda
        )
    return torch.optim.SGD(
        parameters,
        lr=lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step ``step`` of 0 … ``steps`` - 1, over all epochs.

    ``cosine`` falls from ``lr`` to 0 (Loshchilov and Hutter, 2017, equation 5, without restarts);
    ``onecycle`` rises linearly to ``lr`` over the share ``warmup`` of the steps, then falls linearly to 0.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    rising = round(recipe.warmup * steps)
    if step < rising:
        return recipe.lr * (step + 1) / rising
    return recipe.lr * (steps - step) / (steps - rising)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all parameters this learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers, as tensors named ``PARAMETER.FIELD`` by the parameter's position."""
    return {
        f"{position}.{field}": value
        for position, fields in optimizer.state_dict()["state"].items()
        for field, value in fields.items()
        if isinstance(value, Tensor)
    }


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Take over what ``state`` gave. Raises ValueError when it belongs to other parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        position, _, field = name.partition(".")
        if not position.isdecimal() or int(position) >= len(parameters):
            raise ValueError(f"the optimiser has no parameter '{position}'")
        parameter = parameters[int(position)]
        if tensor.dim() > 0 and tensor.shape != parameter.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        # Fused optimisers walk the memory of state and parameter side by side: both need one layout.
        kept = torch.empty_like(parameter).copy_(tensor) if tensor.dim() > 0 else tensor
        state.setdefault(int(position), {})[field] = kept
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
