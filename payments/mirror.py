"""The only importer of dj-stripe: its tables hold a read-only copy of Stripe's objects for support and reporting.

Invariants: rows are written through the ORM from objects that were already retrieved, parents first, with no key and no network;
a row of another account or mode is never overwritten (user-chosen product ids collide); no client secret is kept; nothing here ever
reaches the caller, since the product's state does not depend on the mirror. See docs/adr/0004-secrets-and-the-dj-stripe-fence.md.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.db import models, transaction
from djstripe import models as djstripe

from common.clock import from_unix
from common.logs import redact
from common.modes import LIVE
from payments.models import MirrorFailure
from payments.services.ownership import Scope
from payments.services.snapshot import StripeObject, id_of, without_client_secrets

logger = logging.getLogger(__name__)

ERROR_CHARS = 500
MODELS: dict[str, type[models.Model]] = {
    "account": djstripe.Account,
    "customer": djstripe.Customer,
    "product": djstripe.Product,
    "price": djstripe.Price,
    "coupon": djstripe.Coupon,
    "promotion_code": djstripe.PromotionCode,
    "subscription": djstripe.Subscription,
    "subscription_item": djstripe.SubscriptionItem,
    "invoice": djstripe.Invoice,
    "payment_intent": djstripe.PaymentIntent,
    "charge": djstripe.Charge,
    "refund": djstripe.Refund,
    "checkout.session": djstripe.Session,
}
# Parents before children: the order in which a snapshot is written.
ORDER = list(MODELS)


class MirrorRefused(Exception):
    """An object that the mirror cannot hold; the text says why."""


def write_mirror_rows(scope: Scope, found: Iterable[StripeObject]) -> None:
    """Write what was retrieved into dj-stripe's tables; what fails is recorded and nothing is raised but a lost database."""
    objects: dict[tuple[str, str], StripeObject] = {}
    for one in found:
        for part in _parts(one):
            objects[(part["object"], part["id"])] = part
    writer = _Writer(scope)
    for kind, object_id in sorted(objects, key=lambda key: ORDER.index(key[0])):
        writer.write(objects[(kind, object_id)])
    writer.note_failures()


def mirrored(kind: str, *, account_ids: Iterable[str] | None) -> models.QuerySet[Any]:
    """Return the mirror's rows of one kind, of the given Stripe accounts only (None = of all, for staff)."""
    rows = MODELS[kind]._base_manager.all()
    if account_ids is None:
        return rows
    owner = "id__in" if kind == "account" else "djstripe_owner_account__id__in"
    return rows.filter(**{owner: [account_id for account_id in account_ids if account_id]})


def account_of(kind: str, object_id: str) -> str:
    """Return the id of the Stripe account that an object was last read from, "" when the mirror has no copy of it."""
    rows = MODELS[kind]._base_manager.filter(id=object_id)
    return rows.values_list("djstripe_owner_account__id", flat=True).first() or ""


# What identifies a person in Stripe's objects, at any depth. Amounts, ids, times, states and what was bought stay.
PERSONAL_KEYS = frozenset(
    {
        "address", "billing_details", "business_name", "collected_information", "custom_fields", "customer_address",
        "customer_details", "customer_email", "customer_name", "customer_phone", "customer_shipping", "customer_tax_ids",
        "description", "email", "individual_name", "last4", "metadata", "name", "owner", "phone", "preferred_locales",
        "receipt_email", "shipping", "shipping_details", "tax_ids", "fingerprint", "iin", "hosted_invoice_url",
        "invoice_pdf", "receipt_url", "client_reference_id", "cancellation_details", "verification",
    }
)  # fmt: skip
# Kinds that are a person's; products, prices and coupons are everybody's.
KINDS_OF_PEOPLE = (
    "customer", "subscription", "subscription_item", "invoice", "payment_intent", "charge", "refund", "checkout.session",
)  # fmt: skip


