"""``--on-event`` and its kin: what the commands that lead a search tell others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from evolver.cli.options import applied
from evolver.events import Limits, Observer
from evolver.notify import CLOSE_S, Notifier, Target, target
from evolver.store.db import VARIABLE, Database

F = TypeVar("F", bound=Callable[..., Any])

ON_EVENT_VARIABLE = "EVOLVER_ON_EVENT"
DEFAULTS = Limits()


class _Lines(click.types.StringParamType):
    """Text; of the environment variable, each line is a value: commands have spaces."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [line for line in rv.splitlines() if line.strip()]


@dataclass(frozen=True, slots=True)
class Notifications:
    """What the user wants to be told, and where; checked."""

    targets: tuple[str, ...]
    limits: Limits

    @contextmanager
    def observer(self, database: Database, hurried: Callable[[], bool]) -> Iterator[Observer | None]:
        """Shown to a scheduler; None where nobody wants to be told. Ends with what is still to be delivered,
        unless the user is in a hurry.
        """
        if not self.targets:
            yield None
            return
        notifier = Notifier(_targets(self.targets, database.url.render_as_string(hide_password=False)))
        try:
            yield Observer(database, notifier.tell, self.limits)
        finally:
            notifier.close(0.0 if hurried() else CLOSE_S)


NO_NOTIFICATIONS = Notifications((), DEFAULTS)


def _targets(texts: Sequence[str], url: str) -> list[Target]:
    """A command finds the database as a worker does: in its environment."""
    return [target(text, {VARIABLE: url}) for text in texts]


def read(options: dict[str, Any]) -> Notifications:
    """Take the options of this module out of a command's. Raises InvalidInput."""
    texts: tuple[str, ...] = tuple(options.pop("on_event"))
    _targets(texts, "")
    limits = Limits(
        stalled_after_s=60 * options.pop("stalled_after"),
        failure_limit=options.pop("failure_limit") / 100,
        front_every_s=options.pop("front_every"),
    )
    return Notifications(texts, limits)


def event_options(function: F) -> F:
    """Where events go, and when there are any."""
    return applied(function, [
        click.option(
            "--on-event", "on_event", multiple=True, type=_Lines(), metavar="COMMAND|URL",
            envvar=ON_EVENT_VARIABLE,
            help=f"Run this, or post to it, at events; may be repeated. Also {ON_EVENT_VARIABLE}.",
        ),
        click.option(
            "--stalled-after", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES",
            default=DEFAULTS.stalled_after_s / 60, show_default=True,
            help="Event when no result came for so long.",
        ),
        click.option(
            "--failure-limit", type=click.FloatRange(0, 100), metavar="PERCENT",
            default=100 * DEFAULTS.failure_limit, show_default=True,
            help=f"Event when more of the last {DEFAULTS.failure_window} results failed.",
        ),
        click.option(
            "--front-every", type=click.FloatRange(min=0), metavar="S",
            default=DEFAULTS.front_every_s, show_default=True,
            help="Seconds between events about the front, at least.",
        ),
    ])  # fmt: skip
