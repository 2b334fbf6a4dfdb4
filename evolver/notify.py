"""Where events go: a command that is run, or a web address that is posted to.

target    what a user named: a command line or a URL. Raises InvalidInput where it cannot be one.
Notifier  delivers events to all targets, each in a thread of its own, so that none holds up the search.

An event is delivered at most once: a webhook is tried again only where the first request was certainly not
taken. What a target is too slow for is dropped and counted.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import IO, Any, Protocol
from urllib.parse import SplitResult, urlsplit

from evolver.errors import EvolverError, InvalidInput
from evolver.events import Event

log = logging.getLogger("evolver.notify")

QUEUE = 100
"""Events that wait for one target; more are dropped."""
COMMAND_S = 30.0
"""How long a command may run before it is killed."""
ANSWER_S = 10.0
"""How long a webhook may take to connect, and then to answer."""
RETRY_AFTER_S = 1.0
BUSY_CODES = (429, 503)
"""Answers by which a server says that it did nothing, and will later."""
CLOSE_S = 5.0
"""How long the end of the process waits for what is still to be delivered."""
STDERR_BYTES = 500


class NotDelivered(EvolverError):
    """A target did not take an event; the message says why, and holds no secret."""


class Target(Protocol):
    """Takes one event at a time. ``name`` is for logs and holds no secret."""

    name: str

    def deliver(self, event: Event) -> None:
        """Raises NotDelivered."""

    def abandon(self) -> None:
        """Called from another thread: end what is under way."""


def target(text: str, environment: Mapping[str, str] | None = None) -> Target:
    """A webhook for a URL, else a command, which gets ``environment`` beside that of this process.

    Raises InvalidInput: another scheme, no host, a command that does not exist. The message holds no more
    of a URL than its scheme, since it may hold a token.
    """
    scheme, is_url, _ = text.strip().partition("://")
    if is_url and scheme.isidentifier():
        return Webhook(text.strip())
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"--on-event: a quote is not closed in the command ({error})") from None
    if not words:
        raise InvalidInput("--on-event needs a command, or a URL with http:// or https://")
    if shutil.which(words[0]) is None:
        raise InvalidInput(
            f"--on-event: there is no command '{words[0]}', or it cannot be executed; "
            "what needs a shell: sh -c '…'"
        )
    return Command(words, environment or {})


def payload(event: Event) -> dict[str, Any]:
    """The event as JSON."""
    return {
        "event": event.kind,
        "experiment": event.experiment,
        "at": event.at.isoformat(timespec="milliseconds"),
        "message": event.message,
        **event.facts,
    }


# --- commands ----------------------------------------------------------------------------------------


class Command:
    """Runs a command for each event: JSON on its standard input, the main facts in its environment.

    No shell is involved. It runs in a session of its own, so that Ctrl-C does not reach it, and is killed
    with all that it started when it takes too long.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], within_s: float = COMMAND_S
    ) -> None:
        self.name = f"command {os.path.basename(words[0])}"  # its arguments may be secrets
        self._words = list(words)
        self._environment = environment
        self._within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None

    def deliver(self, event: Event) -> None:
        environment = {**os.environ, **self._environment, **variables(event)}
        with tempfile.TemporaryFile() as errors:
            try:
                self._process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise NotDelivered(f"cannot be started: {error}") from error
            try:
                self._process.communicate(json.dumps(payload(event)).encode(), timeout=self._within_s)
            except subprocess.TimeoutExpired:
                self.abandon()
                self._process.wait()
                raise NotDelivered(f"killed after {self._within_s:g} s") from None
            if self._process.returncode:
                raise NotDelivered(f"exit code {self._process.returncode}{_last_line(errors)}")

    def abandon(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def variables(event: Event) -> dict[str, str]:
    """What a command finds in its environment."""
    return {
        "EVOLVER_EVENT": event.kind,
        "EVOLVER_EXPERIMENT": event.experiment,
        "EVOLVER_EVENT_MESSAGE": event.message,
        "EVOLVER_EVENT_AT": event.at.isoformat(timespec="milliseconds"),
    }


def _last_line(errors: IO[bytes]) -> str:
    """What a command said last; its output is kept in a file, which no reader has to keep up with."""
    end = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, end - STDERR_BYTES))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


# --- webhooks ----------------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected would arrive elsewhere, as a GET without the event."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


