"""Text from elsewhere before it reaches a terminal."""

from __future__ import annotations

import io
import json
import logging

import pytest

from evolver.cli.harmless import harmless, transcript
from evolver.cli.output import Terminal, json_text, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é ✨ 名\n\ttext", "plain é ✨ 名\n\ttext"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("\x1b]52;c;cm0gLXJm", "52;c;cm0gLXJm"),  # without an end: shown, not obeyed
        ("\x1bPq#0\x1b\\\x1bc\x1b(0text", "text"),
        ("\x9b2Jtext\x9d", "text"),
        ("a\rb\x08\x07\x00\x7f", "ab"),
        ("\x1b\x1b[0m[31m", "[31m"),  # nothing comes together from what is left
        ("abc\u202edef\u2066", "abcdef"),
        ("\udcff", ""),
    ],
)
def test_a_terminal_has_nothing_to_obey(text: str, shown: str) -> None:
    assert harmless(text) == shown
    assert harmless(shown) == shown


def test_a_line_that_was_overwritten_is_shown_as_it_was_left() -> None:
    log = "start\r\n 10%|#   |\r 50%|##  |\r100%|####|\n\x1b[2K\rdone\r\r\n\tindented\r\n"
    assert transcript(log) == "start\n100%|####|\ndone\n\tindented\n"
    assert transcript("") == ""


def test_a_table_shows_signs_as_they_are() -> None:
    out = Terminal(stderr=False)
    out.file = io.StringIO()
    made = table("name", title="[red]\x1b[2J")
    made.add_row("[/]:smile:\x1b]0;x\x07\x9b1m")
    out.print(made)
    lines = [line.strip() for line in out.file.getvalue().splitlines()]
    assert lines == ["[red]", "name", "[/]:smile:"]


def test_json_is_exact_and_of_printable_signs() -> None:
    value = {"text": "\x1b[2J\x9b2J\x7f é\n"}
    assert json.loads(json_text(value)) == value
    assert json_text(value).isprintable()


def test_a_log_is_harmless(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from evolver.cli.harmless import log_to_stderr

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    log_to_stderr()
    logging.getLogger("evolver.test").info("experiment '%s'", "\x1b[2Jdemo")
    assert capsys.readouterr().err.endswith(" INFO experiment 'demo'\n")
