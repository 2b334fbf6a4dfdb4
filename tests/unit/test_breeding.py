"""Breeding, on a small space of real vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pytest
from numpy.random import Generator

from evolver import selection
from evolver.breeding import (
    BREEDER_VERSION,
    MAX_TRIES,
    NO_CREDIT,
    PLAIN,
    TRIES,
    UNUSED,
    Birth,
    Limits,
    Practice,
    breed,
    sow,
    uses_of,
)
from evolver.constraints import Constraint
from evolver.credit import Credit
from evolver.errors import SpaceExhausted
from evolver.genome.bounds import PRESETS
from evolver.genome.space import ConvSpace
from evolver.rng import birth_rng
from evolver.search import SearchState, ingest
from evolver.selection import pareto
from evolver.selection.base import Population, Selector
from evolver.selection.baseline import RandomSearch
from evolver.selection.moead import MoeaD
from evolver.selection.nsga2 import Nsga2
from evolver.space import Cost, Sample

Vector = tuple[float, ...]

SAMPLE = Sample(channels=1, spatial=(8, 8), classes=10)
UNLIMITED = Limits(max_params=None, max_memory_bytes=None, batch_size=64)


@dataclass
class VectorSpace:
    """Vectors in the unit cube, with SBX and Gaussian mutation; a vector's params are 1,000 × its sum."""

    dimensions: int = 5
    mutation_probability: float = 0.5
    name: str = "vector"
    version: int = 1

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        return cls(**settings)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def settings(self) -> dict[str, Any]:
        return {"dimensions": self.dimensions, "mutation_probability": self.mutation_probability}

    def random(self, rng: Generator) -> Vector:
        return tuple(rng.random(self.dimensions).tolist())

    def crossover(self, first: Vector, second: Vector, rng: Generator) -> Vector:
        u = rng.random(self.dimensions)
        spread = np.where(u < 0.5, 2 * u, 1 / (2 * (1 - u))) ** (1 / 16)
        a, b = np.array(first), np.array(second)
        return tuple(np.clip(((1 + spread) * a + (1 - spread) * b) / 2, 0, 1).tolist())

    def mutate(self, genome: Vector, rng: Generator) -> Vector:
        hit = rng.random(self.dimensions) < 1 / self.dimensions
        step = rng.normal(scale=0.1, size=self.dimensions)
        return tuple(np.clip(np.array(genome) + hit * step, 0, 1).tolist())

    def validate(self, genome: Vector) -> None:
        return None

    def phenotype(self, genome: Vector, sample: Sample) -> str:
        return repr(genome)

    def cost(self, genome: Vector, sample: Sample) -> Cost:
        params = round(1_000 * sum(genome))
        return Cost(params=params, flops=2 * params, activations=10)

    def to_json(self, genome: Vector) -> list[float]:
        return list(genome)

    def from_json(self, code: Any) -> Vector:
        return tuple(code)

    def describe(self, genome: Vector, sample: Sample) -> list[str]:
        return [repr(genome)]


SPACE = VectorSpace()
SELECTOR = MoeaD(slots=6, objectives=2)
GENOMES = {i: SPACE.random(birth_rng(99, i)) for i in range(1, 7)}


def unseen(phenotype: str) -> int | None:
    return None


