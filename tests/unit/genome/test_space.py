"""The space behind its interface."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from evolver.genome.code import Genome
from evolver.genome.space import ConvSpace
from evolver.space import HasMutations, Sample
from tests.unit.genome.factories import conv, genome, max_pool


@pytest.mark.parametrize(
    "sample", [Sample(3, (224, 224), 1000), Sample(1, (8, 8), 10), Sample(9, (100_000,), 6)]
)
def test_drawings_fit_a_terminal(space: ConvSpace, sample: Sample) -> None:
    rng = np.random.default_rng(30)
    for _ in range(100):
        assert max(map(len, space.describe(space.random(rng), sample))) <= 78


def test_a_drawing() -> None:
    code = genome([conv(3, 8), max_pool(2)], [conv(1, 8)], dense=(1200,))
    assert ConvSpace().describe(code, Sample(1, (28, 28), 10)) == [
        "          layer                            output                  parameters",
        "input                                      1 x 28 x 28",
        "stem      conv 3x3 - norm - relu           64 x 28 x 28                   704",
        "block 1   conv 3x3 - norm - relu           8 x 28 x 28                  4,624",
        "          max pool 2x2                     8 x 14 x 14",
        "          + conv 1x1, stride 2 - norm      8 x 14 x 14                    528",
        "block 2   conv 1x1 - norm - relu           8 x 14 x 14                     80",
        "          + identity                       8 x 14 x 14",
        "flatten                                    1,568",
        "dense     linear - norm - relu             1,200                    1,885,200",
        "output    linear                           10                          12,010",
        "total     12,141,504 FLOPs a sample                                 1,903,146",
    ]


def test_mutations_of_one_kind(space: ConvSpace) -> None:
    assert isinstance(space, HasMutations)
    kinds = space.mutations()
    assert sorted(kinds) == ["add", "alter", "remove"]
    rng = np.random.default_rng(31)
    sizes: dict[str, list[int]] = {kind: [] for kind in kinds}
    for number in range(200):
        parent = space.random(rng)
        before = space.to_json(parent)
        for kind, mutate in kinds.items():
            child = mutate(parent, np.random.default_rng(number))
            assert child == mutate(parent, np.random.default_rng(number))
            space.validate(child)
            sizes[kind].append(size(child) - size(parent))
        assert space.to_json(parent) == before
    assert min(sizes["add"]) >= 0 < sum(sizes["add"])
    assert max(sizes["remove"]) <= 0 > sum(sizes["remove"])
    assert set(sizes["alter"]) == {0}


def size(code: Genome) -> int:
    return sum(map(len, code.blocks)) + len(code.dense)


def test_settings_rebuild_the_space(space: ConvSpace) -> None:
    assert ConvSpace.from_settings(space.settings()) == space
    assert space.mutation_probability == 0.2


def test_the_package_imports_neither_torch_nor_a_database() -> None:
    imported = (
        "import sys, evolver.genome.space; print([m for m in ('torch', 'sqlalchemy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
