"""A credit pack that was paid gives its credits once: whatever event comes, in which order and how often, and after a restore."""

import datetime as dt
import itertools
import uuid
from typing import Any

import pytest
from django.core.management import call_command

from common import clock
from common.ids import uuid7
from entitlements.models import CreditPack
from entitlements.services import ledger
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import BillingPolicy, CheckoutSession, CreditPurchase, Transaction
from payments.services.credit_healing import heal_purchases
from payments.services.invariants import check_invariants
from payments.tasks import heal_entitlements
from projects.models import EndUser
from tests.cast import AppUser, create_app_user
from tests.entitlements.packs import ask_for, buy_pack, create_pack, deliver_new, open_purchase
from tests.payments.actors import create_project
from tests.payments.deliveries import (
    control,
    deliver,
    events_of,
    keys_were_saved,
    process_all,
    send,
    set_webhook_secret,
)
from tests.payments.shop import CANCEL_URL, SUCCESS_URL, Shop, connect_stripe, get
from tests.payments.test_checkout_dead_ends import FAILS, PAYS, debit


@pytest.fixture(autouse=True)
def webhook_secret(shop: Shop) -> None:
    """Events of the shop can be delivered, in both modes."""
    for mode in ("test", "live"):
        set_webhook_secret(shop.project, mode)


def available(user: AppUser, mode: str = "test") -> int:
    found = ledger.read_balance(project_id=user.end_user.project_id, mode=mode, end_user_id=user.end_user.pk)
    return found.available


def bought(shop: Shop) -> CreditPurchase:
    return CreditPurchase.objects.for_project(shop.project).get()


def keys(shop: Shop) -> list[str]:
    """Name what a purchase of credits has caused, besides what every payment causes."""
    rows = OutboxRow.objects.for_project(shop.project).filter(effect_key__contains="credits")
    return sorted(rows.values_list("effect_key", flat=True))


# Works


def test_credits_come_with_the_money_and_are_told_once(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project, credits=100, cents=500)
    opened = open_purchase(dana, quantity=2)
    deliver_new(shop)
    assert available(dana) == 0
    assert shop.pay(opened["checkout_url"]).status_code == 303
    deliver_new(shop)
    assert available(dana) == 200
    row, payment = bought(shop), Transaction.objects.for_project(shop.project).get()
    assert row.granted_at is not None and row.payment_intent_id == payment.payment_intent_id
    assert (payment.amount_cents, payment.end_user) == (1000, dana.end_user)
    assert payment.description == "2 × 100 credits"
    assert keys(shop) == [
        f"app:credits.purchased:{opened['session_id']}", f"mail:credits_purchased:{opened['session_id']}",
    ]  # fmt: skip
    mail = OutboxRow.objects.for_project(shop.project).get(effect_key__startswith="mail:credits_purchased")
    assert mail.payload["context"] == {"credits": 200, "pack_name": "100 credits", "amount": "10.00 USD"}
    told = OutboxRow.objects.for_project(shop.project).get(effect_key__startswith="app:credits.purchased")
    assert told.payload["data"]["credits"] == 200 and told.payload["data"]["external_user_id"] == dana.user_id
    assert check_invariants(project_id=shop.project.pk) == []


def test_the_return_page_brings_them_before_any_event(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project)
    opened = buy_pack(shop, dana)
    state = get(dana, f"checkout-session/{opened['session_id']}").json()
    assert (state["payment_status"], state["payment"]["amount_cents"], available(dana)) == ("paid", 500, 100)
    before = keys(shop)
    deliver_new(shop)
    assert (available(dana), keys(shop)) == (100, before)


