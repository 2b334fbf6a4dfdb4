"""Codes: the round trip through JSON, and what a tampered code gets."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from evolver.errors import InvalidGenome
from evolver.genome import code
from evolver.genome.code import ConvGene, DenseGene, Genome, PoolGene
from evolver.genome.space import ConvSpace

GENOME = Genome(
    ((ConvGene(3, 32, -0.25, 0.5), PoolGene(2, 0.75)), (ConvGene(1, 8, 0.0, 1.0),)), (DenseGene(1200),)
)
CODE = {
    "blocks": [
        [
            {"kind": "conv", "kernel": 3, "channels": 32, "init_mean": -0.25, "init_std": 0.5},
            {"kind": "pool", "kernel": 2, "type": 0.75},
        ],
        [{"kind": "conv", "kernel": 1, "channels": 8, "init_mean": 0.0, "init_std": 1.0}],
    ],
    "dense": [{"kind": "dense", "units": 1200}],
}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_the_code_of_a_genome_is_this_json() -> None:
    assert code.to_json(GENOME) == CODE
    assert code.from_json(json.loads(json.dumps(CODE))) == GENOME


def test_a_real_that_a_database_hands_back_as_an_integer_is_a_real() -> None:
    handed_back = copy.deepcopy(CODE)
    handed_back["blocks"][1][0].update(init_mean=0, init_std=1)
    genome = code.from_json(handed_back)
    assert genome == GENOME
    assert isinstance(genome.blocks[1][0], ConvGene)
    assert isinstance(genome.blocks[1][0].init_std, float)


@pytest.mark.parametrize("field", ["kernel", "channels", "init_mean", "init_std"])
@pytest.mark.parametrize(
    "value",
    [
        "3",
        None,
        True,
        [3],
        {},
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        -(10**5000),
        b"3",
        2j,
        nested(100_000),
    ],
    ids=[
        "text",
        "none",
        "bool",
        "list",
        "object",
        "nan",
        "inf",
        "-inf",
        "big",
        "huge",
        "bytes",
        "complex",
        "deep",
    ],
)
def test_a_value_of_another_type_is_refused(field: str, value: Any) -> None:
    tampered = copy.deepcopy(CODE)
    tampered["blocks"][0][0][field] = value
    with pytest.raises(InvalidGenome, match=rf"blocks\[0\]\[0\]\.{field}") as caught:
        code.from_json(tampered)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["kernel", "channels"])
def test_a_real_is_not_an_integer(field: str) -> None:
    tampered = copy.deepcopy(CODE)
    tampered["blocks"][0][0][field] = 3.0
    with pytest.raises(InvalidGenome, match="not an integer"):
        code.from_json(tampered)


CONV = CODE["blocks"][0][0]
POOL = CODE["blocks"][0][1]
DENSE = CODE["dense"][0]


@pytest.mark.parametrize(
    "tampered",
    [
        None,
        7,
        math.nan,
        "blocks",
        [],
        nested(100_000),
        {},
        {"blocks": []},
        {"dense": []},
        {"blocks": [], "dense": [], "extra": 1},
        {"blocks": [], "dense": [], 1: 1},
        {"blocks": None, "dense": []},
        {"blocks": {}, "dense": []},
        {"blocks": "conv", "dense": []},
        {"blocks": [], "dense": 3},
        {"blocks": [], "dense": "dense"},
        {"blocks": [CONV], "dense": []},
        {"blocks": [None], "dense": []},
        {"blocks": [[None]], "dense": []},
        {"blocks": [[[]]], "dense": []},
        {"blocks": nested(100_000), "dense": []},
        {"blocks": [[{}]], "dense": []},
        {"blocks": [[{"kind": "dense", "units": 5}]], "dense": []},
        {"blocks": [[{**CONV, "kind": "Conv"}]], "dense": []},
        {"blocks": [[{**CONV, "kind": ["conv"]}]], "dense": []},
        {"blocks": [[{**CONV, "kind": None}]], "dense": []},
        {"blocks": [[{**CONV, "kind": "pool"}]], "dense": []},
        {"blocks": [[{**CONV, "stride": 1}]], "dense": []},
        {"blocks": [[{key: CONV[key] for key in ("kind", "kernel", "channels")}]], "dense": []},
        {"blocks": [[{**POOL, "type": "max"}]], "dense": []},
        {"blocks": [], "dense": [CONV]},
        {"blocks": [], "dense": [{**DENSE, "units": 2.5}]},
        {"blocks": [], "dense": [{"units": 5}]},
        {"blocks": [], "dense": [5]},
    ],
)
def test_a_code_of_another_form_is_refused(tampered: Any) -> None:
    with pytest.raises(InvalidGenome) as caught:
        code.from_json(tampered)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "tampered",
    [
        {"blocks": [], "dense": []},
        {"blocks": [[]], "dense": []},
        {"blocks": [[POOL, CONV]], "dense": []},
        {"blocks": [[CONV]], "dense": []},
        {"blocks": [[CONV, POOL]] * 11, "dense": []},
        {"blocks": [[CONV, POOL, POOL, POOL, POOL]], "dense": []},
        {"blocks": [[CONV, CONV, CONV, CONV, POOL]], "dense": []},
        {"blocks": [[CONV, CONV, CONV]] * 9 + [[CONV, CONV, CONV, POOL]], "dense": []},
        {"blocks": [[CONV, POOL]], "dense": [DENSE, DENSE]},
        {"blocks": [[CONV, POOL]], "dense": [{**DENSE, "units": 999}]},
        {"blocks": [[{**CONV, "kernel": 0}, POOL]], "dense": []},
        {"blocks": [[{**CONV, "kernel": 6}, POOL]], "dense": []},
        {"blocks": [[{**CONV, "channels": 2}, POOL]], "dense": []},
        {"blocks": [[{**CONV, "channels": -(2**31) + 1}, POOL]], "dense": []},
        {"blocks": [[{**CONV, "init_std": -0.1}, POOL]], "dense": []},
        {"blocks": [[{**CONV, "init_mean": 1e300}, POOL]], "dense": []},
        {"blocks": [[{**CONV, "init_mean": 0.1234567}, POOL]], "dense": []},
        {"blocks": [[CONV, {**POOL, "kernel": 3}]], "dense": []},
        {"blocks": [[CONV, {**POOL, "type": 1.5}]], "dense": []},
    ],
)
def test_a_code_out_of_bounds_is_refused_by_its_space(tampered: Any) -> None:
    code.from_json(tampered)
    with pytest.raises(InvalidGenome) as caught:
        ConvSpace().from_json(tampered)
    assert "\n" not in str(caught.value)
