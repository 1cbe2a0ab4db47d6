"""Whatever buyers do, and however deliveries go astray, every project ends in Stripe's state and every effect happened once."""

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note
from hypothesis import settings as examples
from hypothesis import strategies as st

from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import Dispute, Invoice, Refund, Subscription, SubscriptionChange, Transaction, WebhookEvent
from payments.services.reconcile.reconciling import Wish, reconcile
from payments.services.rollups import find_rollup_differences, read_revenue
from payments.webhooks import HANDLERS
from projects.models import Project
from tests.payments.deliveries import process_all
from tests.scenarios.world import ACTIONS, Buyer, Post, World, create_world, deliver_to_all

SOAKING = bool(os.environ.get("SOAK"))
LIVES = int(os.environ.get("SOAK_EXAMPLES", "2000")) if SOAKING else 50
# A life begins with purchases, or most of it would be about nothing; what follows is any mixture.
STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(sorted(ACTIONS))), min_size=2, max_size=9)
COLLECTED = ("succeeded", "partially_refunded", "refunded")


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600 if SOAKING else 900)
def test_any_life_and_any_deliveries_end_in_the_state_of_stripe(sandbox: Any, settings: Any) -> None:
    settings.RECONCILE_SETTLE_SECONDS = 0

    @examples(
        max_examples=LIVES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        # A life takes seconds: the one that failed is told, with its seed, and not made smaller.
        phases=[Phase.explicit, Phase.generate],
    )
    @given(steps=STEPS, seed=st.integers(0, 2**32 - 1), lost=st.sampled_from([0.0, 0.0, 0.05, 0.5]))
    def lives(steps: list[tuple[int, str]], seed: int, lost: float) -> None:
        note(f"seed={seed} lost={lost} steps={steps}")
        world = create_world(sandbox)
        live_through(world, steps, Post(random.Random(seed), lost=lost))
        check(world)

    lives()


def live_through(world: World, steps: list[tuple[int, str]], post: Post) -> None:
    """Let it all happen; deliveries come in between and afterwards, and old ones again at the end."""
    seen = 0
    for buyer in world.buyers[:2]:
        buyer.buy()
    for number, (who, action) in enumerate(steps):
        ACTIONS[action](world.buyers[who])
        if number % 4 == 3:
            events = world.events()
            deliver_to_all(world, post, events[seen:])
            seen = len(events)
    events = world.events()
    deliver_to_all(world, post, events[seen:])
    if post.lost:
        for project in world.projects:
            reconcile(project_id=project.pk, mode="test", wish=Wish("events", types=tuple(HANDLERS)))
            process_all(project)
    deliver_to_all(world, post, post.chance.sample(events, k=min(5, len(events))))


def check(world: World) -> None:
    """Compare everything with Stripe, and count the effects."""
    at_stripe = {
        kind: world.objects(kind, **({"status": "all"} if kind == "subscriptions" else {}))
        for kind in ("subscriptions", "payment_intents", "charges", "invoices", "refunds", "disputes")
    }
    for project in world.projects:
        customers = {buyer.customer_id for buyer in world.buyers if buyer.project == project}
        mine = {kind: _of_customers(found, customers, at_stripe["charges"]) for kind, found in at_stripe.items()}
        check_subscriptions(project, mine["subscriptions"], world.buyers)
        check_payments(project, mine["payment_intents"], mine["charges"])
        check_other_money(project, mine)
        check_effects(project, mine)
        check_inbox(project)


