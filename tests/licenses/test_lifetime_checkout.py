"""POST lifetime-checkout: anybody may buy a licence, and only money makes one, once, whatever brings the news."""

import datetime as dt
import itertools
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client

from common import clock
from licenses.models import License, LicenseProduct
from licenses.services.access_tokens import read_access_token
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import BillingPolicy, LicensePurchase, Transaction
from payments.services import license_checkout
from payments.services.invariants import check_invariants
from tests.cast import AppUser
from tests.licenses.licensing import CHECKOUT, Holder, LicenseShop, create_product
from tests.payments.deliveries import deliver, events_of
from tests.payments.shop import DECLINED, Shop, at_once, checkout_body, post


def licenses(seller: LicenseShop) -> list[License]:
    return list(License.objects.for_project(seller.project).order_by("created_at"))


def post_from(seller: LicenseShop, address: str, body: dict[str, str], **headers: str) -> Any:
    """Ask for a checkout from an address."""
    body = {"project": seller.project.slug, "product": "kit", **body}
    return Client(REMOTE_ADDR=address).post(CHECKOUT, body, content_type="application/json", headers=headers)


# Works


def test_a_licence_comes_with_the_money_and_its_welcome_is_sent_once(seller: LicenseShop) -> None:
    opened = seller.checkout()
    session = seller.shop.api("GET", f"checkout/sessions/{opened['session_id']}")
    purchase = LicensePurchase.objects.for_project(seller.project).get()
    assert (session["mode"], session["amount_total"], session["customer_creation"]) == ("payment", 4900, "always")
    assert session["metadata"] == session["metadata"] | {
        "type": "lifetime_license", "license_product": "kit", "project_id": str(seller.project.pk),
    }  # fmt: skip
    seller.deliver_new()
    token = session["success_url"].rpartition("token=")[2]
    assert Holder(seller, opened["session_id"], token).status()["step"] == "unpaid"
    assert licenses(seller) == []
    assert seller.shop.pay(opened["checkout_url"], DECLINED).status_code != 303
    seller.deliver_new()
    assert licenses(seller) == []
    assert seller.shop.pay(opened["checkout_url"]).status_code == 303
    seller.deliver_new()
    (row,) = licenses(seller)
    payment = Transaction.objects.for_project(seller.project).get()
    assert (row.pk, row.state, row.email, row.amount_cents) == (purchase.pk, "pending", "buyer@example.com", 4900)
    assert row.payment_intent_id == payment.payment_intent_id and payment.description == "Acme Kit"
    assert row.end_user is None and row.welcome_sent_at is None
    assert [(one.change, one.after, one.by[:11]) for one in row.changes.all()] == [("issue", "pending", "stripe:evt_")]
    assert seller.keys() == ["mail:license_welcome:purchase"]
    assert seller.work() == 1
    (sent,) = [one for one in mail.outbox if one.to == ["buyer@example.com"] and "licence of Acme Kit" in one.subject]
    link = next(word for word in str(sent.body).split() if "/license-access?" in word)
    access = read_access_token(link.rpartition("token=")[2])
    assert (access.license_id, access.project_id) == (row.pk, seller.project.pk) and row.stripe_session_id in link
    row.refresh_from_db()
    assert row.welcome_sent_at is not None
    told = OutboxRow.objects.for_project(seller.project).get(effect_key__startswith="app:license.purchased")
    assert told.payload["data"]["status"] == "pending" and "token" not in str(told.payload)
    assert check_invariants(project_id=seller.project.pk) == []
    # The link that the return from checkout carries is kept nowhere: not in the events, not in the mirror.
    with connection.cursor() as cursor:
        for table, column in (("payments_webhookevent", "payload"), ("djstripe_session", "stripe_data")):
            cursor.execute(f"SELECT count(*) FROM {table} WHERE {column}::text LIKE %s", [f"%{token}%"])
            assert cursor.fetchone() == (0,), table
        cursor.execute(
            "SELECT count(*) FROM payments_webhookevent WHERE payload::text LIKE '%%/license-access?session=%%'"
        )
        assert cursor.fetchone()[0] > 0


