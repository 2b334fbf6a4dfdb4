"""The scheduler's step of one experiment: ingest, select, breed.

``Search`` leads one experiment. Its step reads what ended, computes selection and births outside of any
lock, and writes them in one short transaction that begins with the guard of its leadership.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection

from evolver import constraints, failpoints, objectives, registry, selection
from evolver.breeding import BREEDER_VERSION, Birth, Limits, breed, sow
from evolver.errors import InvalidGenome, LeadershipLost, VersionDiffers
from evolver.search import MembershipChange, SearchState, ingest
from evolver.selection.archive import Front
from evolver.selection.base import Objectives, Population
from evolver.space import Json
from evolver.store import experiments, leadership, queue, schema, seeds, steps
from evolver.store.db import Database
from evolver.store.experiments import Experiment, Settings
from evolver.store.leadership import Leadership
from evolver.store.queue import NewEvaluation
from evolver.store.seeds import Seed
from evolver.store.steps import Ended, NewGenome

log = logging.getLogger("evolver.scheduler")

LEASE_S = 15.0
"""How long a scheduler leads without a step; another one takes over after that."""
MAX_INGEST = 256
"""Results in one step, at most: it keeps the transaction short."""
MAX_BIRTHS = 64
"""Births in one step, at most."""
DEPTH_PER_SLOT = 2
MIN_DEPTH = 2
"""How many pending evaluations are kept ready: for each slot that is alive, and at least. Where results
come faster than steps, twice as many as ended since the last one."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step, computed and not yet written. ``ended[i]`` gets the ingest number of ``first_no`` + i."""

    state: SearchState
    first_no: int
    ended: Sequence[Ended]
    changes: Sequence[MembershipChange]
    births: Sequence[Birth[Any]]
    seeds: Mapping[int, Seed]
    finished: str | None

    @property
    def is_empty(self) -> bool:
        return not (self.ended or self.births or self.finished)

    @property
    def front_changed_at(self) -> int | None:
        return max((change.at for change in self.changes if change.kind == "front"), default=None)


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
        return self._recent.get(phenotype)

    def seen(self, phenotype: str) -> int | None:
        """The number of the first birth with this phenotype, or None."""
        if phenotype not in self._births:
            self.look_up([phenotype])
        return self._births[phenotype]

    def look_up(self, phenotypes: Sequence[str]) -> None:
        """Ask for all of them at once, for ``seen``."""
        unknown = []
        for phenotype in phenotypes:
            self._births[phenotype] = self.remembered(phenotype)
            if self._births[phenotype] is None:
                unknown.append(phenotype)
        for phenotype, birth in steps.first_births(self._connection, self._experiment_id, unknown).items():
            self._births[phenotype] = self._recent.put(phenotype, birth)

    def born(self, phenotype: str, birth: int) -> None:
        """One more birth, in this step."""
        if self.seen(phenotype) is None:
            self._births[phenotype] = birth


