"""What there is to gain without a generation barrier: workers' utilisation, and time to a hypervolume.

Simulated workers, the scheduler's real step and the real store (PostgreSQL, fsync on), in the virtual time
of ``simulation.py``. Evaluations take about ten minutes: log-normal with sigma 0.5 or 1.0, or (``by cost``)
ten times as long for the dearest genomes as for the cheapest. The peer is pymoo's NSGA-II with the same
operators and population, whose generations are list-scheduled on as many workers
(``generational_peer.py``).

*Utilisation* is the share of all workers' time in which they evaluated, from the start until the search is
stopped with its workers at work: a ramp-up counts, and there is no ramp-down. *Speed-up* is the peer's time
to a hypervolume over ours, both of all results so far; the hypervolume is what the peer of the same seed
reaches with its whole budget, or a share of it. A search that does not reach it in ``CAP`` times the peer's
budget has a speed-up of 0. Figures are medians, with the least and the greatest of all seeds: with five
seeds, that interval holds the median with 94%.

Other figures: how many results no later birth took into account (ours, and those of Optuna's NSGA-II); the
rank correlation between the duration of an evaluation and the number of its genome's children, with and
without the remedy; and what it costs to breed more ahead.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from argparse import Namespace
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import common
import generational_peer
import numpy as np
import optuna_asynchrony_peer
import vector_space
from numpy.typing import NDArray
from scipy import stats
from simulation import Evaluate, Result, Run, Simulation
from sqlalchemy import Row, func, select
from vector_space import EvaluationTime, Problem

from evolver import config, selection, step
from evolver.evaluation import Task
from evolver.selection import pareto
from evolver.store import claims, experiments
from evolver.store.db import Database
from evolver.store.schema import evaluation, genome, parentage

POPULATION = 100
PROBLEM = Problem("zdt1", 10, (1.1, 1.1))
SECOND_PROBLEM = Problem("dtlz2", 12, (1.1, 1.1, 1.1))
TIMES: Mapping[str, EvaluationTime] = {
    "sigma 0.5": EvaluationTime(0.5),
    "sigma 1.0": EvaluationTime(1.0),
    "by cost": EvaluationTime(0.25, growth=10.0),
}
SHARES = (0.9, 0.95, 1.0)
"""Of the peer's last hypervolume."""
CAP = 2
"""A search is given up after so many times the peer's evaluations."""
FIGURES = (
    "utilisation",
    "peer_utilisation",
    "speedup_0.90",
    "speedup_0.95",
    "speedup_1.00",
    "never_considered",
    "lag",
)
HEADLINE = (64, "sigma 1.0")
DEFAULT: str = config.ExperimentConfig.model_fields["selector"].default
UNLIMITED = 1_000_000
"""The budget: the simulation stops the search."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is searched, how, with how many workers, and how long evaluations take."""

    problem: Problem
    workers: int
    time: EvaluationTime
    selector: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of breeding: settings of ``ExperimentConfig``."""


class Searches:
    """Our searches, each an experiment of its own in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._count = 0

    def run(self, case: Case, seed: int, is_enough: Callable[[Sequence[Result]], bool]) -> Run:
        self._count += 1
        values = {"space": "unit-cube", "space_settings": {"variables": case.problem.variables},
                  "objectives": case.problem.objectives, "selector": case.selector, "evaluator": "surrogate",
                  "population": POPULATION, "budget": UNLIMITED, "seed": seed, **case.options}  # fmt: skip
        settings, data = config.build(f"search {self._count}", config.parse(values), Path())
        with self.database.write() as connection:
            made = experiments.create(connection, settings, data, config.initial_selector_state(settings))
        return Simulation(self.database, made, case.workers, evaluator(case)).run(is_enough)


# --- one search and its peer --------------------------------------------------------------------------


def evaluator(case: Case) -> Evaluate:
    """Evaluate a claimed vector; how long that takes is fixed by its own seed."""
    known = case.problem.pymoo()

    def evaluate(task: Task) -> tuple[float, Mapping[str, float]]:
        values = known.evaluate(np.array(task.code)).tolist()
        seconds = duration(task.code, task.seed, case.time)
        return seconds, dict(zip(case.problem.objectives, values, strict=True))

    return evaluate