def test_the_return_is_right_before_any_event_and_events_add_nothing(seller: LicenseShop) -> None:
    holder = seller.buy(delivered=False)
    assert holder.status()["step"] == "pending"
    before = seller.keys()
    seller.deliver_new()
    deliver(seller.shop, events_of(seller.shop))
    assert len(licenses(seller)) == 1 and seller.keys() == before


def test_every_order_of_events_makes_one_licence(seller: LicenseShop) -> None:
    holder = seller.buy(delivered=False)
    kinds = ("checkout.session.completed", "payment_intent.succeeded", "charge.succeeded")
    events = [event for event in events_of(seller.shop) if event["type"] in kinds]
    assert len(events) == 3
    for order in itertools.permutations(events):
        License.objects.for_project(seller.project).delete()
        LicensePurchase.objects.for_project(seller.project).update(issued_at=None, status="open")
        fresh = [event | {"id": f"{event['id']}{number}x{id(order)}"} for number, event in enumerate(order)]
        deliver(seller.shop, fresh)
        assert [row.state for row in licenses(seller)] == ["pending"], [event["type"] for event in order]
    assert holder.license.pk == LicensePurchase.objects.for_project(seller.project).get().pk


def test_a_purchase_that_forgot_its_licence_makes_no_second_one(seller: LicenseShop) -> None:
    holder = seller.buy()
    told = OutboxRow.objects.for_project(seller.project).filter(kind="app_event", payload__type="license.purchased")
    before = (holder.license.changes.count(), seller.keys())
    LicensePurchase.objects.for_project(seller.project).update(issued_at=None, status="open")
    completed = next(event for event in events_of(seller.shop) if event["type"] == "checkout.session.completed")
    deliver(seller.shop, [completed | {"id": f"{completed['id']}again"}])
    assert LicensePurchase.objects.for_project(seller.project).get().issued_at is not None
    assert (holder.license.changes.count(), seller.keys()) == before and told.count() == 1


def test_a_promotion_code_counts_and_what_it_makes_free_is_given(seller: LicenseShop) -> None:
    coupon = seller.shop.api("POST", "coupons", percent_off=100, duration="once")["id"]
    promotion: dict[str, Any] = {"promotion[type]": "coupon", "promotion[coupon]": coupon, "code": "GIFT"}
    seller.shop.api("POST", "promotion_codes", **promotion)
    assert seller.open(promo_code="NOPE").json()["code"] == "promo_code_not_found"
    LicenseProduct.objects.for_project(seller.project).update(allow_promotion_codes=False)
    refused = seller.open(promo_code="GIFT")
    assert (refused.status_code, refused.json()["code"]) == (400, "promo_code_not_applicable")
    assert not LicensePurchase.objects.for_project(seller.project).exists()
    LicenseProduct.objects.for_project(seller.project).update(allow_promotion_codes=True)
    holder = seller.buy(promo_code="GIFT")
    assert (holder.license.amount_cents, holder.license.payment_intent_id) == (0, "")
    assert holder.status()["step"] == "pending"


def test_a_signed_in_users_licence_is_theirs(seller: LicenseShop, dana: AppUser, erin: AppUser) -> None:
    holder = seller.buy(headers=dana.headers)
    assert holder.license.end_user == dana.end_user
    mine = dana.client.get("/api/v1/payments/stripe/my-licenses").json()["licenses"]
    assert [(one["id"], one["external_user_id"]) for one in mine] == [(str(holder.license.pk), dana.user_id)]
    assert erin.client.get("/api/v1/payments/stripe/my-licenses").json() == {"licenses": []}
    live = dana.client.get("/api/v1/payments/stripe/my-licenses?test_mode=false")
    assert live.json() == {"licenses": []}


# Refuses


