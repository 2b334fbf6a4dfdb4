"""A search without processes, and the command line as tests call it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from evolver import config
from evolver.cli import main
from evolver.evaluation import Epoch
from evolver.scheduler import Scheduler
from evolver.store import claims, experiments, leases
from evolver.store.claims import Claim, WorkerInfo
from evolver.store.db import Database

WORKER = WorkerInfo("testhost", 1, "cpu", 1, {"python": "3"})


def cli(*arguments: object, url: str | None = None) -> Result:
    """Call evolver in this process; an exception that it should have handled is raised."""
    environment = {"EVOLVER_DATABASE_URL": url} if url else {}
    result = CliRunner().invoke(main, [str(one) for one in arguments], env=environment)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def facts_of(*arguments: object, url: str | None = None) -> Any:
    """What a command prints with ``--json``."""
    result = cli(*arguments, "--json", url=url)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: object, url: str | None = None, code: int = 2) -> str:
    """The one line by which a command refuses."""
    result = cli(*arguments, url=url)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("evolver: ")
    return lines[0]


def create(database: Database, name: str = "demo", **values: Any) -> None:
    """Make an experiment of small genomes."""
    values = {"space": "tiny", "population": 4, "budget": 12, "evaluator": "surrogate", **values}
    settings, data = config.build(name, config.parse(values), Path("data"))
    with database.write() as connection:
        experiments.create(connection, settings, data, config.initial_selector_state(settings))


def search(database: Database, name: str = "demo", *, failing: Collection[int] = ()) -> None:
    """Run a search to its end, with made-up values. ``failing`` are the births that run out of memory."""
    scheduler = Scheduler(database, [name])
    with database.write() as connection:
        worker_id = claims.register_worker(connection, WORKER)
    while True:
        scheduler.step()
        claim = _claim(database, worker_id, name)
        if claim is not None:
            _evaluate(database, claim, fails=claim.task.genome_id in failing)
            continue
        with database.read() as connection:
            if experiments.get(connection, name).state == "finished":
                break
    scheduler.close()
    with database.write() as connection:
        claims.worker_state(connection, worker_id, "stopped")


def _claim(database: Database, worker_id: int, name: str) -> Claim | None:
    with database.write() as connection:
        return claims.claim(
            connection,
            worker_id,
            slot=0,
            device="cpu",
            device_name="test",
            versions={},
            lease_s=60,
            offers=claims.offers(connection, [name]),
        )


def _evaluate(database: Database, claim: Claim, *, fails: bool) -> None:
    """Error falls and loss rises with the genome's id, so that the front has many members."""
    genome_id = claim.task.genome_id
    with database.write() as connection:
        leases.attempt_started(connection, claim.lease, dtype="fp32", resumed_from_epoch=None)
        for number in (1, 2, 3):
            metrics = Epoch(number, 1 / number, 0.5 / number, 1.1 / number, 0.6 / number, 0.01, 2.0)
            leases.record_epochs(connection, claim.lease, [metrics])
        if fails:
            leases.fail(connection, claim.lease, "oom", "too large", log_tail="out of memory\n")
        else:
            values = {"error": 0.5 / genome_id, "loss": 0.1 * genome_id, "train_s": 6.0}
            leases.complete(connection, claim.lease, values, log_tail="hello from the training\n")
