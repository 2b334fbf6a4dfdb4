"""Plug-ins, found by name through entry points.

Four groups: ``evolver.spaces``, ``evolver.datasets``, ``evolver.objectives``, ``evolver.evaluators``.
The built-in ones register the same way. Names come from the user or the database; only what an
installed package registered is ever loaded.

names            the plug-ins of a kind.
load             one of them, as its entry point gives it.
space_settings   the space that a user means.
load_space       a space with settings, which implements ``evolver.space.Space``.
require_methods  refuses a plug-in that lacks methods of its interface.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from evolver.errors import EnvironmentFault, EvolverError, InvalidInput, UnknownName
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
    except Exception as error:  # at its import, anybody's code may fail in any way
        reason = str(error) if isinstance(error, ImportError) else _told(error)
        if points[name].module.startswith("workers.") and isinstance(error, ModuleNotFoundError):
            reason += "; run: pip install 'evolver[worker]'"
        raise EnvironmentFault(f"the {kind} '{name}' cannot be imported here: {reason}") from error


def space_settings(name: str) -> tuple[str, dict[str, Any]]:
    """The space (its plug-in's name and settings) that a user means by a preset's or plug-in's name.

    A plug-in that is not named may be broken.
    """
    known: list[str] = []
    for plugin in names("space"):
        try:
            presets = _presets(plugin)
        except EvolverError:
            if plugin == name:
                raise
            continue
        if name in presets:
            return plugin, dict(presets[name])
        if name == plugin:
            return plugin, {}
        known += [plugin, *presets]
    raise UnknownName("space", name, known)


def _presets(name: str) -> Mapping[str, Mapping[str, Any]]:
    plugin = _space_class(name)
    try:
        return cast("Mapping[str, Mapping[str, Any]]", plugin.presets())
    except Exception as error:
        raise InvalidInput(f"the space plug-in '{name}' fails at its presets: {_told(error)}") from error


def load_space(name: str, settings: Mapping[str, Any]) -> Space[Any]:
    """The space of a plug-in's name with these settings.

    Raises InvalidInput for wrong settings, or when the plug-in does not implement ``evolver.space.Space``.
    """
    plugin = _space_class(name)
    try:
        space = plugin.from_settings(settings)
    except EvolverError:
        raise
    except Exception as error:
        raise InvalidInput(f"the space plug-in '{name}' fails at its settings: {_told(error)}") from error
    attributes = [member for member, raw in vars(Space).items() if isinstance(raw, property)]
    if missing := [attribute for attribute in attributes if not hasattr(space, attribute)]:
        raise _unfit("space", name, Space, f"it lacks {', '.join(missing)}")
    return cast("Space[Any]", space)


def _space_class(name: str) -> Any:
    plugin = load("space", name)
    if not isinstance(plugin, type):
        raise _unfit("space", name, Space, f"it is no class but {plugin!r}")
    require_methods("space", name, plugin, Space)
    return plugin


def require_methods(kind: str, name: str, plugin: type, interface: type) -> None:
    """Check that a plug-in's class has the methods of its interface, a protocol, with their parameters.

    Raises InvalidInput, which names those that are missing or differ.
    """
    if fault := _fault(plugin, interface):
        raise _unfit(kind, name, interface, fault)


def _unfit(kind: str, name: str, interface: type, fault: str) -> InvalidInput:
    what = f"{interface.__module__}.{interface.__name__}"
    return InvalidInput(f"the {kind} plug-in '{name}' does not implement {what}: {fault}")


@cache
def _fault(plugin: type, interface: type) -> str | None:
    """What is wrong with a class's methods; cached, as workers load a space for each genome."""
    methods = dict(_methods(interface))
    if missing := [method for method in methods if not hasattr(plugin, method)]:
        return f"it lacks {', '.join(missing)}"
    wrong = [
        f"{method}({', '.join(parameters)})"
        for method, parameters in methods.items()
        if not _takes(plugin, method, parameters)
    ]
    return f"it cannot be called as {', '.join(wrong)}" if wrong else None


def _methods(interface: type) -> Iterator[tuple[str, list[str]]]:
    """The methods and class methods of a protocol, with the names of their parameters after the first."""
    for member, raw in vars(interface).items():
        function = raw.__func__ if isinstance(raw, classmethod) else raw
        if inspect.isfunction(function) and not member.startswith("_"):
            yield member, list(inspect.signature(function).parameters)[1:]


def _takes(plugin: type, method: str, parameters: list[str]) -> bool:
    """Whether a method can be called with so many arguments, in order."""
    found = getattr(plugin, method)
    is_bound = isinstance(inspect.getattr_static(plugin, method), classmethod | staticmethod)
    try:
        inspect.signature(found).bind(*([] if is_bound else [plugin]), *parameters)
    except TypeError:  # also of what is not callable
        return False
    return True


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
