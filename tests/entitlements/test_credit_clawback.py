"""Refunds and lost disputes take back credits that were bought, in proportion and once; what fails or is won gives them back."""

from typing import Any

import pytest

from entitlements.models import CreditPolicy
from entitlements.services import ledger
from entitlements.services.ledger import Balance
from notifications.models import OutboxRow
from notifications.tasks import run_outbox
from payments.models import BillingPolicy, CreditClawback, Refund, Transaction
from payments.services.invariants import check_invariants
from tests.cast import AppUser
from tests.entitlements.packs import buy_pack, create_pack, deliver_new
from tests.payments.actors import config_path, create_developer
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret
from tests.payments.shop import Shop


@pytest.fixture
def paid(shop: Shop, dana: AppUser) -> Transaction:
    """Dana's payment of 5.00 for 100 credits."""
    set_webhook_secret(shop.project)
    create_pack(shop.project, credits=100, cents=500)
    buy_pack(shop, dana)
    deliver_new(shop)
    return Transaction.objects.for_project(shop.project).get()


def keys_of(user: AppUser) -> dict[str, Any]:
    return {"project_id": user.end_user.project_id, "mode": "test", "end_user_id": user.end_user.pk}


def balance(user: AppUser) -> Balance:
    return ledger.read_balance(**keys_of(user))


def has(user: AppUser) -> tuple[int, int]:
    """Return what the user can spend and what they owe."""
    found = balance(user)
    return found.available, found.debt


def spend(user: AppUser, amount: int, key: str = "used") -> None:
    ledger.spend_credits(amount=amount, key=key, **keys_of(user))


def refund(shop: Shop, payment: Transaction, **more: Any) -> dict[str, Any]:
    """Refund at Stripe and deliver what that says."""
    made = shop.api("POST", "refunds", payment_intent=payment.payment_intent_id, **more)
    deliver_new(shop)
    return made


def taken(shop: Shop) -> list[tuple[str, int, int, bool]]:
    rows = CreditClawback.objects.for_project(shop.project).order_by("created_at", "id")
    return [(row.cause, row.taken, row.debt, row.restored_at is None) for row in rows]


def told(shop: Shop) -> list[str]:
    rows = OutboxRow.objects.for_project(shop.project).filter(effect_key__startswith="app:credits.")
    return sorted(key for key in rows.values_list("effect_key", flat=True) if "purchased" not in key)


# Works


def test_a_refund_takes_its_share_and_the_last_one_the_rest(shop: Shop, dana: AppUser, paid: Transaction) -> None:
    first = refund(shop, paid, amount=166)
    assert has(dana) == (67, 0)
    second = refund(shop, paid, amount=1)
    assert has(dana) == (67, 0)
    third = refund(shop, paid)
    assert has(dana) == (0, 0)
    assert taken(shop)[0] == (first["id"], 33, 0, True)
    # Of two in one second either may be the one that completes the share.
    causes = {cause: credits for cause, credits, _, _ in taken(shop)}
    assert sum(causes.values()) == 100 and third["id"] in causes
    assert told(shop) == sorted(f"app:credits.clawed_back:{cause}" for cause in causes)
    assert Refund.objects.for_project(shop.project).filter(stripe_refund_id=second["id"]).exists()
    for event in events_of(shop):
        deliver(shop, [event | {"id": f"{event['id']}again"}], process=False)
    deliver_new(shop)
    assert (has(dana), len(taken(shop)), len(told(shop))) == ((0, 0), len(causes), len(causes))
    assert check_invariants(project_id=shop.project.pk) == []


def test_what_was_spent_is_owed_and_settled_by_the_next_purchase(shop: Shop, dana: AppUser, paid: Transaction) -> None:
    spend(dana, 80)
    made = refund(shop, paid)
    assert (has(dana), taken(shop)) == ((0, 80), [(made["id"], 20, 80, True)])
    with pytest.raises(ledger.InsufficientCredits):
        spend(dana, 1, "more")
    buy_pack(shop, dana)
    deliver_new(shop)
    assert has(dana) == (20, 0)
    assert check_invariants(project_id=shop.project.pk) == []


def test_by_policy_what_was_spent_is_let_go(shop: Shop, dana: AppUser, paid: Transaction) -> None:
    CreditPolicy.objects.create(project=shop.project, shortfall="floor")
    spend(dana, 80)
    made = refund(shop, paid)
    assert (has(dana), taken(shop)) == ((0, 0), [(made["id"], 20, 0, True)])
    control(shop, f"refunds/{made['id']}/settle", outcome="failed")
    deliver_new(shop)
    assert has(dana) == (20, 0)


def test_a_refund_that_fails_gives_back_what_it_took(shop: Shop, dana: AppUser, paid: Transaction) -> None:
    spend(dana, 30)
    made = refund(shop, paid)
    assert has(dana) == (0, 30)
    control(shop, f"refunds/{made['id']}/settle", outcome="failed")
    deliver_new(shop)
    assert (has(dana), taken(shop)) == ((70, 0), [(made["id"], 70, 30, False)])
    again = refund(shop, paid)
    assert (has(dana), taken(shop)[1:]) == ((0, 30), [(again["id"], 70, 30, True)])
    assert told(shop) == sorted(
        [
            f"app:credits.clawed_back:{made['id']}",
            f"app:credits.clawed_back:{again['id']}",
            f"app:credits.restored:{made['id']}",
        ]
    )


