"""Genomes made by hand: genes whose untold fields do not matter."""

from __future__ import annotations

from evolver.genome.code import BlockGene, ConvGene, DenseGene, Genome, PoolGene


def conv(kernel: int = 3, channels: int = 16, init_mean: float = 0.0, init_std: float = 0.5) -> ConvGene:
    return ConvGene(kernel, channels, init_mean, init_std)


def max_pool(kernel: int = 2) -> PoolGene:
    return PoolGene(kernel, 0.25)


def avg_pool(kernel: int = 2) -> PoolGene:
    return PoolGene(kernel, 0.75)


def genome(*blocks: list[BlockGene], dense: tuple[int, ...] = ()) -> Genome:
    """A genome of these blocks, with hidden dense layers of so many units."""
    return Genome(tuple(map(tuple, blocks)), tuple(map(DenseGene, dense)))
