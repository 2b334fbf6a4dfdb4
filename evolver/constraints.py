"""Constraints: what a genome must keep to, beside what is minimised.

A constraint bounds an objective of the experiment, or a cost of the genome (``params``, ``flops``,
``activations``). Costs are known before training: genomes beyond such a bound are never born. The others
act by constrained domination (Deb et al. 2002, section VI): see ``violation``. Pure.

Constraint  one bound.
parse       the constraints that a user wrote.
from_json   those of a stored experiment.
violation   by how much values break constraints.
of_costs    those that are known before training.
of_results  those that only a training tells.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolver.errors import InvalidInput, UnknownName

COSTS = ("params", "flops", "activations")
"""Known of a genome by arithmetic; the fields of ``evolver.space.Cost``."""

_FORM = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=)\s*([^<>=\s]+)\s*")
_AT_MOST = "<="
_RANGES: Mapping[str, tuple[float, float]] = {
    "error": (0.0, 1.0),
    **dict.fromkeys(
        (*COSTS, "loss", "train_s", "latency_ms", "peak_memory_bytes", "energy_j"), (0.0, math.inf)
    ),
}
"""What the built-in measures can be at all; anything, for those of plug-ins."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on the value of an objective or cost: ``sense`` is ``<=`` or ``>=``; the bound is allowed."""

    name: str
    sense: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.sense}{_number(self.bound)}"

    def excess(self, value: float) -> float:
        """How far a value is beyond the bound, as a share of the bound (of 1 where it is 0); else 0.0."""
        beyond = value - self.bound if self.sense == _AT_MOST else self.bound - value
        return min(max(beyond, 0.0) / (abs(self.bound) or 1.0), sys.float_info.max)


Constraints = tuple[Constraint, ...]


def parse(texts: Iterable[str], objectives: Sequence[str], measures: Iterable[str] = ()) -> Constraints:
    """The constraints of such texts as ``params<=1e6``, in the order of their names.

    ``objectives`` are those of the experiment, ``measures`` the names of all objectives that there are.
    Raises UnknownName, or InvalidInput for one that is malformed, repeated, at odds with another one, out
    of reach, or on a measure that is not among the objectives.
    """
    found: dict[tuple[str, str], Constraint] = {}
    for text in texts:
        one = _parsed(text)
        _require_known(one, objectives, measures)
        _require_reachable(one)
        if (one.name, one.sense) in found:
            raise InvalidInput(
                f"two constraints bound {one.name} alike ({found[one.name, one.sense]} and {one}); leave one"
            )
        found[one.name, one.sense] = one
    for (name, sense), upper in found.items():
        lower = found.get((name, ">="))
        if sense == _AT_MOST and lower is not None and upper.bound < lower.bound:
            raise InvalidInput(f"the constraints {upper} and {lower} contradict each other; change one")
    return tuple(found[key] for key in sorted(found))


def from_json(data: Iterable[Mapping[str, Any]]) -> Constraints:
    """Constraints as a database keeps them: objects with name, sense and bound."""
    return tuple(Constraint(one["name"], one["sense"], float(one["bound"])) for one in data)


def violation(constraints: Iterable[Constraint], values: Mapping[str, float]) -> float:
    """The sum of relative excesses, 0.0 where all constraints hold; finite. ``values`` has all their names.

    Of two genomes that break constraints the one with the lesser violation is better, and one that
    breaks none is better than any that does.
    """
    return min(sum(one.excess(values[one.name]) for one in constraints), sys.float_info.max)


def of_costs(constraints: Iterable[Constraint]) -> Constraints:
    """Those that are known before training."""
    return tuple(one for one in constraints if one.name in COSTS)


def of_results(constraints: Iterable[Constraint]) -> Constraints:
    """Those that only a training tells."""
    return tuple(one for one in constraints if one.name not in COSTS)


def _parsed(text: str) -> Constraint:
    form = _FORM.fullmatch(text)
    if form is None:
        raise InvalidInput(
            f"'{text}' is no constraint; write NAME<=NUMBER or NAME>=NUMBER, for instance params<=1e6"
        )
    name, sense, number = form.groups()
    try:
        bound = float(number)
    except ValueError:
        raise InvalidInput(f"the bound of the constraint '{text}' is no number") from None
    if not math.isfinite(bound):
        raise InvalidInput(f"the bound of the constraint '{text}' must be a finite number")
    return Constraint(name, sense, bound)


def _require_known(one: Constraint, objectives: Sequence[str], measures: Iterable[str]) -> None:
    if one.name in objectives or one.name in COSTS:
        return
    if one.name.partition(":")[0] in set(measures):
        raise InvalidInput(
            f"the constraint {one} needs {one.name} among the objectives: "
            f"--objectives {','.join([*objectives, one.name])}"
        )
    raise UnknownName("measure of a constraint", one.name, {*objectives, *COSTS, *measures})


def _require_reachable(one: Constraint) -> None:
    least, greatest = _RANGES.get(one.name.partition(":")[0], (-math.inf, math.inf))
    if one.bound < least if one.sense == _AT_MOST else one.bound > greatest:
        limit = (
            f"never less than {_number(least)}" if one.sense == _AT_MOST else f"at most {_number(greatest)}"
        )
        raise InvalidInput(f"nothing satisfies the constraint {one}: {one.name} is {limit}")


def _number(value: float) -> str:
    """The shortest text that is this number: 1000000, 0.2, 1e+22."""
    return repr(value).removesuffix(".0")
