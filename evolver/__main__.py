"""``python -m evolver``: the same as the command ``evolver``."""

from evolver.cli import main

main()
