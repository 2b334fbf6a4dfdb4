"""What ``benchmarks/searches.py`` makes of the results of searches."""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts are run by their path

from search_arms import STUDIES, Outcome, Search, Study, best_of
from searches import (
    against_baseline,
    analysed,
    coefficients,
    correlations,
    correlations_by_subset,
    headline_of,
    same_start,
)

from evolver.config import ExperimentConfig
from evolver.store.facts import GenomeFact

ROWS = ((0.4, 0.9, 1_000, 10_000), (0.1, 0.5, 10_000, 100_000), (0.3, 0.4, 10_000, 200_000))


def outcome(
    rows: Sequence[Sequence[float]] = ROWS,
    *,
    failed: Sequence[int] = (),
    duplicates: Sequence[int] = (),
    front: Sequence[int] = (0, 1),
    test_error: float | None = None,
) -> Outcome:
    """A search of these results; ``failed``, ``duplicates`` and ``front`` are their positions."""
    values = np.array(rows, dtype=float)
    values[list(failed)] = np.nan
    n = len(rows)
    return Outcome(
        values=values,
        failed=np.isin(np.arange(n), failed),
        original=~np.isin(np.arange(n), duplicates),
        in_front=np.isin(np.arange(n), front),
        start=tuple(tuple(row) for row in rows[:2]),
        hours=np.arange(1.0, n + 1),
        training_hours=np.arange(1.0, n + 1),
        active_s=1.0,
        test_error=test_error,
    )


def study(*planes: tuple[str, ...], objectives_compared: bool = False) -> Study:
    arms = {"base": {"objectives": ["error"]}, "other": {"objectives": ["error", "loss"]}}
    return Study("part", "name", "base", arms, planes, objectives_compared)


def fact(genome_id: int, error: float, loss: float, state: str = "done") -> GenomeFact:
    values = {"error": error, "loss": loss} if state == "done" else {}
    return GenomeFact(genome_id, genome_id, "random", 1, 1, None, state, None, genome_id, {}, values)


# --- what is searched ---


def test_every_search_is_kept_apart_by_its_settings() -> None:
    settings = {"selector": "moead", "objectives": ["error"], "seed": 1}
    others = [{**settings, "seed": 2}, {**settings, "epochs": 3}, {**settings, "selector": "nsga2"}]
    names = {Search(one).directory for one in (settings, *others)}
    assert len(names) == 4
    assert Search(dict(reversed(settings.items()))).directory in names


def test_a_config_file_has_the_settings() -> None:
    settings = {"selector": "moead", "objectives": ["error", "loss"], "budget": 60}
    assert tomllib.loads(Search(settings).config()) == settings


def test_arms_are_settings_that_differ_and_hold_the_baseline() -> None:
    for one in STUDIES:
        assert one.baseline in one.arms
        assert len(
            {Search({"selector": "", "seed": 1, **arm}).directory for arm in one.arms.values()}
        ) == len(one.arms)
        assert one.baseline in one.shortened().arms
        assert len(one.shortened().arms) == 2


@pytest.mark.parametrize("one", STUDIES, ids=lambda one: one.name)
def test_arms_are_settings_of_experiments(one: Study) -> None:
    for arm in one.arms.values():
        ExperimentConfig.model_validate(dict(arm))


def test_the_best_has_the_least_error_then_the_least_loss() -> None:
    genomes = [
        fact(1, 0.2, 0.1),
        fact(2, 0.1, 0.5),
        fact(3, 0.1, 0.4),
        fact(4, 0.1, 0.4),
        fact(5, 0, 0, "failed"),
    ]
    assert best_of(genomes) == 3
    with pytest.raises(RuntimeError, match="no evaluation"):
        best_of(genomes[-1:])


# --- measures ---


def test_costs_are_compared_by_their_logarithms() -> None:
    assert outcome().columns(("error", "params")).tolist() == [[0.4, 3.0], [0.1, 4.0], [0.3, 4.0]]


