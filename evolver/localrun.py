"""Worker processes of this machine, for the commands that train: ``run`` and ``retrain``.

check_options  tells before anything is started whether workers can be as they are asked for.
check_data     tells before anything is started whether the data can be read here.
LocalWorkers   starts workers, starts others for those that die but not for those that were asked to
               leave, and stops them.

Nothing of ``workers`` is imported until it is used, and torch never.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import URL

from evolver.errors import EnvironmentFault, InvalidInput
from evolver.evaluation import DatasetRef
from evolver.store.db import VARIABLE

if TYPE_CHECKING:
    from workers.process import TrainingProcess
    from workers.protocol import Checked

RESTART_S = (1.0, 30.0)
"""The pause before another worker is started doubles from the first to the second."""
HEALTHY_S = 60.0
"""A worker that lived so long was no failed start: the pause begins anew."""
STOP_S = 45.0
"""How long workers may take to save checkpoints and hand their work back."""
LEAVE_S = 3.0
"""How long they may take when they shall leave at once."""
FINAL_CODES = (InvalidInput.exit_code, EnvironmentFault.exit_code)
"""Exit codes of a worker that another start would not change."""
LEFT_CODE = 0
"""Exit code of a worker that was asked to leave: local workers have no limit at which they would end."""
LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How the workers of this machine work; ``number`` of them."""

    number: int
    device: str
    slots: int | Literal["auto"]
    data_dir: Path
    download: bool
    checkpoint_url: str | None
    track: tuple[str, ...] = ()


# --- checks -----------------------------------------------------------------------------------------


def check_options(options: LocalOptions) -> None:
    """Look whether this machine has the device, and can write where the checkpoints shall be.

    ``auto`` slots are for a single worker, as each would take the whole machine for its own.

    Raises InvalidInput or EnvironmentFault.
    """
    from workers import devices, tracking
    from workers.checkpoint_files import require_writable

    if options.slots == "auto" and options.number > 1:
        raise InvalidInput(f"--slots auto is for one worker, not for --workers {options.number}")
    devices.parse_devices(options.device)
    tracking.require_packages(options.track)
    if options.checkpoint_url:
        require_writable(options.checkpoint_url)


def check_data(
    evaluator: str, dataset: DatasetRef, options: LocalOptions, objectives: tuple[str, ...] = ()
) -> None:
    """Have a training process look whether evaluator and data are here; with ``download``, it fetches them.
    It looks as well whether what ``objectives`` need can be measured on the first of the devices.

    Raises EnvironmentFault when not, or when the data are not those of the experiment.
    """
    from workers import devices, protocol
    from workers.process import Surroundings, TrainingProcess

    surroundings = Surroundings(
        options.data_dir.resolve(),
        options.download,
        checkpoint_url="",
        cpu_threads=1,
        device_slots=1 if options.slots == "auto" else options.slots,
    )
    process = TrainingProcess(devices.parse_devices(options.device)[0], surroundings)
    try:
        process.send(protocol.Check(evaluator=evaluator, dataset=dataset.to_json(), objectives=objectives))
        answer = _answer(process)
    finally:
        process.kill()
    if answer.fault:
        raise EnvironmentFault(answer.fault)
    if answer.sha256 and dataset.sha256 and answer.sha256 != dataset.sha256:
        raise EnvironmentFault(
            f"the data of '{dataset.name}' in {options.data_dir} (sha256 {answer.sha256[:12]}…) are not "
            f"those of the experiment ({dataset.sha256[:12]}…); give another --data-dir"
        )


def _answer(process: TrainingProcess) -> Checked:
    from workers.protocol import Checked

    while True:
        select.select(list(process.readable()), list(process.writable()), [], 1.0)
        process.flush()
        process.read_log()
        death = process.death()  # before receive: then its last messages are all there
        for message in process.receive():
            if isinstance(message, Checked):
                return message
        if death:
            last = process.log_tail().strip().splitlines()[-1:] or ["it printed nothing"]
            raise EnvironmentFault(f"the data could not be checked: {death}: {last[0]}")