def duration(code: Sequence[float], training_seed: int, time: EvaluationTime) -> float:
    return time.of(code[0], np.random.default_rng(training_seed))


def hypervolume(objectives: NDArray[np.float64], problem: Problem) -> float:
    return pareto.hypervolume(objectives, np.array(problem.reference))


def number_to(objectives: NDArray[np.float64], target: float, problem: Problem) -> int | None:
    """How many results it takes to reach a hypervolume, None when all do not reach it.

    ``objectives`` has shape (results, m), in order; the hypervolume of the first k never falls with k.
    """
    numbers = range(1, len(objectives) + 1)
    found = bisect_left(numbers, target, key=lambda number: hypervolume(objectives[:number], problem))
    return numbers[found] if found < len(numbers) else None


def compare(searches: Searches, case: Case, evaluations: int, seed: int) -> dict[str, Any]:
    """One of our searches, until it has the hypervolume of its peer."""
    problem = case.problem
    peer = generational_peer.run(
        problem, case.time, case.workers, population=POPULATION, evaluations=evaluations, seed=seed
    )
    end = hypervolume(peer.objectives, problem)

    def is_enough(results: Sequence[Result]) -> bool:
        if len(results) >= CAP * evaluations:
            return True
        looks = len(results) % POPULATION == 0
        return looks and hypervolume(np.array([result.values for result in results]), problem) >= end

    run = searches.run(case, seed, is_enough)
    objectives = np.array([result.values for result in run.results])
    found: dict[str, Any] = {"utilisation": run.utilisation, "peer_utilisation": peer.utilisation}
    for share in SHARES:
        ours, theirs = (number_to(one, share * end, problem) for one in (objectives, peer.objectives))
        assert theirs is not None
        found[f"speedup_{share:.2f}"] = (
            peer.ended_s[theirs - 1] / run.results[ours - 1].ended_s if ours else 0.0
        )
        found[f"evaluations_{share:.2f}"] = [ours, theirs]
    return found | calls(run) | taken_into_account(searches.database, run)


def calls(run: Run) -> dict[str, float]:
    """Real milliseconds that were charged, each a median of all calls of the run."""
    steps = [step.ended_s - step.began_s for step in run.steps]
    return {
        f"{name}_ms": 1000 * statistics.median(seconds)
        for name, seconds in (("step", steps), ("claim", run.claim_s), ("complete", run.complete_s))
    }


def taken_into_account(database: Database, run: Run) -> dict[str, float]:
    """What births knew of the results before them.

    ``never_considered``: the share of the results there were when the last birth was bred which it did not
    know. ``births_behind``: the share of births for which a result came in while their step computed.
    ``lag``: how many results came in between a birth and its own, the median; with W workers and nothing
    bred ahead, W - 1.
    """
    born = births(database, run.experiment_id)
    number = {row.id: row.ingest_no for row in born if row.ingest_no}
    ended = np.array([result.ended_s for result in run.results])
    known = np.array([row.born_after_ingest for row in born])
    first = np.array([step.born for step in run.steps])
    of_birth = [run.steps[i] for i in np.searchsorted(first, np.arange(len(born)), side="right") - 1]
    before_last = run.results[: int(np.searchsorted(ended, of_birth[-1].began_s, side="right"))]
    behind = np.searchsorted(ended, [step.ended_s for step in of_birth], side="right") - known
    lost = sum(number.get(result.genome_id, math.inf) > known[-1] for result in before_last)
    lags = [row.ingest_no - row.born_after_ingest - 1 for row in born if row.ingest_no]
    return {
        "never_considered": lost / len(before_last),
        "births_behind": float(np.mean(behind > 0)),
        "lag": statistics.median(lags),
    }


def births(database: Database, experiment_id: int) -> Sequence[Row[Any]]:
    """All genomes in the order of birth, with their ingest number (or None) and number of children."""
    query = (
        select(
            genome.c.id, genome.c.birth, genome.c.born_after_ingest, genome.c.code, evaluation.c.ingest_no,
            select(func.count()).where(parentage.c.parent_id == genome.c.id).scalar_subquery()
            .label("children"),
        )
        .join(evaluation, evaluation.c.genome_id == genome.c.id)
        .where(genome.c.experiment_id == experiment_id)
        .order_by(genome.c.birth)
    )  # fmt: skip
    with database.read() as connection:
        return connection.execute(query).all()


