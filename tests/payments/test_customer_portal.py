"""POST customer-portal: a link to Stripe's portal, at a flow if one is named."""

from typing import Any

import httpx
import pytest

from payments.models import StripeCustomer, StripeIntent
from projects.models import IdempotencyRecord
from tests.payments.shop import RETURN_URL, STRIPE, at_once, buy, open_checkout, post

LEAF = "customer-portal"


@pytest.fixture
def customer(shop: Any, dana: Any) -> str:
    """Dana pays monthly; gives Stripe's id of her subscription."""
    return str(buy(shop, dana, shop.price())["subscription"]["subscription_id"])


def body(**more: Any) -> dict[str, Any]:
    return {"return_url": RETURN_URL} | more


def test_it_gives_a_link_that_opens(shop: Any, dana: Any, customer: str) -> None:
    answer = post(dana, LEAF, body())
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"portal_url"}
    page = httpx.get(shop.local(answer.json()["portal_url"]), timeout=20)
    assert page.status_code == 200
    assert RETURN_URL in page.text


@pytest.mark.parametrize("flow", ["subscription_cancel", "subscription_update", "payment_method_update"])
def test_it_opens_at_a_flow(shop: Any, dana: Any, customer: str, flow: str) -> None:
    answer = post(dana, LEAF, body(flow=flow))
    assert answer.status_code == 200, answer.content
    sent = shop.requests("/v1/billing_portal/sessions")[-1]["params"]["flow_data"]
    assert sent["type"] == flow
    assert (sent.get(flow) or {}).get("subscription") == (None if flow == "payment_method_update" else customer)


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        answer = client.post(f"{STRIPE}/{LEAF}", data=body(), content_type="application/json", headers=headers)
        assert answer.status_code == 401


def test_without_a_customer_it_is_404(shop: Any, dana: Any, erin: Any, customer: str) -> None:
    answer = post(erin, LEAF, body())
    assert (answer.status_code, answer.json()["code"], answer.json()["action"]) == (404, "no_customer", "checkout")
    assert post(dana, LEAF, body(), query="?test_mode=false").json()["code"] == "no_customer"


def test_a_project_without_keys_is_404(acme: Any, dana: Any) -> None:
    assert post(dana, LEAF, body()).json()["code"] == "stripe_not_configured"


def test_a_flow_without_a_subscription_is_404(shop: Any, dana: Any) -> None:
    open_checkout(dana, shop.price())
    assert post(dana, LEAF, body(flow="subscription_cancel")).json()["code"] == "no_subscription"
    assert post(dana, LEAF, body(flow="payment_method_update")).status_code == 200


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({}, "return_url"),
        ({"return_url": ""}, "return_url"),
        ({"return_url": 1}, "return_url"),
        (body(flow="refund"), "flow"),
        (body(flow=1), "flow"),
    ],
)
def test_a_bad_body_is_422_and_names_the_field(shop: Any, dana: Any, bad: dict[str, Any], field: str) -> None:
    answer = post(dana, LEAF, bad)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


@pytest.mark.parametrize(
    "url", ["//evil.example", "javascript:alert(1)", "https://app.example@evil.example", "/account"]
)
def test_an_address_off_the_allowed_origins_is_refused(shop: Any, dana: Any, customer: str, url: str) -> None:
    answer = post(dana, LEAF, body(return_url=url))
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_allowed")
    assert shop.requests("/v1/billing_portal/sessions") == []


def test_a_customer_deleted_at_stripe_is_404_and_noted(shop: Any, dana: Any, customer: str) -> None:
    row = StripeCustomer.objects.for_project(shop.project).get()
    shop.api("DELETE", f"customers/{row.stripe_customer_id}")
    assert post(dana, LEAF, body()).json()["code"] == "no_customer"
    row.refresh_from_db()
    assert row.deleted_at is not None


def test_many_clicks_at_once_all_get_a_link(shop: Any, dana: Any, customer: str) -> None:
    answers = at_once(5, lambda number: post(dana, LEAF, body()))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]


def test_a_repeat_with_an_idempotency_key_opens_anew_and_no_link_is_kept(shop: Any, dana: Any, customer: str) -> None:
    links = {post(dana, LEAF, body(), **{"Idempotency-Key": "portal-1"}).json()["portal_url"] for _ in range(2)}
    assert len(links) == 2
    kept = IdempotencyRecord.objects.for_project(shop.project).filter(key="portal-1")
    assert not kept.exists()
    intents = StripeIntent.objects.for_project(shop.project).filter(operation="portal_session")
    assert intents.count() == 2
    for row in intents.values():
        assert not [value for value in row.values() if any(link in str(value) for link in links)]


@pytest.mark.parametrize(("fault", "status"), [("status:500", 503), ("status:429", 503), ("status:401", 502)])
def test_trouble_at_stripe_is_said_and_the_next_click_works(
    shop: Any, dana: Any, customer: str, fault: str, status: int
) -> None:
    """S41: what Stripe answered is not passed on; the id under which its support finds the call is."""
    shop.fault("POST /v1/billing_portal/sessions", fault)
    answer = post(dana, LEAF, body())
    assert answer.status_code == status
    assert answer.json()["stripe_request_id"].startswith("req_")
    assert set(answer.json()) <= {"detail", "code", "action", "stripe_request_id", "retry_after"}
    assert post(dana, LEAF, body()).status_code == 200
    assert not StripeIntent.objects.for_project(shop.project).filter(status="open").exists()
