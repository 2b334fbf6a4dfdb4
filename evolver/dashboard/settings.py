"""What defines a search, in the words of its settings; of several, where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from evolver.dashboard.words import said
from evolver.store.experiments import Experiment, Settings

APART = ("name", "objectives", "constraints", "recipe", "space_settings")
"""Fields that are told in their own way."""


@dataclass(frozen=True)
class Setting:
    """One setting of some sides, in words."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the sides have it alike."""
        return len(set(self.values)) > 1


def of(*sides: Sequence[Experiment]) -> list[Setting]:
    """The settings of sides, each of one search or several repetitions; first those that differ."""
    told = [[_told(found) for found in runs] for runs in sides]
    names = dict.fromkeys(name for runs in told for one in runs for name in one)
    made = [Setting(name, tuple(_value(name, runs) for runs in told)) for name in names]
    return sorted(made, key=lambda one: not one.differs)


def _value(name: str, runs: Sequence[Mapping[str, str]]) -> str:
    """One for all runs of a side, or all that they have: seeds."""
    return ", ".join(dict.fromkeys(one.get(name, "–") for one in runs))


def _told(found: Experiment) -> dict[str, str]:
    chosen, data = found.settings, found.dataset
    values = {
        "data set": data.name,
        "samples": f"{data.train:,} to train, {data.validation:,} to validate, {data.test:,} to test",
        "objectives": chosen.objectives,
        "constraints": chosen.constraints,
        **{_name(field.name): getattr(chosen, field.name) for field in fields(Settings)
           if field.name not in APART},
        **{f"recipe: {_name(name)}": value for name, value in sorted(chosen.recipe.items())},
        **{f"space: {_name(name)}": value for name, value in sorted(chosen.space_settings.items())},
    }  # fmt: skip
    return {name: said(value) for name, value in values.items()}


def _name(field: str) -> str:
    """A field in words: ``timeout_s`` as ``timeout, s``."""
    for unit in ("s", "bytes"):
        if field.endswith(f"_{unit}"):
            return f"{field.removesuffix(f'_{unit}').replace('_', ' ')}, {unit}"
    return field.replace("_", " ")