# --- evaluation time and children ---------------------------------------------------------------------


def children_by_duration(
    searches: Searches,
    selector: str,
    evaluations: int,
    seed: int,
    *,
    as_long: bool,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Do quick genomes have more children? Spearman's rank correlation of duration and number of children.

    Over the genomes whose results were among the first half, with all their children. Evaluations take as
    long as their genome costs; or, for comparison (``as_long``), all equally long, and the correlation is
    with how long they would take: what the search has of it without any bias by time. ``hypervolume`` is that
    of all results.
    """
    by_cost = TIMES["by cost"]
    case = Case(PROBLEM, HEADLINE[0], EvaluationTime(0.0) if as_long else by_cost, selector, options)
    run = searches.run(case, seed, lambda found: len(found) >= evaluations)
    rows = {row.id: row for row in births(searches.database, run.experiment_id)}
    early = [result.genome_id for result in run.results[: evaluations // 2]]
    seconds = [
        duration(rows[key].code, claims.training_seed(seed, rows[key].birth, 0), by_cost) for key in early
    ]
    numbers = [rows[key].children for key in early]
    quarters = np.array_split(np.argsort(seconds), 4)
    return {
        "spearman": float(stats.spearmanr(seconds, numbers).statistic),
        "hypervolume": hypervolume(np.array([result.values for result in run.results]), PROBLEM),
        "children_by_quarter": [float(np.mean([numbers[i] for i in quarter])) for quarter in quarters],
    }


# --- the runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run: all pairs of ``workers`` and ``times``, ``headline_seeds`` for the headline's."""

    workers: Sequence[int]
    times: Sequence[str]
    evaluations: int
    seeds: int
    headline_seeds: int
    optuna_trials: int


QUICK = Plan((64,), ("sigma 1.0",), 800, 1, 1, 500)
FULL = Plan((16, 64, 256), tuple(TIMES), 2_000, 3, 5, 1_500)


def cells(searches: Searches, plan: Plan) -> Iterator[dict[str, Any]]:
    """The default selector with each number of workers and each kind of evaluation time, against the peer.

    In the headline's case all of them.
    """
    for workers, times in product(plan.workers, plan.times):
        seeds = plan.headline_seeds if (workers, times) == HEADLINE else plan.seeds
        for selector in selectors() if (workers, times) == HEADLINE else [DEFAULT]:
            yield cell(searches, Case(PROBLEM, workers, TIMES[times], selector), plan.evaluations, seeds)


def cell(searches: Searches, case: Case, evaluations: int, seeds: int) -> dict[str, Any]:
    """One selector in one case: each figure of all seeds, and their median, least and greatest."""
    rows = [compare(searches, case, evaluations, seed) for seed in range(1, seeds + 1)]
    times = next(name for name, time in TIMES.items() if time == case.time)
    described = {"problem": case.problem.name, "workers": case.workers, "times": times,
                 "selector": case.selector}  # fmt: skip
    found = {name: summary([row[name] for row in rows]) for name in rows[0] if "evaluations" not in name}
    counts = {name: [row[name] for row in rows] for name in rows[0] if "evaluations" in name}
    say(**described, **{name: found[name] for name in FIGURES})
    return described | found | counts


def selectors() -> list[str]:
    """Those of our selectors that search for a whole front."""
    return [name for name in ("nsga2", "moead", "smsemoa") if name in selection.SELECTORS]


def summary(values: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values), "all": values}


def say(**figures: Any) -> None:
    """One line for people: summaries as median (least to greatest)."""
    texts = [
        f"{name} {value['median']:.4g} ({value['least']:.4g} to {value['greatest']:.4g})"
        if isinstance(value, dict)
        else f"{name} {value}"
        for name, value in figures.items()
    ]
    print(", ".join(texts), flush=True)


