"""``python -m workers``: the same as ``evolver worker``."""

from workers.main import worker_command

worker_command(prog_name="python -m workers")
