"""Objectives: named values of an evaluation that are minimised.

An objective derives its value from what the evaluator measured. Plug-ins of the entry-point group
``evolver.objectives`` are instances of ``Objective``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from evolver import registry
from evolver.errors import EvaluationFailed, InvalidInput


@dataclass(frozen=True, slots=True)
class Objective:
    """One value to minimise.

    ``measures`` names the measurements of the evaluator that ``value`` reads.
    """

    name: str
    unit: str
    measures: tuple[str, ...]
    value: Callable[[Mapping[str, float]], float]


def _is(measure: str) -> Callable[[Mapping[str, float]], float]:
    return lambda measured: measured[measure]


ERROR = Objective("error", "share of the validation samples", ("validation_error",), _is("validation_error"))
LOSS = Objective("loss", "nats per validation sample", ("validation_loss",), _is("validation_loss"))
PARAMS = Objective("params", "trainable parameters", ("params",), _is("params"))
FLOPS = Objective("flops", "operations for one sample", ("flops",), _is("flops"))


def load(names: Iterable[str]) -> tuple[Objective, ...]:
    """The objectives of these names, in order. Raises UnknownName, or InvalidInput for a repeated one."""
    names = tuple(names)
    if not names:
        raise InvalidInput("no objective is named; give at least one, for instance --objectives error,loss")
    if len(set(names)) != len(names):
        raise InvalidInput(f"an objective is named twice in '{','.join(names)}'")
    return tuple(registry.load("objective", name) for name in names)


def derive(objectives: Iterable[Objective], measured: Mapping[str, float]) -> dict[str, float]:
    """The value of each objective, all finite.

    Raises EvaluationFailed when a measurement is missing or a value is not finite.
    """
    values: dict[str, float] = {}
    for objective in objectives:
        missing = [name for name in objective.measures if name not in measured]
        if missing:
            raise EvaluationFailed(
                f"objective '{objective.name}' needs {', '.join(missing)}, which was not measured"
            )
        value = float(objective.value(measured))
        if not math.isfinite(value):
            raise EvaluationFailed(f"objective '{objective.name}' is {value}, not a finite number")
        values[objective.name] = value
    return values
