"""Objectives: named values of an evaluation that are minimised.

An objective derives its value from what the evaluator measured. Plug-ins of the entry-point group
``evolver.objectives`` are instances of ``Objective``, or functions that make one of the argument after a
colon: ``latency_ms:64`` is the latency of a batch of 64.

load             the objectives of names.
derive           their values, from measurements.
measures         the measurements that they need.
bound_to_device  those whose values belong to a type of device.
logarithmic      those that are compared by ratio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from evolver import registry
from evolver.errors import EnvironmentFault, EvaluationFailed, InvalidInput, UnknownName

LATENCY = "latency_ms"
LARGEST_BATCH = 65_536
"""Of a latency: a larger one would only fail every genome for want of memory."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One value to minimise.

    ``measures`` names the measurements of the evaluator that ``value`` reads. ``of_device``: the value
    belongs to the type of device that it was measured on, and says nothing beside one of another type.
    ``logarithmic``: what is positive and ranges over orders of magnitude; selection compares it by ratio.
    """

    name: str
    unit: str
    measures: tuple[str, ...]
    value: Callable[[Mapping[str, float]], float]
    of_device: bool = False
    logarithmic: bool = False


def _is(measure: str) -> Callable[[Mapping[str, float]], float]:
    return lambda measured: measured[measure]


def _measured_on_device(name: str, unit: str) -> Objective:
    """An objective that is a measurement of the same name."""
    return Objective(name, unit, (name,), _is(name), of_device=True, logarithmic=True)


ERROR = Objective("error", "share of the validation samples", ("validation_error",), _is("validation_error"))
LOSS = Objective("loss", "nats per validation sample", ("validation_loss",), _is("validation_loss"))
PARAMS = Objective("params", "trainable parameters", ("params",), _is("params"), logarithmic=True)
FLOPS = Objective("flops", "operations for one sample", ("flops",), _is("flops"), logarithmic=True)
TRAIN_S = _measured_on_device("train_s", "seconds of training")
PEAK_MEMORY_BYTES = _measured_on_device("peak_memory_bytes", "bytes at the peak of the training")
ENERGY_J = _measured_on_device("energy_j", "joules of the training")


def latency_ms(argument: str | None) -> Objective:
    """The time of one forward pass: of one sample, or of a batch of ``argument`` samples.

    Raises InvalidInput for an argument that is no such number.
    """
    if argument is None:
        return _measured_on_device(LATENCY, "ms for one sample")
    name = f"{LATENCY}:{argument}"
    batch = latency_batch(name)
    if batch is None or not 2 <= batch <= LARGEST_BATCH:
        raise InvalidInput(
            f"'{name}' is no latency: give a batch of 2 to {LARGEST_BATCH} samples after the colon, for "
            f"instance {LATENCY}:64, or {LATENCY} alone for one sample"
        )
    return _measured_on_device(name, f"ms for a batch of {batch}")


def latency_batch(measure: str) -> int | None:
    """The batch whose latency a measurement is; None for a measurement of something else."""
    match = re.fullmatch(rf"{LATENCY}(?::([1-9][0-9]*))?", measure)
    return None if match is None else int(match[1] or 1)


def load(names: Iterable[str]) -> tuple[Objective, ...]:
    """The objectives of these names, in order.

    Raises UnknownName, or InvalidInput for a repeated one or a wrong argument.
    """
    names = tuple(names)
    if not names:
        raise InvalidInput("no objective is named; give at least one, for instance --objectives error,loss")
    if len(set(names)) != len(names):
        raise InvalidInput(f"an objective is named twice in '{','.join(names)}'")
    return tuple(_load(name) for name in names)


def _load(name: str) -> Objective:
    plugin, colon, argument = name.partition(":")
    found: object = registry.load("objective", plugin)
    if isinstance(found, Objective) and colon:
        raise InvalidInput(f"the objective '{plugin}' takes no argument; got '{name}'")
    made = found(argument if colon else None) if callable(found) else found
    if not isinstance(made, Objective):
        raise InvalidInput(
            f"the objective plug-in '{plugin}' gives no evolver.objectives.Objective: {made!r}"
        )
    return made


def measures(objectives: Iterable[Objective]) -> frozenset[str]:
    """All measurements that these objectives need."""
    return frozenset(measure for objective in objectives for measure in objective.measures)


def bound_to_device(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these objectives whose values belong to a type of device; none that is unknown here."""
    return tuple(name for name in names if (known := _known(name)) and known.of_device)


def logarithmic(names: Iterable[str]) -> tuple[int, ...]:
    """The places of those of these objectives that are compared by ratio; none that is unknown here."""
    return tuple(place for place, name in enumerate(names) if (known := _known(name)) and known.logarithmic)


def _known(name: str) -> Objective | None:
    try:
        return _load(name)
    except (UnknownName, InvalidInput, EnvironmentFault):  # whoever only reads need not have the plug-in
        return None


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
        values[objective.name] = _finite(objective, measured)
    return values


def _finite(objective: Objective, measured: Mapping[str, float]) -> float:
    try:
        value = float(objective.value(measured))
    except Exception as error:  # an objective may be anybody's plug-in
        raise EvaluationFailed(
            f"objective '{objective.name}' has no value: {type(error).__name__}: {error}"
        ) from error
    if not math.isfinite(value):
        raise EvaluationFailed(f"objective '{objective.name}' is {value}, not a finite number")
    return value