def rows_about(object_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the mirror's copies of these objects, and of those that are of a customer among them, as (kind, object)."""
    for kind in KINDS_OF_PEOPLE:
        for row in _rows_about(kind, object_ids).iterator(chunk_size=200):
            yield kind, row.stripe_data


def forget_people(object_ids: Sequence[str]) -> int:
    """Empty what identifies a person in the mirror's copies of these objects; returns how many were changed."""
    changed = 0
    for kind in KINDS_OF_PEOPLE:
        for row in _rows_about(kind, object_ids).select_for_update().iterator(chunk_size=200):
            kept = _without_person(row.stripe_data)
            values: dict[str, Any] = {"stripe_data": kept, "metadata": {}}
            if kind == "customer":
                values["email"] = ""
            if kept != row.stripe_data or row.metadata:
                changed += type(row)._base_manager.filter(pk=row.pk).update(**values)
    return changed


def _rows_about(kind: str, object_ids: Sequence[str]) -> "models.QuerySet[Any]":
    model: Any = MODELS[kind]
    about = models.Q(id__in=object_ids)
    fields = {field.name for field in model._meta.get_fields()}
    if "customer" in fields:
        about |= models.Q(customer__id__in=object_ids)
    if kind == "subscription_item":
        about |= models.Q(subscription__customer__id__in=object_ids)
    rows: models.QuerySet[Any] = model._base_manager.filter(pk__in=model._base_manager.filter(about).values("pk"))
    return rows


def _without_person(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: None if key in PERSONAL_KEYS else _without_person(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_person(inner) for inner in value]
    return value


def _parts(found: Any) -> Iterator[StripeObject]:
    """Yield the objects inside an object that the mirror has a table for, and the object itself."""
    if isinstance(found, list):
        for element in found:
            yield from _parts(element)
    elif isinstance(found, dict):
        for value in found.values():
            if isinstance(value, dict | list):
                yield from _parts(value)
        if found.get("object") in MODELS and found["object"] != "account" and found.get("id"):
            yield found


class _Writer:
    """Writes objects of one account, parents first, and remembers what failed."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._livemode = scope.mode == LIVE
        self._written: dict[tuple[str, str], int] = {}
        self._failed: dict[str, str] = {}
        self._owner_id: int | None = None

    def write(self, found: StripeObject) -> None:
        """Write one object in a savepoint of its own."""
        before = dict(self._written)
        try:
            # The owner is kept for the other objects, so it must not be undone with this one.
            with transaction.atomic():
                self._owner()
            with transaction.atomic():
                self._put(found["object"], found["id"], found)
        except Exception as error:  # Whatever an object of an unforeseen shape raises, the next one is written.
            self._written = before
            self._failed[found["id"]] = redact(f"{type(error).__name__}: {error}")[:ERROR_CHARS]

    def note_failures(self) -> None:
        """Keep one row per object that failed, and drop those of objects that were written now."""
        rows = MirrorFailure.objects.filter(project_id=self._scope.project_id, mode=self._scope.mode)
        if self._written:
            rows.filter(stripe_object_id__in=[object_id for _, object_id in self._written]).delete()
        for object_id, error in self._failed.items():
            logger.warning("mirror_failed project=%s object=%s error=%s", self._scope.project_id, object_id, error)
            MirrorFailure.objects.update_or_create(
                project_id=self._scope.project_id,
                mode=self._scope.mode,
                stripe_object_id=object_id,
                defaults={"error": error},
            )

    def _owner(self) -> int:
        if not self._scope.account_id:
            raise MirrorRefused("The Stripe account of this project is not known.")
        if self._owner_id is None:
            row, _ = djstripe.Account._base_manager.get_or_create(id=self._scope.account_id)
            self._owner_id = int(row.djstripe_id)
        return self._owner_id

    def _put(self, kind: str, object_id: str, found: StripeObject | None) -> int:
        """Insert or update one row and return its key; without an object at hand, a bare row stands in until it is read."""
        known = self._written.get((kind, object_id))
        if known is not None and found is None:
            return known
        model: Any = MODELS[kind]
        mine = model._base_manager.filter(
            id=object_id, djstripe_owner_account_id=self._owner(), livemode=self._livemode
        )
        key = mine.values_list("djstripe_id", flat=True).first()
        if key is None:
            values = self._values(kind, found or {"object": kind, "id": object_id})
            row = model(id=object_id, djstripe_owner_account_id=self._owner(), livemode=self._livemode, **values)
            model._base_manager.bulk_create([row], ignore_conflicts=True)
            key = mine.values_list("djstripe_id", flat=True).first()
            if key is None:
                raise MirrorRefused(
                    "Another account or mode has an object of this id, and the mirror keeps one per id."
                )
        elif found is not None and not found.get("deleted"):
            mine.exclude(stripe_data=without_client_secrets(found)).update(**self._values(kind, found))
        if found is not None:
            self._written[(kind, object_id)] = key
        return int(key)

    def _values(self, kind: str, found: StripeObject) -> dict[str, Any]:
        return {
            "stripe_data": without_client_secrets(found),
            "created": from_unix(found.get("created")),
            "metadata": found.get("metadata"),
            **(COLUMNS[kind](self, found) if kind in COLUMNS else {}),
        }

    def _parent(self, kind: str, reference: Any) -> int | None:
        return self._put(kind, id_of(reference), None) if id_of(reference) else None


def _price_columns(writer: _Writer, found: StripeObject) -> dict[str, Any]:
    return {
        "active": bool(found.get("active")),
        "currency": found.get("currency") or "",
        "nickname": (found.get("nickname") or "")[:250],
        "lookup_key": found.get("lookup_key"),
        "product_id": writer._parent("product", found.get("product")),
    }


def _charge_columns(writer: _Writer, found: StripeObject) -> dict[str, Any]:
    return {
        # dj-stripe keeps a charge in hundredths of the minor-unit integer, whatever the currency.
        "amount": Decimal(found.get("amount") or 0) / 100,
        "currency": found.get("currency") or "",
        "status": found.get("status") or "failed",
        "customer_id": writer._parent("customer", found.get("customer")),
        "payment_intent_id": writer._parent("payment_intent", found.get("payment_intent")),
    }


COLUMNS: dict[str, Callable[[_Writer, StripeObject], dict[str, Any]]] = {
    "customer": lambda writer, found: {"email": found.get("email") or ""},
    "product": lambda writer, found: {"name": found.get("name") or "", "active": found.get("active")},
    "price": _price_columns,
    "subscription": lambda writer, found: {"customer_id": writer._parent("customer", found.get("customer"))},
    "subscription_item": lambda writer, found: {
        "price_id": writer._parent("price", found.get("price")),
        "subscription_id": writer._parent("subscription", found.get("subscription")),
    },
    "invoice": lambda writer, found: {
        "customer_id": writer._parent("customer", found.get("customer")),
        "subscription_id": writer._parent("subscription", _subscription_of(found)),
    },
    "payment_intent": lambda writer, found: {"customer_id": writer._parent("customer", found.get("customer"))},
    "charge": _charge_columns,
    "refund": lambda writer, found: {
        "amount": found.get("amount") or 0,
        "currency": found.get("currency") or "",
        "charge_id": writer._parent("charge", found.get("charge")),
    },
    "checkout.session": lambda writer, found: {
        "customer_id": writer._parent("customer", found.get("customer")),
        "payment_intent_id": writer._parent("payment_intent", found.get("payment_intent")),
        "subscription_id": writer._parent("subscription", found.get("subscription")),
    },
}


def _subscription_of(invoice: StripeObject) -> Any:
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    return parent.get("subscription") or invoice.get("subscription")
