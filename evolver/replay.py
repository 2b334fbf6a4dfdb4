"""Replay: derive every birth, population and front of an experiment again, and report differences.

What is taken from the records: settings, stored seeds, the order of results with their objectives, and for
each birth its number and ``born_after_ingest``. Everything else is derived anew and compared. The history
is read page by page; what is kept beside population and front does not grow with it.

replay      the whole of it.
Replay      what came of it.
State       population and front at one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from evolver.births import Recent
from evolver.breeding import BREEDER_VERSION, Birth, breed, sow, uses_of
from evolver.errors import EvolverError, InvalidGenome, InvalidInput, SpaceExhausted, VersionDiffers
from evolver.search import Entry, Exit, MembershipChange, SearchState
from evolver.selection.base import Objectives
from evolver.store import experiments, history, seeds, steps
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.store.history import BornRow, MembershipRow
from evolver.store.seeds import Seed
from evolver.store.steps import Ended
from evolver.terms import limits, load_selector, load_space, practice, take_in

PAGE = 500
"""Births or results that are read at a time."""

Progress = Callable[[int, int], object]
"""Hears of births and results: how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class Member:
    """A genome in the population (``slot``) or in the front (None)."""

    slot: int | None
    genome_id: int
    objectives: dict[str, float]


@dataclass(frozen=True, slots=True)
class State:
    """A search after so many results: its population by slot, empty ones left out, and its front in the
    order of entries. ``best`` has the least value of each objective in the front.
    """

    results: int
    population: tuple[Member, ...]
    front: tuple[Member, ...]
    best: dict[str, float]


@dataclass(frozen=True, slots=True)
class Replay:
    """What was compared, and every difference as one line; ``state`` is where the derivation ended.

    ``not_comparable`` counts births that another breeder version made, which cannot be derived here.
    """

    births: int
    results: int
    changes: int
    differences: tuple[str, ...]
    not_comparable: int
    state: State

    @property
    def is_clean(self) -> bool:
        """Whether everything was derived again, and is as it was recorded."""
        return not (self.differences or self.not_comparable)


def replay(
    database: Database, name: str, *, until: int | None = None, progress: Progress | None = None
) -> Replay:
    """Replay an experiment, or its first ``until`` results with all that was born until the next one.

    A search that goes on is replayed to where it stands now. Raises UnknownName; InvalidInput for an
    ``until`` beyond the results; EvolverError when it was made with another version of its space.
    """
    with database.read() as connection:
        found = experiments.get(connection, name)
        last = history.last_numbers(connection, found.id)
    experiments.require_whole(found)
    if until is not None and not 0 <= until <= found.ingested:
        raise InvalidInput(
            f"'{name}' has taken in {found.ingested} results so far; give --until a number from 0 to "
            f"{found.ingested} (got {until})"
        )
    try:
        space = load_space(found)
    except VersionDiffers as error:
        raise EvolverError(f"not comparable: {error}") from error
    replayer = _Replayer(database, found, space, until, progress or (lambda done, total: None))
    if last != (found.born, found.ingested):
        replayer.differences.append(
            f"counters say {found.born} births and {found.ingested} results, the last ones are number "
            f"{last[0]} and {last[1]}"
        )
    return replayer.run()


