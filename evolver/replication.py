"""Repeated searches: the replicates of an experiment NAME are the experiments NAME@1, NAME@2, …

They have its settings and seeds of their own. The name says whose they are; nothing else does.

replicate  make those that are not there yet.
group      the experiments that a name means: one, or with an @ at its end all its replicates.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace

from sqlalchemy import Connection

from evolver import config
from evolver.errors import InvalidInput, UnknownName
from evolver.store import experiments, seeds
from evolver.store.experiments import Experiment, NewDataset

MARK = "@"
NAME_LENGTH = 100


def replicate(connection: Connection, source: Experiment, runs: int, start_seed: int) -> list[Experiment]:
    """The replicates 1 to ``runs``, with the seeds from ``start_seed`` on; made where they are missing.

    Raises InvalidInput when one exists with other settings, or its name would be too long.
    """
    experiments.require_whole(source)
    data = NewDataset(**{field.name: getattr(source.dataset, field.name) for field in fields(NewDataset)})
    first = list(seeds.of_births(connection, source.id, 1, source.seeds).values())
    made: list[Experiment] = []
    for number in range(1, runs + 1):
        name = f"{source.settings.name}{MARK}{number}"
        if len(name) > NAME_LENGTH:
            raise InvalidInput(f"'{name}' is too long for an experiment's name; replicate a shorter one")
        wanted = replace(source.settings, name=name, seed=start_seed + number - 1)
        found = experiments.find(connection, name)
        if found is None:
            found = experiments.create(connection, wanted, data, config.initial_selector_state(wanted), first)
        experiments.require_whole(found)
        differing = [
            field.name
            for field in fields(wanted)
            if getattr(found.settings, field.name) != getattr(wanted, field.name)
        ]
        if found.dataset.id != source.dataset.id:
            differing.append("dataset")
        if differing:
            raise InvalidInput(
                f"experiment '{name}' exists with another {' and '.join(differing)} than asked for; "
                "delete it, or give the same --start-seed and budget as before"
            )
        made.append(found)
    return made


def group(connection: Connection, name: str) -> list[Experiment]:
    """The experiment of this name, or with an @ at its end all replicates of that one, by number.

    Raises UnknownName, or InvalidInput when there is no replicate.
    """
    if not name.endswith(MARK):
        return [experiments.get(connection, name)]
    known = experiments.every(connection)
    numbered = {
        int(match[1]): one
        for one in known
        if (match := re.fullmatch(rf"{re.escape(name)}([1-9][0-9]*)", one.settings.name))
    }
    if not numbered:
        source = name.removesuffix(MARK)
        if source not in {one.settings.name for one in known}:
            raise UnknownName("experiment", source, [one.settings.name for one in known])
        raise InvalidInput(f"'{source}' has no replicates; make some: evolver replicate {source} --runs 5")
    return [numbered[number] for number in sorted(numbered)]
