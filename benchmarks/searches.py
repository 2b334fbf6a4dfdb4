"""Whole searches with real training, compared over seeds: selectors, objectives and breeding options.

``selectors``: each selector at the same budget, with the objectives error,params and with error,loss,
against random search. ``objectives``: error alone, error,loss and error,loss,flops, with the default
selector, against error alone; there the best network of each search is trained once more, on training and
validation part, and tested. It has the least validation error, of those with the same the least loss,
whatever was minimised.
``operators``: MO-ResNet's rates of crossover and mutation, and children nearer to their parents, against
random search.
``options``: each breeding option alone, against none.

Arms of a comparison differ in the settings that are named and in nothing else; the same seed begins all of
them with the same random genomes. All hypervolumes are of values that every search records, so that arms with
other objectives can be compared. They are scaled over all results of the comparison (0: the least value of
any, 1: the greatest; params and flops by their logarithms). Differences: Mann-Whitney against the baseline,
Holm-corrected over the arms, and the effect size A of Vargha and Delaney (2000; ½: none, 1: the arm always
better).

Searches are kept in ``--work-dir``: what was finished is read from there, what was cut off goes on. With
``--json FILE`` what is known so far is written there whenever all arms of a seed have ended.
"""

from __future__ import annotations

import argparse
import math
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from search_arms import DEFAULT_SELECTOR, STUDIES, Outcome, Runner, Search, Study

from evolver import comparison
from evolver.errors import EvolverError
from evolver.statistics import a12, holm, mann_whitney

RESAMPLES = 1_000
"""Of the bootstrap."""
FEWEST = 4
"""Genomes of a run for a correlation: of fewer it says nothing."""
LESS_IS_BETTER = ("best_error", "test_error", "training_s")
NOT_TESTED = ("training_s",)

Values = Mapping[str, Sequence[float]]
"""By measure, the value of each seed."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        compare(parsed())
    except (EvolverError, RuntimeError) as error:
        sys.exit(f"searches.py: {error}")


def compare(args: argparse.Namespace) -> None:
    """Run and report the studies that were asked for."""
    details: dict[str, Any] = {"settings": settings_of(args), "seeds": list(seeds_of(args)), "studies": {}}
    headline: dict[str, float] = {}
    with ExitStack() as stack:
        runner = Runner(work_dir(args, stack), args.data_dir, args.device)
        pool = ThreadPoolExecutor(args.processes)
        stack.callback(pool.shutdown)
        stack.callback(runner.stop)
        stack.callback(
            pool.shutdown, wait=False, cancel_futures=True
        )  # the first: callbacks run from the last

        for study in studies(args):

            def save(found: Mapping[str, Any], study: Study = study) -> None:
                details["studies"][study.name] = found
                headline.update(headline_of(study, found))
                common.write(args, headline, details)

            show(study, measured(study, args, runner, pool, save))
    common.report(args, headline, details)


def parsed() -> argparse.Namespace:
    parser = common.option_parser(__doc__.partition("\n")[0], needs_data=True)
    parts = [*dict.fromkeys(study.part for study in STUDIES), *(study.name for study in STUDIES), "all"]
    parser.add_argument("--part", choices=list(dict.fromkeys(parts)), default="all")
    parser.add_argument("--arms", metavar="NAME,…", help="of each part, the baseline always among them "
                        "[default: all]")  # fmt: skip
    parser.add_argument("--dataset", default="digits", help="[default: digits]")
    parser.add_argument("--space", default="tiny", help="[default: tiny]")
    parser.add_argument("--recipe", default="fast", help="[default: fast]")
    parser.add_argument("--limit-train", type=int, metavar="N", help="of the training samples [default: all]")
    for name, meaning in (
        ("seeds", "searches of each arm [default: 5]"),
        ("evaluations", "of each search [default: 60]"),
        ("epochs", "of each training [default: 10]"),
        ("population", "[default: 12]"),
    ):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=meaning)
    parser.add_argument("--first-seed", type=int, metavar="N", default=1, help="[default: 1]")
    parser.add_argument(
        "--processes", type=int, metavar="N", default=2, help="searches at a time [default: 2]"
    )
    parser.add_argument("--device", default="cpu", help="of the workers [default: cpu]")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="where searches are kept "
                        "[default: evolver-searches in /tmp; with --quick they are not kept]")  # fmt: skip
    args = parser.parse_args()
    sizes = (("seeds", 2, 5), ("evaluations", 8, 60), ("epochs", 2, 10), ("population", 4, 12))
    for name, quick, full in sizes:
        setattr(args, name, getattr(args, name) or (quick if args.quick else full))
    return args


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What all searches have in common."""
    settings = {"dataset": args.dataset, "space": args.space, "recipe": args.recipe, "epochs": args.epochs,
                "population": args.population, "budget": args.evaluations}  # fmt: skip
    return settings | ({"limit_train": args.limit_train} if args.limit_train else {})