def full_population(genome_ids: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> Population:
    return Population(genome_ids, np.ones((6, 2)), np.zeros(6))


def breed_one(
    population: Population,
    birth: int = 1,
    *,
    space: VectorSpace = SPACE,
    selector: Selector = SELECTOR,
    seed: int = 7,
    seen: Callable[[str], int | None] = unseen,
    limits: Limits = UNLIMITED,
    practice: Practice = PLAIN,
    uses: Mapping[int, int] = UNUSED,
    credit: Credit = NO_CREDIT,
) -> Birth[Vector]:
    return breed(
        space,
        SAMPLE,
        selector,
        population,
        selector.initial_state(),
        birth=birth,
        seed=seed,
        genome_of=GENOMES.__getitem__,
        seen=seen,
        limits=limits,
        practice=practice,
        uses=uses,
        credit=credit,
    )


class SeenUntil:
    """Takes every phenotype for a duplicate of genome 42, except those from the n-th question on."""

    def __init__(self, questions: int) -> None:
        self.left = questions
        self.asked: list[str] = []

    def __call__(self, phenotype: str) -> int | None:
        self.asked.append(phenotype)
        self.left -= 1
        return None if self.left <= 0 else 42


def test_generator_depends_on_seed_and_birth_alone() -> None:
    draws = {(seed, birth): birth_rng(seed, birth).random() for seed in range(5) for birth in range(1, 6)}
    assert len(set(draws.values())) == 25
    assert draws[3, 4] == birth_rng(3, 4).random()


@pytest.mark.parametrize("population", [Population.empty(6, 2), full_population()])
def test_same_seed_same_child_other_seed_or_number_another(population: Population) -> None:
    child = breed_one(population, 5)
    assert breed_one(population, 5) == child
    assert breed_one(population, 5, seed=8).genome != child.genome
    assert breed_one(population, 11).genome != child.genome


def test_slots_are_bred_for_in_turn() -> None:
    births = [breed_one(full_population(), birth) for birth in range(1, 14)]
    assert [child.slot for child in births] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0]


def test_births_are_random_until_the_population_is_full() -> None:
    almost = Population((1, 2, 3, 4, 5, None), np.ones((6, 2)), np.zeros(6))
    child = breed_one(almost)
    assert (child.operator, child.parents, child.tries, child.duplicate_of) == ("random", (), 1, None)
    assert child.phenotype == SPACE.phenotype(child.genome, SAMPLE)
    assert child.cost == SPACE.cost(child.genome, SAMPLE)


def test_children_of_random_search_have_no_parents() -> None:
    births = [breed_one(full_population(), birth, selector=RandomSearch(6, 2)) for birth in range(1, 13)]
    assert {(child.operator, child.parents, child.tries) for child in births} == {("random", (), 1)}
    assert len({child.genome for child in births}) == 12


def test_children_of_a_full_population_have_two_parents() -> None:
    births = [breed_one(full_population(), birth) for birth in range(1, 101)]
    assert {child.operator for child in births} == {"crossover", "crossover+mutation"}
    for child in births:
        near = SELECTOR.neighbourhoods[child.slot]
        assert set(child.parents) == {full_population().genome_ids[slot] for slot in near}


@pytest.mark.parametrize(("probability", "operator"), [(0.0, "crossover"), (1.0, "crossover+mutation")])
def test_mutation_probability(probability: float, operator: str) -> None:
    space = VectorSpace(mutation_probability=probability)
    births = [breed_one(full_population(), birth, space=space) for birth in range(1, 20)]
    assert {child.operator for child in births} == {operator}


def test_one_parent_on_both_sides_is_mutated_only() -> None:
    child = breed_one(full_population((3,) * 6), space=VectorSpace(mutation_probability=0.0))
    assert (child.operator, child.parents) == ("mutation", (3,))
    assert child.genome != GENOMES[3]


def test_a_duplicate_is_bred_again() -> None:
    child = breed_one(full_population(), seen=SeenUntil(4))
    assert child.tries == 4
    assert child.duplicate_of is None
    assert len(child.parents) == 2


def test_after_twenty_duplicates_a_random_genome_comes() -> None:
    child = breed_one(full_population(), seen=SeenUntil(TRIES + 3))
    assert (child.operator, child.parents, child.tries) == ("random", (), TRIES + 3)
    assert child.duplicate_of is None


@pytest.mark.parametrize(
    ("population", "tries"), [(full_population(), 2 * TRIES), (Population.empty(6, 2), TRIES)]
)
def test_the_last_duplicate_is_kept(population: Population, tries: int) -> None:
    seen = SeenUntil(10_000)
    child = breed_one(population, seen=seen)
    assert (child.operator, child.tries, child.duplicate_of) == ("random", tries, 42)
    assert len(seen.asked) == tries
    assert child.phenotype == seen.asked[-1]


