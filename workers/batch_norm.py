"""Batch normalisation of images on the CPU, for numbers of channels that are no multiple of a vector.

Channels-last, torch's kernel takes an image's pixel, a row of C values, at a time. What of a row does not
fill a vector register is computed value by value, so that 13 channels take longer than 16. Genomes have
such numbers. Here rows are folded: K pixels in turn become one row of K·C values, with statistics for each
of its columns, of which K belong to each channel and are then put together.

BatchNorm2d    ``torch.nn.BatchNorm2d`` that folds rows where that is quicker.
pixels_in_row  how many pixels a row should have.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

_aten = torch.ops.aten

LANES = 16
"""Numbers of float32 in the widest vector register (AVX-512), and the most pixels in a folded row."""
FEWEST_PIXELS = 8_192
"""In a batch; of fewer, the additional operations take longer than what is gained."""
MOST_CHANNELS = 64
"""In rows of more values, the rest that fills no register weighs too little."""


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over (N, H, W) of each channel of (N, C, H, W).

    Results and gradients are torch's up to rounding, parameters and buffers are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        pixels = pixels_in_row(x)
        if not self.training or pixels == 1:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        y, mean, variance = _Folded.apply(x, self.weight, self.bias, self.eps, pixels)
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        result: Tensor = y
        return result


def pixels_in_row(x: Tensor) -> int:
    """How many pixels of x (N, C, H, W) to put in a row; 1: its rows are fine as they are."""
    channels = x.shape[1]
    count = x.numel() // channels
    if (
        x.device.type != "cpu"
        or count < FEWEST_PIXELS
        or channels % LANES == 0
        or channels > MOST_CHANNELS
        or not x.is_contiguous(memory_format=torch.channels_last)
    ):
        return 1
    return math.gcd(count, LANES)


class _Folded(torch.autograd.Function):
    """Training's batch normalisation by folded rows: (y, mean, biased variance).

    The formulae are those of Ioffe and Szegedy, 2015, section 3.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, pixels: int) -> Any:
        rows = _rows(x, pixels)
        zeros, ones = torch.zeros(rows.shape[1]), torch.ones(rows.shape[1])
        column_means, column_variances = (
            column.view(pixels, -1) for column in _aten.batch_norm_update_stats(rows, zeros, ones, 0.0)
        )
        mean = column_means.mean(0)
        # The variance of groups of equal size put together: the mean of theirs and that of their means.
        variance = column_variances.mean(0) + column_means.var(0, unbiased=False)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.pixels = eps, pixels
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        y = torch.empty_like(x)
        _normalise(rows, mean, variance, weight, bias, eps, out=_rows(y, pixels))
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None, None
        x, weight, mean, variance = ctx.saved_tensors
        pixels, eps = ctx.pixels, ctx.eps
        rows = _rows(x, pixels)
        gradients = _rows(gradient.contiguous(memory_format=torch.channels_last), pixels)
        wanted = [False, True, True]  # the sums over rows only
        _, of_weight, of_bias = _aten.native_batch_norm_backward(
            gradients, rows, None, *_columns(pixels, mean, variance), None, None, False, eps,
            wanted,
        )  # fmt: skip
        of_weight, of_bias = (sums.view(pixels, -1).sum(0) for sums in (of_weight, of_bias))
        # With g the gradient and z the normalised x: weight / deviation · (g - mean(g) - z · mean(g z)).
        scale = weight * torch.rsqrt(variance + eps)
        count = x.numel() / x.shape[1]
        of_x, shift = torch.empty_like(x), torch.empty_like(rows)
        of_rows = _rows(of_x, pixels)
        zeros, ones = torch.zeros_like(mean), torch.ones_like(mean)
        _normalise(gradients, zeros, ones, scale, zeros, 0.0, out=of_rows)
        _normalise(rows, mean, variance, scale * of_weight / -count, scale * of_bias / -count, eps, out=shift)
        of_rows += shift
        return of_x, of_weight, of_bias, None, None


def _rows(x: Tensor, pixels: int) -> Tensor:
    """(N, C, H, W), channels-last, as (N·H·W / pixels, pixels·C): a view."""
    return x.permute(0, 2, 3, 1).view(-1, pixels * x.shape[1])


def _columns(pixels: int, *channels: Tensor) -> Tensor:
    """Vectors of shape (C,), each repeated for all pixels of a row: (vectors, pixels·C)."""
    stacked = torch.stack(channels).unsqueeze(1)
    return stacked.expand(-1, pixels, -1).reshape(len(channels), -1).contiguous()


def _normalise(
    rows: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float, *, out: Tensor
) -> None:
    """out = (x - mean) / sqrt(variance + eps) · weight + bias, in float32; of shape (C,) but rows and out."""
    pixels = rows.shape[1] // len(mean)
    columns = _columns(pixels, weight, bias, mean, variance)
    unused = torch.empty(0)
    _aten.native_batch_norm.out(
        rows, *columns, False, 0.0, eps, out=out, save_mean=unused, save_invstd=unused.clone()
    )