def test_what_is_not_for_sale_here_is_not_found(seller: LicenseShop, other_project: Any, frank: AppUser) -> None:
    create_product(seller.project, "old", active=False)
    create_product(seller.project, "live-only", mode="live")
    create_product(other_project, "theirs")
    for product in ("unknown", "old", "live-only", "theirs"):
        answer = seller.open(product)
        assert (answer.status_code, answer.json()["code"]) == (404, "license_product_not_found"), product
    assert seller.open(project="nowhere").status_code == 404
    assert seller.open(headers=frank.headers).status_code == 404
    assert seller.open(headers={"Authorization": "Bearer garbage"}).status_code == 401
    bad = seller.open(cancel_url="https://evil.example/")
    assert (bad.status_code, bad.json()["code"]) == (400, "url_not_allowed")
    for body in ({"product": ""}, {"product": 7}, {"promo_code": ""}):
        assert seller.open(**body).status_code == 422, body
    assert not LicensePurchase.objects.for_project(seller.project).exists()
    assert seller.shop.objects("checkout/sessions") == []


def test_its_price_is_not_sold_by_an_ordinary_checkout(seller: LicenseShop, dana: AppUser) -> None:
    price_id = seller.shop.price(4900, interval="")
    create_product(seller.project, "priced", stripe_price_id=price_id)
    refused = post(dana, "checkout-session", checkout_body(price_id, mode="payment"))
    assert refused.status_code == 400 and "lifetime-checkout" in refused.json()["detail"]
    assert seller.buy("priced").license.product.code == "priced"
    LicenseProduct.objects.for_project(seller.project).get(code="priced").prices.update(amount_cents=100)
    assert seller.open("priced").json()["code"] == "price_does_not_fit"


def test_metadata_alone_gives_nothing(seller: LicenseShop) -> None:
    forged: dict[str, Any] = {
        "mode": "payment", "success_url": "https://app.example/", "client_reference_id": "0190aaaa-0000-7000-8000-000000000000",
        "line_items[0][price_data][currency]": "usd", "line_items[0][price_data][unit_amount]": 100,
        "line_items[0][price_data][product_data][name]": "Cheap", "line_items[0][quantity]": 1,
        "metadata[type]": "lifetime_license", "metadata[license_product]": "kit", "metadata[project_id]": str(seller.project.pk),
    }  # fmt: skip
    session = seller.shop.api("POST", "checkout/sessions", **forged)
    assert seller.shop.pay(session["url"]).status_code == 303
    seller.deliver_new()
    assert licenses(seller) == []
    item = ReviewItem.objects.for_project(seller.project).get(cause_key=f"license_purchase:{session['id']}")
    assert item.details["amount_cents"] == 100


# Edge


def test_a_purchase_that_a_backup_does_not_know_is_recovered_at_its_price(seller: LicenseShop) -> None:
    holder = seller.buy(delivered=False)
    bought = LicensePurchase.objects.for_project(seller.project).get().pk
    LicensePurchase.objects.for_project(seller.project).delete()
    seller.deliver_new()
    assert holder.license.pk == bought and holder.status()["step"] == "pending"


def test_an_expired_checkout_and_a_lost_answer_give_nothing(seller: LicenseShop) -> None:
    opened = seller.checkout()
    seller.shop.api("POST", f"checkout/sessions/{opened['session_id']}/expire")
    seller.deliver_new()
    assert LicensePurchase.objects.for_project(seller.project).get().status == "expired"
    seller.shop.fault("POST /v1/checkout/sessions", "status:500", times=10)
    assert seller.open().status_code in (502, 503)
    seller.shop.clear_faults()
    assert licenses(seller) == []


# Race and replay


def test_an_idempotency_key_opens_one_checkout(seller: LicenseShop) -> None:
    headers = {"Idempotency-Key": f"k-{seller.project.pk}", "Origin": "https://app.example"}
    asked = at_once(4, lambda _: seller.open(headers=headers))
    assert {answer.headers.get("Access-Control-Allow-Origin") for answer in asked} == {"https://app.example"}
    opened = {answer.json()["session_id"] for answer in asked if answer.status_code == 200}
    assert len(opened) == 1 and {answer.status_code for answer in asked} <= {200, 409}
    assert len(seller.shop.objects("checkout/sessions")) == 1
    # The key is the caller's own: somebody else in the same network is answered for themselves.
    key = {"Idempotency-Key": f"n-{seller.project.pk}"}
    mine, again, theirs = (post_from(seller, f"2001:db8:1:3::{host}", {}, **key) for host in (1, 1, 2))
    assert {one.status_code for one in (mine, again, theirs)} == {200}
    assert mine.json() == again.json() != theirs.json()