def test_what_a_code_makes_free_is_given_too(shop: Shop, dana: AppUser) -> None:
    pack = create_pack(shop.project)
    coupon = shop.api("POST", "coupons", percent_off=100, duration="once")["id"]
    promotion: dict[str, Any] = {"promotion[type]": "coupon", "promotion[coupon]": coupon, "code": "GIFT"}
    shop.api("POST", "promotion_codes", **promotion)
    # A code that was meant for a subscription takes nothing off a pack, in the request or on the page.
    BillingPolicy.objects.create(project=shop.project, allow_promotion_codes=True)
    refused = ask_for(dana, promo_code="GIFT")
    assert (refused.status_code, refused.json()["code"]) == (400, "promo_code_not_applicable")
    assert not CheckoutSession.objects.for_project(shop.project).exists()
    for allowed in (False, True):
        CreditPack.objects.filter(pk=pack.pk).update(allow_promotion_codes=allowed)
        session_id = open_purchase(dana)["session_id"]
        assert bool(shop.api("GET", f"checkout/sessions/{session_id}")["allow_promotion_codes"]) is allowed
        shop.api("POST", f"checkout/sessions/{session_id}/expire")
    CreditPurchase.objects.for_project(shop.project).delete()
    opened = buy_pack(shop, dana, promo_code="GIFT")
    deliver_new(shop)
    session = shop.api("GET", f"checkout/sessions/{opened['session_id']}")
    assert (session["payment_status"], session["amount_total"]) == ("no_payment_required", 0)
    assert available(dana) == 100 and bought(shop).payment_intent_id == ""


def test_what_was_bought_is_what_the_pack_was_when_it_was_opened(shop: Shop, dana: AppUser) -> None:
    pack = create_pack(shop.project, credits=100)
    opened = open_purchase(dana)
    CreditPack.objects.filter(pk=pack.pk).update(credits=1, active=False, name="Another")
    assert shop.pay(opened["checkout_url"]).status_code == 303
    deliver_new(shop)
    assert available(dana) == 100
    pack.delete()
    assert (bought(shop).pack, bought(shop).pack_code, available(dana)) == (None, "small", 100)


def test_test_money_buys_nothing_in_live_mode(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project, credits=100)
    create_pack(shop.project, "live", credits=7, mode="live")
    buy_pack(shop, dana)
    deliver_new(shop)
    assert (available(dana), available(dana, "live")) == (100, 0)
    opened = open_purchase(dana, "live", query="?test_mode=false")
    assert shop.pay(opened["checkout_url"]).status_code == 303
    for event in reversed(shop.objects("events", live=True)):
        assert send(shop.project, event, mode="live").status_code == 200
    process_all(shop.project)
    assert (available(dana), available(dana, "live")) == (100, 7)


# Refuses


@pytest.mark.parametrize(("iban", "outcome", "given"), [(PAYS, "succeeded", 100), (FAILS, "failed", 0)])
def test_a_debit_gives_nothing_before_the_bank_has_paid(
    shop: Shop, dana: AppUser, iban: str, outcome: str, given: int
) -> None:
    """The page takes debits where the account has them switched on; that is said here, and our call is not asked again."""
    create_pack(shop.project, currency="eur")
    open_purchase(dana)
    row = CheckoutSession.objects.for_project(shop.project).get()
    shop.api("POST", f"checkout/sessions/{row.stripe_session_id}/expire")
    kinds: dict[str, Any] = {"payment_method_types[0]": "card", "payment_method_types[1]": "sepa_debit"}
    line: dict[str, Any] = {
        "line_items[0][price]": shop.price(500, interval="", currency="eur"),
        "line_items[0][quantity]": 1,
    }
    urls: dict[str, Any] = {"success_url": SUCCESS_URL, "cancel_url": CANCEL_URL, "client_reference_id": str(row.pk)}
    session = shop.api(
        "POST", "checkout/sessions", mode="payment", customer=row.request["customer"], **kinds, **line, **urls
    )
    CheckoutSession.objects.filter(pk=row.pk).update(stripe_session_id=session["id"])
    debit(shop, session, iban)
    deliver_new(shop)
    row.refresh_from_db()
    assert (row.status, row.payment_status, available(dana), keys(shop)) == ("complete", "unpaid", 0, [])
    intent = shop.objects("payment_intents")[0]["id"]
    control(shop, f"payment_intents/{intent}/settle", outcome=outcome)
    deliver_new(shop)
    assert available(dana) == given
    assert len(keys(shop)) == (2 if given else 0)


