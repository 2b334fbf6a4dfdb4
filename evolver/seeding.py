"""Warm start: the genomes that a search is to begin with, from a file, by name, or from another search.

``--seed-genomes`` takes the path of a JSON file or names of networks that the space knows, ``--seed-from``
another experiment of the database. All genomes are checked here, before anything is written. What a user
names one by one must fit, or is refused; of a group (``known``, another search), what does not fit is left
out, and said.

Warmup   the genomes of a new search.
gather   collects and checks them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from evolver import objectives, registry
from evolver.errors import InvalidGenome, InvalidInput, UnknownName
from evolver.space import HasKnownGenomes, Json, Space
from evolver.store import experiments, seeds
from evolver.store.experiments import Experiment, NewDataset, Settings
from evolver.store.seeds import Evaluated, Seed
from evolver.terms import limits

ALL_KNOWN = "known"
"""Stands for all networks that the space knows."""
FILE_BYTES = 64 * 1024**2
"""The largest file of genomes: tens of thousands of them."""
_FROM = re.compile(r"(?P<name>.+?)(?::(?P<which>front|population|best=(?P<number>[1-9][0-9]{0,4})))?")


@dataclass(frozen=True, slots=True)
class Warmup:
    """The first genomes of a new search; ``notes`` say what was left out, and why."""

    seeds: tuple[Seed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def known_results(self) -> int:
        """How many of them come with a result, and are not trained."""
        return sum(one.result is not None for one in self.seeds)


def gather(
    settings: Settings, data: NewDataset, file_or_names: str | None, connection: Connection | None
) -> Warmup:
    """The genomes that a new experiment asks for, in order: those of ``file_or_names`` (``--seed-genomes``),
    then those of ``settings.seed_from``, for which a connection is needed.

    Raises InvalidInput or UnknownName, which name the genome and what is wrong with it.
    """
    space = registry.load_space(settings.space, settings.space_settings)
    found = _Gathered(settings, space, data)
    if file_or_names is not None:
        _add_listed(found, file_or_names, space)
    if settings.seed_from is not None:
        assert connection is not None, "another search is in a database"
        _add_from(found, settings.seed_from, connection)
    if len(found.seeds) > settings.budget:
        raise InvalidInput(
            f"{len(found.seeds)} genomes to begin with are more than the budget of {settings.budget}: raise "
            "--budget, or give fewer"
        )
    return Warmup(tuple(found.seeds), tuple(found.notes))


def shown_source(value: str) -> str:
    """``--seed-genomes`` as the database keeps it: names, or a file's name without its directory."""
    return Path(value).name if _is_file(value) else ",".join(_names(value))


class _Gathered:
    """Genomes that were checked so far: each is valid, within the limits, and no duplicate of another."""

    def __init__(self, settings: Settings, space: Space[Any], data: NewDataset) -> None:
        self.settings, self.space, self.data = settings, space, data
        self.seeds: list[Seed] = []
        self.notes: list[str] = []
        self._limits = limits(settings)
        self._origins: dict[str, str] = {}

    def add(self, seed: Seed, result_of: str | None = None) -> None:
        """Take one more in. Raises InvalidInput when it does not fit.

        ``result_of`` is the phenotype that its result belongs to; that of another network is left.
        """
        try:
            genome = self.space.from_json(seed.code)
        except InvalidGenome as error:
            raise InvalidInput(f"{seed.origin}: {error}") from error
        cost = self.space.cost(genome, self.data.sample)
        if not self._limits.admits(cost):
            raise InvalidInput(
                f"{seed.origin}: with {cost.params} parameters, {cost.flops} FLOPs and "
                f"{self._limits.memory_bytes(cost)} bytes in training it is beyond {self._limits}"
            )
        phenotype = self.space.phenotype(genome, self.data.sample)
        if twin := self._origins.get(phenotype):
            raise InvalidInput(f"{seed.origin}: the same network as {twin}")
        self._origins[phenotype] = seed.origin
        code = self.space.to_json(genome)
        plain = Seed(code, seed.origin)
        self.seeds.append(replace(seed, code=code) if result_of == phenotype else plain)

    def add_group(self, group: Iterable[tuple[Seed, str | None]]) -> None:
        """Take in those that fit, and note the others."""
        for seed, result_of in group:
            try:
                self.add(seed, result_of)
            except InvalidInput as error:
                self.notes.append(f"left out: {error}")


# --- a file, or names --------------------------------------------------------------------------------


def _is_file(value: str) -> bool:
    path = Path(value)
    return path.suffix == ".json" or path.name != value or path.is_file()


