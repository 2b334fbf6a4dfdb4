"""What a user says about an experiment, in options and a file, against what is there.

Everything is checked here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from evolver import config
from evolver.cli.options import DATA_DIR, opened
from evolver.datasets import parse_argument
from evolver.seeding import Warmup, gather
from evolver.store import experiments
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


@dataclass(frozen=True, slots=True)
class New:
    """An experiment that is not there yet: its settings, its data set and the genomes that it begins with."""

    settings: Settings
    data: NewDataset
    warmup: Warmup

    def create(self, connection: Connection) -> Experiment:
        """Add it, all in the caller's transaction. Raises InvalidInput when its name is taken."""
        state = config.initial_selector_state(self.settings)
        return experiments.create(connection, self.settings, self.data, state, self.warmup.seeds)


def of_new(name: str, given: Given, db_url: str | None) -> New:
    """An experiment that is not there yet. Raises InvalidInput or UnknownName, and writes nothing.

    The database is read only where the search begins with genomes of another one.
    """
    settings, data = config.build(name, config.parse(given.values), given.data_dir)
    config.require_possible(settings, data)
    listed = given.values.get("seed_genomes")
    if settings.seed_from is None:
        return New(settings, data, gather(settings, data, listed, None))
    with opened(db_url) as database, database.read() as connection:
        return New(settings, data, gather(settings, data, listed, connection))


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
                    "max_hours", "patience", "max_params", "max_memory_bytes", "max_attempts", "front_limit",
                    "parents", "candidates", "operators", "seed_genomes", "seed_from")
    }  # fmt: skip
    values["constraints"] = [str(one) for one in own.constraints]
    values |= {"dataset": found.dataset.name, "timeout": own.timeout_s, "space": own.space}
    epochs, name = recipe.pop("epochs"), recipe.pop("name")
    values["recipe"] = name
    if given.get("recipe", name) == name:
        values["epochs"] = epochs
        values["recipe_settings"] = {**recipe, **given.get("recipe_settings", {})}
    if "space" not in given:
        values["space_settings"] = {**own.space_settings, **given.get("space_settings", {})}
    return values
