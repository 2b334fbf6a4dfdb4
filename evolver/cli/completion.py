"""``evolver completion``: the script that teaches a shell to complete evolver's command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from evolver.cli.options import examples

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_EVOLVER_COMPLETE"
"""The variable by which the script asks; click derives it from the program's name."""


@click.command(
    epilog=examples(
        'eval "$(evolver completion bash)"    # in ~/.bashrc',
        'eval "$(evolver completion zsh)"     # in ~/.zshrc',
        "evolver completion fish > ~/.config/fish/completions/evolver.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script by which a SHELL completes evolver's command line.

    It completes commands, options and their choices, and the names of experiments: those of the database
    of --db, where it stands before, or of EVOLVER_DATABASE_URL. A database that does not answer within
    two seconds offers none.
    """
    from evolver.cli import main

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(main, {}, "evolver", VARIABLE).source())
