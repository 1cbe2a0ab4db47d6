"""Subscriptions through the API: start, change with proration, planned and immediate ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.lives import control, event_types, item_of, latest_invoice, make_customer, other_price, start, switch
from tests.sandbox.stripe_api import Api, create_price


def proration_date(subscription: dict[str, Any], numerator: int, denominator: int) -> tuple[int, int]:
    """Give a moment with that share of the period left, and what is left in seconds."""
    item = item_of(subscription)
    whole = item["current_period_end"] - item["current_period_start"]
    assert whole * numerator % denominator == 0
    left = whole * numerator // denominator
    return item["current_period_end"] - left, left


def test_starting_one_charges_the_default_card(api: Api) -> None:
    subscription = start(api, 2000, metadata={"a": "b"})
    assert (subscription["status"], subscription["metadata"], subscription["currency"]) == ("active", {"a": "b"}, "usd")
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["amount_paid"]) == ("paid", 2000)
    tail = event_types(api)[-10:]
    assert tail == [
        "charge.succeeded",
        "customer.updated",
        "customer.subscription.created",
        "payment_intent.succeeded",
        "payment_intent.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
    ]


def test_a_customer_without_a_card_is_refused_and_nothing_is_written(api: Api) -> None:
    customer, price = api.post("/v1/customers"), create_price(api)
    before = event_types(api)
    error = api.post("/v1/subscriptions", 400, customer=customer["id"], items=[{"price": price["id"]}])["error"]
    assert (error["code"], "param" in error) == ("resource_missing", False)
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    assert event_types(api) == before


def test_missing_items_and_unknown_prices_are_told_apart(api: Api) -> None:
    customer = make_customer(api)
    error = api.post("/v1/subscriptions", 400, customer=customer["id"])["error"]
    assert (error["code"], error["param"]) == ("parameter_missing", "items")
    error = api.post("/v1/subscriptions", 400, customer=customer["id"], items=[{"price": "price_x"}])["error"]
    assert (error["code"], error["param"]) == ("resource_missing", "items[0][price]")


def test_a_declined_start_is_incomplete_and_paying_its_invoice_makes_it_active(api: Api) -> None:
    subscription = start(api, card="pm_card_chargeCustomerFail")
    invoice = latest_invoice(api, subscription)
    assert (subscription["status"], invoice["status"], invoice["attempt_count"]) == ("incomplete", "open", 1)
    assert "invoice.payment_failed" in event_types(api)
    paid = api.post(f"/v1/invoices/{invoice['id']}/pay", payment_method="pm_card_visa")
    assert paid["status"] == "paid"
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"
    assert "invoice already paid" in api.post(f"/v1/invoices/{invoice['id']}/pay", 400)["error"][
        "message"
    ].lower().replace("is already", "already")


def test_error_if_incomplete_declines_and_writes_nothing(api: Api) -> None:
    customer, price = make_customer(api, "pm_card_chargeCustomerFail"), create_price(api)
    before = event_types(api)
    wanted = {"customer": customer["id"], "items": [{"price": price["id"]}], "payment_behavior": "error_if_incomplete"}
    error = api.post("/v1/subscriptions", 402, **wanted)["error"]
    assert (error["type"], error["code"], error["decline_code"]) == ("card_error", "card_declined", "generic_decline")
    assert event_types(api) == before
    assert api.get("/v1/charges")["data"] == []


def test_a_start_that_needs_authentication_waits_for_it(api: Api) -> None:
    subscription = start(api, card="pm_card_authenticationRequired")
    invoice = latest_invoice(api, subscription)
    assert (subscription["status"], invoice["attempted"], invoice["attempt_count"]) == ("incomplete", True, 0)
    assert invoice["next_payment_attempt"] is None
    intent = api.get("/v1/invoice_payments", invoice=invoice["id"])["data"][0]["payment"]["payment_intent"]
    control(api, f"payment_intents/{intent}/authenticate", success=True)
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"
    assert latest_invoice(api, subscription)["status"] == "paid"


def test_default_incomplete_is_paid_by_confirming_its_intent(api: Api) -> None:
    subscription = start(api, payment_behavior="default_incomplete")
    invoice = api.get(f"/v1/invoices/{subscription['latest_invoice']}", expand=["payments.data.payment.payment_intent"])
    intent = invoice["payments"]["data"][0]["payment"]["payment_intent"]
    assert (subscription["status"], intent["status"]) == ("incomplete", "requires_confirmation")
    api.post(f"/v1/payment_intents/{intent['id']}/confirm")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"


def test_an_incomplete_one_expires_and_its_invoice_is_voided(api: Api) -> None:
    subscription = start(api, card="pm_card_chargeCustomerFail")
    assert control(api, f"subscriptions/{subscription['id']}/expire")["status"] == "incomplete_expired"
    assert latest_invoice(api, subscription)["status"] == "void"
    assert "customer.subscription.updated" in event_types(api)[-3:] and "invoice.voided" in event_types(api)[-3:]


def test_an_upgrade_billed_at_once_at_a_third_of_the_period(api: Api) -> None:
    subscription = start(api, 2000)
    at, left = proration_date(subscription, 1, 3)
    seen = len(event_types(api))
    after = switch(
        api, subscription, other_price(api, subscription, 60000), proration_behavior="always_invoice", proration_date=at
    )
    invoice = latest_invoice(api, subscription)
    # 2000 / 3 = 666.67 and 60000 / 3 = 20000
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-667, 20000]
    assert (invoice["total"], invoice["amount_paid"], invoice["status"]) == (19333, 19333, "paid")
    assert (invoice["billing_reason"], after["latest_invoice"]) == ("subscription_update", invoice["id"])
    assert invoice["period_start"] == item_of(subscription)["current_period_start"]
    credit, charge = invoice["lines"]["data"]
    assert credit["description"].startswith("Unused time on Maker after ")
    assert charge["description"].startswith("Remaining time on Maker after ")
    assert credit["period"] == {"start": at, "end": at + left}
    details = credit["parent"]["subscription_item_details"]
    first = api.get("/v1/invoices")["data"][-1]
    assert details["proration"] is True
    assert details["proration_details"]["credited_items"] == {
        "invoice": first["id"],
        "invoice_line_items": [first["lines"]["data"][0]["id"]],
    }
    assert charge["parent"]["subscription_item_details"]["proration_details"]["credited_items"] is None
    assert (credit["discountable"], credit["pricing"]["unit_amount_decimal"]) == (False, None)
    told = event_types(api, seen + 2)
    assert told[:3] == ["customer.subscription.updated", "invoice.created", "invoice.finalized"]
    assert told[-3:] == ["invoice.paid", "invoice.payment_succeeded", "invoice_payment.paid"]


def test_a_downgrade_goes_to_the_customers_balance(api: Api) -> None:
    subscription = start(api, 2000)
    at, _ = proration_date(subscription, 1, 3)
    switch(
        api, subscription, other_price(api, subscription, 1000), proration_behavior="always_invoice", proration_date=at
    )
    invoice = latest_invoice(api, subscription)
    # -666.67 and 333.33 are rounded by themselves
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-667, 333]
    assert (invoice["total"], invoice["amount_due"], invoice["status"]) == (-334, 0, "paid")
    assert (invoice["attempted"], invoice["attempt_count"], invoice["ending_balance"]) == (True, 0, -334)
    customer = api.get(f"/v1/customers/{subscription['customer']}")
    assert customer["balance"] == -334
    entries = api.get(f"/v1/customers/{customer['id']}/balance_transactions")["data"]
    assert [(entry["amount"], entry["type"]) for entry in entries] == [(-334, "applied_to_invoice")]


def test_an_amount_below_the_smallest_charge_goes_to_the_balance(api: Api) -> None:
    subscription = start(api, 2000)
    at, _ = proration_date(subscription, 1, 2)
    switch(
        api, subscription, other_price(api, subscription, 2008), proration_behavior="always_invoice", proration_date=at
    )
    invoice = latest_invoice(api, subscription)
    assert (invoice["total"], invoice["amount_due"], invoice["status"], invoice["attempt_count"]) == (4, 0, "paid", 0)
    assert api.get(f"/v1/customers/{subscription['customer']}")["balance"] == 4
    renewed = control(api, f"subscriptions/{subscription['id']}/renew")
    assert latest_invoice(api, renewed)["amount_paid"] == 2012


def test_by_default_prorations_wait_for_the_next_invoice(api: Api) -> None:
    subscription = start(api, 5000)
    at, _ = proration_date(subscription, 1, 2)
    price = other_price(api, subscription, 10000)
    seen = len(event_types(api))
    after = switch(api, subscription, price, proration_date=at)
    assert event_types(api, seen) == ["invoiceitem.created", "invoiceitem.created", "customer.subscription.updated"]
    assert after["latest_invoice"] == subscription["latest_invoice"]
    pending = api.get("/v1/invoiceitems", customer=subscription["customer"], pending=True)["data"]
    assert sorted(item["amount"] for item in pending) == [-2500, 5000]
    control(api, f"subscriptions/{subscription['id']}/renew")
    invoice = latest_invoice(api, subscription)
    # -2500 + 5000 + 10000
    assert (invoice["amount_paid"], len(invoice["lines"]["data"])) == (12500, 3)
    assert api.get("/v1/invoiceitems", customer=subscription["customer"], pending=True)["data"] == []


def test_without_proration_nothing_is_billed(api: Api) -> None:
    subscription = start(api, 1000)
    price = other_price(api, subscription, 3000)
    seen = len(event_types(api))
    after = switch(api, subscription, price, proration_behavior="none")
    assert event_types(api, seen) == ["customer.subscription.updated"]
    assert item_of(after)["price"]["id"] == price
    assert api.get("/v1/invoiceitems", customer=subscription["customer"])["data"] == []


def test_a_later_credit_gives_back_what_was_really_debited(api: Api) -> None:
    subscription = start(api, 1000)
    at, _ = proration_date(subscription, 1, 2)
    after = switch(api, subscription, other_price(api, subscription, 60000), proration_behavior="none")
    switch(api, after, other_price(api, subscription, 2000), proration_behavior="always_invoice", proration_date=at)
    assert [line["amount"] for line in latest_invoice(api, subscription)["lines"]["data"]] == [-500, 1000]


def test_a_quantity_change_credits_and_charges_the_whole_item(api: Api) -> None:
    subscription = start(api, 1000)
    at, _ = proration_date(subscription, 1, 400)
    item = item_of(subscription)
    path = f"/v1/subscriptions/{subscription['id']}"
    api.post(
        path,
        items=[{"id": item["id"], "quantity": 3}],
        proration_behavior="always_invoice",
        proration_date=at,
    )
    lines = latest_invoice(api, subscription)["lines"]["data"]
    # -2.5 and 7.5: ties go toward minus infinity
    assert [line["amount"] for line in lines] == [-3, 7]
    assert lines[1]["description"].startswith("Remaining time on 3 × Maker after ")


def test_another_interval_starts_a_new_period_and_bills_it_at_once(api: Api) -> None:
    subscription = start(api, 1000)
    at, _ = proration_date(subscription, 1, 2)
    after = switch(api, subscription, other_price(api, subscription, 10000, "year"), proration_date=at)
    item = item_of(after)
    assert item["current_period_start"] == after["billing_cycle_anchor"]
    assert item["current_period_end"] - item["current_period_start"] in (365 * 86400, 366 * 86400)
    invoice = latest_invoice(api, subscription)
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-500, 10000]
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_update", 9500)


def test_a_declined_upgrade_changes_the_price_and_owes(api: Api) -> None:
    subscription = start(api, 1000)
    price = other_price(api, subscription, 50000)
    bad = api.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=subscription["customer"])
    api.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=bad["id"])
    after = switch(api, subscription, price, proration_behavior="always_invoice")
    assert (after["status"], item_of(after)["price"]["id"]) == ("past_due", price)
    invoice = latest_invoice(api, subscription)
    assert invoice["status"] == "open"
    api.post(f"/v1/invoices/{invoice['id']}/pay", payment_method="pm_card_visa")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"


def test_a_declined_upgrade_with_error_if_incomplete_changes_nothing(api: Api) -> None:
    subscription = start(api, 1000)
    price = other_price(api, subscription, 50000)
    bad = api.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=subscription["customer"])
    before = api.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=bad["id"])
    seen = event_types(api)
    error = switch(
        api, subscription, price, 402, proration_behavior="always_invoice", payment_behavior="error_if_incomplete"
    )["error"]
    assert error["code"] == "card_declined"
    assert api.get(f"/v1/subscriptions/{subscription['id']}") == before
    assert event_types(api) == seen


@pytest.mark.parametrize("behavior", ["always_invoice", "create_prorations", "none"])
def test_a_preview_is_what_then_happens_and_changes_nothing(api: Api, behavior: str) -> None:
    subscription = start(api, 2000)
    at, _ = proration_date(subscription, 1, 3)
    price = other_price(api, subscription, 5000)
    change: dict[str, Any] = {
        "items": [{"id": item_of(subscription)["id"], "price": price}],
        "proration_behavior": behavior,
        "proration_date": at,
    }
    seen = event_types(api)
    preview = api.post("/v1/invoices/create_preview", subscription=subscription["id"], subscription_details=change)
    assert event_types(api) == seen
    assert api.get(f"/v1/subscriptions/{subscription['id']}") == subscription
    api.post(f"/v1/subscriptions/{subscription['id']}", **change)
    if behavior != "always_invoice":
        control(api, f"subscriptions/{subscription['id']}/renew")
    invoice = latest_invoice(api, subscription)
    expected = {"always_invoice": 1000, "create_prorations": 6000, "none": 5000}
    assert preview["total"] == invoice["total"] == expected[behavior]
    assert [line["amount"] for line in preview["lines"]["data"]] == [
        line["amount"] for line in invoice["lines"]["data"]
    ]


def test_a_cancellation_at_period_end_is_planned_and_undone(api: Api) -> None:
    subscription = start(api)
    path = f"/v1/subscriptions/{subscription['id']}"
    planned = api.post(path, cancel_at_period_end=True, cancellation_details={"feedback": "unused", "comment": "bye"})
    assert (planned["status"], planned["cancel_at_period_end"]) == ("active", True)
    assert planned["cancel_at"] == item_of(subscription)["current_period_end"]
    assert planned["canceled_at"] is not None
    assert planned["cancellation_details"]["reason"] == "cancellation_requested"
    assert (planned["cancellation_details"]["feedback"], planned["cancellation_details"]["comment"]) == (
        "unused",
        "bye",
    )
    undone = api.post(path, cancel_at_period_end=False)
    assert (undone["cancel_at"], undone["canceled_at"], undone["cancel_at_period_end"]) == (None, None, False)
    events = api.all_events()[-2:]
    assert [event["type"] for event in events] == ["customer.subscription.updated"] * 2
    assert events[0]["data"]["previous_attributes"]["cancel_at_period_end"] is False


def test_the_planned_end_comes_with_the_period_and_without_an_invoice(api: Api) -> None:
    subscription = start(api)
    planned = api.post(f"/v1/subscriptions/{subscription['id']}", cancel_at_period_end=True)
    seen = len(event_types(api))
    ended = control(api, f"subscriptions/{subscription['id']}/renew")
    assert (ended["status"], ended["canceled_at"]) == ("canceled", planned["canceled_at"])
    assert event_types(api, seen) == ["customer.subscription.deleted"]
    assert len(api.get("/v1/invoices")["data"]) == 1


def test_canceling_now_gives_one_event_and_keeps_the_items_period(api: Api) -> None:
    subscription = start(api)
    seen = len(event_types(api))
    ended = api.delete(f"/v1/subscriptions/{subscription['id']}", cancellation_details={"comment": "bye"})
    assert (ended["status"], ended["cancel_at"]) == ("canceled", None)
    assert ended["canceled_at"] == ended["ended_at"]
    assert ended["cancellation_details"]["reason"] == "cancellation_requested"
    assert item_of(ended)["current_period_end"] == item_of(subscription)["current_period_end"]
    assert event_types(api, seen) == ["customer.subscription.deleted"]
    error = api.delete(f"/v1/subscriptions/{subscription['id']}", 404)["error"]
    assert error["message"] == f"No such subscription: '{subscription['id']}'"


def test_a_canceled_one_takes_only_details_and_metadata(api: Api) -> None:
    subscription = start(api)
    path = f"/v1/subscriptions/{subscription['id']}"
    api.delete(path)
    error = api.post(path, 400, cancel_at_period_end=True)["error"]
    assert error["code"] == "invalid_canceled_subscription_fields"
    assert api.post(path, metadata={"a": "b"})["metadata"] == {"a": "b"}


def test_canceling_with_proration_leaves_a_pending_credit(api: Api) -> None:
    subscription = start(api, 2000)
    api.delete(f"/v1/subscriptions/{subscription['id']}", prorate=True)
    (pending,) = api.get("/v1/invoiceitems", customer=subscription["customer"])["data"]
    # Only seconds of the period are gone.
    assert -2000 <= pending["amount"] <= -1999
    assert api.get(f"/v1/customers/{subscription['customer']}")["balance"] == 0


def test_canceled_ones_are_listed_only_when_asked_for(api: Api) -> None:
    first, second = start(api), start(api)
    api.delete(f"/v1/subscriptions/{first['id']}")
    listed = [entry["id"] for entry in api.get("/v1/subscriptions")["data"]]
    assert listed == [second["id"]]
    assert len(api.get("/v1/subscriptions", status="all")["data"]) == 2
    assert [entry["id"] for entry in api.get("/v1/subscriptions", status="canceled")["data"]] == [first["id"]]
    price = item_of(second)["price"]["id"]
    assert [entry["id"] for entry in api.get("/v1/subscriptions", price=price)["data"]] == [second["id"]]


def test_pausing_collection_changes_no_status_and_voids_the_next_invoice(api: Api) -> None:
    subscription = start(api)
    seen = len(event_types(api))
    paused = api.post(f"/v1/subscriptions/{subscription['id']}", pause_collection={"behavior": "void"})
    assert (paused["status"], paused["pause_collection"]) == ("active", {"behavior": "void", "resumes_at": None})
    assert event_types(api, seen) == ["customer.subscription.updated"]
    control(api, f"subscriptions/{subscription['id']}/renew")
    assert latest_invoice(api, subscription)["status"] == "void"
    assert len(api.get("/v1/charges")["data"]) == 1


def test_a_paused_one_resumes(api: Api) -> None:
    subscription = start(api)
    path = f"/v1/subscriptions/{subscription['id']}"
    api.post(f"{path}/resume", 400)
    assert control(api, f"subscriptions/{subscription['id']}/pause")["status"] == "paused"
    assert api.post(f"{path}/resume")["status"] == "active"
    told = event_types(api)
    assert told.index("customer.subscription.paused") < told.index("customer.subscription.resumed") == len(told) - 1
    # Resuming begins a period of its own, which is paid first.
    assert [invoice["amount_paid"] for invoice in api.get("/v1/invoices")["data"]] == [2000, 2000]


@pytest.mark.parametrize(
    "params",
    [
        {"items": [{"id": "si_x", "price": "PRICE"}]},
        {"items": [{"id": "ITEM", "price": "price_x"}]},
        {"items": [{"id": "ITEM", "deleted": True}]},
        {"items": [{"price": "OWN"}]},
        {"items": [{"id": "ITEM", "price": "EURO"}]},
        {"items": [{"id": "ITEM", "price": "PRICE"}], "proration_date": 1},
        {"description": "x", "payment_behavior": "pending_if_incomplete"},
        {"pause_collection": {"behavior": "void", "resumes_at": 1}},
        {"cancel_at": 1},
        {"cancel_at": 4102444800, "cancel_at_period_end": True},
        {"trial_end": 1},
        {"trial_end": 4102444800},
        {"default_payment_method": "pm_x"},
    ],
)
def test_an_update_is_refused_and_changes_nothing(api: Api, params: dict[str, Any]) -> None:
    subscription = start(api)
    item = item_of(subscription)
    euro = api.post(
        "/v1/prices", product=item["price"]["product"], currency="eur", unit_amount=1, recurring={"interval": "month"}
    )
    stand_ins = {
        "PRICE": other_price(api, subscription, 100),
        "ITEM": item["id"],
        "OWN": item["price"]["id"],
        "EURO": euro["id"],
    }
    wanted = dict(params)
    if "items" in wanted:
        wanted["items"] = [{k: stand_ins.get(v, v) for k, v in entry.items()} for entry in wanted["items"]]
    seen = event_types(api)
    api.post(f"/v1/subscriptions/{subscription['id']}", 400, **wanted)
    assert api.get(f"/v1/subscriptions/{subscription['id']}") == subscription
    assert event_types(api) == seen
