"""Named places where a test can make a process die, stop, fail or wait.

``EVOLVER_FAILPOINTS="worker.after_claim=kill;scheduler.before_commit=sleep:2"``. Without the
variable, ``reach`` costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import time

VARIABLE = "EVOLVER_FAILPOINTS"


def reach(name: str) -> None:
    """Do what the environment asks for at this place, by default nothing.

    Actions: ``kill`` and ``stop`` send SIGKILL or SIGSTOP to this process, ``segfault`` SIGSEGV,
    ``exit`` leaves with status 70, ``raise`` raises RuntimeError, ``sleep:S`` waits S seconds.
    """
    configured = os.environ.get(VARIABLE)
    if not configured:
        return
    actions = dict(item.split("=", 1) for item in configured.split(";") if "=" in item)
    action, _, argument = actions.get(name, "").partition(":")
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif action == "exit":
        os._exit(70)
    elif action == "raise":
        raise RuntimeError(f"failpoint {name}")
    elif action == "sleep":
        time.sleep(float(argument))
