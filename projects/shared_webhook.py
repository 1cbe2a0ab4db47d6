"""Taking part in the shared webhook address. What must hold for that is payments' to know, above: it registers a check."""

from collections.abc import Callable

from projects.models import Project

Check = Callable[[Project], None]
_checks: list[Check] = []


def register_check(check: Check) -> None:
    """Let an app above say what a project must meet before it takes part. Called once, at start."""
    if check not in _checks:
        _checks.append(check)


def check_may_take_part(project: Project) -> None:
    """Run every check, inside the transaction that saves the project. Raises: FieldError (422)."""
    for check in _checks:
        check(project)
