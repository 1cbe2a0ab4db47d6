"""What the app can be told of: every type of outbound event, once, with an example of its data.

The documentation, the test button and the OpenAPI document are made of this table, and what an endpoint may ask for is checked
against it. Whoever records an `app_event` of a new type adds it here; a test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

APP_EVENT = "app_event"
TEST_EVENT = "webhook.test"
EVERYTHING = "*"
Example = Mapping[str, Any]


@dataclass(frozen=True)
class EventType:
    """When an event of the type is sent, and what its data looks like."""

    about: str
    example: Example


_WHO: Example = {
    "project_id": "0198c7c2-5b1e-7c64-9d6e-3f0a5b8f1c01",
    "user_id": "0198c7c2-6f00-7a51-8c3d-5a1e9b7d2f02",
    "external_user_id": "user_42",
    "is_test_mode": True,
}
_SUBSCRIPTION: Example = {
    "id": "5b0f9c1e-0d5c-5f0e-9a53-0f6c9c1f7a03",
    **_WHO,
    "subscription_id": "sub_1SVexample",
    "customer_id": "cus_Texample",
    "price_id": "price_1SVexample",
    "status": "active",
    "plan_name": "Pro",
    "plan_code": "pro",
    "plan_active": True,
    "plan_expires": None,
    "quantity": 1,
    "current_period_start": "2026-11-01T00:00:00Z",
    "current_period_end": "2026-12-01T00:00:00Z",
    "trial_end": None,
    "cancel_at_period_end": False,
    "cancel_at": None,
    "cancelled_at": None,
    "created_at": "2026-11-01T00:00:00Z",
}
_PAYMENT: Example = {
    "id": "8a4b1f8e-62f5-5d9b-8a37-6c2d9b7c5e04",
    **_WHO,
    "subscription_id": "5b0f9c1e-0d5c-5f0e-9a53-0f6c9c1f7a03",
    "payment_intent_id": "pi_3SVexample",
    "invoice_id": "in_1SVexample",
    "status": "succeeded",
    "amount_cents": 1299,
    "currency": "usd",
    "refunded_amount_cents": 0,
    "description": "Subscription creation",
    "receipt_url": "https://pay.stripe.com/receipts/example",
    "invoice_pdf": "https://pay.stripe.com/invoice/example/pdf",
    "failure_code": None,
    "disputed": False,
    "created_at": "2026-11-01T00:00:00Z",
}
_REFUND: Example = {
    "refund_id": "re_3SVexample",
    "status": "succeeded",
    "amount_cents": 1299,
    "currency": "usd",
    "reason": "requested_by_customer",
    "revokes_access": True,
    "created_at": "2026-11-05T00:00:00Z",
}
_DISPUTE: Example = {
    "dispute_id": "du_1SVexample",
    "status": "needs_response",
    "reason": "fraudulent",
    "amount_cents": 1299,
    "currency": "usd",
    "evidence_due_by": "2026-11-20T00:00:00Z",
    "created_at": "2026-11-06T00:00:00Z",
}
_LICENSE: Example = {
    "id": "0198c7c2-8d20-7b13-a1f4-2c9e7d5b3a05",
    **_WHO,
    "product": "source",
    "product_name": "Source code, for life",
    "status": "pending",
    "email": "dana@example.com",
    "github_username": None,
    "username_problem": None,
    "invitation_ended_as": None,
    "amount_cents": 19900,
    "currency": "usd",
    "payment_intent_id": "pi_3SVexample",
    "purchased_at": "2026-11-01T00:00:00Z",
    "username_submitted_at": None,
    "invited_at": None,
    "activated_at": None,
    "revoked_at": None,
}
_SUBMITTED: Example = {
    **_LICENSE,
    "status": "username_submitted",
    "github_username": "dana",
    "username_submitted_at": "2026-11-01T00:05:00Z",
}
_INVITED: Example = {**_SUBMITTED, "status": "invited", "invited_at": "2026-11-01T00:06:00Z"}
_GRANTED: Example = {**_INVITED, "status": "active", "activated_at": "2026-11-01T09:00:00Z"}
_ENDED: Example = {
    "status": "canceled",
    "plan_active": False,
    "plan_expires": "2026-12-01T00:00:00Z",
    "cancelled_at": "2026-12-01T00:00:00Z",
}
_TAKEN: Example = {"pack": "small", "cause": "re_3SVexample", "credits": 100}

EVENT_TYPES: dict[str, EventType] = {
    "subscription.created": EventType("A subscription was seen for the first time.", _SUBSCRIPTION),
    "subscription.updated": EventType(
        "Status, plan, price, quantity, trial, pause, cancellation or access changed. The data is the state after it.",
        _SUBSCRIPTION,
    ),
    "subscription.renewed": EventType("A period that began by itself is paid; once per period.", _SUBSCRIPTION),
    "subscription.trial_will_end": EventType(
        "A trial ends within three days.",
        {**_SUBSCRIPTION, "status": "trialing", "trial_end": "2026-11-04T00:00:00Z"},
    ),
    "subscription.canceled": EventType("A subscription has ended; once.", {**_SUBSCRIPTION, **_ENDED}),
    "payment.succeeded": EventType("A payment arrived; once per payment.", _PAYMENT),
    "payment.failed": EventType(
        "An attempt to collect failed; once per attempt.",
        {**_PAYMENT, "status": "failed", "failure_code": "card_declined", "receipt_url": None},
    ),
    "payment.refunded": EventType(
        "A refund has succeeded; once per refund.",
        {**_PAYMENT, "status": "refunded", "refunded_amount_cents": 1299, "refund": _REFUND},
    ),
    "dispute.opened": EventType(
        "The bank took a payment back for now.", {**_PAYMENT, "disputed": True, "dispute": _DISPUTE}
    ),
    "dispute.closed": EventType(
        "The bank has decided: `dispute.status` is won, lost or warning_closed.",
        {**_PAYMENT, "dispute": {**_DISPUTE, "status": "won"}},
    ),
    "checkout.expired": EventType(
        "A checkout was not finished in time.",
        {
            "session_id": "cs_test_example",
            "status": "expired",
            "payment_status": "unpaid",
            **_WHO,
            "subscription": None,
            "payment": None,
        },
    ),
    "credits.purchased": EventType(
        "A credit pack is paid and its credits are there.",
        {
            **_WHO,
            "session_id": "cs_test_example",
            "pack": "small",
            "quantity": 1,
            "credits": 100,
            "amount_cents": 500,
            "currency": "usd",
        },
    ),
    "credits.low": EventType(
        "A spend brought somebody below the project's threshold; once per user and UTC day.", {**_WHO, "available": 7}
    ),
    "credits.clawed_back": EventType(
        "Money of a credit pack went back, and credits with it; `debt` is what was spent already.",
        {**_WHO, **_TAKEN, "debt": 0},
    ),
    "credits.restored": EventType(
        "Credits that were taken came back: a dispute was won or a refund failed.", {**_WHO, **_TAKEN}
    ),
    "license.purchased": EventType("A lifetime licence is paid.", _LICENSE),
    "license.username_submitted": EventType("Its buyer named a GitHub account.", _SUBMITTED),
    "license.invited": EventType("GitHub has sent the invitation.", _INVITED),
    "license.activated": EventType("The invitation was accepted: access is granted.", _GRANTED),
    "license.revoked": EventType(
        "The licence was taken back: by a refund, a lost dispute or staff.",
        {**_GRANTED, "status": "revoked", "revoked_at": "2026-11-05T00:00:00Z"},
    ),
    "license.restored": EventType(
        "A licence that was taken back is its buyer's again. A GitHub account that is known is invited at once, which "
        "license.username_submitted tells; otherwise one has to be named.",
        _LICENSE,
    ),
    TEST_EVENT: EventType(
        "The test button. It goes to the one endpoint, whatever that asks for.",
        {"project_id": _WHO["project_id"], "is_test_mode": True, "message": "It works."},
    ),
}
NOUNS = sorted({name.partition(".")[0] for name in EVENT_TYPES} - {TEST_EVENT.partition(".")[0]})
# What an endpoint may ask for.
CHOICES = (
    EVERYTHING,
    *(f"{noun}.*" for noun in NOUNS),
    *(name for name in EVENT_TYPES if name != TEST_EVENT),
)


def patterns_of(event_type: str) -> list[str]:
    """Return everything that an endpoint may have asked for to be told of a type."""
    return [EVERYTHING, f"{event_type.partition('.')[0]}.*", event_type]
