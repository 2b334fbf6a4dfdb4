"""Drawings, lineages in layers, and differences: values in, values out."""

from __future__ import annotations

import numpy as np
import pytest

from evolver.dashboard import networks, tree
from evolver.dashboard.comparing import Line, differences
from evolver.dashboard.words import ranked
from evolver.genome.bounds import PRESETS
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from evolver.store.browse import Rank, spread
from evolver.store.kin import Relative


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sample", [Sample(1, (8, 8), 10), Sample(3, (32, 32), 10), Sample(2, (64,), 4)])
def test_a_drawing_has_all_parameters_and_flops(seed: int, sample: Sample) -> None:
    space = ConvSpace(PRESETS["paper"])
    genome = space.random(np.random.default_rng(seed))
    drawing = networks.draw(space.plan(genome, sample))
    cost = space.cost(genome, sample)
    assert sum(box.layer.params for box in drawing.boxes) == cost.params
    assert sum(box.layer.flops for box in drawing.boxes) == cost.flops
    assert len(drawing.frames) == len(genome.blocks)
    bottoms = [box.y + box.height for box in drawing.boxes]
    assert all(below.y > bottom for bottom, below in zip(bottoms, drawing.boxes[1:], strict=False))
    assert bottoms[-1] < drawing.height
    assert len(networks.lines(space.to_json(genome))) == sum(len(b) + 1 for b in genome.blocks) + len(
        genome.dense
    )


def test_a_code_of_another_space_is_shown_as_it_is() -> None:
    assert networks.in_short([0.5, "<x>"]) == ['[0.5, "<x>"]']
    assert networks.lines({"b": 1, "a": 2})[1].strip() == '"a": 2,'
    assert len(networks.in_short(["x" * 500])[0]) == networks.LONGEST_LINE


def test_children_are_above_their_parents() -> None:
    rng = np.random.default_rng(0)
    relatives = [Relative(1, 1, "random", (), 0), Relative(2, 2, "random", (), 0)]
    for key in range(3, 60):
        parents = tuple(int(one) for one in rng.choice(np.arange(1, key), 2, replace=False))
        relatives.append(Relative(key, key, "crossover", parents, 0))
    placed = tree.layout([*relatives, Relative(60, 60, "mutation", (999, 1), 0)])
    assert len(placed.nodes) == 60
    assert len(placed.edges) == 57 * 2 + 1  # of the last one, one parent is not there
    assert all(edge.child.y < edge.parent.y for edge in placed.edges)
    assert len({(node.x, node.y) for node in placed.nodes}) == 60
    assert all(0 < node.x < placed.width and 0 < node.y < placed.height for node in placed.nodes)


def test_no_relatives_are_an_empty_tree() -> None:
    assert tree.layout([]).nodes == ()


def test_equal_lines_stand_beside_each_other() -> None:
    assert differences(["a", "b", "c"], ["a", "x", "c", "d"]) == [
        Line("", "a", "a"), Line("≠", "b", "x"), Line("", "c", "c"), Line("+", "", "d"),
    ]  # fmt: skip
    assert differences(["a", "b"], ["b"]) == [Line("−", "a", ""), Line("", "b", "b")]


def test_numbers_spread_evenly() -> None:
    assert spread(0, 5) == []
    assert spread(4, 5) == [1, 2, 3, 4]
    assert spread(100, 4) == [25, 50, 75, 100]
    assert len(spread(1_000_003, 600)) == 600


def test_ranks_in_words() -> None:
    assert ranked(Rank(0, 11, False)) == "1 of 11"
    assert ranked(Rank(20, 2_000, True)) == "1.0 % are better (of a sample of 2000)"
    assert ranked(Rank(0, 2_000, True)).startswith("less than 0.1 %")
