"""Transfer: genomes that were found on one data set are trained and tested on another one.

The protocol of MO-ResNet (arXiv 2505.01313): stem and output are adapted (``evolver.genome.transfer``), the
network is trained on the target's training and validation data together, and tested once. Each training is
an evaluation of purpose ``transfer``; the search that found the genomes is not touched.

target            the data set that genomes are brought to, as a user names it.
require_possible  refuses what cannot be transferred.
choose            the genomes of a search that are worth it.
enqueue           asks for their trainings.
outcomes          what became of them, genome by genome.
correlate         how well the errors on the source foretell those on the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from statistics import fmean
from typing import Literal

from sqlalchemy import Connection

from evolver import datasets, registry
from evolver.config import SPLIT_SEED
from evolver.correlation import Correlation, kendall
from evolver.datasets.spec import split_counts
from evolver.errors import InvalidInput
from evolver.evaluation import Weights
from evolver.genome.transfer import require_same_kind
from evolver.recipe import Recipe
from evolver.retraining import Asked, add, require_a_batch
from evolver.store import experiments, seeds, trainings
from evolver.store.experiments import Experiment, NewDataset
from evolver.store.queue import NewEvaluation
from evolver.store.seeds import Evaluated
from evolver.store.trainings import TrainingFact
from evolver.store.weights import to_begin_with

Start = Literal["scratch", "weights"]
EVALUATOR = "train"
"""The evaluator that can adapt a network: others measure what they want, of whatever their genomes are."""
ERROR = "error"
"""What that evaluator records of every search evaluation, whatever the objectives are."""
GENOMES_NAMED = 8


@dataclass(frozen=True, slots=True)
class Chosen:
    """The genomes to transfer, the least source error first, and by id the weights to begin with, if any."""

    genomes: tuple[Evaluated, ...]
    weights: Mapping[int, Weights]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A genome with its trainings on the target; ``error`` and ``loss`` are means over those that are done.

    None where none is. ``params`` and ``flops`` are those of the adapted network.
    """

    genome_id: int
    source_error: float
    error: float | None
    loss: float | None
    params: float | None
    flops: float | None
    trainings: tuple[TrainingFact, ...]


# --- what is asked for -------------------------------------------------------------------------------


def target(argument: str, data_dir: Path) -> NewDataset:
    """The data set of a user's ``--dataset``. Raises UnknownName or InvalidInput."""
    info = datasets.describe(argument, data_dir)
    if not info.train_total or not info.test:
        raise InvalidInput(f"dataset '{argument}' has no data to train and to test networks on")
    train, validation = split_counts(info.train_total, None)
    return NewDataset(argument, info.sample, train, validation, info.test, SPLIT_SEED, info.sha256)


def require_possible(found: Experiment, data: NewDataset, full: Recipe) -> None:
    """Look whether genomes of a search can be brought to a data set at all. Raises InvalidInput."""
    name, settings = found.settings.name, found.settings
    experiments.require_whole(found)
    if settings.evaluator != EVALUATOR:
        raise InvalidInput(
            f"the evaluator '{settings.evaluator}' of '{name}' trains no networks; "
            f"only searches with the evaluator '{EVALUATOR}' can be transferred"
        )
    if not hasattr(registry.load_space(settings.space, settings.space_settings), "plan"):
        raise InvalidInput(f"the space '{settings.space}' of '{name}' has no plan() of networks to adapt")
    require_same_kind(found.dataset.sample, data.sample)
    if data.name == found.dataset.name:
        raise InvalidInput(
            f"'{name}' was searched on {data.name} itself; train its genomes there in full: "
            f"evolver retrain {quote(name)}"
        )
    require_a_batch(data.name, data.train + data.validation, full)


