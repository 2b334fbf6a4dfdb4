"""Tracking: what writers are told, that they cannot hurt an evaluation, and what the real ones write."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from evolver.errors import EnvironmentFault, InvalidInput
from evolver.evaluation import DatasetRef, Epoch, Task
from tests.workers.searches import SAMPLE
from workers import tracking
from workers.tracking import Destination, Ended, Run, Tracker
from workers.tracking_writers import MLflow, TensorBoard

TASK = Task(
    evaluation_id=23,
    genome_id=17,
    token="token",
    purpose="search",
    rung=0,
    evaluator="train",
    space="conv",
    space_settings={},
    code={"blocks": [1]},
    dataset=DatasetRef(1, "digits", SAMPLE, 1150, 287, 360, 1, None),
    limit_train=None,
    recipe={"name": "paper", "epochs": 2},
    objectives=("error", "latency_ms:64"),
    seed=5,
    timeout_s=None,
)
RUN = Run.of("shirts", TASK, "a GPU")
DESTINATION = Destination("mlflow", "somewhere")


def epoch(number: int, validation: float | None = 0.5) -> Epoch:
    return Epoch(number, 0.9, 0.8, validation, validation, 0.1, 2.0)


class Recorded:
    """A writer that keeps what it is told, and blocks or fails where it is told to."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails_at = ""

    def begin(self, run: Run) -> None:
        self._tell("begin", run)

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._tell("write", dict(values), step)

    def end(self, how: Ended) -> None:
        self._tell("end", how)

    def _tell(self, what: str, *arguments: Any) -> None:
        self.gate.wait(30)
        if what == self.fails_at:
            raise OSError("no route to host")
        self.told.append((what, *arguments))


@pytest.fixture
def writer() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.gate.set()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def tracker(writer: Recorded, warnings: list[str]) -> Tracker:
    return Tracker([DESTINATION], warnings.append, lambda destination: writer)


def evaluate(tracker: Tracker, how: Ended = "finished", time_left_s: float = 1e9) -> None:
    tracker.begin("shirts", TASK, "cpu")
    tracker.epoch(epoch(1))
    tracker.end(how, {"error": 0.25} if how == "finished" else {}, time_left_s)


# --- arguments ---------------------------------------------------------------------------------------


def test_an_argument_names_kind_and_place() -> None:
    assert tracking.parse("tensorboard:runs/a") == Destination("tensorboard", "runs/a")
    assert tracking.parse("mlflow:http://host:5000") == Destination("mlflow", "http://host:5000")


@pytest.mark.parametrize("argument", ["", "tensorboard", "tensorboard:", "wandb:x", ":x"])
def test_other_arguments_are_refused(argument: str) -> None:
    with pytest.raises(InvalidInput, match="give tensorboard:DIR or mlflow:URI"):
        tracking.require_packages([argument])


def test_a_missing_package_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: name != "tensorboard" or None)
    tracking.require_packages(["mlflow:x"])
    with pytest.raises(EnvironmentFault, match=r"needs the package tensorboard: pip install 'evolver\[track"):
        tracking.require_packages(["mlflow:x", "tensorboard:runs"])


# --- the tracker -------------------------------------------------------------------------------------


def test_a_run_is_named_and_tagged() -> None:
    assert RUN.name == "shirts/17/23"
    assert {"dataset": "digits", "recipe": "paper", "device": "a GPU", "purpose": "search"}.items() <= (
        RUN.tags.items()
    )
    other = Run.of("shirts", Task(**{**_fields(TASK), "code": {"blocks": [2]}}), "a GPU")
    assert len(RUN.tags["code_sha256"]) == 64
    assert other.tags["code_sha256"] != RUN.tags["code_sha256"]


def _fields(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in Task.__slots__}


def test_writers_are_told_everything_in_order_by_the_end(tracker: Tracker, writer: Recorded) -> None:
    tracker.begin("shirts", TASK, "cpu")
    tracker.epoch(epoch(1))
    tracker.epoch(epoch(2, validation=None))
    tracker.end("finished", {"error": 0.25, "latency_ms:64": 3.0}, 1e9)
    begin, first, second, final, end = writer.told
    assert begin[1].name == "shirts/17/23"
    assert first == ("write", {"train/loss": 0.9, "train/error": 0.8, "validation/loss": 0.5,
                               "validation/error": 0.5, "lr": 0.1, "epoch_s": 2.0}, 1)  # fmt: skip
    assert set(second[1]) == {"train/loss", "train/error", "lr", "epoch_s"}
    assert final == ("write", {"final/error": 0.25, "final/latency_ms:64": 3.0}, 2)
    assert end == ("end", "finished")


def test_a_failure_has_no_final_values(tracker: Tracker, writer: Recorded) -> None:
    evaluate(tracker, "failed")
    assert [told[0] for told in writer.told] == ["begin", "write", "end"]


