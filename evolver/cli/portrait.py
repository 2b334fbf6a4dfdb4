"""One genome for people: its network, results, attempts, learning curve and family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from evolver.cli.output import table
from evolver.errors import EvolverError
from evolver.store.details import Ancestor, AttemptFact, EpochFact, EvaluationFact, GenomeDetail
from evolver.store.experiments import Experiment
from evolver.terms import load_space
from evolver.words import counted, elapsed, label, shown

EPOCHS_SHOWN = 12
TREE_LINES = 60
_BARS = "▁▂▃▄▅▆▇█"


def of(detail: GenomeDetail, found: Experiment) -> RenderableType:
    """A genome of an experiment, with all that is known about it but where its weights are."""
    return Group(_facts(detail), "", _network(detail, found), *_evaluations(detail))


def _facts(detail: GenomeDetail) -> Table:
    grid = Table.grid(padding=(0, 2))
    parents = " and ".join(map(str, detail.parent_ids))
    twin = f" (the same network as genome {detail.duplicate_of})" if detail.duplicate_of else ""
    grid.add_row(
        "genome", Text(f"{detail.genome_id}, birth {detail.birth} of '{detail.experiment}'{twin}", "bold")
    )
    origin = f": {detail.origin}" if detail.origin else ""
    grid.add_row("born by", f"{detail.operator} of {parents}" if parents else f"{detail.operator}{origin}")
    grid.add_row(
        "bred for",
        f"slot {detail.slot}, after {counted(detail.born_after_ingest, 'result')}, try {detail.tries}",
    )
    grid.add_row("born at", f"{detail.born_at:%Y-%m-%d %H:%M:%S} UTC, seed {list(detail.rng_seed)}")
    grid.add_row("phenotype", detail.phenotype[:16])
    return grid


def _network(detail: GenomeDetail, found: Experiment) -> RenderableType:
    """The network block by block; a code that does not decode is reported, not fatal."""
    try:
        space = load_space(found)
        lines = space.describe(space.from_json(detail.code), found.dataset.sample)
    except EvolverError as error:
        return Text(f"its code cannot be decoded here: {error}", "red")
    return Text("\n".join(lines))


def _evaluations(detail: GenomeDetail) -> Iterator[RenderableType]:
    alike: Counter[str] = Counter()
    for one in detail.evaluations:
        what = _training(one)
        alike[what] += 1
        again = f", repetition {alike[what]}" if alike[what] > 1 else ""
        yield ""
        head = f"{again}: {one.state} (evaluation {one.evaluation_id}){_failure(one)}"
        yield Text.assemble((what, "bold"), head)
        values = {**one.objectives, **one.other_values}
        if values:
            yield Columns(
                [f"{label(name)} {shown(name, value)}" for name, value in values.items()], padding=(0, 2)
            )
        if one.violated:
            yield Text(f"breaks {', '.join(one.violated)}", "yellow")
        if one.curve:
            yield _curve(one.curve)
        if one.attempts:
            yield _attempts(one.attempts)


def _training(one: EvaluationFact) -> str:
    """What was trained, and for what: the same for trainings that repeat each other."""
    start = "" if one.init_from is None else f" with the weights of evaluation {one.init_from}"
    if one.purpose != "transfer":
        return f"{one.purpose}{start}"
    return f"transfer to {one.dataset}{start or ' from scratch'}"


def _failure(evaluation: EvaluationFact) -> str:
    if not evaluation.failure_kind:
        return ""
    return f", {evaluation.failure_kind}: {evaluation.failure_message or 'no message'}"


def _attempts(attempts: Sequence[AttemptFact]) -> Table:
    made = table("attempt", "device", "time", "outcome", left=("device", "outcome"))
    for one in attempts:
        seconds = (one.ended_at - one.started_at).total_seconds() if one.ended_at else None
        resumed = f", from epoch {one.resumed_from_epoch}" if one.resumed_from_epoch else ""
        reason = f", {one.failure_kind}: {one.message}" if one.failure_kind else ""
        made.add_row(
            str(one.number),
            f"{one.host} {one.device} {one.dtype or ''}".rstrip(),
            elapsed(seconds),
            f"{one.outcome}{resumed}{reason}",
        )
    return made


def _curve(curve: Sequence[EpochFact]) -> RenderableType:
    made = table("epoch", "train loss", "validation loss", "validation accuracy", "lr", "time")
    step = -(-len(curve) // EPOCHS_SHOWN)
    for one in curve[::-step][::-1]:  # the last epoch is always there
        made.add_row(
            str(one.epoch),
            shown("loss", one.train_loss),
            shown("loss", one.validation_loss),
            shown("error", one.validation_error),
            f"{one.lr:.3g}",
            elapsed(one.seconds),
        )
    return Group(made, f"train loss {sparkline([one.train_loss for one in curve])}")


def sparkline(values: Sequence[float]) -> str:
    """Values as bars, from the least to the greatest; at most 60 of them, evenly spaced."""
    chosen = values[:: -(-len(values) // 60)]
    low, high = min(chosen), max(chosen)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in chosen)


def family(genome: Ancestor, ancestors: Sequence[Ancestor], depth: int) -> RenderableType:
    """The tree of parents: at most ``depth`` generations and ``TREE_LINES`` lines, each genome drawn once.

    ``ancestors`` are all of them, nearest first.
    """
    by_id = {one.genome_id: one for one in ancestors}
    root = Tree(_line(genome))
    drawn, generation = {genome.genome_id}, [(root, genome)]
    for _ in range(depth):
        following: list[tuple[Tree, Ancestor]] = []
        for branch, child in generation:
            for parent in dict.fromkeys(child.parent_ids):
                if len(drawn) == TREE_LINES:
                    break
                if parent in drawn:
                    branch.add(Text(f"{parent}, see elsewhere in this tree", "dim"))
                    continue
                drawn.add(parent)
                following.append((branch.add(_line(by_id[parent])), by_id[parent]))
        generation = following
    hidden = len(ancestors) + 1 - len(drawn)
    note = f"{counted(hidden, 'more ancestor')}: --depth {depth * 2}, or --json for all" if hidden else ""
    return Group(root, note) if note else root


def _line(one: Ancestor) -> Text:
    return Text.assemble((f"{one.genome_id}", "bold"), f"  {one.operator}")
