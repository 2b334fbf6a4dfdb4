"""A slot: one device's place for one evaluation at a time, and the training process that does it.

A slot watches its process and decides what its messages, its death or its silence mean for the
evaluation. It never touches the database: what is to be written is left in its ``work``.

An evaluation that was claimed waits in its slot until its training fits into the device's memory beside
those that run. While one waits, nothing more is claimed for its device: the others end, and at the latest
when it is alone it begins. So a large genome neither waits for ever nor keeps claims from other workers.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

from evolver.evaluation import Epoch, SavedCheckpoint
from evolver.store import leases
from evolver.store.claims import Offer
from workers import protocol
from workers.admission import DeviceMemory
from workers.process import Death, Surroundings, TrainingProcess
from workers.work import Ending, Work

READY_S = 300.0
"""A training process that has not begun by then hangs at loading: a fault of the host."""
CHECK_S = 600.0
"""A check of the data that has not ended by then hangs, at a network file system as a rule."""
DOWNLOAD_S = 3600.0
"""The same where the check may download the data."""
STOP_S = 30.0
"""How long saving a checkpoint may take once a stop was asked for."""
EVALUATIONS_OF_A_PROCESS = 200
"""Then it is replaced: oneDNN keeps the kernels that it made for each new shape, a megabyte a genome."""
HARMLESS_KINDS = frozenset({"diverged", "invalid"})
"""After other failures the process is replaced: its memory or its device may be in a bad state."""

log = logging.getLogger("evolver.worker")


def start_what_fits(slots: Sequence[Slot]) -> None:
    """Have the evaluations begin that wait and whose training fits beside those that run on its device."""
    for slot in slots:
        if slot.work and slot.is_waiting:
            running = [one.work for one in slots if one.shares(slot) and one.work and one.is_running]
            beside = [work.memory_bytes for work in running]
            if slot.memory.fits(slot.work.memory_bytes, beside):
                slot.start()


def claimable(slots: Sequence[Slot]) -> list[Slot]:
    """The free slots of devices for which nothing waits, those of the least busy device first."""

    def mates(slot: Slot) -> list[Slot]:
        return [other for other in slots if other.shares(slot)]

    free = [slot for slot in slots if slot.is_free and not any(mate.is_waiting for mate in mates(slot))]
    return sorted(free, key=lambda slot: sum(mate.work is not None for mate in mates(slot)))


class Slot:
    """One place for one evaluation, or one check of the data. Slots of one device share its ``memory``."""

    def __init__(
        self, number: int, memory: DeviceMemory, device_name: str, surroundings: Surroundings
    ) -> None:
        self.number = number
        self.memory = memory
        self.device = memory.device
        self.device_name = device_name
        self.process: TrainingProcess | None = None
        self.work: Work | None = None
        self.checking: Offer | None = None
        self.verdict: protocol.Checked | None = None
        """The answer to a check, until the supervisor has taken it."""
        self._check_by = math.inf
        self._finished = 0
        """Evaluations that the process has finished."""
        self._surroundings = surroundings

    @property
    def is_free(self) -> bool:
        return self.work is None and self.checking is None

    @property
    def is_running(self) -> bool:
        """Whether the training process works on an evaluation."""
        return self.work is not None and self.work.started and self.work.ending is None

    @property
    def is_waiting(self) -> bool:
        """Whether an evaluation was claimed and has not begun for want of memory."""
        return self.work is not None and not self.work.started and self.work.ending is None

    def shares(self, other: Slot) -> bool:
        """Whether it is on the same device."""
        return self.memory is other.memory

    def next_deadline(self) -> float:
        """When ``attend`` has something to do, even if the process is silent."""
        if self._awaits_verdict:
            return self._check_by
        return min(self.work.deadline, self.work.stop_by) if self.work and self.is_running else math.inf

    @property
    def _awaits_verdict(self) -> bool:
        return self.checking is not None and self.verdict is None

    @property
    def _check_s(self) -> float:
        return DOWNLOAD_S if self._surroundings.download else CHECK_S

    def check(self, offer: Offer) -> None:
        """Ask the process whether it can do the work of an experiment."""
        self.checking, self.verdict = offer, None
        self._check_by = time.monotonic() + self._check_s
        try:
            self._ready_process().send(
                protocol.Check(
                    evaluator=offer.evaluator,
                    dataset=offer.dataset.to_json(),
                    objectives=offer.objectives,
                )
            )
        except OSError as error:
            self.verdict = protocol.Checked(sha256=None, fault=f"cannot start a training process: {error}")

    def take_verdict(self) -> tuple[Offer, protocol.Checked] | None:
        """The check that has been answered, once."""
        if self.checking is None or self.verdict is None:
            return None
        answer = (self.checking, self.verdict)
        self.checking = self.verdict = None
        return answer

    def start(self) -> None:
        """Have the process evaluate the claim in ``work``."""
        work = self.work
        assert work is not None, "there is something to evaluate"
        work.start(ready_by=time.monotonic() + READY_S)
        try:
            process = self._ready_process()
        except OSError as error:
            work.end(Ending.environment(work.lease, f"cannot start a training process: {error}", ""))
            return
        process.forget_log()
        process.send(protocol.Evaluate(task=work.claim.task.to_json(), experiment=work.claim.experiment))

    def stop(self) -> None:
        """Ask for the evaluation to be handed back; a check is broken off."""
        if self.checking:
            self.kill()
        elif self.work and self.is_waiting:
            self.work.end(Ending.released(self.work.lease, ""))
        elif self.work and self.is_running and not self.work.stopping:
            self.work.stop_by = time.monotonic() + STOP_S
            if self.process:
                self.process.send(protocol.Stop(token=self.work.lease.token))

    def hand_back_now(self) -> None:
        """Kill the process; what it was doing goes back to the queue."""
        log_tail = self._log_tail()
        self.kill()
        if self.work:
            self.work.end(Ending.released(self.work.lease, log_tail))

    def drop(self) -> None:
        """The evaluation is no longer this worker's: nothing more is written of it."""
        if self.is_running:
            self.kill()
        self.work = None

    def kill(self) -> None:
        """End the process, if there is one, and forget what was being checked."""
        self.checking = self.verdict = None
        if self.process:
            self.process.kill()
            self.process = None

    def attend(self) -> None:
        """Take in what the process has sent, notice its death, and enforce the times."""
        process = self.process
        if process is None:
            return
        process.flush()
        process.read_log()
        death = process.death()
        try:
            for message in process.receive():
                self._take(message)
        except protocol.ProtocolError as error:
            self._lose_process(f"the training process sent {error}", of_host=False)
        if self.process is process:
            if death:
                self._bury(death)
            else:
                self._enforce_times()

    def _ready_process(self) -> TrainingProcess:
        if self.process is None:
            self.process = TrainingProcess(self.device, self._surroundings)
            self._finished = 0
        return self.process

    def _log_tail(self) -> str:
        return self.process.log_tail() if self.process else ""

    def _take(self, message: protocol.ToSupervisor) -> None:
        if isinstance(message, protocol.Warned):
            log.warning("slot %d: %s", self.number, message.message)
        elif isinstance(message, protocol.Checked):
            self.verdict = message
        elif self.work is not None and self.work.ending is None:
            self._report(self.work, message)

    def _report(self, work: Work, message: protocol.ToSupervisor) -> None:
        match message:
            case protocol.Begun():
                work.begin(time.monotonic())
            case protocol.Started(dtype=dtype, resumed_from_epoch=epoch):
                work.resume(epoch)
                work.add(
                    lambda conn: leases.attempt_started(
                        conn, work.lease, dtype=dtype, resumed_from_epoch=epoch
                    )
                )
            case protocol.EpochEnded(epoch=Epoch() as ended):
                work.add_epoch(ended)
            case protocol.CheckpointSaved(checkpoint=SavedCheckpoint() as saved):
                work.add_checkpoint(lambda conn: leases.record_checkpoint(conn, work.lease, saved))
            case protocol.MemoryUsed(kept=kept, peak=peak):
                self.memory.learn(work.memory_bytes, kept=kept, peak=peak)
            case protocol.Finished(values=values):
                work.end(Ending.done(work.lease, values, self._log_tail()))
                self._finished += 1
                if self._finished >= EVALUATIONS_OF_A_PROCESS:
                    self.kill()
            case protocol.HandedOver():
                work.end(Ending.released(work.lease, self._log_tail()))
            case protocol.Faulted(message=text):
                self._end_and_replace(Ending.environment(work.lease, text, self._log_tail()))
            case protocol.Failed(kind=kind, message=text) if kind in HARMLESS_KINDS:
                work.end(Ending.failed(work.lease, kind, text, self._log_tail()))
            case protocol.Failed(kind=kind, message=text):
                self._end_and_replace(Ending.failed(work.lease, kind, text, self._log_tail()))

    def _end_and_replace(self, ending: Ending) -> None:
        if self.work:
            self.work.end(ending)
        self.kill()

    def _bury(self, death: Death) -> None:
        """The process is dead. One that never began died of its host, unless somebody killed it."""
        has_begun = self.work is not None and self.work.begun
        self._lose_process(str(death), of_host=not (has_begun or death.by_sigkill))

    def _lose_process(self, reason: str, *, of_host: bool) -> None:
        """The process is gone or useless. What it was doing ends for this reason."""
        checking, work, log_tail = self.checking, self.work, self._log_tail()
        self.kill()
        if checking:
            self.checking, self.verdict = checking, protocol.Checked(sha256=None, fault=reason)
        elif work is None or not self.is_running:
            log.warning("slot %d: %s, between evaluations", self.number, reason)
        elif work.stopping:
            work.end(Ending.released(work.lease, log_tail))
        elif of_host:
            work.end(Ending.environment(work.lease, f"{reason} before it began", log_tail))
        else:
            work.end(Ending.failed(work.lease, "crash", reason, log_tail))

    def _enforce_times(self) -> None:
        work, now = self.work, time.monotonic()
        if self._awaits_verdict and now >= self._check_by:
            self._lose_process(f"the check of the data took longer than {self._check_s:g} s", of_host=True)
        if work is None or work.ending:
            return
        if now >= work.stop_by:
            self.hand_back_now()
        elif now >= work.deadline and work.begun:
            message = f"the evaluation took longer than {work.claim.task.timeout_s:g} s"
            self._end_and_replace(Ending.failed(work.lease, "timeout", message, self._log_tail()))
        elif now >= work.deadline:
            message = f"the training process was not ready after {READY_S:g} s"
            self._end_and_replace(Ending.environment(work.lease, message, self._log_tail()))
