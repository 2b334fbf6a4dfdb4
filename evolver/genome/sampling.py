"""Random genomes."""

from __future__ import annotations

from numpy.random import Generator

from evolver.genome.bounds import Bounds
from evolver.genome.code import BlockGene, Genome
from evolver.genome.fields import IntegerField, uniforms
from evolver.genome.repair import repair


def random_genome(bounds: Bounds, rng: Generator) -> Genome:
    """A random genome within all bounds.

    Numbers of blocks, of convolutions in each block, of pools and of dense layers are uniform, and so
    is every field. Each pool stands at a random place of a random block.
    """
    fields = bounds.gene_fields()
    most_convs = bounds.blocks[1] * bounds.max_convs_per_block
    draw = uniforms(rng, 3 + bounds.blocks[1] + 4 * (most_convs + bounds.pools[1]) + bounds.dense_layers[1])

    convs_per_block = IntegerField(1, bounds.max_convs_per_block)
    blocks: list[list[BlockGene]] = [
        [fields.draw_conv(draw) for _ in range(convs_per_block.draw(draw()))]
        for _ in range(IntegerField(*bounds.blocks).draw(draw()))
    ]
    for _ in range(IntegerField(*bounds.pools).draw(draw())):
        block = blocks[int(draw() * len(blocks))]
        block.insert(1 + int(draw() * len(block)), fields.draw_pool(draw))
    dense = tuple(fields.draw_dense(draw) for _ in range(IntegerField(*bounds.dense_layers).draw(draw())))
    # The most blocks of the most convolutions leave no room for pools.
    return repair(Genome(tuple(map(tuple, blocks)), dense), bounds, rng)