def choose(connection: Connection, found: Experiment, top: int | None, start: Start) -> Chosen:
    """The ``top`` genomes of least error, or the front; no network comes twice.

    Raises InvalidInput when there is none, or when one has no weights to begin with.
    """
    which = "best" if top else "front"
    evaluated = seeds.evaluated(connection, found.id, which, objective=ERROR, limit=top)
    genomes = tuple({one.phenotype: one for one in reversed(evaluated)}.values())[::-1]
    name = found.settings.name
    if not genomes:
        nothing = "no genome with a result yet" if top else "an empty front"
        raise InvalidInput(f"'{name}' has {nothing}: there is nothing to transfer")
    if start == "scratch":
        return Chosen(genomes, {})
    kept = to_begin_with(connection, [one.genome_id for one in genomes])
    if missing := [one.genome_id for one in genomes if one.genome_id not in kept]:
        make = _retrain(name, missing, top)
        raise InvalidInput(f"{_named(missing)} no weights to begin with; make them: {make}")
    return Chosen(genomes, kept)


def _named(genome_ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, genome_ids[:GENOMES_NAMED]))
    rest = len(genome_ids) - GENOMES_NAMED
    if len(genome_ids) == 1:
        return f"genome {shown} has"
    return f"genomes {shown} and {rest} more have" if rest > 0 else f"genomes {shown} have"


def _retrain(name: str, genome_ids: Sequence[int], top: int | None) -> str:
    """The command that makes weights of these."""
    options = "".join(f" --genome {genome_id}" for genome_id in genome_ids) if top else ""
    return f"evolver retrain {quote(name)}{options}"


def enqueue(
    connection: Connection,
    found: Experiment,
    data: NewDataset,
    chosen: Chosen,
    full: Recipe,
    number: int = 1,
) -> Asked:
    """Ask for ``number`` trainings of each genome on a data set, with different seeds.

    Those of an earlier command that are not failed count, when they began alike: from scratch, or with the
    same weights.
    """
    dataset_id = experiments.ensure_dataset(connection, data)
    recipe_id = experiments.recipe_id(connection, full.to_json())
    asked: list[int] = []
    added = 0
    for one in chosen.genomes:
        weights = chosen.weights.get(one.genome_id)
        init_from = weights.evaluation_id if weights else None
        while True:
            known = trainings.of_genomes(connection, "transfer", [one.genome_id], dataset_id, recipe_id)
            own = [row for row in known if row.init_from == init_from and row.state != "failed"][:number]
            if len(own) == number:
                break
            # Trainings from scratch and with weights share the numbers, of which the seeds are made. When
            # another process has just taken this one, what is missing is looked at anew.
            seed_no = max((row.seed_no for row in known), default=-1) + 1
            new = NewEvaluation(
                found.id,
                one.genome_id,
                "transfer",
                dataset_id,
                recipe_id,
                seed_no=seed_no,
                init_from=init_from,
            )
            added += add(connection, new)
        asked += [row.evaluation_id for row in own]
    return Asked(tuple(asked), full, added)


# --- what came of it ---------------------------------------------------------------------------------


def outcomes(chosen: Chosen, rows: Sequence[TrainingFact]) -> list[Outcome]:
    """The trainings, genome by genome, in the order of ``chosen``."""
    found: list[Outcome] = []
    for one in chosen.genomes:
        own = tuple(row for row in rows if row.genome_id == one.genome_id)
        done = [row.values for row in own if row.state == "done"]
        found.append(
            Outcome(
                one.genome_id,
                one.values[ERROR],
                error=_mean(done, "test_error"),
                loss=_mean(done, "test_loss"),
                params=_mean(done, "params"),
                flops=_mean(done, "flops"),
                trainings=own,
            )
        )
    return found


def correlate(found: Sequence[Outcome]) -> tuple[Correlation | None, str | None]:
    """The rank correlation of source and target errors, or why there is none."""
    pairs = [(one.source_error, one.error) for one in found if one.error is not None]
    correlation = kendall([source for source, _ in pairs], [on_target for _, on_target in pairs])
    if correlation is not None:
        return correlation, None
    few = f"fewer than three genomes have a result ({len(pairs)} of {len(found)})"
    return None, few if len(pairs) < 3 else "all errors on one of the two data sets are equal"


def _mean(results: Sequence[Mapping[str, float]], name: str) -> float | None:
    return fmean(values[name] for values in results) if results else None
