"""The searches of ``searches.py``: which there are, each in a directory of its own, and what came of them.

A search is run by ``evolver run`` with one worker on one thread: the real scheduler and a real worker. Its
directory is named after its settings and kept: a search that is finished is not run again, and one that was
cut off goes on.

Study    arms that are compared.
Search   one search: the settings of a config file.
Outcome  what came of it.
Runner   runs searches, and tests the best network of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolver import selection
from evolver.api import Evolver
from evolver.breeding import BREEDER_VERSION
from evolver.comparison import Run
from evolver.config import ExperimentConfig
from evolver.errors import InvalidInput
from evolver.genome.bounds import PRESETS
from evolver.store import curves
from evolver.store.db import Database
from evolver.store.facts import GenomeFact
from workers.process import THREAD_VARIABLES

DEFAULT_SELECTOR: str = ExperimentConfig.model_fields["selector"].default
NAME = "search"
"""Of the one experiment in each database."""
RECORDED = ("error", "loss", "params", "flops")
"""What every evaluation records, whatever its search minimises."""
LOGARITHMIC = ("params", "flops")
"""Range over orders of magnitude; so hypervolumes are of their logarithms, to base 10."""


# --- what is searched ---

Arm = Mapping[str, Any]
"""Settings of ``ExperimentConfig``."""


@dataclass(frozen=True, slots=True)
class Study:
    """Arms that are compared with the one named ``baseline``, by the hypervolumes of ``planes``.

    With ``objectives_compared``, best networks are tested as well, and error and loss are correlated.
    """

    part: str
    name: str
    baseline: str
    arms: Mapping[str, Arm]
    planes: tuple[tuple[str, ...], ...]
    objectives_compared: bool = False

    def shortened(self) -> Study:
        """With two arms: the baseline and the first of the others."""
        other = next(name for name in self.arms if name != self.baseline)
        return self.only([other])

    def only(self, names: Sequence[str]) -> Study:
        """With the baseline and these arms. Raises InvalidInput for one that is not there."""
        for name in names:
            if name not in self.arms:
                raise InvalidInput(f"'{self.name}' has no arm '{name}'; it has {', '.join(self.arms)}")
        chosen = (self.baseline, *names)
        return replace(self, arms={name: arm for name, arm in self.arms.items() if name in chosen})


def _selectors(*objectives: str) -> Study:
    arms = {name: {"selector": name, "objectives": list(objectives)} for name in selection.SELECTORS}
    return Study("selectors", f"selectors_{'_'.join(objectives)}", "random", arms, (objectives,))


NEAR_RATES = {"crossover_probability": 0.3, "mutation_probability": 1.0, "gene_mutation_probability": 0.1}
"""Every child is mutated, mostly in one gene, and fewer genes are crossed."""
PAPER_RATES = {name: getattr(PRESETS["paper"], name) for name in NEAR_RATES}
OPTIONS: Mapping[str, Arm] = {
    "none": {},
    "parents": {"parents": "least-used"},
    "candidates": {"candidates": 4},
    "operators": {"operators": "learned"},
}
STUDIES = (
    _selectors("error", "params"),
    _selectors("error", "loss"),
    Study(
        "objectives",
        "objectives",
        "error",
        {
            ",".join(names): {"objectives": names}
            for names in (["error"], ["error", "loss"], ["error", "loss", "flops"])
        },
        (("error", "loss"), ("error", "flops")),
        objectives_compared=True,
    ),
    Study(
        "operators",
        "operators",
        "random",
        {
            "random": {"selector": "random", "objectives": ["error", "params"]},
            "paper": {"space_settings": PAPER_RATES, "objectives": ["error", "params"]},
            "near": {"space_settings": NEAR_RATES, "objectives": ["error", "params"]},
        },
        (("error", "params"),),
    ),
    Study(
        "options",
        "options",
        "none",
        {name: {"objectives": ["error", "params"], **given} for name, given in OPTIONS.items()},
        (("error", "params"),),
    ),
)


# --- one search ---


@dataclass(frozen=True)
class Search:
    """One search; ``settings`` are those of ``evolver.config.ExperimentConfig``, its seed among them."""

    settings: Mapping[str, Any]

    @property
    def directory(self) -> str:
        """Another one for every difference in settings, and in how evolver breeds."""
        known = json.dumps([BREEDER_VERSION, self.settings], sort_keys=True)
        digest = hashlib.sha256(known.encode()).hexdigest()[:10]
        objectives = "+".join(self.settings["objectives"])
        return f"{self.settings['selector']}-{objectives}-seed{self.settings['seed']}-{digest}"

    def config(self) -> str:
        """The TOML file of the settings."""
        return "".join(f"{key} = {_toml(value)}\n" for key, value in self.settings.items())


def _toml(value: Any) -> str:
    """A value in TOML, which writes strings, numbers and lists as JSON does."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(one)}' for key, one in value.items())} }}"
    return json.dumps(value)


