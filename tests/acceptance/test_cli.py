"""Every command that reads or changes a database: its text, and its JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from evolver import __version__
from evolver.cli import COMMANDS, retrain
from evolver.errors import EvolverError
from evolver.localrun import LocalOptions
from evolver.replay import replay
from evolver.retraining import enqueue, full_recipe
from evolver.space import Sample
from evolver.store import experiments, queue
from evolver.store.db import Database
from evolver.store.experiments import NewDataset
from evolver.store.queue import NewEvaluation
from evolver.store.states import Purpose
from tests import factories
from tests.acceptance.helpers import cli, create, facts_of, refused, search

ROOT = Path(__file__).parents[2]
FAILED = 3
"""The genome that fails in the filled database."""


@pytest.fixture(scope="module")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a finished search ``demo`` of 12 genomes, one of them failed, and a new ``other``."""
    path = tmp_path_factory.mktemp("filled") / "evolver.db"
    database = Database.open(f"sqlite:///{path}", create=True)
    create(database)
    search(database, failing=(FAILED,))
    create(database, "other")
    database.dispose()
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert f"evolver {command}" in result.stdout.split("Examples:")[1]


def test_help_lists_all_commands_and_the_exit_codes() -> None:
    text = cli("--help").stdout
    assert all(f"  {command} " in text for command in COMMANDS)
    assert "130  interrupted" in text
    assert cli("--version").stdout == f"evolver, version {__version__}\n"


def test_status_of_one_search(url: str) -> None:
    status = facts_of("status", "demo", url=url)
    wanted = {
        "experiment": "demo",
        "state": "finished",
        "budget": 12,
        "evaluated": 12,
        "pending": 0,
        "running": 0,
        "failed": 1,
        "workers": 0,
        "eta_s": None,
    }
    assert {key: status[key] for key in wanted} == wanted
    assert status["best"] == {"error": pytest.approx(0.5 / 12), "loss": pytest.approx(0.1)}
    assert status["front_size"] == 11
    assert status["evaluations_per_hour"] is None  # all came within a second
    assert status["failures"] == [{"kind": "oom", "number": 1, "genome_id": FAILED}]
    shown = cli("status", "demo", url=url).stdout
    assert "1 oom (genome 3)" in shown
    assert "best of each  accuracy 95.83 %, loss" in shown
    assert "demo  finished (budget)" in shown


def test_status_of_all_searches(url: str) -> None:
    assert [one["experiment"] for one in facts_of("status", url=url)] == ["demo", "other"]
    lines = cli("status", url=url).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:3] == ["demo", "finished", "12/12"]


def test_list(url: str) -> None:
    demo, other = facts_of("list", url=url)
    assert (demo["experiment"], demo["dataset"], demo["objectives"]) == ("demo", "digits", ["error", "loss"])
    assert other["state"] == "created"
    assert "demo" in cli("list", url=url).stdout


def test_an_empty_database_says_what_to_do(sqlite_url: str) -> None:
    for command in ("list", "status"):
        assert "evolver new NAME" in cli(command, url=sqlite_url).stdout
        assert facts_of(command, url=sqlite_url) == []


def test_front(url: str) -> None:
    rows = facts_of("front", "demo", url=url)
    assert len(rows) == 11
    assert set(rows[0]) == {"genome_id", "birth", "objectives", "params", "flops", "code"}
    assert [row["objectives"]["error"] for row in rows] == sorted(0.5 / row["genome_id"] for row in rows)
    shown = cli("front", "demo", url=url).stdout.splitlines()
    assert shown[0].split() == ["genome", "birth", "accuracy", "loss", "params", "flops"]
    assert shown[1].split()[:4] == ["12", "12", "95.83", "%"]
    assert "empty" in cli("front", "other", url=url).stdout


def test_show(url: str) -> None:
    detail = facts_of("show", 12, url=url)
    assert detail["genome_id"] == 12
    assert detail["experiment"] == "demo"
    (evaluation,) = detail["evaluations"]
    assert evaluation["objectives"] == {"error": pytest.approx(0.5 / 12), "loss": pytest.approx(1.2)}
    assert evaluation["other_values"] == {"train_s": 6.0}
    shown = cli("show", 12, url=url).stdout
    assert max(map(len, shown.splitlines())) <= 80
    values = ("accuracy 95.83 %", "train time 6 s")
    for part in ("birth 12 of 'demo'", "block 1", "output", *values, "testhost", "█"):
        assert part in shown


def test_show_says_where_weights_are(url: str, tmp_path: Path) -> None:
    database = Database.open(url)
    with database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO checkpoint (evaluation_id, attempt_token, epoch, kind, key, sha256, bytes) "
                "SELECT id, 'token', 3, 'weights', '12/token/weights.safetensors', 'hash', 9 "
                "FROM evaluation WHERE genome_id = 12"
            )
        )
    database.dispose()
    key = "12/token/weights.safetensors"
    shown = cli("show", 12, url=url).stdout
    assert f"weights of evaluation 12: {key}, relative to its worker's --checkpoint-url" in shown
    path = tmp_path / "evolver.checkpoints" / key
    path.parent.mkdir(parents=True)
    path.touch()
    assert f"weights of evaluation 12: {path}\n" in cli("show", 12, url=url).stdout


