"""The walls of the code's shape that no linter of ours measures."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [file for folder in ("graph", "etl", "db", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
LONGEST_FILE, LONGEST_FUNCTION = 500, 60


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_and_its_functions_are_not_too_long(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = [node.name for node in functions(file) if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION]
    assert long == []
