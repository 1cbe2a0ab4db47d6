"""A customer of the project's Stripe account: where it is billed, its tax ids, the card that renewals are charged to.

Invariant: the end user's sign-in e-mail is never touched; billing data is the Stripe customer's own.
"""

from typing import Any

from django.db.models.functions import Now

from payments.models import StripeCustomer, WebhookEvent
from payments.services.ownership import TEXT_CHARS, Scope
from payments.services.snapshot import Snapshot, StripeObject, id_of

CUSTOMERS, PAYMENT_METHODS, TAX_IDS = "customers", "payment_methods", "tax_ids"
# Read with the customer, in the same call.
CUSTOMER_EXPAND = ("tax_ids", "invoice_settings.default_payment_method")
METHOD_ID_PREFIXES = ("pm_", "card_", "src_", "ba_")
TAX_ID_PREFIX = "txi_"


def collect_customer(snapshot: Snapshot, customer_id: str) -> StripeObject | None:
    """Read a customer with its tax ids and default payment method, and where it has no default, the methods that it has.

    A deleted one is a stub that says so. Raises: StripeFailure.
    Source: https://docs.stripe.com/api/customers/retrieve
    """
    found = snapshot.read(CUSTOMERS, customer_id, expand=CUSTOMER_EXPAND)
    if found and not found.get("deleted") and not _default_method(found):
        snapshot.read_all(PAYMENT_METHODS, customer=customer_id)
    return found


def locate_customer(event: WebhookEvent) -> str:
    """Name the customer of an event about something that belongs to one; what was detached was its former customer's.

    Where the event does not say, its own object's id is returned, and `collect_owner` asks Stripe.
    """
    data = (event.payload or {}).get("data")
    data = data if isinstance(data, dict) else {}
    places = [data.get("object"), data.get("previous_attributes")]
    named = [id_of(place.get("customer")) for place in places if isinstance(place, dict)]
    return next((customer_id for customer_id in named if customer_id), event.object_id)


def collect_owner(snapshot: Snapshot, object_id: str) -> StripeObject | None:
    """Read the customer that `locate_customer` named; None when a payment method or tax id belongs to nobody."""
    if object_id.startswith(METHOD_ID_PREFIXES):
        owned = snapshot.read(PAYMENT_METHODS, object_id)
    elif object_id.startswith(TAX_ID_PREFIX):
        owned = snapshot.read(TAX_IDS, object_id)
    else:
        return collect_customer(snapshot, object_id)
    customer_id = id_of((owned or {}).get("customer"))
    return collect_customer(snapshot, customer_id) if customer_id else None


def write_customer(scope: Scope, customer_id: str, found: StripeObject | None, snapshot: Snapshot) -> None:
    """Follow a customer's billing data; one that is gone is marked as deleted, and what identifies a person goes with it."""
    rows = StripeCustomer.objects.for_project(scope.project_id).filter(pk=scope.row_id(customer_id))
    if found is None or found.get("deleted"):
        rows.filter(deleted_at__isnull=True).update(deleted_at=Now(), billing={})
        return
    scope.bind(found, None)
    methods = [method for method in snapshot.of_kind(PAYMENT_METHODS).values() if method is not None]
    # Of whom was anonymised nothing comes back, whatever Stripe still knows.
    rows.exclude(end_user__anonymised_at__isnull=False).update(**customer_values(found, methods))


def customer_values(found: StripeObject, methods: list[StripeObject]) -> dict[str, Any]:
    """Return the columns of a customer that was read with CUSTOMER_EXPAND, and its methods where it has no default."""
    attached = [method for method in methods if id_of(method.get("customer")) == found["id"]]
    newest = max(attached, key=lambda method: (method.get("created") or 0, method["id"]), default=None)
    return {
        "email": (found.get("email") or "")[:TEXT_CHARS],
        "name": (found.get("name") or "")[:TEXT_CHARS],
        "billing": {
            "address": found.get("address"),
            "phone": found.get("phone"),
            "tax_exempt": found.get("tax_exempt"),
            "tax_ids": [_tax_id(one) for one in (found.get("tax_ids") or {}).get("data") or []],
            "payment_method": _method(_default_method(found) or newest),
        },
    }


def _default_method(found: StripeObject) -> StripeObject | None:
    method = (found.get("invoice_settings") or {}).get("default_payment_method")
    return method if isinstance(method, dict) else None


def _tax_id(found: StripeObject) -> dict[str, Any]:
    return {
        "id": found.get("id"),
        "type": found.get("type"),
        "value": found.get("value"),
        "country": found.get("country"),
        "verification": (found.get("verification") or {}).get("status"),
    }


def _method(found: StripeObject | None) -> dict[str, Any] | None:
    """Return what support and a notice need of a payment method; `expires` sorts as text: 2026-12."""
    if found is None:
        return None
    details = found.get(str(found.get("type"))) or {}
    year, month = details.get("exp_year"), details.get("exp_month")
    return {
        "id": found["id"],
        "type": found.get("type"),
        "brand": details.get("brand"),
        "last4": details.get("last4"),
        "expires": f"{year:04}-{month:02}" if isinstance(year, int) and isinstance(month, int) else None,
    }
