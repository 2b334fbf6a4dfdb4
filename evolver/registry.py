"""Plug-ins, found by name through entry points.

Four groups: ``evolver.spaces``, ``evolver.datasets``, ``evolver.objectives``, ``evolver.evaluators``.
The built-in ones register the same way. Names come from the user or the database; only what an
installed package registered is ever loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from evolver.errors import EnvironmentFault, InvalidInput, UnknownName
from evolver.space import Space


@cache
def _group(kind: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"evolver.{kind}s")}


def names(kind: str) -> list[str]:
    """The names of all plug-ins of a kind: space, dataset, objective, evaluator."""
    return sorted(_group(kind))


def load(kind: str, name: str) -> Any:
    """The plug-in of this kind and name.

    Raises UnknownName when none is installed, EnvironmentFault when it cannot be imported here.
    """
    points = _group(kind)
    if name not in points:
        raise UnknownName(kind, name, points)
    try:
        return points[name].load()
    except ImportError as error:
        raise EnvironmentFault(f"the {kind} '{name}' cannot be imported here: {error}") from error


def space_settings(name: str) -> tuple[str, dict[str, Any]]:
    """The space (its plug-in's name and settings) that a user means by a preset's or plug-in's name."""
    known: list[str] = []
    for plugin in names("space"):
        presets = load("space", plugin).presets()
        if name in presets:
            return plugin, dict(presets[name])
        if name == plugin:
            return plugin, {}
        known += [plugin, *presets]
    raise UnknownName("space", name, known)


def load_space(name: str, settings: Mapping[str, Any]) -> Space[Any]:
    """The space of a plug-in's name with these settings."""
    plugin = load("space", name)
    if not hasattr(plugin, "from_settings"):
        raise InvalidInput(
            f"the space plug-in '{name}' has no from_settings(): it does not implement evolver.space.Space"
        )
    return cast("Space[Any]", plugin.from_settings(settings))
