"""Genomes like known networks: within any bounds, and like their models where there is room."""

from __future__ import annotations

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from evolver.errors import InvalidInput
from evolver.genome.bounds import PRESETS, Bounds, parse
from evolver.genome.code import ConvGene, PoolGene
from evolver.genome.known import known_genomes
from evolver.genome.repair import count_pools, validate
from evolver.genome.space import ConvSpace
from evolver.space import HasKnownGenomes, Sample

SAMPLE = Sample(1, (28, 28), 10)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_all_of_them_each_another_network(preset: str) -> None:
    space = ConvSpace(PRESETS[preset])
    assert isinstance(space, HasKnownGenomes)
    known = space.known_genomes()
    assert list(known) == ["lenet", "vgg", "resnet"]
    assert known == space.known_genomes()
    for genome in known.values():
        assert space.from_json(space.to_json(genome)) == genome
    assert len({space.phenotype(genome, SAMPLE) for genome in known.values()}) == 3


def test_with_room_they_are_like_their_models() -> None:
    roomy = Bounds(
        blocks=(1, 10), pools=(0, 10), channels=(3, 512), dense_units=(10, 5000), dense_layers=(0, 1)
    )
    known = known_genomes(roomy)
    widths = {
        name: [[gene.channels for gene in block if isinstance(gene, ConvGene)] for block in genome.blocks]
        for name, genome in known.items()
    }
    assert widths["lenet"] == [[6], [16]]
    assert widths["vgg"] == [[64] * 2, [128] * 2, [256] * 2, [512] * 2, [512] * 2]
    assert widths["resnet"] == [[n] * 2 for n in (64, 64, 128, 128, 256, 256, 512, 512)]
    assert {name: count_pools(genome.blocks) for name, genome in known.items()} == {
        "lenet": 2, "vgg": 5, "resnet": 3,
    }  # fmt: skip
    assert [len(known[name].dense) for name in ("lenet", "vgg", "resnet")] == [1, 1, 0]
    pool = known["vgg"].blocks[0][-1]
    assert isinstance(pool, PoolGene)
    assert pool.type < 0.5


def test_widths_are_scaled_together() -> None:
    vgg = known_genomes(Bounds(channels=(4, 64)))["vgg"]
    assert [block[0].channels for block in vgg.blocks if isinstance(block[0], ConvGene)] == [
        8,
        16,
        32,
        64,
        64,
    ]


pairs = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted)
positive_pairs = st.tuples(st.integers(1, 8), st.integers(1, 8)).map(sorted)
channels = st.tuples(st.integers(1, 600), st.integers(1, 600)).map(sorted)


@given(
    blocks=positive_pairs,
    pools=pairs,
    dense_layers=pairs,
    channels=channels,
    max_convs_per_block=st.integers(1, 4),
    max_genes=st.integers(1, 30),
    pool_kernels=st.sampled_from([[2], [3, 5], [2, 4]]),
)
def test_they_are_within_any_bounds(**settings: object) -> None:
    try:
        bounds = parse(settings)
    except InvalidInput:
        reject()
    for genome in known_genomes(bounds).values():
        validate(genome, bounds)
