"""A customer of the project's Stripe account: its billing address, name, and whether it still exists."""

from django.db.models.functions import Now

from payments.models import StripeCustomer
from payments.services.ownership import TEXT_CHARS, Scope
from payments.services.snapshot import Snapshot, StripeObject

CUSTOMERS = "customers"


def collect_customer(snapshot: Snapshot, customer_id: str) -> StripeObject | None:
    """Read a customer; a deleted one is a stub that says so. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/customers/retrieve
    """
    return snapshot.read(CUSTOMERS, customer_id)


def write_customer(scope: Scope, customer_id: str, found: StripeObject | None) -> None:
    """Follow a customer's billing data, never the end user's sign-in e-mail; one that is gone is marked as deleted."""
    rows = StripeCustomer.objects.for_project(scope.project_id).filter(pk=scope.row_id(customer_id))
    if found is None or found.get("deleted"):
        rows.filter(deleted_at__isnull=True).update(deleted_at=Now())
        return
    scope.bind(found, None)
    rows.update(email=(found.get("email") or "")[:TEXT_CHARS], name=(found.get("name") or "")[:TEXT_CHARS])
