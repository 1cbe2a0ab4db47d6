"""Checks of the source itself: comparisons of secrets, and who may import what is fenced."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_db

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = (
    "accounts",
    "backoffice",
    "common",
    "config",
    "entitlements",
    "licenses",
    "moderation",
    "notifications",
    "payments",
    "projects",
)
SECRET_NAMES = (
    "signature",
    "digest",
    "expected_sig",
    "api_key",
    "key_hash",
    "token_hash",
    "webhook_secret",
    "secret_key",
)


def product_files() -> list[Path]:
    return [path for app in PRODUCT for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts]


def names_a_secret(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lower() in SECRET_NAMES


def plain_comparisons(tree: ast.AST) -> list[int]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            sides = [node.left, *node.comparators]
            constant = any(isinstance(side, ast.Constant) for side in sides)
            if not constant and any(names_a_secret(side) for side in sides):
                found.append(node.lineno)
    return found


def test_secrets_are_compared_in_constant_time_only() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in product_files()
        for line in plain_comparisons(ast.parse(path.read_text()))
    ]
    assert offenders == []


def test_the_comparison_check_finds_a_planted_one() -> None:
    assert plain_comparisons(ast.parse("def f(a, signature):\n    return a == signature")) == [2]


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(("library", "owner"), [("stripe", "payments/stripe_api.py"), ("djstripe", "payments/mirror")])
def test_a_fenced_library_has_one_importer(library: str, owner: str) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in product_files()
        if library in imports_of(path) and "djstripe_migrations" not in path.parts
    }
    assert importers and all(name.startswith(owner) for name in importers), importers


def test_pickle_is_never_used() -> None:
    assert [str(path) for path in product_files() if imports_of(path) & {"pickle", "shelve", "marshal"}] == []
