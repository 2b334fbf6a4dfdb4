"""What may be wrong with a database, and how to mend it.

``examine`` looks into the database alone; ``evolver.cli.doctor`` adds what concerns the machine it
runs on. A *problem* keeps a search from going on; a *warning* may do so, or misleads people.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Literal

from sqlalchemy import Connection

from evolver.store import fleet, operations
from evolver.store.db import Database
from evolver.store.fleet import WorkerFact
from evolver.store.operations import Outcomes
from evolver.store.schema import REVISION

Level = Literal["ok", "warning", "problem"]

CLOCK_S = 2.0
"""A clock that is off by more than this makes logs hard to compare; leases use the database's clock."""
OVERDUE_S = 60.0
"""What schedulers and workers do every few seconds and was not done for so long, nobody does."""
MIN_ATTEMPTS = 5
"""Fewer attempts of a host say nothing about it."""
SPARE_CONNECTIONS = 10
"""Kept free for people, schedulers and the server itself."""
MIN_POSTGRESQL = 14
COMPARED = ("evolver", "torch")
"""Packages whose versions should be the same on all workers: they change results."""
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "beegfs", "gpfs", "glusterfs",
     "fuse.sshfs", "fuse.glusterfs", "fuse.ceph"}
)  # fmt: skip
"""Where SQLite's write-ahead log and locks do not work between machines."""
MOUNTS = Path("/proc/mounts")


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check, and what to do about it."""

    check: str
    level: Level
    message: str
    remedy: str | None = None


def examine(database: Database) -> list[Finding]:
    """Check an open database. Raises DatabaseError when it becomes unreachable meanwhile."""
    checks: list[Callable[[Connection], Iterator[Finding]]] = [
        _clock, _leases, _schedulers, _workers, _versions, _outcomes, _deletions, _orphans,
    ]  # fmt: skip
    findings = [Finding("database", "ok", f"{database} is at revision {REVISION}")]
    with database.read() as connection:
        findings += _sqlite(database, connection) if database.is_sqlite else _postgresql(connection)
        for check in checks:
            findings += check(connection)
    return findings


# --- the server --------------------------------------------------------------------------------------


def _sqlite(database: Database, connection: Connection) -> Iterator[Finding]:
    mode = operations.journal_mode(connection)
    if mode == "wal":
        yield Finding("journal", "ok", "write-ahead log")
    else:
        yield Finding(
            "journal", "problem", f"the journal mode is {mode}: readers and writers block each other",
            "end all processes, then run: evolver db upgrade",
        )  # fmt: skip
    path = Path(database.url.database or "").resolve()
    kind = filesystem_of(path, MOUNTS.read_text(errors="replace") if MOUNTS.exists() else "")
    if kind in NETWORK_FILESYSTEMS:
        yield Finding(
            "file", "warning", f"{path} lies on a network file system ({kind}), where SQLite may lose data",
            "move the file to a local disk, or copy it to PostgreSQL: evolver db copy",
        )  # fmt: skip
    else:
        yield Finding("file", "ok", f"on a local file system{f' ({kind})' if kind else ''}")


def filesystem_of(path: Path, mounts: str) -> str | None:
    """The kind of file system that holds an absolute path, by the lines of /proc/mounts; None if unknown."""
    best, kind = -1, None
    for line in mounts.splitlines():
        _device, where, what, *_ = line.split(" ")
        mount = Path(where.replace("\\040", " "))
        if len(mount.parts) >= best and path.is_relative_to(mount):  # a later mount hides an earlier one
            best, kind = len(mount.parts), what
    return kind


def _postgresql(connection: Connection) -> Iterator[Finding]:
    version = operations.setting(connection, "server_version")
    if int(version.split(".")[0]) < MIN_POSTGRESQL:
        yield Finding("server", "problem", f"PostgreSQL {version}", f"use {MIN_POSTGRESQL} or newer")
    else:
        yield Finding("server", "ok", f"PostgreSQL {version}")
    allowed, live = int(operations.setting(connection, "max_connections")), len(fleet.live(connection))
    if live + SPARE_CONNECTIONS > allowed:
        yield Finding(
            "connections", "warning", f"{live} workers hold a connection each, the server allows {allowed}",
            "raise max_connections, or put PgBouncer between",
        )  # fmt: skip
    else:
        yield Finding("connections", "ok", f"{allowed} allowed, for {live} workers")
    if operations.setting(connection, "autovacuum") == "on":
        yield Finding("autovacuum", "ok", "on")
    else:
        yield Finding(
            "autovacuum", "warning", "off: tables grow, and queries slow down", "set autovacuum = on"
        )


def _clock(connection: Connection) -> Iterator[Finding]:
    asked = time.time()
    theirs = operations.clock(connection)
    ours = datetime.fromtimestamp((asked + time.time()) / 2, UTC)
    off_s = (ours - theirs).total_seconds()
    if abs(off_s) > CLOCK_S:
        yield Finding(
            "clock", "warning",
            f"this machine is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} the database; "
            "leases are not affected, logs are",
            "let both follow a time server (NTP)",
        )  # fmt: skip
    else:
        yield Finding("clock", "ok", "agrees with the database's")


# --- searches ----------------------------------------------------------------------------------------


def _leases(connection: Connection) -> Iterator[Finding]:
    if expired := operations.expired_leases(connection, OVERDUE_S):
        yield Finding(
            "leases", "problem", f"leases ran out and nobody took them back: evaluations {_some(expired)}",
            "start a scheduler or a worker: it takes them back",
        )  # fmt: skip
    elif held := operations.without_holder(connection):
        yield Finding(
            "leases", "problem", f"evaluations are leased to nobody: {_some(held)}",
            "wait until their leases have run out; then a scheduler or a worker takes them back",
        )  # fmt: skip
    else:
        yield Finding("leases", "ok", "each is held by a worker")


def _schedulers(connection: Connection) -> Iterator[Finding]:
    waiting = operations.unnumbered(connection, OVERDUE_S)
    alone = operations.without_leader(connection)
    for name in alone:
        results = f", {waiting[name]} results wait for one" if name in waiting else ""
        yield Finding(
            "scheduler", "problem", f"'{name}' is running and no scheduler leads it{results}",
            f"run: evolver scheduler {quote(name)}   (or evolver pause {quote(name)})",
        )  # fmt: skip
    for name in waiting.keys() - set(alone):
        yield Finding(
            "scheduler", "warning", f"{waiting[name]} results of '{name}' wait for long, though it is led",
            "look at the scheduler's log",
        )  # fmt: skip
    if not alone and not waiting:
        led = len(operations.leaders(connection))
        yield Finding("scheduler", "ok", f"every running experiment is led ({led})")


def _workers(connection: Connection) -> Iterator[Finding]:
    for one in fleet.faulted(connection):
        yield Finding(
            "workers", "warning", f"worker {one.name} gave up: {one.note}",
            "mend its machine, then start it again",
        )  # fmt: skip
    live = fleet.live(connection)
    for one in live:
        if one.note and one.state == "active":
            yield Finding(
                "workers", "warning", f"worker {one.name} has nothing that it can do: {one.note}",
                "give it what is missing: --data-dir, --download, or the plug-in",
            )  # fmt: skip
    yield Finding("workers", "ok", f"{len(live)} alive, {sum(one.running for one in live)} trainings")


def _versions(connection: Connection) -> Iterator[Finding]:
    live = fleet.live(connection)
    differing = [line for package in COMPARED if (line := _difference(package, live))]
    for line in differing:
        yield Finding("versions", "warning", line, "install the same versions on all machines")
    if not differing:
        yield Finding("versions", "ok", "the same on all live workers")


def _difference(package: str, workers: Sequence[WorkerFact]) -> str | None:
    """Which workers have which version of a package, when they differ."""
    by_version: dict[str, list[str]] = {}
    for one in workers:
        if package in one.versions:
            by_version.setdefault(one.versions[package], []).append(one.name)
    if len(by_version) < 2:
        return None
    return f"{package} differs: " + "; ".join(
        f"{version} on {_some(names)}" for version, names in sorted(by_version.items())
    )


def _outcomes(connection: Connection) -> Iterator[Finding]:
    hosts = operations.recent_outcomes(connection)
    attempts, failed = sum(one.attempts for one in hosts), sum(one.failed for one in hosts)
    for one in hosts:
        others = _Share(attempts - one.attempts, failed - one.failed)
        if one.attempts >= MIN_ATTEMPTS and _Share(one.attempts, one.failed).is_much_worse_than(others):
            yield Finding(
                "failures", "warning",
                f"host {one.host} failed {one.failed} of its last {one.attempts} attempts "
                f"({_kinds([one])}), the others {others.failed} of {others.attempts}",
                "look at it: evolver workers --all; evolver drain keeps it from claiming",
            )  # fmt: skip
    if attempts >= MIN_ATTEMPTS and failed > attempts / 2:
        yield Finding(
            "failures", "warning", f"{failed} of the last {attempts} attempts failed: {_kinds(hosts)}",
            "evolver logs GENOME_ID shows what a training printed; the view 'failure' lists them",
        )  # fmt: skip
    else:
        yield Finding(
            "failures",
            "ok",
            f"{failed} of the last {attempts} attempts{f': {_kinds(hosts)}' if failed else ''}",
        )


@dataclass(frozen=True, slots=True)
class _Share:
    attempts: int
    failed: int

    def is_much_worse_than(self, others: _Share) -> bool:
        """At least half failed, and twice the others' share of what they tried."""
        if not others.attempts:
            return False
        own, theirs = self.failed / self.attempts, others.failed / others.attempts
        return own >= 0.5 and own > 2 * theirs


def _kinds(hosts: Sequence[Outcomes]) -> str:
    counts: dict[str, int] = {}
    for one in hosts:
        for kind, number in one.faults.items():
            counts[kind] = counts.get(kind, 0) + number
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items(), key=lambda c: -c[1]))


def _deletions(connection: Connection) -> Iterator[Finding]:
    found = operations.half_deleted(connection)
    for name in found:
        yield Finding(
            "deletions", "warning", f"'{name}' is being deleted, or that was interrupted",
            f"end it: evolver delete {quote(name)}",
        )  # fmt: skip
    if not found:
        yield Finding("deletions", "ok", "none is left half done")


def _orphans(connection: Connection) -> Iterator[Finding]:
    found = operations.orphans(connection)
    for what, number in found.items():
        yield Finding(
            "rows", "problem", f"{number} {what}",
            "the database was changed from outside of evolver: restore a backup, or ask its administrator",
        )  # fmt: skip
    if not found:
        yield Finding("rows", "ok", "fit together")


def _some(what: Sequence[object]) -> str:
    shown = ", ".join(map(str, what[:5]))
    return f"{shown} and {len(what) - 5} more" if len(what) > 5 else shown