def test_a_buyer_who_is_known_has_one_open_checkout_of_the_same(seller: LicenseShop, dana: AppUser) -> None:
    create_product(seller.project, "pro")
    guest = {"email": "Guest@Example.com"}
    asked = at_once(3, lambda _: seller.open(**guest))
    opened = {answer.json()["session_id"] for answer in asked if answer.status_code == 200}
    assert len(opened) == 1 and {answer.status_code for answer in asked} == {200}
    (session,) = seller.shop.objects("checkout/sessions")
    assert session["customer_email"] == "guest@example.com"
    mine = [seller.checkout(headers=dana.headers) for _ in range(2)]
    assert mine[0] == mine[1] and mine[0]["session_id"] not in opened
    # Somebody else who gives the address, another product, another address, nobody in particular: each its own.
    elsewhere = post_from(seller, "198.51.100.77", guest)
    # A /64 is one caller to limits, and holds many people.
    near = at_once(2, lambda _: post_from(seller, "2001:db8:1:2::1", guest).json()["session_id"])
    beside = post_from(seller, "2001:db8:1:2::2", guest).json()["session_id"]
    assert len(set(near)) == 1 and beside not in {*near, *opened}
    others = [
        elsewhere.json(), seller.checkout("pro", **guest), seller.checkout(email="other@example.com"),
        seller.checkout(), seller.checkout(),
    ]  # fmt: skip
    assert len({one["session_id"] for one in [*others, mine[0]]} | opened) == 7
    # What was bought is bought: the next click buys another, also while the news of the first is on its way.
    assert seller.shop.pay(mine[0]["checkout_url"]).status_code == 303
    second = seller.checkout(headers=dana.headers)
    assert second["session_id"] != mine[0]["session_id"]
    assert [row.stripe_session_id for row in licenses(seller)] == [mine[0]["session_id"]]
    seller.shop.api("POST", f"checkout/sessions/{second['session_id']}/expire")
    assert seller.checkout(headers=dana.headers)["session_id"] != second["session_id"]
    # One whose answer was lost holds nobody up.
    seller.shop.fault("POST /v1/checkout/sessions", "status:500", times=9)
    assert seller.open(email="lost@example.com").status_code in (502, 503)
    seller.shop.clear_faults()
    assert seller.checkout(email="lost@example.com")["session_id"]


def test_a_checkout_whose_process_died_is_let_go(seller: LicenseShop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = seller.checkout(email="buyer@example.com")
    rows = LicensePurchase.objects.for_project(seller.project)
    rows.update(status="creating", stripe_session_id="")
    monkeypatch.setattr(license_checkout, "PATIENCE_SECONDS", 0.3)
    answer = seller.open(email="buyer@example.com")
    assert (answer.status_code, answer.json()["code"]) == (503, "in_progress")
    rows.update(created_at=clock.now() - dt.timedelta(minutes=2))
    assert seller.checkout(email="buyer@example.com")["session_id"] != first["session_id"] and rows.count() == 2


def test_a_policy_without_addresses_is_kept_to(shop: Shop, seller: LicenseShop) -> None:
    BillingPolicy.objects.create(project=shop.project, billing_address_collection=False)
    opened = seller.checkout()
    session = shop.api("GET", f"checkout/sessions/{opened['session_id']}")
    assert session["billing_address_collection"] == "auto"


def test_checkouts_are_counted_per_address(seller: LicenseShop) -> None:
    answers = [seller.open("unknown").status_code for _ in range(21)]
    assert answers == [404] * 20 + [429]
    counted = seller.open("unknown", headers={"X-Forwarded-For": "198.51.100.7"})
    assert counted.status_code == 429 and int(counted["Retry-After"]) > 0
