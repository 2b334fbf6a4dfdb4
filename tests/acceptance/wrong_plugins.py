"""Plug-ins as people get them wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from numpy.random import Generator

from evolver.evaluation import Context, DatasetRef, Outcome, Task
from evolver.genome.space import ConvSpace
from evolver.objectives import Objective


class Unfinished:
    """A space whose author has not come to the end."""

    name = "unfinished"
    version = 1
    mutation_probability = 0.5

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Unfinished:
        return cls()

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def settings(self) -> dict[str, Any]:
        return {}

    def random(self, rng: Generator) -> int:
        return int(rng.integers(10))


class Plain(ConvSpace):
    """A space that is fine, and has no presets."""

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {}


class Unversioned(Plain):
    """A space without an attribute of the interface, which only its instances can show."""

    @property
    def version(self) -> int:  # type: ignore[override]
        raise AttributeError("version")


class Reseeded(Plain):
    """A space that wants to draw from a generator of its own."""

    def mutate(self, genome: Any) -> Any:  # type: ignore[override]
        return genome


class Hasty(Plain):
    """A space that takes a setting for granted."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Any:
        return cls(settings["bounds"])


class Ordinary:
    """An evaluator that is fine but for what it gives; ``given`` is the subclass's."""

    given: Any

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        return None

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        pass

    def evaluate(self, task: Task, context: Context) -> Any:
        return self.given


class NotANumber(Ordinary):
    given = Outcome({"validation_error": float("nan"), "validation_loss": 0.5})


class OneShort(Ordinary):
    given = Outcome({"validation_error": 0.5})


class Worded(Ordinary):
    given = Outcome({"validation_error": "low", "validation_loss": 0.5})  # type: ignore[dict-item]


class Bare(Ordinary):
    given = (0.5, 0.5)


class Unmeasuring:
    """An evaluator without ``check_measures``."""

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        return None

    def evaluate(self, task: Task, context: Context) -> Outcome:
        return Outcome({})


PAIR = Objective("pair", "none", ("validation_error",), lambda measured: (0.5, 0.5))  # type: ignore[arg-type, return-value]
UNDECLARED = Objective("undeclared", "none", (), lambda measured: measured["secret"])
NO_OBJECTIVE = {"name": "no-objective"}
NO_DATASET = "digits"