def test_a_declined_card_and_a_page_that_expires_give_nothing(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project)
    opened = open_purchase(dana)
    assert shop.pay(opened["checkout_url"], "4000000000000002").status_code != 303
    shop.api("POST", f"checkout/sessions/{opened['session_id']}/expire")
    deliver_new(shop)
    assert (available(dana), bought(shop).granted_at, keys(shop)) == (0, None, [])
    mail = OutboxRow.objects.for_project(shop.project).get(effect_key=f"mail:checkout_retry:{opened['session_id']}")
    assert mail.payload["context"]["plan_name"] == "100 credits"


def test_metadata_of_another_session_gives_nothing(shop: Shop, dana: AppUser, sandbox: Any) -> None:
    """Whoever writes `credit_purchase` on a session of their own, in their own account or this one, has bought nothing here."""
    create_pack(shop.project)
    other = create_project("Other", allowed_origins=["https://app.example"])
    account = sandbox.create_account("Other")
    connect_stripe(other, account)
    set_webhook_secret(other)
    theirs = Shop(other, account, sandbox)
    create_app_user(other, "mallory")
    claims = {
        "project_id": str(shop.project.pk), "end_user_id": str(dana.end_user.pk), "external_user_id": dana.user_id,
        "type": "credit_purchase", "credit_pack": "small", "credits": "100000",
    }  # fmt: skip
    for place in (theirs, shop):
        named: dict[str, Any] = {f"metadata[{name}]": value for name, value in claims.items()}
        named |= {f"payment_intent_data[metadata][{name}]": value for name, value in claims.items()}
        line: dict[str, Any] = {"line_items[0][price]": place.price(100, interval=""), "line_items[0][quantity]": 1}
        urls: dict[str, Any] = {"success_url": SUCCESS_URL, "cancel_url": CANCEL_URL}
        urls["client_reference_id"] = str(uuid7())
        customer = place.api("POST", "customers")["id"]
        session = place.api("POST", "checkout/sessions", mode="payment", customer=customer, **line, **urls, **named)
        assert place.pay(session["url"]).status_code == 303
        deliver_new(place)
        assert Transaction.objects.for_project(place.project).get().status == "succeeded"
    assert not CreditPurchase.objects.for_project(shop.project).exists()
    assert (available(dana), keys(shop), keys(theirs)) == (0, [], [])
    (item,) = ReviewItem.objects.for_project(shop.project).filter(cause_key__startswith="credit_purchase:")
    assert (item.subject, item.details["credits"]) == (session["id"], "100000")
    assert not ReviewItem.objects.for_project(other).exists()


# Order and replay


def test_any_one_event_is_enough_and_every_order_ends_the_same(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project)
    opened = buy_pack(shop, dana)
    events = [event for event in events_of(shop) if event["type"] != "customer.created"]
    told = {event["type"] for event in events}
    assert {"checkout.session.completed", "payment_intent.succeeded", "charge.succeeded"} <= told
    money = [event for event in events if event["type"] == "payment_intent.succeeded"]
    deliver(shop, money)
    assert available(dana) == 100
    caused = keys(shop)
    assert len(caused) == 2 and opened["session_id"] in caused[0]
    for number, order in enumerate(itertools.islice(itertools.permutations(events), 0, None, 37)):
        again = [event | {"id": f"{event['id']}{number}"} for event in order]
        deliver(shop, again, process=False)
        if number == 3:
            break
    process_all(shop.project)
    assert (available(dana), keys(shop)) == (100, caused)
    assert CreditPurchase.objects.for_project(shop.project).count() == 1


def test_lost_events_are_made_good_by_reconciliation_and_a_rebuild_gives_nothing_more(
    shop: Shop, dana: AppUser
) -> None:
    keys_were_saved(shop.project, "test")
    create_pack(shop.project)
    buy_pack(shop, dana)
    call_command("reconcile", "--project", shop.project.slug, "--mode", "test", "--kind", "objects", "--heal")
    assert available(dana) == 100
    caused = keys(shop)
    call_command("rebuild", shop.project.slug, "--mode", "test")
    deliver_new(shop)
    assert (available(dana), keys(shop), len(caused)) == (100, caused, 2)
    assert check_invariants(project_id=shop.project.pk) == []


