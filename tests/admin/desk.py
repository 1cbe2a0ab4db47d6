"""A project in which something of everything has happened, and people who look at it: for tests of the back office's own pages."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from common.ids import stripe_row_id
from entitlements.models import PlanPrice
from entitlements.services.ledger import grant_credits
from licenses.models import License, LicenseProduct
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import StripeConfig, StripeCredentials, StripeCustomer, SubscriptionChange, WebhookEvent
from projects.models import EndUser, Project
from tests.payments.actors import create_project
from tests.payments.rows import (
    create_end_user,
    create_payment,
    create_plan,
    create_refund,
    create_subscription,
    stripe_id,
)

PRICE = "price_maker_month"


@dataclass(frozen=True)
class Desk:
    """What the pages show of one project. `user` pays, `guest` has nothing."""

    project: Project
    user: EndUser
    email: str
    customer_id: str
    subscription: Any
    payment: Any
    dead: WebhookEvent
    handled: WebhookEvent
    mail: OutboxRow
    license: License


def make_desk(name: str = "Acme", *, mode: str = "test") -> Desk:
    """Make one."""
    project = create_project(name)
    email = f"dana-{stripe_id('x')}@example.com"
    user = create_end_user(project, email=email, appeared_test_at=timezone.now())
    plan = create_plan(project, code="maker", name="Maker")
    PlanPrice.objects.create(
        project=project, plan=plan, mode=mode, stripe_price_id=PRICE, amount_cents=1200, currency="usd"
    )
    config = StripeConfig.objects.create(project=project)
    credentials = StripeCredentials(config=config, project=project, mode=mode, webhook_status="managed")
    credentials.set_secret("secret_key", f"sk_{mode}_{stripe_id('k')}")
    credentials.save()
    customer_id = stripe_id("cus")
    customer = {"stripe_customer_id": customer_id, "mode": mode, "end_user": user}
    StripeCustomer.objects.create(
        id=stripe_row_id(project.pk, mode, customer_id), project=project, email=email, **customer
    )
    subscription = create_subscription(project, plan=plan, stripe_price_id=PRICE, quantity=2, **customer)
    payment = create_payment(project, amount_cents=2400, subscription=subscription, **customer)
    create_refund(payment, amount_cents=400)
    create_payment(project, status="failed", failure_code="card_declined", **customer)
    whose = {"project": project, "mode": mode}
    event = {
        "type": "customer.subscription.updated",
        "object_id": subscription.stripe_subscription_id,
        "root": customer_id,
    }
    dead = WebhookEvent.objects.create(**whose, **event, event_id=stripe_id("evt"), status="dead", error="It broke.", attempts=8,
                                       failed_at=timezone.now(), payload={"client_secret": "pi_1_secret_2"})  # fmt: skip
    handled = WebhookEvent.objects.create(
        **whose,
        **event,
        event_id=stripe_id("evt"),
        status="processed",
        handled_at=timezone.now() + dt.timedelta(seconds=1),
    )
    SubscriptionChange.objects.create(**whose, subscription=subscription, kind="status", before={"status": "trialing"},
                                      after={"status": "active"}, source="webhook", event_id=handled.event_id,
                                      event_type=handled.type)  # fmt: skip
    mail = OutboxRow.objects.create(
        **whose, end_user=user, kind="mail", effect_key=f"mail:receipt:{payment.payment_intent_id}", cause=handled.event_id,
        status="done", payload={"template": "receipt", "to": None, "context": {}}, done_at=timezone.now(),
    )  # fmt: skip
    ReviewItem.objects.create(**whose, kind="dispute", cause_key="dispute:1", title="Disputed", end_user=user)
    grant_credits(project_id=project.pk, mode=mode, end_user_id=user.pk, bucket="bonus", amount=70, key=f"k-{user.pk}")
    product = LicenseProduct.objects.create(project=project, code="pro", name="Pro for good")
    licence = License.objects.create(
        **whose, product=product, end_user=user, email=email, username=f"octo-{stripe_id('g')[-9:]}", amount_cents=9900,
        currency="usd", stripe_session_id=stripe_id("cs"), purchased_at=timezone.now() - dt.timedelta(days=2),
    )  # fmt: skip
    return Desk(project, user, email, customer_id, subscription, payment, dead, handled, mail, licence)