class Search:
    """One experiment, led by this process. Everything it keeps can be loaded again at any time."""

    def __init__(
        self,
        connection: Connection,
        experiment: Experiment,
        led: Leadership,
        *,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = experiment.settings
        self.experiment = experiment
        self.leadership = led
        self.lease_s = lease_s
        self._clock = clock
        self._led_until = self._stepped_at = clock()
        self.space = load_space(experiment)
        self._sample = experiment.dataset.sample
        self.objectives = [one.name for one in objectives.load(settings.objectives)]
        self.selector = selection.load(settings.selector, settings.population, len(self.objectives))
        self.limits = limits(settings)
        self.state = self._load(connection)
        self._genomes = Recent(8 * settings.population)
        self._phenotypes = Recent(8 * settings.population)

    def _load(self, connection: Connection) -> SearchState:
        found = self.experiment
        population = Population.empty(self.selector.slots, len(self.objectives))
        holders = steps.members(connection, found.id, "population", self.objectives)
        for holder in holders:
            assert holder.slot is not None
            population = population.with_slot(
                holder.slot,
                holder.genome_id,
                _vector(holder.objectives),
                violation(found.settings, holder.objectives),
            )
        front = Front.empty(len(self.objectives))
        in_front = steps.members(connection, found.id, "front", self.objectives)
        if in_front:
            front = Front(tuple(m.genome_id for m in in_front), _vector([m.objectives for m in in_front]))
        return SearchState(population, front, found.selector_state, found.ingested)

    def step(self, database: Database) -> bool:
        """Ingest, select, breed; returns whether there was anything to do.

        Raises LeadershipLost when another scheduler leads now; this one is of no use then.
        """
        with database.read() as connection:
            current = experiments.by_id(connection, self.experiment.id)
            if current is None:
                raise LeadershipLost(self.experiment.id)
            if current.ingested != self.state.ingested:
                raise LeadershipLost(self.experiment.id)
            self.experiment = current
            plan = self._plan(connection)
        if plan.is_empty and self._clock() < self._led_until - self.lease_s / 2:
            return False
        failpoints.reach("scheduler.before_step")
        begun = self._clock()
        with database.write() as connection:
            advanced = leadership.advance(connection, self.leadership, self.lease_s)
            self._write(connection, plan, active_s=min(begun - self._stepped_at, self.lease_s))
            failpoints.reach("scheduler.before_commit")
        failpoints.reach("scheduler.after_commit")
        self.leadership, self.state = advanced, plan.state
        self._led_until, self._stepped_at = begun + self.lease_s, begun
        return not plan.is_empty

    # --- compute ---

    def _plan(self, connection: Connection) -> _Plan:
        ended = steps.newly_ended(connection, self.experiment.id, self.objectives, MAX_INGEST)
        state, changes = self.state, list[MembershipChange]()
        for one in ended:
            state, changed = ingest(
                self.selector,
                state,
                genome_id=one.genome_id,
                slot=one.slot,
                objectives=one.objectives,
                front_limit=self.experiment.settings.front_limit,
                violation=violation(self.experiment.settings, one.objectives),
            )
            changes += changed
        plan = _Plan(state, self.state.ingested + 1, ended, changes, (), {}, None)
        if self.experiment.state != "running":
            return plan
        depth = queue.depth(connection, self.experiment.id)
        is_idle = depth.pending + depth.running == 0 and len(ended) < MAX_INGEST
        finished = self._finished(plan, is_idle=is_idle)
        if finished:
            return replace(plan, finished=finished)
        numbers = self._numbers(connection, plan, depth.pending - depth.waiting)
        sown = self._seeds(connection, numbers)
        return replace(plan, births=self._births(connection, state, numbers, sown), seeds=sown)

    def _finished(self, plan: _Plan, *, is_idle: bool) -> str | None:
        """Why the search ends with this step, if it does."""
        settings = self.experiment.settings
        if self.experiment.born >= settings.budget and is_idle:
            return "budget"
        if settings.max_hours is not None and self.experiment.active_s >= settings.max_hours * 3600:
            return "max-hours"
        front_changed_at = plan.front_changed_at or self.experiment.front_changed_at
        if settings.patience is not None and plan.state.ingested - front_changed_at >= settings.patience:
            return "patience"
        return None

    def _numbers(self, connection: Connection, plan: _Plan, claimable: int) -> range:
        """The numbers of as many children as the queue needs to last until the next step."""
        depth = max(MIN_DEPTH, DEPTH_PER_SLOT * steps.live_slots(connection), 2 * len(plan.ended))
        budget = self.experiment.settings.budget - self.experiment.born
        number = max(0, min(depth - claimable, MAX_BIRTHS, budget))
        return range(self.experiment.born + 1, self.experiment.born + number + 1)

    def _seeds(self, connection: Connection, numbers: range) -> Mapping[int, Seed]:
        """The seeds that are born with these numbers."""
        if not numbers or numbers[0] > self.experiment.seeds:
            return {}
        return seeds.of_births(connection, self.experiment.id, numbers[0], numbers[-1])

    def _births(
        self, connection: Connection, state: SearchState, numbers: range, sown: Mapping[int, Seed]
    ) -> list[Birth[Any]]:
        # Nearly all children are new: they are derived as if all were that are not remembered, and then one
        # look-up tells for which ones that was wrong.
        phenotypes = _Phenotypes(connection, self.experiment.id, self._phenotypes)
        births = [
            self._child(connection, state, birth, sown.get(birth), phenotypes.remembered) for birth in numbers
        ]
        phenotypes.look_up([child.phenotype for child in births])
        for i, child in enumerate(births):
            if child.duplicate_of is None and phenotypes.seen(child.phenotype):
                sown_now = sown.get(child.birth)
                births[i] = self._child(connection, state, child.birth, sown_now, phenotypes.seen)
            phenotypes.born(births[i].phenotype, child.birth)
        return births

    def _child(
        self,
        connection: Connection,
        state: SearchState,
        birth: int,
        seed: Seed | None,
        seen: Callable[[str], int | None],
    ) -> Birth[Any]:
        if seed is not None:
            genome = self._decoded(f"seed {birth}", seed.code)
            slots = self.selector.slots
            return sow(self.space, self._sample, genome, birth=birth, slots=slots, seen=seen)

        def genome_of(genome_id: int) -> Any:
            return self._genomes.get(genome_id) or self._genomes.put(
                genome_id, self._decoded(f"genome {genome_id}", steps.code_of(connection, genome_id))
            )

        return breed(
            self.space,
            self._sample,
            self.selector,
            state.population,
            state.selector_state,
            birth=birth,
            seed=self.experiment.settings.seed,
            genome_of=genome_of,
            seen=seen,
            limits=self.limits,
        )

    def _decoded(self, what: str, code: Json) -> Any:
        try:
            return self.space.from_json(code)
        except InvalidGenome as error:
            raise InvalidGenome(f"{what} has a code that is not valid: {error}") from error

    # --- write ---

    def _write(self, connection: Connection, plan: _Plan, *, active_s: float) -> None:
        found = self.experiment
        steps.number_ended(
            connection, {one.evaluation_id: plan.first_no + i for i, one in enumerate(plan.ended)}
        )
        failpoints.reach("scheduler.mid_step")
        steps.change_memberships(connection, found.id, plan.changes)
        steps.update_progress(
            connection,
            found.id,
            born=len(plan.births),
            ingested=len(plan.ended),
            failed=sum(one.objectives is None for one in plan.ended),
            front_changed_at=plan.front_changed_at,
            selector_state=plan.state.selector_state,
            active_s=active_s if found.state == "running" else 0.0,
        )
        self._write_births(connection, plan)
        queue.inherit(connection, found.id)
        if plan.finished and not self._finish(connection, plan.finished):
            log.info("%s: not finished, it was changed meanwhile", found.settings.name)

    def _finish(self, connection: Connection, reason: str) -> bool:
        """running → finished, unless something was changed since the step was computed.

        A failure may have been retried: its evaluation is seen here, since the row of the experiment is
        locked by now, and 'evolver retry' writes that row.
        """
        open_now = queue.depth(connection, self.experiment.id)
        if reason == "budget" and open_now.pending + open_now.running:
            return False
        return experiments.finish(connection, self.experiment, reason)

    def _write_births(self, connection: Connection, plan: _Plan) -> None:
        """Insert genomes and their evaluations; a duplicate's twin may be born in this very step."""
        births = plan.births
        if not births:
            return
        found = self.experiment
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
            self._row(child, key, twin, plan.state.ingested)
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
            for birth, seed in plan.seeds.items()
            if seed.result is not None
        }
        queue.take_over(connection, taken)
        for child, key in zip(births, genome_ids, strict=True):
            self._genomes.put(key, child.genome)

    def _row(self, child: Birth[Any], genome_id: int, twin_id: int | None, ingested: int) -> NewGenome:
        return NewGenome(
            id=genome_id,
            birth=child.birth,
            code=self.space.to_json(child.genome),
            phenotype=child.phenotype,
            duplicate_of=twin_id,
            operator=child.operator,
            rng_seed=(self.experiment.settings.seed, child.birth),
            tries=child.tries,
            slot=child.slot,
            born_after_ingest=ingested,
            breeder_version=BREEDER_VERSION,
            params=child.cost.params,
            flops=child.cost.flops,
            parents=child.parents,
        )


def _vector(values: Any) -> Objectives:
    return np.asarray(values, dtype=np.float64)


def load_space(experiment: Experiment) -> Any:
    """The space of an experiment. Raises VersionDiffers when the plug-in here is of another version."""
    settings = experiment.settings
    space = registry.load_space(settings.space, settings.space_settings)
    if space.version != settings.space_version:
        raise VersionDiffers(
            f"experiment '{settings.name}' was made with version {settings.space_version} of the space "
            f"'{settings.space}', here is version {space.version}; use the evolver that made it"
        )
    return space


def limits(settings: Settings) -> Limits:
    """What a genome of an experiment with these settings may cost."""
    return Limits(
        settings.max_params,
        settings.max_memory_bytes,
        int(settings.recipe.get("batch_size", 1)),
        constraints.of_costs(settings.constraints),
    )


def violation(settings: Settings, objectives: Sequence[float] | None) -> float:
    """By how much a result breaks the constraints that only a training tells; 0.0 for a failure."""
    if objectives is None or not settings.constraints:
        return 0.0
    values = dict(zip(settings.objectives, objectives, strict=True))
    return constraints.violation(constraints.of_results(settings.constraints), values)
