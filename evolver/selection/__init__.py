"""Selection: which genomes are kept, and which become parents.

Everything here is pure: results come in one at a time, as arrays, and new values come out. Objectives
are minimised. Two things are kept: the population, whose slots a selector fills and breeds from, and
the front, which keeps the best of the whole search.

base      the interface of a selector, and the population
moead     MOEA/D, the paper's selector
ranked    what NSGA-II and SMS-EMOA have in common
nsga2     NSGA-II
smsemoa   SMS-EMOA
weighted  one scalar in the place of several objectives
baseline  random search
archive   the front
pareto    dominance, ranks, crowding, hypervolume
slots     what all selectors do with slots
scale     objectives that count by their logarithm
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evolver.errors import InvalidInput, UnknownName
from evolver.selection.base import Selector
from evolver.selection.baseline import RandomSearch
from evolver.selection.moead import MoeaD
from evolver.selection.nsga2 import Nsga2
from evolver.selection.scale import LINEAR, Scale, Scaled
from evolver.selection.smsemoa import SmsEmoa
from evolver.selection.weighted import Weighted, parse_weights

MIN_SLOTS = 4

SELECTORS: Mapping[str, Callable[[int, int], Selector]] = {
    MoeaD.name: MoeaD,
    Nsga2.name: Nsga2,
    SmsEmoa.name: SmsEmoa,
    RandomSearch.name: RandomSearch,
    Weighted.name: Weighted,
}
"""The selectors' classes by name; each is called with the numbers of slots and of objectives."""


def load(name: str, slots: int, objectives: int, scale: Scale = LINEAR) -> Selector:
    """The selector of this name for a population of ``slots`` and so many objectives, seen on a scale.

    ``weighted`` takes its weights with the name, one for each objective: ``weighted:0.8,0.2``. Raises
    UnknownName, or InvalidInput for fewer than four slots, no objective, or wrong weights.
    """
    kind, colon, argument = name.partition(":")
    if kind not in SELECTORS:
        raise UnknownName("selector", name, SELECTORS)
    if colon and kind != Weighted.name:
        raise InvalidInput(f"the selector {kind} takes no argument, got '{argument}'")
    if slots < MIN_SLOTS:
        raise InvalidInput(f"the population must have at least {MIN_SLOTS} slots, got {slots}")
    if objectives < 1:
        raise InvalidInput(f"selection needs at least 1 objective, got {objectives}")
    selector = (
        Weighted(slots, objectives, parse_weights(argument)) if colon else SELECTORS[kind](slots, objectives)
    )
    return Scaled(selector, scale) if scale.logarithmic else selector
