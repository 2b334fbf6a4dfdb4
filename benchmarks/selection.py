"""The quality and speed of selection, against pymoo and DEAP, on standard test problems.

Quality: evolver's selectors, one child at a time, against pymoo's NSGA-II, MOEA/D and SMS-EMOA as they come;
the same operators, parameters, population and number of evaluations. What is compared is the hypervolume of
the final population as a share of the true front's, scaled by its ideal point and nadir, with the reference
point a tenth behind it. Each selector is compared with that of pymoo's three which has the best median: by
the Mann-Whitney test, Holm-corrected over the problems, and the effect size A of Vargha and Delaney (2000;
½: none, 1: evolver always better). ``random`` is there to say how easy a problem is.

Speed: seconds for each child, with populations of 20 to 1,000: ``selection_speed.py``.

With ``--json FILE`` what is known so far is written there after each problem.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from typing import Any

import common
import numpy as np
import selection_speed
from scipy.stats import mannwhitneyu
from selection_sides import Problem, evolve, pymoo_run
from selection_speed import of_deap, of_evolver, of_pymoo

from evolver.config import ExperimentConfig

SELECTORS = ("moead", "nsga2", "smsemoa")
BASELINE = "random"
PEERS = ("NSGA2", "MOEAD", "SMSEMOA")
PROBLEMS = ("zdt1", "zdt2", "zdt3", "zdt4", "zdt6", "dtlz2-2", "dtlz2-3", "dtlz7-2", "dtlz7-3")
POPULATION = 100
LEVEL = 0.05
"""Of significance."""

SPEED_PROBLEM = Problem("zdt1")
SPEED_SIZES = ((20, 400, 100), (100, 400, 100), (1_000, 200, 5))
"""Population, children for each run, and how many of them where pymoo breeds one at a time."""
PYMOO, PYMOO_SINGLY, DEAP = "pymoo NSGA2, generations", "pymoo NSGA2, one at a time", "DEAP NSGA-II"
ALONE = ", selection alone"

Values = Mapping[str, Sequence[float]]
"""The final hypervolume of each seed, by algorithm."""


def main() -> None:
    args = parsed()
    rows: list[dict[str, Any]] = []
    found: dict[str, Values] = {}
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    details: dict[str, Any] = {
        "population": POPULATION,
        "evaluations": args.evaluations,
        "seeds": [seeds[0], seeds[-1]],
    }
    headline: dict[str, float] = {}
    with ProcessPoolExecutor(args.processes) as pool:
        for name in args.problems if args.part != "speed" else ():
            found[name] = measured(pool, name, seeds, args.evaluations)
            comparisons = [one for selector in SELECTORS for one in compared(selector, found)]
            rows += described(name, found[name])
            print_problem(name, found[name], comparisons)
            headline = quality_headline(comparisons)
            details |= {"quality": rows, "against_pymoo": comparisons}
            common.write(args, headline, details)
    if args.part != "quality":
        speed = measured_speed(quick=args.quick)
        headline |= speed_headline(speed)
        details["speed"] = speed
    common.report(args, headline, details)


def parsed() -> argparse.Namespace:
    parser = common.option_parser(__doc__.partition("\n")[0])
    parser.add_argument("--problems", metavar="NAMES", help=f"some of {','.join(PROBLEMS)} [default: all]")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each algorithm [default: 15]")
    parser.add_argument("--first-seed", type=int, metavar="N", default=0, help="the runs' first [default: 0]")
    parser.add_argument("--evaluations", type=int, metavar="N", help="of each run [default: 10000]")
    parser.add_argument("--processes", type=int, metavar="N", default=1, help="runs at a time [default: 1]")
    parser.add_argument("--part", choices=["quality", "speed", "all"], default="all")
    args = parser.parse_args()
    args.problems = args.problems.split(",") if args.problems else PROBLEMS[:1] if args.quick else PROBLEMS
    unknown = sorted(set(args.problems) - set(PROBLEMS))
    if unknown:
        parser.error(f"unknown problem {', '.join(unknown)}; there are {', '.join(PROBLEMS)}")
    args.seeds = args.seeds or (3 if args.quick else 15)
    args.evaluations = args.evaluations or (2_000 if args.quick else 10_000)
    return args


# --- quality ---


def measured(pool: ProcessPoolExecutor, problem: str, seeds: Sequence[int], evaluations: int) -> Values:
    """All algorithms on one problem."""
    algorithms = (*SELECTORS, BASELINE, *PEERS)
    runs = {
        name: [pool.submit(final_hypervolume, name, problem, seed, evaluations) for seed in seeds]
        for name in algorithms
    }
    return {name: [one.result() for one in runs[name]] for name in algorithms}


def final_hypervolume(algorithm: str, problem: str, seed: int, evaluations: int) -> float:
    """One run: the normalised hypervolume of its final population."""
    run = pymoo_run if algorithm in PEERS else evolve
    known = Problem(problem)
    return known.hypervolume(run(algorithm, known, seed, population=POPULATION, evaluations=evaluations)[1])


def described(problem: str, values: Values) -> list[dict[str, Any]]:
    """A row for each algorithm."""
    return [
        {
            "problem": problem,
            "algorithm": name,
            "side": "pymoo" if name in PEERS else "evolver",
            "median": statistics.median(runs),
            "quartiles": np.quantile(runs, [0.25, 0.75]).tolist(),
            "runs": list(runs),
        }
        for name, runs in values.items()
    ]


def compared(selector: str, found: Mapping[str, Values]) -> list[dict[str, Any]]:
    """A selector against the best of pymoo's on each problem; ``p`` is corrected over the problems."""
    rows = []
    for problem, values in found.items():
        best = max(PEERS, key=lambda name: statistics.median(values[name]))
        ours, theirs = values[selector], values[best]
        test = mannwhitneyu(ours, theirs, alternative="two-sided")
        rows.append(
            {
                "problem": problem,
                "selector": selector,
                "best_peer": best,
                "difference": statistics.median(ours) - statistics.median(theirs),
                "p": float(test.pvalue),
                "effect_size": float(test.statistic) / (len(ours) * len(theirs)),
            }
        )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
        row["verdict"] = "equal" if p >= LEVEL else "better" if row["effect_size"] > 0.5 else "worse"
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction (1979), in the same order."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    in_order = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    corrected = np.empty(len(p_values))
    corrected[order] = in_order
    return corrected.tolist()


