"""What commands show to people: searches in words, and tables of at most 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from evolver.cli import output, portrait, workers
from evolver.store.details import AttemptFact, EpochFact
from evolver.store.facts import FailureCount, GenomeFact, Status
from evolver.store.fleet import WorkerFact

LONG = "a-search-with-a-name-as-long-as-names-may-be-" + "x" * 55
THEN = datetime(2030, 1, 1, tzinfo=UTC)
STATUS = Status(
    experiment=LONG,
    state="finished",
    state_reason="patience: the front has not changed for 10000 results",
    budget=1_000_000,
    evaluated=999_999,
    pending=12_345,
    running=1_234,
    failed=1_234,
    failures=(FailureCount("diverged", 700, 999_998), FailureCount("oom", 250, 999_999)),
    front_size=1_000,
    best={"error": 0.01234, "loss": 0.001234, "params": 123_456_789.0, "flops": 9.87e12},
    workers=1_000,
    evaluations_per_hour=12_345.6,
    eta_s=1e6,
    leader="a-node-with-a-long-name.in-a-cluster.example.org:1234567",
    faulted_workers=("a-node-with-a-long-name.in-a-cluster.example.org:1: the data set is missing",),
)
MEMBER = GenomeFact(
    999_999, 999_999, "crossover+mutation", 123_456_789, 9_870_000_000_000, None, "done", None, 999_999,
    {"error": 0.01234, "loss": 0.001234, "latency_ms:64": 0.00123}, {},
)  # fmt: skip
WORKER = WorkerFact(
    123_456, "a-node-with-a-long-name.in-a-cluster.example.org", 1_234_567, "cuda:0,cuda:1,cuda:2,cuda:3", 16,
    "faulted", "the data of 'imagefolder:pets' in /data are not those of the experiment", 16, THEN, 1e5, 60.0,
    False, {"evolver": "0.1.0", "torch": "2.11.0+cu130"},
)  # fmt: skip
ATTEMPT = AttemptFact(
    12, 1, "a-node-with-a-long-name.in-a-cluster.example.org", 0, "cuda:0", "one", "bf16", THEN, THEN,
    "failed", "oom", "CUDA out of memory: tried to allocate 12.34 GiB", 89, None,
)  # fmt: skip
EPOCH = EpochFact(12_345, 0.0001234, 0.01, 0.0001234, 0.01, 0.0001234, 12_345.6)


def _rendered(shown: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=80, highlight=False).print(shown)
    return file.getvalue()


@pytest.mark.parametrize(
    ("shown", "heads"),
    [
        (output.status_table([STATUS]), "experiment state evaluated failed front best time left"),
        (output.status_view(STATUS), ""),
        (output.front_table([MEMBER], list(MEMBER.objectives)), "accuracy loss latency:64 params flops"),
        (output.front_table([MEMBER], ["error"], title=f"Front of '{LONG}'"), "genome birth accuracy"),
        (workers._table([WORKER]), "id worker device running state heartbeat versions note"),
        (portrait._attempts([ATTEMPT]), "attempt device time outcome"),
        (portrait._curve([EPOCH]), "epoch train loss validation accuracy lr time"),
    ],
    ids=["status of all", "status of one", "front", "titled front", "workers", "attempts", "curve"],
)  # fmt: skip
def test_a_table_fits_80_columns_and_breaks_no_word_of_its_head(shown: RenderableType, heads: str) -> None:
    lines = _rendered(shown).splitlines()
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    assert set(heads.split()) <= words


def test_failures_say_how_far_back_they_are_counted() -> None:
    assert output.failures_text(STATUS) == (
        "700 diverged (genome 999998), 250 oom (genome 999999) in the last 1000 results"
    )
    assert output.failures_text(replace(STATUS, failed=950)).endswith("(genome 999999)")
    assert output.failures_text(replace(STATUS, failures=())) == "none in the last 1000 results"


@pytest.mark.parametrize(("rate", "words"), [(None, "–"), (0.5, "0.5 an hour"), (12_345.6, "12346 an hour")])
def test_a_slow_search_has_a_rate_too(rate: float | None, words: str) -> None:
    lines = _rendered(output.status_view(replace(STATUS, evaluations_per_hour=rate))).splitlines()
    assert next(line for line in lines if line.startswith("rate")).split(maxsplit=1)[1].strip() == words


def test_what_is_best_is_not_taken_for_one_genome() -> None:
    line = output.status_line(replace(STATUS, best={"error": 0.01, "params": 518.0}))
    assert "best of each objective: accuracy 99.00 %, params 518; time left" in line