class _Replayer:
    """Derives births and results in their order, beside the records."""

    def __init__(
        self, database: Database, found: Experiment, space: Any, until: int | None, progress: Progress
    ) -> None:
        settings = found.settings
        self.experiment, self.space, self.sample = found, space, found.dataset.sample
        self.selector = load_selector(settings)
        self.state = SearchState.initial(self.selector, len(settings.objectives))
        self.records = _Records(database, found, found.ingested if until is None else until, progress)
        self.is_whole = until is None
        self.stays = _Stays()
        self.genomes = Recent(8 * settings.population)
        self.limits, self.practice = limits(settings), practice(settings)
        self.uses: dict[int, int] = {}
        self.taken: dict[int, Seed] = {}
        self.births = self.results = self.changes = self.not_comparable = self.born_after = 0
        self.differences: list[str] = []

    def run(self) -> Replay:
        births = self.records.births()
        waiting = next(births, None)
        for number, one in self.records.results(self.stays):
            if number != self.results + 1:
                self.differences.append(f"ingest numbers have a gap: {number} follows {self.results}")
                break
            while waiting is not None and waiting.born_after_ingest < number:
                self._compare_birth(waiting)
                waiting = next(births, None)
            self._ingest(one)
        while waiting is not None:
            self._compare_birth(waiting)
            waiting = next(births, None)
        self.differences += self.stays.left_over(self.records.last)
        self._compare_counters()
        return Replay(self.births, self.results, self.changes, tuple(self.differences),
                      self.not_comparable, self._described())  # fmt: skip

    def _ingest(self, one: Ended) -> None:
        settings = self.experiment.settings
        self.state, changes = take_in(settings, self.selector, self.state, one)
        self.results += 1
        self.changes += len(changes)
        self.uses = uses_of(self.uses, self.state.population)
        for change in changes:
            self.differences += self.stays.compare(change, self.records.last)
        seed = self.taken.pop(one.genome_id, None)
        if seed is not None and seed.result is not None:
            stored = tuple(seed.result.get(name) for name in settings.objectives)
            if one.objectives != stored:
                self.differences.append(
                    f"result {self.results}: genome {one.genome_id} has {one.objectives}, "
                    f"its seed from {seed.origin} {stored}"
                )

    def _compare_birth(self, row: BornRow) -> None:
        self.births += 1
        if row.born_after_ingest < self.born_after:
            self.differences.append(
                f"birth {row.birth}: born_after_ingest is {row.born_after_ingest}, that of the birth before "
                f"{self.born_after}"
            )
        self.born_after = row.born_after_ingest
        self._compare_derived(row)
        for parent in row.parents:
            if parent in self.uses:
                self.uses[parent] += 1

    def _compare_derived(self, row: BornRow) -> None:
        if row.breeder_version != BREEDER_VERSION:
            self.not_comparable += 1
            return
        try:
            child = self._derived(row)
        except (InvalidGenome, SpaceExhausted) as error:
            self.differences.append(f"birth {row.birth}: cannot be derived: {error}")
            return
        derived = (self.space.to_json(child.genome), child.phenotype, child.operator, child.parents,
                   child.slot, child.tries, child.duplicate_of)  # fmt: skip
        kept = (row.code, row.phenotype, row.operator, row.parents, row.slot, row.tries, row.duplicate_of)
        names = ("code", "phenotype", "operator", "parents", "slot", "tries", "duplicate_of")
        for name, now, then in zip(names, derived, kept, strict=True):
            if now != then:
                self.differences.append(f"birth {row.birth}: {name} is {then}, derived {now}")

    def _derived(self, row: BornRow) -> Birth[Any]:
        """The child as it is if all phenotypes are new that are not remembered, and again where one is not.

        Nearly all are: so all that one birth tries are looked up at once.
        """
        while True:
            unknown: list[str] = []
            child = self._bred(row, partial(self._seen, row.birth, unknown))
            if not any(first < row.birth for first in self.records.look_up(unknown)):
                return child

    def _seen(self, birth: int, unknown: list[str], phenotype: str) -> int | None:
        """The first birth with a phenotype, if it is remembered and came before this one."""
        first = self.records.first_birth(phenotype)
        if first is None:
            unknown.append(phenotype)
        return None if first is None or first >= birth else first

    def _bred(self, row: BornRow, seen: Callable[[str], int | None]) -> Birth[Any]:
        if row.birth <= self.experiment.seeds:
            seed = self.records.seed(row.birth)
            if seed is None:
                raise InvalidGenome("its seed is not on record")
            self.taken[row.id] = seed
            genome = self.space.from_json(seed.code)
            slots = self.selector.slots
            return sow(self.space, self.sample, genome, birth=row.birth, slots=slots, seen=seen)
        return breed(
            self.space,
            self.sample,
            self.selector,
            self.state.population,
            self.state.selector_state,
            birth=row.birth,
            seed=self.experiment.settings.seed,
            genome_of=self._genome_of,
            seen=seen,
            limits=self.limits,
            practice=self.practice,
            uses=self.uses,
            credit=self.state.credit,
        )

    def _genome_of(self, genome_id: int) -> Any:
        return self.genomes.get(genome_id) or self.genomes.put(
            genome_id, self.space.from_json(self.records.code(genome_id))
        )

    def _compare_counters(self) -> None:
        found = self.experiment
        if self.is_whole and (self.births, self.results) != (found.born, found.ingested):
            self.differences.append(
                f"counters say {found.born} births and {found.ingested} results, "
                f"the rows {self.births} and {self.results}"
            )
        if self.is_whole and self.state.credit != found.operator_credit:
            self.differences.append(
                f"operator_credit is {found.operator_credit}, derived {self.state.credit}"
            )

    def _described(self) -> State:
        names = self.experiment.settings.objectives

        def member(slot: int | None, genome_id: int, vector: Objectives) -> Member:
            return Member(slot, genome_id, dict(zip(names, vector.tolist(), strict=True)))

        held = zip(self.state.population.genome_ids, self.state.population.objectives, strict=True)
        front = self.state.front
        best = front.objectives.min(axis=0).tolist() if front.genome_ids else []
        return State(
            self.results,
            tuple(member(slot, key, row) for slot, (key, row) in enumerate(held) if key is not None),
            tuple(
                member(None, key, row) for key, row in zip(front.genome_ids, front.objectives, strict=True)
            ),
            dict(zip(names, best, strict=bool(best))),
        )


