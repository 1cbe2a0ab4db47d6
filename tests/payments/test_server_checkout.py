"""POST /checkout/{app} and its compatible path: an app's server sells a tier to a user."""

from typing import Any

import pytest

from entitlements.models import Plan, PlanPrice
from notifications.tasks import run_outbox
from payments.models import StripeCustomer
from projects.models import EndUser, Project
from tests.payments.rows import create_plan, create_subscription
from tests.payments.shop import CANCEL_URL, SUCCESS_URL, at_once, connect_stripe


@pytest.fixture
def sold(shop: Any) -> Plan:
    """Acme sells the tier maker, monthly and yearly, and has its default addresses set."""
    plan = create_plan(shop.project, code="maker", name="Maker", aliases=["crafter"])
    for amount, interval in ((1299, "month"), (11691, "year")):
        PlanPrice.objects.create(
            project=shop.project,
            plan=plan,
            mode="test",
            interval=interval,
            stripe_price_id=shop.price(amount, interval=interval),
        )
    Project.objects.filter(pk=shop.project.pk).update(default_success_url=SUCCESS_URL, default_cancel_url=CANCEL_URL)
    shop.project.refresh_from_db()
    return plan


def body(**more: Any) -> dict[str, Any]:
    return {"user_id": "user/7", "email": "seven@example.com", "tier": "maker"} | more


def sell(server: Any, given: dict[str, Any], app: str | None = None, query: str = "", **headers: str) -> Any:
    path = f"/checkout/{app}" if app else "/api/v1/payments/checkout"
    return server.client.post(f"{path}{query}", data=given, content_type="application/json", headers=headers)


@pytest.mark.parametrize("by_slug", [True, False])
def test_it_opens_a_page_at_stripe(shop: Any, acme_server: Any, sold: Plan, by_slug: bool) -> None:
    answer = sell(acme_server, body(), shop.project.slug if by_slug else None)
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"checkout_url", "session_id"}
    session = shop.api("GET", f"checkout/sessions/{answer.json()['session_id']}")
    assert (session["amount_total"], session["success_url"], session["cancel_url"]) == (1299, SUCCESS_URL, CANCEL_URL)
    assert session["metadata"]["external_user_id"] == "user/7"
    user = EndUser.objects.for_project(shop.project).get(external_id="user/7")
    assert user.email == "seven@example.com"
    assert shop.objects("customers")[0]["email"] == "seven@example.com"


def test_an_email_that_is_told_later_reaches_the_customer_and_stays_the_customers_own(
    shop: Any, acme_server: Any, sold: Plan
) -> None:
    tokens = f"/api/v1/projects/{shop.project.pk}/end-user-tokens"
    seen = acme_server.client.post(tokens, data={"user_id": "user/7"}, content_type="application/json")
    assert seen.status_code == 200, seen.content
    run_outbox()
    customer = StripeCustomer.objects.for_project(shop.project).get()
    assert (customer.email, shop.objects("customers")[0]["email"]) == ("", None)
    # What cannot be written is no reason to refuse the sale.
    shop.fault(f"POST /v1/customers/{customer.stripe_customer_id}", "status:400")
    assert sell(acme_server, body()).status_code == 200
    shop.clear_faults()
    assert at_once(2, lambda _: sell(acme_server, body()).status_code) == [200, 200]
    customer.refresh_from_db()
    assert customer.email == shop.objects("customers")[0]["email"] == "seven@example.com"
    # Somebody changed it at Stripe, and we have not heard yet.
    shop.api("POST", f"customers/{customer.stripe_customer_id}", email="own@example.com")
    StripeCustomer.objects.for_project(shop.project).update(email="")
    assert sell(acme_server, body()).status_code == 200
    customer.refresh_from_db()
    assert customer.email == shop.objects("customers")[0]["email"] == "own@example.com"
    assert len(shop.objects("customers")) == 1


def test_alias_interval_and_own_addresses_are_taken(shop: Any, acme_server: Any, sold: Plan) -> None:
    given = body(
        tier="crafter", interval="year", success_url="https://app.example/ok", cancel_url="https://app.example/no"
    )
    session = shop.api("GET", f"checkout/sessions/{sell(acme_server, given).json()['session_id']}")
    assert (session["amount_total"], session["success_url"]) == (11691, "https://app.example/ok")


def test_only_the_projects_key_is_taken(client: Any, alice: Any, dana: Any, shop: Any, sold: Plan) -> None:
    nobody: dict[str, str] = {}
    wrong = {"Authorization": f"Bearer ak_{'x' * 32}"}
    for headers in (nobody, alice.headers, dana.headers, wrong):
        for path in (f"/checkout/{shop.project.slug}", "/api/v1/payments/checkout"):
            answer = client.post(path, data=body(), content_type="application/json", headers=headers)
            assert answer.status_code == 401, (path, headers)
    assert shop.objects("customers") == []


