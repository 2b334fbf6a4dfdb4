"""``evolver dashboard`` itself."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from evolver.cli import dashboard as command
from tests.acceptance.helpers import cli, refused


def test_it_prints_its_address_answers_and_ends(sqlite_url: str, tmp_path: Path) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "evolver", "dashboard", "--db", sqlite_url, "--port", "0", "--token", "a b"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        match = re.fullmatch(
            r"the dashboard of sqlite:///\S+ is at (http://127\.0\.0\.1:\d+/)\?token=a%20b\n", line
        )
        assert match, line
        with httpx.Client(follow_redirects=True) as client:
            assert client.get(match[1]).status_code == 401
            page = client.get(f"{match[1]}?token=a%20b")
        assert page.status_code == 200
        assert "server" not in page.headers
        assert "No experiments yet" in page.text
        started.send_signal(signal.SIGINT)
        assert started.wait(20) == 130
        assert started.stderr is not None
        assert started.stderr.read() == ""
    finally:
        started.kill()
        started.wait()


def test_a_port_in_use_is_one_line(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("dashboard", "--port", port, url=sqlite_url, code=4)
    assert f"port {port} of 127.0.0.1 is in use" in line


def test_what_is_wrong_is_one_line(sqlite_url: str, tmp_path: Path) -> None:
    assert "is no address" in refused("dashboard", "--host", "192.0.2.1", "--port", 0, url=sqlite_url)
    assert "must not be empty" in refused("dashboard", "--token", " ", url=sqlite_url)
    assert "no database" in refused("dashboard", url=f"sqlite:///{tmp_path}/none.db", code=3)


def test_a_missing_package_names_the_extra(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "NEEDED", ("jinja2", "no_such_package"))
    line = refused("dashboard", url=sqlite_url, code=4)
    assert line == "evolver: 'evolver dashboard' needs no_such_package; run: pip install 'evolver[dashboard]'"


def test_the_help_has_examples() -> None:
    shown = cli("dashboard", "--help").output
    assert "--allow-host" in shown
    assert "Examples:" in shown
