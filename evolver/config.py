"""What a user says about a new experiment, checked at the border.

``ExperimentConfig`` is what ``evolver new`` and ``evolver run`` read from options and from a TOML file
(options win). ``build`` resolves it into the settings that the database stores.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from evolver import constraints, datasets, objectives, recipe, registry, seeding, selection
from evolver.breeding import BREEDER_VERSION, breed
from evolver.datasets.spec import split_counts
from evolver.errors import InvalidInput, SpaceExhausted, UnknownName
from evolver.selection.base import Population
from evolver.selection.baseline import RandomSearch
from evolver.store.experiments import Experiment, NewDataset, Settings
from evolver.terms import cheap_objectives, limits
from evolver.validation import first_fault

SPLIT_SEED = 0
"""Of every data set's train/validation split, so that experiments on one data set can be compared."""
GIB = 1024**3
INTEGER_MAX = 2**31 - 1
"""Of an integer column. Larger ones are ``2**63 - 1``, as ids are."""
OPTIONS = {"constraints": "constraint"}
"""Settings whose option has another name."""
POPULATION_MAX = 10_000
"""Neighbourhoods are found by comparing all slots: seconds at this number, minutes at ten times it."""


class ExperimentConfig(BaseModel):
    """A new experiment as a user describes it. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str = "digits"
    space: str = "small"
    objectives: tuple[str, ...] = ("error", "loss")
    constraints: tuple[str, ...] = ()
    selector: str = "smsemoa"
    evaluator: str = "train"
    population: int = Field(default=20, ge=4, le=POPULATION_MAX)
    budget: int = Field(default=200, ge=1, le=INTEGER_MAX)
    epochs: int | None = Field(default=None, ge=1)
    recipe: str = "paper"
    recipe_settings: dict[str, Any] = Field(default_factory=dict)
    space_settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0, lt=2**63)
    limit_train: int | None = Field(default=None, ge=10, le=INTEGER_MAX)
    max_hours: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1, le=INTEGER_MAX)
    max_params: int | None = Field(default=None, ge=1, lt=2**63)
    max_memory_bytes: int | None = Field(default=8 * GIB, ge=1, lt=2**63)
    timeout: float | None = Field(default=None, gt=0)
    max_attempts: int = Field(default=3, ge=1, le=INTEGER_MAX)
    front_limit: int = Field(default=1000, ge=1, le=INTEGER_MAX)
    parents: Literal["drawn", "least-used"] = "drawn"
    candidates: int = Field(default=1, ge=1, le=64)
    operators: Literal["fixed", "learned"] = "fixed"
    seed_genomes: str | None = Field(default=None, min_length=1)
    seed_from: str | None = Field(default=None, min_length=1)

    @field_validator("objectives", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """``error,loss`` as one string, or a list of names."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("constraints", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """One constraint, or a list of them."""
        return (value,) if isinstance(value, str) else value


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a TOML file. Raises InvalidInput when it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read the config file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the config file {path} is not valid TOML: {error}") from error


def parse(values: Mapping[str, Any]) -> ExperimentConfig:
    """Check a user's settings. Raises InvalidInput or UnknownName with the first that is wrong."""
    try:
        config = ExperimentConfig.model_validate(dict(values))
    except ValidationError as error:
        fault = first_fault(error)
        if fault.is_unknown:
            raise UnknownName("setting", fault.key, ExperimentConfig.model_fields) from error
        raise InvalidInput(f"{fault.key.replace('_', '-')}{fault.text}") from error
    if config.budget < config.population:
        raise InvalidInput(
            f"the budget ({config.budget}) is smaller than the population ({config.population}): "
            "no generation of parents would ever be complete; raise --budget or lower --population"
        )
    if config.candidates > 1 and not cheap_objectives(config.objectives):
        raise InvalidInput(
            "candidates are chosen by objectives that are known before training, and none of "
            f"{_shown(config.objectives)} is: leave --candidates out, or add one, for instance "
            f"--objectives {','.join([*config.objectives, 'params'])}"
        )
    _require_breeding(config)
    return config


def _require_breeding(config: ExperimentConfig) -> None:
    """A selector that breeds from nobody leaves nothing for the options of breeding to do."""
    fields = ExperimentConfig.model_fields
    names = ("parents", "candidates", "operators")
    options = [name for name in names if getattr(config, name) != fields[name].default]
    if config.selector == RandomSearch.name and options:
        raise InvalidInput(
            f"the selector {config.selector} makes each genome at random, from no parents: leave "
            f"{' and '.join(f'--{one}' for one in options)} out, or choose another --selector"
        )


