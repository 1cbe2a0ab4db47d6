"""Refunds that wait or fail, disputes with their outcomes, early fraud warnings: by test card, by API and by switch."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import control, event_types, start
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page


def pay(api: Api, card: str = "pm_card_visa", amount: int = 2000) -> Any:
    intent = api.post("/v1/payment_intents", amount=amount, currency="usd", confirm=True, payment_method=card)
    return api.get(f"/v1/charges/{intent['latest_charge']}")


def balance_of(api: Api) -> int:
    return sum(entry["net"] for entry in api.get("/v1/balance_transactions", limit=100)["data"])


def test_a_pending_refund_is_settled_later(api: Api) -> None:
    charge = pay(api, "pm_card_pendingRefund")
    refund = api.post("/v1/refunds", charge=charge["id"], amount=500)
    assert refund["status"] == "pending"
    before = len(event_types(api))
    assert control(api, f"refunds/{refund['id']}/settle", outcome="succeeded")["status"] == "succeeded"
    assert event_types(api, before) == ["refund.updated", "charge.refund.updated"]
    assert (
        httpx.post(f"{api.url}/_sandbox/api/refunds/{refund['id']}/settle", json={"outcome": "succeeded"}).status_code
        == 400
    )


def test_a_failed_refund_gives_the_money_back(api: Api) -> None:
    charge = pay(api, "pm_card_refundFail")
    # 2000 less 2.9 % and 30
    assert balance_of(api) == 1912
    refund = api.post("/v1/refunds", charge=charge["id"])
    assert (refund["status"], balance_of(api)) == ("succeeded", -88)
    before = len(event_types(api))
    failed = control(api, f"refunds/{refund['id']}/settle", outcome="failed")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    assert event_types(api, before) == ["charge.updated", "refund.updated", "charge.refund.updated", "refund.failed"]
    after = api.get(f"/v1/charges/{charge['id']}")
    assert (after["amount_refunded"], after["refunded"], balance_of(api)) == (0, False, 1912)
    assert api.post("/v1/refunds", charge=charge["id"], amount=700)["amount"] == 700


def test_refunds_never_exceed_their_charge(api: Api) -> None:
    charge = pay(api)
    api.post("/v1/refunds", charge=charge["id"], amount=1300)
    error = api.post("/v1/refunds", 400, charge=charge["id"], amount=701)["error"]
    assert error["message"] == "Refund amount ($7.01) is greater than unrefunded amount on charge ($7.00)"
    api.post("/v1/refunds", charge=charge["id"])
    error = api.post("/v1/refunds", 400, charge=charge["id"])["error"]
    assert error["code"] == "charge_already_refunded"
    assert [each["amount"] for each in api.get("/v1/refunds", charge=charge["id"])["data"]] == [700, 1300]


def test_a_disputed_card_opens_a_dispute_as_it_pays(api: Api) -> None:
    charge = pay(api, "pm_card_createDispute")
    assert charge["disputed"] is True
    (dispute,) = api.get("/v1/disputes", charge=charge["id"])["data"]
    assert dispute["id"].startswith("du_")
    assert (dispute["status"], dispute["reason"], dispute["amount"]) == ("needs_response", "fraudulent", 2000)
    assert dispute["evidence_details"]["due_by"] % 86400 == 86399
    assert (dispute["balance_transactions"][0]["amount"], dispute["balance_transactions"][0]["fee"]) == (-2000, 1500)
    assert event_types(api) == [
        "payment_intent.created",
        "charge.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "payment_intent.succeeded",
    ]
    error = api.post("/v1/refunds", 400, charge=charge["id"])["error"]
    assert error["code"] == "charge_disputed"


@pytest.mark.parametrize(("outcome", "net"), [("won", 2000 - 88 - 1500), ("lost", -88 - 1500)])
def test_a_dispute_ends_and_its_fee_is_kept(api: Api, outcome: str, net: int) -> None:
    charge = pay(api)
    dispute = control(api, f"charges/{charge['id']}/dispute", reason="product_not_received")
    assert dispute["reason"] == "product_not_received"
    api.post(f"/v1/disputes/{dispute['id']}", evidence={"product_description": "A tool"}, metadata={"a": "b"})
    before = len(event_types(api))
    control(api, f"disputes/{dispute['id']}/close", outcome=outcome)
    ended = api.get(f"/v1/disputes/{dispute['id']}")
    assert (ended["status"], ended["is_charge_refundable"]) == (outcome, outcome == "won")
    assert api.get(f"/v1/charges/{charge['id']}")["disputed"] is True
    assert balance_of(api) == net
    reinstated = ["charge.dispute.funds_reinstated"] if outcome == "won" else []
    assert event_types(api, before) == [*reinstated, "charge.dispute.closed"]
    error = api.post(f"/v1/disputes/{dispute['id']}/close", 400)["error"]
    assert error["message"] == "This dispute is already closed"


def test_evidence_puts_a_dispute_under_review_and_closing_it_loses_it(api: Api) -> None:
    charge = pay(api, "pm_card_createDisputeProductNotReceived")
    (dispute,) = api.get("/v1/disputes", payment_intent=charge["payment_intent"])["data"]
    path = f"/v1/disputes/{dispute['id']}"
    kept = api.post(path, evidence={"customer_name": "Dana"}, submit=False)
    assert (kept["status"], kept["evidence_details"]["has_evidence"]) == ("needs_response", True)
    sent = api.post(path, evidence={"uncategorized_text": "See above"})
    assert (sent["status"], sent["evidence_details"]["submission_count"]) == ("under_review", 1)
    assert event_types(api)[-2:] == ["charge.dispute.updated", "charge.updated"]
    assert api.post(f"{path}/close")["status"] == "lost"
    assert event_types(api)[-2:] == ["charge.dispute.closed", "charge.updated"]
    assert api.get("/v1/disputes/du_x", 404)["error"]["param"] == "dispute"


def test_an_inquiry_moves_no_money_and_can_be_refunded(api: Api) -> None:
    charge = pay(api, "pm_card_createDisputeInquiry")
    (dispute,) = api.get("/v1/disputes")["data"]
    assert (dispute["status"], dispute["balance_transactions"]) == ("warning_needs_response", [])
    assert dispute["payment_method_details"]["card"]["case_type"] == "inquiry"
    assert "charge.dispute.funds_withdrawn" not in event_types(api)
    api.post("/v1/refunds", charge=charge["id"])
    assert control(api, f"disputes/{dispute['id']}/close", outcome="won")["status"] == "warning_closed"


def test_a_fraud_warning_can_be_acted_upon_until_the_refund(api: Api) -> None:
    charge = pay(api, "pm_card_createIssuerFraudRecord")
    (warning,) = api.get("/v1/radar/early_fraud_warnings", charge=charge["id"])["data"]
    assert (warning["actionable"], warning["id"].startswith("issfr_")) == (True, True)
    api.post("/v1/refunds", charge=charge["id"])
    assert api.get(f"/v1/radar/early_fraud_warnings/{warning['id']}")["actionable"] is False
    assert event_types(api)[-1] == "radar.early_fraud_warning.updated"


def test_a_switch_disputes_what_is_left_of_a_subscriptions_charge_once(api: Api) -> None:
    subscription = start(api, 2000)
    (charge,) = api.get("/v1/charges")["data"]
    api.post("/v1/refunds", charge=charge["id"], amount=500)
    assert control(api, f"charges/{charge['id']}/dispute")["amount"] == 1500
    url = f"{api.url}/_sandbox/api/charges/{charge['id']}/dispute"
    assert httpx.post(url, json={}).status_code == 400
    assert httpx.post(url, json={"reason": "nonsense"}).status_code == 400
    assert httpx.post(f"{api.url}/_sandbox/api/charges/ch_x/dispute", json={}).status_code == 404
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"
    assert len(api.get("/v1/disputes")["data"]) == 1


def test_a_disputed_checkout_completes_all_the_same(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    assert pay_on_page(session, cardNumber="4000000000000259").status_code == 303
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["payment_status"] == "paid"
    assert len(api.get("/v1/disputes")["data"]) == 1


def test_a_card_may_be_declined_after_authentication(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    assert pay_on_page(session, cardNumber="4000008260003178").status_code == 303
    answer = httpx.post(session["url"] + "/authenticate", data={"result": "complete"})
    assert answer.status_code == 402 and "insufficient funds" in answer.text
    assert api.get("/v1/customers")["data"] == []
