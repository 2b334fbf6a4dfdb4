"""Searches that begin with given genomes: from files, by name, from another search, with its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from evolver import registry, seeding
from evolver.errors import InvalidInput, UnknownName
from evolver.genome.bounds import PRESETS
from evolver.genome.space import ConvSpace
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.seeding import Warmup, gather
from evolver.store import details, experiments, facts, seeds
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from tests import factories
from tests.factories import do

SPACE = ConvSpace(PRESETS["tiny"])


def codes(number: int, seed: int = 1) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [SPACE.to_json(SPACE.random(rng)) for _ in range(number)]


def file_of(tmp_path: Path, data: Any, name: str = "begin.json") -> str:
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def gathered(source: str, database: Database | None = None, **values: Any) -> Warmup:
    """What a new search would begin with, by ``--seed-genomes`` or, with a database, ``--seed-from``."""
    if database is None:
        settings, data = factories.built("new", seed_genomes=source, **values)
        return gather(settings, data, source, None)
    settings, data = factories.built("new", seed_from=source, **values)
    with database.read() as connection:
        return gather(settings, data, None, connection)


def births(database: Database, name: str = "search") -> list[Any]:
    found = factories.current(database, name)
    with database.read() as connection:
        query = text(f"SELECT * FROM genome WHERE experiment_id = {found.id} ORDER BY birth")
        return list(connection.execute(query).all())


def scalar(database: Database, statement: str) -> Any:
    with database.read() as connection:
        return connection.execute(text(statement)).scalar()


def begun_with(database: Database, path: str, **values: Any) -> Experiment:
    return factories.created(database, seed_genomes=path, **values)


# --- what can be given -------------------------------------------------------------------------------


def test_a_list_of_codes(tmp_path: Path) -> None:
    given = codes(3)
    warmup = gathered(file_of(tmp_path, given))
    assert [one.code for one in warmup.seeds] == given
    assert [one.origin for one in warmup.seeds] == [f"begin.json, entry {number}" for number in (1, 2, 3)]
    assert (warmup.notes, warmup.known_results) == ((), 0)


def test_what_front_and_show_print(tmp_path: Path) -> None:
    first, second = codes(2)
    rows = [{"genome_id": 7, "objectives": {"error": 0.1}, "code": first}, {"code": second}]
    assert [one.code for one in gathered(file_of(tmp_path, rows)).seeds] == [first, second]
    assert [one.code for one in gathered(file_of(tmp_path, rows[0])).seeds] == [first]


def test_networks_by_name() -> None:
    known = SPACE.known_genomes()
    assert [one.origin for one in gathered("known").seeds] == list(known)
    assert [one.code for one in gathered("vgg, lenet").seeds] == [
        SPACE.to_json(known["vgg"]), SPACE.to_json(known["lenet"])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is no list of genomes"),
        ('{"blocks": []}', "is no list of genomes"),
        ("[17]", "begin.json, entry 1: the code is not an object"),
        (
            '[{"code": {"blocks": []}}]',
            "begin.json, entry 1: the code is not an object with exactly the keys",
        ),
        ("\xff", "is not valid JSON"),
    ],
)
def test_files_that_hold_no_genomes(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "begin.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidInput, match=message):
        gathered(str(path))


def test_what_does_not_fit_is_refused_with_its_entry(tmp_path: Path) -> None:
    first, second = codes(2)
    too_wide = json.loads(json.dumps(second))
    too_wide["blocks"][0][0]["channels"] = 500
    with pytest.raises(
        InvalidInput, match=r"entry 2: blocks\[0\]\[0\].channels is 500, where an integer from 4"
    ):
        gathered(file_of(tmp_path, [first, too_wide]))
    with pytest.raises(InvalidInput, match=r"entry 3: the same network as begin\.json, entry 1"):
        gathered(file_of(tmp_path, [first, second, first]))
    with pytest.raises(InvalidInput, match=r"entry 1: with \d+ parameters, .* is beyond max_params 100 "):
        gathered(file_of(tmp_path, [first]), max_params=100)
    with pytest.raises(InvalidInput, match=r"entry 1: with .* is beyond .* and params<=100$"):
        gathered(file_of(tmp_path, [first]), constraints=["params<=100"])
    with pytest.raises(InvalidInput, match="13 genomes to begin with are more than the budget of 12"):
        gathered(file_of(tmp_path, codes(13)))
    with pytest.raises(InvalidInput, match=r"cannot read the genomes in .*none\.json: No such file"):
        gathered(str(tmp_path / "none.json"))


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "FILE_BYTES", 1024**2)
    with pytest.raises(InvalidInput, match="is larger than 1 MiB"):
        gathered(file_of(tmp_path, " " * (1024**2 + 1)))


def test_of_all_known_networks_those_that_do_not_fit_are_left_out() -> None:
    vgg, lenet = (
        SPACE.cost(SPACE.known_genomes()[name], factories.built()[1].sample) for name in ("vgg", "lenet")
    )
    limit = min(vgg.params, lenet.params)
    warmup = gathered("known", max_params=limit)
    assert 0 < len(warmup.seeds) < 3
    assert len(warmup.notes) == 3 - len(warmup.seeds)
    assert warmup.notes[0].startswith("left out: ")
    with pytest.raises(UnknownName, match="unknown network 'lenett'; did you mean lenet"):
        gathered("lenett")


def test_a_space_that_knows_no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unknowing(ConvSpace):
        known_genomes = None  # type: ignore[assignment]

    monkeypatch.setattr(registry, "load_space", lambda name, settings: Unknowing(PRESETS["tiny"]))
    with pytest.raises(InvalidInput, match="the space 'conv' knows no networks by name"):
        gathered("known")


# --- births ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 4, 9])
def test_given_genomes_are_born_first_in_order(database: Database, tmp_path: Path, number: int) -> None:
    """Also where they are more than the population has slots."""
    given = codes(number)
    found = begun_with(database, file_of(tmp_path, given), budget=20, population=4)
    assert (found.seeds, found.settings.seed_genomes, found.settings.seed_from) == (
        number,
        "begin.json",
        None,
    )
    factories.run_to_the_end(database)

    rows = births(database)
    with database.read() as connection:
        stored = [details.genome_detail(connection, row.id) for row in rows]
    assert [one.code for one in stored[:number]] == given
    assert [one.operator == "seed" for one in stored] == [one.birth <= number for one in stored]
    assert stored[0].origin == "begin.json, entry 1"
    assert stored[-1].origin is None
    assert factories.current(database).ingested == 20
    report = replay(database, "search")
    assert report.is_clean, report.differences


def test_given_genomes_are_stored_with_the_experiment_or_not_at_all(database: Database) -> None:
    settings, data = factories.built(seed_genomes="lenet,vgg")
    first = gather(settings, data, "lenet,vgg", None).seeds

    def killed_before_the_commit() -> None:
        with database.write() as connection:
            experiments.create(connection, settings, data, {}, first)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed_before_the_commit()
    assert scalar(database, "SELECT count(*) FROM seed_genome") == 0
    assert scalar(database, "SELECT count(*) FROM experiment") == 0


def test_a_scheduler_that_takes_over_goes_on_with_the_next_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = codes(7)
    begun_with(database, file_of(tmp_path, given), budget=16, population=4)
    worker_id = factories.registered_worker(database)
    for point in ("scheduler.mid_step", "scheduler.after_commit", "scheduler.before_commit"):
        scheduler = Scheduler(database, ["search"])
        scheduler.step()
        factories.complete(database, factories.must_claim(database, worker_id))
        monkeypatch.setenv("EVOLVER_FAILPOINTS", f"{point}=raise")
        with pytest.raises(RuntimeError, match="failpoint"):
            scheduler.step()
        monkeypatch.delenv("EVOLVER_FAILPOINTS")
        scheduler.close()
    assert 0 < factories.current(database).born < 7
    factories.run_to_the_end(database, worker_id=worker_id)
    assert [row.operator for row in births(database)].count("seed") == 7
    assert replay(database, "search").is_clean


def test_a_child_like_a_given_genome_is_a_duplicate_of_it(database: Database, tmp_path: Path) -> None:
    few = ConvSpace.from_settings({**PRESETS["tiny"].to_json(), **factories.FEW_PHENOTYPES})
    rng = np.random.default_rng(1)
    given = [few.to_json(few.random(rng))]
    begun_with(
        database, file_of(tmp_path, given), budget=30, population=4, space_settings=factories.FEW_PHENOTYPES
    )
    factories.run_to_the_end(database)
    rows = births(database)
    assert any(row.duplicate_of == rows[0].id for row in rows)
    assert replay(database, "search").is_clean


# --- from another search -----------------------------------------------------------------------------


@pytest.fixture
def source(database: Database) -> Experiment:
    """A finished search with a front, a population and some failures."""

    def end(database: Database, claim: Claim) -> None:
        if claim.task.genome_id % 5 == 0:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    return factories.finished(database, "source", budget=20, population=6, end=end)


def front_ids(database: Database, name: str) -> set[int]:
    with database.read() as connection:
        members = facts.front_members(connection, experiments.get(connection, name))
        return {one.genome_id for one in members}


def test_the_front_comes_with_its_results(database: Database, source: Experiment) -> None:
    warmup = gathered("source", database)
    expected = front_ids(database, "source")
    assert {one.origin for one in warmup.seeds} == {f"genome {key} of 'source'" for key in expected}
    assert warmup == gathered("source:front", database)
    assert (warmup.known_results, warmup.notes) == (len(expected), ())
    with database.read() as connection:
        for one in warmup.seeds:
            (key,) = [key for key in expected if one.origin == f"genome {key} of 'source'"]
            (evaluation,) = details.genome_detail(connection, key).evaluations
            assert one.evaluation_id == evaluation.evaluation_id
            assert one.result == {**evaluation.objectives, **evaluation.other_values}


def test_the_population_comes_without_repetition(database: Database, source: Experiment) -> None:
    held = replay(database, "source").state.population
    warmup = gathered("source:population", database)
    assert len(warmup.seeds) == len({one.genome_id for one in held}) <= 6


def test_the_best_come_in_order(database: Database, source: Experiment) -> None:
    warmup = gathered("source:best=5", database)
    errors = [one.result["error"] for one in warmup.seeds if one.result]
    with database.read() as connection:
        every = sorted(one.objectives["error"] for one in facts.genomes(connection, source, states=["done"]))
    assert errors == every[:5]


def test_known_results_are_taken_untrained_and_count(database: Database, source: Experiment) -> None:
    trained: list[int] = []

    def end(database: Database, claim: Claim) -> None:
        trained.append(claim.task.genome_id)
        factories.complete(database, claim)

    found = factories.finished(database, "next", budget=20, seed_from="source:best=9", end=end)
    rows = births(database, "next")
    assert (found.seeds, found.born, found.ingested) == (9, 20, 20)
    assert trained == [row.id for row in rows[9:]]
    with database.read() as connection:
        first = details.genome_detail(connection, rows[0].id)
        stored = seeds.of_births(connection, found.id, 1, 9)
    assert first.origin == stored[1].origin
    (evaluation,) = first.evaluations
    assert (evaluation.state, evaluation.attempts) == ("done", ())
    assert {**evaluation.objectives, **evaluation.other_values} == stored[1].result
    report = replay(database, "next")
    assert report.is_clean, report.differences


def test_known_results_outlive_the_search_that_they_come_from(database: Database, source: Experiment) -> None:
    factories.created(database, "next", budget=20, seed_from="source:best=5")
    do(database, experiments.remove_genomes, source, 1_000)
    do(database, experiments.remove, source)
    factories.run_to_the_end(database, "next")
    assert replay(database, "next").is_clean


def test_replay_finds_a_known_result_that_was_changed(database: Database, source: Experiment) -> None:
    factories.finished(database, "next", budget=20, seed_from="source:best=5")
    given = (
        "evaluation_id IN (SELECT e.id FROM evaluation e JOIN genome g ON g.id = e.genome_id "
        "WHERE g.operator = 'seed')"
    )
    with database.write() as connection:
        connection.execute(
            text(f"UPDATE objective_value SET value = 0.9 WHERE objective = 'loss' AND {given}")
        )
    assert "its seed from genome" in replay(database, "next").differences[0]


def test_results_of_another_kind_are_not_taken(database: Database, source: Experiment) -> None:
    expected = len(front_ids(database, "source"))
    for values, reason in (
        ({"epochs": 3}, "the recipe is another one"),
        ({"limit_train": 200}, "--limit-train is another one"),
        ({"dataset": "mnist"}, "the data set or its split is another one"),
        ({"evaluator": "train"}, "the evaluator is another one"),
        ({"objectives": "error,flops"}, "there are other objectives"),
    ):
        warmup = gathered("source", database, **values)
        assert (len(warmup.seeds), warmup.known_results) == (expected, 0)
        assert warmup.notes == (f"the genomes of 'source' are trained again, since {reason}",)


def test_results_that_belong_to_a_device_are_not_taken(database: Database) -> None:
    def end(database: Database, claim: Claim) -> None:
        factories.complete(database, claim, {"error": 1 / claim.task.genome_id, "train_s": 1.0})

    factories.finished(database, "source", objectives="error,train_s", end=end)
    warmup = gathered("source", database, objectives="error,train_s")
    assert warmup.known_results == 0
    assert "values of train_s belong to a device" in warmup.notes[0]


def test_fewer_objectives_are_enough_for_a_result(database: Database, source: Experiment) -> None:
    assert gathered("source", database, objectives="loss").known_results > 0


def test_a_network_with_another_stem_is_trained_again(database: Database, source: Experiment) -> None:
    warmup = gathered("source", database, space_settings={"stem_channels": 4})
    assert warmup.seeds
    assert warmup.known_results == 0


def test_genomes_of_another_search_that_do_not_fit_are_left_out(
    database: Database, source: Experiment
) -> None:
    everything = gathered("source:best=20", database, budget=20)
    params = sorted(row.params for row in births(database, "source"))
    some = gathered("source:best=20", database, budget=20, max_params=params[len(params) // 2])
    assert 0 < len(some.seeds) < len(everything.seeds)
    assert len(some.notes) == len(everything.seeds) - len(some.seeds)
    with pytest.raises(
        InvalidInput, match="no genome of 'source' fits here; the last one was left out: genome"
    ):
        gathered("source", database, max_params=1)


def test_what_cannot_be_begun_with(database: Database, source: Experiment) -> None:
    with pytest.raises(UnknownName, match="unknown experiment 'sourc'; did you mean source"):
        gathered("sourc", database)
    with pytest.raises(UnknownName, match="unknown experiment 'source:best=0'"):
        gathered("source:best=0", database)
    factories.created(database, "empty")
    with pytest.raises(InvalidInput, match="'empty' has no evaluated genome in its front yet"):
        gathered("empty", database)
    with database.write() as connection:
        connection.execute(text("UPDATE experiment SET space = 'other' WHERE name = 'empty'"))
    with pytest.raises(InvalidInput, match="has genomes of the space 'other', this one is of 'conv'"):
        gathered("empty", database)


def test_a_name_with_a_colon(database: Database) -> None:
    factories.finished(database, "a:front")
    with pytest.raises(UnknownName, match="unknown experiment 'a'"):
        gathered("a:front", database)
    assert gathered("a:front:front", database).seeds[0].origin.endswith("of 'a:front'")


def test_seeds_from_a_file_and_from_a_search_follow_each_other(
    database: Database, source: Experiment, tmp_path: Path
) -> None:
    path = file_of(tmp_path, codes(2, seed=9))
    found = factories.created(database, "next", budget=40, seed_genomes=path, seed_from="source")
    with database.read() as connection:
        stored = seeds.of_births(connection, found.id, 1, found.seeds)
    assert [one.origin[:10] for one in stored.values()][:3] == ["begin.json"] * 2 + [stored[3].origin[:10]]
    assert stored[3].result is not None
    factories.run_to_the_end(database, "next")
    assert replay(database, "next").is_clean
