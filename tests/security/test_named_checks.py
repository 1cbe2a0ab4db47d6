"""The table of docs/security.md names tests that exist and say which check they prove."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_db

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (S\d+) \|.*", re.MULTILINE)
NAMED = {"S6", "S7", "S10", "S31", "S35", "S36", "S41", "S43", "S47"}


def docstring_of(path: str, name: str) -> str:
    tree = ast.parse((ROOT / path).read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"{path} has no {name}"
    return f"{ast.get_docstring(tree)} {ast.get_docstring(found[0])}"


def test_every_check_of_the_table_is_proved_by_tests_that_name_it() -> None:
    rows = {match[1]: re.findall(r"`(tests/[\w/.]+)::(\w+)`", match[0]) for match in ROW.finditer(
        (ROOT / "docs/security.md").read_text()
    )}  # fmt: skip
    assert rows.keys() == NAMED and all(rows.values())
    for check, tests in rows.items():
        for path, name in tests:
            assert re.search(rf"\b{check}\b", docstring_of(path, name)), f"{path}::{name} does not say {check}"