def test_genomes_beyond_the_limits_are_refused_like_duplicates() -> None:
    limits = Limits(max_params=2_000, max_memory_bytes=None, batch_size=64)
    births = [breed_one(Population.empty(6, 2), birth, limits=limits) for birth in range(1, 30)]
    assert max(child.cost.params for child in births) <= 2_000
    assert max(child.tries for child in births) > 1
    assert {child.duplicate_of for child in births} == {None}


def test_the_kept_duplicate_counts_the_tries_after_it() -> None:
    limits = Limits(max_params=2_000, max_memory_bytes=None, batch_size=64)
    births = [
        breed_one(Population.empty(6, 2), birth, limits=limits, seen=SeenUntil(10_000))
        for birth in range(1, 9)
    ]
    assert {child.tries for child in births} == {TRIES}
    assert {child.duplicate_of for child in births} == {42}


def test_goes_on_beyond_the_usual_tries_when_nothing_was_within_the_limits() -> None:
    limits = Limits(max_params=1_000, max_memory_bytes=None, batch_size=64)
    births = [breed_one(full_population(), birth, limits=limits) for birth in range(1, 9)]
    assert max(child.tries for child in births) > 2 * TRIES
    assert max(child.cost.params for child in births) <= 1_000


def test_limits_that_nothing_meets_exhaust_the_space() -> None:
    limits = Limits(max_params=-1, max_memory_bytes=5_000, batch_size=64)
    with pytest.raises(SpaceExhausted, match=rf"max_params -1 .* 5000 .* {MAX_TRIES} tries"):
        breed_one(full_population(), limits=limits)


@pytest.mark.parametrize(
    ("max_params", "max_memory_bytes", "admitted"),
    [(None, None, True), (100, None, True), (99, None, False), (None, 3_760, True), (None, 3_759, False)],
)
def test_limits(max_params: int | None, max_memory_bytes: int | None, admitted: bool) -> None:
    cost = Cost(params=100, flops=0, activations=64)
    limits = Limits(max_params, max_memory_bytes, batch_size=10)
    assert limits.memory_bytes(cost) == 100 * 4 * 3 + 64 * 10 * 4 == 3_760
    assert limits.admits(cost) == admitted


def test_constraints_on_costs_are_limits() -> None:
    bounds = (
        Constraint("activations", "<=", 10),
        Constraint("params", "<=", 2_000),
        Constraint("flops", ">=", 3_600),
    )
    limits = Limits(max_params=None, max_memory_bytes=None, batch_size=64, constraints=bounds)
    births = [breed_one(Population.empty(6, 2), birth, limits=limits) for birth in range(1, 9)]
    assert all(1_800 <= child.cost.params <= 2_000 for child in births)
    assert max(child.tries for child in births) > 1


def test_constraints_that_nothing_meets_are_named() -> None:
    limits = Limits(None, None, batch_size=64, constraints=(Constraint("activations", "<=", 9),))
    with pytest.raises(SpaceExhausted, match="and activations<=9 in"):
        breed_one(full_population(), limits=limits)


@pytest.mark.parametrize(("birth", "slot"), [(1, 0), (6, 5), (7, 0)])
def test_a_given_genome_is_born_as_it_is(birth: int, slot: int) -> None:
    genome = GENOMES[3]
    child = sow(SPACE, SAMPLE, genome, birth=birth, slots=6, seen=unseen)
    assert child == Birth(
        birth, genome, SPACE.phenotype(genome, SAMPLE), SPACE.cost(genome, SAMPLE), "seed", (), slot, 1, None
    )
    again = sow(SPACE, SAMPLE, genome, birth=birth, slots=6, seen={child.phenotype: 1}.get)
    assert again.duplicate_of == 1


def zdt1(x: Vector) -> np.ndarray[Any, np.dtype[np.float64]]:
    """ZDT1 (Zitzler, Deb and Thiele 2000): minimise both; the best points have x[1:] = 0."""
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return np.array([x[0], g * (1 - np.sqrt(x[0] / g))])