class _Records:
    """What the database has of a search: up to result number ``last``, read in pages of ``PAGE``."""

    def __init__(self, database: Database, found: Experiment, last: int, progress: Progress) -> None:
        self.last = last
        self._database, self._experiment, self._progress = database, found, progress
        self._first_births = Recent(2 * PAGE)
        self._seeds: dict[int, Seed] = {}
        self._done, self._total = 0, found.born + last

    def births(self) -> Iterator[BornRow]:
        """The births in their order, up to those that result ``last`` was taken in before."""
        after, end = 0, self._experiment.born
        while after < end:
            with self._database.read() as connection:
                page = history.births(
                    connection, self._experiment.id, after=after, limit=min(PAGE, end - after)
                )
                phenotypes = list({row.phenotype for row in page})
                first = steps.first_births(connection, self._experiment.id, phenotypes)
                self._seeds = {}
                if page and page[0].birth <= self._experiment.seeds:
                    last = page[-1].birth
                    self._seeds = seeds.of_births(connection, self._experiment.id, page[0].birth, last)
            for phenotype, birth in first.items():
                self._first_births.put(phenotype, birth)
            for row in page:
                if row.born_after_ingest > self.last or row.birth > end:
                    return
                yield row
                self._advance()
            if not page:
                return
            after = page[-1].birth

    def results(self, stays: _Stays) -> Iterator[tuple[int, Ended]]:
        """The results in their order; ``stays`` hears of the memberships that began with each page."""
        after, objectives = 0, self._experiment.settings.objectives
        while after < self.last:
            with self._database.read() as connection:
                limit = min(PAGE, self.last - after)
                page = history.results(connection, self._experiment.id, objectives, after=after, limit=limit)
                if not page:
                    return
                end = min(page[-1][0], self.last)
                recorded = history.memberships(connection, self._experiment.id, first=after + 1, last=end)
            stays.expect(recorded)
            for number, one in page:
                if number > self.last:
                    return
                yield number, one
                self._advance()
            after = end

    def first_birth(self, phenotype: str) -> int | None:
        """The first birth with a phenotype, of all times; None where it is not remembered."""
        known: int | None = self._first_births.get(phenotype)
        return known

    def look_up(self, phenotypes: Sequence[str]) -> list[int]:
        """The first births with these phenotypes, of those that were born at all; they are remembered."""
        if not phenotypes:
            return []
        with self._database.read() as connection:
            found = steps.first_births(connection, self._experiment.id, phenotypes)
        return [self._first_births.put(phenotype, birth) for phenotype, birth in found.items()]

    def seed(self, birth: int) -> Seed | None:
        """The seed of a birth of the page that is read now."""
        return self._seeds.get(birth)

    def code(self, genome_id: int) -> Any:
        """The code of a genome."""
        with self._database.read() as connection:
            return steps.code_of(connection, genome_id)

    def _advance(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


class _Stays:
    """The recorded stays in population and front beside those that are derived, as results come in."""

    def __init__(self) -> None:
        self._expected: dict[tuple[Any, ...], MembershipRow] = {}
        self._open: dict[tuple[Any, ...], MembershipRow] = {}
        self._repeated: list[str] = []

    def expect(self, recorded: list[MembershipRow]) -> None:
        """Stays on record that are to be derived from the results that follow."""
        for row in recorded:
            key = (row.kind, row.slot, row.genome_id, row.entered_at)
            if key in self._expected:
                self._repeated.append(f"recorded twice: {_entry(row)}")
            self._expected[key] = row

    def compare(self, change: MembershipChange, last: int) -> Iterator[str]:
        """The differences between a derived change and the records; ``last`` is the last result looked at."""
        place = (change.kind, change.slot, change.genome_id)
        if isinstance(change, Entry):
            row = self._expected.pop((*place, change.at), None)
            if row is None:
                yield f"derived but not recorded: {change}"
            else:
                self._open[place] = row
            return
        row = self._open.pop(place, None)
        if row is None:
            yield f"derived but not recorded: {change}"
        elif (row.left_at, row.reason) != (change.at, change.reason):
            yield f"derived but not recorded: {change}"
            yield from _exits(row, last)

    def left_over(self, last: int) -> Iterator[str]:
        """The differences at the end: what is on record until result ``last`` and was not derived."""
        yield from self._repeated
        for row in self._expected.values():
            yield f"recorded but not derived: {_entry(row)}"
        for row in self._open.values():
            yield from _exits(row, last)


def _entry(row: MembershipRow) -> Entry:
    return Entry(row.kind, row.slot, row.genome_id, row.entered_at)


def _exits(row: MembershipRow, last: int) -> Iterator[str]:
    if row.left_at is not None and row.left_at <= last:
        exit_ = Exit(row.kind, row.slot, row.genome_id, row.left_at, row.reason or "")
        yield f"recorded but not derived: {exit_}"
