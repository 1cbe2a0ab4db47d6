"""A life of one subscription at Stripe, step by step, and our rows of it in a form that two runs can be compared by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from entitlements.models import Entitlement
from payments.models import (
    CheckoutSession,
    Dispute,
    Invoice,
    Refund,
    StripeCustomer,
    Subscription,
    Transaction,
    WebhookEvent,
)
from tests.cast import AppUser
from tests.payments.deliveries import control, purchase
from tests.payments.shop import Shop

# Our own times differ from run to run; everything else must not.
# How often something was taken away on the way depends on the way.
OWN_OF_HOLDINGS = {"id", "epoch", "epoch_raised_at", "changed_at", "created_at"}
OWN_TIMES = {"synced_at", "updated_at", "created_at_of_row"}


@dataclass
class Life:
    """A subscription and what may happen to it."""

    shop: Shop
    user: AppUser
    prices: tuple[str, str]

    @property
    def subscription(self) -> dict[str, Any]:
        """The subscription as Stripe has it."""
        return self.shop.objects("subscriptions", status="all")[0]

    @property
    def _path(self) -> str:
        return f"subscriptions/{self.subscription['id']}"

    def buy(self) -> None:
        """Pay on the checkout page."""
        purchase(self.shop, self.user, self.prices[0])

    def upgrade(self) -> None:
        """Move to the dearer price, paid at once."""
        item = self.subscription["items"]["data"][0]["id"]
        change = {"items[0][id]": item, "items[0][price]": self.prices[1], "proration_behavior": "always_invoice"}
        self.shop.api("POST", self._path, **change)

    def ask_to_end(self) -> None:
        """Cancel at the end of the period."""
        self.shop.api("POST", self._path, cancel_at_period_end="true")

    def change_mind(self) -> None:
        """Undo the cancellation."""
        self.shop.api("POST", self._path, cancel_at_period_end="false")

    def renew(self) -> None:
        """Pay for the next period."""
        control(self.shop, f"{self._path}/renew", outcome="paid")

    def fail_to_renew(self) -> None:
        """Have the card declined at the turn of the period."""
        control(self.shop, f"{self._path}/renew", outcome="declined")

    def recover(self) -> None:
        """Pay the open invoice."""
        self.shop.api("POST", f"invoices/{self.subscription['latest_invoice']}/pay")

    def refund_a_part(self) -> None:
        """Give some of the first payment back."""
        first = self.shop.objects("payment_intents")[-1]
        self.shop.api("POST", "refunds", payment_intent=first["id"], amount=300)

    def end(self) -> None:
        """Cancel at once."""
        self.shop.api("DELETE", self._path)

    def steps(self) -> list[Callable[[], None]]:
        """Return everything that happens, in order."""
        return [
            self.buy, self.upgrade, self.ask_to_end, self.change_mind, self.renew, self.fail_to_renew, self.recover,
            self.refund_a_part, self.end,
        ]  # fmt: skip


def rows_of(shop: Shop) -> dict[str, list[dict[str, Any]]]:
    """Return what we have of the shop's test mode, without our own times."""
    found: dict[str, list[dict[str, Any]]] = {}
    for model in (StripeCustomer, Subscription, Transaction, Invoice, Refund, Dispute, CheckoutSession):
        rows = model._default_manager.filter(project=shop.project, mode="test").order_by("id").values()
        left_out = OWN_TIMES | ({"created_at"} if model is StripeCustomer else set())
        found[model.__name__] = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    held = Entitlement.objects.for_project(shop.project).in_mode("test").order_by("end_user").values()
    found["Entitlement"] = [{name: value for name, value in row.items() if name not in OWN_OF_HOLDINGS} for row in held]
    return found


def forget_everything(shop: Shop) -> None:
    """Go back to the moment before the first event: only the checkout is open, and the user's customer is known."""
    for model in (WebhookEvent, Dispute, Refund, Invoice, Transaction, Subscription, Entitlement):
        model._default_manager.filter(project=shop.project).delete()
    CheckoutSession._default_manager.filter(project=shop.project).update(
        status="open", payment_status="unpaid", stripe_subscription_id="", payment_intent_id=""
    )


def compare_with_stripe(shop: Shop) -> None:
    """Check our rows against what Stripe has now, field by field."""
    subscriptions = {row.stripe_subscription_id: row for row in Subscription.objects.for_project(shop.project)}
    at_stripe = shop.objects("subscriptions", status="all")
    assert set(subscriptions) == {found["id"] for found in at_stripe}
    for found in at_stripe:
        row = subscriptions[found["id"]]
        item = found["items"]["data"][0]
        assert (row.status, row.stripe_price_id, row.quantity) == (
            found["status"],
            item["price"]["id"],
            item["quantity"],
        )
        assert row.current_period_end is not None
        assert int(row.current_period_end.timestamp()) == item["current_period_end"]
        assert (row.canceled_at is None) == (found["canceled_at"] is None)
    payments = {row.payment_intent_id: row for row in Transaction.objects.for_project(shop.project)}
    intents = shop.objects("payment_intents")
    assert set(payments) == {found["id"] for found in intents}
    for found in intents:
        payment = payments[found["id"]]
        charge = shop.api("GET", f"charges/{found['latest_charge']}")
        assert (payment.amount_cents, payment.currency) == (found["amount"], found["currency"])
        assert payment.refunded_amount_cents == charge["amount_refunded"]
        paid = {"succeeded": ("succeeded", "partially_refunded", "refunded")}.get(
            found["status"], ("failed", "canceled")
        )
        assert payment.status in paid