def build(name: str, config: ExperimentConfig, data_dir: Path) -> tuple[Settings, NewDataset]:
    """The settings and the data set's row of a new experiment.

    Raises UnknownName or InvalidInput for whatever does not exist or does not fit.
    """
    if not name or not name.isprintable() or name != name.strip() or len(name) > 100 or name[0] == "-":
        raise InvalidInput(
            f"'{name}' cannot be an experiment's name: 1 to 100 printable characters, the first no '-'"
        )
    plugin, preset = registry.space_settings(config.space)
    space = registry.load_space(plugin, {**preset, **config.space_settings})
    objectives.load(config.objectives)
    selection.load(config.selector, config.population, len(config.objectives))
    if config.evaluator not in registry.names("evaluator"):  # not loaded: it may need torch
        raise UnknownName("evaluator", config.evaluator, registry.names("evaluator"))
    overrides = {**config.recipe_settings, **({"epochs": config.epochs} if config.epochs else {})}
    training = recipe.load(config.recipe, overrides)
    info = datasets.describe(config.dataset, data_dir)
    train, validation = split_counts(info.train_total, None)
    if info.train_total:
        _require_a_batch(split_counts(info.train_total, config.limit_train)[0], training.batch_size)
    settings = Settings(
        name=name,
        limit_train=config.limit_train,
        space=plugin,
        space_version=space.version,
        space_settings=space.settings(),
        recipe=training.to_json(),
        objectives=config.objectives,
        selector=config.selector,
        evaluator=config.evaluator,
        population=config.population,
        budget=config.budget,
        seed=config.seed,
        max_hours=config.max_hours,
        patience=config.patience,
        max_params=config.max_params,
        max_memory_bytes=config.max_memory_bytes,
        timeout_s=config.timeout,
        max_attempts=config.max_attempts,
        front_limit=config.front_limit,
        breeder_version=BREEDER_VERSION,
        parents=config.parents,
        candidates=config.candidates,
        operators=config.operators,
        constraints=constraints.parse(config.constraints, config.objectives, registry.names("objective")),
        seed_genomes=None if config.seed_genomes is None else seeding.shown_source(config.seed_genomes),
        seed_from=config.seed_from,
    )
    data = NewDataset(config.dataset, info.sample, train, validation, info.test, SPLIT_SEED, info.sha256)
    return settings, data


def _require_a_batch(samples: int, batch_size: int) -> None:
    if samples < batch_size:
        raise InvalidInput(
            f"{samples} samples are left to train on, fewer than a batch of {batch_size}: bring more, "
            "raise --limit-train, or lower batch_size under [recipe_settings] in a --config file"
        )


def require_possible(settings: Settings, data: NewDataset) -> None:
    """Check that a genome within the limits can be bred at all, as the first step of a search would.

    Raises InvalidInput, with the limits, when none comes up.
    """
    selector = selection.load(settings.selector, settings.population, len(settings.objectives))
    try:
        breed(
            registry.load_space(settings.space, settings.space_settings),
            data.sample,
            selector,
            Population.empty(selector.slots, len(settings.objectives)),
            selector.initial_state(),
            birth=1,
            seed=settings.seed,
            genome_of=lambda genome_id: None,
            seen=lambda phenotype: None,
            limits=limits(settings),
        )
    except SpaceExhausted as error:
        raise InvalidInput(str(error)) from error


def initial_selector_state(settings: Settings) -> Mapping[str, Any]:
    """The selector's state before any result."""
    selector = selection.load(settings.selector, settings.population, len(settings.objectives))
    return selector.initial_state()


def require_same(found: Experiment, settings: Settings, data: NewDataset, given: set[str]) -> None:
    """Check that an experiment which exists has the settings that a user gave explicitly.

    ``given`` names the keys of the config that were given. Raises InvalidInput with the first that differs.
    """
    columns = {
        "timeout": "timeout_s",
        "epochs": "recipe",
        "recipe_settings": "recipe",
        "space": "space_settings",
    }
    for key in sorted(given):
        if key == "dataset":
            old, new = found.dataset.name, data.name
        else:
            column = columns.get(key, key)
            old, new = getattr(found.settings, column), getattr(settings, column)
        if old == new and (key != "space" or found.settings.space == settings.space):
            continue
        if key == "space":
            old, new = _space_name(found.settings), _space_name(settings)
        option = f"--{OPTIONS.get(key, key.replace('_', '-'))}"
        hint = "raise it with 'evolver extend'" if key == "budget" else "leave the option out"
        raise InvalidInput(
            f"experiment '{settings.name}' exists with another {option} ({_shown(old)}, not {_shown(new)}); "
            f"{hint}, or choose another name"
        )


def _space_name(settings: Settings) -> str:
    """The preset that a space is, else its plug-in's name."""
    presets = registry.load("space", settings.space).presets()
    return next(
        (name for name, preset in presets.items() if preset == settings.space_settings), settings.space
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(str(value[key]) for key in ("name", "epochs") if key in value) or "other settings"
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
