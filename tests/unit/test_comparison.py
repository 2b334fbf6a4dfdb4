"""Curves and attainment against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from evolver.comparison import Run, attainment, compare, hypervolumes
from evolver.errors import InvalidInput
from evolver.selection.pareto import Points, hypervolume

NAN = float("nan")


def run(name: str, points: Points) -> Run:
    at = np.arange(1.0, len(points) + 1)
    failed = np.isnan(points).any(axis=1)
    return Run(name, points, failed, {"evaluations": at, "hours": at / 10, "wall": at / 5})


def random_run(name: str, seed: int, number: int = 30) -> Run:
    points = np.random.default_rng(seed).uniform(size=(number, 2))
    points[3] = NAN
    return run(name, points)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_a_hypervolume_curve_is_that_of_each_beginning(m: int) -> None:
    points = np.random.default_rng(m).uniform(0, 1.2, size=(60, m))
    points[[0, 7]] = NAN
    counts = np.array([0, 1, 5, 5, 40, 60])
    valued = [points[:n][np.isfinite(points[:n]).all(axis=1)] for n in counts]
    expected = [
        (max(0.0, 1 - p.min()) if m == 1 else hypervolume(p, np.ones(m))) if len(p) else 0.0 for p in valued
    ]
    assert hypervolumes(points, counts) == pytest.approx(expected)


def test_a_point_is_attained_by_half_of_the_runs_when_half_of_them_dominate_it() -> None:
    rng = np.random.default_rng(5)
    fronts = [np.sort(rng.uniform(size=(5, 2)), axis=0) * [1, -1] + [0, 1] for _ in range(4)]
    surface = attainment(fronts)[50.0]
    for point in rng.uniform(0, 1.2, size=(300, 2)):
        by = sum(bool((front <= point).all(axis=1).any()) for front in fronts)
        assert bool((surface <= point).all(axis=1).any()) == (by >= 2)


def test_groups_share_scale_and_budget() -> None:
    better = [run(f"a@{i}", random_run("", i).points / 20) for i in range(5)]
    worse = [random_run(f"b@{i}", 50 + i, number=40) for i in range(5)]
    found = compare({"a@": better, "b@": worse}, ("error", "loss"))
    assert found.end == 30
    first, second = found.groups
    assert (first.evaluations, first.failures, second.evaluations) == (150, 5, 150)
    assert min(first.finals["hypervolume"]) > max(second.finals["hypervolume"])
    test = found.tests[0]
    assert (test.measure, test.a12, test.cliffs_delta) == ("hypervolume", 1.0, 1.0)
    assert test.p == pytest.approx(2 / 252)
    curve = first.curves["hours"]["error"]
    assert curve.at[-1] == 3.0
    assert curve.median[-1] == pytest.approx(np.median(first.finals["error"]))
    assert (np.diff(curve.median[np.isfinite(curve.median)]) <= 0).all()


def test_single_runs_cannot_be_tested() -> None:
    assert compare({"a": [random_run("a", 1)], "b": [random_run("b", 2)]}, ("x", "y")).tests == ()


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InvalidInput, match="no result"):
        compare({"a": [run("a", np.full((3, 2), NAN))]}, ("x", "y"))
    with pytest.raises(InvalidInput, match="2 numbers"):
        compare({"a": [random_run("a", 1)]}, ("x", "y"), reference=[1.0])
    with pytest.raises(InvalidInput, match="above the best"):
        compare({"a": [random_run("a", 1)]}, ("x", "y"), reference=[-1.0, 1.0])


def test_what_counts_by_its_logarithm_is_scaled_so() -> None:
    points = np.array([[0.4, 1_000.0], [0.2, 100_000.0], [0.6, 10.0]])
    found = compare({"a": [run("a", points)]}, ("error", "params"), logarithmic=(1,))
    seen = np.column_stack([points[:, 0], np.log10(points[:, 1])])
    expected = compare({"a": [run("a", seen)]}, ("error", "log params"))
    assert found.groups[0].finals["hypervolume"] == pytest.approx(expected.groups[0].finals["hypervolume"])
    assert found.scale.reference.tolist() == [0.6, 100_000.0]
    bounded = compare(
        {"a": [run("a", points)]}, ("error", "params"), reference=(0.6, 1_000_000.0), logarithmic=(1,)
    )
    assert bounded.groups[0].finals["hypervolume"][0] > found.groups[0].finals["hypervolume"][0]
