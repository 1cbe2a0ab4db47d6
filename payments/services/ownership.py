"""Whose an object is: the end user that a customer, a subscription or a payment belongs to.

The answer must not depend on the order of events: what an object's own metadata names counts first, then its customer's user;
what was written before anybody knew is given to its user afterwards.
"""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction

from common.ids import stripe_row_id
from payments.models import Invoice, StripeCustomer, Subscription, Transaction
from payments.services.snapshot import StripeObject, id_of
from projects.models import EndUser

END_USER_KEY = "end_user_id"
TEXT_CHARS = 512


@dataclass(frozen=True)
class Cause:
    """What made us look at an object: an event, or "sync", "reconcile", "rebuild" or "staff" without one."""

    source: str = "sync"
    event_id: str = ""
    event_type: str = ""
    happened_at: dt.datetime | None = None
    # Effects are recorded as skipped: what is read again after a restore or imported has had them, or never will.
    without_effects: bool = False


@dataclass
class Scope:
    """Where a sync writes: one project and mode. Remembers whom it looked up, so that each is asked once."""

    project_id: uuid.UUID
    mode: str
    account_id: str = ""
    # Why this sync runs: of the whole, and where an event names the object, of that object.
    cause: Cause = Cause()
    causes: dict[str, Cause] = field(default_factory=dict)
    # Whose subscriptions were written or given to them: what they hold is decided anew (payments/services/standing.py).
    holders: set[uuid.UUID] = field(default_factory=set)
    # Those of whom this transaction has the lock already.
    locked_holders: set[uuid.UUID] = field(default_factory=set)
    # End users that were read with what is theirs.
    users: dict[uuid.UUID, EndUser] = field(default_factory=dict)
    _customers: dict[str, uuid.UUID | None] = field(default_factory=dict)
    _named: dict[str, uuid.UUID | None] = field(default_factory=dict)
    _subscriptions: dict[str, uuid.UUID | None] = field(default_factory=dict)

    def cause_of(self, object_id: str) -> Cause:
        """Return what made us look at an object: the newest event that names it, else why this sync runs."""
        return self.causes.get(object_id, self.cause)

    def row_id(self, stripe_id: str) -> uuid.UUID:
        """Return the id of the row that follows a Stripe object."""
        return stripe_row_id(self.project_id, self.mode, stripe_id)

    def subscription_row_id(self, subscription_id: str) -> uuid.UUID | None:
        """Return the id of our row of a subscription; None when there is no such row."""
        if subscription_id and subscription_id not in self._subscriptions:
            row_id = self.row_id(subscription_id)
            known = Subscription.objects.for_project(self.project_id).filter(pk=row_id).exists()
            self._subscriptions[subscription_id] = row_id if known else None
        return self._subscriptions.get(subscription_id)

    def note_subscription(self, row: Subscription) -> None:
        """Remember that a subscription's row was written just now, and its user, so that its payments look neither up."""
        self._subscriptions[row.stripe_subscription_id] = row.pk
        if row.end_user_id is not None:
            self._named[str(row.end_user_id)] = row.end_user_id
        if row.end_user is not None:
            self.users[row.end_user.pk] = row.end_user

    def user_of(self, found: StripeObject) -> uuid.UUID | None:
        """Return the end user of an object with metadata and a customer; notes a customer that is new here."""
        named = self.named_user(found.get("metadata"))
        customer = found.get("customer")
        if not id_of(customer):
            return named
        return named or self.user_of_customer(customer) if self._is_bound(customer) else self.bind(customer, named)

    def user_of_customer(self, customer: Any) -> uuid.UUID | None:
        """Return the end user of a customer; None when nobody is known."""
        customer_id = id_of(customer)
        if customer_id not in self._customers:
            rows = StripeCustomer.objects.for_project(self.project_id)
            rows = rows.filter(mode=self.mode, stripe_customer_id=customer_id)
            self._customers[customer_id] = rows.values_list("end_user_id", flat=True).first()
        return self._customers[customer_id]

    def _is_bound(self, customer: Any) -> bool:
        return self.user_of_customer(customer) is not None

    def named_user(self, metadata: Any) -> uuid.UUID | None:
        """Return the end user that metadata names, if this project has one of that id."""
        named = str(metadata.get(END_USER_KEY) or "") if isinstance(metadata, dict) else ""
        if named and named not in self._named:
            self._named[named] = self._existing_user(named)
        return self._named.get(named)

    def _existing_user(self, named: str) -> uuid.UUID | None:
        try:
            user_id = uuid.UUID(named)
        except ValueError:
            return None
        return user_id if EndUser.objects.for_project(self.project_id).filter(pk=user_id).exists() else None

    def bind(self, customer: Any, user_id: uuid.UUID | None) -> uuid.UUID | None:
        """Note a customer and, when it belongs to nobody yet, whose it is; returns the user of the object that named it.

        A user who has another live customer keeps that one; what the second customer bought is still the user's.
        """
        customer_id = id_of(customer)
        expanded: StripeObject = customer if isinstance(customer, dict) else {}
        user_id = user_id or self.named_user(expanded.get("metadata"))
        row, created = StripeCustomer.objects.get_or_create(
            id=self.row_id(customer_id),
            defaults={
                "project_id": self.project_id,
                "mode": self.mode,
                "stripe_customer_id": customer_id,
                "email": (expanded.get("email") or "")[:TEXT_CHARS],
                "name": (expanded.get("name") or "")[:TEXT_CHARS],
            },
        )
        if row.end_user_id is None and user_id is not None:
            try:
                with transaction.atomic():
                    StripeCustomer.objects.for_project(self.project_id).filter(pk=row.pk).update(end_user_id=user_id)
            except IntegrityError:
                return user_id
            row.end_user_id = user_id
            if not created:
                self._give(customer_id, user_id)
        self._customers[customer_id] = row.end_user_id
        return user_id or row.end_user_id

    def _give(self, customer_id: str, user_id: uuid.UUID) -> None:
        subscriptions = Subscription.objects.for_project(self.project_id).in_mode(self.mode)
        payments = Transaction.objects.for_project(self.project_id).in_mode(self.mode)
        invoices = Invoice.objects.for_project(self.project_id).filter(mode=self.mode)
        if subscriptions.filter(stripe_customer_id=customer_id, end_user__isnull=True).update(end_user_id=user_id):
            self.holders.add(user_id)
        payments.filter(stripe_customer_id=customer_id, end_user__isnull=True).update(end_user_id=user_id)
        invoices.filter(stripe_customer_id=customer_id, end_user__isnull=True).update(end_user_id=user_id)


def names_project(found: StripeObject, project_id: uuid.UUID) -> bool:
    """Say whether an object's metadata names a project; an invoice carries its subscription's."""
    parent = found.get("parent") if isinstance(found.get("parent"), dict) else {}
    places = [found, (parent or {}).get("subscription_details"), found.get("subscription_details")]
    named = [place.get("metadata") for place in places if isinstance(place, dict)]
    return any(isinstance(one, dict) and one.get("project_id") == str(project_id) for one in named)
