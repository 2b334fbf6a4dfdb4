"""What an exported file says of itself, as JSON, for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evolver import __version__
from evolver.genome.cost import cost
from evolver.space import Json
from evolver.store.details import EvaluationFact
from evolver.store.weights import KeptWeights
from workers.export.subject import Subject

if TYPE_CHECKING:
    from workers.export.model import Model

FACTS_VERSION = 1
"""Raised when a key changes its meaning."""
INPUT, OUTPUT, BATCH = "input", "logits", "batch"
KEY = "evolver"
"""Under which key of a file's metadata the facts stand."""


def facts(model: Model, torch_version: str) -> dict[str, Json]:
    """Everything that one needs to use a model, and to know where it comes from."""
    subject = model.subject
    detail, found, sample = subject.detail, subject.experiment, subject.plan.sample
    weights, measured = subject.weights, cost(subject.plan)
    return {
        "facts_version": FACTS_VERSION,
        "trained": model.is_trained,
        "experiment": found.settings.name,
        "genome_id": detail.genome_id,
        "birth": detail.birth,
        "phenotype": detail.phenotype,
        "code": detail.code,
        "space": found.settings.space,
        "space_settings": dict(found.settings.space_settings),
        "params": measured.params,
        "flops": measured.flops,
        "sample": sample.to_json(),
        "input": {"name": INPUT, "dtype": "float32", "shape": [BATCH, *sample.shape], "values": "raw"},
        "normalisation": {"included": True, "mean": list(model.mean), "std": list(model.std)},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": [BATCH, sample.classes], "softmax": False},
        "dataset": subject.dataset.to_json(),
        "searched_on": found.dataset.to_json(),
        "recipe": {
            "search": dict(found.settings.recipe),
            "training": None if model.recipe is None else dict(model.recipe),
        },
        "metrics": {"search": _values(subject.searched), "training": _values(subject.trained)},
        "training": None if weights is None else _training(weights),
        "seed": {"experiment": found.settings.seed, "weights": subject.seed},
        "lineage": {
            "operator": detail.operator,
            "origin": detail.origin,
            "parent_ids": list(detail.parent_ids),
            "ancestors": subject.ancestors,
            "generations": subject.generations,
        },
        "trained_at": weights.written_at.isoformat() if weights else None,
        "trained_on": weights.device if weights else None,
        "trained_with": dict(weights.versions) if weights else None,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "exported_with": {"evolver": __version__, "torch": torch_version},
    }


def about(subject: Subject) -> list[str]:
    """The same in a few lines, for the head of a Python file."""
    shape = ", ".join(map(str, ("N", *subject.plan.sample.shape)))
    trained = (
        "Its weights are those of its final training."
        if subject.weights
        else "Its weights are UNTRAINED: drawn as at the beginning of a training."
    )
    adapted = (
        [f"It was found on {subject.experiment.dataset.name}; stem and output were adapted to other data."]
        if subject.is_transferred
        else []
    )
    return [
        f"The network of genome {subject.detail.genome_id}, found by evolver in the search "
        f"{subject.experiment.settings.name}.",
        *adapted,
        f"Input: raw samples of the data set {subject.dataset.name}, ({shape}); the network",
        f"normalises them itself. Output: logits, (N, {subject.plan.sample.classes}), without softmax.",
        trained,
    ]


def _values(one: EvaluationFact | None) -> dict[str, float] | None:
    return None if one is None else {**one.objectives, **one.other_values}


def _training(weights: KeptWeights) -> dict[str, Json]:
    """The training of the weights: ``retrain`` is on the data of the search, ``transfer`` on others."""
    return {
        "evaluation_id": weights.evaluation_id,
        "purpose": weights.purpose,
        "repetition": weights.seed_no,
        "init_from": weights.init_from,
    }
