"""What a checkout session can leave behind: an invoice of a one-time purchase, a way back after it expired."""

from __future__ import annotations

import httpx

from tests.sandbox.lives import control, event_types
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page
from tests.sandbox.test_delayed_payments import KINDS, PAYS, debit_on_page, euro_price


def test_a_one_time_purchase_leaves_an_invoice_where_it_is_asked_for(api: Api) -> None:
    coupon = api.post("/v1/coupons", percent_off=10, duration="once")["id"]
    session = create_session(
        api,
        create_price(api, 5000, interval=None)["id"],
        mode="payment",
        discounts=[{"coupon": coupon}],
        automatic_tax={"enabled": True},
        invoice_creation={"enabled": True, "invoice_data": {"metadata": {"order": "7"}, "description": "Thanks"}},
    )
    assert pay_on_page(session).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["invoice.payments", "customer"])
    invoice = done["invoice"]
    # 50.00 less 5.00, and a tenth of it in tax
    assert (invoice["subtotal"], invoice["total"], invoice["amount_paid"]) == (5000, 4950, 4950)
    assert done["amount_total"] == 4950
    assert (invoice["status"], invoice["billing_reason"], invoice["parent"]) == ("paid", "manual", None)
    assert (invoice["metadata"], invoice["description"]) == ({"order": "7"}, "Thanks")
    assert invoice["payments"]["data"][0]["payment"]["payment_intent"] == done["payment_intent"]
    assert (done["customer"]["email"], done["customer"]["balance"]) == ("dana@example.com", 0)
    assert api.get(f"/v1/coupons/{coupon}")["times_redeemed"] == 1
    told = event_types(api)
    assert [told.count(kind) for kind in ("invoice.created", "invoice.paid", "invoice_payment.paid")] == [1, 1, 1]


def test_credit_is_not_used_up_by_a_one_time_purchase(api: Api) -> None:
    customer = api.post("/v1/customers", email="dana@example.com", balance=-1000)["id"]
    price = create_price(api, 5000, interval=None)["id"]
    session = create_session(api, price, mode="payment", customer=customer, invoice_creation={"enabled": True})
    pay_on_page(session)
    (invoice,) = api.get("/v1/invoices", customer=customer)["data"]
    assert (invoice["amount_paid"], api.get(f"/v1/customers/{customer}")["balance"]) == (5000, -1000)


def test_a_debits_invoice_is_paid_when_the_bank_has_paid(api: Api) -> None:
    session = create_session(
        api,
        euro_price(api, 2500, None),
        mode="payment",
        payment_method_types=KINDS,
        invoice_creation={"enabled": True},
    )
    assert debit_on_page(session, PAYS).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["invoice"])
    assert (done["payment_status"], done["invoice"]["status"]) == ("unpaid", "open")
    control(api, f"payment_intents/{done['payment_intent']}/settle", outcome="succeeded")
    assert api.get(f"/v1/invoices/{done['invoice']['id']}")["status"] == "paid"


def test_subscriptions_have_their_invoice_anyway(api: Api) -> None:
    price = create_price(api)["id"]
    wanted = {
        "mode": "subscription",
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "https://a.example",
    }
    error = api.post("/v1/checkout/sessions", 400, **wanted, invoice_creation={"enabled": True})["error"]
    assert error["param"] == "invoice_creation"


def test_an_expired_checkout_can_be_opened_again_by_its_link(api: Api) -> None:
    recovery = {"recovery": {"enabled": True, "allow_promotion_codes": True}}
    session = create_session(api, create_price(api)["id"], after_expiration=recovery, metadata={"user": "1"})
    assert session["after_expiration"]["recovery"]["url"] is None
    # Somebody tried, in vain.
    pay_on_page(session, cardNumber="4000000000000002")
    expired = api.post(f"/v1/checkout/sessions/{session['id']}/expire")
    link = expired["after_expiration"]["recovery"]
    assert link["expires_at"] > expired["created"] + 29 * 86400
    events = api.all_events()
    told = next(event for event in events if event["type"] == "checkout.session.expired")
    assert told["data"]["object"]["after_expiration"]["recovery"]["url"] == link["url"]
    page = httpx.get(link["url"])
    assert page.status_code == 303 and httpx.get(link["url"]).headers["Location"] == page.headers["Location"]
    again = api.get("/v1/checkout/sessions", status="open")["data"][0]
    assert (again["recovered_from"], again["metadata"]) == (session["id"], {"user": "1"})
    assert (again["allow_promotion_codes"], again["after_expiration"]["recovery"]["url"]) == (True, None)
    assert again["url"].endswith(page.headers["Location"])
    assert pay_on_page(again).status_code == 303
    bought = api.get(f"/v1/checkout/sessions/{again['id']}")
    assert api.get(f"/v1/subscriptions/{bought['subscription']}")["status"] == "active"
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "expired"


def test_without_recovery_or_before_the_end_there_is_no_way_back(api: Api) -> None:
    plain = create_session(api, create_price(api)["id"])
    assert plain["after_expiration"] is None
    ended = api.post(f"/v1/checkout/sessions/{plain['id']}/expire")
    assert ended["after_expiration"] is None
    running = create_session(api, create_price(api)["id"], after_expiration={"recovery": {"enabled": True}})
    for session_id in (plain["id"], running["id"], "cs_test_none"):
        assert httpx.get(f"{api.url}/r/{session_id}").status_code == 404
