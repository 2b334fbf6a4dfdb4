"""Breeding: how one child comes to be. Pure, used by the scheduler and by replay.

A child is derived from the experiment's seed, its birth number and the population alone, so that it
can be derived again. The generator is drawn from in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any, Generic

import numpy as np
from numpy.random import Generator

from evolver.constraints import Constraints
from evolver.credit import BOTH, CROSSOVER, Credit, arms, draw
from evolver.density import rarities
from evolver.errors import SpaceExhausted
from evolver.rng import birth_rng
from evolver.selection.base import Population, Selector
from evolver.space import MUTATION_OF_KIND, Cost, G, HasMutations, Sample, Space

BREEDER_VERSION = 3
"""Raised whenever the same inputs would breed another child."""

TRIES = 20
"""How many genomes are made where all are duplicates, by parents and then at random."""

MAX_TRIES = 1_000
"""How many genomes are tried in all before the limits count as impossible."""

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


@dataclass(frozen=True, slots=True)
class Practice:
    """How the children of a full population are bred; as it stands here: plainly.

    ``parents``: as the selector draws them, or of two pairs that it draws the one that was used less often.
    ``candidates``: how many children are made, of which one is born; ``cheap`` has the objectives by which it
    is chosen, as columns of the population's objectives and names of costs. ``operators``: with the space's
    fixed probabilities, or drawn by their credit.
    """

    parents: str = "drawn"
    candidates: int = 1
    cheap: tuple[tuple[int, str], ...] = ()
    operators: str = "fixed"

    @property
    def pairs(self) -> int:
        """How many pairs of parents are asked of the selector for a child."""
        return 2 if self.parents == "least-used" else 1


PLAIN = Practice()
UNUSED: Mapping[int, int] = MappingProxyType({})
NO_CREDIT: Credit = MappingProxyType({})


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
    operator: str
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
    practice: Practice = PLAIN,
    uses: Mapping[int, int] = UNUSED,
    credit: Credit = NO_CREDIT,
) -> Birth[G]:
    """Breed child number ``birth`` (from 1); ``seed`` is the experiment's.

    ``genome_of`` finds the genome of an id in the population, ``seen`` the genome id of a phenotype;
    ``uses`` tells how many children holders of slots have among the births before this one, ``credit`` how
    operators did so far, where the practice asks for that.

    If the population is full, parents have children until there are as many candidates as the practice
    asks for, or ``TRIES`` children were none: duplicates, or beyond the limits. One candidate is kept. If
    there is none, and while the population is not full, genomes are random, until one is new; after
    ``TRIES`` of them the last duplicate is kept.

    Raises SpaceExhausted when no genome within the limits comes up in ``MAX_TRIES``.
    """
    rng = birth_rng(seed, birth)
    slot = (birth - 1) % selector.slots
    trials = _Trials(space, sample, birth, slot, limits, seen)
    enough = TRIES
    if population.is_full:
        enough += TRIES - 1 + practice.candidates
        pairs = _pairs(selector, population, state, slot, practice, uses, rng)
        child_of = partial(_child, space)
        if practice.operators == "learned":
            kinds = space.mutations() if isinstance(space, HasMutations) else {}
            child_of = partial(_learned_child, space, kinds, credit)
        for first, second in islice(pairs, TRIES - 1 + practice.candidates):
            trials.add(*child_of(first, second, genome_of, rng))
            if len(trials.candidates) == practice.candidates:
                break
        if trials.candidates:
            return replace(_chosen(trials.candidates, population, practice, rng), tries=trials.tries)
    while trials.tries < MAX_TRIES:
        trials.add(space.random(rng), "random", ())
        if trials.candidates:
            return trials.candidates[0]
        if trials.duplicate is not None and trials.tries >= enough:
            return replace(trials.duplicate, tries=trials.tries)
    raise SpaceExhausted(
        f"no genome within {limits} in {MAX_TRIES} tries: loosen the limits or choose another space"
    )


def uses_of(uses: Mapping[int, int], population: Population) -> dict[int, int]:
    """The uses of those who hold a slot now; who has just come has none. Children are to be added to it."""
    return {holder: uses.get(holder, 0) for holder in population.genome_ids if holder is not None}


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


class _Trials(Generic[G]):
    """The genomes that were made for one birth: how many, those that are new, and the last that is not."""

    def __init__(
        self,
        space: Space[G],
        sample: Sample,
        birth: int,
        slot: int,
        limits: Limits,
        seen: Callable[[str], int | None],
    ) -> None:
        self._space, self._sample, self._birth, self._slot = space, sample, birth, slot
        self._limits, self._seen = limits, seen
        self.tries = 0
        self.candidates: list[Birth[G]] = []
        self.duplicate: Birth[G] | None = None

    def add(self, genome: G, operator: str, parents: tuple[int, ...]) -> None:
        """One more genome; it is forgotten if it is beyond the limits, or a candidate's twin."""
        self.tries += 1
        cost = self._space.cost(genome, self._sample)
        if not self._limits.admits(cost):
            return
        phenotype = self._space.phenotype(genome, self._sample)
        if any(phenotype == other.phenotype for other in self.candidates):
            return
        twin = self._seen(phenotype)
        made = Birth(self._birth, genome, phenotype, cost, operator, parents, self._slot, self.tries, twin)
        if twin is None:
            self.candidates.append(made)
        else:
            self.duplicate = made


