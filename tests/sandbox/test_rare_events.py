"""What seldom happens and the service must know all the same: each kind of event can be brought about."""

from __future__ import annotations

import time

import httpx

from tests.sandbox.lives import control, event_types, make_customer, start
from tests.sandbox.stripe_api import Api, create_price


def press(api: Api, object_id: str, button: str, expect: int = 200) -> None:
    answer = httpx.post(f"{api.url}/_sandbox/api/objects/{object_id}/{button}", json={}, timeout=20)
    assert answer.status_code == expect, answer.text


def test_a_card_can_be_in_its_last_month_and_be_replaced_by_its_network(api: Api) -> None:
    customer = make_customer(api)
    card = customer["invoice_settings"]["default_payment_method"]
    near = control(api, f"payment_methods/{card}/expiring")["card"]
    today = time.gmtime()
    assert (near["exp_year"], near["exp_month"]) in {(today.tm_year, today.tm_mon)}
    assert api.all_events()[-1]["data"]["previous_attributes"]["card"]["exp_year"] > today.tm_year
    charge = {"amount": 500, "currency": "usd", "customer": customer["id"], "payment_method": card, "confirm": True}
    assert api.post("/v1/payment_intents", **charge)["status"] == "succeeded"
    control(api, f"payment_methods/{card}/renew")
    types = event_types(api)
    assert "payment_method.updated" in types and types[-1] == "payment_method.automatically_updated"


def test_a_price_that_was_never_used_is_deleted_and_a_used_one_is_not(api: Api) -> None:
    spare = create_price(api, 900)
    since = len(api.all_events())
    press(api, spare["id"], "delete")
    assert event_types(api, since) == ["price.deleted", "plan.deleted"]
    api.get(f"/v1/prices/{spare['id']}", 404)
    used = start(api)["items"]["data"][0]["price"]["id"]
    press(api, used, "delete", 400)
    assert api.get(f"/v1/prices/{used}")["active"] is True


def test_only_a_draft_can_fail_to_be_finalized(api: Api) -> None:
    paid = start(api)["latest_invoice"]
    press(api, paid, "fail_finalization", 409)
    answer = httpx.post(f"{api.url}/_sandbox/api/invoices/{paid}/fail_finalization", timeout=20)
    assert (answer.status_code, "paid" in answer.json()["error"]["message"]) == (400, True)
    assert "invoice.finalization_failed" not in event_types(api)
