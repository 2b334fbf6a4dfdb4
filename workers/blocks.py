"""The parts of a decoded network as torch modules, for series (N, C, L) and images (N, C, H, W).

One function or class for each part of a ``evolver.genome.plan.NetworkPlan``; ``workers.decoder`` puts
them together. The parameters are left as torch initialises them: the decoder does that at the end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evolver.genome.plan import BlockPlan, ConvPlan, LinearPlan, PoolPlan, SkipPlan
from workers.batch_norm import BatchNorm2d
from workers.memory import recomputed

_CONV = {1: nn.Conv1d, 2: nn.Conv2d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: BatchNorm2d}
_PAD = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d}
_POOL = {
    ("max", 1): nn.MaxPool1d,
    ("max", 2): nn.MaxPool2d,
    ("avg", 1): nn.AvgPool1d,
    ("avg", 2): nn.AvgPool2d,
}


def conv(plan: ConvPlan) -> nn.Sequential:
    """Convolution without bias that keeps the size, batch norm, ReLU.

    An even kernel needs one more zero after the values than before them, which convolution cannot
    pad by itself (``padding="same"`` warns, and copies as well).
    """
    dims, kernel = len(plan.spatial), plan.kernel
    even = kernel % 2 == 0
    padding = [_PAD[dims]((kernel // 2 - 1, kernel // 2) * dims)] if even else []  # type: ignore[arg-type]
    layer = _CONV[dims](
        plan.in_channels, plan.out_channels, kernel, padding=0 if even else kernel // 2, bias=False
    )
    return nn.Sequential(*padding, layer, _BATCH_NORM[dims](plan.out_channels), nn.ReLU(inplace=True))


def pool(plan: PoolPlan) -> nn.Module:
    """Non-overlapping maximum or average; what does not fill a window at the end is left out."""
    module: nn.Module = _POOL[plan.kind, len(plan.spatial)](plan.kernel)
    return module


class Skip(nn.Module):
    """Brings a block's input to the size of its output.

    Takes every ``stride``-th value along each spatial axis; 1×1 convolution without bias, batch norm.
    The convolution's own stride does the former: the gradient of a slice would not be channels-last.
    """

    def __init__(self, plan: SkipPlan) -> None:
        super().__init__()
        dims = len(plan.spatial)
        self.conv = _CONV[dims](plan.in_channels, plan.out_channels, 1, stride=plan.stride, bias=False)
        self.batch_norm = _BATCH_NORM[dims](plan.out_channels)
        self.spatial, self.stride = plan.spatial, plan.stride

    def forward(self, x: Tensor) -> Tensor:
        # An odd size, halved by pooling, is rounded down; every second value of it would be one more.
        taken = [(size - 1) // self.stride + 1 for size in x.shape[2:]]
        excess = [size - wanted for size, wanted in zip(taken, self.spatial, strict=True)]
        if any(excess):
            # Padding by less than nothing: the gradient of a slice would not be channels-last either.
            x = F.pad(x, [end for e in reversed(excess) for end in (0, -self.stride * e)])
        y: Tensor = self.batch_norm(self.conv(x))
        return y


class Block(nn.Module):
    """A residual block: F(x) + skip(x). ``skip`` is the identity where sizes and channels stay.

    With ``recompute``, training keeps x alone and computes the rest again in the backward pass.
    """

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(conv(layer) if isinstance(layer, ConvPlan) else pool(layer) for layer in plan.layers)
        )
        self.skip = nn.Identity() if plan.skip is None else Skip(plan.skip)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        if self.recompute and self.training:
            return recomputed(self, self._residual, x)
        return self._residual(x)

    def _residual(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x) + self.skip(x)
        return y


def recompute(network: nn.Module) -> None:
    """Have each residual block of a network trade time for memory: ``Block.recompute``."""
    for module in network.modules():
        if isinstance(module, Block):
            module.recompute = True


def flatten(x: Tensor) -> Tensor:
    """(N, C, *spatial) to (N, features), channel by channel.

    The gradient is brought into the layout of x: as flattening gives it, channels-first, all layers before
    would pass it on, at twice the time.
    """
    is_channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if x.requires_grad and is_channels_last:
        x.register_hook(_channels_last)  # type: ignore[no-untyped-call]
    return x.flatten(1)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def linear(plan: LinearPlan) -> nn.Sequential:
    """Linear layer; a hidden one goes on with batch norm and ReLU."""
    layer = nn.Linear(plan.in_features, plan.out_features)
    if not plan.batch_norm:
        return nn.Sequential(layer)
    return nn.Sequential(layer, nn.BatchNorm1d(plan.out_features), nn.ReLU(inplace=True))
