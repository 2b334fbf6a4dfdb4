"""The parts of a decoded network as torch modules, for series (N, C, L) and images (N, C, H, W).

One function or class for each part of a ``evolver.genome.plan.NetworkPlan``; ``workers.decoder`` puts
them together. The parameters are left as torch initialises them: the decoder does that at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evolver.genome.plan import BlockPlan, ConvPlan, LinearPlan, PoolPlan, SkipPlan
from evolver.genome.transfer import windows
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
    """Convolution without bias that keeps the size (but for its stride), batch norm, ReLU.

    An even kernel needs one more zero after the values than before them, which convolution cannot
    pad by itself (``padding="same"`` warns, and copies as well).
    """
    dims, kernel = len(plan.spatial), plan.kernel
    even = kernel % 2 == 0
    padding = [_PAD[dims]((kernel // 2 - 1, kernel // 2) * dims)] if even else []  # type: ignore[arg-type]
    layer = _CONV[dims](
        plan.in_channels, plan.out_channels, kernel, plan.stride, 0 if even else kernel // 2, bias=False
    )
    return nn.Sequential(*padding, layer, _BATCH_NORM[dims](plan.out_channels), nn.ReLU(inplace=True))


def pool(plan: PoolPlan) -> nn.Module:
    """Non-overlapping maximum or average; what does not fill a window at the end is left out."""
    module: nn.Module = _POOL[plan.kind, len(plan.spatial)](plan.kernel)
    return module


class Resize(nn.Module):
    """Brings samples (N, C, *spatial) to another size: means of whole windows, then linear interpolation.

    Without the windows, a sample that is more than halved would lose the values between those that
    interpolation looks at. (``AdaptiveAvgPool`` does the same at once, but not on Apple's GPUs.)
    """

    def __init__(self, spatial: tuple[int, ...], to: tuple[int, ...]) -> None:
        super().__init__()
        self.to_size = to
        self.mode = "linear" if len(to) == 1 else "bilinear"
        window = windows(spatial, to)
        self.means = _POOL["avg", len(to)](window) if max(window) > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.means(x)
        return functional.interpolate(y, self.to_size, mode=self.mode, align_corners=False)


class _Window(torch.autograd.Function):
    """``x[window]``, whose gradient has the layout of x.

    That of a slice is channels-first, and all layers before would pass it on, with slower kernels. A
    convolution with a stride would keep the layout as well, but it looks at all values.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[slice, ...]) -> Tensor:
        ctx.window, ctx.shape, ctx.format = window, x.shape, _format(x)
        return x[window].contiguous(memory_format=ctx.format)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        of_x = torch.empty(
            ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.format
        ).zero_()
        of_x[ctx.window] = gradient
        return of_x, None


class Skip(nn.Module):
    """Brings a block's input to the size of its output.

    Takes every ``stride``-th value along each spatial axis; 1×1 convolution without bias, batch norm.
    """

    def __init__(self, plan: SkipPlan) -> None:
        super().__init__()
        dims = len(plan.spatial)
        self.conv = _CONV[dims](plan.in_channels, plan.out_channels, 1, bias=False)
        self.batch_norm = _BATCH_NORM[dims](plan.out_channels)
        # An odd size, halved by pooling, is rounded down; every second value of it would be one more.
        window = [slice(0, plan.stride * size, plan.stride) for size in plan.spatial]
        self.window: tuple[slice, ...] = (slice(None), slice(None), *window)

    def forward(self, x: Tensor) -> Tensor:
        taken = _Window.apply(x, self.window) if self.training and x.requires_grad else x[self.window]
        y: Tensor = self.batch_norm(self.conv(taken))
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
    """(N, C, *spatial) to (N, features), channel by channel; the gradient gets the layout of x as well."""
    if x.requires_grad:
        layout = _format(x)
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))  # type: ignore[no-untyped-call]
    return x.flatten(1)


def _format(x: Tensor) -> torch.memory_format:
    is_channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format


def linear(plan: LinearPlan) -> nn.Sequential:
    """Linear layer; a hidden one goes on with batch norm and ReLU."""
    layer = nn.Linear(plan.in_features, plan.out_features)
    if not plan.batch_norm:
        return nn.Sequential(layer)
    return nn.Sequential(layer, nn.BatchNorm1d(plan.out_features), nn.ReLU(inplace=True))