def biases(searches: Searches, plan: Plan) -> Iterator[dict[str, Any]]:
    """Evaluation-time bias with 64 workers, the same search without it, and the remedy for it."""
    ways = (("by cost", {}), ("all equal", {}), ("by cost", {"parents": "least-used"}))
    for durations, options in ways:
        rows = [
            children_by_duration(
                searches, DEFAULT, plan.evaluations, seed, as_long=durations == "all equal", options=options
            )
            for seed in range(1, plan.seeds + 1)
        ]
        quarters = np.mean([row["children_by_quarter"] for row in rows], axis=0).round(3).tolist()
        found = {"selector": DEFAULT, "durations": durations, **options}
        found |= {name: summary([row[name] for row in rows]) for name in ("spearman", "hypervolume")}
        say(**found, children_by_quarter_of_duration=quarters)
        yield found | {"children_by_quarter_of_duration": quarters}


def depths(searches: Searches, selector: str, plan: Plan) -> Iterator[dict[str, Any]]:
    """The same search with more and with fewer genomes bred ahead: pending ones for each slot."""
    for slots_per_pending in (0.5, 1, 4, UNLIMITED):
        with patch.object(step, "SLOTS_PER_PENDING", slots_per_pending):
            case = Case(PROBLEM, HEADLINE[0], TIMES[HEADLINE[1]], selector)
            rows = [compare(searches, case, plan.evaluations, seed) for seed in range(1, plan.seeds + 1)]
        found = {"slots_per_pending": slots_per_pending} | {
            name: summary([row[name] for row in rows]) for name in ("utilisation", "speedup_1.00", "lag")
        }
        found["evaluations"] = summary([row["evaluations_1.00"][0] or CAP * plan.evaluations for row in rows])
        say(**found)
        yield found


def short_evaluations(searches: Searches, selector: str, evaluations: int) -> Iterator[dict[str, float]]:
    """The utilisation of 256 workers when an evaluation takes not ten minutes but one, or six seconds."""
    for median_s in (60.0, 6.0):
        case = Case(PROBLEM, 256, EvaluationTime(1.0, median_s=median_s), selector)
        run = searches.run(case, 1, lambda found: len(found) >= evaluations)
        found = {"workers": 256, "median_s": median_s, "utilisation": run.utilisation, **calls(run)}
        say(**found)
        yield found


def never_considered_by_optuna(plan: Plan) -> dict[str, float]:
    found = {
        f"workers_{workers}": optuna_asynchrony_peer.never_considered(
            PROBLEM, TIMES["sigma 1.0"], workers, trials=plan.optuna_trials, seed=1
        )
        for workers in (16, 100)
    }
    print(f"results that Optuna never considers: {found}", flush=True)
    return found


def main(args: Namespace) -> None:
    plan = QUICK if args.quick else FULL
    details: dict[str, Any] = {"plan": asdict(plan)}
    with tempfile.TemporaryDirectory() as directory, common.postgresql() as server:
        vector_space.install(Path(directory))
        searches = Searches(common.new_postgresql(server, "asynchrony"))
        details["cells"] = list(cells(searches, plan))
        common.write(args, {}, details)
        headline_cells = [one for one in details["cells"] if (one["workers"], one["times"]) == HEADLINE]
        ours = next(one for one in headline_cells if one["selector"] == DEFAULT)
        if not args.quick:
            case = Case(SECOND_PROBLEM, HEADLINE[0], TIMES[HEADLINE[1]], DEFAULT)
            details["second_problem"] = cell(searches, case, plan.evaluations, plan.seeds)
            details["evaluation_time_bias"] = list(biases(searches, plan))
            details["depths"] = list(depths(searches, DEFAULT, plan))
            details["short"] = list(short_evaluations(searches, DEFAULT, plan.evaluations))
    details["never_considered_by_optuna"] = never_considered_by_optuna(plan)
    headline = {
        "utilisation": ours["utilisation"]["median"],
        "speedup_vs_generational": ours["speedup_1.00"]["median"],
    }
    print(f"headline: {DEFAULT}, {HEADLINE[0]} workers, {HEADLINE[1]}")
    common.report(args, headline, details)


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
