"""What a user says about a new experiment, checked at the border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evolver import config
from evolver.errors import InvalidInput, UnknownName

HERE = Path()


def test_defaults_build() -> None:
    settings, data = config.build("demo", config.parse({}), HERE)
    assert (settings.space, settings.objectives, settings.population) == ("conv", ("error", "loss"), 20)
    assert (data.name, data.train + data.validation, data.test) == ("digits", 1438, 359)


def test_objectives_may_be_one_string() -> None:
    assert config.parse({"objectives": "error, params"}).objectives == ("error", "params")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"population": 3}, "population must be at least 4, not 3"),
        ({"budget": 10, "population": 11}, "smaller than the population"),
        ({"epochs": 0}, "epochs"),
        ({"limit_train": 1}, "limit-train"),
        ({"timeout": -1}, "timeout"),
        ({"seed": -1}, "seed"),
        ({"max_hours": float("nan")}, "max-hours"),
        ({"parents": "least_used"}, "parents must be 'drawn' or 'least-used', not 'least_used'"),
        ({"operators": "adaptive"}, "operators must be 'fixed' or 'learned', not 'adaptive'"),
        ({"candidates": 0}, "candidates must be at least 1, not 0"),
        ({"candidates": 65, "objectives": "error,params"}, "candidates must be at most 64, not 65"),
        ({"candidates": 2}, r"none of error,loss is: leave --candidates out, .* error,loss,params"),
        ({"bugdet": 3}, "unknown setting 'bugdet'; did you mean budget"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        config.parse(values)


@pytest.mark.parametrize(
    "values",
    [
        {"dataset": "digit"},
        {"space": "tinny"},
        {"objectives": ("eror",)},
        {"selector": "nsga3"},
        {"recipe": "fastest"},
        {"evaluator": "training"},
        {"recipe_settings": {"learning_rate": 1}},
        {"space_settings": {"block": 3}},
    ],
)
def test_unknown_names(values: dict[str, Any]) -> None:
    with pytest.raises(UnknownName):
        config.build("demo", config.parse(values), HERE)


@pytest.mark.parametrize("name", ["", " demo", "a\nb", "x" * 101])
def test_names_that_cannot_be_used(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be an experiment's name"):
        config.build(name, config.parse({}), HERE)


def test_options_of_breeding() -> None:
    values = {"objectives": "error,flops", "parents": "least-used", "candidates": 16, "operators": "learned"}
    settings, _ = config.build("demo", config.parse(values), HERE)
    assert (settings.parents, settings.candidates, settings.operators) == ("least-used", 16, "learned")
    plain, _ = config.build("demo", config.parse({}), HERE)
    assert (plain.parents, plain.candidates, plain.operators) == ("drawn", 1, "fixed")


def test_presets_can_be_refined() -> None:
    values = {"recipe": "fast", "epochs": 7, "recipe_settings": {"lr": 0.2}}
    settings, _ = config.build("demo", config.parse(values), HERE)
    assert (settings.recipe["epochs"], settings.recipe["lr"], settings.recipe["name"]) == (7, 0.2, "fast")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lr", 0, "recipe setting 'lr' must be greater than 0, not 0"),
        ("batch_size", 0, "recipe setting 'batch_size' must be at least 2, not 0"),
        ("batch_size", 2000, "1150 samples are left to train on, fewer than a batch of 2000"),
        ("epoch", 3, "unknown recipe setting 'epoch'; did you mean epochs"),
    ],
)
def test_recipes_that_do_not_train(key: str, value: float, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        config.build("demo", config.parse({"recipe_settings": {key: value}}), HERE)


def test_a_limit_leaves_at_least_a_batch() -> None:
    with pytest.raises(InvalidInput, match="63 samples are left to train on, fewer than a batch of 64"):
        config.build("demo", config.parse({"limit_train": 79}), HERE)
    config.build("demo", config.parse({"limit_train": 80}), HERE)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        config.read_file(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff = 1")
    with pytest.raises(InvalidInput, match="not valid TOML"):
        config.read_file(tmp_path / "bad.toml")