def test_another_projects_slug_is_404_like_an_unknown_one(shop: Any, other_server: Any, sold: Plan) -> None:
    connect_stripe(other_project_of(other_server), shop.account)
    theirs = sell(other_server, body(), shop.project.slug)
    unknown = sell(other_server, body(), "nobody-has-this")
    assert (theirs.status_code, theirs.content) == (404, unknown.content)
    assert shop.objects("customers") == []


def other_project_of(server: Any) -> Project:
    import hashlib

    from projects.models import ApiKey

    return ApiKey.objects.get(key_hash=hashlib.sha256(server.key.encode()).hexdigest()).project


def test_the_key_decides_the_mode(shop: Any, acme_server: Any, acme_live_server: Any, sold: Plan) -> None:
    assert sell(acme_server, body(), query="?test_mode=false").status_code == 400
    assert sell(acme_live_server, body(), query="?test_mode=true").json()["code"] == "mode_mismatch"
    assert sell(acme_server, body(), query="?test_mode=true").status_code == 200
    # The plan has no price in live mode.
    live = sell(acme_live_server, body())
    assert (live.status_code, live.json()["code"]) == (400, "price_not_found")
    assert shop.objects("checkout/sessions", live=True) == []


def test_a_project_without_keys_is_404_and_no_user_appears(acme: Project, acme_server: Any) -> None:
    answer = sell(acme_server, body(success_url=SUCCESS_URL, cancel_url=CANCEL_URL))
    assert (answer.status_code, answer.json()["code"]) == (404, "stripe_not_configured")
    assert not EndUser.objects.for_project(acme).exists()


def test_an_unknown_internal_or_free_tier_is_422_and_named(shop: Any, acme_server: Any, sold: Plan) -> None:
    create_plan(shop.project, code="sovereign", internal=True)
    create_plan(shop.project, code="free", free=True)
    for tier in ("nobody", "sovereign", "free"):
        answer = sell(acme_server, body(tier=tier))
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "tier"]
    assert shop.objects("customers") == []


def test_another_projects_tier_is_unknown(shop: Any, acme_server: Any, sold: Plan, other_project: Project) -> None:
    create_plan(other_project, code="theirs")
    assert sell(acme_server, body(tier="theirs")).status_code == 422


@pytest.mark.parametrize("field", ["success_url", "cancel_url"])
def test_an_address_without_a_default_is_422_and_named(shop: Any, acme_server: Any, sold: Plan, field: str) -> None:
    Project.objects.filter(pk=shop.project.pk).update(**{f"default_{field}": None})
    answer = sell(acme_server, body())
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_an_address_off_the_allowed_origins_is_refused(shop: Any, acme_server: Any, sold: Plan) -> None:
    answer = sell(acme_server, body(success_url="https://evil.example/"))
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_allowed")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"user_id": "u" * 256}, "user_id"),
        ({"user_id": "a\u0000"}, "user_id"),
        ({"email": "nobody"}, "email"),
        ({"email": None}, "email"),
        ({"email": "a@b.example\r\nBcc: c@d.example"}, "email"),
        ({"tier": ""}, "tier"),
        ({"tier": None}, "tier"),
        ({"interval": "decade"}, "interval"),
        ({"success_url": ""}, "success_url"),
    ],
)
def test_a_bad_body_is_422_and_names_the_field(
    acme: Project, acme_server: Any, change: dict[str, Any], field: str
) -> None:
    answer = sell(acme_server, body() | change)
    assert answer.status_code == 422, answer.content
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert not EndUser.objects.for_project(acme).exists()


def test_an_unknown_promotion_code_is_an_error(shop: Any, acme_server: Any, sold: Plan) -> None:
    assert sell(acme_server, body(promo_code="NOBODY")).json()["code"] == "promo_code_not_found"


def test_a_second_subscription_is_refused(shop: Any, acme_server: Any, sold: Plan) -> None:
    user = EndUser.objects.create(project=shop.project, external_id="user/7")
    create_subscription(shop.project, end_user=user)
    assert sell(acme_server, body()).json()["code"] == "already_subscribed"


def test_a_banned_user_buys_nothing(shop: Any, acme_server: Any, sold: Plan) -> None:
    EndUser.objects.create(project=shop.project, external_id="user/7", is_active=False)
    answer = sell(acme_server, body())
    assert (answer.status_code, answer.json()["code"]) == (403, "end_user_banned")
    assert shop.objects("customers") == []


def test_many_requests_at_once_make_one_user_customer_and_page(shop: Any, acme_server: Any, sold: Plan) -> None:
    answers = at_once(6, lambda number: sell(acme_server, body()))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    assert len({answer.json()["session_id"] for answer in answers}) == 1
    assert EndUser.objects.for_project(shop.project).count() == 1
    assert len(shop.objects("customers")) == 1


def test_an_idempotency_key_gets_the_first_answer(shop: Any, acme_server: Any, sold: Plan) -> None:
    key = {"Idempotency-Key": "sale-1"}
    first = sell(acme_server, body(), **key)
    assert sell(acme_server, body(), **key).json() == first.json()
    assert sell(acme_server, body(interval="year"), **key).json()["code"] == "idempotency_key_reused"