def test_a_restored_database_gives_what_was_paid_since_once_and_without_a_mail(shop: Shop, dana: AppUser) -> None:
    """The backup knows of the checkout, and not that it was paid."""
    keys_were_saved(shop.project, "test")
    create_pack(shop.project)
    opened = buy_pack(shop, dana)
    until = (dt.datetime.now(tz=dt.UTC) + dt.timedelta(minutes=1)).isoformat()
    call_command("after_restore", "--project", shop.project.slug, "--since", "6h", "--until", until)
    process_all(shop.project)
    assert available(dana) == 100
    deliver_new(shop)
    rows = OutboxRow.objects.for_project(shop.project).filter(
        effect_key=f"mail:credits_purchased:{opened['session_id']}"
    )
    assert (available(dana), [row.status for row in rows]) == (100, ["skipped"])


def test_a_checkout_that_the_backup_does_not_know_is_made_good_too(shop: Shop, dana: AppUser) -> None:
    keys_were_saved(shop.project, "test")
    create_pack(shop.project)
    opened = buy_pack(shop, dana, quantity=3)
    row = bought(shop)
    EndUser.objects.for_project(shop.project).filter(pk=dana.end_user.pk).delete()
    back = AppUser(EndUser.objects.create(project=shop.project, external_id=dana.user_id), dana.access_token)
    assert not CreditPurchase.objects.for_project(shop.project).exists()
    deliver_new(shop)
    again = bought(shop)
    assert (again.checkout_session_id, again.credits, again.amount_cents) == (row.checkout_session_id, 300, 1500)
    assert again.checkout_session.stripe_session_id == opened["session_id"]
    assert (again.end_user_id, available(back)) == (back.end_user.pk, 300)
    refunded = shop.api("POST", "refunds", payment_intent=again.payment_intent_id)
    deliver_new(shop)
    assert (available(back), again.clawbacks.get().cause) == (0, refunded["id"])
    assert check_invariants(project_id=shop.project.pk) == []


def test_two_purchases_are_two_grants(shop: Shop, dana: AppUser, erin: AppUser) -> None:
    create_pack(shop.project)
    create_pack(shop.project, "large", credits=1000, cents=4000)
    buy_pack(shop, dana)
    buy_pack(shop, dana)
    buy_pack(shop, erin, "large")
    deliver_new(shop)
    assert (available(dana), available(erin)) == (200, 1000)
    assert len({row.checkout_session_id for row in CreditPurchase.objects.for_project(shop.project)}) == 3
    assert ask_for(dana, uuid.uuid4().hex).status_code == 404


def test_what_an_old_release_wrote_as_paid_is_given_later(
    shop: Shop, dana: AppUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of the release before, which knows no packs, takes the events and writes the session."""
    create_pack(shop.project)
    with monkeypatch.context() as before:
        before.setattr("payments.services.objects.checkout.fulfil_purchase", lambda scope, session: None)
        opened = buy_pack(shop, dana)
        deliver_new(shop)
    rows = CheckoutSession.objects.for_project(shop.project)
    assert (rows.get().payment_status, bought(shop).granted_at, available(dana)) == ("paid", None, 0)
    assert (heal_purchases(), check_invariants(project_id=shop.project.pk)) == (0, []), "its event may be under way"
    rows.update(updated_at=clock.now() - dt.timedelta(minutes=11))
    (found,) = check_invariants(project_id=shop.project.pk)
    assert found.invariant == "I5" and opened["session_id"] in found.text
    heal_entitlements()
    assert (available(dana), bought(shop).granted_at is not None) == (100, True)
    assert len(keys(shop)) == 2 and check_invariants(project_id=shop.project.pk) == []
    assert heal_purchases() == 0
