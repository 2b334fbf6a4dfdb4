"""What is asked for as transfers, what workers are given of them, and what came of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evolver import recipe, retraining, transfer
from evolver.errors import IllegalTransition, InvalidInput, UnknownName
from evolver.evaluation import Origin, SavedCheckpoint, Weights
from evolver.recipe import Recipe
from evolver.retraining import Asked
from evolver.store import claims, details, experiments, facts, leases, queue, trainings
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.transfer import Start
from tests import factories
from tests.factories import do

MNIST = transfer.target("mnist", Path())
FAST = recipe.load("fast")


def searched(database: Database, **values: Any) -> Experiment:
    """A search by training, with made-up results, that has ended."""
    return factories.finished(database, **{"evaluator": "train", **values})


def ask(
    database: Database,
    found: Experiment,
    *,
    top: int | None = None,
    start: Start = "scratch",
    number: int = 1,
    full: Recipe = FAST,
) -> Asked:
    with database.write() as connection:
        chosen = transfer.choose(connection, found, top, start)
        return transfer.enqueue(connection, found, MNIST, chosen, full, number)


def retrained(database: Database, found: Experiment, key: str = "{}/t/weights.safetensors") -> dict[int, int]:
    """The final trainings of the front, with weights on record: evaluations by genome."""
    with database.write() as connection:
        retraining.enqueue(connection, found, (), FAST)
    made: dict[int, int] = {}
    for claim in claims_of(database):
        assert claim.task.purpose == "retrain"
        saved = SavedCheckpoint("weights", 5, key.format(claim.task.evaluation_id), "0" * 64, 9)
        do(database, leases.record_checkpoint, claim.lease, saved)
        factories.complete(database, claim, {"test_error": 0.1})
        made[claim.task.genome_id] = claim.task.evaluation_id
    return made


def claims_of(database: Database) -> list[Claim]:
    """All that can be claimed, claimed."""
    worker_id, found = factories.registered_worker(database), list[Claim]()
    while (claim := factories.claimed(database, worker_id)) is not None:
        found.append(claim)
    return found


def test_the_front_is_asked_for_once(database: Database) -> None:
    found = searched(database)
    asked = ask(database, found)
    with database.read() as connection:
        members = {one.genome_id for one in facts.front_members(connection, found)}
        rows = trainings.by_id(connection, asked.evaluation_ids)
    assert {row.genome_id for row in rows} == members
    assert asked.enqueued == len(members)
    assert ask(database, found) == replace(asked, enqueued=0)
    assert ask(database, found, full=recipe.load("fast", {"epochs": 7})).enqueued == len(members)


def test_what_failed_is_asked_for_again_and_nothing_else(database: Database) -> None:
    found = searched(database)
    asked = ask(database, found, top=3)
    first, *others = claims_of(database)
    factories.fail(database, first)
    for claim in others:
        factories.complete(database, claim, {"test_error": 0.2})
    again = ask(database, found, top=3)
    assert again.enqueued == 1
    assert len(set(again.evaluation_ids) - set(asked.evaluation_ids)) == 1
    assert first.task.evaluation_id not in again.evaluation_ids
    (claim,) = claims_of(database)
    assert claim.task.genome_id == first.task.genome_id
    assert claim.task.seed != first.task.seed


def test_several_trainings_of_a_genome_have_different_seeds(database: Database) -> None:
    found = searched(database)
    one = ask(database, found, top=2)
    three = ask(database, found, top=2, number=3)
    assert (len(three.evaluation_ids), three.enqueued) == (6, 4)
    assert set(one.evaluation_ids) < set(three.evaluation_ids)
    seeds = [claim.task.seed for claim in claims_of(database)]
    assert len(set(seeds)) == 6
    assert ask(database, found, top=2).evaluation_ids == one.evaluation_ids


def test_the_best_are_of_least_error_and_no_network_comes_twice(database: Database) -> None:
    found = searched(database, budget=20, space_settings=factories.FEW_PHENOTYPES)
    with database.read() as connection:
        everything = facts.genomes(connection, found, states=["done"])
        chosen = transfer.choose(connection, found, 1000, "scratch").genomes
        best = transfer.choose(connection, found, 1, "scratch").genomes
    assert any(one.duplicate_of for one in everything)
    assert len({one.phenotype for one in chosen}) == len(chosen) < len(everything)
    errors = [one.values["error"] for one in chosen]
    assert errors == sorted(errors)
    assert best[0].values["error"] == min(one.objectives["error"] for one in everything)


def test_a_worker_is_told_where_the_genome_comes_from(database: Database) -> None:
    found = searched(database, limit_train=200, timeout=5.0)
    ask(database, found, top=1)
    (claim,) = claims_of(database)
    task = claim.task
    assert task.purpose == "transfer"
    assert task.dataset.name == "mnist"
    assert task.origin == Origin(found.dataset.sample, None)
    assert (task.limit_train, task.timeout_s) == (None, None)


def test_weights_are_those_of_the_last_final_training(database: Database) -> None:
    found = searched(database)
    with pytest.raises(InvalidInput, match=r"no weights to begin with; make them: evolver retrain search$"):
        ask(database, found, start="weights")
    with pytest.raises(InvalidInput, match=r"make them: evolver retrain search --genome \d+"):
        ask(database, found, start="weights", top=1)
    sources = retrained(database, found)
    scratch, weights = ask(database, found), ask(database, found, start="weights")
    assert weights.enqueued == len(sources)
    assert not set(scratch.evaluation_ids) & set(weights.evaluation_ids)
    assert ask(database, found, start="weights") == replace(weights, enqueued=0)
    assert ask(database, found) == replace(scratch, enqueued=0)
    for claim in claims_of(database):
        source = sources[claim.task.genome_id]
        begun = Weights(source, f"{source}/t/weights.safetensors", "0" * 64)
        is_scratch = claim.task.evaluation_id in scratch.evaluation_ids
        assert claim.task.origin == Origin(found.dataset.sample, None if is_scratch else begun)


def test_a_search_that_runs_goes_first_and_is_not_touched(database: Database) -> None:
    factories.finished(database, evaluator="train", budget=8)
    with database.write() as connection:  # the target is on record before the source of the next search
        experiments.ensure_dataset(connection, MNIST)
    found = factories.current(database)
    before = (found.ingested, found.failed, found.born)
    with database.write() as connection:
        experiments.extend(connection, found, 12)
    ask(database, found, top=2)
    factories.enqueued(database, purpose="search", number=2, first=5)
    purposes = [claim.task.purpose for claim in claims_of(database)]
    assert purposes == ["search", "search", "transfer", "transfer"]
    with database.read() as connection:
        assert queue.depth(connection, found.id).running == 2
        assert [one.purpose for one in details.genome_detail(connection, 1).evaluations].count("search") == 3
    found = factories.current(database)
    assert (found.ingested, found.failed, found.born) == before


def test_the_search_goes_first_where_its_data_came_later(database: Database) -> None:
    with database.write() as connection:
        target_id = experiments.ensure_dataset(connection, MNIST)
    found = factories.finished(database, evaluator="train", budget=8)
    assert target_id < found.dataset.id
    with database.write() as connection:
        experiments.extend(connection, found, 12)
    ask(database, found, top=1)
    with database.read() as connection:
        offered = [offer.dataset.name for offer in claims.offers(connection)]
    assert offered == ["digits", "mnist"]


def test_outcomes_are_means_and_are_correlated(database: Database) -> None:
    found = searched(database)
    with database.read() as connection:
        chosen = transfer.choose(connection, found, 4, "scratch")
    asked = ask(database, found, top=4, number=2)
    order = [one.genome_id for one in chosen.genomes]
    for claim in claims_of(database):
        rank = order.index(claim.task.genome_id)
        if rank == 3:
            factories.fail(database, claim, "oom")
            continue
        jitter = 0.001 * asked.evaluation_ids.index(claim.task.evaluation_id)
        factories.complete(
            database,
            claim,
            {"test_error": 0.1 * (rank + 1) + jitter, "test_loss": 1.0, "params": 50.0, "flops": 9.0},
        )
    with database.read() as connection:
        rows = trainings.by_id(connection, asked.evaluation_ids)
    first, *_, last = outcomes = transfer.outcomes(chosen, rows)
    assert [one.genome_id for one in outcomes] == order
    assert first.error == pytest.approx(0.1 + 0.0005)
    assert (first.loss, first.params, first.flops) == (1.0, 50.0, 9.0)
    assert (last.error, [row.failure_kind for row in last.trainings]) == (None, ["oom", "oom"])
    correlation, why_none = transfer.correlate(outcomes)
    assert correlation is not None
    assert (correlation.tau, correlation.pairs, why_none) == (1.0, 3, None)
    nothing, why_none = transfer.correlate(outcomes[1:])
    assert nothing is None
    assert why_none == "fewer than three genomes have a result (2 of 3)"


def test_what_cannot_be_transferred_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean mnist"):
        transfer.target("mnits", tmp_path)
    with pytest.raises(InvalidInput, match="'none' has no data to train and to test"):
        transfer.target("none", tmp_path)
    found = factories.created(database, evaluator="train")
    for top, message in ((None, "an empty front"), (3, "no genome with a result yet")):
        with pytest.raises(InvalidInput, match=f"'search' has {message}: there is nothing to transfer"):
            ask(database, found, top=top)
    synthetic = factories.created(database, "synthetic")
    with pytest.raises(InvalidInput, match="the evaluator 'surrogate' of 'synthetic' trains no networks"):
        transfer.require_possible(synthetic, MNIST, FAST)
    with pytest.raises(InvalidInput, match=r"searched on digits itself.*: evolver retrain search"):
        transfer.require_possible(found, replace(MNIST, name="digits"), FAST)
    series = replace(MNIST, sample=replace(MNIST.sample, spatial=(50,)))
    with pytest.raises(InvalidInput, match="found on images of 8×8, and these data are series of length 50"):
        transfer.require_possible(found, series, FAST)
    with pytest.raises(InvalidInput, match="'mnist' has 20 samples to train on, fewer than a batch of 64"):
        transfer.require_possible(found, replace(MNIST, train=16, validation=4), FAST)
    do(database, experiments.begin_removal, found)
    with pytest.raises(IllegalTransition, match="is being deleted"):
        transfer.require_possible(factories.current(database), MNIST, FAST)
