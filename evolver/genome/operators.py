"""Crossover and mutation, as MO-ResNet has them (arXiv 2505.01313, section 3).

crossover            one child of two parents: simulated binary crossover of aligned genes.
mutate               a changed copy: genes are added, altered and removed.
sbx                  bounded simulated binary crossover of one number.
polynomial_mutation  bounded polynomial mutation of one number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum, auto

from numpy.random import Generator

from evolver.genome.bounds import Bounds
from evolver.genome.code import BlockGene, ConvGene, DenseGene, Genome, PoolGene
from evolver.genome.fields import AnyGene, Draw, GeneFields, rebuilt, uniforms
from evolver.genome.repair import Blocks, count_convs, count_pools, repair


def sbx(near: float, far: float, low: float, high: float, eta: float, u: float) -> float:
    """The child of two numbers that lies on the side of ``near``, within [low, high].

    Bounded simulated binary crossover (Deb and Agrawal 1995; the bounded form is that of Deb's
    NSGA-II code). ``u`` in [0, 1) decides how far the children spread; with the same ``u``,
    ``sbx(far, near, ...)`` is the other child.
    """
    if near == far:
        return near
    room = near - low if near < far else high - near
    alpha = 2.0 - math.pow(1.0 + 2.0 * room / abs(far - near), -(eta + 1.0))
    spread = u * alpha if u * alpha <= 1.0 else 1.0 / (2.0 - u * alpha)
    return 0.5 * (near + far + math.pow(spread, 1.0 / (eta + 1.0)) * (near - far))


def polynomial_mutation(value: float, low: float, high: float, eta: float, u: float) -> float:
    """A number near ``value`` within [low, high]; ``u`` in [0, 1), where 0.5 leaves it as it is.

    Bounded polynomial mutation (Deb and Goyal 1996; the bounded form is that of Deb's NSGA-II code).
    """
    if low == high:
        return value
    width, power = high - low, eta + 1.0
    if u < 0.5:
        rest = math.pow(1.0 - (value - low) / width, power)
        return value + width * (math.pow(2.0 * u + (1.0 - 2.0 * u) * rest, 1.0 / power) - 1.0)
    rest = math.pow(1.0 - (high - value) / width, power)
    return value + width * (1.0 - math.pow(2.0 - 2.0 * u + (2.0 * u - 1.0) * rest, 1.0 / power))


def crossover(first: Genome, second: Genome, bounds: Bounds, rng: Generator) -> Genome:
    """One child of two genomes that are within the bounds.

    Genes are aligned by kind: the i-th convolution with the i-th convolution, and so on. All fields of
    an aligned pair are crossed with probability ``crossover_probability``; genes without a partner
    stay. Of the two children, which have the structure of one parent each, a draw keeps one, and only
    that one is computed. Structure and values are within the bounds, so there is nothing to repair.
    """
    fields = bounds.gene_fields()
    genes = sum(map(len, first.blocks)) + sum(map(len, second.blocks)) + len(first.dense) + len(second.dense)
    # The longest gene takes nine numbers: whether to cross it, then side and spread of four fields.
    draw = uniforms(rng, 1 + 9 * genes)
    kept, mate = (first, second) if draw() < 0.5 else (second, first)
    convs = (gene for block in mate.blocks for gene in block if isinstance(gene, ConvGene))
    pools = (gene for block in mate.blocks for gene in block if isinstance(gene, PoolGene))
    dense = iter(mate.dense)

    def crossed(gene: AnyGene, partners: Iterator[AnyGene]) -> AnyGene:
        partner = next(partners, None)
        if partner is None or draw() >= bounds.crossover_probability:
            return gene
        return _crossed(gene, partner, fields, bounds.crossover_eta, draw)

    return Genome(
        tuple(
            tuple(crossed(g, convs) if isinstance(g, ConvGene) else crossed(g, pools) for g in block)
            for block in kept.blocks
        ),
        tuple(crossed(gene, dense) for gene in kept.dense),
    )


def _crossed(gene: AnyGene, partner: AnyGene, fields: GeneFields, eta: float, draw: Draw) -> AnyGene:
    values = []
    for field, mine, other in zip(fields.of(gene), gene.values, partner.values, strict=True):
        # As in Deb's code, each field takes the child of either side with equal chances.
        near, far = (mine, other) if draw() < 0.5 else (other, mine)
        values.append(field.snap(sbx(near, far, field.low, field.high, eta, draw())))
    return rebuilt(gene, values)


class Action(Enum):
    """What mutation does at a gene."""

    KEEP = auto()
    ADD = auto()
    ALTER = auto()
    REMOVE = auto()


def mutate(genome: Genome, bounds: Bounds, rng: Generator) -> Genome:
    """A changed copy of a genome that is within the bounds, and so is the copy.

    Each gene is touched with probability ``gene_mutation_probability``, and at least one is. Then

    - a gene is added before it (``add_share``): a convolution or a pool, in the proportion in which the
      space has room for them. Before the first gene of a block, a pool closes the block before, and a
      convolution opens a block of its own as often as it joins this block. A dense gene is added before
      a dense gene or, so that the first one can appear, before the output layer;
    - or it is removed (``remove_share``). A block that loses its last convolution vanishes, its pools
      go to the neighbouring block;
    - or it is altered: polynomial mutation of all its fields. What the bounds forbid to add or remove
      is altered too.
    """
    genes = sum(map(len, genome.blocks)) + len(genome.dense)
    # Of each gene two numbers choose its action and at most six carry it out; two more may force an
    # action, and two may add a gene before the output layer.
    draw = uniforms(rng, 8 * genes + 4)
    actions = iter(draw_actions(genes, bounds, draw))
    mutant = _Mutant(genome, bounds, draw)
    for block in genome.blocks:
        mutant.mutate_block(block, actions)
    mutant.mutate_dense(genome.dense, actions)
    return repair(Genome(tuple(map(tuple, mutant.blocks)), tuple(mutant.dense)), bounds, rng)


def draw_actions(genes: int, bounds: Bounds, draw: Draw) -> list[Action]:
    """What to do at each of so many genes; at one of them at least something."""
    actions = [
        _draw_action(bounds, draw) if draw() < bounds.gene_mutation_probability else Action.KEEP
        for _ in range(genes)
    ]
    if all(action is Action.KEEP for action in actions):
        actions[int(draw() * genes)] = _draw_action(bounds, draw)
    return actions


def _draw_action(bounds: Bounds, draw: Draw) -> Action:
    u = draw()
    if u < bounds.add_share:
        return Action.ADD
    return Action.REMOVE if u < bounds.add_share + bounds.remove_share else Action.ALTER


class _Mutant:
    """The copy that ``mutate`` writes, with counts of what it holds and of what is still to be copied.

    The counts keep additions and removals within the bounds, so that repair only has to move pools.
    """

    def __init__(self, genome: Genome, bounds: Bounds, draw: Draw) -> None:
        self.bounds, self.fields, self.draw = bounds, bounds.gene_fields(), draw
        self.blocks: Blocks = []
        self.dense: list[DenseGene] = []
        self.block_count = len(genome.blocks)
        self.gene_count = sum(map(len, genome.blocks))
        self.pool_count = count_pools(genome.blocks)
        self.conv_count = 0  # Of the block that is being copied.
        self.dense_count = len(genome.dense)
        most_convs = bounds.blocks[1] * bounds.max_convs_per_block
        self.pool_share = bounds.pools[1] / (bounds.pools[1] + most_convs)

    def mutate_block(self, genes: tuple[BlockGene, ...], actions: Iterator[Action]) -> None:
        """Copy a block: ``actions`` yields what to do at each of its genes."""
        block: list[BlockGene] = []
        self.conv_count = count_convs(genes)
        for gene in genes:
            action = next(actions)
            if action is Action.REMOVE and self._may_remove(gene):
                self._discount(gene)
            elif action is Action.KEEP or (action is Action.ADD and self._add_before(block)):
                block.append(gene)
            else:
                block.append(self._altered(gene))
        if self.conv_count == 0:
            self.block_count -= 1
        self.blocks.append(block)

    def mutate_dense(self, genes: tuple[DenseGene, ...], actions: Iterator[Action]) -> None:
        """Copy the dense genes; one may be added before the output layer."""
        least, most = self.bounds.dense_layers
        for gene in genes:
            action = next(actions)
            if action is Action.REMOVE and self.dense_count > least:
                self.dense_count -= 1
                continue
            if action is Action.ADD and self.dense_count < most:
                self._add_dense()
                action = Action.KEEP
            self.dense.append(gene if action is Action.KEEP else self._altered(gene))
        adds = self.draw() < self.bounds.gene_mutation_probability * self.bounds.add_share
        if adds and self.dense_count < most:
            self._add_dense()

    def _add_dense(self) -> None:
        self.dense.append(self.fields.draw_dense(self.draw))
        self.dense_count += 1

    def _may_remove(self, gene: BlockGene) -> bool:
        if isinstance(gene, PoolGene):
            return self.pool_count > self.bounds.pools[0]
        return self.conv_count > 1 or self.block_count > self.bounds.blocks[0]

    def _discount(self, gene: BlockGene) -> None:
        self.gene_count -= 1
        if isinstance(gene, PoolGene):
            self.pool_count -= 1
        else:
            self.conv_count -= 1

    def _add_before(self, block: list[BlockGene]) -> bool:
        """Add a gene after those that ``block`` has so far; False where the bounds leave no room."""
        pool_place = block or (self.blocks[-1] if self.blocks else None)
        can_pool = pool_place is not None and self.pool_count < self.bounds.pools[1]
        can_join = self.conv_count < self.bounds.max_convs_per_block
        can_open = not block and self.block_count < self.bounds.blocks[1]
        if self.gene_count >= self.bounds.max_genes or not (can_pool or can_join or can_open):
            return False
        wants_pool, wants_open = self.draw() < self.pool_share, self.draw() < 0.5
        if pool_place is not None and can_pool and (wants_pool or not (can_join or can_open)):
            pool_place.append(self.fields.draw_pool(self.draw))
            self.pool_count += 1
        elif can_open and (wants_open or not can_join):
            self.blocks.append([self.fields.draw_conv(self.draw)])
            self.block_count += 1
        else:
            block.append(self.fields.draw_conv(self.draw))
            self.conv_count += 1
        self.gene_count += 1
        return True

    def _altered(self, gene: AnyGene) -> AnyGene:
        eta = self.bounds.mutation_eta
        return rebuilt(
            gene,
            [
                field.snap(polynomial_mutation(value, field.low, field.high, eta, self.draw()))
                for field, value in zip(self.fields.of(gene), gene.values, strict=True)
            ],
        )