def _chosen(
    candidates: Sequence[Birth[G]], population: Population, practice: Practice, rng: Generator
) -> Birth[G]:
    """One of the candidates, the likelier the thinner the population is at its cheap objectives."""
    if len(candidates) == 1:
        return candidates[0]
    slots = list({holder: slot for slot, holder in enumerate(population.genome_ids)}.values())
    holders = population.objectives[np.ix_(slots, [column for column, _ in practice.cheap])]
    points = [[float(getattr(one.cost, name)) for _, name in practice.cheap] for one in candidates]
    shares = np.cumsum(rarities(np.array(points), holders))
    return candidates[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]


def _child(
    space: Space[G], first: int, second: int, genome_of: Callable[[int], G], rng: Generator
) -> tuple[G, str, tuple[int, ...]]:
    """A child of two genomes, which may be one and the same, with its operator and parents."""
    if first == second:
        return space.mutate(genome_of(first), rng), "mutation", (first,)
    child = space.crossover(genome_of(first), genome_of(second), rng)
    if rng.random() < space.mutation_probability:
        return space.mutate(child, rng), "crossover+mutation", (first, second)
    return child, "crossover", (first, second)


def _learned_child(
    space: Space[G],
    kinds: Mapping[str, Callable[[G, Generator], G]],
    credit: Credit,
    first: int,
    second: int,
    genome_of: Callable[[int], G],
    rng: Generator,
) -> tuple[G, str, tuple[int, ...]]:
    """As ``_child``, with the operator drawn by credit; a mutation is of the first parent."""
    operator = draw(credit, arms(kinds, crosses=first != second), rng)
    if operator in (CROSSOVER, BOTH):
        child = space.crossover(genome_of(first), genome_of(second), rng)
        return space.mutate(child, rng) if operator == BOTH else child, operator, (first, second)
    is_kind = operator.startswith(MUTATION_OF_KIND)
    mutate = kinds[operator.removeprefix(MUTATION_OF_KIND)] if is_kind else space.mutate
    return mutate(genome_of(first), rng), operator, (first,)


def _pairs(
    selector: Selector,
    population: Population,
    state: Mapping[str, Any],
    slot: int,
    practice: Practice,
    uses: Mapping[int, int],
    rng: Generator,
) -> Iterator[tuple[int, int]]:
    """The genome ids of two parents, again and again; none where children are to be random."""
    while True:
        drawn = [selector.parents(population, state, slot, rng) for _ in range(practice.pairs)]
        pairs = [(_holder(population, pair[0]), _holder(population, pair[1])) for pair in drawn if pair]
        if not pairs:
            return
        yield min(pairs, key=lambda pair: uses.get(pair[0], 0) + uses.get(pair[1], 0))


def _holder(population: Population, slot: int) -> int:
    genome_id = population.genome_ids[slot]
    assert genome_id is not None, "parents come from a full population"
    return genome_id
