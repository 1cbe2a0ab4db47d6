"""Which accounts are reconciled, and whose an object on one of them is."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Min

from payments.models import StripeCredentials, StripeCustomer, Transaction, WebhookEvent
from payments.services.ownership import names_project
from payments.services.snapshot import StripeObject, id_of
from payments.stripe_api import StripeAccount, StripeNotConfigured, account_of


@dataclass(frozen=True)
class Followed:
    """One project's account in one mode, as a run works on it."""

    project_id: uuid.UUID
    mode: str
    stripe: StripeAccount
    is_shared: bool
    # Since when this service follows the account; what happened before causes nothing. None = from the beginning.
    since: dt.datetime | None

    @property
    def account_id(self) -> str:
        """Stripe's id of the account."""
        return self.stripe.account_id


def usable_accounts(*, project_id: uuid.UUID | None = None, mode: str = "") -> list[tuple[uuid.UUID, str]]:
    """Return the projects and modes that have a key, in a steady order."""
    rows = StripeCredentials.objects.usable().exclude(secret_key="")
    if project_id is not None:
        rows = rows.filter(project=project_id)
    if mode:
        rows = rows.filter(mode=mode)
    return list(rows.order_by("project__created_at", "project_id", "mode").values_list("project_id", "mode"))


def follow_account(*, project_id: uuid.UUID, mode: str) -> Followed:
    """Open an account for a run. Raises: StripeNotConfigured (404), DecryptionError."""
    rows = StripeCredentials.objects.for_project(project_id).usable().filter(mode=mode).exclude(secret_key="")
    row = rows.with_sharing().first()
    if row is None:
        raise StripeNotConfigured()
    is_shared: bool = row.account_is_shared  # type: ignore[attr-defined]
    return Followed(project_id, mode, account_of(row), is_shared, _followed_since(row))


def _followed_since(row: StripeCredentials) -> dt.datetime | None:
    if row.followed_since is not None:
        return row.followed_since
    # Saved before that time was kept: the last saving, or a delivery that is older.
    events = WebhookEvent.objects.for_project(row.project_id).filter(mode=row.mode, source="webhook")
    first = events.aggregate(first=Min("received_at"))["first"]
    return min((moment for moment in (first, row.configured_at) if moment is not None), default=None)


def ours_among(followed: Followed, found: Sequence[StripeObject]) -> list[StripeObject]:
    """Keep the objects that are this project's: all of them, unless another project is on the same account.

    On a shared account an object is ours when its metadata names the project, or when its customer or payment is ours already.
    """
    if not followed.is_shared:
        return list(found)
    customers = _known(followed, StripeCustomer, "stripe_customer_id", {_customer_of(one) for one in found})
    payments = _known(followed, Transaction, "payment_intent_id", {id_of(one.get("payment_intent")) for one in found})
    return [
        one
        for one in found
        if names_project(one, followed.project_id)
        or _customer_of(one) in customers
        or id_of(one.get("payment_intent")) in payments
    ]


def _customer_of(found: StripeObject) -> str:
    return str(found["id"]) if found.get("object") == "customer" else id_of(found.get("customer"))


def _known(followed: Followed, model: Any, column: str, ids: Collection[str]) -> set[str]:
    rows = model.objects.for_project(followed.project_id).filter(mode=followed.mode, **{f"{column}__in": ids - {""}})  # type: ignore[operator]
    return set(rows.values_list(column, flat=True))
