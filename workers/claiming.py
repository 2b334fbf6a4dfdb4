"""Claiming for a worker's slots, also where the answer to a claim is lost.

A connection that is cut after the commit, or given up while the server is at work, leaves an evaluation
leased to a worker that does not know of it. The worker knows the token that it asked with, and hands back
what is held under it; so the loss costs neither a lease's waiting time nor a strike.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from evolver.store import claims, leases
from evolver.store.claims import Claim, Offer, WorkerInfo
from evolver.store.db import Database, DatabaseUnavailable
from workers.slots import Slot

log = logging.getLogger("evolver.worker")


class Claimer:
    """Claims, one experiment after the other in turn. Times are of the monotonic clock."""

    def __init__(self, database: Database, info: WorkerInfo, lease_s: float) -> None:
        self._database = database
        self._info = info
        self._lease_s = lease_s
        self._last_experiment: int | None = None
        self._unclear: dict[str, float] = {}
        """Tokens that nobody works under and that may yet hold an evaluation, and since when."""

    def claim(self, worker_id: int, slot: Slot, offers: Sequence[Offer]) -> Claim | None:
        """Lease one evaluation for a slot, None when there is none.

        Raises DatabaseUnavailable: the claim may stand all the same, until ``release_unclear``.
        """
        token = claims.new_token()
        try:
            with self._database.single() as conn:
                claim = claims.claim(
                    conn,
                    worker_id,
                    token=token,
                    slot=slot.number,
                    device=slot.device,
                    device_name=slot.device_name,
                    versions=self._info.versions,
                    lease_s=self._lease_s,
                    offers=offers,
                    after=self._last_experiment or _before_first(worker_id, offers),
                )
        except DatabaseUnavailable:
            self.hand_back(token)
            raise
        if claim:
            self._last_experiment = claim.experiment_id
        return claim

    def hand_back(self, token: str) -> None:
        """Have ``release_unclear`` hand back what is held under this token, if anything is."""
        self._unclear[token] = time.monotonic()

    def release_unclear(self) -> None:
        """Hand back what was claimed without an answer, or given up without one; to be called now and then.

        A statement may reach the server after its connection was given up, so each token is looked for again
        during a lease's time. Raises DatabaseUnavailable.
        """
        if not self._unclear:
            return
        with self._database.write() as conn:
            released = leases.release_tokens(conn, list(self._unclear))
        if released:
            log.info("handed back evaluations that were out of reach while the database was: %d", released)
        oldest = time.monotonic() - self._lease_s
        self._unclear = {token: lost for token, lost in self._unclear.items() if lost > oldest}


def _before_first(worker_id: int, offers: Sequence[Offer]) -> int | None:
    """After which experiment a new worker begins, so that worker 1 has the first, worker 2 the second, …

    Many workers live for one claim only, and would all begin with the same.
    """
    experiments = sorted({offer.experiment_id for offer in offers})
    return experiments[(worker_id - 2) % len(experiments)] if experiments else None