def test_show_says_on_which_data_and_from_which_weights(url: str) -> None:
    database = Database.open(url)
    mnist = NewDataset("mnist", Sample(1, (28, 28), 10), 48_000, 12_000, 10_000, 0, None)
    with database.write() as connection:
        found = experiments.get(connection, "demo")
        other = experiments.ensure_dataset(connection, mnist)
        starts: list[tuple[int, Purpose, int | None]] = [
            (found.dataset.id, "retrain", None), (other, "transfer", None), (other, "transfer", 12),
        ]  # fmt: skip
        for number, (dataset_id, purpose, init_from) in enumerate([*starts, *starts[1:]]):
            where = (dataset_id, found.recipe_id, number)
            new = NewEvaluation(found.id, 12, purpose, *where, init_from=init_from)
            queue.enqueue(connection, [new])
    database.dispose()
    shown = " ".join(cli("show", 12, url=url).stdout.split())
    for head in (
        "search: done (evaluation 12)",
        "retrain: pending (evaluation 13)",
        "transfer to mnist from scratch: pending (evaluation 14)",
        "transfer to mnist with the weights of evaluation 12: pending (evaluation 15)",
        "transfer to mnist from scratch, repetition 2: pending (evaluation 16)",
        "transfer to mnist with the weights of evaluation 12, repetition 2: pending (evaluation 17)",
    ):
        assert head in shown
    last = facts_of("show", 12, url=url)["evaluations"][-1]
    assert (last["evaluation_id"], last["dataset"], last["init_from"]) == (17, "mnist", 12)


def test_show_of_a_failure_and_of_a_code_that_was_tampered_with(url: str) -> None:
    assert "oom: too large" in cli("show", FAILED, url=url).stdout
    database = Database.open(url)
    with database.write() as connection:
        connection.execute(text("DROP TRIGGER genome_is_immutable"))
        connection.execute(text("""UPDATE genome SET code = '{"nonsense": 1}' WHERE id = 12"""))
    database.dispose()
    assert "its code cannot be decoded here" in cli("show", 12, url=url).stdout


def test_lineage(url: str) -> None:
    lineages = [facts_of("lineage", genome_id, url=url) for genome_id in range(1, 13)]
    assert lineages[0] == {"genome_id": 1, "parent_ids": [], "operator": "random", "ancestors": []}
    for found in lineages:
        known = {one["genome_id"] for one in found["ancestors"]}
        parents = {parent for one in found["ancestors"] for parent in one["parent_ids"]}
        assert {one["genome_id"] for one in found["ancestors"] if one["distance"] == 1} == set(
            found["parent_ids"]
        )
        assert known == parents | set(found["parent_ids"])
    deepest = max(lineages, key=lambda found: max((one["distance"] for one in found["ancestors"]), default=0))
    assert deepest["ancestors"][-1]["distance"] > 1
    tree = cli("lineage", deepest["genome_id"], url=url).stdout
    assert all(str(parent) in tree for parent in deepest["parent_ids"])
    shallow = cli("lineage", deepest["genome_id"], "--depth", 1, url=url).stdout
    assert "more ancestor" in shallow
    assert "--depth 2" in shallow


def test_logs(url: str) -> None:
    assert "hello from the training" in cli("logs", 12, url=url).stdout
    (attempt,) = facts_of("logs", FAILED, "--all", url=url)
    assert (attempt["failure_kind"], attempt["log_tail"]) == ("oom", "out of memory\n")


def test_retry_brings_a_finished_search_back(url: str) -> None:
    assert facts_of("retry", "--kind", "oom", "other", url=url)["retried"] == []
    assert facts_of("retry", FAILED, url=url) == {"retried": [FAILED], "states": {"demo": "running"}}
    assert "nothing to retry" in cli("retry", FAILED, url=url).stdout
    database = Database.open(url)
    search(database)
    assert replay(database, "demo").is_clean
    database.dispose()
    status = facts_of("status", "demo", url=url)
    assert (status["state"], status["failed"], status["evaluated"]) == ("finished", 0, 12)


def test_pause_resume_stop(url: str) -> None:
    assert "paused" in cli("pause", "other", url=url).stdout
    assert "only created or running can become paused" in refused("pause", "other", url=url)
    assert facts_of("resume", "other", url=url) == {"experiment": "other", "state": "running"}
    assert facts_of("stop", "other", url=url) == {"experiment": "other", "state": "stopped"}
    assert "evolver extend demo" in refused("resume", "demo", url=url)


def test_extend(url: str) -> None:
    assert facts_of("extend", "demo", "--budget", 20, url=url) == {
        "experiment": "demo",
        "state": "running",
        "budget": 20,
    }
    assert "larger number" in refused("extend", "demo", "--budget", 5, url=url)


def test_delete_asks_first(url: str) -> None:
    assert cli("delete", "demo", url=url).exit_code == 1
    assert len(facts_of("list", url=url)) == 2
    assert facts_of("delete", "demo", "--yes", url=url) == {"experiment": "demo", "deleted": True}
    assert [one["experiment"] for one in facts_of("list", url=url)] == ["other"]
    assert cli("show", 12, url=url).exit_code == 2


