"""What was read from Stripe for one root: every object once, before anything is written.

Invariant: only this file reads from Stripe during a sync, each object at most once per snapshot, and no transaction is open
meanwhile (payments/stripe_api.py asserts it). An object that Stripe no longer has is kept as None: that is a state too.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from payments.stripe_api import StripeAccount, StripeObjectMissing, StripePermissionMissing, StripeRefused

StripeObject = dict[str, Any]
SESSIONS = "checkout/sessions"
# Who holds one of these can act on a payment in a browser; support and reports have no use for it.
DROPPED_KEYS = frozenset({"client_secret", "secret"})
# The address that a licence's buyer comes back to opens the licence's page (licenses/services/access_tokens.py).
_LICENSE_LINK = re.compile(r"\blat_[A-Za-z0-9_.-]+")


def without_client_secrets(value: Any) -> Any:
    """Return a copy of an object without the keys and links that let a browser act on it."""
    if isinstance(value, dict):
        return {key: without_client_secrets(inner) for key, inner in value.items() if key not in DROPPED_KEYS}
    if isinstance(value, list):
        return [without_client_secrets(inner) for inner in value]
    return _LICENSE_LINK.sub("lat_", value) if isinstance(value, str) and "lat_" in value else value


@dataclass
class Snapshot:
    """The objects of one root as Stripe has them now, by their REST path and id."""

    account: StripeAccount
    objects: dict[tuple[str, str], StripeObject | None] = field(default_factory=dict)
    # Which invoice a payment intent pays: neither of the two names the other directly since 2025-03-31.
    invoice_of_payment: dict[str, str] = field(default_factory=dict)
    # The invoice that a subscription's renewal is going to make, by subscription; None when Stripe foresees none.
    upcoming: dict[str, StripeObject | None] = field(default_factory=dict)
    # The open invoices of a subscription that is overdue, by subscription. They are not written: an invoice's own read does that.
    unpaid: dict[str, list[StripeObject]] = field(default_factory=dict)
    # What was read for any part of this snapshot; a part takes from here what it asks for, without a second read.
    _read: dict[tuple[str, str], StripeObject | None] = field(default_factory=dict)
    _invoices: dict[str, str] = field(default_factory=dict)
    _lists: dict[tuple[str, str], list[StripeObject]] = field(default_factory=dict)

    def part(self) -> "Snapshot":
        """Return an empty snapshot that reads nothing twice which this one, or another part of it, has read."""
        return Snapshot(self.account, _read=self._read, _invoices=self._invoices, _lists=self._lists)

    def add(self, part: "Snapshot") -> None:
        """Take in what a part holds."""
        self.objects.update(part.objects)
        self.invoice_of_payment.update(part.invoice_of_payment)
        self.upcoming.update(part.upcoming)
        self.unpaid.update(part.unpaid)

    def read(self, object_name: str, object_id: str, *, expand: Sequence[str] = ()) -> StripeObject | None:
        """Return an object, reading it on the first call only; None when Stripe has none. Raises: StripeFailure."""
        key = (object_name, object_id)
        if key not in self._read:
            try:
                self._read[key] = self.account.retrieve(object_name, object_id, expand=expand)
            except StripeObjectMissing:
                self._read[key] = None
        self.objects[key] = self._read[key]
        return self._read[key]

    def read_all(self, object_name: str, **filters: str) -> list[StripeObject]:
        """Return every object of a filtered list, reading it on the first call only. Raises: StripeFailure."""
        key = (object_name, repr(sorted(filters.items())))
        if key not in self._lists:
            self._lists[key] = list(self.account.iterate(object_name, filters))
        for found in self._lists[key]:
            self.note(object_name, found)
        return self._lists[key]

    def read_unpaid(self, subscription_id: str) -> None:
        """Note which invoices of a subscription are open; nothing when the key may not ask. Raises: StripeFailure.

        Source: https://docs.stripe.com/api/invoices/list
        """
        filters = {"subscription": subscription_id, "status": "open"}
        key = ("invoices", repr(sorted(filters.items())))
        if key not in self._lists:
            try:
                self._lists[key] = list(self.account.iterate("invoices", filters))
            except StripePermissionMissing:
                return
        self.unpaid[subscription_id] = self._lists[key]

    def note(self, object_name: str, found: StripeObject) -> None:
        """Take in an object that was read inside another one."""
        key = (object_name, str(found["id"]))
        self.objects[key] = self._read[key] = found

    def read_paid_invoice_id(self, payment_intent_id: str) -> str:
        """Return the invoice that a PaymentIntent pays, "" when it pays none. Raises: StripeFailure.

        Source: https://docs.stripe.com/api/invoice-payment/list
        """
        if payment_intent_id not in self._invoices:
            payment = {"type": "payment_intent", "payment_intent": payment_intent_id}
            found = self.account.list("invoice_payments", {"payment": payment, "limit": 1})["data"]
            self._invoices[payment_intent_id] = id_of(found[0].get("invoice")) if found else ""
        return self._invoices[payment_intent_id]

    def read_session_of(self, payment_intent_id: str) -> None:
        """Take in the checkout session that a PaymentIntent was made by, unless it was read; nothing when the key may not ask.

        Raises: StripeFailure.  Source: https://docs.stripe.com/api/checkout/sessions/list
        """
        for (name, session_id), known in self._read.items():
            if name == SESSIONS and known and id_of(known.get("payment_intent")) == payment_intent_id:
                self.objects[name, session_id] = known
                return
        try:
            found = self.account.list(SESSIONS, {"payment_intent": payment_intent_id, "limit": 1})["data"]
        except StripePermissionMissing:
            return
        for session in found:
            self.note(SESSIONS, session)

    def read_upcoming(self, subscription_id: str) -> StripeObject | None:
        """Return the invoice of a subscription's next renewal as it would be now; None when there will be none, or when the
        key may not ask. Raises: StripeFailure.

        Source: https://docs.stripe.com/api/invoices/create_preview
        """
        if subscription_id not in self.upcoming:
            asked = {"subscription": subscription_id}
            try:
                # A preview stores nothing, so no second call could double anything.
                found = self.account.create("invoices/create_preview", asked, idempotency_key=str(uuid.uuid4()))
                self.upcoming[subscription_id] = found
            except (StripeRefused, StripePermissionMissing):
                self.upcoming[subscription_id] = None
        return self.upcoming[subscription_id]

    def note_paid_invoice(self, payment_intent_id: str, invoice_id: str) -> None:
        """Remember which invoice a PaymentIntent pays, as the invoice itself said."""
        self.invoice_of_payment[payment_intent_id] = self._invoices[payment_intent_id] = invoice_id

    def of_kind(self, object_name: str) -> dict[str, StripeObject | None]:
        """Return what was read of one kind, by id."""
        return {object_id: found for (name, object_id), found in self.objects.items() if name == object_name}


def id_of(reference: Any) -> str:
    """Return the id of a reference that may be an id, an expanded object or null."""
    if isinstance(reference, dict):
        return str(reference.get("id") or "")
    return str(reference) if reference else ""


def root_of(found: StripeObject) -> str:
    """Say what the sync lease of an object is taken on: its customer, else the payment or the invoice, else the object itself.

    A price is written together with its product and the product's other prices.
    """
    if found.get("object") == "customer":
        return str(found["id"])
    if found.get("object") == "price":
        return id_of(found.get("product")) or str(found.get("id") or "")
    named = (id_of(found.get(name)) for name in ("customer", "payment_intent", "invoice"))
    return next((root for root in named if root), str(found.get("id") or ""))


def names_no_customer(root: str) -> bool:
    """Say whether a root is a payment or an invoice, whose customer only shows when it is read."""
    return root.startswith(("pi_", "in_"))
