"""What the reconciliation's tests share: runs as an operator starts them, and what a report says."""

from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command

from payments.models import (
    Dispute,
    Drift,
    Invoice,
    ReconcileRun,
    Refund,
    StripeCredentials,
    StripeCustomer,
    Subscription,
    Transaction,
)
from tests.payments.shop import Shop

FOLLOWING: tuple[Any, ...] = (StripeCustomer, Subscription, Transaction, Invoice, Refund, Dispute)


def run_command(name: str, *arguments: str) -> tuple[int, str]:
    """Run a management command; returns its exit code and what it said."""
    said = StringIO()
    try:
        call_command(name, *arguments, stdout=said, stderr=said)
    except CommandError as error:
        return error.returncode, f"{said.getvalue()}{error}"
    return 0, said.getvalue()


def reconcile(shop: Shop, *options: str, mode: str = "test") -> tuple[int, str]:
    """Reconcile the shop's account."""
    return run_command("reconcile", "--project", shop.project.slug, "--mode", mode, *options)


def drifts(shop: Shop, **filters: Any) -> Any:
    """Return the report's lines."""
    return Drift.objects.for_project(shop.project).filter(**filters)


def drifted_fields(shop: Shop) -> set[tuple[str, str]]:
    """Return which fields of which kinds of objects differed."""
    return set(drifts(shop).exclude(object_type="event").values_list("object_type", "field"))


def runs(shop: Shop) -> Any:
    """Return the shop's runs, oldest first."""
    return ReconcileRun.objects.for_project(shop.project).order_by("started_at")


def all_rows(shop: Shop, *, without: frozenset[str] = frozenset({"synced_at"})) -> dict[str, list[dict[str, Any]]]:
    """Return every row that follows Stripe, without our own times."""
    found = {}
    for model in FOLLOWING:
        left_out = without | ({"created_at"} if model is StripeCustomer else set())
        rows = model.objects.for_project(shop.project).order_by("pk").values()
        found[model.__name__] = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    return found


def nobody_else(*shops: Shop) -> None:
    """Leave these projects alone with Stripe."""
    others = StripeCredentials.objects.exclude(project__in=[shop.project for shop in shops])
    others.update(secret_key="", stripe_account_id="acct_somebody_elses")
