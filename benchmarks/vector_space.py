"""A space of real vectors with pymoo's operators, and how long each takes: what ``asynchrony.py`` searches.

Both sides of that benchmark breed by the same functions with the same parameters: simulated binary
crossover and polynomial mutation of pymoo, as its NSGA-II has them. What a vector costs is its first
variable: in ZDT1 and DTLZ2 it says where on the front a vector lies, so it is what the size of a network is
to a search for small and accurate ones.

Problem         a test problem of pymoo.
EvaluationTime  how long evaluations take.
UnitCube        the space (``evolver.space.Space``).
install         makes the space and its objectives known to evolver, as an installed plug-in is.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pymoo.operators.crossover.sbx import cross_sbx
from pymoo.operators.mutation.pm import mut_pm
from pymoo.problems import get_problem

from evolver.errors import InvalidGenome
from evolver.objectives import Objective
from evolver.space import Cost, Json, Sample

CROSSOVER_PROBABILITY, CROSSOVER_ETA = 0.9, 15.0
MUTATION_PROBABILITY, MUTATION_ETA = 0.9, 20.0
VARIABLE_PROBABILITY = 0.5
"""Of a variable to be crossed, and of the children to exchange it: pymoo's defaults."""
COST_UNIT = 1_000_000
OBJECTIVES = ("f1", "f2", "f3")
Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A test problem of pymoo on [0, 1]^variables; only what is better than ``reference`` counts."""

    name: str
    variables: int
    reference: tuple[float, ...]

    def pymoo(self) -> Any:
        """The problem as pymoo has it."""
        sizes = {} if self.name.startswith("zdt") else {"n_obj": len(self.reference)}
        return get_problem(self.name, n_var=self.variables, **sizes)

    @property
    def objectives(self) -> tuple[str, ...]:
        return OBJECTIVES[: len(self.reference)]


@dataclass(frozen=True, slots=True)
class EvaluationTime:
    """Log-normal with this ``sigma``; the dearest vectors take ``growth`` times as long as the cheapest."""

    sigma: float
    growth: float = 1.0
    median_s: float = 600.0

    def of(self, first_variable: float, rng: Generator) -> float:
        """Seconds; the median belongs to the cost in the middle."""
        by_cost = self.growth ** (first_variable - 0.5)
        return self.median_s * by_cost * math.exp(self.sigma * rng.standard_normal())


@dataclass(frozen=True, slots=True)
class UnitCube:
    """[0, 1]^n, with the operators of pymoo's NSGA-II."""

    variables: int
    name: str = "unit-cube"
    version: int = 1
    mutation_probability: float = MUTATION_PROBABILITY

    @classmethod
    def from_settings(cls, settings: Mapping[str, Json]) -> UnitCube:
        return cls(int(settings.get("variables", 2)))

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Json]]:
        return {}

    def settings(self) -> dict[str, Json]:
        return {"variables": self.variables}

    def random(self, rng: Generator) -> Vector:
        return tuple(rng.random(self.variables).tolist())

    def crossover(self, first: Vector, second: Vector, rng: Generator) -> Vector:
        """One of the two children of a simulated binary crossover."""
        if rng.random() >= CROSSOVER_PROBABILITY:
            return first
        parents = np.array([[first], [second]])
        eta, half = np.array([[CROSSOVER_ETA]]), np.array([[VARIABLE_PROBABILITY]])
        children = cross_sbx(parents, *self._bounds(), eta, half, half, random_state=rng)
        return tuple(children[int(rng.integers(2)), 0].tolist())

    def mutate(self, genome: Vector, rng: Generator) -> Vector:
        """Polynomial mutation of one variable in the mean."""
        eta, probability = np.array([MUTATION_ETA]), np.array([min(0.5, 1 / self.variables)])
        changed = mut_pm(
            np.array([genome]), *self._bounds(), eta, probability, at_least_once=False, random_state=rng
        )
        return tuple(changed[0].tolist())

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.zeros(self.variables), np.ones(self.variables)

    def validate(self, genome: Vector) -> None:
        if len(genome) != self.variables or not all(0.0 <= x <= 1.0 for x in genome):
            raise InvalidGenome(f"not a vector of [0, 1]^{self.variables}")

    def phenotype(self, genome: Vector, sample: Sample) -> str:
        return hashlib.sha256(np.array(genome).tobytes()).hexdigest()

    def cost(self, genome: Vector, sample: Sample) -> Cost:
        return Cost(params=1 + round(COST_UNIT * genome[0]), flops=0, activations=0)

    def to_json(self, genome: Vector) -> Json:
        return list(genome)

    def from_json(self, code: Json) -> Vector:
        genome = tuple(code)
        self.validate(genome)
        return genome

    def describe(self, genome: Vector, sample: Sample) -> list[str]:
        return [", ".join(f"{x:.3f}" for x in genome)]


def _objective(name: str) -> Objective:
    return Objective(name, "", (name,), lambda measured: measured[name])


F1, F2, F3 = (_objective(name) for name in OBJECTIVES)

ENTRY_POINTS = """\
[evolver.spaces]
unit-cube = vector_space:UnitCube
[evolver.objectives]
f1 = vector_space:F1
f2 = vector_space:F2
f3 = vector_space:F3
"""


def install(directory: Path) -> None:
    """Make the space and its objectives known to this process, before evolver looks for plug-ins."""
    info = directory / "vector_space-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vector_space\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.append(str(directory))
