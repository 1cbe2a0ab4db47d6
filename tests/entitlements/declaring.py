"""Declared files, and the command that applies them, as an operator at a terminal has them."""

import io
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from entitlements.models import Plan, PlanPrice
from moderation.models import ActionLog
from projects.models import Project

NOTHING = "Nothing to change."


def apply(*arguments: Any, **options: Any) -> str:
    """Run the command and return what it printed."""
    output = io.StringIO()
    call_command("apply", *arguments, stdout=output, **options)
    return output.getvalue()


def refused(*arguments: Any, code: int = 1, **options: Any) -> str:
    """Run the command, which must refuse with an exit code, and return what it said."""
    try:
        apply(*arguments, **options)
    except CommandError as error:
        assert error.returncode == code, error
        return str(error)
    raise AssertionError("the command did not refuse")


def set_up(project: Project, *arguments: Any, mode: str = "test", **options: Any) -> str:
    """Run setup_stripe and return what it printed."""
    output = io.StringIO()
    call_command("setup_stripe", project.slug, *arguments, mode=mode, stdout=output, **options)
    return output.getvalue()


def write_file(directory: Path, text: str, name: str = "shop.toml") -> Path:
    """Write a declared file."""
    path = directory / name
    path.write_text(text)
    return path


def kept(project: Project) -> tuple[Any, ...]:
    """Return all that a file could have changed of a project, for comparing."""
    project = Project.objects.get(pk=project.pk)
    return (
        project.name, project.allowed_origins, project.updated_at,
        sorted(Plan.objects.for_project(project).values_list(), key=str),
        sorted(PlanPrice.objects.for_project(project).values_list(), key=str),
        ActionLog.objects.for_project(project).count(),
    )  # fmt: skip


def price_rows(project: Project, mode: str = "test") -> list[tuple[Any, ...]]:
    """Return a project's prices in one mode: plan, interval, amount, Stripe's id or "", key, for sale."""
    rows = PlanPrice.objects.for_project(project).filter(mode=mode).order_by("plan__rank", "interval", "created_at")
    return list(rows.values_list("plan__code", "interval", "amount_cents", "stripe_price_id", "lookup_key", "active"))