# --- processes ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Place:
    """A place for one worker process, and what became of its last one."""

    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    log_start: int = 0
    restart_at: float = 0.0
    pause_s: float = RESTART_S[0]
    fault: str | None = None
    fault_code: int = 0
    has_left: bool = False

    def last_words(self) -> str:
        """The line of its log that tells most: the last error, else the last line."""
        with self.log.open("rb") as file:
            file.seek(max(self.log_start, self.log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("evolver: ") or " ERROR " in line]
        return re.sub(r"^(evolver: |.* ERROR )", "", (errors or lines or ["it printed nothing"])[-1])


@dataclass(slots=True)
class LocalWorkers:
    """The workers of one experiment on this machine. The caller calls ``attend`` from time to time.

    They end with this process, however it ends. The database's URL, which may hold a password, is
    passed in their environment. What they print goes to a file for each, which messages name.
    """

    url: URL
    experiment: str
    options: LocalOptions
    _places: list[_Place] = field(init=False)

    def __post_init__(self) -> None:
        numbers = range(1, self.options.number + 1)
        directory = _log_dir(self.url) if numbers else Path()
        stem = re.sub(r"[^\w.-]", "_", self.experiment)
        self._places = [_Place(directory / f"{stem}-{number}.log") for number in numbers]

    @property
    def alive(self) -> int:
        return sum(place.process is not None and place.process.poll() is None for place in self._places)

    @property
    def all_left(self) -> bool:
        """Whether nobody will work here any more, since workers were asked to leave."""
        closed = [place for place in self._places if place.has_left or place.fault]
        return any(place.has_left for place in closed) and len(closed) == len(self._places)

    def attend(self) -> Iterator[str]:
        """Start the workers that are due; yields a line for people about each that has ended.

        Raises EnvironmentFault or InvalidInput when none is left, and another start would not help.
        """
        for place in self._places:
            if place.process is not None and place.process.poll() is not None:
                yield self._bury(place, place.process.returncode)
            is_open = not (place.fault or place.has_left)
            if place.process is None and is_open and time.monotonic() >= place.restart_at:
                self._start(place)
        faults = [place for place in self._places if place.fault]
        if faults and len(faults) == len(self._places):
            error = InvalidInput if faults[0].fault_code == InvalidInput.exit_code else EnvironmentFault
            raise error(f"no worker can work here: {faults[0].fault} (log: {faults[0].log})")

    def _bury(self, place: _Place, code: int) -> str:
        place.process = None
        words = place.last_words()
        if code in FINAL_CODES:
            place.fault, place.fault_code = words, code
            return f"a worker gave up: {words}"
        if code == LEFT_CODE:
            place.has_left = True
            return "a worker was asked to leave ('evolver drain', or SIGTERM) and has left"
        if time.monotonic() - place.started_at > HEALTHY_S:
            place.pause_s = RESTART_S[0]
        place.restart_at = time.monotonic() + place.pause_s
        line = (
            f"a worker ended with status {code}; another starts in {place.pause_s:.0f} s "
            f"(log: {place.log}; its end: {words})"
        )
        place.pause_s = min(2 * place.pause_s, RESTART_S[1])
        return line

    def _start(self, place: _Place) -> None:
        with place.log.open("ab") as log:
            place.log_start = log.tell()
            place.started_at = time.monotonic()
            place.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C in the terminal is for the parent, which tells the workers
            )

    def _command(self) -> list[str]:
        from workers.options import MEMORY_SHARE

        options = self.options
        command = [sys.executable, "-m", "evolver.localworker", str(os.getpid())]
        command += [
            f"--device={options.device}",
            f"--slots={options.slots}",
            f"--memory-share={MEMORY_SHARE / options.number}",
            f"--data-dir={options.data_dir}",
        ]
        if options.download:
            command.append("--download")
        if options.checkpoint_url:
            command.append(f"--checkpoint-url={options.checkpoint_url}")
        command += [f"--track={destination}" for destination in options.track]
        return [*command, "--", self.experiment]

    def _environment(self) -> dict[str, str]:
        """The database, and this worker's share of the CPU unless the user chose one.

        A worker that is alone finds its share itself.
        """
        from workers.devices import cores
        from workers.process import thread_variables

        environment = {**os.environ, VARIABLE: self.url.render_as_string(hide_password=False)}
        number, slots = self.options.number, self.options.slots
        if number == 1 or slots == "auto":
            return environment
        return {**environment, **thread_variables(environment, max(1, cores() // (number * slots)))}

    def stop(self, wait: Callable[[float], object], hurried: Callable[[], bool]) -> None:
        """Have all workers hand back their work and end; at once when ``hurried`` says so."""
        self._end(wait, STOP_S, hurried)
        self._end(wait, LEAVE_S, lambda: False)
        for place in self._places:
            if place.process is not None:
                place.process.kill()
                place.process.wait()

    def _end(self, wait: Callable[[float], object], seconds: float, hurried: Callable[[], bool]) -> None:
        for place in self._places:
            if place.process is not None:
                place.process.terminate()
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline and not hurried():
            wait(0.05)


def _log_dir(url: URL) -> Path:
    """Beside the SQLite file, else a new directory for temporary files."""
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database).with_suffix(".logs")
        path.mkdir(exist_ok=True)
        return path
    return Path(tempfile.mkdtemp(prefix="evolver-"))
