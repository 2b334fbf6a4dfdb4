"""What a user says about an experiment, in options and a file, against what is there.

Everything is checked here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolver import config
from evolver.cli.options import DATA_DIR
from evolver.datasets import parse_argument
from evolver.store.experiments import Experiment, NewDataset, Settings


@dataclass(frozen=True, slots=True)
class Given:
    """The settings that a user gave, by the keys of ``config.ExperimentConfig``, and where the data are."""

    values: Mapping[str, Any]
    data_dir: Path


def read(options: Mapping[str, Any], config_file: Path | None, data_dir: Path | None) -> Given:
    """The settings of the file, overridden by the options that are not None.

    A data set's path is split into the name that the database may hold and the directory of this
    machine. Raises InvalidInput.
    """
    values = config.read_file(config_file) if config_file else {}
    values |= {key: value for key, value in options.items() if value is not None}
    where = data_dir or DATA_DIR
    if isinstance(values.get("dataset"), str):
        values["dataset"], where = _localised(values["dataset"], where)
    return Given(values, where)


def _localised(argument: str, data_dir: Path) -> tuple[str, Path]:
    """``npz:some/where/pets.npz`` as ``npz:pets.npz`` and the directory that holds it."""
    spec, path = parse_argument(argument)
    if path is None or Path(path).name == path:
        return argument, data_dir
    full = (data_dir / path).resolve()
    return f"{spec.name}:{full.name}", full.parent


def of_new(name: str, given: Given) -> tuple[Settings, NewDataset]:
    """The settings of an experiment that is not there yet. Raises InvalidInput or UnknownName."""
    return config.build(name, config.parse(given.values), given.data_dir)


def require_same(found: Experiment, given: Given) -> None:
    """Check that an experiment has the settings that the user gave; the others are its own.

    Raises InvalidInput or UnknownName.
    """
    if given.values:
        values = {**_values_of(found, given.values), **given.values}
        settings, data = config.build(found.settings.name, config.parse(values), given.data_dir)
        config.require_same(found, settings, data, set(given.values))


def _values_of(found: Experiment, given: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment as the keys of a config. Where a preset is given, what refines it is left out."""
    own = found.settings
    recipe = dict(own.recipe)
    values: dict[str, Any] = {
        key: getattr(own, key)
        for key in ("objectives", "selector", "evaluator", "population", "budget", "seed", "limit_train",
                    "max_hours", "patience", "max_params", "max_memory_bytes", "max_attempts", "front_limit")
    }  # fmt: skip
    values |= {"dataset": found.dataset.name, "timeout": own.timeout_s, "space": own.space}
    epochs, name = recipe.pop("epochs"), recipe.pop("name")
    values["recipe"] = name
    if given.get("recipe", name) == name:
        values["epochs"] = epochs
        values["recipe_settings"] = {**recipe, **given.get("recipe_settings", {})}
    if "space" not in given:
        values["space_settings"] = {**own.space_settings, **given.get("space_settings", {})}
    return values
