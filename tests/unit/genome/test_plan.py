"""Plans: every genome decodes for every size, and which codes are the same network."""

from __future__ import annotations

import numpy as np
import pytest

from evolver.genome.canonical import phenotype
from evolver.genome.code import Genome, PoolGene
from evolver.genome.plan import ConvPlan, LinearPlan, PoolPlan, SkipPlan, plan
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from tests.unit.genome.factories import avg_pool, conv, genome, max_pool

IMAGE = Sample(3, (32, 32), 10)
SIZES = [
    (1, 1),
    (1, 64),
    (2, 3),
    (5, 1),
    (7, 7),
    (8, 8),
    (28, 28),
    (31, 17),
    (64, 64),
    (1,),
    (2,),
    (33,),
    (64,),
]


def test_a_plan_by_hand() -> None:
    code = genome([conv(3, 8), max_pool(), conv(2, 6)], [conv(1, 6)], dense=(20,))
    network = plan(code, Sample(1, (7, 9), 4), stem_channels=5)
    first, second = network.blocks
    assert network.stem == ConvPlan(1, 5, 3, (7, 9))
    assert first.layers == (ConvPlan(5, 8, 3, (7, 9)), PoolPlan("max", 2, (3, 4)), ConvPlan(8, 6, 2, (3, 4)))
    assert first.skip == SkipPlan(5, 6, 2, (3, 4))
    assert (first.in_channels, first.in_spatial) == (5, (7, 9))
    assert second.layers == (ConvPlan(6, 6, 1, (3, 4)),)
    assert second.skip is None
    assert network.flatten == 6 * 3 * 4
    assert network.hidden == (LinearPlan(72, 20, batch_norm=True),)
    assert network.output == LinearPlan(20, 4, batch_norm=False)


@pytest.mark.parametrize("spatial", SIZES, ids=str)
def test_every_genome_decodes_for_every_size(space: ConvSpace, spatial: tuple[int, ...]) -> None:
    rng = np.random.default_rng(20)
    sample = Sample(2, spatial, 7)
    for _ in range(100):
        code = space.random(rng)
        channels, size = space.bounds.stem_channels, spatial
        network = space.plan(code, sample)
        for block in network.blocks:
            assert (block.in_channels, block.in_spatial) == (channels, size)
            stride = 1
            for layer in block.layers:
                if isinstance(layer, ConvPlan):
                    assert (layer.in_channels, layer.spatial) == (channels, size)
                    channels = layer.out_channels
                else:
                    size, stride = tuple(n // layer.kernel for n in size), stride * layer.kernel
                    assert layer.spatial == size
            assert min(size) >= 1
            assert (block.out_channels, block.out_spatial) == (channels, size)
            if block.skip is None:
                assert (channels, size) == (block.in_channels, block.in_spatial)
            else:
                assert block.skip == SkipPlan(block.in_channels, channels, stride, size)
                # Every stride-th value gives at least the output's size, to crop from.
                assert all(-(-n // stride) >= m for n, m in zip(block.in_spatial, size, strict=True))
        assert network.flatten == channels * int(np.prod(size))
        cost = space.cost(code, sample)
        assert min(cost.params, cost.flops, cost.activations) > 0


def same_network(first: Genome, second: Genome, sample: Sample = IMAGE) -> bool:
    return phenotype(plan(first, sample)) == phenotype(plan(second, sample))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (genome([conv(init_mean=-1.0, init_std=0.0)]), genome([conv(init_mean=1.0, init_std=1.0)])),
        (genome([conv(), PoolGene(2, 0.1)]), genome([conv(), PoolGene(2, 0.4)])),
        (genome([conv(), PoolGene(2, 0.5)]), genome([conv(), PoolGene(2, 0.9)])),
        (genome([conv(), max_pool(2), max_pool(2)]), genome([conv(), max_pool(4)])),
        (genome([conv(), avg_pool(2), avg_pool(4)]), genome([conv(), avg_pool(4), avg_pool(2)])),
    ],
)
def test_codes_of_the_same_network(first: Genome, second: Genome) -> None:
    assert same_network(first, second)


def test_a_pool_that_does_not_fit_is_no_part_of_the_network() -> None:
    small = Sample(1, (3, 8), 10)
    with_pool, without = genome([conv(), max_pool(4)]), genome([conv()])
    assert same_network(with_pool, without, small)
    assert not same_network(with_pool, without)
    # Between two pools of one kind, a dropped one does not keep them from merging.
    around = genome([conv(), max_pool(2), avg_pool(4), max_pool(2)])
    assert same_network(around, genome([conv(), max_pool(4)]), Sample(1, (7, 7), 10))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (genome([conv(kernel=3)]), genome([conv(kernel=5)])),
        (genome([conv(channels=8)]), genome([conv(channels=9)])),
        (genome([conv(), PoolGene(2, 0.4)]), genome([conv(), PoolGene(2, 0.5)])),
        (genome([conv(), max_pool(2)]), genome([conv(), max_pool(4)])),
        (genome([conv(), max_pool(2), avg_pool(2)]), genome([conv(), avg_pool(2), max_pool(2)])),
        (genome([conv(), max_pool(), conv()]), genome([conv(), conv(), max_pool()])),
        (genome([conv(), conv()]), genome([conv()], [conv()])),
        (genome([conv()], dense=(1000,)), genome([conv()])),
        (genome([conv()], dense=(1000,)), genome([conv()], dense=(1001,))),
        (genome([conv(), max_pool()], [conv()]), genome([conv()], [conv(), max_pool()])),
    ],
)
def test_codes_of_other_networks(first: Genome, second: Genome) -> None:
    assert not same_network(first, second)


def test_the_phenotype_belongs_to_the_sample_and_the_stem() -> None:
    code = genome([conv()])
    hashes = {
        phenotype(plan(code, sample, stem))
        for sample in (IMAGE, Sample(1, (32, 32), 10), Sample(3, (32, 31), 10), Sample(3, (32, 32), 9))
        for stem in (8, 64)
    }
    assert len(hashes) == 8
    assert all(len(digits) == 64 for digits in hashes)


def test_the_phenotype_of_a_network_never_changes() -> None:
    code = genome([conv(3, 8), max_pool(), conv(2, 6)], [conv(1, 6)], dense=(20,))
    assert (
        phenotype(plan(code, Sample(1, (7, 9), 4), 5))
        == "b69cb281fd4166d14a0d4fd58254b8d2ae21b502b58e1d10a05408f9d7df345a"
    )