class Webhook:
    """Posts each event as JSON. Path and query of its URL may be secrets and are never shown."""

    def __init__(self, url: str, within_s: float = ANSWER_S) -> None:
        found = _checked(url)
        self.name = f"webhook {found.scheme}://{found.hostname}{f':{found.port}' if found.port else ''}/…"
        self._url = url
        self._within_s = within_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._is_abandoned = threading.Event()

    def deliver(self, event: Event) -> None:
        body = json.dumps(payload(event)).encode()
        try:
            self._post(body)
        except _NotTaken:
            if self._is_abandoned.wait(RETRY_AFTER_S):
                raise
            self._post(body)

    def abandon(self) -> None:
        self._is_abandoned.set()

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "evolver"}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            self._opener.open(request, timeout=self._within_s).close()
        except urllib.error.HTTPError as error:
            error.close()
            refused = _NotTaken if error.code in BUSY_CODES else NotDelivered
            raise refused(f"answered {error.code}") from None
        except urllib.error.URLError as error:  # while connecting or sending: there was no whole request
            raise _NotTaken(f"cannot be reached: {error.reason}") from None
        except TimeoutError:
            raise NotDelivered(f"did not answer within {self._within_s:g} s") from None
        except (OSError, HTTPException, ValueError) as error:
            raise NotDelivered(f"gave no proper answer ({type(error).__name__})") from None


class _NotTaken(NotDelivered):
    """The request certainly did nothing: another one does not deliver the event twice."""


def _checked(url: str) -> SplitResult:
    try:
        found = urlsplit(url)
        host, _ = found.hostname, found.port  # the port is read when it is asked for
    except ValueError:
        raise InvalidInput("--on-event: a malformed URL; expected https://HOST/PATH") from None
    if found.scheme not in ("http", "https"):
        raise InvalidInput(
            f"--on-event: cannot post to {found.scheme}://…; give http://, https:// or a command"
        )
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("--on-event: a malformed URL; expected https://HOST/PATH, without spaces")
    if found.username or found.password:
        raise InvalidInput("--on-event: user and password in a URL are not supported; run a command instead")
    return found


# --- delivery ----------------------------------------------------------------------------------------


class Notifier:
    """Delivers events to all targets in the order in which they were told."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._lines = [_Line(one) for one in targets]

    def tell(self, event: Event) -> None:
        """Have an event delivered. Returns at once."""
        for line in self._lines:
            line.put(event)

    def close(self, within_s: float = CLOSE_S) -> None:
        """Wait for what is still to be delivered, all targets together so long; the rest is dropped."""
        deadline = time.monotonic() + within_s
        for line in self._lines:
            line.end()
        for line in self._lines:
            line.join(deadline - time.monotonic())


class _Line:
    """What waits for one target, and the thread that delivers it, started with the first event."""

    def __init__(self, to: Target) -> None:
        self._target = to
        self._waiting: queue.Queue[Event | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._work, name=f"notify {to.name}", daemon=True)
        self._dropped = 0
        self._is_closed = threading.Event()

    def put(self, event: Event) -> None:
        if self._thread.ident is None:
            self._thread.start()
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._target.deliver(event)
                log.info("told %s: %s", self._target.name, event.message)
            except NotDelivered as error:
                log.warning("%s did not take '%s': %s", self._target.name, event.kind, error)
            except Exception:  # a thread that ended would lose all that comes after
                log.exception("%s did not take '%s'", self._target.name, event.kind)
            self._tell_dropped()

    def _next(self) -> Event | None:
        """The next event; None when there is none left and none will come."""
        try:
            return self._waiting.get(block=not self._is_closed.is_set())
        except queue.Empty:
            return None

    def _tell_dropped(self) -> None:
        number, self._dropped = self._dropped, 0
        if number:
            log.warning("%s is too slow: %d events were dropped", self._target.name, number)

    def end(self) -> None:
        self._is_closed.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes a thread that waits

    def join(self, seconds: float) -> None:
        if self._thread.ident is None:
            return
        self._thread.join(max(0.0, seconds))
        if not self._thread.is_alive():
            return
        self._dropped += 1  # what it is at
        with suppress(queue.Empty):
            while True:
                self._dropped += self._waiting.get_nowait() is not None
        self._tell_dropped()
        self._target.abandon()