def _of_customers(
    found: list[dict[str, Any]], customers: set[str], charges: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Keep the objects of some customers; a refund and a dispute belong to their charge's."""
    payer = {charge["id"]: charge["customer"] for charge in charges}
    return [one for one in found if (one.get("customer") or payer.get(one.get("charge") or "")) in customers]


def check_subscriptions(project: Project, found: list[dict[str, Any]], buyers: list[Buyer]) -> None:
    """Every subscription, field by field, and whose it is."""
    users = {buyer.customer_id: buyer.end_user.pk for buyer in buyers}
    rows = {row.stripe_subscription_id: row for row in Subscription.objects.for_project(project)}
    assert set(rows) == {one["id"] for one in found}
    for one in found:
        row, item = rows[one["id"]], one["items"]["data"][0]
        ours = {
            "status": row.status, "price": row.stripe_price_id, "quantity": row.quantity, "user": row.end_user_id,
            "start": _unix(row.current_period_start), "end": _unix(row.current_period_end),
            "cancel_at": _unix(row.cancel_at), "canceled_at": _unix(row.canceled_at), "ended_at": _unix(row.ended_at),
            "cancel_at_period_end": row.cancel_at_period_end,
        }  # fmt: skip
        theirs = {
            "status": one["status"], "price": item["price"]["id"], "quantity": item["quantity"],
            "user": users[one["customer"]], "start": item["current_period_start"], "end": item["current_period_end"],
            "cancel_at": one["cancel_at"], "canceled_at": one["canceled_at"], "ended_at": one["ended_at"],
            "cancel_at_period_end": one["cancel_at_period_end"],
        }  # fmt: skip
        assert ours == theirs


def check_payments(project: Project, intents: list[dict[str, Any]], charges: list[dict[str, Any]]) -> None:
    """Every payment, and the statistics that sum them up."""
    charge_of = {charge["id"]: charge for charge in charges}
    rows = {row.payment_intent_id: row for row in Transaction.objects.for_project(project)}
    assert set(rows) == {intent["id"] for intent in intents if intent["latest_charge"]}
    for intent in intents:
        if intent["latest_charge"]:
            row, charge = rows[intent["id"]], charge_of[intent["latest_charge"]]
            assert (row.amount_cents, row.currency) == (intent["amount"], intent["currency"])
            assert (row.refunded_amount_cents, row.disputed) == (charge["amount_refunded"], charge["disputed"])
            assert (row.status in COLLECTED) == (intent["status"] == "succeeded")
    assert [row for row in find_rollup_differences() if row["project_id"] == project.pk] == []
    earned: dict[str, int] = {}
    for charge in charges:
        if charge["paid"]:
            earned[charge["currency"]] = (
                earned.get(charge["currency"], 0) + charge["amount"] - charge["amount_refunded"]
            )
    told = read_revenue(project_ids=[project.pk], mode="test")
    assert {row["currency"]: row["gross_cents"] - row["refunded_cents"] for row in told if row["succeeded"]} == earned


def check_other_money(project: Project, found: dict[str, list[dict[str, Any]]]) -> None:
    """Invoices, refunds and disputes, with what they leave of access."""
    invoices = {row.stripe_invoice_id: row for row in Invoice.objects.for_project(project)}
    assert {key: (row.status, row.amount_paid_cents) for key, row in invoices.items()} == {
        one["id"]: (one["status"], one["amount_paid"]) for one in found["invoices"]
    }
    refunds = {row.stripe_refund_id: row for row in Refund.objects.for_project(project)}
    assert {key: (row.status, row.amount_cents) for key, row in refunds.items()} == {
        one["id"]: (one["status"], one["amount"]) for one in found["refunds"]
    }
    disputes = {row.stripe_dispute_id: row for row in Dispute.objects.for_project(project)}
    assert {key: row.status for key, row in disputes.items()} == {one["id"]: one["status"] for one in found["disputes"]}


def check_effects(project: Project, found: dict[str, list[dict[str, Any]]]) -> None:
    """One receipt per payment, one renewal per paid period, one item per dispute: none missing, none twice."""
    keys = list(OutboxRow.objects.for_project(project).values_list("effect_key", flat=True))
    assert len(keys) == len(set(keys))
    paid = {one["id"] for one in found["payment_intents"] if one["status"] == "succeeded"}
    assert {key.removeprefix("mail:receipt:") for key in keys if key.startswith("mail:receipt:")} == paid
    renewals = SubscriptionChange.objects.for_project(project).filter(kind="renewed")
    cycles = [
        one for one in found["invoices"] if one["billing_reason"] == "subscription_cycle" and one["status"] == "paid"
    ]
    assert renewals.count() == len(cycles)
    about = ReviewItem.objects.for_project(project).filter(kind="dispute").values_list("subject", flat=True)
    assert sorted(about) == sorted(one["id"] for one in found["disputes"])


def check_inbox(project: Project) -> None:
    """Nothing waits, and nothing was given up."""
    left = WebhookEvent.objects.for_project(project).exclude(status__in=["processed", "ignored"])
    assert list(left.values_list("type", "status", "error")) == []


def _unix(at: Any) -> int | None:
    return int(at.timestamp()) if at else None
