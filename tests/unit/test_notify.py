"""Commands and webhooks, against real processes and a server on the loopback interface."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evolver import notify
from evolver.errors import InvalidInput
from evolver.events import Event
from evolver.notify import Command, NotDelivered, Notifier, Webhook, target

EVENT = Event("finished", "demo", "demo: finished", {"reason": "budget", "ingested": 12})


class Received:
    """A server that answers with the next of ``codes``, the last one again and again, and keeps what came."""

    def __init__(self, *codes: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        received, answers = self.bodies, list(codes)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                received.append(json.loads(self.rfile.read(length)))
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                received.append({"method": "GET"})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/a-secret-token"


@contextmanager
def serving(*codes: int) -> Iterator[Received]:
    received = Received(*codes)
    thread = threading.Thread(target=received.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield received
    finally:
        received.server.shutdown()
        thread.join()
        received.server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/services/a-secret-token"


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "RETRY_AFTER_S", 0.01)


def script(path: Path, lines: str) -> str:
    """A command that runs these lines of Python."""
    path.write_text(lines)
    return f"{sys.executable} {path}"


def test_a_command_gets_the_event(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    lines = f"""import json, os, sys
names = ("EVOLVER_EVENT", "EVOLVER_EXPERIMENT", "EVOLVER_EVENT_MESSAGE", "EVOLVER_DATABASE_URL")
json.dump([json.load(sys.stdin), [os.environ[name] for name in names]], open({str(out)!r}, "w"))
"""
    target(script(tmp_path / "command.py", lines), {"EVOLVER_DATABASE_URL": "sqlite:///x.db"}).deliver(EVENT)
    given, environment = json.loads(out.read_text())
    assert given.pop("at").endswith("+00:00")
    assert given == {
        "event": "finished",
        "experiment": "demo",
        "message": "demo: finished",
        "reason": "budget",
        "ingested": 12,
    }
    assert environment == ["finished", "demo", "demo: finished", "sqlite:///x.db"]


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    failing = script(tmp_path / "failing.py", "import sys; sys.exit('first\\nno such channel')")
    with pytest.raises(NotDelivered, match="exit code 1: no such channel"):
        target(failing).deliver(EVENT)


def test_a_command_that_reads_nothing_is_no_failure() -> None:
    target("true").deliver(Event("finished", "demo", "", {"reason": "x" * 1_000_000}))


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time; time.sleep(1.5); open({str(alive)!r}, 'w')"
    lines = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    begun = time.monotonic()
    with pytest.raises(NotDelivered, match=r"killed after 0\.5 s"):
        Command(script(tmp_path / "hanging.py", lines).split(), {}, 0.5).deliver(EVENT)
    assert time.monotonic() - begun < 1.4
    time.sleep(1.6)
    assert not alive.exists()


def test_a_webhook_gets_the_event() -> None:
    with serving(204) as received:
        target(received.url).deliver(EVENT)
    assert [one["event"] for one in received.bodies] == ["finished"]


@pytest.mark.parametrize(
    ("codes", "requests", "delivered"),
    [((503, 200), 2, True), ((429, 429), 2, False), ((500, 200), 1, False), ((404, 200), 1, False),
     ((302, 200), 1, False)],
)  # fmt: skip
def test_a_webhook_is_tried_again_only_where_nothing_was_done(
    codes: tuple[int, ...], requests: int, delivered: bool
) -> None:
    with serving(*codes) as received:
        if delivered:
            target(received.url).deliver(EVENT)
        else:
            with pytest.raises(NotDelivered, match=f"answered {codes[0]}"):
                target(received.url).deliver(EVENT)
    assert len(received.bodies) == requests


def test_a_webhook_that_is_not_there_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    webhook = Webhook(f"http://127.0.0.1:{port}/services/a-secret-token")
    posts: list[bytes] = []
    post = webhook._post

    def counted(body: bytes) -> None:
        posts.append(body)
        post(body)

    monkeypatch.setattr(webhook, "_post", counted)
    with pytest.raises(NotDelivered, match="cannot be reached") as raised:
        webhook.deliver(EVENT)
    assert len(posts) == 2
    assert "secret" not in str(raised.value)


def test_a_webhook_that_does_not_answer_is_left() -> None:
    with silent() as url, pytest.raises(NotDelivered, match=r"did not answer within 0\.2 s"):
        Webhook(url, 0.2).deliver(EVENT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a command"),
        ("no-such-command --now", "there is no command 'no-such-command'"),
        ("echo 'unclosed", "quote"),
        ("ftp://example.org/a-secret-token", "cannot post to ftp://"),
        ("http:///a-secret-token", "malformed URL"),
        ("https://example.org:x/a-secret-token", "malformed URL"),
        ("https://example.org/a-secret-token with spaces", "malformed URL"),
        ("https://user:a-secret-token@example.org/", "user and password"),
    ],
)
def test_what_can_be_no_target_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as raised:
        target(text)
    assert "secret" not in str(raised.value)


# --- delivery ----------------------------------------------------------------------------------------


class Blocked:
    """A target that takes nothing until it is let go."""

    name = "blocked"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.taken: list[str] = []

    def deliver(self, event: Event) -> None:
        self.begun.set()
        self.go.wait(30)
        self.taken.append(event.message)

    def abandon(self) -> None:
        self.go.set()


def told(number: int) -> Event:
    return Event("finished", "demo", str(number), {})


def test_events_are_delivered_once_and_in_order(tmp_path: Path) -> None:
    blocked = Blocked()
    notifier = Notifier([blocked])
    for number in range(10):
        notifier.tell(told(number))
    blocked.go.set()
    notifier.close()
    assert blocked.taken == [str(number) for number in range(10)]


def test_what_does_not_fit_the_queue_is_dropped_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "QUEUE", 3)
    blocked = Blocked()
    notifier = Notifier([blocked])
    notifier.tell(told(0))
    assert blocked.begun.wait(10)
    begun = time.monotonic()
    for number in range(1, 11):
        notifier.tell(told(number))
    assert time.monotonic() - begun < 1
    blocked.go.set()
    notifier.close()
    assert blocked.taken == ["0", "1", "2", "3"]
    assert [one.message for one in caplog.records if "dropped" in one.message] == [
        "blocked is too slow: 7 events were dropped"
    ]


def test_the_end_waits_for_no_target_for_long(caplog: pytest.LogCaptureFixture) -> None:
    blocked = Blocked()
    notifier = Notifier([blocked])
    for number in range(3):
        notifier.tell(told(number))
    assert blocked.begun.wait(10)
    begun = time.monotonic()
    notifier.close(0.2)
    assert time.monotonic() - begun < 2
    assert "blocked is too slow: 3 events were dropped" in caplog.text


def test_a_target_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with serving(200) as received, silent() as url, caplog.at_level(logging.INFO):
        notifier = Notifier([Webhook(url, 0.3), target("false"), target(received.url)])
        notifier.tell(EVENT)
        notifier.close()
    assert len(received.bodies) == 1
    assert "command false did not take 'finished': exit code 1" in caplog.text
    assert "/… did not take 'finished': did not answer within 0.3 s" in caplog.text
    assert "secret" not in caplog.text
