"""The directions between the parts, held by reading the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CONTROL_PLANE = sorted((ROOT / "evolver").rglob("*.py"))
TRAINING_PLANE = sorted((ROOT / "workers").rglob("*.py"))
PURE = ("genome", "selection", "breeding.py", "credit.py", "density.py", "search.py", "space.py", "rng.py")
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 70
LONGER_MODULES = {}


class Import(NamedTuple):
    """One imported name; ``function`` is the one that it stands in, None at module level."""

    name: str
    function: str | None
    line: int


def path_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def imports(module: Path) -> Iterator[Import]:
    """All imports of a module but those for the type checker; ``from a import b`` counts as ``a.b``."""
    yield from _imports(tree_of(module), None)


def _imports(node: ast.AST, function: str | None) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, function, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (
                Import(f"{child.module}.{alias.name}", function, child.lineno) for alias in child.names
            )
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, child.name)
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _imports(child, function)


def offences(modules: list[Path], *packages: str, lazily: bool = True) -> list[str]:
    """Where modules import one of these packages; with ``lazily`` false, only at module level."""
    return [
        f"{path_of(module)}:{found.line} imports {found.name}"
        for module in modules
        for found in imports(module)
        if any(f"{found.name}.".startswith(f"{package}.") for package in packages)
        and (lazily or found.function is None)
    ]


# --- imports -----------------------------------------------------------------------------------------


def test_the_control_plane_never_imports_torch() -> None:
    assert offences(CONTROL_PLANE, "torch", "torchvision") == []


def test_the_control_plane_loads_workers_inside_commands_only() -> None:
    assert offences(CONTROL_PLANE, "workers", lazily=False) == []
    others = [
        module
        for module in CONTROL_PLANE
        if not path_of(module).startswith(("evolver/cli/", "evolver/localrun.py", "evolver/localworker.py"))
    ]
    assert offences(others, "workers") == []


def test_only_its_command_knows_the_dashboard_and_only_it_knows_the_web() -> None:
    web = ("starlette", "jinja2", "uvicorn", "anyio", "plotly")
    outside = [
        module for module in CONTROL_PLANE + TRAINING_PLANE if "evolver/dashboard/" not in path_of(module)
    ]
    command = ROOT / "evolver/cli/dashboard.py"
    others = [module for module in outside if module != command]
    assert offences(others, "evolver.dashboard", *web) == []
    assert offences([command], "evolver.dashboard", *web, lazily=False) == []


def test_genomes_and_selection_are_pure() -> None:
    pure = [module for module in CONTROL_PLANE if path_of(module).removeprefix("evolver/").startswith(PURE)]
    assert len(pure) > len(PURE)
    assert offences(pure, "sqlalchemy", "logging", "time", "datetime", "os", "random", "evolver.store") == []


def test_sql_has_one_home() -> None:
    outside = [
        module
        for module in CONTROL_PLANE + TRAINING_PLANE
        if not path_of(module).startswith("evolver/store/")
    ]
    assert [one for one in offences(outside, "sqlalchemy") if not is_harmless(one)] == []


def is_harmless(offence: str) -> bool:
    """The types of a transaction and of a URL, and the errors of a statement, are no SQL."""
    return offence.endswith((" sqlalchemy.Connection", " sqlalchemy.URL")) or " sqlalchemy.exc." in offence


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("evolver.store.facts, evolver.store.db", ("numpy", "pydantic", "alembic", "torch")),
        ("evolver.scheduler, evolver.replay, evolver.config", ("torch", "workers")),
        ("workers.main, workers.supervisor, workers.child", ("torch", "safetensors", "sklearn")),
    ],
)
def test_an_import_does_not_load_what_it_does_not_need(modules: str, absent: tuple[str, ...]) -> None:
    script = f"import sys, {modules}; print(*sorted({set(absent)} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


# --- who writes what ---------------------------------------------------------------------------------


def writes(module: Path, *tables: str) -> bool:
    """Whether a module has a call ``insert(table)``, ``update(table)`` or ``delete(table)``."""
    for node in ast.walk(tree_of(module)):
        match node:
            case ast.Call(func=ast.Name("insert" | "update" | "delete"), args=[table]):
                if ast.unparse(table).removeprefix("schema.") in tables:
                    return True
    return False


def test_only_the_lease_protocol_writes_states_and_attempts() -> None:
    writers = {path_of(one) for one in CONTROL_PLANE + TRAINING_PLANE if writes(one, "evaluation", "attempt")}
    assert writers == {f"evolver/store/{name}.py" for name in ("claims", "leases", "queue", "steps")}
    assert set(written_columns(ROOT / "evolver/store/steps.py", "evaluation")) == {"ingest_no"}


def written_columns(module: Path, table: str) -> Iterator[str]:
    """The keywords of ``.values(…)`` in the statements that write a table."""
    for statement in ast.walk(tree_of(module)):
        match statement:
            case ast.Call(func=ast.Attribute(attr="values"), keywords=keywords):
                if f"update({table})" in ast.unparse(statement) or f"insert({table})" in ast.unparse(
                    statement
                ):
                    yield from (keyword.arg or "**" for keyword in keywords)


# --- size --------------------------------------------------------------------------------------------


def test_modules_and_functions_stay_small() -> None:
    long: list[str] = []
    for module in CONTROL_PLANE + TRAINING_PLANE:
        lines = len(module.read_text(encoding="utf-8").splitlines())
        if lines > MAX_MODULE_LINES:
            long.append(f"{path_of(module)} has {lines} lines")
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path_of(module)}:{node.lineno} {node.name} has {lines} lines")
    assert long == []
