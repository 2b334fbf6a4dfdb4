"""Replay: derive every birth, population and front of an experiment again, and report differences.

What is taken from the records: settings, the order of results with their objectives, and for each
birth its number and ``born_after_ingest``. Everything else is derived anew and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evolver import selection
from evolver.breeding import BREEDER_VERSION, Birth, breed
from evolver.search import MembershipChange, SearchState, ingest
from evolver.step import limits, load_space
from evolver.store import experiments, history
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.store.history import BornRow
from evolver.store.steps import Ended


@dataclass(frozen=True, slots=True)
class Replay:
    """What was compared, and every difference as one line. ``not_comparable`` counts births that
    another breeder version made, whose codes cannot be derived here.
    """

    births: int
    results: int
    changes: int
    differences: tuple[str, ...]
    not_comparable: int

    @property
    def is_clean(self) -> bool:
        return not self.differences


def replay(database: Database, name: str) -> Replay:
    """Replay an experiment. Raises UnknownName."""
    with database.read() as connection:
        found = experiments.get(connection, name)
        born = history.births(connection, found.id)
        ended = history.results(connection, found.id, found.settings.objectives)
        recorded = history.all_memberships(connection, found.id)
    return _Replayer(found, born).run(ended, recorded)


class _Replayer:
    def __init__(self, found: Experiment, born: Sequence[BornRow]) -> None:
        settings = found.settings
        self.experiment = found
        self.born = born
        self.space = load_space(found)
        self.selector = selection.load(settings.selector, settings.population, len(settings.objectives))
        self.state = SearchState.initial(self.selector, len(settings.objectives))
        self.codes = {row.id: row.code for row in born}
        self.birth_of = {row.id: row.birth for row in born}
        self.first_birth: dict[str, int] = {}
        self.differences: list[str] = []
        self.not_comparable = 0

    def run(self, ended: Sequence[tuple[int, Ended]], recorded: Sequence[MembershipChange]) -> Replay:
        derived: list[MembershipChange] = []
        births = iter(self.born)
        waiting = next(births, None)
        for expected, (number, one) in enumerate(ended, start=1):
            if number != expected:
                self.differences.append(f"ingest numbers have a gap: {number} follows {expected - 1}")
                break
            while waiting is not None and waiting.born_after_ingest < number:
                self._compare_birth(waiting)
                waiting = next(births, None)
            derived += self._ingest(one)
        while waiting is not None:
            self._compare_birth(waiting)
            waiting = next(births, None)
        self._compare_changes(derived, recorded)
        if len(self.born) != self.experiment.born or len(ended) != self.experiment.ingested:
            self.differences.append(
                f"counters say {self.experiment.born} births and {self.experiment.ingested} results, "
                f"the rows {len(self.born)} and {len(ended)}"
            )
        return Replay(len(self.born), len(ended), len(derived), tuple(self.differences), self.not_comparable)

    def _ingest(self, one: Ended) -> list[MembershipChange]:
        self.state, changes = ingest(
            self.selector,
            self.state,
            genome_id=one.genome_id,
            slot=one.slot,
            objectives=one.objectives,
            front_limit=self.experiment.settings.front_limit,
        )
        return changes

    def _compare_birth(self, row: BornRow) -> None:
        if row.breeder_version != BREEDER_VERSION or row.operator == "seed":
            self.not_comparable += row.operator != "seed"
        else:
            child = self._breed(row)
            twin = None if row.duplicate_of is None else self.birth_of[row.duplicate_of]
            derived = (self.space.to_json(child.genome), child.phenotype, child.operator, child.parents,
                       child.slot, child.tries, child.duplicate_of)  # fmt: skip
            kept = (row.code, row.phenotype, row.operator, row.parents, row.slot, row.tries, twin)
            names = ("code", "phenotype", "operator", "parents", "slot", "tries", "duplicate_of")
            for name, now, then in zip(names, derived, kept, strict=True):
                if now != then:
                    self.differences.append(f"birth {row.birth}: {name} is {then}, derived {now}")
        self.first_birth.setdefault(row.phenotype, row.birth)

    def _breed(self, row: BornRow) -> Birth[Any]:
        return breed(
            self.space,
            self.experiment.dataset.sample,
            self.selector,
            self.state.population,
            self.state.selector_state,
            birth=row.birth,
            seed=self.experiment.settings.seed,
            genome_of=lambda genome_id: self.space.from_json(self.codes[genome_id]),
            seen=self.first_birth.get,
            limits=limits(self.experiment),
        )

    def _compare_changes(
        self, derived: Sequence[MembershipChange], recorded: Sequence[MembershipChange]
    ) -> None:
        for change in set(derived) - set(recorded):
            self.differences.append(f"derived but not recorded: {change}")
        for change in set(recorded) - set(derived):
            self.differences.append(f"recorded but not derived: {change}")
        if len(derived) != len(recorded):
            self.differences.append(f"{len(recorded)} changes recorded, {len(derived)} derived")
