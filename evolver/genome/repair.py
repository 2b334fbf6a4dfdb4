"""Bounds kept: ``validate`` tells of a genome outside of them, ``repair`` brings it back.

Sampling and mutation end with a repair, so whatever they do, their genomes are valid.
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from evolver.errors import InvalidGenome
from evolver.genome.bounds import Bounds
from evolver.genome.code import BlockGene, ConvGene, Gene, Genome, PoolGene
from evolver.genome.fields import Field, GeneFields

Blocks = list[list[BlockGene]]


def validate(genome: Genome, bounds: Bounds) -> None:
    """Raises InvalidGenome, with the first violation found, when the genome is outside of the bounds."""
    fields = bounds.gene_fields()
    _require_between(len(genome.blocks), bounds.blocks, "blocks")
    _require_between(sum(map(len, genome.blocks)), (0, bounds.max_genes), "convolution and pooling genes")
    _require_between(count_pools(genome.blocks), bounds.pools, "pooling genes")
    _require_between(len(genome.dense), bounds.dense_layers, "dense genes")
    for i, block in enumerate(genome.blocks):
        if not block or not isinstance(block[0], ConvGene):
            raise InvalidGenome(f"blocks[{i}] does not start with a convolution")
        _require_between(count_convs(block), (1, bounds.max_convs_per_block), f"convolutions in blocks[{i}]")
        for j, gene in enumerate(block):
            _require_fields(gene, fields.of(gene), f"blocks[{i}][{j}]")
    for i, dense in enumerate(genome.dense):
        _require_fields(dense, fields.of(dense), f"dense[{i}]")


def repair(genome: Genome, bounds: Bounds, rng: Generator) -> Genome:
    """The genome brought back within all bounds; a valid one comes back equal.

    Values are rounded and clipped. Surplus genes are removed at random, missing ones are drawn. Pools
    of a block that vanishes, and pools that lead their block, move as ``_lead_with_convs`` says.
    A genome that needs no gene removed or drawn uses nothing of ``rng``.
    """
    fields = bounds.gene_fields()
    blocks = _lead_with_convs([[fields.snap(gene) for gene in block] for block in genome.blocks])
    blocks = _fit_blocks(blocks, bounds, fields, rng)
    _fit_convs(blocks, bounds, rng)
    _fit_pools(blocks, bounds, fields, rng)
    blocks = _fit_size(blocks, bounds, rng)
    dense = [fields.snap(gene) for gene in genome.dense[: bounds.dense_layers[1]]]
    while len(dense) < bounds.dense_layers[0]:
        dense.append(fields.draw_dense(rng.random))
    return Genome(tuple(map(tuple, blocks)), tuple(dense))


def count_convs(block: Sequence[BlockGene]) -> int:
    """How many convolution genes a block has."""
    return sum(isinstance(gene, ConvGene) for gene in block)


def count_pools(blocks: Sequence[Sequence[BlockGene]]) -> int:
    """How many pooling genes the blocks have together."""
    return sum(isinstance(gene, PoolGene) for block in blocks for gene in block)


def _require_between(count: int, limits: tuple[int, int], what: str) -> None:
    if not limits[0] <= count <= limits[1]:
        raise InvalidGenome(f"{count} {what}, where {limits[0]} to {limits[1]} are allowed")


def _require_fields(gene: Gene, fields: tuple[Field, ...], where: str) -> None:
    for name, field, value in zip(gene.__slots__, fields, gene.values, strict=True):
        if not field.accepts(value):
            raise InvalidGenome(f"{where}.{name} is {value}, where {field} is allowed")


def _lead_with_convs(blocks: Blocks) -> Blocks:
    """Every block starts with a convolution.

    A pool that leads its block moves behind the block's first convolution. A block without one
    vanishes: its pools go to the end of the block before, or behind the next one's first convolution.
    """
    ordered: Blocks = []
    orphans: list[BlockGene] = []
    for block in blocks:
        first = next((i for i, gene in enumerate(block) if isinstance(gene, ConvGene)), None)
        if first is not None:
            ordered.append([block[first], *orphans, *block[:first], *block[first + 1 :]])
            orphans = []
        else:
            (ordered[-1] if ordered else orphans).extend(block)
    return ordered


def _fit_blocks(blocks: Blocks, bounds: Bounds, fields: GeneFields, rng: Generator) -> Blocks:
    while len(blocks) > bounds.blocks[1]:
        blocks = _without_block(blocks, _index(rng, len(blocks)))
    while len(blocks) < bounds.blocks[0]:
        blocks.insert(_index(rng, len(blocks) + 1), [fields.draw_conv(rng.random)])
    return blocks


def _fit_convs(blocks: Blocks, bounds: Bounds, rng: Generator) -> None:
    for block in blocks:
        while count_convs(block) > bounds.max_convs_per_block:
            places = [j for j, gene in enumerate(block) if j > 0 and isinstance(gene, ConvGene)]
            del block[places[_index(rng, len(places))]]


def _fit_pools(blocks: Blocks, bounds: Bounds, fields: GeneFields, rng: Generator) -> None:
    pools = count_pools(blocks)
    for _ in range(pools - bounds.pools[1]):
        _remove_one_of(blocks, PoolGene, rng)
    for _ in range(bounds.pools[0] - pools):
        block = blocks[_index(rng, len(blocks))]
        block.insert(1 + _index(rng, len(block)), fields.draw_pool(rng.random))


def _fit_size(blocks: Blocks, bounds: Bounds, rng: Generator) -> Blocks:
    """Remove convolutions that do not lead a block, then whole blocks, then pools: down to ``max_genes``."""
    for _ in range(sum(map(len, blocks)) - bounds.max_genes):
        if _remove_one_of(blocks, ConvGene, rng):
            continue
        if len(blocks) > bounds.blocks[0]:
            blocks = _without_block(blocks, _index(rng, len(blocks)))
        else:
            _remove_one_of(blocks, PoolGene, rng)
    return blocks


def _remove_one_of(blocks: Blocks, kind: type[BlockGene], rng: Generator) -> bool:
    """Remove a random gene of a kind that does not lead its block, in place; False when there is none."""
    places = [
        (i, j)
        for i, block in enumerate(blocks)
        for j, gene in enumerate(block)
        if j > 0 and isinstance(gene, kind)
    ]
    if not places:
        return False
    i, j = places[_index(rng, len(places))]
    del blocks[i][j]
    return True


def _without_block(blocks: Blocks, index: int) -> Blocks:
    pools: list[BlockGene] = [gene for gene in blocks[index] if isinstance(gene, PoolGene)]
    return _lead_with_convs([*blocks[:index], pools, *blocks[index + 1 :]])


def _index(rng: Generator, count: int) -> int:
    return int(rng.random() * count)
