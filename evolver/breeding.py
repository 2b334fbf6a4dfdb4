"""Breeding: how one child comes to be. Pure, used by the scheduler and by replay.

A child is derived from the experiment's seed, its birth number and the population alone, so that it
can be derived again. The generator is drawn from in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, Literal

from numpy.random import Generator

from evolver.constraints import Constraints
from evolver.errors import SpaceExhausted
from evolver.rng import birth_rng
from evolver.selection.base import Population, Selector
from evolver.space import Cost, G, Sample, Space

BREEDER_VERSION = 1
"""Raised whenever the same inputs would breed another child."""

TRIES = 20
"""How often a child whose phenotype was seen is bred again, by parents and then at random."""

MAX_TRIES = 1_000
"""How many genomes are tried in all before the limits count as impossible."""

Operator = Literal["random", "crossover", "mutation", "crossover+mutation", "seed"]

_VALUE_BYTES = 4
_VALUES_PER_PARAM = 3
"""The parameter, its gradient and its momentum."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a genome may cost in this experiment; None is no limit.

    ``batch_size`` is the recipe's: activations are kept for a whole batch. ``constraints`` are on costs.
    """

    max_params: int | None
    max_memory_bytes: int | None
    batch_size: int
    constraints: Constraints = ()

    def __str__(self) -> str:
        bounds = "".join(f" and {one}" for one in self.constraints)
        return (
            f"max_params {self.max_params} and max_memory_bytes {self.max_memory_bytes} "
            f"(batch size {self.batch_size}){bounds}"
        )

    def admits(self, cost: Cost) -> bool:
        """Whether a genome of this cost is within the limits."""
        return (
            (self.max_params is None or cost.params <= self.max_params)
            and (self.max_memory_bytes is None or self.memory_bytes(cost) <= self.max_memory_bytes)
            and all(one.excess(getattr(cost, one.name)) == 0.0 for one in self.constraints)
        )

    def memory_bytes(self, cost: Cost) -> int:
        """An estimate of the memory that training takes, in single precision."""
        values = cost.params * _VALUES_PER_PARAM + cost.activations * self.batch_size
        return values * _VALUE_BYTES


@dataclass(frozen=True)
class Birth(Generic[G]):
    """A child as it is born.

    ``parents`` are genome ids, none for a random genome; ``slot`` is the one it was bred for;
    ``tries`` counts all genomes that were made for it; ``duplicate_of`` is the genome with the same
    phenotype, if no other child was found.
    """

    birth: int
    genome: G
    phenotype: str
    cost: Cost
    operator: Operator
    parents: tuple[int, ...]
    slot: int
    tries: int
    duplicate_of: int | None


def breed(
    space: Space[G],
    sample: Sample,
    selector: Selector,
    population: Population,
    state: Mapping[str, Any],
    *,
    birth: int,
    seed: int,
    genome_of: Callable[[int], G],
    seen: Callable[[str], int | None],
    limits: Limits,
) -> Birth[G]:
    """Breed child number ``birth`` (from 1); ``seed`` is the experiment's.

    ``genome_of`` finds the genome of an id in the population, ``seen`` the genome id of a phenotype.
    A child that is a duplicate or beyond the limits is bred again: from parents if the population is
    full, then at random, ``TRIES`` times each. Then the last duplicate is kept.

    Raises SpaceExhausted when no genome within the limits comes up in ``MAX_TRIES``.
    """
    rng = birth_rng(seed, birth)
    slot = (birth - 1) % selector.slots
    enough = 2 * TRIES if population.is_full else TRIES
    kept: Birth[G] | None = None
    candidates = _candidates(space, selector, population, state, slot, genome_of, rng)
    for tries, (genome, operator, parents) in enumerate(islice(candidates, MAX_TRIES), start=1):
        cost = space.cost(genome, sample)
        if limits.admits(cost):
            phenotype = space.phenotype(genome, sample)
            twin = seen(phenotype)
            kept = Birth(birth, genome, phenotype, cost, operator, parents, slot, tries, twin)
            if twin is None:
                return kept
        if kept is not None and tries >= enough:
            return replace(kept, tries=tries)
    raise SpaceExhausted(
        f"no genome within {limits} in {MAX_TRIES} tries: loosen the limits or choose another space"
    )


def sow(
    space: Space[G],
    sample: Sample,
    genome: G,
    *,
    birth: int,
    slots: int,
    seen: Callable[[str], int | None],
) -> Birth[G]:
    """Child number ``birth`` when it is a given genome, which a search of so many slots begins with."""
    phenotype = space.phenotype(genome, sample)
    cost, slot = space.cost(genome, sample), (birth - 1) % slots
    return Birth(birth, genome, phenotype, cost, "seed", (), slot, 1, seen(phenotype))


def _candidates(
    space: Space[G],
    selector: Selector,
    population: Population,
    state: Mapping[str, Any],
    slot: int,
    genome_of: Callable[[int], G],
    rng: Generator,
) -> Iterator[tuple[G, Operator, tuple[int, ...]]]:
    """Genomes with their operator and parents, without end: a full population's children come first."""
    if population.is_full:
        for _ in range(TRIES):
            parents = selector.parents(population, state, slot, rng)
            if parents is None:
                break
            first, second = (_holder(population, parent) for parent in parents)
            if first == second:
                yield space.mutate(genome_of(first), rng), "mutation", (first,)
                continue
            child = space.crossover(genome_of(first), genome_of(second), rng)
            if rng.random() < space.mutation_probability:
                yield space.mutate(child, rng), "crossover+mutation", (first, second)
            else:
                yield child, "crossover", (first, second)
    while True:
        yield space.random(rng), "random", ()


def _holder(population: Population, slot: int) -> int:
    genome_id = population.genome_ids[slot]
    assert genome_id is not None, "parents come from a full population"
    return genome_id
