"""The space ``vectors``: real vectors within a box."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from numpy.random import Generator
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evolver.errors import InvalidGenome, InvalidInput
from evolver.space import Cost, Sample
from evolver_vectors.operators import Vector, polynomial_mutation, sbx
from evolver_vectors.problems import PROBLEMS, Problem

Genome = tuple[float, ...]

_Probability = Annotated[float, Field(ge=0, le=1)]
_Bound = float | tuple[float, ...]
"""One number for all variables, or one for each."""


class Settings(BaseModel):
    """The box and the operators."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n: int = Field(default=30, ge=1, le=10_000)
    """The number of variables."""
    lower: _Bound = 0.0
    upper: _Bound = 1.0
    crossover_probability: _Probability = 0.9
    """Of two parents; otherwise the child is one of them."""
    variable_crossover_probability: _Probability = 0.5
    """Of each variable of two parents that are crossed."""
    crossover_eta: float = Field(default=15.0, ge=0)
    """Distribution index: the greater, the nearer are children to parents."""
    mutation_probability: _Probability = 1.0
    """Of a child of two parents."""
    variable_mutation_probability: _Probability | None = None
    """Of each variable of a child that is mutated; None for 1/n."""
    mutation_eta: float = Field(default=20.0, ge=0)

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        for name in ("lower", "upper"):
            bound = getattr(self, name)
            if isinstance(bound, tuple) and len(bound) != self.n:
                raise ValueError(f"{name} has {len(bound)} numbers for {self.n} variables")
        if not np.all(np.asarray(self.lower) < np.asarray(self.upper)):
            raise ValueError("lower must be less than upper")
        return self


@dataclass(frozen=True)
class VectorSpace:
    """Implements ``evolver.space.Space`` for tuples of floats."""

    chosen: Settings

    name = "vectors"
    version = 1

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The space with these settings. Raises InvalidInput when one is unknown or wrong."""
        try:
            return cls(Settings.model_validate(dict(settings)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            setting = f"setting '{first['loc'][0]}'" if first["loc"] else "settings"
            reason = first["msg"].removeprefix("Value error, ")
            raise InvalidInput(f"{setting} of the space 'vectors': {reason}") from error

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """The box of each standard problem, under the problem's name."""
        return {name: _box(problem).model_dump(mode="json") for name, problem in PROBLEMS.items()}

    def settings(self) -> dict[str, Any]:
        """All settings as JSON."""
        return self.chosen.model_dump(mode="json")

    @property
    def mutation_probability(self) -> float:
        """How often a child of two parents is mutated."""
        return self.chosen.mutation_probability

    @cached_property
    def lower(self) -> Vector:
        """The lower bounds, of shape (n,)."""
        return np.broadcast_to(np.asarray(self.chosen.lower, dtype=np.float64), self.chosen.n)

    @cached_property
    def upper(self) -> Vector:
        """The upper bounds, of shape (n,)."""
        return np.broadcast_to(np.asarray(self.chosen.upper, dtype=np.float64), self.chosen.n)

    def random(self, rng: Generator) -> Genome:
        """A vector that is uniform in the box."""
        return _genome(rng.uniform(self.lower, self.upper))

    def crossover(self, first: Genome, second: Genome, rng: Generator) -> Genome:
        """One of the two children of simulated binary crossover, by the toss of a coin."""
        chosen = self.chosen
        kept, mate = (first, second) if rng.random() < 0.5 else (second, first)
        if rng.random() >= chosen.crossover_probability:
            return kept
        crosses, swaps, u = rng.random((3, chosen.n))
        a, b = np.array(kept), np.array(mate)
        near, far = np.where(swaps < 0.5, a, b), np.where(swaps < 0.5, b, a)
        child = sbx(near, far, self.lower, self.upper, chosen.crossover_eta, u)
        return _genome(np.where(crosses < chosen.variable_crossover_probability, child, a))

    def mutate(self, genome: Genome, rng: Generator) -> Genome:
        """Polynomial mutation of each variable with its probability, so at times of none."""
        chosen = self.chosen
        probability = chosen.variable_mutation_probability
        touched, u = rng.random((2, chosen.n))
        x = np.array(genome)
        mutant = polynomial_mutation(x, self.lower, self.upper, chosen.mutation_eta, u)
        return _genome(np.where(touched < (1 / chosen.n if probability is None else probability), mutant, x))

    def validate(self, genome: Genome) -> None:
        """Raises InvalidGenome when the vector is of another length or leaves the box."""
        if len(genome) != self.chosen.n:
            raise InvalidGenome(f"the vector has {len(genome)} numbers, not {self.chosen.n}")
        x = np.array(genome)
        if not np.all((self.lower <= x) & (x <= self.upper)):  # false for NaN
            raise InvalidGenome("the vector leaves the box of its space")

    def phenotype(self, genome: Genome, sample: Sample) -> str:
        """A hash of the numbers: what is evaluated is the vector itself."""
        return hashlib.sha256(np.array(genome, dtype="<f8").tobytes()).hexdigest()

    def cost(self, genome: Genome, sample: Sample) -> Cost:
        """Nothing: there is no network."""
        return Cost(params=0, flops=0, activations=0)

    def to_json(self, genome: Genome) -> list[float]:
        """The vector as a list."""
        return list(genome)

    def from_json(self, code: Any) -> Genome:
        """The vector of a list. Raises InvalidGenome for anything that is none of this space."""
        if not isinstance(code, list) or not all(type(value) in (float, int) for value in code):
            raise InvalidGenome("the code is no list of numbers")
        genome = tuple(map(float, code))
        self.validate(genome)
        return genome

    def describe(self, genome: Genome, sample: Sample) -> list[str]:
        """Five numbers a line."""
        rows = (genome[start : start + 5] for start in range(0, len(genome), 5))
        return [
            f"x{5 * number + 1:<4}" + "".join(f"{value:12.5g}" for value in row)
            for number, row in enumerate(rows)
        ]


def _box(problem: Problem) -> Settings:
    lower, upper = (tuple(bound.tolist()) for bound in problem.bounds(problem.n))
    return Settings(n=problem.n, lower=_short(lower), upper=_short(upper))


def _short(bound: tuple[float, ...]) -> _Bound:
    """One number where all are the same."""
    return bound[0] if len(set(bound)) == 1 else bound


def _genome(x: Vector) -> Genome:
    """The vector as a value; -0.0 becomes 0.0, since a database need not keep them apart."""
    return tuple((x + 0.0).tolist())