@pytest.mark.parametrize("where", ["begin", "write", "end"])
def test_an_exception_ends_tracking_and_is_told_once(
    tracker: Tracker, writer: Recorded, warnings: list[str], where: str
) -> None:
    writer.fails_at = where
    evaluate(tracker)
    told = list(writer.told)
    evaluate(tracker)
    assert writer.told == told
    assert warnings == ["no more tracking to mlflow in this training process: OSError: no route to host"]


def test_a_writer_that_cannot_be_made_ends_tracking(warnings: list[str]) -> None:
    def fail(destination: Destination) -> Any:
        raise ImportError("No module named 'mlflow'")

    evaluate(Tracker([DESTINATION], warnings.append, fail))
    assert len(warnings) == 1
    assert "No module named 'mlflow'" in warnings[0]


def test_no_password_is_told(warnings: list[str]) -> None:
    def fail(destination: Destination) -> Any:
        raise OSError("no answer from http://me:secret@host:5000/api")

    evaluate(Tracker([DESTINATION], warnings.append, fail))
    assert "no answer from http://host:5000/api" in warnings[0]
    with pytest.raises(InvalidInput) as refused:
        tracking.parse("http://me:secret@host")
    assert "secret" not in str(refused.value)


def test_a_task_that_cannot_be_described_ends_tracking(tracker: Tracker, warnings: list[str]) -> None:
    broken = Task(**{**_fields(TASK), "recipe": None})
    tracker.begin("shirts", broken, "cpu")
    tracker.end("failed", {}, 1e9)
    assert len(warnings) == 1


def test_one_writer_fails_alone(warnings: list[str]) -> None:
    broken, sound = Recorded(), Recorded()
    broken.fails_at = "begin"
    writers = iter([broken, sound])
    evaluate(Tracker([DESTINATION, DESTINATION], warnings.append, lambda destination: next(writers)))
    assert [told[0] for told in sound.told] == ["begin", "write", "write", "end"]


def test_a_writer_that_hangs_is_waited_for_once(
    tracker: Tracker, writer: Recorded, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FLUSH_S", 0.2)
    writer.gate.clear()
    assert 0.2 <= seconds_of(lambda: evaluate(tracker)) < 2
    assert seconds_of(lambda: [evaluate(tracker) for _ in range(20)]) < 2  # 4 s, if each waited
    assert warnings == ["tracking to mlflow lags behind; no evaluation waits for it"]
    writer.gate.set()
    deadline = time.monotonic() + 10
    while writer.told.count(("end", "finished")) < 21:
        assert time.monotonic() < deadline, "records were lost"
        time.sleep(0.01)
    evaluate(tracker)  # it has caught up: the end waits again, and all is written
    assert writer.told.count(("end", "finished")) == 22


def test_no_wait_uses_up_the_time_of_an_evaluation(tracker: Tracker, writer: Recorded) -> None:
    writer.gate.clear()
    assert seconds_of(lambda: evaluate(tracker, time_left_s=tracking.FLUSH_MARGIN_S + 0.1)) < 2
    assert seconds_of(lambda: evaluate(tracker, time_left_s=0.0)) < 0.5


def test_a_full_queue_ends_tracking(
    writer: Recorded, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "QUEUED", 5)
    writer.gate.clear()
    tracker = Tracker([DESTINATION], warnings.append, lambda destination: writer)
    for number in range(20):
        tracker.epoch(epoch(number))
    assert len(warnings) == 1
    assert "dropped" in warnings[0]


def test_without_destinations_there_is_no_thread(warnings: list[str]) -> None:
    before = threading.active_count()
    evaluate(Tracker([], warnings.append))
    assert threading.active_count() == before


def seconds_of(function: Callable[[], object]) -> float:
    began = time.monotonic()
    function()
    return time.monotonic() - began


# --- MLflow ------------------------------------------------------------------------------------------


class FakeClient:
    """As much of ``mlflow.MlflowClient`` as is used, with one server for all."""

    experiments: ClassVar[dict[str, str]]
    runs: ClassVar[dict[str, SimpleNamespace]]

    def __init__(self, tracking_uri: str) -> None:
        self.uri = tracking_uri

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        number = self.experiments.get(name)
        return None if number is None else SimpleNamespace(experiment_id=number)

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments)))

    def create_run(self, experiment_id: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        run = SimpleNamespace(
            info=SimpleNamespace(run_id=f"run{len(self.runs)}"), experiment_id=experiment_id,
            name=run_name, tags=tags, status="RUNNING", metrics=[],
        )  # fmt: skip
        self.runs[run.info.run_id] = run
        return run

    def search_runs(self, experiment_ids: list[str], filter_string: str, max_results: int) -> list[Any]:
        assert filter_string == (
            f"tags.evaluation = '23' and tags.code_sha256 = '{RUN.tags['code_sha256']}' "
            "and attributes.status != 'FINISHED'"
        )
        return [run for run in self.runs.values() if run.status != "FINISHED"][:max_results]

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].status = status

    def log_batch(self, run_id: str, metrics: list[SimpleNamespace], synchronous: bool) -> None:
        self.runs[run_id].metrics += [(metric.key, metric.value, metric.step) for metric in metrics]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id].status = status


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    """A fake module ``mlflow``."""

    class Client(FakeClient):
        experiments: ClassVar[dict[str, str]] = {}
        runs: ClassVar[dict[str, SimpleNamespace]] = {}

    def metric(key: str, value: float, timestamp: int, step: int) -> SimpleNamespace:
        return SimpleNamespace(key=key, value=value, step=step)

    module = ModuleType("mlflow")
    module.MlflowClient = Client  # type: ignore[attr-defined]
    module.entities = SimpleNamespace(Metric=metric)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return Client


