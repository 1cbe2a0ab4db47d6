"""One life of a subscription through stripe-python; tests/node/life.mjs is the same life through stripe-node."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import stripe

from tests.sandbox.stripe_api import CARD

HOUR = 3600
START = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp())
CLOCK_SECONDS_MAX = 30


@dataclass
class PythonLife:
    """The life, step by step, and what was seen after each step."""

    client: stripe.StripeClient
    steps: list[dict[str, Any]] = field(default_factory=list)

    def note(self, step: str, subscription_id: str) -> Any:
        """Write down how the subscription and its latest invoice are, and return the subscription."""
        params: Any = {"expand": ["latest_invoice"]}
        subscription: Any = self.client.v1.subscriptions.retrieve(subscription_id, params)
        invoice = subscription.latest_invoice
        self.steps.append(
            {
                "step": step,
                "status": subscription.status,
                "price": subscription["items"].data[0].price.unit_amount,
                "reason": invoice.billing_reason,
                "invoice": invoice.status,
                "total": invoice.total,
                "paid": invoice.amount_paid,
                "lines": [line.amount for line in invoice.lines.data],
            }
        )
        return subscription

    def advance(self, clock: str, to: int) -> None:
        """Move the clock and wait until all that was due has happened."""
        clocks = self.client.v1.test_helpers.test_clocks
        clocks.advance(clock, {"frozen_time": to})
        deadline = time.monotonic() + CLOCK_SECONDS_MAX
        while (status := clocks.retrieve(clock).status) != "ready":
            assert status == "advancing" and time.monotonic() < deadline, status
            time.sleep(0.05)

    def use_card(self, customer: str, name: str) -> str:
        """Make a card the customer's default."""
        method = self.client.v1.payment_methods.attach(name, {"customer": customer})
        self.client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})
        return method.id

    def run(self) -> dict[str, Any]:
        """Live it."""
        v1 = self.client.v1
        clock = v1.test_helpers.test_clocks.create({"frozen_time": START, "name": "life"}).id
        maker, pro = self._prices()
        customer = v1.customers.create({"email": "dana@example.com", "test_clock": clock}).id
        subscription = self.note("bought", self._buy(customer, maker))
        for period in (1, 2, 3):
            self.advance(clock, _item(subscription).current_period_end + 2 * HOUR)
            subscription = self.note(f"renewed {period}", subscription.id)
        card = self.use_card(customer, "pm_card_chargeCustomerFail")
        v1.subscriptions.update(subscription.id, {"default_payment_method": card})
        self.advance(clock, _item(subscription).current_period_end + 2 * HOUR)
        subscription = self.note("failed", subscription.id)
        card = self.use_card(customer, "pm_card_visa")
        v1.subscriptions.update(subscription.id, {"default_payment_method": card})
        v1.invoices.pay(subscription.latest_invoice.id)
        subscription = self.note("recovered", subscription.id)
        item = _item(subscription)
        self.advance(clock, (item.current_period_start + item.current_period_end) // 2)
        v1.subscriptions.update(
            subscription.id, {"items": [{"id": item.id, "price": pro}], "proration_behavior": "always_invoice"}
        )
        subscription = self.note("upgraded", subscription.id)
        too_much = self._refund(subscription.latest_invoice.id)
        v1.subscriptions.cancel(subscription.id)
        self.note("canceled", subscription.id)
        types = {event.type for event in v1.events.list({"limit": 5}).auto_paging_iter()}
        return {
            "steps": self.steps, "money": self._money(customer), "too_much": too_much, "types": sorted(types)
        }  # fmt: skip

    def _prices(self) -> tuple[str, str]:
        product = self.client.v1.products.create({"name": "Maker"}).id
        maker, pro = (
            self.client.v1.prices.create(
                {"product": product, "currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
            ).id
            for amount in (1000, 2500)
        )
        return maker, pro

    def _buy(self, customer: str, price: str) -> str:
        sessions = self.client.v1.checkout.sessions
        session = sessions.create(
            {
                "mode": "subscription",
                "customer": customer,
                "line_items": [{"price": price, "quantity": 1}],
                "success_url": "https://shop.example/done?session_id={CHECKOUT_SESSION_ID}",
            }
        )
        assert httpx.post(str(session.url), data=CARD, timeout=20).status_code == 303
        return str(sessions.retrieve(session.id).subscription)

    def _refund(self, invoice: str) -> list[Any]:
        """Give half of the upgrade back, then try for more than is left; returns the refusal."""
        payment: Any = self.client.v1.invoice_payments.list({"invoice": invoice}).data[0].payment
        self.client.v1.refunds.create({"payment_intent": payment.payment_intent, "amount": 375})
        try:
            self.client.v1.refunds.create({"payment_intent": payment.payment_intent, "amount": 376})
        except stripe.InvalidRequestError as error:
            return ["StripeInvalidRequestError", error.http_status]
        raise AssertionError("more was refunded than had been paid")

    def _money(self, customer: str) -> dict[str, int]:
        charges = list(self.client.v1.charges.list({"customer": customer, "limit": 2}).auto_paging_iter())
        return {
            "paid": sum(charge.amount for charge in charges if charge.paid),
            "refunded": sum(charge.amount_refunded for charge in charges),
            "declined": sum(not charge.paid for charge in charges),
        }


def _item(subscription: Any) -> Any:
    return subscription["items"].data[0]
