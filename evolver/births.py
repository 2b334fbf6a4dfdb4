"""The births of a step: derived before its transaction, written within it.

Recent          what was used or met last.
Breeder         breeds the children of one experiment.
BreedingFailed  its space cannot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from evolver import terms
from evolver.breeding import BREEDER_VERSION, Birth, breed, sow, uses_of
from evolver.errors import EvolverError, InvalidGenome
from evolver.search import SearchState
from evolver.selection.base import Population, Selector
from evolver.space import Json
from evolver.store import queue, schema, seeds, steps
from evolver.store.experiments import Experiment
from evolver.store.queue import NewEvaluation
from evolver.store.seeds import Seed
from evolver.store.steps import NewGenome


class BreedingFailed(EvolverError):
    """A space, which may be anybody's plug-in, raised an error of its own while a child was bred."""


class Recent:
    """What was used or met last, so that it need not be read from the database each time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable) -> Any | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> Any:
        self._values[key] = value
        if len(self._values) > self._limit:
            self._values.popitem(last=False)
        return value


class Breeder:
    """Breeds the children of one experiment. Everything it keeps can be loaded again at any time."""

    def __init__(self, experiment: Experiment, space: Any, selector: Selector) -> None:
        settings = experiment.settings
        self._experiment, self._settings = experiment, settings
        self._space, self._selector = space, selector
        self._sample = experiment.dataset.sample
        self._limits, self._practice = terms.limits(settings), terms.practice(settings)
        self._genomes = Recent(8 * settings.population)
        self._phenotypes = Recent(8 * settings.population)
        self._bred: tuple[int, dict[int, int]] = (-1, {})  # the last birth, and the uses of holders up to it

    def seeds(self, connection: Connection, numbers: range) -> Mapping[int, Seed]:
        """The seeds that are born with these numbers."""
        if not numbers or numbers[0] > self._experiment.seeds:
            return {}
        return seeds.of_births(connection, self._experiment.id, numbers[0], numbers[-1])

    def breed(
        self, connection: Connection, state: SearchState, numbers: range, sown: Mapping[int, Seed]
    ) -> list[Birth[Any]]:
        """The children with these numbers; ``sown`` has the seeds among them.

        Nearly all children are new: they are guessed as if all were that are not remembered, and then one
        look-up tells for which ones that was wrong.
        """
        phenotypes = _Phenotypes(connection, self._experiment.id, self._phenotypes)
        uses = self._uses(connection, state.population, numbers)
        births: list[Birth[Any]] = []
        while left := numbers[len(births) :]:
            guesses = self._guesses(connection, state, left, sown, phenotypes, uses)
            phenotypes.look_up([phenotype for guess in guesses for phenotype in guess.taken_for_new])
            for guess in guesses:
                child = guess.child
                if any(phenotypes.seen(phenotype) for phenotype in guess.taken_for_new):
                    child = self._child(connection, state, child.birth, sown, phenotypes.seen, uses)
                births.append(child)
                phenotypes.born(child.phenotype, child.birth)
                _count(uses, child)
                if uses and child.parents != guess.child.parents:
                    break  # those after it were guessed with other uses
        if births:
            self._bred = (births[-1].birth, uses)
        return births

    def _uses(self, connection: Connection, population: Population, numbers: range) -> dict[int, int]:
        """How many children each holder has among the births before these; empty where nobody asks.

        What was counted last is good if it ended where these births begin; a step may have been rolled back.
        """
        if self._practice.pairs == 1 or not numbers:
            return {}
        counted_to, uses = self._bred
        if counted_to != numbers[0] - 1:
            holders = {holder for holder in population.genome_ids if holder is not None}
            uses = steps.children_of(connection, sorted(holders))
        return uses_of(uses, population)

    def _guesses(
        self,
        connection: Connection,
        state: SearchState,
        numbers: range,
        sown: Mapping[int, Seed],
        phenotypes: _Phenotypes,
        uses: Mapping[int, int],
    ) -> list[_Guess]:
        guesses, trial = [], dict(uses)
        for birth in numbers:
            asked = _Asked(phenotypes.remembered)
            child = self._child(connection, state, birth, sown, asked.seen, trial)
            guesses.append(_Guess(child, asked.unknown))
            _count(trial, child)
        return guesses

    def _child(
        self,
        connection: Connection,
        state: SearchState,
        birth: int,
        sown: Mapping[int, Seed],
        seen: Callable[[str], int | None],
        uses: Mapping[int, int],
    ) -> Birth[Any]:
        def genome_of(genome_id: int) -> Any:
            return self._genomes.get(genome_id) or self._genomes.put(
                genome_id, self._decoded(f"genome {genome_id}", steps.code_of(connection, genome_id))
            )

        seed = sown.get(birth)
        with self._blaming_the_space(birth):
            if seed is not None:
                genome = self._decoded(f"seed {birth}", seed.code)
                slots = self._selector.slots
                return sow(self._space, self._sample, genome, birth=birth, slots=slots, seen=seen)
            return breed(
                self._space,
                self._sample,
                self._selector,
                state.population,
                state.selector_state,
                birth=birth,
                seed=self._settings.seed,
                genome_of=genome_of,
                seen=seen,
                limits=self._limits,
                practice=self._practice,
                uses=uses,
                credit=state.credit,
            )

    @contextmanager
    def _blaming_the_space(self, birth: int) -> Iterator[None]:
        """BreedingFailed for whatever is neither an error of ours nor of the database."""
        try:
            yield
        except (EvolverError, SQLAlchemyError):
            raise
        except Exception as error:
            raise BreedingFailed(
                f"the space '{self._settings.space}' fails at birth {birth}: {type(error).__name__}: {error}"
            ) from error

    def _decoded(self, what: str, code: Json) -> Any:
        try:
            return self._space.from_json(code)
        except InvalidGenome as error:
            raise InvalidGenome(f"{what} has a code that is not valid: {error}") from error

    # --- write ---

    def write(
        self, connection: Connection, births: Sequence[Birth[Any]], sown: Mapping[int, Seed], ingested: int
    ) -> None:
        """Insert genomes and their evaluations; a duplicate's twin may be born in this very step.

        ``ingested`` is the number of results that the population had taken in.
        """
        if not births:
            return
        found = self._experiment
        genome_ids = steps.reserve_ids(connection, schema.genome, len(births))
        evaluation_ids = steps.reserve_ids(connection, schema.evaluation, len(births))
        genome_of = {child.birth: key for child, key in zip(births, genome_ids, strict=True)}
        search_of = dict(zip(genome_ids, evaluation_ids, strict=True))
        for twin in {child.duplicate_of for child in births} - genome_of.keys() - {None}:
            genome_of[twin or 0] = steps.genome_of_birth(connection, found.id, twin or 0)
        twins = [genome_of[child.duplicate_of] if child.duplicate_of else None for child in births]
        search_of |= queue.search_evaluations(
            connection, [key for key in twins if key and key not in search_of]
        )
        rows = [
            self._row(child, key, twin, ingested)
            for child, key, twin in zip(births, genome_ids, twins, strict=True)
        ]
        steps.insert_genomes(connection, found.id, rows)
        queue.enqueue(
            connection,
            [
                NewEvaluation(
                    found.id,
                    row.id,
                    "search",
                    found.dataset.id,
                    found.recipe_id,
                    id=search_of[row.id],
                    waits_for=row.duplicate_of and search_of[row.duplicate_of],
                )
                for row in rows
            ],
        )
        taken = {
            search_of[genome_of[birth]]: seed.result
            for birth, seed in sown.items()
            if seed.result is not None
        }
        queue.take_over(connection, taken)
        for child, key in zip(births, genome_ids, strict=True):
            self._genomes.put(key, child.genome)

    def _row(self, child: Birth[Any], genome_id: int, twin_id: int | None, ingested: int) -> NewGenome:
        return NewGenome(
            id=genome_id,
            birth=child.birth,
            code=self._space.to_json(child.genome),
            phenotype=child.phenotype,
            duplicate_of=twin_id,
            operator=child.operator,
            rng_seed=(self._settings.seed, child.birth),
            tries=child.tries,
            slot=child.slot,
            born_after_ingest=ingested,
            breeder_version=BREEDER_VERSION,
            params=child.cost.params,
            flops=child.cost.flops,
            parents=child.parents,
        )


@dataclass(frozen=True, slots=True)
class _Guess:
    """A child as it is if the phenotypes that were ``taken_for_new`` are new."""

    child: Birth[Any]
    taken_for_new: Sequence[str]


class _Asked:
    """Notes which phenotypes are not remembered."""

    def __init__(self, remembered: Callable[[str], int | None]) -> None:
        self._remembered = remembered
        self.unknown: list[str] = []

    def seen(self, phenotype: str) -> int | None:
        birth = self._remembered(phenotype)
        if birth is None:
            self.unknown.append(phenotype)
        return birth


def _count(uses: dict[int, int], child: Birth[Any]) -> None:
    """Count a child of those whose uses are counted."""
    for parent in child.parents:
        if parent in uses:
            uses[parent] += 1


class _Phenotypes:
    """Which phenotypes were born before, in earlier steps or in this one.

    ``recent`` outlives the step: what was once born stays so. What this step adds is not in it, since the
    step may yet be rolled back.
    """

    def __init__(self, connection: Connection, experiment_id: int, recent: Recent) -> None:
        self._connection = connection
        self._experiment_id = experiment_id
        self._recent = recent
        self._births: dict[str, int | None] = {}

    def remembered(self, phenotype: str) -> int | None:
        """As ``seen``, without asking the database: None may be wrong."""
        return self._births.get(phenotype) or self._recent.get(phenotype)

    def seen(self, phenotype: str) -> int | None:
        """The number of the first birth with this phenotype, or None."""
        if phenotype not in self._births:
            self.look_up([phenotype])
        return self._births[phenotype]

    def look_up(self, phenotypes: Iterable[str]) -> None:
        """Ask for all of them at once, for ``seen``."""
        unknown = []
        for phenotype in set(phenotypes) - self._births.keys():
            self._births[phenotype] = self.remembered(phenotype)
            if self._births[phenotype] is None:
                unknown.append(phenotype)
        for phenotype, birth in steps.first_births(self._connection, self._experiment_id, unknown).items():
            self._births[phenotype] = self._recent.put(phenotype, birth)

    def born(self, phenotype: str, birth: int) -> None:
        """One more birth, in this step."""
        if self.seen(phenotype) is None:
            self._births[phenotype] = birth
