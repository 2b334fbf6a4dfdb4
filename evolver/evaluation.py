"""What passes between a worker and an evaluator.

An evaluator is a plug-in (entry-point group ``evolver.evaluators``): it turns a claimed genome into
measurements, in the training process. The built-in ones are ``train`` (decode, train, validate) and
``surrogate`` (synthetic values, without torch).

Task       one claimed evaluation, as values: everything that its result may depend on.
Outcome    what was measured.
Context    what an evaluator may ask of, and tell, the process that runs it.
Evaluator  the interface.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, Self

from evolver.space import Json, Sample


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A data set as the database names it: never a path.

    ``name`` is a plug-in's name, with an argument for those that take one (``npz:pets.npz``).
    ``train`` + ``validation`` samples are split off the training set by ``split_seed``.
    """

    id: int
    name: str
    sample: Sample
    train: int
    validation: int
    test: int
    split_seed: int
    sha256: str | None

    def to_json(self) -> dict[str, Json]:
        return {**asdict(self), "sample": self.sample.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Self:
        return cls(**{**data, "sample": Sample.from_json(data["sample"])})


@dataclass(frozen=True, slots=True)
class Resume:
    """The last checkpoint of an earlier attempt."""

    key: str
    sha256: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Weights:
    """The kept weights of an evaluation."""

    evaluation_id: int
    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a genome comes from that is brought to other data: the samples of the search that found it,
    and the weights to begin with, if any.
    """

    sample: Sample
    weights: Weights | None

    def to_json(self) -> dict[str, Json]:
        return {
            "sample": self.sample.to_json(),
            "weights": asdict(self.weights) if self.weights else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Self:
        weights = Weights(**data["weights"]) if data["weights"] else None
        return cls(Sample.from_json(data["sample"]), weights)


@dataclass(frozen=True, slots=True)
class Task:
    """One claimed evaluation.

    ``purpose`` is ``search`` (train on the training part, measure on the validation part), or
    ``retrain``, ``transfer`` (train on both parts, measure on the test part, once), or ``repeat``
    (as ``search``, another seed). Of a ``transfer`` to other data, ``origin`` says from where.
    """

    evaluation_id: int
    genome_id: int
    token: str
    purpose: str
    rung: int
    evaluator: str
    space: str
    space_settings: Mapping[str, Json]
    code: Json
    dataset: DatasetRef
    limit_train: int | None
    recipe: Mapping[str, Json]
    objectives: tuple[str, ...]
    seed: int
    timeout_s: float | None
    resume: Resume | None = None
    origin: Origin | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "dataset": self.dataset.to_json(),
            "objectives": list(self.objectives),
            "resume": asdict(self.resume) if self.resume else None,
            "origin": self.origin.to_json() if self.origin else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Self:
        return cls(
            **{
                **data,
                "dataset": DatasetRef.from_json(data["dataset"]),
                "objectives": tuple(data["objectives"]),
                "resume": Resume(**data["resume"]) if data["resume"] else None,
                "origin": Origin.from_json(data["origin"]) if data.get("origin") else None,
            }
        )


@dataclass(frozen=True, slots=True)
class Epoch:
    """The metrics of one epoch; ``number`` counts from 1. None where a purpose has no validation part."""

    number: int
    train_loss: float
    train_error: float
    validation_loss: float | None
    validation_error: float | None
    lr: float
    seconds: float
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint that was written: ``kind`` is ``resume`` or ``weights``."""

    kind: str
    epoch: int
    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation measured, by name, for instance ``validation_error`` or ``test_loss``."""

    measured: Mapping[str, float]


class Context(Protocol):
    """What an evaluator may ask of, and tell, the process that runs it."""

    device: str
    """A torch device: ``cpu``, ``cuda:1``, ``mps``."""
    data_dir: Path
    download: bool
    checkpoint_url: str
    """Base of the checkpoint keys: a directory, or a URL that fsspec understands."""
    device_slots: int
    """How many evaluations this worker runs on the device at a time."""

    def started(self, *, dtype: str, resumed_from_epoch: int | None) -> None:
        """Tell how the attempt runs, before its first epoch; again where it has to begin anew."""
        ...

    def report_epoch(self, epoch: Epoch) -> None:
        """Tell that an epoch ended."""
        ...

    def report_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Tell that a checkpoint was written. Any thread may, until the evaluator returns or raises."""
        ...

    def stop_requested(self) -> bool:
        """Whether to save a checkpoint and raise HandedBack as soon as possible. Cheap: ask at every step."""
        ...


class Evaluator(Protocol):
    """Turns a genome into measurements. One instance serves a training process for all its life."""

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        """The sha256 of the data set as it is on this machine, or None when no data are needed.

        Raises EnvironmentFault when the data are missing or unreadable.
        """
        ...

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        """Look whether these, which objectives need, can be measured on this machine and device.

        Raises EnvironmentFault with the reason when one cannot: the work is left to other workers.
        """
        ...

    def evaluate(self, task: Task, context: Context) -> Outcome:
        """Evaluate. Raises EvaluationFailed (of some kind), EnvironmentFault or HandedBack."""
        ...
