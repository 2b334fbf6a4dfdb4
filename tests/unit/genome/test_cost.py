"""Costs against sums that were worked out by hand."""

from __future__ import annotations

from evolver.genome.cost import cost, memory_bytes
from evolver.genome.plan import plan
from evolver.space import Cost, Sample
from tests.unit.genome.factories import avg_pool, conv, genome, max_pool


def test_an_identity_block_and_an_output_layer() -> None:
    network = plan(genome([conv(kernel=3, channels=4)]), Sample(1, (4, 4), 10), stem_channels=4)
    stem, block, output = 1 * 4 * 9 + 8, 4 * 4 * 9 + 8, 64 * 10 + 10
    multiply_adds = 36 * 16 + 144 * 16 + 640
    # Sample; convolution and ReLU of the stem and of the block; sum; output.
    activations = 16 + 2 * 64 + 2 * 64 + 64 + 10
    assert cost(network) == Cost(stem + block + output, 2 * multiply_adds, activations)


def test_a_pooled_block_with_a_skip_and_a_hidden_layer() -> None:
    code = genome([conv(kernel=2, channels=6), max_pool(2), conv(kernel=1, channels=5)], dense=(7,))
    network = plan(code, Sample(2, (5, 4), 3), stem_channels=4)
    params = (
        (2 * 4 * 9 + 8)  # stem
        + (4 * 6 * 4 + 12)
        + (6 * 5 * 1 + 10)
        + (4 * 5 + 10)  # skip
        + (5 * 2 * 2 * 7 + 7 + 14)  # hidden
        + (7 * 3 + 3)  # output
    )
    multiply_adds = 72 * 20 + 96 * 20 + 30 * 4 + 20 * 4 + 140 + 21
    activations = (
        40  # sample
        + 2 * 4 * 20  # stem
        + 2 * 6 * 20
        + 6 * 4  # pool
        + 2 * 5 * 4
        + (4 + 5) * 4  # skip
        + 5 * 4  # sum
        + 2 * 7  # hidden
        + 3  # output
    )
    assert cost(network) == Cost(params, 2 * multiply_adds, activations)


def test_a_series() -> None:
    network = plan(genome([conv(kernel=3, channels=4), avg_pool(4)]), Sample(2, (10,), 3), stem_channels=4)
    params = (2 * 4 * 3 + 8) + (4 * 4 * 3 + 8) + (4 * 4 + 8) + (4 * 2 * 3 + 3)
    multiply_adds = 24 * 10 + 48 * 10 + 16 * 2 + 24
    assert (cost(network).params, cost(network).flops) == (params, 2 * multiply_adds)


def test_memory_of_training() -> None:
    assert memory_bytes(Cost(params=1000, flops=1, activations=50), batch_size=64) == 12_000 + 12_800