@pytest.mark.parametrize(
    ("policy", "outcome", "while_open", "afterwards"),
    [
        ("lost", "lost", 100, 0),
        ("lost", "won", 100, 100),
        ("opened", "won", 0, 100),
        ("opened", "lost", 0, 0),
        ("never", "lost", 100, 100),
    ],
)
def test_a_dispute_takes_as_the_policy_says(
    shop: Shop, dana: AppUser, paid: Transaction, policy: str, outcome: str, while_open: int, afterwards: int
) -> None:
    BillingPolicy.objects.update_or_create(project=shop.project, defaults={"dispute_revokes": policy})
    control(shop, f"charges/{paid.stripe_charge_id}/dispute", reason="fraudulent")
    deliver_new(shop)
    assert has(dana) == (while_open, 0)
    (dispute,) = shop.objects("disputes")
    control(shop, f"disputes/{dispute['id']}/close", outcome=outcome)
    deliver_new(shop)
    assert has(dana) == (afterwards, 0)
    assert check_invariants(project_id=shop.project.pk) == []


def test_a_change_of_the_policy_reaches_what_was_disputed_before(shop: Shop, dana: AppUser, paid: Transaction) -> None:
    control(shop, f"charges/{paid.stripe_charge_id}/dispute", reason="fraudulent")
    deliver_new(shop)
    spend(dana, 10)
    developer = create_developer(shop.project)
    seen = [has(dana)]
    for choice in ("opened", "lost"):
        assert (
            developer.put(config_path(shop.project, "billing-policy"), {"dispute_revokes": choice}).status_code == 200
        )
        run_outbox()
        seen.append(has(dana))
    assert seen == [(90, 0), (0, 10), (90, 0)]
    rows = OutboxRow.objects.for_project(shop.project).filter(kind="revocations", mode="test")
    assert [(row.status, (row.result or {}).get("credit_purchases")) for row in rows] == [("done", 1)] * 2
    assert check_invariants(project_id=shop.project.pk) == []


# Refuses


def test_whoever_refunds_may_leave_the_credits_or_take_all(shop: Shop, dana: AppUser, paid: Transaction) -> None:
    kept: dict[str, Any] = {"metadata[access]": "keep"}
    revoked: dict[str, Any] = {"metadata[access]": "revoke"}
    refund(shop, paid, amount=200, **kept)
    assert (has(dana), taken(shop)) == ((100, 0), [])
    refund(shop, paid, amount=50, **revoked)
    assert has(dana) == (0, 0)


def test_a_subscriptions_refund_touches_no_credits(shop: Shop, dana: AppUser, erin: AppUser, paid: Transaction) -> None:
    purchase(shop, dana, shop.price(1000))
    deliver_new(shop)
    buy_pack(shop, erin)
    deliver_new(shop)
    monthly = Transaction.objects.for_project(shop.project).get(amount_cents=1000)
    refund(shop, monthly)
    assert (has(dana), has(erin), taken(shop)) == ((100, 0), (100, 0), [])
    # Nor does the refund of somebody else's purchase, or of another one of the same user, take more than its own.
    buy_pack(shop, dana)
    deliver_new(shop)
    refund(shop, paid)
    assert (has(dana), has(erin)) == ((100, 0), (100, 0))


# Order and replay


def test_a_refund_known_before_the_purchase_ends_the_same(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    create_pack(shop.project, credits=100, cents=500)
    buy_pack(shop, dana)
    intent = shop.objects("payment_intents")[0]
    made = shop.api("POST", "refunds", payment_intent=intent["id"], amount=250)
    events = events_of(shop)
    deliver(shop, [event for event in events if event["type"].startswith(("refund.", "charge.refunded"))])
    assert has(dana) == (50, 0)
    deliver(shop, list(reversed(events)))
    assert (has(dana), taken(shop)) == ((50, 0), [(made["id"], 50, 0, True)])
    assert check_invariants(project_id=shop.project.pk) == []


def test_a_refund_of_a_purchase_that_is_known_later_takes_then(shop: Shop, dana: AppUser) -> None:
    """A key that may not read sessions learns of the purchase by the session's own event only."""
    set_webhook_secret(shop.project)
    create_pack(shop.project, credits=100, cents=500)
    buy_pack(shop, dana)
    shop.api("POST", "refunds", payment_intent=shop.objects("payment_intents")[0]["id"], amount=250)
    events = events_of(shop)
    shop.fault("GET /v1/checkout/sessions", "status:403", times=50)
    deliver(shop, [event for event in events if not event["type"].startswith("checkout.")])
    assert has(dana) == (0, 0)
    assert Refund.objects.for_project(shop.project).count() == 1
    shop.clear_faults()
    deliver(shop, [event for event in events if event["type"].startswith("checkout.")])
    assert has(dana) == (50, 0)
