"""The command line.

``main`` is the console script. A command's module is loaded when the command is called, so that
``evolver --help`` and ``evolver status`` answer at once.

options.py      options that several commands share, and opening the database.
settings.py     what a user says about an experiment, from options and a file.
output.py       tables and JSON.
harmless.py     text from elsewhere, made harmless for a terminal.
display.py      the live display of a search.
live.py         a view that fills the terminal.
completing.py   what a shell offers for arguments.
stopping.py     Ctrl-C and SIGTERM.
The other modules hold the commands, a module for each topic.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from io import TextIOWrapper
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from evolver import __version__
from evolver.cli.harmless import harmless
from evolver.errors import EnvironmentFault, EvolverError, InvalidInput, UnknownName

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
ASKED_BY_A_SHELL = "_EVOLVER_COMPLETE"
"""The variable by which a shell asks what to offer; click derives it from the program's name."""

COMMANDS: dict[str, tuple[str, str]] = {
    "db": ("evolver.cli.db:db", "Migrate, check or copy the database; roles."),
    "new": ("evolver.cli.experiments:new", "Make an experiment."),
    "list": ("evolver.cli.experiments:list_experiments", "List the experiments."),
    "run": ("evolver.cli.run:run", "Search here: make or continue, with local workers."),
    "scheduler": ("evolver.cli.scheduler:scheduler", "Breed and select, without workers."),
    "worker": ("workers.main:worker_command", "Train genomes of any experiment."),
    "status": ("evolver.cli.status:status", "How the searches stand."),
    "top": ("evolver.cli.top:top", "What each worker trains now, kept up to date."),
    "front": ("evolver.cli.genomes:front", "The best trade-offs of an experiment."),
    "show": ("evolver.cli.genomes:show", "Everything about one genome."),
    "lineage": ("evolver.cli.genomes:lineage", "The ancestors of a genome."),
    "replay": ("evolver.cli.replay:replay", "Derive a search again, and find every difference."),
    "logs": ("evolver.cli.genomes:logs", "What a genome's training process printed last."),
    "pause": ("evolver.cli.experiments:pause", "Breed and claim no more; running work ends."),
    "resume": ("evolver.cli.experiments:resume", "Go on with a paused or stopped experiment."),
    "stop": ("evolver.cli.experiments:stop", "End a search; running work is handed back."),
    "extend": ("evolver.cli.experiments:extend", "Raise the budget of an experiment."),
    "retry": ("evolver.cli.genomes:retry", "Evaluate failed genomes again."),
    "retrain": ("evolver.cli.retrain:retrain", "Train the front in full, and test it."),
    "transfer": ("evolver.cli.transfer:transfer", "Train genomes on another data set."),
    "export": ("evolver.cli.export:export", "A genome's network as ONNX, torch.export or Python."),
    "replicate": ("evolver.cli.replicate:replicate", "Search again with other seeds."),
    "compare": ("evolver.cli.compare:compare", "Searches against each other, with tests."),
    "plot": ("evolver.cli.plot:plot", "Draw the front into a file."),
    "dashboard": ("evolver.cli.dashboard:dashboard", "Searches in a browser, while they run."),
    "sql": ("evolver.cli.sql:sql", "Ask the database a query; it can only read."),
    "export-data": ("evolver.cli.export_data:export_data", "A search as Parquet, CSV or an Optuna study."),
    "delete": ("evolver.cli.experiments:delete", "Delete an experiment with all its records."),
    "workers": ("evolver.cli.workers:workers", "Who works, on what, since when."),
    "drain": ("evolver.cli.workers:drain", "Have workers finish what they hold, and leave."),
    "gc": ("evolver.cli.gc:gc", "Remove old checkpoints and the rows of dead workers."),
    "doctor": ("evolver.cli.doctor:doctor", "What is wrong, and how to mend it."),
    "completion": ("evolver.cli.completion:completion", "Teach a shell to complete this command line."),
}
"""Each command's place and its one line, which the help shows without loading it."""


class LazyGroup(click.Group):
    """Loads a command when it is called, and turns every error of evolver into one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # a terminal that is not of UTF-8 shows what it can
                stream.reconfigure(errors="replace")
        if ASKED_BY_A_SHELL in os.environ:
            importlib.import_module("evolver.cli.completion")  # click answers by its classes
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_alone = not args  # then its help is printed; the parser empties the list
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if is_alone or ctx.resilient_parsing:
                raise
            _fail_to_parse(ctx, error)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in ("evolver", "workers"):
                raise
            if ctx.resilient_parsing:  # a shell completes the line
                return None
            raise EnvironmentFault(
                f"'evolver {cmd_name}' needs {error.name}, which is not installed; "
                "run: pip install 'evolver[worker]'"
            ) from error
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        is_completed = ctx.resilient_parsing  # by a shell, where an error would be in the way
        if not is_completed:
            _require_text(args)
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not is_completed:
            raise UnknownName("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands and options that begin so; no command is loaded for its line of help."""
        found = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EvolverError as error:
            _fail(ctx, str(error), error.exit_code)
        except click.UsageError as error:
            _fail_to_parse(ctx, error)
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads on: click ends it quietly
                raise
            where = f" ({error.filename})" if error.filename else ""
            _fail(ctx, f"cannot go on: {error.strerror or error}{where}", EnvironmentFault.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _require_text(arguments: list[str]) -> None:
    """Neither a database nor a terminal takes what is no text; Python has such bytes as surrogates."""
    for one in arguments:
        if re.search("[\ud800-\udfff]", one):
            raise InvalidInput(f"'{one.encode(errors='backslashreplace').decode()}' is no text in UTF-8")


def _fail_to_parse(ctx: click.Context, error: click.UsageError) -> NoReturn:
    command = error.ctx.command_path if error.ctx else ctx.command_path
    _fail(ctx, f"{error.format_message()} See '{command} --help'.", error.exit_code)


def _fail(ctx: click.Context, message: str, exit_code: int) -> NoReturn:
    click.echo(f"evolver: {harmless(' '.join(message.split()))}", err=True)
    ctx.exit(exit_code)


@click.command("evolver", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="evolver")
def main() -> None:
    """Search for convolutional networks by evolution, with a database as the only shared part.

    The database is that of --db or EVOLVER_DATABASE_URL, by default sqlite:///evolver.db. Commands that
    print facts print JSON with --json.

    \b
    Start with:
      evolver run demo --dataset digits --space tiny --budget 40 --workers 2

    \b
    Exit codes:
      0    done
      1    an error; also: all trainings failed, or doctor found a problem
      2    wrong input: an unknown name, a wrong value, or not possible now
      3    the database: unreachable, malformed URL, another revision
      4    this machine: data, device, disk, or a package is missing
      130  interrupted by Ctrl-C
    """
