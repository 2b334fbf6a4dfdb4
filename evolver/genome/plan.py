"""The decoded network as values: which layers of which shapes a genome stands for.

Cost, phenotype hash and drawing are derived from a plan, and the torch decoder builds its modules
from it. The rules of decoding stand here and nowhere else:

- The stem is a 3-wide convolution. Every convolution has no bias, 'same' padding and stride 1, and is
  followed by batch normalisation and ReLU. (The stem of a network that is brought to other data may have
  a stride, and resize the samples before: ``evolver.genome.transfer``.)
- A pool halves or quarters every spatial size, rounding down. One that would make a size less than 1
  is dropped, so that every code decodes for every input size. Consecutive pools of one kind merge
  into one: floor(floor(n / a) / b) = floor(n / (a b)), and maxima of maxima are maxima.
- A block's output is F(x) + skip(x). The skip is the identity where F keeps channels and sizes.
- A hidden dense layer is followed by batch normalisation and ReLU; the output layer is linear.

Plans are generic in the number of spatial dimensions: 1 for series, 2 for images.

NetworkPlan  the whole network.
BlockPlan    a residual block.
ConvPlan     a convolution with its batch normalisation and ReLU.
PoolPlan     a pooling.
SkipPlan     a skip connection that is not the identity.
LinearPlan   a dense layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from evolver.genome.code import BlockGene, ConvGene, Genome
from evolver.space import Sample

STEM_KERNEL = 3
STEM_CHANNELS = 64
"""MO-ResNet's."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """Convolution (no bias, 'same' padding) - batch normalisation - ReLU. ``spatial`` is its output's.

    With a stride, the kernel is odd.
    """

    in_channels: int
    out_channels: int
    kernel: int
    spatial: tuple[int, ...]
    stride: int = 1


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """Pooling with stride = kernel, without padding. ``spatial`` is its output's."""

    kind: Literal["max", "avg"]
    kernel: int
    spatial: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SkipPlan:
    """Every ``stride``-th value, cropped to ``spatial`` - 1-wide convolution (no bias) - batch norm."""

    in_channels: int
    out_channels: int
    stride: int
    spatial: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The layers of F in F(x) + skip(x). A ``skip`` of None is the identity."""

    in_channels: int
    in_spatial: tuple[int, ...]
    layers: tuple[ConvPlan | PoolPlan, ...]
    skip: SkipPlan | None
    out_channels: int
    out_spatial: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LinearPlan:
    """A linear layer with bias; with ``batch_norm``, batch normalisation and ReLU follow."""

    in_features: int
    out_features: int
    batch_norm: bool


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Stem, blocks, flattening to ``flatten`` features, hidden dense layers, output layer.

    ``resize`` is the size to which a sample is brought before the stem; None where it has it already.
    """

    sample: Sample
    stem: ConvPlan
    blocks: tuple[BlockPlan, ...]
    flatten: int
    hidden: tuple[LinearPlan, ...]
    output: LinearPlan
    resize: tuple[int, ...] | None = None


def plan(genome: Genome, sample: Sample, stem_channels: int = STEM_CHANNELS) -> NetworkPlan:
    """The network that a genome decodes to for samples of this shape.

    ``stem_channels`` is a setting of the space that the genome was bred in.
    """
    stem = ConvPlan(sample.channels, stem_channels, STEM_KERNEL, sample.spatial)
    channels, spatial = stem.out_channels, stem.spatial
    blocks = []
    for genes in genome.blocks:
        block = _plan_block(genes, channels, spatial)
        channels, spatial = block.out_channels, block.out_spatial
        blocks.append(block)
    features = flatten = channels * math.prod(spatial)
    hidden = []
    for gene in genome.dense:
        hidden.append(LinearPlan(features, gene.units, batch_norm=True))
        features = gene.units
    output = LinearPlan(features, sample.classes, batch_norm=False)
    return NetworkPlan(sample, stem, tuple(blocks), flatten, tuple(hidden), output)


def _plan_block(genes: tuple[BlockGene, ...], in_channels: int, in_spatial: tuple[int, ...]) -> BlockPlan:
    layers: list[ConvPlan | PoolPlan] = []
    channels, spatial, stride = in_channels, in_spatial, 1
    for gene in genes:
        if isinstance(gene, ConvGene):
            layers.append(ConvPlan(channels, gene.channels, gene.kernel, spatial))
            channels = gene.channels
        elif min(spatial) >= gene.kernel:
            spatial = tuple(size // gene.kernel for size in spatial)
            stride *= gene.kernel
            kind: Literal["max", "avg"] = "max" if gene.type < 0.5 else "avg"
            kernel = gene.kernel
            if layers and isinstance(last := layers[-1], PoolPlan) and last.kind == kind:
                kernel *= last.kernel
                layers.pop()
            layers.append(PoolPlan(kind, kernel, spatial))
    is_identity = (channels, spatial) == (in_channels, in_spatial)
    skip = None if is_identity else SkipPlan(in_channels, channels, stride, spatial)
    return BlockPlan(in_channels, in_spatial, tuple(layers), skip, channels, spatial)
