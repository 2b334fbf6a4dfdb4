"""The export of one genome: all files, whole and checked, or none."""

from __future__ import annotations

import keyword
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from evolver.errors import EnvironmentFault, InvalidInput
from evolver.genome.describe import describe
from evolver.space import Json
from workers.export.card import card
from workers.export.facts import about, facts
from workers.export.formats import FORMATS
from workers.export.model import model_of
from workers.export.subject import Subject

CARD_SUFFIX = ".md"


@dataclass(frozen=True, slots=True)
class Target:
    """Files to write: the format's own, of which the first is ``path``, and the card beside them."""

    kind: str
    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.path.with_suffix(suffix) for suffix in FORMATS[self.kind].suffixes)

    @property
    def card(self) -> Path:
        return self.path.with_name(self.path.name + CARD_SUFFIX)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what its checks said."""

    trained: bool
    path: Path
    files: tuple[Path, ...]
    card: Path
    checks: dict[str, Json]


def target_of(subject: Subject, kind: str, output: Path | None, *, force: bool) -> Target:
    """Where a genome goes: ``output`` may be a file of the format's suffix, or a directory.

    Raises InvalidInput for another suffix, a name that Python cannot import, or, without ``force``, a file
    that is there already.
    """
    suffix = FORMATS[kind].suffixes[0]
    if output is None or output.is_dir():
        output = (output or Path()) / _file_name(subject, kind)
    if output.suffix != suffix:
        raise InvalidInput(f"--output {output} is no directory, and does not end in {suffix}")
    if kind == "python" and not _is_importable(output.stem):
        raise InvalidInput(
            f"--output {output}: '{output.stem}' is no name that Python can import; use letters, digits and _"
        )
    if not output.parent.is_dir():
        raise InvalidInput(f"there is no directory {output.parent} to write to")
    target = Target(kind, output)
    if not force:
        _require_absent(target)
    return target


def export(subject: Subject, target: Target, checkpoint_base: str) -> Exported:
    """Write the files of a target.

    Raises WeightsUnusable, CheckFailed, or EnvironmentFault when the directory cannot be written; then no
    file is left, and those that were there before are as they were.
    """
    model = model_of(subject, checkpoint_base, about(subject))
    known = facts(model, str(torch.__version__))
    try:
        # Beside their place, so that moving them there is one step of the file system.
        with tempfile.TemporaryDirectory(prefix=".evolver-export-", dir=target.path.parent) as directory:
            written = Target(target.kind, Path(directory) / target.path.name)
            checks = FORMATS[target.kind].write(model, known, written.path)
            text = card(known, describe(subject.plan), checks, target.kind, target.path)
            written.card.write_text(text, encoding="utf-8")
            for source, place in zip(
                (*written.files, written.card), (*target.files, target.card), strict=True
            ):
                os.replace(source, place)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write to {target.path.parent}: {error.strerror or error}; give another --output"
        ) from error
    return Exported(model.is_trained, target.path, target.files, target.card, checks)


def _file_name(subject: Subject, kind: str) -> str:
    """A name after search, genome and other data, with what all file systems and shells take unquoted."""
    stem = f"{_plain_name(subject.experiment.settings.name) or 'search'}-g{subject.detail.genome_id}"
    if subject.is_transferred:
        stem += f"-{_plain_name(subject.dataset.name) or 'transferred'}"
    if kind == "python":
        stem = re.sub(r"\W", "_", stem)
        stem = stem if stem.isidentifier() else f"_{stem}"
    return stem + FORMATS[kind].suffixes[0]


def _plain_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")


def _is_importable(stem: str) -> bool:
    """Whether ``import STEM`` finds the file, and not one of the modules that the file itself needs."""
    taken = {"torch", "numpy"} | sys.stdlib_module_names
    return stem.isidentifier() and not keyword.iskeyword(stem) and stem not in taken


def _require_absent(target: Target) -> None:
    for path in (*target.files, target.card):
        if path.exists():
            raise InvalidInput(f"{path} exists already: give another --output, or --force to replace it")