def _names(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _add_listed(found: _Gathered, value: str, space: Space[Any]) -> None:
    if _is_file(value):
        for seed in _in_file(Path(value)):
            found.add(seed)
        return
    known = space.known_genomes() if isinstance(space, HasKnownGenomes) else {}
    if not known:
        raise InvalidInput(
            f"the space '{space.name}' knows no networks by name; give --seed-genomes the path of a JSON file"
        )
    for name in _names(value):
        if name == ALL_KNOWN:
            found.add_group((Seed(space.to_json(one), key), None) for key, one in known.items())
        elif name in known:
            found.add(Seed(space.to_json(known[name]), name))
        else:
            raise UnknownName("network", name, [ALL_KNOWN, *known])


def _in_file(path: Path) -> Iterator[Seed]:
    """The genomes of a JSON file: a list of codes, or of objects that have one as ``code``."""
    entries = _read(path)
    if isinstance(entries, dict) and "code" in entries:  # one genome, as ``evolver show --json`` prints it
        entries = [entries]
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(
            f"{path} is no list of genomes: give a JSON list of codes, or of objects as "
            "'evolver front --json' prints them"
        )
    for number, entry in enumerate(entries, start=1):
        code = entry["code"] if isinstance(entry, dict) and "code" in entry else entry
        yield Seed(code, f"{path.name}, entry {number}")


def _read(path: Path) -> Json:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise InvalidInput(
                f"{path} is larger than {FILE_BYTES // 1024**2} MiB; give a shorter list of genomes"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read the genomes in {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON: {error}") from error


# --- another search ----------------------------------------------------------------------------------


def _add_from(found: _Gathered, source: str, connection: Connection) -> None:
    name, which, number = _parsed(source)
    other = experiments.get(connection, name)
    experiments.require_whole(other)
    if other.settings.space != found.settings.space:
        raise InvalidInput(
            f"experiment '{name}' has genomes of the space '{other.settings.space}', this one is of "
            f"'{found.settings.space}'"
        )
    chosen = seeds.evaluated(
        connection, other.id, which, objective=other.settings.objectives[0], limit=number
    )
    if not chosen:
        raise InvalidInput(
            f"experiment '{name}' has no evaluated genome in its {which} yet; leave --seed-from out"
        )
    same_data = experiments.dataset_id(connection, found.data) == other.dataset.id
    reason = _why_results_differ(found.settings, other, same_data=same_data)
    if reason:
        found.notes.append(f"the genomes of '{name}' are trained again, since {reason}")
    before = len(found.seeds)
    found.add_group(_taken(one, name, with_result=not reason) for one in chosen)
    if len(found.seeds) == before:
        raise InvalidInput(f"no genome of '{name}' fits here; the last one was {found.notes[-1]}")


def _parsed(source: str) -> tuple[str, str, int | None]:
    """``NAME:best=5`` as name, ``best``, 5; without a choice, the front."""
    form = _FROM.fullmatch(source)
    if form is None:
        raise InvalidInput("--seed-from is empty; give NAME, NAME:front, NAME:population or NAME:best=K")
    name, which, number = form["name"], form["which"] or "front", form["number"]
    return (name, "best", int(number)) if number else (name, which, None)


def _why_results_differ(settings: Settings, other: Experiment, *, same_data: bool) -> str | None:
    """Why results of another search cannot stand in this one; None where a genome would be trained and
    measured alike in both, but for the random seed.
    """
    theirs = other.settings
    bound = objectives.bound_to_device(settings.objectives)
    reasons = {
        "the data set or its split is another one": same_data,
        "--limit-train is another one": settings.limit_train == theirs.limit_train,
        "the recipe is another one": dict(settings.recipe) == dict(theirs.recipe),
        "the evaluator is another one": settings.evaluator == theirs.evaluator,
        "the space is of another version": settings.space_version == theirs.space_version,
        "there are other objectives": set(settings.objectives) <= set(theirs.objectives),
        f"values of {', '.join(bound)} belong to a device": not bound,
    }
    return next((reason for reason, agrees in reasons.items() if not agrees), None)


def _taken(one: Evaluated, name: str, *, with_result: bool) -> tuple[Seed, str | None]:
    """A genome of another search; with its result, the phenotype that this belongs to."""
    origin = f"genome {one.genome_id} of '{name}'"
    if not with_result:
        return Seed(one.code, origin), None
    return Seed(one.code, origin, one.evaluation_id, one.values), one.phenotype
