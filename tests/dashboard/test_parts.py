"""Drawings, lineages in layers, and differences: values in, values out."""

from __future__ import annotations

import numpy as np
import pytest

from evolver.dashboard import figures, networks, tree
from evolver.dashboard.pairs import Line, differences
from evolver.dashboard.progress import Growth, median
from evolver.dashboard.words import data_name, ranked, said
from evolver.genome.bounds import PRESETS
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from evolver.store.browse import Rank, spread
from evolver.store.details import EpochFact
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


def test_settings_and_data_sets_in_words() -> None:
    assert [said(value) for value in (None, "", True, 0, [1, 3], (), 0.5)] == [
        "–", "–", "yes", "0", "1, 3", "–", "0.5",
    ]  # fmt: skip
    assert data_name("digits") == "digits"
    assert data_name("npz:/data/far/away/glyphs.npz") == "npz:…/glyphs.npz"
    assert data_name("npz:glyphs.npz") == "npz:glyphs.npz"


# --- charts ------------------------------------------------------------------------------------------


def test_a_median_of_steps_is_where_all_have_a_value() -> None:
    at, values = median([([1, 2, 4], [0.0, 1.0, 3.0]), ([1, 3], [2.0, 4.0]), ([2, 3, 9], [5.0, 6.0, 7.0])])
    assert at == [2, 3]
    assert values == [2.0, 4.0]
    assert median([([1, 2], [0.0, 0.0]), ([3, 4], [1.0, 1.0])]) == ([], [])


def grown(*hours: float) -> Growth:
    return Growth(tuple(range(1, len(hours) + 1)), hours, (0.5,) * len(hours), {"error": (0.1,)}, 0)


def test_repetitions_are_thin_lines_and_a_thick_median() -> None:
    chart = figures.growth({"a@": [grown(0.1, 0.2), grown(0.1, 0.3)], "b": [grown(0.1)]}, "evaluations")
    assert [one["line"].get("width") for one in chart.data] == [1, 1, None, None]
    assert [one["name"] for one in chart.data if one.get("showlegend", True)] == ["a@", "b"]
    apart = figures.growth({"a@": [grown(1.0, 2.0), grown(3.0, 4.0)]}, "hours")  # they have no median
    assert [one.get("showlegend", True) and bool(one["x"]) for one in apart.data] == [True, False, False]


@pytest.mark.parametrize(
    ("hours", "title", "last"), [(0.01, "seconds", 36.0), (0.5, "minutes", 30.0), (5.0, "hours", 5.0)]
)
def test_a_time_axis_has_the_unit_that_fits(hours: float, title: str, last: float) -> None:
    chart = figures.growth({"a": [grown(hours / 2, hours)]}, "hours")
    assert chart.layout["xaxis"]["title"]["text"] == f"{title} since the start"
    assert chart.data[0]["x"][-1] == pytest.approx(last)


def test_trainings_of_one_kind_share_their_colour_and_their_place_in_the_legend() -> None:
    epochs = [EpochFact(number, 1.0, 0.5, None, None, 0.1, 1.0) for number in (1, 2)]
    searched = [EpochFact(number, 1.0, 0.5, 1.1, 0.6, 0.1, 1.0) for number in (1, 2)]
    chart = figures.learning({"search": [searched], "transfer": [epochs, epochs]}, "loss")
    assert [one["name"] for one in chart.data if one["showlegend"]] == ["search", "transfer"]
    assert len({one["line"]["color"] for one in chart.data}) == 2
    assert len(chart.data) == 4  # final trainings have no validation data
    assert chart.layout["xaxis"]["dtick"] == 1
    alone = figures.learning({"search": [searched]}, "loss")
    assert [one["name"] for one in alone.data] == ["train", "validation"]


def test_ticks_of_a_logarithmic_axis_are_not_crowded() -> None:
    def ticks(least: float, greatest: float) -> object:
        points = [{"values": {"params": least}}, {"values": {"params": greatest}}, {"values": {}}]
        return figures.plane(["params", "error"], ["params"], points)["xaxis"]["dtick"]

    assert [ticks(1e3, 2e4), ticks(1e3, 1e9)] == ["D2", 1]
