"""What a shell offers for an argument: names that are in the database.

Asked for while the user types. So it is quick, bounded, and silent whatever is wrong.
"""

from __future__ import annotations

import logging

import click
from click.shell_completion import CompletionItem

NAMES_OFFERED = 100
ANSWER_S = 2.0
"""How long the database may take; a shell waits for it."""


def experiment_names(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The experiments whose names begin so, in the database that the command line names."""
    logging.disable()
    try:
        from evolver.store import names
        from evolver.store.db import Database

        database = Database.open(ctx.params.get("db_url"), wait_s=ANSWER_S, answer_within_s=ANSWER_S)
        try:
            with database.read() as connection:
                found = names.beginning_with(connection, incomplete, NAMES_OFFERED)
        finally:
            database.dispose()
    except Exception:  # a shell is no place to hear of it
        return []
    taken = ctx.params.get("names") or ()
    return [CompletionItem(name) for name in found if name not in taken]
