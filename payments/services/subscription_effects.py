"""What a subscription's events cause of their own, besides what its changed state causes (payments/services/history.py)."""

from typing import Any

from common.inserts import Rows, insert_together
from common.money import money_text
from payments.models import Subscription, WebhookEvent
from payments.services.effects import APP_EVENT, effect_of
from payments.services.history import mail_about
from payments.services.objects.subscription import SUBSCRIPTIONS, price_of
from payments.services.ownership import Scope
from payments.services.processing import cause_of_event
from payments.services.shapes import render_subscription
from payments.services.snapshot import Snapshot, StripeObject

TRIAL_IS_OVER = "The trial is over."
ENDS_WITH_TRIAL = "The subscription ends with its trial: nothing will be charged."


def tell_trial_ending(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Tell user and app that a trial ends, once per end of a trial: two statements.

    An event about an end that was moved since then tells nothing: Stripe sends one about the new end.
    Source: https://docs.stripe.com/api/events/types#event_types-customer.subscription.trial_will_end
    """
    found = snapshot.of_kind(SUBSCRIPTIONS).get(event.object_id)
    if found is None or not found.get("trial_end") or _told_end(event) not in (None, found["trial_end"]):
        return
    rows = Subscription.objects.for_project(scope.project_id).filter(pk=scope.row_id(event.object_id))
    row = rows.select_related("plan", "end_user", "project__billing_policy").get()
    cause = cause_of_event(event)
    end = f":{found['trial_end']}"
    shape = render_subscription(row)
    mail = mail_about(
        scope,
        row,
        cause,
        "trial_ending",
        {"trial_end": shape["trial_end"], "amount": _amount_after(found)},
        discriminator=end,
        skipped_because=_why_not(row),
    )
    told = effect_of(
        scope,
        cause,
        kind=APP_EVENT,
        effect_key=f"app:subscription.trial_will_end:{row.stripe_subscription_id}{end}",
        payload={"type": "subscription.trial_will_end", "data": shape},
        end_user_id=row.end_user_id,
    )
    insert_together(Rows([mail, told]))


def _told_end(event: WebhookEvent) -> Any:
    """Return the end that an event speaks of, to compare it; None when its body is gone or thin."""
    data = (event.payload or {}).get("data")
    told = data.get("object") if isinstance(data, dict) else None
    return told.get("trial_end") if isinstance(told, dict) else None


def _why_not(row: Subscription) -> str:
    if row.status != "trialing":
        return TRIAL_IS_OVER
    ends_with_it = row.cancel_at is not None and row.trial_end is not None and row.cancel_at <= row.trial_end
    return ENDS_WITH_TRIAL if ends_with_it else ""


def _amount_after(found: StripeObject) -> str | None:
    """Write what will be charged, where that is plain: with a discount, a tax or several prices only Stripe can tell."""
    items = (found.get("items") or {}).get("data") or []
    taxed = (found.get("automatic_tax") or {}).get("enabled") or found.get("default_tax_rates")
    price = price_of(found)
    if len(items) != 1 or taxed or found.get("discounts") or found.get("discount"):
        return None
    if price.get("unit_amount") is None or not items[0].get("quantity"):
        return None
    return money_text(price["unit_amount"] * items[0]["quantity"], price["currency"])
