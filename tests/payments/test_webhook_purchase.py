"""A purchase, from the delivered events alone to what the user is on."""

from entitlements.models import Plan, PlanPrice
from payments.models import CheckoutSession, StripeCustomer, Subscription, Transaction
from tests.cast import AppUser
from tests.payments.deliveries import deliver, events_of, set_webhook_secret, stored
from tests.payments.shop import Shop, get, open_checkout


def sell_plan(shop: Shop, amount_cents: int = 1000, code: str = "pro") -> tuple[Plan, str]:
    """Make a plan and the price that sells it."""
    plan = Plan.objects.create(project=shop.project, code=code, name=code.title())
    price_id = shop.price(amount_cents)
    PlanPrice.objects.create(
        project=shop.project, plan=plan, mode="test", stripe_price_id=price_id, amount_cents=amount_cents
    )
    return plan, price_id


def test_delivered_events_make_the_subscription_and_one_payment(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    plan, price_id = sell_plan(shop, 1250)
    opened = open_checkout(dana, price_id)
    assert shop.pay(opened["checkout_url"]).status_code == 303

    deliver(shop, events_of(shop))

    subscription = Subscription.objects.for_project(shop.project).get()
    assert (subscription.status, subscription.plan, subscription.end_user) == ("active", plan, dana.end_user)
    assert subscription.current_period_end is not None and subscription.cancel_at is None
    payment = Transaction.objects.for_project(shop.project).get()
    assert (payment.status, payment.amount_cents, payment.currency) == ("succeeded", 1250, "usd")
    assert (payment.subscription, payment.end_user) == (subscription, dana.end_user)
    assert payment.stripe_invoice_id and payment.description and payment.invoice_pdf
    assert CheckoutSession.objects.for_project(shop.project).get().status == "complete"
    assert StripeCustomer.objects.for_project(shop.project).get().end_user == dana.end_user
    assert set(stored(shop.project).values_list("status", flat=True)) <= {"processed", "ignored"}
    assert get(dana, "my-subscription").json()["status"] == "active"