def quality_headline(comparisons: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The share of problems on which each selector is better than pymoo's best, or not distinguishable.

    With fewer than about five seeds nothing can be distinguished; the share of medians at least as good
    as pymoo's best says more then.
    """
    headline = {}
    for selector in SELECTORS:
        rows = [row for row in comparisons if row["selector"] == selector]
        share = sum(row["verdict"] != "worse" for row in rows) / len(rows)
        deficits = [-row["difference"] for row in rows if row["verdict"] == "worse"]
        headline[f"share_best_or_equal_vs_pymoo_{selector}"] = share
        headline[f"share_median_at_least_pymoo_{selector}"] = sum(
            row["difference"] >= 0 for row in rows
        ) / len(rows)
        headline[f"largest_significant_deficit_{selector}"] = max(deficits, default=0.0)
    default = ExperimentConfig.model_fields["selector"].default
    return {"share_best_or_equal_vs_pymoo": headline[f"share_best_or_equal_vs_pymoo_{default}"], **headline}


def print_problem(problem: str, values: Values, comparisons: Sequence[Mapping[str, Any]]) -> None:
    verdicts = {row["selector"]: row for row in comparisons if row["problem"] == problem}
    for name, runs in values.items():
        low, high = np.quantile(runs, [0.25, 0.75])
        line = f"{problem:8} {name:8} {statistics.median(runs):.4f} [{low:.4f}, {high:.4f}]"
        if name in verdicts:
            row = verdicts[name]
            line += f"  {row['verdict']} ({row['best_peer']}, p {row['p']:.2g}, A {row['effect_size']:.2f})"
        print(line, flush=True)


# --- speed ---


def measured_speed(*, quick: bool) -> list[dict[str, Any]]:
    """Microseconds for each child by population and side, and how many times as long peers take.

    ``times_…`` of a peer is its time over a selector's; where the peer's is of selection alone, without
    crossover and mutation, so is the selector's.
    """
    rows = []
    for population, children, singles in SPEED_SIZES[: 2 if quick else None]:
        taken = common.interleaved(3 if quick else 7, speed_sides(population, children, singles))
        for side, runs in taken.items():
            alone = ALONE if side.endswith(ALONE) else ""
            ratios = {
                f"times_{name}": common.median_of_ratios(runs, taken[name + alone])
                for name in SELECTORS
                if side.removesuffix(ALONE) not in SELECTORS
            }
            median = statistics.median(runs)
            rows.append({"population": population, "side": side, "us_per_child": 1e6 * median,
                         "children_per_s": 1 / median, **ratios})  # fmt: skip
            shown = "  ".join(f"{key} {value:.1f}" for key, value in ratios.items())
            print(f"{population:5}  {side:28} {1e6 * median:9.1f} µs a child  {shown}", flush=True)
    return rows


def speed_sides(population: int, children: int, singles: int) -> list[tuple[str, Callable[[], float]]]:
    """What is measured in turn; ``singles`` is how many children pymoo breeds one at a time."""
    seeds = count()
    size = (SPEED_PROBLEM, population)
    selection_speed.start(*size)

    def evolver(name: str, *, operators: bool) -> Callable[[], float]:
        return lambda: of_evolver(name, *size, children, next(seeds), operators=operators)

    return [
        *((name, evolver(name, operators=True)) for name in SELECTORS),
        *((name + ALONE, evolver(name, operators=False)) for name in SELECTORS),
        (PYMOO, lambda: of_pymoo(*size, children, next(seeds), offspring=population)),
        (PYMOO_SINGLY, lambda: of_pymoo(*size, singles, next(seeds), offspring=1)),
        (DEAP, lambda: of_deap(*size, children, next(seeds))),
        (DEAP + ALONE, lambda: of_deap(*size, children, next(seeds), operators=False)),
    ]


def speed_headline(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many times as long peers take for a child as evolver's NSGA-II, with a population of 100."""
    keys = {
        PYMOO_SINGLY: "speed_vs_pymoo_one_at_a_time",
        PYMOO: "speed_vs_pymoo_generations",
        DEAP: "speed_vs_deap",
        DEAP + ALONE: "speed_vs_deap_selection_alone",
    }
    at_100 = {row["side"]: row for row in rows if row["population"] == POPULATION}
    return {name: at_100[side]["times_nsga2"] for side, name in keys.items()}


if __name__ == "__main__":
    main()