def test_mlflow_has_a_run_with_tags_metrics_and_end(server: type[FakeClient]) -> None:
    writer = MLflow("http://server")
    writer.begin(RUN)
    writer.write({"final/latency_ms:64": 3.0}, 2)
    writer.end("finished")
    (run,) = server.runs.values()
    assert server.experiments == {"shirts": run.experiment_id}
    assert (run.name, run.tags, run.status) == ("shirts/17/23", dict(RUN.tags), "FINISHED")
    assert run.metrics == [("final/latency_ms_64", 3.0, 2)]


def test_an_evaluation_that_is_taken_up_goes_on_in_its_mlflow_run(server: type[FakeClient]) -> None:
    first = MLflow("http://server")
    first.begin(RUN)
    first.end("killed")
    second = MLflow("http://server")
    second.begin(RUN)
    assert [run.status for run in server.runs.values()] == ["RUNNING"]
    second.end("finished")
    second.begin(RUN)  # of another database, say
    assert len(server.runs) == 2


def test_two_processes_may_make_the_mlflow_experiment_at_once(
    server: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(self: FakeClient, name: str) -> str:
        self.experiments[name] = "7"
        raise RuntimeError("RESOURCE_ALREADY_EXISTS")

    monkeypatch.setattr(server, "create_experiment", too_late)
    MLflow("http://server").begin(RUN)
    assert [run.experiment_id for run in server.runs.values()] == ["7"]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs mlflow")
@pytest.mark.slow
def test_mlflow_writes_into_a_database_file(tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    writer = MLflow(uri)
    for how in ("killed", "finished"):
        writer.begin(RUN)
        writer.write({"train/loss": 0.5, "final/latency_ms:64": 3.0}, 1)
        writer.end(how)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shirts")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("shirts/17/23", "FINISHED")
    assert run.data.metrics == {"train/loss": 0.5, "final/latency_ms_64": 3.0}
    assert RUN.tags.items() <= run.data.tags.items()


# --- TensorBoard -------------------------------------------------------------------------------------


class FakeSummaryWriter:
    """As much of ``torch.utils.tensorboard.SummaryWriter`` as is used."""

    made: ClassVar[list[FakeSummaryWriter]]

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.scalars: list[tuple[str, float, int]] = []
        self.texts: dict[str, str] = {}
        self.is_closed = False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_text(self, name: str, text: str) -> None:
        self.texts[name] = text

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> list[FakeSummaryWriter]:
    """The writers that a fake module ``torch.utils.tensorboard`` has made."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = FakeSummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(FakeSummaryWriter, "made", [], raising=False)
    return FakeSummaryWriter.made


def test_tensorboard_has_a_folder_for_each_run(boards: list[FakeSummaryWriter]) -> None:
    writer = TensorBoard("runs")
    writer.begin(RUN)
    writer.write({"train/loss": 0.5}, 1)
    writer.end("failed")
    (board,) = boards
    assert board.directory == "runs/shirts/17/23"
    assert board.scalars == [("train/loss", 0.5, 1)]
    assert "| dataset | digits |" in board.texts["evaluation"]
    assert board.texts["ended"] == "failed"
    assert board.is_closed


@pytest.mark.parametrize("name", ["..", "/etc", "../../a", "a/b", "a\\b"])
def test_no_name_leads_out_of_the_directory(boards: list[FakeSummaryWriter], name: str) -> None:
    TensorBoard("runs").begin(Run.of(name, TASK, "cpu"))
    folders = Path(boards[0].directory).parts
    assert (folders[0], folders[2:]) == ("runs", ("17", "23"))
    assert ".." not in folders


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")
def test_tensorboard_writes_event_files(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for how in ("killed", "finished"):
        writer = TensorBoard(str(tmp_path))
        writer.begin(RUN)
        writer.write({"train/loss": 0.5}, 1 if how == "killed" else 2)
        writer.end(how)
    events = EventAccumulator(str(tmp_path / "shirts" / "17" / "23"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.5)]