def searched_hypervolume(selector_name: str, seed: int, budget: int) -> float:
    """The hypervolume of all that a search over ZDT1 found; every result comes in at once."""
    selector = selection.load(selector_name, slots=20, objectives=2)
    population, state = Population.empty(20, 2), selector.initial_state()
    genomes: dict[int, Vector] = {}
    phenotypes: dict[str, int] = {}
    found = []
    for number in range(1, budget + 1):
        child = breed(
            SPACE,
            SAMPLE,
            selector,
            population,
            state,
            birth=number,
            seed=seed,
            genome_of=genomes.__getitem__,
            seen=phenotypes.get,
            limits=UNLIMITED,
        )
        genomes[number] = child.genome
        phenotypes[child.phenotype] = number
        found.append(zdt1(child.genome))
        result = selector.insert(population, state, number, found[-1], child.slot)
        population, state = result.population, result.state
    return pareto.hypervolume(np.array(found), np.array([1.1, 1.1]))


@pytest.mark.parametrize("selector_name", ["moead", "nsga2", "smsemoa"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_search_beats_random_search(selector_name: str, seed: int) -> None:
    budget = 1_000
    random_finds = np.array([zdt1(SPACE.random(birth_rng(seed, birth))) for birth in range(1, budget + 1)])
    by_chance = pareto.hypervolume(random_finds, np.array([1.1, 1.1]))
    assert searched_hypervolume(selector_name, seed, budget) > by_chance + 0.3


# --- parents -----------------------------------------------------------------------------------------

LEAST_USED = Practice(parents="least-used")


def test_of_two_pairs_that_was_used_less_often_breeds() -> None:
    selector, uses = Nsga2(6, 2), {1: 0, 2: 9, 3: 0, 4: 9, 5: 0, 6: 9}
    seconds = 0
    for birth in range(1, 31):
        rng = birth_rng(7, birth)
        pairs = [
            tuple(slot + 1 for slot in selector.parents(full_population(), {}, 0, rng)) for _ in range(2)
        ]
        child = breed_one(full_population(), birth, selector=selector, practice=LEAST_USED, uses=uses)
        assert child.parents == min(pairs, key=lambda pair: uses[pair[0]] + uses[pair[1]])
        seconds += child.parents != pairs[0]
        unused = breed_one(full_population(), birth, selector=selector, practice=LEAST_USED)
        assert unused.parents == pairs[0]
    assert seconds > 5


def test_uses_do_not_matter_unless_they_are_asked_for() -> None:
    assert breed_one(full_population(), uses={1: 99}) == breed_one(full_population())


def test_random_selection_has_no_pairs() -> None:
    child = breed_one(full_population(), selector=RandomSearch(6, 2), practice=LEAST_USED)
    assert (child.operator, child.tries) == ("random", 1)


def test_uses_are_those_of_holders() -> None:
    assert uses_of({1: 3, 9: 4}, full_population((1, 1, 2, 2, 2, 3))) == {1: 3, 2: 0, 3: 0}


# --- candidates --------------------------------------------------------------------------------------

BY_PARAMS = ((1, "params"),)


def lopsided_population() -> Population:
    """Holders of which five are alike in params, and one has by far the most."""
    params = np.array([1_000.0, 1_010.0, 1_020.0, 1_030.0, 1_040.0, 4_000.0])
    return Population((1, 2, 3, 4, 5, 6), np.stack([np.ones(6), params], axis=1), np.zeros(6))


def test_one_of_so_many_candidates_is_born() -> None:
    practice = Practice(candidates=8, cheap=BY_PARAMS)
    child = breed_one(lopsided_population(), practice=practice)
    assert child == breed_one(lopsided_population(), practice=practice)
    assert (child.tries, child.duplicate_of, len(child.parents)) == (8, None, 2)
    alone = {breed_one(lopsided_population(), birth).genome for birth in range(1, 41)}
    chosen = {breed_one(lopsided_population(), birth, practice=practice).genome for birth in range(1, 41)}
    assert 0 < len(alone & chosen) < 20  # the first candidate of eight is what is born without a choice


def test_duplicates_and_what_is_beyond_the_limits_are_no_candidates() -> None:
    seen = SeenUntil(4)
    child = breed_one(lopsided_population(), seen=seen, practice=Practice(candidates=3, cheap=BY_PARAMS))
    assert (child.tries, child.duplicate_of) == (6, None)
    assert child.phenotype in seen.asked[3:]
    bound = Limits(None, None, batch_size=64, constraints=(Constraint("params", "<=", 2_400),))
    for birth in range(1, 10):
        child = breed_one(
            full_population(), birth, limits=bound, practice=Practice(candidates=5, cheap=BY_PARAMS)
        )
        assert child.cost.params <= 2_400


def test_with_fewer_candidates_than_asked_for_one_of_them_is_born() -> None:
    """All but three phenotypes are taken for duplicates."""
    asked: list[str] = []

    def seen(phenotype: str) -> int | None:
        asked.append(phenotype)
        return None if len(asked) <= 3 else 42

    child = breed_one(lopsided_population(), seen=seen, practice=Practice(candidates=30, cheap=BY_PARAMS))
    assert child.phenotype in asked[:3]
    assert child.tries == TRIES - 1 + 30


def test_without_any_candidate_a_random_genome_comes() -> None:
    practice = Practice(candidates=3, cheap=BY_PARAMS)
    bred = TRIES - 1 + 3
    child = breed_one(lopsided_population(), seen=SeenUntil(bred + 2), practice=practice)
    assert (child.operator, child.tries) == ("random", bred + 2)
    kept = breed_one(lopsided_population(), seen=SeenUntil(10_000), practice=practice)
    assert (kept.tries, kept.duplicate_of) == (bred + TRIES, 42)


def test_random_births_have_no_candidates() -> None:
    practice = Practice(candidates=8, cheap=BY_PARAMS)
    assert breed_one(Population.empty(6, 2), practice=practice) == breed_one(Population.empty(6, 2))


def test_equal_candidates_are_one() -> None:
    class Coin(VectorSpace):
        def crossover(self, first: Vector, second: Vector, rng: Generator) -> Vector:
            return (float(rng.random() < 0.5),) * 5

    child = breed_one(
        lopsided_population(),
        space=Coin(mutation_probability=0.0),
        practice=Practice(candidates=3, cheap=BY_PARAMS),
    )
    assert child.tries == TRIES - 1 + 3


def test_thin_regions_are_filled_more_evenly_with_candidates() -> None:
    """The params of all that a search bred, in bins of their logarithms; 1.0 is perfectly even."""
    evenness = {number: np.mean([evenness_of(number, seed) for seed in range(3)]) for number in (1, 16)}
    assert evenness[16] > evenness[1] + 0.05


def evenness_of(candidates: int, seed: int) -> float:
    """The entropy of the params of 200 births, of which each takes the place of the oldest holder."""
    practice = Practice(candidates=candidates, cheap=((0, "params"),))
    selector = MoeaD(slots=20, objectives=1)
    genomes = {number: SPACE.random(birth_rng(seed, number)) for number in range(1, 21)}
    params = {number: float(SPACE.cost(genome, SAMPLE).params) for number, genome in genomes.items()}
    population = Population(tuple(genomes), np.array(list(params.values()))[:, None], np.zeros(20))
    for number in range(21, 221):
        child = breed(
            SPACE,
            SAMPLE,
            selector,
            population,
            selector.initial_state(),
            birth=number,
            seed=seed,
            genome_of=genomes.__getitem__,
            seen=unseen,
            limits=UNLIMITED,
            practice=practice,
        )
        genomes[number], params[number] = child.genome, float(child.cost.params)
        population = population.with_slot(number % 20, number, np.array([params[number]]))
    counts, _ = np.histogram([params[number] for number in range(21, 221)], bins=10, range=(500, 4_500))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(10))


# --- operators that learn ----------------------------------------------------------------------------

LEARNED = Practice(operators="learned")


class Kinds(VectorSpace):
    """Mutations of one kind set all values to 0 or to 1."""

    def mutations(self) -> Mapping[str, Callable[[Vector, Generator], Vector]]:
        return {"up": lambda genome, rng: (1.0,) * 5, "mutation": lambda genome, rng: (0.0,) * 5}


def test_learned_operators_are_recorded_as_they_were_drawn() -> None:
    births = [breed_one(full_population(), birth, space=Kinds(), practice=LEARNED) for birth in range(1, 61)]
    assert {child.operator for child in births} == {
        "crossover", "crossover+mutation", "mutation", "mutation:mutation", "mutation:up",
    }  # fmt: skip
    for child in births:
        assert len(child.parents) == (2 if child.operator.startswith("crossover") else 1)
        assert (child.genome == (1.0,) * 5) == (child.operator == "mutation:up")
        assert (child.genome == (0.0,) * 5) == (child.operator == "mutation:mutation")
        assert child == breed_one(full_population(), child.birth, space=Kinds(), practice=LEARNED)


def test_a_space_without_kinds_has_three_operators() -> None:
    births = [breed_one(full_population(), birth, practice=LEARNED) for birth in range(1, 41)]
    assert {child.operator for child in births} == {"crossover", "crossover+mutation", "mutation"}


def test_operators_are_drawn_by_credit() -> None:
    credit = {"mutation": [45.0, 5.0], "crossover": [1.0, 49.0], "crossover+mutation": [1.0, 49.0]}
    births = [breed_one(full_population(), birth, practice=LEARNED, credit=credit) for birth in range(1, 41)]
    assert [child.operator for child in births].count("mutation") > 38
    fixed = [breed_one(full_population(), birth, credit=credit) for birth in range(1, 41)]
    assert {child.operator for child in fixed} == {"crossover", "crossover+mutation"}


def test_one_parent_on_both_sides_is_never_crossed() -> None:
    credit = {"crossover": [49.0, 1.0], "crossover+mutation": [49.0, 1.0]}
    for birth in range(1, 20):
        child = breed_one(full_population((3,) * 6), birth, space=Kinds(), practice=LEARNED, credit=credit)
        assert child.operator.startswith("mutation")
        assert child.parents == (3,)


def test_a_search_learns_the_operator_that_alone_succeeds() -> None:
    """Only the mutation ``up`` improves: each is better than all before, as the slots' vectors are."""
    selector = selection.load("nsga2", 6, 2)
    state = SearchState.initial(selector, 2)
    operators: list[str] = []
    for number in range(1, 301):
        child = breed(
            Kinds(),
            SAMPLE,
            selector,
            state.population,
            state.selector_state,
            birth=number,
            seed=5,
            genome_of=lambda genome_id: GENOMES[1],
            seen=unseen,
            limits=UNLIMITED,
            practice=LEARNED,
            credit=state.credit,
        )
        operators.append(child.operator)
        is_better = child.operator in ("random", "mutation:up")
        state, _ = ingest(
            selector,
            state,
            genome_id=number,
            slot=child.slot,
            objectives=(1.0 / number,) * 2 if is_better else (9.0, 9.0),
            front_limit=10,
            operator=None if child.operator == "random" else child.operator,
        )
    assert operators[100:].count("mutation:up") > 160
    assert set(state.credit) == set(operators) - {"random"}


# --- plain breeding ----------------------------------------------------------------------------------


def test_plain_breeding_makes_the_children_it_always_made() -> None:
    """A change of this digest makes searches that exist impossible to replay: raise BREEDER_VERSION then."""
    rates = {"crossover_probability": 0.9, "mutation_probability": 0.2, "gene_mutation_probability": 0.5}
    space = ConvSpace(PRESETS["tiny"].model_copy(update=rates))  # whatever the preset's are
    genomes = {number: space.random(birth_rng(5, number)) for number in range(1, 7)}
    points = np.random.default_rng(1).random((6, 2))
    children = []
    for birth in range(1, 41):
        child = breed(
            space,
            SAMPLE,
            Nsga2(6, 2),
            Population((1, 2, 3, 4, 5, 6), points, np.zeros(6)),
            {},
            birth=birth,
            seed=3,
            genome_of=genomes.__getitem__,
            seen=lambda phenotype: 9 if int(phenotype[0], 16) < 8 else None,
            limits=Limits(20_000, None, 64),
        )
        code = space.to_json(child.genome)
        children.append([code, child.operator, child.parents, child.tries, child.duplicate_of])
    digest = hashlib.sha256(json.dumps(children).encode()).hexdigest()
    assert (BREEDER_VERSION, digest) == (
        3,
        "d6897416217e00b41839b5641db15ea00be7da8060914722a159c3c5f03fb50f",
    )
