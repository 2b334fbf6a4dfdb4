"""Which offers of work this machine can serve: it must have the evaluator's plug-in and the data, and its
device must be one that the objectives can be measured on.

A claim that could not be served would cost time and a fault of this worker; so a training process
looks before the first claim. What is missing is looked for again from time to time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from evolver.store.claims import Offer, register_dataset
from evolver.store.db import Database

RECHECK_S = 60.0
Key = tuple[str, int, tuple[str, ...]]
"""Evaluator, data set and objectives: experiments that share them share the answer."""

log = logging.getLogger("evolver.worker")


@dataclass(frozen=True, slots=True)
class _Verdict:
    fault: str | None
    at: float


class Readiness:
    """The answers so far. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._verdicts: dict[Key, _Verdict] = {}
        self._logged: set[tuple[str, str]] = set()

    def servable(self, offers: Iterable[Offer]) -> list[Offer]:
        """Those whose work can be claimed."""
        return [offer for offer in offers if self._is_ready(_key(offer))]

    def to_check(self, offers: Iterable[Offer], under_way: Iterable[Offer]) -> Offer | None:
        """The next experiment to look at, other than those that are being looked at."""
        busy, now = {_key(offer) for offer in under_way}, time.monotonic()
        due = (offer for offer in offers if _key(offer) not in busy and self._is_due(_key(offer), now))
        return next(due, None)

    def conclude(self, offer: Offer, fault: str | None) -> None:
        """Keep an answer. What is missing is logged once for each experiment and reason."""
        self._verdicts[_key(offer)] = _Verdict(fault, time.monotonic())
        if fault and (offer.experiment, fault) not in self._logged:
            self._logged.add((offer.experiment, fault))
            log.warning("skipping experiment '%s': %s", offer.experiment, fault)

    def doubt(self, evaluator: str, dataset_id: int) -> None:
        """The host failed at this: look again before the next claim."""
        for key in [key for key in self._verdicts if key[:2] == (evaluator, dataset_id)]:
            del self._verdicts[key]

    def complaint(self, offers: Iterable[Offer]) -> str | None:
        """Why nothing can be served, for the worker's row; None when something can, or nothing is known."""
        faults = [(offer, self._verdicts.get(_key(offer))) for offer in offers]
        if not faults or not all(verdict and verdict.fault for _, verdict in faults):
            return None
        return "; ".join(f"{offer.experiment}: {verdict.fault}" for offer, verdict in faults if verdict)

    def _is_ready(self, key: Key) -> bool:
        verdict = self._verdicts.get(key)
        return verdict is not None and verdict.fault is None

    def _is_due(self, key: Key, now: float) -> bool:
        verdict = self._verdicts.get(key)
        return verdict is None or (verdict.fault is not None and now >= verdict.at + RECHECK_S)


def differing_data(database: Database, offer: Offer, sha256: str | None) -> str | None:
    """What is wrong with the data here, of this hash: they must be those that the data set was
    registered with, and are registered if they are the first. None where all is well.
    """
    if sha256 is None:
        return None
    with database.write() as conn:
        registered = register_dataset(conn, offer.dataset.id, sha256)
    if registered == sha256:
        return None
    return (
        f"the data of '{offer.dataset.name}' here (sha256 {sha256[:12]}…) are not those "
        f"of the experiment ({registered[:12]}…)"
    )


def _key(offer: Offer) -> Key:
    return offer.evaluator, offer.dataset.id, offer.objectives
