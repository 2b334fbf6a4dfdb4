"""``evolver export-data``: an experiment for pandas, Optuna and the like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from evolver.cli.completing import experiment_names
from evolver.cli.display import progress_bars
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import echo_json, say
from evolver.errors import InvalidInput
from evolver.store.db import Database, without_password


@click.command(
    epilog=examples(
        "evolver export-data demo --output tables",
        "evolver export-data demo --format csv --force",
        "evolver export-data demo --format optuna --output sqlite:///study.db",
        "evolver export-data demo --format optuna --output study.log",
    )
)
@click.argument("name", shell_complete=experiment_names)
@click.option("--format", "format_", type=click.Choice(["parquet", "csv", "optuna"]), default="parquet",
              show_default=True, help="Tables, or a study of Optuna.")  # fmt: skip
@click.option("--output", metavar="DIR|URL|FILE",
              help="Directory of the tables [default: NAME-data]; for a study, the URL of a database, or a "
              "journal file.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what is there.")
@db_option
@json_option
def export_data(
    name: str, format_: str, output: str | None, force: bool, db_url: str | None, as_json: bool
) -> None:
    """Write everything about the experiment NAME into files.

    Parquet and CSV: genomes, evaluations, values, attempts, epochs and memberships, a file each, and the
    settings in experiment.json. Optuna: a study with a trial for each genome. See docs/export-data.md.
    """
    with opened(db_url) as database, progress_bars(hidden=as_json) as progress:
        if format_ == "optuna":
            written, where = _study(database, name, output, force, progress)
        else:
            written, where = _tables(database, name, format_, output, force, progress)
    if as_json:
        echo_json({"experiment": name, "format": format_, "output": where, "rows": written})
    else:
        told = ", ".join(f"{number} {table}" for table, number in written.items())
        say(f"wrote {told} of '{name}' into {where}")


def _tables(
    database: Database,
    name: str,
    format_: str,
    output: str | None,
    force: bool,
    progress: Callable[[str, int, int], object],
) -> tuple[dict[str, int], str]:
    from evolver import tables

    if output and "://" in output:
        raise InvalidInput(f"--output '{output}' must be a directory for the format {format_}")
    directory = Path(output or f"{name.replace('/', '_')}-data")
    kind: tables.Format = "csv" if format_ == "csv" else "parquet"
    return tables.export(database, name, directory, kind, progress, force=force), str(directory)


def _study(
    database: Database,
    name: str,
    output: str | None,
    force: bool,
    progress: Callable[[str, int, int], object],
) -> tuple[dict[str, int], str]:
    from evolver import optuna_study

    if not output:
        raise InvalidInput("a study needs --output, for instance sqlite:///study.db or study.log")
    study = optuna_study.write(
        database, name, output, lambda done, total: progress("trials", done, total), force=force
    )
    return {"trials": len(study.get_trials(deepcopy=False))}, without_password(output)
