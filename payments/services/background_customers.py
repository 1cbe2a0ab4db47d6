"""A Stripe customer in the background when an end user first appears in a mode (docs/adr/0020): nobody waits for it.

Invariant: the customer is made by `ensure_customer`, the same way as at a first checkout, so that the two never make two.
"""

from collections.abc import Mapping
from typing import Any

from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, record_effect
from payments.models import StripeCredentials
from payments.services.customers import ensure_customer
from payments.services.effects import waiting_for_keys
from payments.services.rate_budget import background_calls
from projects.models import EndUser

STRIPE_CUSTOMER = "stripe_customer"


def plan_customer(end_user: EndUser, mode: str) -> None:
    """Record that a new end user is to have a customer, when the project takes payments in this mode. Two statements."""
    keys = StripeCredentials.objects.for_project(end_user.project_id).usable().filter(mode=mode)
    if not keys.exclude(secret_key="").exists():
        return
    record_effect(
        project_id=end_user.project_id,
        mode=mode,
        kind=STRIPE_CUSTOMER,
        effect_key=f"customer:{end_user.pk}",
        payload={},
        end_user_id=end_user.pk,
        cause="first appearance",
    )


@background_calls()
def make_planned_customer(row: OutboxRow) -> Mapping[str, Any]:
    """Carry out one planned customer. Raises: EffectSkipped, EffectWaits, StripeFailure, CallInProgress (503).

    Meanwhile nobody waits for it: a first checkout makes the customer itself, and this then finds it.
    """
    end_user = EndUser.objects.for_project(row.project_id).filter(pk=row.end_user_id).select_related("project").first()
    if not isinstance(end_user, EndUser):
        raise EffectSkipped("The end user is gone.")
    if not end_user.is_active or end_user.banned_at is not None:
        raise EffectSkipped("The end user is banned.")
    with waiting_for_keys(row):
        customer = ensure_customer(project=end_user.project, mode=row.mode, end_user=end_user)
    return {"stripe_customer_id": customer.stripe_customer_id}
