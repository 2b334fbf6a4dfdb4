"""Random genomes, operators and repair: always within the bounds, and a function of their generator."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.genome.bounds import PRESETS, Bounds
from evolver.genome.code import ConvGene, DenseGene, Gene, Genome, PoolGene
from evolver.genome.fields import uniforms
from evolver.genome.operators import Action, crossover, draw_actions, mutate, polynomial_mutation, sbx
from evolver.genome.repair import repair, validate
from evolver.genome.sampling import random_genome
from evolver.genome.space import ConvSpace
from tests.unit.genome.factories import avg_pool, conv, genome, max_pool

PAPER = PRESETS["paper"]
WIDE = Bounds(blocks=(1, 50), max_convs_per_block=50, pools=(0, 50), max_genes=500, dense_layers=(0, 50))
"""So much room that no operator meets a limit of structure."""


def genes(code: Genome) -> list[Gene]:
    return [*(gene for block in code.blocks for gene in block), *code.dense]


@pytest.mark.slow
def test_ten_thousand_genomes_are_valid_and_survive_json(space: ConvSpace) -> None:
    rng = np.random.default_rng(1)
    population = [space.random(rng) for _ in range(64)]
    for birth in range(10_000):
        first, second = (population[i] for i in rng.integers(len(population), size=2))
        if birth % 3 == 0:
            child = space.random(rng)
        elif birth % 3 == 1:
            child = space.crossover(first, second, rng)
        else:
            child = space.mutate(first, rng)
        assert space.from_json(json.loads(json.dumps(space.to_json(child)))) == child
        population[birth % len(population)] = child


def test_operators_are_a_function_of_their_generator(space: ConvSpace) -> None:
    rng = np.random.default_rng(2)
    for seed in range(50):
        first, second = space.random(rng), space.random(rng)
        before = space.to_json(first), space.to_json(second)
        for breed in (
            space.random,
            lambda rng, a=first, b=second: space.crossover(a, b, rng),
            lambda rng, a=first: space.mutate(a, rng),
        ):
            same = [breed(np.random.default_rng(seed)) for _ in range(2)]
            assert same[0] == same[1]
            assert any(breed(np.random.default_rng(1000 + other)) != same[0] for other in range(5))
        assert (space.to_json(first), space.to_json(second)) == before


def test_random_genomes_reach_every_limit() -> None:
    rng = np.random.default_rng(3)
    sample = [random_genome(PAPER, rng) for _ in range(2000)]
    assert {len(code.blocks) for code in sample} == set(range(1, 11))
    assert {sum(isinstance(gene, PoolGene) for gene in genes(code)) for code in sample} == {1, 2, 3}
    assert {len(code.dense) for code in sample} == {0, 1}
    kernels = {gene.kernel for code in sample for gene in genes(code) if isinstance(gene, ConvGene)}
    channels = {gene.channels for code in sample for gene in genes(code) if isinstance(gene, ConvGene)}
    assert kernels == {1, 2, 3, 4, 5}
    assert channels == set(range(3, 129))


# Crossover


def test_crossover_of_equal_parents_returns_them(space: ConvSpace) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        parent = space.random(rng)
        assert space.crossover(parent, parent, rng) == parent


def test_crossover_keeps_the_structure_of_either_parent() -> None:
    first = genome([conv(), max_pool()], [conv()], dense=(1500,))
    second = genome([conv(), conv(), conv(), avg_pool()])
    rng = np.random.default_rng(5)
    shapes = [[len(block) for block in crossover(first, second, PAPER, rng).blocks] for _ in range(400)]
    assert 150 < shapes.count([2, 1]) < 250
    assert 150 < shapes.count([4]) < 250


def test_crossover_aligns_genes_by_kind() -> None:
    bounds = Bounds(crossover_probability=1.0)
    first = genome([conv(channels=10), max_pool(), conv(channels=20)], dense=(1500,))
    second = genome([conv(channels=10)], [conv(channels=20), conv(channels=90), max_pool()], dense=(1500,))
    rng = np.random.default_rng(6)
    children = [crossover(first, second, bounds, rng) for _ in range(50)]
    # Equal partners give themselves, a gene without a partner stays.
    assert set(children) == {first, second}


def test_crossover_with_probability_zero_returns_a_parent() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        first, second = random_genome(PAPER, rng), random_genome(PAPER, rng)
        assert crossover(first, second, Bounds(crossover_probability=0.0), rng) in (first, second)


def test_crossover_crosses_nine_pairs_of_ten() -> None:
    first, second = genome([conv(channels=40), max_pool()]), genome([conv(channels=90), max_pool()])
    rng = np.random.default_rng(8)
    untouched = sum(
        child.blocks[0][0] in (first.blocks[0][0], second.blocks[0][0])
        for child in (crossover(first, second, PAPER, rng) for _ in range(3000))
    )
    # A crossed integer may round to its parent's value, and often does where the spread is small.
    assert 0.09 < untouched / 3000 < 0.2


def test_sbx_keeps_the_mean_of_a_pair_that_is_as_far_from_either_bound() -> None:
    rng = np.random.default_rng(9)
    for _ in range(1000):
        half_distance, u = rng.random(2).tolist()
        first, second = 0.5 - 0.5 * half_distance, 0.5 + 0.5 * half_distance
        pair = (
            sbx(first, second, 0.0, 1.0, eta=0.05, u=u),
            sbx(second, first, 0.0, 1.0, eta=0.05, u=u),
        )
        assert sum(pair) == pytest.approx(1.0)
        assert -1e-9 <= pair[0] <= pair[1] + 1e-9 <= 1.0 + 2e-9


def test_sbx_spreads_less_where_eta_is_great() -> None:
    u = np.random.default_rng(10).random(2000).tolist()
    distances = [
        float(np.mean([abs(sbx(0.4, 0.6, 0.0, 1.0, eta, number) - 0.4) for number in u]))
        for eta in (0.05, 2, 50)
    ]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.01


unit = st.floats(0.0, 1.0)


@given(near=unit, far=unit, u=st.floats(0.0, 1.0, exclude_max=True), eta=st.floats(0.0, 100.0))
def test_sbx_stays_in_its_bounds(near: float, far: float, u: float, eta: float) -> None:
    assert -1e-9 <= sbx(near, far, 0.0, 1.0, eta, u) <= 1.0 + 1e-9


# Mutation


@given(value=unit, u=st.floats(0.0, 1.0, exclude_max=True), eta=st.floats(0.0, 100.0))
def test_polynomial_mutation_stays_in_its_bounds(value: float, u: float, eta: float) -> None:
    assert -1e-9 <= polynomial_mutation(value, 0.0, 1.0, eta, u) <= 1.0 + 1e-9


def test_polynomial_mutation_at_the_middle_changes_nothing() -> None:
    assert polynomial_mutation(0.3, 0.0, 1.0, eta=0.05, u=0.5) == pytest.approx(0.3)
    assert polynomial_mutation(2.0, 2.0, 2.0, eta=0.05, u=0.9) == 2.0


def test_polynomial_mutation_reaches_both_bounds() -> None:
    values = [
        polynomial_mutation(0.3, 0.0, 1.0, 0.05, u) for u in np.random.default_rng(11).random(2000).tolist()
    ]
    assert min(values) < 0.01
    assert max(values) > 0.99


def test_shares_of_the_actions() -> None:
    rng = np.random.default_rng(12)
    actions = [action for _ in range(1000) for action in draw_actions(30, PAPER, uniforms(rng, 100))]
    share = {action: actions.count(action) / len(actions) for action in Action}
    assert share[Action.KEEP] == pytest.approx(0.5, abs=0.01)
    assert share[Action.ADD] == pytest.approx(0.165, abs=0.01)
    assert share[Action.REMOVE] == pytest.approx(0.165, abs=0.01)
    assert share[Action.ALTER] == pytest.approx(0.17, abs=0.01)


def test_mutation_adds_alters_and_removes_by_its_shares() -> None:
    rng = np.random.default_rng(13)
    parent = genome(*([conv(channels=10 + i), conv(channels=60 + i)] for i in range(20)))
    mutants = [mutate(parent, WIDE, rng) for _ in range(300)]
    kept = np.mean([len(set(genes(mutant)) & set(genes(parent))) for mutant in mutants]) / 40
    added = np.mean([sum(map(len, mutant.blocks)) - 40 for mutant in mutants]) / 40
    # Genes survive where they are not touched, or only have one added before them.
    assert kept == pytest.approx(0.5 + 0.5 * 0.33, abs=0.02)
    assert added == pytest.approx(0.0, abs=0.02)


def test_mutation_changes_its_genome(space: ConvSpace) -> None:
    rng = np.random.default_rng(14)
    unchanged = sum(
        space.mutate(parent, rng) == parent for parent in (space.random(rng) for _ in range(2000))
    )
    # What remains are alterations that round to what was there.
    assert unchanged < 20


def test_blocks_appear_and_vanish() -> None:
    rng = np.random.default_rng(15)
    parent = genome([conv(), max_pool()], [conv()], [conv()])
    counts = {len(mutate(parent, PAPER, rng).blocks) for _ in range(500)}
    assert {1, 2, 3, 4, 5} <= counts


def test_dense_layers_appear_and_vanish() -> None:
    rng = np.random.default_rng(16)
    without, single = genome([conv(), max_pool()]), genome([conv(), max_pool()], dense=(1500,))
    assert {len(mutate(without, PAPER, rng).dense) for _ in range(100)} == {0, 1}
    assert {len(mutate(single, PAPER, rng).dense) for _ in range(100)} == {0, 1}


@pytest.mark.parametrize("share", ["add_share", "remove_share", None])
def test_mutation_of_one_sort_only(share: str | None) -> None:
    shares = {"add_share": 0.0, "remove_share": 0.0, **({share: 1.0} if share else {})}
    bounds = WIDE.model_copy(update={**shares, "gene_mutation_probability": 1.0})
    parent = genome([conv(), conv(), max_pool()], [conv(), conv()], dense=(1500, 1600))
    mutant = mutate(parent, bounds, np.random.default_rng(17))
    # One block of one convolution must stay; a dense gene also appears before the output layer.
    expected = {"add_share": (10, 5), "remove_share": (1, 0), None: (5, 2)}[share]
    assert (sum(map(len, mutant.blocks)), len(mutant.dense)) == expected


# Repair

any_conv = st.builds(ConvGene, st.integers(-3, 9), st.integers(-5, 300), st.floats(-3, 3), st.floats(-3, 3))
any_pool = st.builds(PoolGene, st.integers(-1, 9), st.floats(-1, 2))
any_dense = st.builds(DenseGene, st.integers(-5, 5000))
any_genome = st.builds(
    Genome,
    st.lists(st.lists(any_conv | any_pool, max_size=7).map(tuple), max_size=14).map(tuple),
    st.lists(any_dense, max_size=4).map(tuple),
)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@given(code=any_genome, seed=st.integers(0, 2**32))
def test_repair_brings_anything_within_all_bounds(preset: str, code: Genome, seed: int) -> None:
    bounds = PRESETS[preset]
    repaired = repair(code, bounds, np.random.default_rng(seed))
    validate(repaired, bounds)
    assert repair(repaired, bounds, np.random.default_rng(seed + 1)) == repaired


@given(code=any_genome)
def test_repair_meets_bounds_that_leave_no_choice(code: Genome) -> None:
    bounds = Bounds(blocks=(2, 3), pools=(2, 2), max_genes=4, dense_layers=(2, 2))
    validate(repair(code, bounds, np.random.default_rng(0)), bounds)


def test_repair_moves_pools_behind_convolutions() -> None:
    first, second = conv(channels=10), conv(channels=20)
    leading = genome([max_pool(), avg_pool(), first], [avg_pool(4)], [second])
    repaired = repair(leading, PAPER, np.random.default_rng(0))
    assert repaired == genome([first, max_pool(), avg_pool(), avg_pool(4)], [second])


def test_repair_rounds_and_clips() -> None:
    crooked = genome([ConvGene(9, 1, 0.12345678, -1e-9), PoolGene(3, 1.5)], dense=(10,))
    (block,), dense = (repaired := repair(crooked, PAPER, np.random.default_rng(0))).blocks, repaired.dense
    assert block == (ConvGene(5, 3, 0.123457, 0.0), PoolGene(2, 1.0))
    assert str(block[0].init_std) == "0.0"
    assert dense == (DenseGene(1000),)
