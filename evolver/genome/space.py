"""The space of residual convolutional networks, as the scheduler and the workers know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from numpy.random import Generator

from evolver.genome import canonical, code, cost, describe, known, operators, plan, repair, sampling
from evolver.genome.bounds import PRESETS, Bounds, parse
from evolver.genome.code import Genome
from evolver.genome.plan import NetworkPlan
from evolver.space import Cost, Json, Sample


@dataclass(frozen=True)
class ConvSpace:
    """Implements ``evolver.space.Space`` for ``Genome``; each method is one function of this package."""

    bounds: Bounds = field(default_factory=Bounds)

    name = "conv"
    version = 1

    @property
    def mutation_probability(self) -> float:
        """How often a child of two parents is mutated as well."""
        return self.bounds.mutation_probability

    @classmethod
    def from_settings(cls, settings: Mapping[str, Json]) -> Self:
        """The space with these settings; those that are missing are the paper's.

        Raises UnknownName for an unknown setting, InvalidInput for one that is wrong.
        """
        return cls(parse(settings))

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Json]]:
        """The settings of ``paper``, ``small`` and ``tiny``."""
        return {name: preset.to_json() for name, preset in PRESETS.items()}

    def settings(self) -> dict[str, Json]:
        """All settings as JSON."""
        return self.bounds.to_json()

    def random(self, rng: Generator) -> Genome:
        """A random genome within all bounds."""
        return sampling.random_genome(self.bounds, rng)

    def known_genomes(self) -> Mapping[str, Genome]:
        """Genomes like LeNet, VGG and ResNet, within all bounds, by name."""
        return known.known_genomes(self.bounds)

    def crossover(self, first: Genome, second: Genome, rng: Generator) -> Genome:
        """One child of two parents, within all bounds."""
        return operators.crossover(first, second, self.bounds, rng)

    def mutate(self, genome: Genome, rng: Generator) -> Genome:
        """A changed copy, within all bounds."""
        return operators.mutate(genome, self.bounds, rng)

    def mutations(self) -> Mapping[str, Callable[[Genome, Generator], Genome]]:
        """Mutations that only add, only alter or only remove genes; what the bounds forbid is altered."""
        return {kind: partial(_mutate_by, bounds) for kind, bounds in self.bounds.by_mutation().items()}

    def validate(self, genome: Genome) -> None:
        """Raises InvalidGenome when the genome is outside of the bounds."""
        repair.validate(genome, self.bounds)

    def plan(self, genome: Genome, sample: Sample) -> NetworkPlan:
        """The network that the genome decodes to for ``sample``."""
        return plan.plan(genome, sample, self.bounds.stem_channels)

    def phenotype(self, genome: Genome, sample: Sample) -> str:
        """The hash of the decoded network."""
        return canonical.phenotype(self.plan(genome, sample))

    def cost(self, genome: Genome, sample: Sample) -> Cost:
        """What the decoded network costs."""
        return cost.cost(self.plan(genome, sample))

    def to_json(self, genome: Genome) -> Json:
        """The code as it stands in the database."""
        return code.to_json(genome)

    def from_json(self, code_json: Json) -> Genome:
        """The genome of a code. Raises InvalidGenome when the code is malformed or out of bounds."""
        genome = code.from_json(code_json)
        self.validate(genome)
        return genome

    def describe(self, genome: Genome, sample: Sample) -> list[str]:
        """The decoded network in lines of at most 78 columns."""
        return describe.describe(self.plan(genome, sample))


def _mutate_by(bounds: Bounds, genome: Genome, rng: Generator) -> Genome:
    return operators.mutate(genome, bounds, rng)
