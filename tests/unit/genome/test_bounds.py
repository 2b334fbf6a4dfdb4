"""Settings of the space: presets, validation, the round trip through JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from evolver.errors import InvalidInput, UnknownName
from evolver.genome.bounds import PRESETS, Bounds, parse
from evolver.genome.space import ConvSpace


def test_presets_are_complete_settings_that_json_keeps() -> None:
    for name, settings in ConvSpace.presets().items():
        assert parse(json.loads(json.dumps(settings))) == PRESETS[name]
        assert ConvSpace.from_settings(settings).settings() == settings


def test_missing_settings_are_the_papers() -> None:
    assert parse({}) == PRESETS["paper"]
    assert parse({"stem_channels": 8}) == Bounds(stem_channels=8)


def test_small_keeps_to_what_one_cpu_core_trains() -> None:
    small = PRESETS["small"]
    assert small.blocks[1] <= 4
    assert small.channels[1] <= 48
    assert small.conv_kernel == (1, 3)
    assert small.dense_units == (64, 256)


def test_an_unknown_setting_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'chanels'; did you mean channels"):
        parse({"chanels": [3, 4]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": [0, 3]}, "'blocks'"),
        ({"blocks": [3, 2]}, "'blocks': the values must be in ascending order"),
        ({"blocks": [1]}, "'blocks'"),
        ({"blocks": [1, 2, 3]}, "'blocks'"),
        ({"blocks": 3}, "'blocks'"),
        ({"blocks": [True, 3]}, "'blocks'"),
        ({"blocks": [1, "3"]}, "'blocks'"),
        ({"channels": [3.5, 8]}, "'channels'"),
        ({"pool_kernels": []}, "'pool_kernels'"),
        ({"pool_kernels": [1, 2]}, "'pool_kernels'"),
        ({"pool_kernels": [4, 2]}, "'pool_kernels'"),
        ({"init_mean": [math.nan, 1.0]}, "'init_mean'"),
        ({"init_mean": [-1e300, 1e300]}, "'init_mean'"),
        ({"init_std": [0.0, 1e-7]}, "'init_std': a real gene is kept to 1e-6"),
        ({"blocks": [1, 10**9]}, "'blocks'"),
        ({"init_std": [0.0, math.inf]}, "'init_std'"),
        ({"mutation_probability": 1.5}, "'mutation_probability'"),
        ({"crossover_eta": -1.0}, "'crossover_eta'"),
        ({"stem_channels": None}, "'stem_channels'"),
        ({"max_genes": 1}, "max_genes is 1, but the fewest blocks and pools need 2"),
        ({"add_share": 0.7, "remove_share": 0.7}, "add_share"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse(settings)
    assert "\n" not in str(caught.value)
