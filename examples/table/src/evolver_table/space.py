"""The space ``choices``: a genome is a list of labels, one of those that its place allows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from numpy.random import Generator
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from evolver.errors import InvalidGenome, InvalidInput
from evolver.space import Cost, Sample

Genome = tuple[str, ...]
_Probability = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """What may stand at each place, and how often children are mutated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    choices: tuple[tuple[str, ...], ...] = Field(min_length=1)
    mutation_probability: _Probability = 0.5
    """Of a child of two parents."""

    @field_validator("choices")
    @classmethod
    def _check_choices(cls, choices: tuple[Genome, ...]) -> tuple[Genome, ...]:
        for number, labels in enumerate(choices, start=1):
            if len(labels) < 2 or len(set(labels)) != len(labels):
                raise ValueError(f"place {number} needs at least two labels, each once")
        return choices


@dataclass(frozen=True)
class ChoiceSpace:
    """Implements ``evolver.space.Space`` for tuples of labels."""

    chosen: Settings

    name = "choices"
    version = 1

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The space with these settings. Raises InvalidInput when one is missing, unknown or wrong."""
        try:
            return cls(Settings.model_validate(dict(settings)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = first["msg"].removeprefix("Value error, ")
            raise InvalidInput(f"setting '{first['loc'][0]}' of the space 'choices': {reason}") from error

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """None: the choices are the table's."""
        return {}

    def settings(self) -> dict[str, Any]:
        """All settings as JSON."""
        return self.chosen.model_dump(mode="json")

    @property
    def mutation_probability(self) -> float:
        """How often a child of two parents is mutated."""
        return self.chosen.mutation_probability

    def random(self, rng: Generator) -> Genome:
        """A label at each place, all with equal chances."""
        return tuple(labels[rng.integers(len(labels))] for labels in self.chosen.choices)

    def crossover(self, first: Genome, second: Genome, rng: Generator) -> Genome:
        """Uniform crossover: each place is that of either parent."""
        sides = rng.random(len(first)) < 0.5
        return tuple(a if side else b for a, b, side in zip(first, second, sides, strict=True))

    def mutate(self, genome: Genome, rng: Generator) -> Genome:
        """Another label at one place, and at each other place with probability 1/n."""
        n = len(genome)
        touched = rng.random(n) < 1 / n
        touched[rng.integers(n)] = True
        return tuple(
            _other(label, labels, rng) if is_touched else label
            for label, labels, is_touched in zip(genome, self.chosen.choices, touched, strict=True)
        )

    def validate(self, genome: Genome) -> None:
        """Raises InvalidGenome when a label is not one of its place's, or there are too few or too many."""
        if len(genome) != len(self.chosen.choices):
            raise InvalidGenome(f"the genome has {len(genome)} labels, not {len(self.chosen.choices)}")
        for label, labels in zip(genome, self.chosen.choices, strict=True):
            if label not in labels:
                raise InvalidGenome(f"'{label}' is none of {', '.join(labels)}")

    def phenotype(self, genome: Genome, sample: Sample) -> str:
        """A hash of the labels."""
        return hashlib.sha256(json.dumps(genome).encode()).hexdigest()

    def cost(self, genome: Genome, sample: Sample) -> Cost:
        """Nothing that is known before the table is looked into."""
        return Cost(params=0, flops=0, activations=0)

    def to_json(self, genome: Genome) -> list[str]:
        """The labels as a list."""
        return list(genome)

    def from_json(self, code: Any) -> Genome:
        """The genome of a list. Raises InvalidGenome for anything that is none of this space."""
        if not isinstance(code, list) or not all(isinstance(label, str) for label in code):
            raise InvalidGenome("the code is no list of labels")
        genome = tuple(code)
        self.validate(genome)
        return genome

    def describe(self, genome: Genome, sample: Sample) -> list[str]:
        """A line for each place."""
        return [f"{number:>3}  {label}" for number, label in enumerate(genome, start=1)]


def _other(label: str, labels: Genome, rng: Generator) -> str:
    """One of the labels, but not this one."""
    others = [other for other in labels if other != label]
    return others[rng.integers(len(others))]
