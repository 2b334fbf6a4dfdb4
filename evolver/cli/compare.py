"""``evolver compare``: searches and groups of repeated searches against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolver.cli.completing import experiment_names
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import console, echo_json, say, table
from evolver.errors import InvalidInput
from evolver.objectives import logarithmic
from evolver.store import curves, experiments
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.words import label, spread

if TYPE_CHECKING:
    from evolver.comparison import Axis, Comparison, Run

UNITS = {"evaluations": "evaluations", "hours": "hours of training", "wall": "hours since the start"}


@click.command(
    epilog=examples(
        "evolver compare moead@ nsga2@ --output compare.png",
        "evolver compare demo other --by hours --reference 0.5,2",
    )
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=experiment_names)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Picture to write: .png, .svg or .pdf.")  # fmt: skip
@click.option("--objectives", metavar="A,B", help="[default: those of the searches]")
@click.option(
    "--reference", metavar="X,Y", help="Point that bounds the hypervolume. [default: the worst values]"
)
@click.option("--by", type=click.Choice(list(UNITS)), default="evaluations", show_default=True,
              help="Of what all runs get the same. hours: of training; wall: since the start.")  # fmt: skip
@db_option
@json_option
def compare(
    names: tuple[str, ...],
    output: Path | None,
    objectives: str | None,
    reference: str | None,
    by: Axis,
    db_url: str | None,
    as_json: bool,
) -> None:
    """Compare searches: NAME is one of them, NAME@ all its replicates (see 'evolver replicate').

    Tables and tests are of equal budgets: every run is cut where the shortest one ends. With several runs
    in each group, a rank test tells whether their difference may be chance.
    """
    from evolver import comparison

    with opened(db_url) as database:
        groups = _groups(database, names)
        chosen = _objectives(groups, objectives)
        runs = {name: [_run(database, one, chosen) for one in members] for name, members in groups.items()}
    found = comparison.compare(
        runs, chosen, by=by, reference=_numbers(reference), logarithmic=logarithmic(chosen)
    )
    warnings = _warnings([one for members in groups.values() for one in members])
    if output:
        from evolver.plot import plot_comparison

        plot_comparison(found, output)
    if as_json:
        echo_json({**comparison.to_json(found), "warnings": warnings, "output": output})
        return
    for line in warnings:
        say(f"evolver: {line}", err=True)
    _print(found)
    if output:
        say(f"drew it into {output}")


def _groups(database: Database, names: Sequence[str]) -> dict[str, list[Experiment]]:
    from evolver import replication

    with database.read() as connection:
        groups = {name: replication.group(connection, name) for name in names}
    for members in groups.values():
        for one in members:
            experiments.require_whole(one)
    return groups


def _objectives(groups: dict[str, list[Experiment]], asked: str | None) -> tuple[str, ...]:
    if asked:
        chosen = tuple(part.strip() for part in asked.split(","))
        if len(set(chosen)) != len(chosen) or not all(chosen):
            raise InvalidInput(f"--objectives '{asked}' is no list of different names")
        return chosen
    first, *others = [one for members in groups.values() for one in members]
    for one in others:
        if one.settings.objectives != first.settings.objectives:
            raise InvalidInput(
                f"'{first.settings.name}' minimises {','.join(first.settings.objectives)} and "
                f"'{one.settings.name}' {','.join(one.settings.objectives)}; "
                "name what both measured: --objectives A,B"
            )
    return first.settings.objectives


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInput(f"--reference '{text}' must be numbers, for instance 0.5,2") from None


def _run(database: Database, found: Experiment, objectives: Sequence[str]) -> Run:
    import numpy as np

    from evolver.comparison import Run

    with database.read() as connection:
        results = curves.results(connection, found, objectives)
    blank = (float("nan"),) * len(objectives)
    points = np.array([one.values or blank for one in results]).reshape(-1, len(objectives))
    training = np.cumsum([one.training_s for one in results]) / 3600
    since_start = np.maximum.accumulate(np.array([one.since_start_s for one in results])) / 3600
    positions: dict[Axis, Any] = {
        "evaluations": np.arange(1.0, len(results) + 1),
        "hours": training,
        "wall": since_start,
    }
    failed = np.array([one.failed for one in results], dtype=bool)
    return Run(found.settings.name, points, failed, positions)


def _warnings(found: Sequence[Experiment]) -> list[str]:
    """What makes values incomparable though they have the same names."""
    differs: dict[str, set[Any]] = {
        "data sets": {(one.dataset.id, one.settings.limit_train) for one in found},
        "recipes": {one.recipe_id for one in found},
        "evaluators": {one.settings.evaluator for one in found},
    }
    return [
        f"the searches have different {what}: their values may not mean the same"
        for what, values in differs.items()
        if len(values) > 1
    ]


def _print(found: Comparison) -> None:
    out = console()
    end = f"{found.end:.0f}" if found.by == "evaluations" else f"{found.end:.3g}"
    box = ", ".join(
        f"{name} {ideal:.4g} to {worst:.4g}"
        for name, ideal, worst in zip(found.objectives, found.scale.ideal, found.scale.reference, strict=True)
    )
    out.print(f"after {end} {UNITS[found.by]}; median [quartiles] over runs", markup=False)
    made = table("group", "runs", "failed", "front", "measure", "value", left=("group", "measure", "value"))
    for group in found.groups:
        front = f"{sorted(group.front_sizes)[len(group.front_sizes) // 2]}"
        head = (group.name, str(len(group.runs)), f"{group.failures}/{group.evaluations}", front)
        for name in ("hypervolume", *found.objectives):
            made.add_row(*head, label(name), spread(name, group.finals[name]))
            head = ("", "", "", "")
    out.print(made)
    out.print(f"hypervolume: share of the box {box}", markup=False)
    if not found.tests:
        if len(found.groups) > 1:
            out.print("no test: it needs at least two runs in each of two groups ('evolver replicate')")
        return
    tests = table("first", "second", "measure", "first better", "p", "p (Holm)",
                  left=("first", "second", "measure"))  # fmt: skip
    for one in found.tests:
        tests.add_row(one.first, one.second, label(one.measure), f"{100 * one.a12:.0f} %",
                      f"{one.p:.3g}", f"{one.p_holm:.3g}")  # fmt: skip
    out.print()
    out.print(tests)
    out.print("first better: share of the pairs of runs (A12); p: Mann-Whitney U, two-sided", markup=False)