@dataclass(frozen=True)
class Outcome:
    """What came of a search of n results, in the order of results.

    ``values`` has shape (n, 4), of RECORDED; NaN for a failure. ``original``, shape (n,), tells genomes that
    are no duplicate of an earlier one; ``in_front`` those of the search's own front. ``start`` has the
    values of the first births, as many as the population has slots. ``hours`` are since the search began,
    ``training_hours`` of training so far, both of shape (n,). ``test_error`` is that of the best genome.
    """

    values: NDArray[np.float64]
    failed: NDArray[np.bool_]
    original: NDArray[np.bool_]
    in_front: NDArray[np.bool_]
    start: tuple[tuple[float, ...], ...]
    hours: NDArray[np.float64]
    training_hours: NDArray[np.float64]
    active_s: float
    test_error: float | None = None

    def columns(self, objectives: Sequence[str]) -> NDArray[np.float64]:
        """The values of these objectives, shape (n, m), the logarithm of those that are LOGARITHMIC."""
        chosen = [self.values[:, RECORDED.index(name)] for name in objectives]
        return np.column_stack(
            [
                np.log10(column) if name in LOGARITHMIC else column
                for name, column in zip(objectives, chosen, strict=True)
            ]
        )

    def run(self, name: str, objectives: Sequence[str]) -> Run:
        """As ``evolver.comparison`` takes it."""
        positions = {
            "evaluations": np.arange(1.0, len(self.values) + 1),
            "hours": self.training_hours,
            "wall": self.hours,
        }
        return Run(name, self.columns(objectives), self.failed, positions)


@dataclass
class Runner:
    """Runs searches in ``work_dir``, from as many threads at a time as there are callers.

    ``stop`` ends those under way in good order; the same call goes on with them another time.
    """

    work_dir: Path
    data_dir: Path
    device: str
    _processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopped: bool = False

    def outcome(self, search: Search, *, tested: bool) -> Outcome:
        """What comes of a search: it is run unless it is finished, and its best network tested if asked for.

        The best has the least validation error, of those with the same the least loss. It is trained once
        more, on training and validation part, by the recipe of its search.
        """
        directory = self.work_dir / search.directory
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "search.toml"
        config.write_text(search.config())
        began = time.monotonic()
        if not _is_finished(directory):
            self._evolver(directory, "run", NAME, "--config", str(config.resolve()))
        found = read(directory)
        if tested and found.test_error is None:
            self._evolver(directory, "retrain", NAME, "--genome", str(best_genome(directory)))
            found = read(directory)
        print(
            f"{search.directory}: {len(found.values)} evaluations, {int(found.failed.sum())} failed, "
            f"{time.monotonic() - began:.0f} s ({found.training_hours[-1] * 3600:.0f} s of training)",
            flush=True,
        )
        return found

    def _evolver(self, directory: Path, *arguments: str) -> None:
        """One command of evolver; raises RuntimeError with the end of its log when it fails."""
        command = [sys.executable, "-m", "evolver", *arguments, "--db", _url(directory), "--workers", "1"]
        command += ["--device", self.device, "--data-dir", str(self.data_dir.resolve())]
        log = directory / "log.txt"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},
            )
            self._processes.add(process)
            if self._stopped:
                process.terminate()
            code = process.wait()
            self._processes.discard(process)
        if code:
            words = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"'evolver {arguments[0]}' ended with {code} ({log}): {' '.join(words)}")

    def stop(self) -> None:
        """Have the searches under way hand their work back."""
        self._stopped = True
        for process in list(self._processes):
            process.terminate()


def read(directory: Path) -> Outcome:
    """What came of the search of a directory."""
    database = Database.open(_url(directory))
    with Evolver(database) as known:
        search = known.experiment(NAME)
        facts, genomes = search.facts(), search.genomes()
        front = {one.genome_id for one in search.front()}
        best = best_of(genomes)
        trained = known.genome(best).evaluations
        with database.read() as connection:
            results = curves.results(connection, facts, RECORDED)
    tested = [one.other_values.get("test_error") for one in trained if one.purpose == "retrain"]
    ordered = sorted((one for one in genomes if one.ingest_no), key=lambda one: one.ingest_no or 0)
    blank = (float("nan"),) * len(RECORDED)
    return Outcome(
        values=np.array([one.values or blank for one in results]),
        failed=np.array([one.failed for one in results]),
        original=np.array([one.duplicate_of is None for one in ordered]),
        in_front=np.array([one.genome_id in front for one in ordered]),
        start=tuple(
            (*_recorded(one)[:2], one.params, one.flops) for one in genomes[: facts.settings.population]
        ),
        hours=np.maximum.accumulate([one.since_start_s for one in results]) / 3600,
        training_hours=np.cumsum([one.training_s for one in results]) / 3600,
        active_s=facts.active_s,
        test_error=next((value for value in tested if value is not None), None),
    )


def best_genome(directory: Path) -> int:
    """The id of the best genome of the search of a directory."""
    with Evolver.open(_url(directory)) as known:
        return best_of(known.genomes(NAME))


def best_of(genomes: Sequence[GenomeFact]) -> int:
    """The id of the genome with the least validation error; of several the least loss, then the first."""
    done = [one for one in genomes if one.state == "done"]
    if not done:
        raise RuntimeError("no evaluation of a search has succeeded: there is no best network")
    return min(done, key=lambda one: (*_recorded(one)[:2], one.birth)).genome_id


def _recorded(one: GenomeFact) -> tuple[float, ...]:
    values = {**one.other_values, **one.objectives}
    return tuple(values.get(name, float("nan")) for name in RECORDED)


def _is_finished(directory: Path) -> bool:
    if not (directory / "search.db").exists():
        return False
    with Evolver.open(_url(directory)) as known:
        return any(one.state == "finished" for one in known.experiments())


def _url(directory: Path) -> str:
    return f"sqlite:///{directory.resolve() / 'search.db'}"