def seeds_of(args: argparse.Namespace) -> range:
    return range(args.first_seed, args.first_seed + args.seeds)


def work_dir(args: argparse.Namespace, stack: ExitStack) -> Path:
    if args.work_dir is None and args.quick:
        return Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return args.work_dir or Path(tempfile.gettempdir()) / "evolver-searches"


def studies(args: argparse.Namespace) -> list[Study]:
    """Those that were asked for."""
    chosen = [study for study in STUDIES if args.part in ("all", study.part, study.name)]
    if args.arms:
        chosen = [study.only(args.arms.split(",")) for study in chosen]
    return [study.shortened() for study in chosen] if args.quick else chosen


# --- running ---


def measured(
    study: Study,
    args: argparse.Namespace,
    runner: Runner,
    pool: ThreadPoolExecutor,
    save: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """All arms with all seeds; ``save`` gets what is known whenever all arms of a seed have ended."""
    running = {
        seed: {
            name: pool.submit(
                runner.outcome,
                Search({"selector": DEFAULT_SELECTOR, **settings_of(args), **arm, "seed": seed}),
                tested=study.objectives_compared,
            )
            for name, arm in study.arms.items()
        }
        for seed in seeds_of(args)
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in study.arms}
    found: dict[str, Any] = {}
    for started in running.values():
        for name, one in started.items():
            outcomes[name].append(one.result())
        found = analysed(study, outcomes)
        save(found)
    if study.objectives_compared:
        found["correlations_of_error_and_loss"] = {
            name: correlations_by_subset(runs) for name, runs in outcomes.items()
        }
        save(found)
    return found


# --- analysis: pure ---


def analysed(study: Study, outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """Measures of each arm, their differences from the baseline's, and hypervolumes over evaluations."""
    values: dict[str, dict[str, Sequence[float]]] = {name: {} for name in outcomes}
    planes: dict[str, Any] = {}
    for plane in study.planes:
        runs = {
            name: [one.run(f"{name} {number}", plane) for number, one in enumerate(members)]
            for name, members in outcomes.items()
        }
        compared = comparison.compare(runs, plane)
        title = "_".join(plane)
        for group in compared.groups:
            values[group.name][f"hypervolume_{title}"] = group.finals["hypervolume"]
            values[group.name][f"front_{title}"] = group.front_sizes
        curves = {group.name: group.curves["evaluations"]["hypervolume"] for group in compared.groups}
        planes[title] = comparison.to_json({"scale": compared.scale, "curves": curves})
    for name, members in outcomes.items():
        values[name]["front"] = [int((one.in_front & one.original).sum()) for one in members]
        values[name]["best_error"] = [float(np.nanmin(one.values[:, 0])) for one in members]
        if study.objectives_compared:
            values[name]["test_error"] = [_tested(one) for one in members]
        values[name]["training_s"] = [float(one.training_hours[-1]) * 3600 for one in members]
    return {
        "arms": {name: {"settings": study.arms[name], **summaries(values[name])} for name in values},
        "baseline": study.baseline,
        "tests": against_baseline(study.baseline, values),
        "same_start": same_start(outcomes),
        "failed": {name: sum(int(one.failed.sum()) for one in members) for name, members in outcomes.items()},
        "active_s": {name: [one.active_s for one in members] for name, members in outcomes.items()},
        "planes": planes,
    }


def _tested(one: Outcome) -> float:
    assert one.test_error is not None, "the best network was tested"
    return one.test_error


def summaries(values: Values) -> dict[str, Any]:
    """Of each measure the median, the quartiles, and the value of each seed."""
    return {
        measure: {
            "median": statistics.median(runs),
            "quartiles": np.quantile(runs, [0.25, 0.75]).tolist(),
            "runs": list(runs),
        }
        for measure, runs in values.items()
    }


def against_baseline(baseline: str, values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """Each other arm by each measure; ``p_holm`` is corrected over the arms.

    ``a``: the share of pairs of seeds in which the arm is better than the baseline, of fronts: longer.
    """
    rows = []
    others = [name for name in values if name != baseline]
    for measure, reference in values[baseline].items():
        if measure in NOT_TESTED:
            continue
        probabilities = [mann_whitney(values[name][measure], reference) for name in others]
        for name, p, corrected in zip(others, probabilities, holm(probabilities), strict=True):
            share = a12(values[name][measure], reference)
            better = 1.0 - share if measure in LESS_IS_BETTER else share
            rows.append({"measure": measure, "arm": name, "p": p, "p_holm": corrected, "a": better})
    return rows


def same_start(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, bool]:
    """Whether, for each seed, all arms began with the same genomes, and these had the same results.

    Genomes are told apart by params and flops, results by error and loss as well.
    """
    by_seed = [[one.start for one in members] for members in zip(*outcomes.values(), strict=True)]
    return {
        "genomes": all(_are_equal([[row[2:] for row in start] for start in starts]) for starts in by_seed),
        "results": all(_are_equal(starts) for starts in by_seed),
    }


def _are_equal(starts: Sequence[Sequence[tuple[float, ...]]]) -> bool:
    first, *others = [np.array(start) for start in starts]
    return all(np.array_equal(first, other, equal_nan=True) for other in others)


def correlations_by_subset(runs: Sequence[Outcome]) -> dict[str, Any]:
    """The correlations of error and loss, over duplicates once: of all genomes, of the quarter with the
    least error, and of the search's own front.

    Within a front of error and loss alone the ranks cannot but be opposite.
    """
    subsets: dict[str, list[NDArray[np.float64]]] = {"all": [], "best_quarter": [], "front": []}
    for one in runs:
        counts = one.original & ~one.failed
        pairs = one.values[counts][:, :2]
        subsets["all"].append(pairs)
        subsets["best_quarter"].append(pairs[pairs[:, 0] <= np.quantile(pairs[:, 0], 0.25)])
        subsets["front"].append(one.values[counts & one.in_front][:, :2])
    return {name: correlations(members, np.random.default_rng(0)) for name, members in subsets.items()}


def correlations(runs: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> dict[str, Any]:
    """Spearman's and Kendall's correlation of two columns: the mean over runs, and its 95% interval.

    Each run has shape (n, 2); those in which nothing can be correlated (fewer than FEWEST rows, or one value
    alone in a column) are left out, and ``runs`` tells how many were not. The interval is the bootstrap's in
    two stages: runs are drawn, then rows within each. What is not known is None.
    """
    usable = [run for run in runs if not np.isnan(coefficients(run)).any()]
    if not usable:
        return {"runs": 0, "spearman": None, "kendall": None}
    drawn = []
    for _ in range(RESAMPLES):
        chosen = [usable[i] for i in rng.integers(len(usable), size=len(usable))]
        again = [coefficients(run[rng.integers(len(run), size=len(run))]) for run in chosen]
        defined = [pair for pair in again if not np.isnan(pair).any()]
        drawn += [np.mean(defined, axis=0)] if defined else []
    means = np.mean([coefficients(run) for run in usable], axis=0)
    bounds = np.quantile(drawn, [0.025, 0.975], axis=0) if drawn else np.full((2, 2), np.nan)
    told = {
        name: {"mean": float(means[i]), "interval": comparison.to_json(bounds[:, i])}
        for i, name in enumerate(("spearman", "kendall"))
    }
    return {"runs": len(usable), **told}


def coefficients(pairs: NDArray[np.float64]) -> tuple[float, float]:
    """Spearman's and Kendall's (tau-b), NaN where nothing can be correlated."""
    if len(pairs) < FEWEST or (pairs == pairs[0]).all(axis=0).any():
        return math.nan, math.nan
    first, second = pairs.T
    return float(stats.spearmanr(first, second).statistic), float(stats.kendalltau(first, second).statistic)


# --- telling ---


def headline_of(study: Study, found: Mapping[str, Any]) -> dict[str, float]:
    """Of each arm the median of the first hypervolume, and A against the baseline."""
    measure = f"hypervolume_{'_'.join(study.planes[0])}"
    headline = {f"{study.name}_{name}": arm[measure]["median"] for name, arm in found["arms"].items()}
    for row in found["tests"]:
        if row["measure"] == measure:
            headline[f"{study.name}_{row['arm']}_a"] = row["a"]
    return headline


def show(study: Study, found: Mapping[str, Any]) -> None:
    """A line for each arm and measure, and the correlations."""
    tests = {(row["arm"], row["measure"]): row for row in found["tests"]}
    print(f"\n{study.name}: median [quartiles] over seeds, against {study.baseline}; {found['same_start']}")
    for name, arm in found["arms"].items():
        for measure in (key for key in arm if key != "settings"):
            low, high = arm[measure]["quartiles"]
            line = f"{name:18} {measure:24} {arm[measure]['median']:.4f} [{low:.4f}, {high:.4f}]"
            if row := tests.get((name, measure)):
                line += f"  p {row['p']:.2g} (Holm {row['p_holm']:.2g}), A {row['a']:.2f}"
            print(line)
    for name, subsets in found.get("correlations_of_error_and_loss", {}).items():
        for subset, told in subsets.items():
            print(f"{name:18} error and loss, {subset:12} {told}")
    print(flush=True)


if __name__ == "__main__":
    main()
