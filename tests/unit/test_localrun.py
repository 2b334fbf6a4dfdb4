"""Which of the workers of ``evolver run`` are started again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from evolver.errors import EnvironmentFault, InvalidInput
from evolver.localrun import LocalOptions, LocalWorkers, check_options
from workers import devices

Ended = Callable[..., LocalWorkers]


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """Makes local workers that have ended with these exit codes; others would start without a pause."""

    def make(*codes: int) -> LocalWorkers:
        options = LocalOptions(len(codes), "cpu", 1, tmp_path, download=False, checkpoint_url=None)
        workers = LocalWorkers(make_url(f"sqlite:///{tmp_path}/evolver.db"), "demo", options)
        left = list(codes)
        monkeypatch.setattr(LocalWorkers, "_command", lambda _: _exit(left.pop(0)))
        assert list(workers.attend()) == []
        for place in workers._places:
            assert place.process is not None
            place.process.wait()
            place.pause_s = 0.0
        left += [77] * len(codes)  # what another start would be
        return workers

    return make


def _exit(code: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({code})"]


@contextmanager
def cleared(workers: LocalWorkers) -> Iterator[None]:
    try:
        yield
    finally:
        workers.stop(lambda _: None, hurried=lambda: True)


def test_a_worker_that_was_asked_to_leave_stays_gone(ended: Ended) -> None:
    workers = ended(0, 0)
    with cleared(workers):
        lines = [*workers.attend(), *workers.attend()]
        assert len(lines) == 2
        assert all("was asked to leave" in line for line in lines)
        assert (workers.alive, workers.all_left) == (0, True)


def test_a_worker_that_died_is_started_again(ended: Ended) -> None:
    workers = ended(1, 0)
    with cleared(workers):
        first, second = workers.attend()
        assert "ended with status 1; another starts" in first
        assert "was asked to leave" in second
        assert workers._places[0].process is not None
        assert workers._places[1].process is None
        assert not workers.all_left


def test_where_the_others_gave_up_the_last_to_leave_ends_it(ended: Ended) -> None:
    workers = ended(EnvironmentFault.exit_code, 0)
    with cleared(workers):
        list(workers.attend())
        assert workers.all_left


def test_workers_that_all_gave_up_are_an_error_and_none_is_no_end(ended: Ended) -> None:
    workers = ended(EnvironmentFault.exit_code)
    with cleared(workers), pytest.raises(EnvironmentFault, match="no worker can work here"):
        list(workers.attend())
    assert not workers.all_left
    assert not ended().all_left


@pytest.mark.parametrize(("number", "share", "threads"), [(1, "0.9", None), (2, "0.45", "2")])
def test_workers_divide_memory_and_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, share: str, threads: str | None
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    options = LocalOptions(number, "cpu", 3, tmp_path, download=False, checkpoint_url=None)
    workers = LocalWorkers(make_url(f"sqlite:///{tmp_path}/evolver.db"), "demo", options)
    assert f"--memory-share={share}" in workers._command()
    assert workers._environment().get("OMP_NUM_THREADS") == threads


def test_automatic_slots_are_for_one_worker(tmp_path: Path) -> None:
    options = LocalOptions(1, "cpu", "auto", tmp_path, download=False, checkpoint_url=None)
    check_options(options)
    workers = LocalWorkers(make_url(f"sqlite:///{tmp_path}/evolver.db"), "demo", options)
    assert "--slots=auto" in workers._command()
    with pytest.raises(InvalidInput, match="--slots auto is for one worker, not for --workers 2"):
        check_options(replace(options, number=2))
