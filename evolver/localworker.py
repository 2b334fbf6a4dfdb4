"""A worker that ends with the process that started it: ``python -m evolver.localworker PID …``.

``evolver run`` starts its workers through this module. The options are those of ``evolver worker``.
When the parent is gone, however it ended, the worker is told to stop, and hands its work back.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

LOOK_EVERY_S = 0.5


def follow(parent: int) -> None:
    """Send this process SIGTERM once ``parent`` is no longer its parent."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Be a worker, until told to stop or the parent (the first argument) is gone."""
    from workers.main import worker_command

    parent, *arguments = sys.argv[1:]
    threading.Thread(target=follow, args=(int(parent),), name="parent", daemon=True).start()
    worker_command(arguments, prog_name="evolver worker")


if __name__ == "__main__":
    main()
