"""Every view of a search that really ran, on both databases."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from evolver.dashboard import sides
from evolver.selection.pareto import hypervolume, non_dominated
from evolver.space import Sample
from evolver.store import details, experiments, facts, leases
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.experiments import Experiment, NewDataset
from evolver.store.schema import epoch_metric, evaluation, genome, objective_value, parentage
from evolver.words import shown
from tests import factories
from tests.acceptance.helpers import create, search

FAILING = 3
PATHS = (
    "/", "/experiment/1", "/experiment/1/front", "/experiment/1/front?at=5&asked=1&x=error&y=flops&log_y=1",
    "/experiment/1/lineage", "/experiment/1/lineage?depth=50&by=flops", "/genome/1", f"/genome/{FAILING}",
    "/genome/12", "/genome/12/lineage", "/compare", "/compare?a=1&b=1", "/compare/genomes",
    "/compare/genomes?a=1&b=12",
)  # fmt: skip
CHARTS = (
    "/experiment/1/front.json", "/experiment/1/front.json?at=0",
    "/experiment/1/front.json?x=loss&y=error&z=params",
    "/experiment/1/growth.json", "/experiment/1/growth.json?over=hours",
    "/experiment/1/growth.json?best=loss",
    "/genome/12/curves.json", "/genome/12/curves.json?what=error", "/compare/growth.json?a=1&b=1",
    "/compare/growth.json?a=1&b=1&best=error", "/compare/curves.json?a=1&b=2",
)  # fmt: skip


ABSENT = (
    ("/experiment/99", 404), ("/experiment/99/front.json", 404), ("/genome/99", 404), ("/genome/0", 404),
    ("/genome/99999999999999999999999", 404), ("/compare?a=1&b=99", 404), ("/nothing", 404),
    ("/genome/99/lineage", 404), ("/genome/x", 404), ("/static/../app.py", 404), ("/static/app.py", 404),
    ("/experiment/1/front?x=nothing", 400), ("/experiment/1/front.json?at=x", 400),
    ("/experiment/1/lineage?depth=1000000", 400), ("/experiment/1/growth.json?over=1", 400),
    ("/compare/growth.json?a=1", 400), ("/compare?a=1&b=demo@", 400), ("/compare?a=1&b=x", 400),
    ("/genome?id=", 400),
)  # fmt: skip


@pytest.fixture
def found(database: Database) -> Experiment:
    """A search that ran to its end, with one failure."""
    create(database, "demo")
    search(database, "demo", failing=(FAILING,))
    with database.read() as connection:
        return experiments.get(connection, "demo")


def chart(pages: TestClient, address: str) -> dict[str, Any]:
    answer = pages.get(address)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_every_view_answers(pages: TestClient, found: Experiment) -> None:
    for path in PATHS:
        answer = pages.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.text.count("<h1>") == 1, path
        assert "demo" in answer.text or "Compare" in answer.text, path
    for path in CHARTS:
        made = chart(pages, path)
        assert made["data"], path
        assert made["layout"], path


def test_an_empty_database_says_how_to_begin(pages: TestClient) -> None:
    assert "evolver run demo" in pages.get("/").text
    assert "no experiments" in pages.get("/compare").text
    assert pages.get("/compare/genomes").status_code == 200


def test_a_search_without_results_has_all_its_views(database: Database, pages: TestClient) -> None:
    created = factories.created(database)
    for path in ("", "/front", "/lineage"):
        assert pages.get(f"/experiment/{created.id}{path}").status_code == 200
    for path in ("front.json", "growth.json"):
        made = chart(pages, f"/experiment/{created.id}/{path}")
        assert not any(trace["x"] for trace in made["data"])
    assert "no genome has been evaluated" in pages.get(f"/experiment/{created.id}/front").text


def test_what_does_not_exist(pages: TestClient, found: Experiment) -> None:
    for path, status in ABSENT:
        answer = pages.get(path)
        assert answer.status_code == status, path
        assert "Traceback" not in answer.text


def test_a_search_is_compared_with_one_that_has_no_results_yet(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    other = factories.created(database, "other", seed=7)
    text = pages.get(f"/compare?a={found.id}&b={other.id}").text
    assert "after 12 results" in text
    assert re.search(r"best accuracy</th><td>[0-9.]+ %</td><td>–</td>", text)
    assert re.search(r"≠ seed</th><td>0</td><td>7</td>", text)
    lines = chart(pages, f"/compare/growth.json?a={found.id}&b={other.id}")["data"]
    assert [one["name"] for one in lines] == ["demo"]


def test_every_setting_is_compared(database: Database, pages: TestClient) -> None:
    objectives = ("error", "params")
    one = factories.created(database, "one", objectives=objectives)
    bred = {"candidates": 3, "parents": "least-used"}
    other = factories.created(database, "other", objectives=objectives, **bred)
    text = pages.get(f"/compare?a={one.id}&b={other.id}").text
    assert re.findall(r"≠ ([a-z ]+)</th><td>([^<]*)</td><td>([^<]*)</td>", text) == [
        ("parents", "drawn", "least-used"),
        ("candidates", "1", "3"),
    ]
    assert '<th scope="row">candidates</th><td>3</td>' in pages.get(f"/experiment/{other.id}").text


@pytest.fixture
def repeated(database: Database) -> dict[str, Experiment]:
    """Two searches with two repetitions each, by name."""
    for name, seed in (("a@1", 1), ("a@2", 2), ("b@1", 3), ("b@2", 4)):
        create(database, name, seed=seed)
        search(database, name)
    with database.read() as connection:
        return {one.settings.name: one for one in experiments.every(connection)}


def test_repetitions_are_compared_as_groups(
    database: Database, pages: TestClient, repeated: dict[str, Experiment]
) -> None:
    text = pages.get("/compare?a=a@&b=b@").text
    assert '<option value="a@" selected>a@ (all repetitions)</option>' in text
    assert "24 of 24" in text
    assert re.search(r"≠ seed</th><td>1, 2</td><td>3, 4</td>", text)
    with database.read() as connection:
        best = [
            min(one.objectives["error"] for one in facts.front_members(connection, found))
            for found in repeated.values()
        ]
    wins = sum((a < b) + 0.5 * (a == b) for a in best[:2] for b in best[2:]) / 4
    assert re.search(rf'best accuracy</th>.*<td class="n">{100 * wins:.0f} %</td><td class="n">', text)
    lines = chart(pages, "/compare/growth.json?a=a@&b=b@")["data"]
    assert [one["name"] for one in lines] == ["a@"] * 3 + ["b@"] * 3
    first, second, middle = (dict(zip(one["x"], one["y"], strict=True)) for one in lines[:3])
    assert middle[12] == pytest.approx((first[12] + second[12]) / 2)


def test_a_search_is_compared_with_repetitions(pages: TestClient, repeated: dict[str, Experiment]) -> None:
    text = pages.get(f"/compare?a={repeated['a@1'].id}&b=b@").text
    assert "evolver replicate a@1" in text
    assert "first better" not in text.casefold()
    assert len(chart(pages, f"/compare/growth.json?a={repeated['a@1'].id}&b=b@&best=error")["data"]) == 4


def test_values_are_those_where_the_shortest_run_ends(
    database: Database, pages: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the longer one's curve has no point."""
    from evolver.dashboard import progress

    monkeypatch.setattr(progress, "SAMPLES", 1)
    for name, budget in (("short", 7), ("long", 12)):
        create(database, name, budget=budget)
        search(database, name)
    with database.read() as connection:
        pair = [experiments.get(connection, name) for name in ("short", "long")]
        best = [min(one.objectives["error"] for one in facts.front_members(connection, found, 7))
                for found in pair]  # fmt: skip
    text = pages.get(f"/compare?a={pair[0].id}&b={pair[1].id}").text
    assert "after 7 results" in text
    assert re.search(
        "best accuracy</th><td>{}</td><td>{}</td>".format(*(shown("error", one) for one in best)), text
    )


