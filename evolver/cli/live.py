"""A view that is kept up to date: the whole terminal, or a block of text each time where there is none."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from evolver.cli.output import console, say
from evolver.store.db import DatabaseUnavailable
from evolver.words import cut, duration

INTERVAL_S = 2.0
MARGIN_LINES = 6
"""Lines of a terminal that are not for the rows of a table: title, head, what is left out, a warning."""
LEAVE_KEYS = b"qQ"

interval_option = click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(0.1, 86400.0),
    metavar="S",
    help=f"Seconds between two looks. [default: {INTERVAL_S:g}]",
)

View = Callable[[int | None], RenderableType]
"""Reads the database and returns what to show, in about so many lines; None is no limit."""


def watch(view: View, title: str, interval_s: float | None) -> None:
    """Show a view until the user leaves: with q, or with Ctrl-C, which is a KeyboardInterrupt as elsewhere.

    A database that is away is waited for: a line says so, above what was read last.
    """
    out, pause_s = console(), interval_s or INTERVAL_S
    if out.is_terminal:
        _fill_screen(out, _Looking(view), title, pause_s)
    else:
        _print_blocks(out, view, title, pause_s)


def watch_json(show: Callable[[], None], interval_s: float | None) -> None:
    """Print JSON again and again, until Ctrl-C. A database that is away is waited for."""
    while True:
        try:
            show()
        except DatabaseUnavailable as error:
            say(_lost(error, 0.0), err=True)
        sys.stdout.flush()
        time.sleep(interval_s or INTERVAL_S)


# --- a terminal --------------------------------------------------------------------------------------


def _fill_screen(out: Console, looking: _Looking, title: str, pause_s: float) -> None:
    """On the alternate screen: what was on the terminal before is there again afterwards."""
    screen = Live(console=out, screen=True, auto_refresh=False)
    with _terminated_as_interrupted(), _keys() as leaves, screen:
        while True:
            shown = looking.view(max(1, out.height - MARGIN_LINES))
            screen.update(Group(_heading(title, pause_s, out.width), shown), refresh=True)
            if leaves(pause_s):
                return


class _Looking:
    """What was read last, and since when the database is away."""

    def __init__(self, view: View) -> None:
        self._read = view
        self._last: RenderableType = ""
        self._away_since: float | None = None

    def view(self, lines: int) -> RenderableType:
        try:
            self._last = self._read(lines)
        except DatabaseUnavailable as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
            away_s = time.monotonic() - self._away_since
            return Group(Text(_lost(error, away_s), "yellow"), self._last)
        self._away_since = None
        return self._last


def _heading(title: str, pause_s: float, width: int) -> Text:
    """One line; the name of a search may be longer than the terminal is wide."""
    tail = f"  {datetime.now():%H:%M:%S}  every {pause_s:g} s, q leaves"
    room = max(1, width - len(tail) - 1)
    return Text.assemble((cut(title, room), "bold"), (tail, "dim"), no_wrap=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, so that the terminal is left as it was."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Keys without Enter. Yields what waits for some seconds, and returns whether the user leaves."""
    if not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before: list[Any] = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield lambda seconds: _leaves(descriptor, seconds)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _leaves(descriptor: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left_s)[0]:
            typed = os.read(descriptor, 64)
            if not typed or any(key in LEAVE_KEYS for key in typed):  # nothing: the terminal is gone
                return True
    return False


# --- no terminal -------------------------------------------------------------------------------------


def _print_blocks(out: Console, view: View, title: str, pause_s: float) -> None:
    while True:
        try:
            shown = view(None)
        except DatabaseUnavailable as error:
            shown = Text(_lost(error, 0.0))
        out.print(f"{title}  {datetime.now():%Y-%m-%d %H:%M:%S}", markup=False, soft_wrap=True)
        out.print(shown)
        out.print()
        sys.stdout.flush()
        time.sleep(pause_s)


def _lost(error: DatabaseUnavailable, seconds: float) -> str:
    since = f" for {duration(seconds)}" if seconds >= 1 else ""
    return f"no connection{since}, trying again: {error}"
