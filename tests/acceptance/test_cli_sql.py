"""The ways in which ``evolver sql`` is asked, and in which it answers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evolver.cli import main
from evolver.store.db import Database
from tests.acceptance.helpers import cli, create, facts_of, refused, search

ODD = "a \"b\",\n\x1b[31m'é'"
"""Text with what CSV and JSON must quote, and a table must not print."""
VALUES = f"SELECT 7 AS n, 0.1 AS x, NULL AS absent, '{ODD.replace(chr(39), 2 * chr(39))}' AS text, 8 AS n"
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) SELECT i FROM n"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture(scope="module")
def url(module_database: Database) -> str:
    create(module_database)
    search(module_database, failing=(3,))
    return module_database.url.render_as_string(hide_password=False)


def lines(*arguments: object, url: str) -> list[str]:
    result = cli("sql", *arguments, url=url)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.splitlines()


def piped(query: str, *arguments: str, url: str) -> Result:
    return CliRunner().invoke(main, ["sql", *arguments], input=query, env={"EVOLVER_DATABASE_URL": url})


def test_csv_has_every_value(url: str) -> None:
    result = cli("sql", VALUES, "--csv", url=url)
    assert list(csv.reader(io.StringIO(result.stdout, newline=""))) == [
        ["n", "x", "absent", "text", "n_2"],
        ["7", "0.1", "", ODD, "8"],
    ]
    assert len(lines(NUMBERS, "--csv", "--limit", 3, url=url)) == 251


def test_json_is_a_list_of_objects(url: str) -> None:
    (row,) = facts_of("sql", VALUES, url=url)
    assert row == {"n": 7, "x": 0.1, "absent": None, "text": ODD, "n_2": 8}
    assert facts_of("sql", "SELECT 1 AS one FROM genome WHERE id < 0", url=url) == []
    assert [row["i"] for row in facts_of("sql", NUMBERS, "--limit", 3, url=url)] == list(range(1, 251))


def test_both_databases_give_the_same_values(url: str) -> None:
    (row,) = facts_of(
        "sql",
        "SELECT ended_at, ended_at IS NULL AS open, 'x' AS text, 0.5 AS half, 10 / 4 AS whole "
        "FROM evaluation WHERE genome_id = 1",
        url=url,
    )
    year, rest = row.pop("ended_at").split("-", 1)
    assert (len(year), len(rest)) == (4, len("01-01 00:00:00.000"))
    assert row == {"open": False, "text": "x", "half": 0.5, "whole": 2}


def test_a_query_comes_from_a_file_or_a_pipe(url: str, tmp_path: Path) -> None:
    (tmp_path / "question.sql").write_text("-- how many?\nSELECT count(*) AS genomes FROM genome;\n")
    expected: Any = [{"genomes": 12}]
    assert facts_of("sql", "--file", tmp_path / "question.sql", url=url) == expected
    for arguments in (("-",), ("--file", "-")):
        result = piped("SELECT count(*) AS genomes FROM genome", *arguments, "--json", url=url)
        assert json.loads(result.stdout) == expected


def test_a_wrong_call_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "one query" in refused("sql", url=url)
    assert "one query" in refused("sql", "SELECT 1", "--file", "x.sql", url=url)
    assert "--csv or --json" in refused("sql", "SELECT 1", "--csv", "--json", url=url)
    assert "No such file" in refused("sql", "--file", tmp_path / "none.sql", url=url)
    assert "UTF-8" in refused("sql", "--file", tmp_path / "binary", url=url)
    assert "wrong SQL" in refused("sql", "SELECT nothing_like_it FROM genome", url=url)
    assert "only reads" in refused("sql", "DELETE FROM genome", url=url)
    assert "did you mean genome" in refused("sql", "SELECT * FROM genomes", url=url)


@pytest.mark.parametrize("kind", [(), ("--csv",), ("--json",)])
def test_a_query_is_cut_off_before_anything_is_printed(url: str, kind: tuple[str, ...]) -> None:
    assert "cut off after 0.2 s" in refused("sql", ENDLESS, "--timeout", 0.2, *kind, url=url, code=1)


def test_a_table_has_as_many_rows_as_asked_for(url: str) -> None:
    shown = lines(NUMBERS, "--limit", 3, url=url)
    assert [line.strip() for line in shown[:-1]] == ["i", "1", "2", "3"]
    assert shown[-1].startswith("(the first 3 rows; --limit N")
    assert lines(NUMBERS, "--limit", 250, url=url)[-1] == "(250 rows)"
    assert lines(NUMBERS, url=url)[-1].startswith("(the first 100 rows")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM evaluation",
        "SELECT * FROM front",
        "SELECT * FROM leaderboard",
        "SELECT experiment, genome_id, error FROM leaderboard",
        VALUES,
        f"SELECT '{'wide ' * 90}' AS text, 1 AS number",
        f"SELECT 1 AS {'long_name_' * 6}, 2 AS other",
    ],
)
def test_a_table_is_plain_text_of_80_columns(url: str, query: str) -> None:
    shown = lines(query, url=url)
    assert len(shown) >= 3
    assert max(map(len, shown)) <= 80
    assert all(line.isprintable() for line in shown)


def test_what_does_not_fit_side_by_side_is_a_line_for_each_value(url: str) -> None:
    shown = lines("SELECT * FROM evaluation ORDER BY id", "--limit", 2, url=url)
    assert [line for line in shown if not line.startswith(" ")][:2] == ["row 1", "row 2"]
    names = {line.split()[0] for line in shown if line.startswith("  ")}
    (row, *_) = facts_of("sql", "SELECT * FROM evaluation", url=url)
    assert names == set(row)
