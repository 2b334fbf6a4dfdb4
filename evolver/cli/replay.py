"""``evolver replay``: derive a search again from its seeds and results, and report every difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.progress import Progress
from rich.table import Table

from evolver.cli.completing import experiment_names
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import best_text, console, echo_json, say, table
from evolver.replay import Member, Replay, State
from evolver.replay import replay as derive
from evolver.words import counted, label, shown


@click.command(
    epilog=examples("evolver replay demo", "evolver replay demo --until 100", "evolver replay demo --json")
)
@click.argument("name", shell_complete=experiment_names)
@click.option(
    "--until", type=int, metavar="N", help="Only the first N results; prints population and front after them."
)
@db_option
@json_option
def replay(name: str, until: int | None, db_url: str | None, as_json: bool) -> None:
    """Derive every birth, population and front of NAME again, and compare with the records.

    Takes from the records the settings, the genomes that the search began with, and the order of results
    with their values. A search that is going on is replayed to where it stands. Exit code 1 when anything
    differs, or cannot be compared.
    """
    out = console(stderr=True)
    with (
        opened(db_url) as database,
        Progress(console=out, transient=True, disable=not out.is_terminal) as progress,
    ):
        task = progress.add_task("replaying", total=None)
        found = derive(
            database,
            name,
            until=until,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        facts = asdict(found)
        state = facts.pop("state")
        echo_json({"experiment": name, **facts, **({} if until is None else {"state": state})})
    else:
        _print(name, found, None if until is None else found.state)
    if not found.is_clean:
        click.get_current_context().exit(1)


def _print(name: str, found: Replay, state: State | None) -> None:
    for difference in found.differences:
        say(difference)
    differences = counted(len(found.differences), "difference") if found.differences else "no difference"
    say(
        f"'{name}': {counted(found.births, 'birth')}, {counted(found.results, 'result')} and "
        f"{counted(found.changes, 'change')} replayed: {differences}"
    )
    if found.not_comparable:
        say(f"{counted(found.not_comparable, 'birth')} not comparable: another version of evolver bred them")
    if state is not None:
        out = console()
        out.print()
        out.print(_members(f"Population after {counted(state.results, 'result')}", state.population))
        out.print()
        out.print(_members("Front", state.front))
        out.print(f"best of each: {best_text(state.best)}", markup=False, soft_wrap=True)


def _members(title: str, members: Sequence[Member]) -> Table:
    names = list(members[0].objectives) if members else []
    slots = ["slot"] if any(one.slot is not None for one in members) else []
    made = table(*slots, "genome", *map(label, names), title=title)
    for one in members:
        values = [shown(name, one.objectives[name]) for name in names]
        made.add_row(*(str(one.slot) for _ in slots), str(one.genome_id), *values)
    return made
