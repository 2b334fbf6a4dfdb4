"""What the settings of an experiment mean to the pure parts: its space, its limits, how a result counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from evolver import constraints, objectives, registry, selection
from evolver.breeding import Limits, Practice
from evolver.credit import is_arm
from evolver.errors import VersionDiffers
from evolver.search import MembershipChange, SearchState, ingest
from evolver.selection.base import Selector
from evolver.selection.scale import Scale
from evolver.store.experiments import Experiment, Settings
from evolver.store.steps import Ended


def load_space(experiment: Experiment) -> Any:
    """The space of an experiment. Raises VersionDiffers when the plug-in here is of another version."""
    settings = experiment.settings
    space = registry.load_space(settings.space, settings.space_settings)
    if space.version != settings.space_version:
        raise VersionDiffers(
            f"experiment '{settings.name}' was made with version {settings.space_version} of the space "
            f"'{settings.space}', here is version {space.version}; use the evolver that made it"
        )
    return space


def limits(settings: Settings) -> Limits:
    """What a genome of an experiment with these settings may cost."""
    return Limits(
        settings.max_params,
        settings.max_memory_bytes,
        int(settings.recipe.get("batch_size", 1)),
        constraints.of_costs(settings.constraints),
    )


def practice(settings: Settings) -> Practice:
    """How an experiment with these settings breeds."""
    cheap = cheap_objectives(settings.objectives)
    return Practice(settings.parents, settings.candidates, cheap, settings.operators)


def cheap_objectives(objectives: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Those that are known of a genome before its training, with their places among the objectives."""
    return tuple((place, name) for place, name in enumerate(objectives) if name in constraints.COSTS)


def load_selector(settings: Settings) -> Selector:
    """The selector of an experiment with these settings. Raises UnknownName or InvalidInput."""
    names = settings.objectives
    return selection.load(settings.selector, settings.population, len(names), scale(names))


@lru_cache
def scale(names: tuple[str, ...]) -> Scale:
    """On which scale selection sees the objectives of these names. Raises UnknownName or InvalidInput."""
    loaded = objectives.load(names)
    return Scale(tuple(column for column, one in enumerate(loaded) if one.logarithmic))


def take_in(
    settings: Settings, selector: Selector, state: SearchState, result: Ended
) -> tuple[SearchState, list[MembershipChange]]:
    """Take in the next result of an experiment with these settings, as ``search.ingest`` does."""
    return ingest(
        selector,
        state,
        genome_id=result.genome_id,
        slot=result.slot,
        objectives=result.objectives,
        front_limit=settings.front_limit,
        violation=violation(settings, result.objectives),
        operator=result.operator if _teaches(settings, result) else None,
        scale=scale(settings.objectives),
    )


def _teaches(settings: Settings, result: Ended) -> bool:
    """Whether operators learn from a result: not from that of a duplicate, which is its twin's."""
    return settings.operators == "learned" and not result.is_duplicate and is_arm(result.operator)


def violation(settings: Settings, objectives: Sequence[float] | None) -> float:
    """By how much a result breaks the constraints that only a training tells; 0.0 for a failure."""
    if objectives is None or not settings.constraints:
        return 0.0
    values = dict(zip(settings.objectives, objectives, strict=True))
    return constraints.violation(constraints.of_results(settings.constraints), values)
