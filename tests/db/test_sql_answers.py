"""The questions of docs/sql.md: on both databases they are answered as Python does, from the tables whole."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evolver.store import console
from evolver.store.db import Database
from tests.db import sql_history
from tests.db.sql_history import History

DOCS = Path(__file__).parents[2] / "docs/sql.md"
Rows = list[tuple[Any, ...]]
ANSWERS: dict[str, Callable[[History], Rows]] = {}


def answers(question: str) -> Callable[[Callable[[History], Rows]], Callable[[History], Rows]]:
    def registered(function: Callable[[History], Rows]) -> Callable[[History], Rows]:
        ANSWERS[question] = function
        return function

    return registered


def questions() -> dict[str, list[str]]:
    """The blocks of SQL under each question."""
    parts = DOCS.read_text(encoding="utf-8").split("\n### ")[1:]
    return {
        title.strip(): re.findall(r"```sql\n(.*?)```", body, re.DOTALL)
        for title, _, body in (part.partition("\n") for part in parts)
    }


@pytest.fixture(scope="module")
def searched(module_database: Database) -> tuple[Database, History]:
    sql_history.write(module_database)
    return module_database, sql_history.whole(module_database)


def test_every_question_has_an_answer_here() -> None:
    asked = questions()
    assert sorted(asked) == sorted(ANSWERS)
    assert len(asked) >= 15
    assert all(blocks for blocks in asked.values())


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_is_that_of_python(searched: tuple[Database, History], question: str) -> None:
    database, history = searched
    expected = ANSWERS[question](history)
    assert expected, "a question without an answer shows nothing"
    other = "-- PostgreSQL" if database.is_sqlite else "-- SQLite"
    blocks = [block for block in questions()[question] if not block.startswith(other)]
    assert blocks
    for block in blocks:
        with console.ask(database, block, timeout_s=30) as answer:
            got = list(answer.rows)
        assert got == [tuple(map(nearly, row)) for row in expected]


def nearly(value: object) -> object:
    return pytest.approx(value) if isinstance(value, float) else value


# --- what several answers need -----------------------------------------------------------------------


def demo(history: History) -> int:
    (found,) = (x.id for x in history.experiment if x.name == "demo")
    return int(found)


def genomes(history: History) -> dict[int, Any]:
    return {g.id: g for g in history.genome if g.experiment_id == demo(history)}


def evaluations(history: History, *purposes: str) -> list[Any]:
    own = [v for v in history.evaluation if v.experiment_id == demo(history)]
    return [v for v in own if not purposes or v.purpose in purposes]


def values(history: History, objective: str) -> dict[int, float]:
    return {o.evaluation_id: o.value for o in history.objective_value if o.objective == objective}


def leaderboard(history: History, experiment_id: int) -> list[tuple[int, bool, float, float, int]]:
    """Place, feasible, error, loss and genome of each success, the best first."""
    (bounds,) = (x.constraints for x in history.experiment if x.id == experiment_id)
    assert {(one["name"], one["sense"]) for one in bounds} <= {("error", "<=")}
    bound = min([one["bound"] for one in bounds], default=1.0)
    error, loss = values(history, "error"), values(history, "loss")
    keys = sorted(
        (error[v.id] > bound, error[v.id], loss[v.id], v.genome_id)
        for v in history.evaluation
        if v.experiment_id == experiment_id and v.purpose == "search" and v.state == "done"
    )
    return [(1 + sum(other[:3] < key[:3] for other in keys), not key[0], *key[1:]) for key in keys]


def best(history: History) -> int:
    return min(row[4] for row in leaderboard(history, demo(history)) if row[0] == 1)


def parents(history: History, genome_id: int) -> set[int]:
    return {p.parent_id for p in history.parentage if p.child_id == genome_id}


def seconds(one: Any) -> float:
    return float((one.ended_at - one.started_at).total_seconds())


def shown(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if moment else None


def memberships(history: History, kind: str) -> list[Any]:
    found = [m for m in history.membership if m.experiment_id == demo(history) and m.kind == kind]
    return sorted(found, key=lambda m: m.genome_id)


def at(history: History, number: int) -> list[Any]:
    """The members of the front after so many results."""
    return [
        m
        for m in memberships(history, "front")
        if m.entered_at <= number and (m.left_at is None or m.left_at > number)
    ]


# --- the answers -------------------------------------------------------------------------------------


@answers("Who are the ancestors of the best genome?")
def _ancestors(history: History) -> Rows:
    distances: dict[int, int] = {}
    reached, distance = parents(history, best(history)), 1
    while reached:
        for one in reached:
            distances.setdefault(one, distance)
        reached = {above for one in reached for above in parents(history, one)} - distances.keys()
        distance += 1
    known = genomes(history)
    assert max(distances.values()) >= 2
    return [
        (one, far, known[one].birth, known[one].operator)
        for one, far in sorted(distances.items(), key=lambda item: (item[1], item[0]))
    ]


@answers("Which operator gives the most members of the front?")
def _operators(history: History) -> Rows:
    found: defaultdict[str, list[set[int]]] = defaultdict(lambda: [set(), set(), set()])
    stays = memberships(history, "front")
    for one in genomes(history).values():
        own = [m for m in stays if m.genome_id == one.id]
        births, ever, now = found[one.operator]
        births.add(one.id)
        ever.update(m.genome_id for m in own)
        now.update(m.genome_id for m in own if m.left_at is None)
    rows = [(operator, *map(len, sets)) for operator, sets in found.items()]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


@answers("What was the front after 20 results?")
def _front_then(history: History) -> Rows:
    births = {one.id: one.birth for one in history.genome}
    then = at(history, 20)
    assert {m.genome_id for m in then} != {m.genome_id for m in at(history, sql_history.BUDGET + 1)}
    return [(m.genome_id, births[m.genome_id], m.entered_at, m.left_at, m.reason) for m in then]


@answers("What was the front yesterday at this time?")
def _front_yesterday(history: History) -> Rows:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    number = max(
        v.ingest_no for v in evaluations(history, "search") if v.ended_at and v.ended_at <= yesterday
    )
    assert at(history, number) != at(history, sql_history.BUDGET + 1)
    return [(m.genome_id, m.entered_at, m.left_at) for m in at(history, number)]


@answers("How many device hours did each data set take?")
def _device_hours(history: History) -> Rows:
    names = {d.id: d.name for d in history.dataset}
    dataset_of = {v.id: names[v.dataset_id] for v in history.evaluation}
    spent: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for one in history.attempt:
        if one.ended_at is not None:
            spent[dataset_of[one.evaluation_id], one.device_name].append(seconds(one) / 3600)
    assert len(spent) == 4
    rows = [(*key, len(hours), sum(hours)) for key, hours in spent.items()]
    return sorted(rows, key=lambda row: -row[3])


@answers("On which hosts do tries fail, and why?")
def _failures(history: History) -> Rows:
    genome_of = {v.id: v.genome_id for v in history.evaluation}
    found: defaultdict[tuple[str, str, str | None], list[Any]] = defaultdict(list)
    for one in history.attempt:
        if one.outcome in ("failed", "lost", "environment"):
            found[one.host, one.outcome, one.failure_kind].append(one)
    assert len({host for host, _, _ in found}) == 2
    rows = [
        (*key, len(tries), len({genome_of[one.evaluation_id] for one in tries}),
         shown(max(one.ended_at for one in tries)))
        for key, tries in found.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row[3], row[0], row[1], row[2] or ""))


@answers("How many generations of descent are there?")
def _generations(history: History) -> Rows:
    generation: dict[int, int] = {}
    for one in genomes(history):  # in the order of birth
        generation[one] = max((1 + generation[parent] for parent in parents(history, one)), default=0)
    return sorted(Counter(generation.values()).items())


@answers("Who are the siblings of the best genome?")
def _siblings(history: History) -> Rows:
    own, chosen = parents(history, best(history)), best(history)
    shared = {one: len(own & parents(history, one)) for one in genomes(history) if one != chosen}
    return sorted(((one, n) for one, n in shared.items() if n), key=lambda row: (-row[1], row[0]))


@answers("What error does a network of so many parameters reach?")
def _params(history: History) -> Rows:
    known = genomes(history)
    ranked = leaderboard(history, demo(history))
    feasible = [row for row in ranked if row[1]]
    assert len(feasible) < len(ranked)
    found = sorted((known[row[4]].params, row[4], row[2]) for row in feasible)
    return [
        (genome_id, params, error, min(other[2] for other in found[: i + 1]))
        for i, (params, genome_id, error) in enumerate(found)
    ]


@answers("What do two learning curves look like side by side?")
def _curves(history: History) -> Rows:
    newest = {}
    for v in sorted(evaluations(history, "search"), key=lambda v: v.seed_no):
        newest[v.genome_id] = v
    assert newest[5].seed_no == 1
    curves = [
        {m.epoch: m.validation_error for m in history.epoch_metric if m.evaluation_id == newest[one].id}
        for one in (5, 9)
    ]
    return [(epoch, *(curve.get(epoch) for curve in curves)) for epoch in sorted({*curves[0], *curves[1]})]


@answers("Which networks were bred more than once?")
def _duplicates(history: History) -> Rows:
    births: defaultdict[int, list[int]] = defaultdict(list)
    for one in genomes(history).values():
        if one.duplicate_of:
            births[one.duplicate_of].append(one.birth)
    assert max(map(len, births.values())) >= 2
    rows = [(twin, len(found), min(found), max(found)) for twin, found in births.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


@answers("How long do evaluations wait in the queue?")
def _waits(history: History) -> Rows:
    first = {one.evaluation_id: one.started_at for one in history.attempt if one.number == 1}
    waits: defaultdict[str, list[float]] = defaultdict(list)
    for v in evaluations(history):
        if v.id in first:
            waits[v.purpose].append((first[v.id] - v.enqueued_at).total_seconds())
    assert len(waits) == 3
    return [(purpose, len(w), sum(w) / len(w), max(w)) for purpose, w in sorted(waits.items())]


@answers("How many results come in an hour?")
def _rate(history: History) -> Rows:
    found = [v for v in evaluations(history) if v.ingest_no is not None]
    results = Counter(v.ended_at.strftime("%Y-%m-%d %H") for v in found)
    failed = Counter(v.ended_at.strftime("%Y-%m-%d %H") for v in found if v.state == "failed")
    assert len(results) > 5
    assert max(results.values()) > 1
    return [(hour, number, failed[hour]) for hour, number in sorted(results.items())]


@answers("Do the genomes that train for long have fewer children?")
def _offspring(history: History) -> Rows:
    took = {one.evaluation_id: seconds(one) for one in history.attempt if one.outcome == "done"}
    children = Counter(p.parent_id for p in history.parentage)
    rows = []
    for v in evaluations(history, "search"):
        if v.state == "done" and v.id in took:
            own = children[v.genome_id]
            exposure = sum(g.born_after_ingest >= v.ingest_no for g in genomes(history).values())
            rows.append((v.genome_id, took[v.id], own, exposure, own / exposure if exposure else None))
    assert len({row[2] for row in rows}) > 2
    return sorted(rows, key=lambda row: (-row[1], row[0]))


@answers("What did a worker do?")
def _worker(history: History) -> Rows:
    evaluation_of = {v.id: v for v in history.evaluation}
    names = {x.id: x.name for x in history.experiment}
    rows = []
    for one in sorted(history.attempt, key=lambda one: (one.started_at, one.id)):
        if one.worker_id == 1:
            v = evaluation_of[one.evaluation_id]
            times = shown(one.started_at), shown(one.ended_at)
            rows.append(
                (*times, names[v.experiment_id], v.genome_id, v.purpose, one.outcome, one.failure_kind)
            )
    assert len({row[2] for row in rows}) == 2
    assert len(rows) < len(history.attempt)
    return rows


@answers("What is the best of each experiment?")
def _bests(history: History) -> Rows:
    known = {g.id: g for g in history.genome}
    rows = [
        (x.name, row[4], row[2], row[3], known[row[4]].params, known[row[4]].operator)
        for x in history.experiment
        for row in leaderboard(history, x.id)
        if row[0] == 1 and row[1]
    ]
    assert len({row[0] for row in rows}) == 2
    return sorted(rows)


@answers("Why did genomes leave the population and the front?")
def _left(history: History) -> Rows:
    stays: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for kind in ("front", "population"):
        for m in memberships(history, kind):
            if m.left_at is not None:
                stays[kind, m.reason].append(m.left_at - m.entered_at)
    assert {kind for kind, _ in stays} == {"front", "population"}
    return [(*key, len(found), sum(found) / len(found)) for key, found in sorted(stays.items())]


@answers("What became of the genomes that were trained in full?")
def _final(history: History) -> Rows:
    error, test_error = values(history, "error"), values(history, "test_error")
    found = {v.genome_id: error[v.id] for v in evaluations(history, "search") if v.state == "done"}
    rows = [(v.genome_id, found[v.genome_id], test_error[v.id]) for v in evaluations(history, "retrain")]
    return sorted(rows, key=lambda row: (row[2], row[0]))
