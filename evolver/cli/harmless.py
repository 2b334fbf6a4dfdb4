"""Text from elsewhere, made harmless for a terminal.

Whoever may write to the database, a worker for instance, chooses texts that other users see: what a training
printed, failures, hosts, names. A terminal obeys the escape sequences in such a text: it may be made to show
something else than what is there, or to type. What people see passes through ``harmless``, in
``output.console`` and ``output.say``; what programs read (JSON, CSV into a file) is exact.
"""

from __future__ import annotations

import logging
import re
import sys

_SEQUENCES = re.compile(
    r"""(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]            # CSI: colours, movements of the cursor, erasing
      | \x1b[]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)    # OSC and its like: titles, links, the clipboard
      | \x1b[ -/]*[0-~]                             # the others have one letter
    """,
    re.VERBOSE,
)
_SIGNS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but neither tab nor newline
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of a text
    "\ud800-\udfff]"  # what is no character, and could not be printed
)


def harmless(text: str) -> str:
    """The text without whatever a terminal would obey instead of showing it; tabs and newlines stay."""
    return text if text.isprintable() else _SIGNS.sub("", _SEQUENCES.sub("", text))


def transcript(log: str) -> str:
    """What was printed, as a terminal showed it at last: of a line that was overwritten, the last state."""
    return "\n".join(_last_state(line) for line in log.split("\n"))


def _last_state(line: str) -> str:
    states = [shown for state in line.split("\r") if (shown := harmless(state)).strip()]
    return states[-1].rstrip() if states else ""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


def log_to_stderr() -> None:
    """Have the program's log on stderr, with the time, for commands that run on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
