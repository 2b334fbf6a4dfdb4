"""Known networks as genomes, brought into the bounds of a space: what a search may begin with.

Each is the pattern of its paper, not a copy: the space has a stem, residual blocks and batch
normalisation everywhere, and no global pooling. Widths are scaled so that the widest layer fits, what
exceeds the other bounds is left out from the end. Nothing is drawn: the same bounds, the same genomes.

known_genomes  all of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolver.genome.bounds import Bounds
from evolver.genome.code import BlockGene, ConvGene, DenseGene, Genome, PoolGene

_MAX_POOL, _AVERAGE_POOL = 0.25, 0.75
"""Types of pooling genes."""
_NO_MEAN, _UNIT_STD = 0.0, 1.0


@dataclass(frozen=True, slots=True)
class _Stage:
    """A block: so many convolutions of this kernel and width, and a halving pool at its end or none."""

    convs: int
    kernel: int
    channels: int
    pools: bool = True


@dataclass(frozen=True, slots=True)
class _Pattern:
    stages: tuple[_Stage, ...]
    pool_type: float
    dense_units: tuple[int, ...]


_PATTERNS: Mapping[str, _Pattern] = {
    # LeCun et al. 1998, "Gradient-based learning applied to document recognition": LeNet-5.
    "lenet": _Pattern((_Stage(1, 5, 6), _Stage(1, 5, 16)), _AVERAGE_POOL, (120,)),
    # Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration B.
    "vgg": _Pattern(
        tuple(_Stage(2, 3, channels) for channels in (64, 128, 256, 512, 512)), _MAX_POOL, (4096,)
    ),
    # He et al. 2016 (arXiv 1512.03385), ResNet-18: two blocks of two convolutions at each width.
    "resnet": _Pattern(
        tuple(
            _Stage(2, 3, channels, pools)
            for channels in (64, 128, 256, 512)
            for pools in (False, channels < 512)
        ),
        _AVERAGE_POOL,
        (),
    ),
}


def known_genomes(bounds: Bounds) -> dict[str, Genome]:
    """LeNet-like, VGG-like and ResNet-like genomes by name, within the bounds."""
    return {name: _fitted(pattern, bounds) for name, pattern in _PATTERNS.items()}


def _fitted(pattern: _Pattern, bounds: Bounds) -> Genome:
    stages = pattern.stages[: min(bounds.blocks[1], bounds.max_genes - bounds.pools[0])]
    stages += stages[-1:] * (bounds.blocks[0] - len(stages))
    pools = _pools(stages, bounds)
    convs = _convs(stages, bounds, room=bounds.max_genes - sum(pools))
    widest = max(stage.channels for stage in stages)
    scale = min(1.0, bounds.channels[1] / widest)
    blocks = tuple(
        (*_conv_genes(stage, number, scale, bounds), *_pool_genes(pattern.pool_type, pooled, bounds))
        for stage, number, pooled in zip(stages, convs, pools, strict=True)
    )
    return Genome(blocks, _dense_genes(pattern.dense_units, bounds))


def _pools(stages: tuple[_Stage, ...], bounds: Bounds) -> list[int]:
    """How many pools end each block: the pattern's, the first ones where the bounds allow fewer."""
    pools, left = [], min(bounds.pools[1], bounds.max_genes - len(stages))
    for stage in stages:
        pools.append(min(left, int(stage.pools)))
        left -= pools[-1]
    pools[-1] += max(0, bounds.pools[0] - sum(pools))
    return pools


def _convs(stages: tuple[_Stage, ...], bounds: Bounds, room: int) -> list[int]:
    """How many convolutions each block has: the pattern's, the last ones shortened to ``room`` in all."""
    convs = [min(stage.convs, bounds.max_convs_per_block) for stage in stages]
    for block in reversed(range(len(convs))):
        convs[block] -= min(convs[block] - 1, max(0, sum(convs) - room))
    return convs


def _conv_genes(stage: _Stage, number: int, scale: float, bounds: Bounds) -> tuple[BlockGene, ...]:
    gene = ConvGene(stage.kernel, round(stage.channels * scale), _NO_MEAN, _UNIT_STD)
    return (bounds.gene_fields().snap(gene),) * number


def _pool_genes(pool_type: float, number: int, bounds: Bounds) -> tuple[BlockGene, ...]:
    return (bounds.gene_fields().snap(PoolGene(2, pool_type)),) * number


def _dense_genes(units: tuple[int, ...], bounds: Bounds) -> tuple[DenseGene, ...]:
    least, most = bounds.dense_layers
    genes = [bounds.gene_fields().snap(DenseGene(number)) for number in units[:most]]
    genes += [bounds.gene_fields().snap(DenseGene(bounds.dense_units[0]))] * (least - len(genes))
    return tuple(genes)
