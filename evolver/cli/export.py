"""``evolver export``: a genome's network in a file that needs no evolver."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evolver.cli.options import ID, db_option, examples, json_option, opened
from evolver.cli.output import console, echo_json
from evolver.errors import EnvironmentFault, InvalidInput

if TYPE_CHECKING:
    from workers.export.exporting import Exported

KINDS = ("onnx", "pt2", "safetensors", "python")
NEEDS = {"worker": ("torch", "safetensors"), "export": ("onnx", "onnxruntime", "onnxscript")}
"""What each extra brings that exports need; ``export`` for onnx only."""


@click.command(
    epilog=examples(
        "evolver export 17 --format onnx",
        "evolver export 17 --format python --output models/",
        "evolver export 17 --format onnx --dataset cifar10    # of a transfer",
        "evolver export 17 --format pt2 --untrained --force",
    )
)
@click.argument("genome_id", type=ID)
@click.option("--format", "kind", type=click.Choice(KINDS), required=True,
              help="onnx; pt2: torch.export; safetensors: weights; python: source and weights.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="PATH",
              help="File or directory. [default: EXPERIMENT-gID.… here]")  # fmt: skip
@click.option("--dataset", metavar="NAME", help="Weights of its last 'evolver transfer' to these data.")
@click.option("--evaluation", "evaluation_id", type=ID, metavar="ID",
              help="Weights of this final training ('evolver show' lists them).")  # fmt: skip
@click.option("--untrained", is_flag=True, help="Initial weights, as a training begins with them.")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@click.option("--checkpoint-url", metavar="URL", help="Where the worker that retrained it keeps weights.")
@db_option
@json_option
def export(
    genome_id: int,
    kind: str,
    output: Path | None,
    dataset: str | None,
    evaluation_id: int | None,
    untrained: bool,
    force: bool,
    checkpoint_url: str | None,
    db_url: str | None,
    as_json: bool,
) -> None:
    """Write the network of a genome, with a model card beside it.

    The weights are those of its last final training (evolver retrain), unless others are asked for. The
    network takes raw samples and normalises them itself; it gives logits, without softmax. Each file is read
    back and compared with evolver's own network before it counts as written.
    """
    if sum((dataset is not None, evaluation_id is not None, untrained)) > 1:
        raise InvalidInput("give one of --dataset, --evaluation and --untrained: each names other weights")
    _require_packages(kind)
    with opened(db_url) as database:
        from workers.export.exporting import export as write
        from workers.export.exporting import target_of
        from workers.export.subject import Wanted, gather
        from workers.options import WorkerOptions, checkpoint_base

        with database.read() as connection:
            subject = gather(connection, genome_id, Wanted(evaluation_id, dataset, untrained))
        target = target_of(subject, kind, output, force=force)
        base = checkpoint_base(WorkerOptions(checkpoint_url=checkpoint_url), database.url)
        exported = write(subject, target, base)
    if as_json:
        echo_json({"genome_id": genome_id, "format": kind, **asdict(exported)})
    else:
        _print(subject.title, exported)


def _require_packages(kind: str) -> None:
    for extra, packages in NEEDS.items():
        missing = [one for one in packages if find_spec(one) is None]
        if missing and (extra != "export" or kind == "onnx"):
            raise EnvironmentFault(
                f"--format {kind} needs packages that are not installed here ({', '.join(missing)}); "
                f"run: pip install 'evolver[{extra}]'"
            )


def _print(name: str, exported: Exported) -> None:
    trained = "" if exported.trained else " UNTRAINED: its weights are initial ones, which predict nothing."
    batches = ", ".join(map(str, exported.checks["batches"]))
    lines = [
        f"exported {name}.{trained}",
        *(f"file: {path}" for path in exported.files),
        f"card: {exported.card}",
        f"checked: logits as evolver's network gives them, for batches of {batches}",
        f"(largest difference {exported.checks['largest_difference']:.1e}, "
        f"tolerance {exported.checks['tolerance']:.0e}, of the largest logit)",
    ]
    for line in lines:
        console().print(line, markup=False, soft_wrap=True)