def test_the_measures_of_an_arm() -> None:
    better = outcome([(0.4, 0.9, 1_000, 10), (0.0, 0.1, 1_000, 10)], test_error=0.2, front=[1])
    worse = outcome([(0.4, 0.9, 1_000, 10), (0.2, 0.5, 1_000, 10)], test_error=0.3, duplicates=[1])
    found = analysed(
        study(("error", "loss"), objectives_compared=True),
        {"base": [worse, worse], "other": [better, better]},
    )
    base, other = found["arms"]["base"], found["arms"]["other"]
    assert other["hypervolume_error_loss"]["median"] == pytest.approx(1.0)
    assert base["hypervolume_error_loss"]["runs"] == pytest.approx([0.25, 0.25])
    assert (base["best_error"]["median"], other["best_error"]["median"]) == (0.2, 0.0)
    assert (base["test_error"]["median"], other["test_error"]["median"]) == (0.3, 0.2)
    assert base["front"]["runs"] == [1, 1], "a duplicate is no other network"
    assert {row["measure"]: row["a"] for row in found["tests"]} == {
        "hypervolume_error_loss": 1.0, "front_error_loss": 0.5, "front": 0.5, "best_error": 1.0,
        "test_error": 1.0,
    }  # fmt: skip
    assert headline_of(study(("error", "loss")), found) == pytest.approx(
        {"name_base": 0.25, "name_other": 1.0, "name_other_a": 1.0}
    )


def test_failures_count_as_evaluations_and_nothing_else() -> None:
    found = analysed(study(("error", "params")), {"base": [outcome(failed=[1])], "other": [outcome()]})
    assert found["failed"] == {"base": 1, "other": 0}
    assert found["arms"]["base"]["best_error"]["runs"] == [0.3]


def test_probabilities_are_corrected_over_the_arms() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]
    values = {"base": {"best_error": high}, "one": {"best_error": low}, "two": {"best_error": high}}
    one, two = against_baseline("base", values)
    assert one["p_holm"] == pytest.approx(2 * one["p"])
    assert (one["a"], two["a"], two["p_holm"]) == (1.0, 0.5, 1.0)


def test_the_same_start_is_told_for_genomes_and_for_results() -> None:
    retrained = [(0.5, *row[1:]) for row in ROWS]
    different = [(*row[:2], row[2] + 1, row[3]) for row in ROWS]
    assert same_start({"a": [outcome()], "b": [outcome()]}) == {"genomes": True, "results": True}
    assert same_start({"a": [outcome()], "b": [outcome(retrained)]}) == {"genomes": True, "results": False}
    assert same_start({"a": [outcome()], "b": [outcome(different)]}) == {"genomes": False, "results": False}


# --- correlations ---


def test_coefficients_of_agreement_and_of_the_opposite() -> None:
    ranks = np.arange(6.0)
    assert coefficients(np.column_stack([ranks, ranks**3])) == pytest.approx((1.0, 1.0))
    assert coefficients(np.column_stack([ranks, -ranks])) == pytest.approx((-1.0, -1.0))


@pytest.mark.parametrize("pairs", [[[1, 2]] * 8, [[1, 1], [2, 2], [3, 3]], [[1, 0], [1, 1], [1, 2], [1, 3]]])
def test_nothing_is_correlated_of_few_rows_or_of_one_value(pairs: list[list[float]]) -> None:
    assert all(math.isnan(one) for one in coefficients(np.array(pairs)))


def test_correlations_are_means_over_runs_within_their_interval() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for _ in range(3):
        first = rng.normal(size=40)
        runs.append(np.column_stack([first, first + rng.normal(size=40)]))
    unusable = np.zeros((10, 2))
    found = correlations([*runs, unusable], np.random.default_rng(1))
    assert found["runs"] == 3
    assert found["spearman"]["mean"] == pytest.approx(np.mean([coefficients(run)[0] for run in runs]))
    for told in (found["spearman"], found["kendall"]):
        low, high = told["interval"]
        assert 0.2 < low < told["mean"] < high < 0.9


def test_no_run_no_correlation() -> None:
    assert correlations([np.zeros((2, 2))], np.random.default_rng(0)) == {
        "runs": 0, "spearman": None, "kendall": None,
    }  # fmt: skip


def test_subsets_have_each_network_once_and_no_failure() -> None:
    errors = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    rows = [(error, error, 1.0, 1.0) for error in errors]
    rows[5] = (0.6, -9.0, 1.0, 1.0)
    rows[6] = (0.7, -9.0, 1.0, 1.0)
    found = correlations_by_subset([outcome(rows, failed=[5], duplicates=[6], front=[0, 1, 2, 3])])
    assert found["all"]["spearman"]["mean"] == pytest.approx(1.0)
    assert found["front"]["runs"] == 1
    assert found["best_quarter"]["runs"] == 0