def test_a_group_is_bounded_and_says_so(
    pages: TestClient, repeated: dict[str, Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "RUNS_SHOWN", 1)
    assert "the first 1 of 2" in pages.get("/compare?a=a@&b=b@").text


def test_the_overview_has_progress_best_failures_and_workers(pages: TestClient, found: Experiment) -> None:
    text = pages.get("/").text
    assert '<progress max="12" value="12"' in text
    assert "finished" in text
    assert f'1 <a href="/genome/{FAILING}">oom</a>' in text
    assert "testhost:1" in text
    assert "95.83 %" in text  # the error of genome 12 is 0.5 / 12


def test_experiments_come_in_pages_running_ones_first(database: Database, pages: TestClient) -> None:
    factories.running(database, "first")
    for number in range(12):
        factories.created(database, f"later-{number:02d}")
    first, second = pages.get("/").text, pages.get("/?page=2").text
    names = re.findall(r'<h2><a href="/experiment/\d+">([^<]*)</a>', first)
    assert names == ["first", *(f"later-{number:02d}" for number in range(11, 0, -1))]
    assert re.findall(r'<h2><a href="/experiment/\d+">([^<]*)</a>', second) == ["later-00"]
    assert "page 2 of 2" in second


def test_a_failed_genome_says_why(pages: TestClient, found: Experiment) -> None:
    text = pages.get(f"/genome/{FAILING}").text
    assert "oom: too large" in text
    assert "out of memory" in text
    assert "state-failed" in text


def test_trainings_on_other_data_say_which_and_from_what(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    """Trainings from scratch and from weights share the numbers of which seeds are made."""
    mnist = NewDataset("mnist", Sample(1, (28, 28), 10), 48_000, 12_000, 10_000, 0, None)
    with database.write() as connection:
        other = experiments.ensure_dataset(connection, mnist)
        (first,) = connection.execute(select(evaluation.c.id).where(evaluation.c.genome_id == 1)).scalars()
    transfer = {"name": "demo", "purpose": "transfer", "dataset_id": other}
    factories.enqueued(database, **transfer, number=2)
    factories.enqueued(database, **transfer, number=1, first=2, init_from=first)
    worker_id = factories.registered_worker(database)
    claim = factories.must_claim(database, worker_id)
    factories.complete(database, claim, {"test_error": 0.25, "params": 12_345.0})
    text = pages.get("/genome/1").text
    titles = re.findall(r"<h3>(Transfer[^<]*)</h3>", text)
    assert titles == [
        "Transfer to mnist, from scratch",
        f"Transfer to mnist, from the weights of evaluation {first}",
    ]
    scratch, weights = text.split("<h3>Transfer")[1:]
    number = r'<th scope="row">\d+</th><td class="n">(\d)</td>'
    assert re.findall(number, scratch) == ["0", "1"]
    assert re.findall(number, weights) == ["2"]
    assert "75.00 %" in scratch
    assert "12.3 k params" in scratch


def test_a_genome_has_its_network_values_and_family(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    text = pages.get("/genome/12").text
    with database.read() as connection:
        detail = details.genome_detail(connection, 12)
        child = connection.execute(select(parentage.c.child_id).where(parentage.c.parent_id == 1)).scalar()
    assert '<svg class="network"' in text
    assert "1 of 11" in text  # the least error of eleven successes
    assert "11 of 11" in text  # and the greatest loss
    assert all(f'<a href="/genome/{key}">{key}</a>' in text for key in detail.parent_ids)
    if child is not None:
        assert f'<a href="/genome/{child}"' in pages.get("/genome/1").text


# --- charts against the facts ------------------------------------------------------------------------


def test_the_front_is_that_of_its_time(database: Database, pages: TestClient, found: Experiment) -> None:
    for at in (None, 0, 1, 4, 8, 12):
        assert_front(database, pages, found, at)


def assert_front(database: Database, pages: TestClient, found: Experiment, at: int | None) -> None:
    """The chart has the members of the front at that time, and behind it all other results until then."""
    made = chart(pages, "/experiment/1/front.json" + ("" if at is None else f"?at={at}"))
    behind, front = made["data"]
    with database.read() as connection:
        members = facts.front_members(connection, found, at)
        done = {
            row.genome_id
            for row in connection.execute(
                select(evaluation).where(
                    evaluation.c.state == "done", evaluation.c.ingest_no <= (12 if at is None else at)
                )
            )
        }
    assert front["customdata"] == [one.genome_id for one in members]
    assert front["x"] == [one.objectives["error"] for one in members]
    assert set(behind["customdata"]) == done - set(front["customdata"])
    assert all("conv" in text for text in front["text"])


def test_a_third_axis_and_logarithmic_ones(pages: TestClient, found: Experiment) -> None:
    made = chart(pages, "/experiment/1/front.json?asked=1&x=loss&y=params&z=flops&log_y=1")
    assert {trace["type"] for trace in made["data"]} == {"scatter3d"}
    scene = made["layout"]["scene"]
    assert [scene[f"{key}axis"]["type"] for key in "xyz"] == ["linear", "log", "linear"]
    flat = chart(pages, "/experiment/1/front.json?x=error&y=params")["layout"]
    assert [flat[f"{key}axis"]["type"] for key in "xy"] == ["linear", "log"]


def test_a_large_history_is_thinned_out_and_says_so(
    pages: TestClient, found: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolver.dashboard import fronts

    monkeypatch.setattr(fronts, "BEHIND_SHOWN", 4)
    monkeypatch.setattr(fronts, "FRONT_SHOWN", 3)
    whole = chart(pages, "/experiment/1/front.json")
    behind, front = whole["data"]
    assert len(behind["x"]) <= 4
    assert "a sample of" in behind["name"]
    assert 1 < len(front["x"]) <= 3
    assert re.fullmatch(r"front \(\d+ of 11\)", front["name"])
    assert "of them drawn" in whole["layout"]["meta"]["note"]


def test_the_growth_ends_with_the_hypervolume_of_the_front(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    (line,) = chart(pages, "/experiment/1/growth.json")["data"]
    with database.read() as connection:
        rows = connection.execute(
            select(evaluation.c.ingest_no, objective_value.c.objective, objective_value.c.value)
            .join(objective_value, objective_value.c.evaluation_id == evaluation.c.id)
            .where(objective_value.c.objective.in_(["error", "loss"]))
            .order_by(evaluation.c.ingest_no)
        ).all()
    vectors: dict[int, dict[str, float]] = {}
    for number, name, value in rows:
        vectors.setdefault(number, {})[name] = value
    points = {number: (one["error"], one["loss"]) for number, one in vectors.items()}
    entered: list[tuple[float, float]] = []
    for number in sorted(points):
        front = np.array([p for n, p in points.items() if n <= number])
        if points[number] in {tuple(p) for p in front[non_dominated(front)]}:
            entered.append(points[number])
    low, high = np.min(entered, axis=0), np.max(entered, axis=0)
    for number, drawn in zip(line["x"], line["y"], strict=True):
        scaled = (np.array([p for n, p in points.items() if n <= number]) - low) / (high - low)
        assert drawn == pytest.approx(hypervolume(scaled, np.ones(2)))
    assert line["x"][-1] == 12


def test_learning_curves_are_those_on_record(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    train, validation = chart(pages, "/genome/12/curves.json?what=loss")["data"]
    with database.read() as connection:
        rows = connection.execute(
            select(epoch_metric)
            .join(evaluation, evaluation.c.id == epoch_metric.c.evaluation_id)
            .where(evaluation.c.genome_id == 12)
            .order_by(epoch_metric.c.epoch)
        ).all()
    assert train["y"] == [row.train_loss for row in rows]
    assert validation["y"] == [row.validation_loss for row in rows]


def test_a_lineage_has_every_ancestor_and_its_operator(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    text = pages.get("/genome/12/lineage?depth=50").text
    drawn = {int(key) for key in re.findall(r'<a href="/genome/(\d+)/lineage\?', text)}
    with database.read() as connection:
        ancestors = details.lineage(connection, 12)
    assert drawn == {one.genome_id for one in ancestors}
    edges = re.findall(r"<title>([a-z+]+): (\d+) → (\d+)</title>", text)
    assert {(child, parent) for _, parent, child in edges} == {
        (str(one.genome_id), str(parent)) for one in ancestors for parent in one.parent_ids
    }
    operators = {str(one.genome_id): one.operator for one in ancestors}
    assert all(operators[child] == operator for operator, _, child in edges)


def test_a_large_lineage_is_cut_and_says_so(
    pages: TestClient, found: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evolver.dashboard import lineage

    monkeypatch.setattr(lineage, "GENOMES_SHOWN", 3)
    text = pages.get("/experiment/1/lineage?depth=50").text  # eleven genomes are in the front
    assert len(re.findall(r'<circle class="node', text)) == 3
    assert "at most 3 genomes" in text


# --- what users typed --------------------------------------------------------------------------------


EVIL = "<script>alert('x')</script>\"&amp;"


def test_names_and_messages_are_escaped_everywhere(database: Database, pages: TestClient) -> None:
    def fail_first(database: Database, claim: Claim) -> None:
        with database.write() as connection:
            if claim.task.genome_id % 4 == 1:
                leases.fail(connection, claim.lease, "error", EVIL, log_tail=EVIL)
            else:
                leases.complete(connection, claim.lease, factories.made_up_values(claim.task))

    made = factories.finished(database, EVIL, end=fail_first)
    factories.finished(database, f"{EVIL}2")
    other = made.id + 1
    with database.read() as connection:
        failed = (
            connection.execute(select(evaluation.c.genome_id).where(evaluation.c.state == "failed"))
            .scalars()
            .first()
        )
    own = f"/experiment/{made.id}"
    for path in ("/", own, f"{own}/front", f"{own}/lineage", f"/genome/{failed}", "/compare",
                 f"/compare?a={made.id}&b={other}",
                 f"/compare/genomes?a={failed}&b={failed + 1}"):  # fmt: skip
        text = pages.get(path).text
        assert "<script>alert" not in text, path
        assert "&lt;script&gt;alert" in text, path
    figure = chart(pages, f"/compare/growth.json?a={made.id}&b={other}")
    assert "<script" not in json.dumps(figure)


def test_a_code_that_does_not_decode_is_shown_all_the_same(
    database: Database, pages: TestClient, found: Experiment
) -> None:
    with database.write() as connection:
        row = connection.execute(select(genome).where(genome.c.id == 1)).one()
        values = {**row._mapping, "id": 1000, "birth": 1000, "code": {"<b>": 1}, "phenotype": "x"}
        connection.execute(genome.insert().values(**values))
    text = pages.get("/genome/1000").text
    assert "cannot be decoded" in text
    assert "<b>" not in text
    assert pages.get("/compare/genomes?a=1&b=1000").status_code == 200


def test_a_genome_is_found_by_its_number(pages: TestClient) -> None:
    assert pages.get("/genome?id=7").headers["location"] == "/genome/7"
    assert pages.get("/genome?id=7&with=8").headers["location"] == "/compare/genomes?a=7&b=8"
