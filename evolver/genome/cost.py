"""What a network costs, by arithmetic on its plan.

``conv_params``, ``skip_params`` and ``linear_params`` count the trainable parameters of one layer;
running statistics of batch normalisation are not trained and do not count. ``conv_flops``, ``skip_flops``
and ``linear_flops`` count its FLOPs for one sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from evolver.genome.plan import BlockPlan, ConvPlan, LinearPlan, NetworkPlan, SkipPlan
from evolver.space import Cost

_FLOAT_BYTES = 4
_COPIES_OF_PARAMS = 3
"""Weights, gradients and momentum."""


def cost(plan: NetworkPlan) -> Cost:
    """Parameters, FLOPs and kept activations of one sample.

    ``activations`` estimates what a training step keeps for its backward pass: the sample (and a resized
    one), the outputs of convolutions (batch normalisation reads them again) and of their ReLUs, the
    outputs of pools, the subsampled input and the convolution's output of skips, the sums that end blocks,
    and the same for dense layers. Indices of maxima and the work space of the device's kernels are left out.
    """
    convs, skips = list(_convs(plan)), list(_skips(plan))
    linears = [*plan.hidden, plan.output]
    params = sum(map(conv_params, convs)) + sum(map(skip_params, skips)) + sum(map(linear_params, linears))
    flops = sum(map(conv_flops, convs)) + sum(map(skip_flops, skips)) + sum(map(linear_flops, linears))
    activations = (
        math.prod(plan.sample.shape)
        + (plan.sample.channels * math.prod(plan.resize) if plan.resize else 0)
        + 2 * plan.stem.out_channels * math.prod(plan.stem.spatial)
        + sum(map(_block_activations, plan.blocks))
        + sum(2 * linear.out_features for linear in plan.hidden)
        + plan.output.out_features
    )
    return Cost(params, flops, activations)


def memory_bytes(cost: Cost, batch_size: int) -> int:
    """The memory that training takes, estimated: fp32, SGD with momentum, ``batch_size`` samples a step."""
    return _FLOAT_BYTES * (_COPIES_OF_PARAMS * cost.params + batch_size * cost.activations)


def conv_params(conv: ConvPlan) -> int:
    """Weights of the convolution, weight and bias of its batch normalisation."""
    return _conv_weights(conv) + 2 * conv.out_channels


def skip_params(skip: SkipPlan) -> int:
    """Weights of the 1-wide convolution, weight and bias of its batch normalisation."""
    return skip.in_channels * skip.out_channels + 2 * skip.out_channels


def linear_params(linear: LinearPlan) -> int:
    """Weights and bias, and those of its batch normalisation where it has one."""
    norm = 2 * linear.out_features if linear.batch_norm else 0
    return (linear.in_features + 1) * linear.out_features + norm


def conv_flops(conv: ConvPlan) -> int:
    """A multiplication and an addition of every weight at every place."""
    return 2 * _conv_weights(conv) * math.prod(conv.spatial)


def skip_flops(skip: SkipPlan) -> int:
    """The same, of a 1-wide convolution."""
    return 2 * skip.in_channels * skip.out_channels * math.prod(skip.spatial)


def linear_flops(linear: LinearPlan) -> int:
    """A multiplication and an addition of every weight."""
    return 2 * linear.in_features * linear.out_features


def _conv_weights(conv: ConvPlan) -> int:
    return conv.in_channels * conv.out_channels * math.prod(conv.kernel for _ in conv.spatial)


def _convs(plan: NetworkPlan) -> Iterable[ConvPlan]:
    yield plan.stem
    for block in plan.blocks:
        yield from (layer for layer in block.layers if isinstance(layer, ConvPlan))


def _skips(plan: NetworkPlan) -> Iterable[SkipPlan]:
    return (block.skip for block in plan.blocks if block.skip is not None)


def _block_activations(block: BlockPlan) -> int:
    kept = block.out_channels * math.prod(block.out_spatial)
    channels = block.in_channels
    for layer in block.layers:
        if isinstance(layer, ConvPlan):
            channels = layer.out_channels
            kept += 2 * channels * math.prod(layer.spatial)
        else:
            kept += channels * math.prod(layer.spatial)
    if block.skip is not None:
        kept += (block.skip.in_channels + block.skip.out_channels) * math.prod(block.skip.spatial)
    return kept