def test_plot(url: str, tmp_path: Path) -> None:
    assert (
        "11 genomes of the front, 11 in all" in cli("plot", "demo", "--output", "front.png", url=url).stdout
    )
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert facts_of("plot", "demo", "--output", "c.svg", "--y", "params", url=url)["y"] == "params"


def test_db_commands(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    assert "no database" in refused("db", "check", "--db", url, code=3)
    assert facts_of("db", "upgrade", "--db", url)["before"] is None
    assert "already" in cli("db", "upgrade", "--db", url).stdout
    assert facts_of("db", "check", "--db", url)["ok"] is True


def test_upgrade_on_postgresql(empty_postgresql_url: str) -> None:
    assert "evolver db upgrade" in refused("status", url=empty_postgresql_url, code=3)
    assert cli("db", "upgrade", url=empty_postgresql_url).exit_code == 0
    assert facts_of("status", url=empty_postgresql_url) == []


def test_retrain_enqueues_once(url: str) -> None:
    rows = facts_of("retrain", "demo", "--workers", 0, "--epochs", 5, url=url)
    assert len(rows) == 11
    assert {row["state"] for row in rows} == {"pending"}
    assert "0 of them newly enqueued" in cli("retrain", "demo", "--workers", 0, "--epochs", 5, url=url).stdout
    again = facts_of("retrain", "demo", "--workers", 0, "--genome", 12, url=url)
    assert [row["genome_id"] for row in again] == [12]
    assert "has no result" in refused("retrain", "demo", "--workers", 0, "--genome", FAILED, url=url)
    assert "is empty" in refused("retrain", "other", "--workers", 0, url=url)
    assert facts_of("status", "demo", url=url)["pending"] == 0  # the search's own queue


def test_a_run_in_which_all_failed_ends_with_an_error(url: str) -> None:
    database = Database.open(url)
    create(database, "hopeless", budget=4)
    search(database, "hopeless", failing=range(1, 100))
    database.dispose()
    result = cli("run", "hopeless", url=url)
    assert result.exit_code == 1
    line = "evolver: all 4 evaluations of 'hopeless' failed: 4 oom (genome 16); see why: evolver logs 16\n"
    assert result.stderr == line
    assert cli("run", "hopeless", "--json", url=url).exit_code == 1
    assert cli("run", "demo", url=url).exit_code == 0  # one of 12 failed
    assert "see a failure:    evolver logs 3" in cli("run", "demo", url=url).stdout


def test_a_retraining_in_which_all_failed_is_an_error(url: str) -> None:
    database = Database.open(url)
    with database.write() as connection:
        found = experiments.get(connection, "demo")
        asked = enqueue(connection, found, [12], full_recipe(found.settings.recipe, None, 5))
    factories.fail(database, factories.must_claim(database, factories.registered_worker(database)), "oom")
    local = LocalOptions(0, "cpu", 1, Path(), download=False, checkpoint_url=None)
    with pytest.raises(EvolverError, match="all 1 final training failed: 1 oom; see why: evolver logs 12"):
        retrain._report(database, asked, local, as_json=True)
    database.dispose()


# --- what is loaded ----------------------------------------------------------------------------------


def _python(code: str, url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_status_loads_no_heavy_package(url: str) -> None:
    code = (
        "import sys; from evolver.cli import main; code = main(['status'], standalone_mode=False);"
        "code = code or main(['status', 'demo', '--json'], standalone_mode=False);"
        "heavy = {'numpy', 'pydantic', 'alembic', 'torch', 'matplotlib', 'pygments'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = _python(code, url)
    assert done.returncode == 0, done.stderr


def test_control_commands_run_without_torch(url: str) -> None:
    commands = [
        ["new", "fresh", "--space", "tiny"],
        ["list"],
        ["status"],
        ["front", "demo"],
        ["show", "12"],
        ["lineage", "12"],
        ["logs", "12"],
        ["retry", str(FAILED)],
        ["stop", "demo"],
        ["resume", "demo"],
        ["pause", "demo"],
        ["extend", "demo", "--budget", "30"],
        ["retrain", "demo", "--workers", "0"],
        ["plot", "demo", "--output", "front.png"],
        ["db", "check"],
        ["delete", "fresh", "--yes"],
    ]
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'safetensors', 'fsspec', 'sklearn', 'pynvml'):\n"
        "    sys.modules[name] = None\n"
        "from evolver.cli import main\n"
        f"for command in {commands!r}:\n"
        "    if code := main(command, standalone_mode=False):\n"
        "        sys.exit(f'{command} ended with {code}')\n"
        "sys.exit(main(['worker'], standalone_mode=False))\n"
    )
    done = _python(code, url)
    assert done.returncode == 4, done.stderr
    assert "pip install 'evolver[worker]'" in done.stderr


def test_a_reader_that_leaves_early_causes_no_traceback(url: str) -> None:
    command = f"{sys.executable} -m evolver show 12 --json | head -n 1"
    environment = {**os.environ, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""
