"""POST checkout-session: what it opens at Stripe, what it refuses, and that many clicks open one."""

from typing import Any

import pytest

from entitlements.models import PlanPrice
from payments.models import CheckoutSession, StripeCredentials, StripeCustomer, Subscription
from tests.cast import create_app_user
from tests.payments.rows import create_plan, create_subscription
from tests.payments.shop import (
    CANCEL_URL,
    STRIPE,
    SUCCESS_URL,
    at_once,
    buy,
    checkout_body,
    connect_stripe,
    open_checkout,
    post,
)

LEAF = "checkout-session"


def rows_of(user: Any) -> list[CheckoutSession]:
    return list(CheckoutSession.objects.for_project(user.end_user.project_id).filter(end_user=user.end_user))


# Works


def test_it_opens_a_page_at_stripe(shop: Any, dana: Any) -> None:
    price_id = shop.price(1299)
    answer = post(dana, LEAF, checkout_body(price_id, quantity=3, metadata={"cart": "7"}))
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"session_id", "checkout_url"}
    session = shop.api("GET", f"checkout/sessions/{answer.json()['session_id']}")
    assert session["url"] == answer.json()["checkout_url"]
    assert session["mode"] == "subscription"
    assert session["amount_total"] == 3 * 1299
    assert session["success_url"] == SUCCESS_URL
    assert session["cancel_url"] == CANCEL_URL
    assert session["billing_address_collection"] == "required"
    assert session["metadata"] == {
        "cart": "7",
        "project_id": str(shop.project.pk),
        "end_user_id": str(dana.end_user.pk),
        "external_user_id": dana.user_id,
        "type": "subscription",
    }
    row = CheckoutSession.objects.get(stripe_session_id=session["id"])
    assert (row.status, row.mode, row.end_user_id) == ("open", "test", dana.end_user.pk)


def test_a_purchase_makes_a_subscription_and_its_payment(shop: Any, dana: Any) -> None:
    plan = create_plan(shop.project, code="maker", name="Maker")
    price_id = shop.price(1299)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=price_id)
    bought = buy(shop, dana, price_id, quantity=2, metadata={"cart": "7"})
    assert (bought["status"], bought["payment_status"]) == ("complete", "paid")
    assert bought["subscription"]["status"] == "active"
    assert (bought["subscription"]["plan_code"], bought["subscription"]["quantity"]) == ("maker", 2)
    assert (bought["payment"]["amount_cents"], bought["payment"]["status"]) == (2598, "succeeded")
    metadata = shop.api("GET", f"subscriptions/{bought['subscription']['subscription_id']}")["metadata"]
    assert (metadata["cart"], metadata["external_user_id"]) == ("7", dana.user_id)


def test_a_one_time_purchase_makes_a_payment_only(shop: Any, dana: Any) -> None:
    bought = buy(shop, dana, shop.price(500, interval=""), mode="payment", metadata={"cart": "8"})
    assert (bought["status"], bought["payment_status"], bought["subscription"]) == ("complete", "paid", None)
    assert (bought["payment"]["amount_cents"], bought["payment"]["subscription_id"]) == (500, None)
    intent = shop.api("GET", f"payment_intents/{bought['payment']['payment_intent_id']}")
    assert (intent["metadata"]["cart"], intent["metadata"]["end_user_id"]) == ("8", str(dana.end_user.pk))


def test_live_mode_uses_the_live_account(shop: Any, dana: Any) -> None:
    opened = open_checkout(dana, shop.price(1000, live=True), query="?test_mode=false")
    assert shop.api("GET", f"checkout/sessions/{opened['session_id']}", live=True)["livemode"] is True
    assert shop.objects("checkout/sessions") == []


def test_the_users_customer_is_reused_and_is_one_per_mode(shop: Any, dana: Any) -> None:
    buy(shop, dana, shop.price(500, interval=""), mode="payment")
    buy(shop, dana, shop.price(700, interval=""), mode="payment")
    open_checkout(dana, shop.price(900, interval="", live=True), mode="payment", query="?test_mode=false")
    customers = StripeCustomer.objects.for_project(shop.project).filter(end_user=dana.end_user)
    assert sorted(customers.values_list("mode", flat=True)) == ["live", "test"]
    at_stripe = shop.objects("customers")
    assert [customer["id"] for customer in at_stripe] == [customers.get(mode="test").stripe_customer_id]
    assert at_stripe[0]["email"] == dana.end_user.email
    assert at_stripe[0]["metadata"]["end_user_id"] == str(dana.end_user.pk)


@pytest.mark.parametrize("by", ["stripe_price_id", "lookup_key"])
def test_a_plan_is_sold_by_its_price_of_the_interval(shop: Any, dana: Any, by: str) -> None:
    plan = create_plan(shop.project, code="agency", aliases=["unlimited"])
    month, year = shop.price(3999), shop.price(35991, interval="year")
    for price_id, interval in ((month, "month"), (year, "year")):
        found_by = {"stripe_price_id": price_id}
        if by == "lookup_key":
            shop.api("POST", f"prices/{price_id}", lookup_key=f"agency-{interval}")
            found_by = {"lookup_key": f"agency-{interval}"}
        PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", interval=interval, **found_by)
    body = {"plan": "unlimited", "interval": "year", "success_url": SUCCESS_URL, "cancel_url": CANCEL_URL}
    answer = post(dana, LEAF, body)
    assert answer.status_code == 200, answer.content
    session = shop.api("GET", f"checkout/sessions/{answer.json()['session_id']}")
    assert session["amount_total"] == 35991


# Refuses


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any, shop: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        answer = client.post(
            f"{STRIPE}/{LEAF}", data=checkout_body("price_1"), content_type="application/json", headers=headers
        )
        assert answer.status_code == 401, headers
    assert shop.objects("customers") == []


def test_a_test_only_token_never_reaches_live(shop: Any) -> None:
    tester = create_app_user(shop.project, "tester", test_only=True)
    answer = post(tester, LEAF, checkout_body(shop.price(1000, live=True)), query="?test_mode=false")
    assert answer.status_code == 401
    assert shop.objects("customers", live=True) == []


def test_a_project_without_keys_is_404(acme: Any, dana: Any) -> None:
    answer = post(dana, LEAF, checkout_body("price_1"))
    assert (answer.status_code, answer.json()["code"]) == (404, "stripe_not_configured")
    assert rows_of(dana) == []


def test_a_mode_without_keys_is_404(shop: Any, dana: Any) -> None:
    StripeCredentials.objects.for_project(shop.project).filter(mode="live").delete()
    answer = post(dana, LEAF, checkout_body("price_1"), query="?test_mode=false")
    assert (answer.status_code, answer.json()["code"]) == (404, "stripe_not_configured")


def test_a_second_subscription_is_refused(shop: Any, dana: Any) -> None:
    price_id = shop.price()
    buy(shop, dana, price_id)
    before = len(rows_of(dana))
    answer = post(dana, LEAF, checkout_body(price_id))
    assert (answer.status_code, answer.json()["code"]) == (400, "already_subscribed")
    # The way to another plan: this call changes the subscription that is there.
    assert answer.json()["action"] == "update_subscription"
    assert post(dana, "update-subscription", {"new_price_id": shop.price(5000)}).status_code == 200
    assert len(rows_of(dana)) == before
    assert len(shop.objects("checkout/sessions")) == 1


@pytest.mark.parametrize("status", ["trialing", "past_due", "unpaid", "paused"])
def test_a_subscription_in_trouble_is_one_too(shop: Any, dana: Any, status: str) -> None:
    create_subscription(shop.project, end_user=dana.end_user, status=status)
    refusal = post(dana, LEAF, checkout_body(shop.price())).json()
    assert refusal["code"] == "already_subscribed"
    # What is owed, or waits for a card, is paid in the portal.
    assert refusal["action"] == ("update_subscription" if status == "trialing" else "customer_portal")


def test_a_second_subscription_may_be_allowed(shop: Any, dana: Any) -> None:
    create_subscription(shop.project, end_user=dana.end_user)
    assert open_checkout(dana, shop.price(), allow_existing_subscription=True)["checkout_url"]


def test_a_subscription_that_ended_or_is_live_or_another_users_is_no_obstacle(shop: Any, dana: Any, erin: Any) -> None:
    create_subscription(shop.project, end_user=dana.end_user, status="canceled")
    create_subscription(shop.project, end_user=dana.end_user, mode="live")
    create_subscription(shop.project, end_user=erin.end_user)
    assert open_checkout(dana, shop.price())["checkout_url"]


def test_an_unknown_price_is_refused(shop: Any, dana: Any) -> None:
    for price_id in ("price_nobodyHasThis", "prod_1", "../customers", "..", "search", "price 1", "価格"):
        answer = post(dana, LEAF, checkout_body(price_id))
        assert (answer.status_code, answer.json()["code"]) == (400, "price_not_found"), price_id
    assert rows_of(dana) == []


def test_a_price_of_another_account_or_mode_is_refused(shop: Any, dana: Any, other_project: Any, sandbox: Any) -> None:
    from tests.payments.shop import Shop

    stranger = sandbox.create_account("Other")
    connect_stripe(other_project, stranger)
    theirs = Shop(other_project, stranger, sandbox).price()
    for price_id in (theirs, shop.price(live=True)):
        answer = post(dana, LEAF, checkout_body(price_id))
        assert (answer.status_code, answer.json()["code"]) == (400, "price_not_found")
    assert rows_of(dana) == []


def test_an_inactive_price_is_refused(shop: Any, dana: Any) -> None:
    price_id = shop.price()
    shop.api("POST", f"prices/{price_id}", active="false")
    answer = post(dana, LEAF, checkout_body(price_id))
    assert (answer.status_code, answer.json()["code"]) == (400, "price_not_found")


@pytest.mark.parametrize(("interval", "mode"), [("", "subscription"), ("month", "payment")])
def test_a_price_of_the_wrong_kind_is_refused(shop: Any, dana: Any, interval: str, mode: str) -> None:
    answer = post(dana, LEAF, checkout_body(shop.price(interval=interval), mode=mode))
    assert (answer.status_code, answer.json()["code"]) == (400, "price_does_not_fit")
    assert rows_of(dana) == []


def test_an_internal_plan_cannot_be_bought_by_its_price(shop: Any, dana: Any) -> None:
    plan = create_plan(shop.project, code="sovereign", internal=True)
    price_id = shop.price()
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=price_id)
    answer = post(dana, LEAF, checkout_body(price_id))
    assert (answer.status_code, answer.json()["code"]) == (400, "price_not_found")
    by_code = {"plan": "sovereign", "success_url": SUCCESS_URL, "cancel_url": CANCEL_URL}
    assert post(dana, LEAF, by_code).json()["detail"][0]["loc"] == ["body", "plan"]


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"price_id": None}, "price_id"),
    ({"price_id": ""}, "price_id"),
    ({"price_id": 7}, "price_id"),
    ({"price_id": "p" * 256}, "price_id"),
    ({"price_id": "price\u0000"}, "price_id"),
    ({"plan": "pro"}, "plan"),
    ({"success_url": ""}, "success_url"),
    ({"success_url": None}, "success_url"),
    ({"cancel_url": ""}, "cancel_url"),
    ({"cancel_url": ["https://app.example"]}, "cancel_url"),
    ({"mode": "setup"}, "mode"),
    ({"mode": None}, "mode"),
    ({"quantity": 0}, "quantity"),
    ({"quantity": -1}, "quantity"),
    ({"quantity": 1.5}, "quantity"),
    ({"quantity": 2.0}, "quantity"),
    ({"quantity": 1e300}, "quantity"),
    ({"quantity": "3"}, "quantity"),
    ({"quantity": True}, "quantity"),
    ({"quantity": 10**30}, "quantity"),
    ({"quantity": 1_000_000}, "quantity"),
    ({"metadata": "cart"}, "metadata"),
    ({"metadata": {"k" * 41: "v"}}, "metadata"),
    ({"metadata": {"": "v"}}, "metadata"),
    ({"metadata": {"k": "v" * 501}}, "metadata"),
    ({"metadata": {"k": {"nested": 1}}}, "metadata"),
    ({"metadata": {"k": None}}, "metadata"),
    ({"metadata": {"k": "\u0000"}}, "metadata"),
    ({"metadata": {"a[b]": "v"}}, "metadata"),
    ({"metadata": {f"k{n}": "v" for n in range(47)}}, "metadata"),
    ({"allow_existing_subscription": "perhaps"}, "allow_existing_subscription"),
    ({"interval": "week"}, "interval"),
]


@pytest.mark.parametrize(("change", "field"), BAD_BODIES, ids=lambda value: str(value)[:40])
def test_a_bad_body_is_422_and_names_the_field(acme: Any, dana: Any, change: dict[str, Any], field: str) -> None:
    answer = post(dana, LEAF, checkout_body("price_1") | change)
    assert answer.status_code == 422, answer.content
    assert answer.json()["detail"][0]["loc"][:2] == ["body", field]
    assert rows_of(dana) == []


@pytest.mark.parametrize("body", ["[]", '"text"', "7", "null", "{", '{"quantity": NaN}', "\ud800"])
def test_a_body_that_is_no_object_is_refused(acme: Any, dana: Any, body: str) -> None:
    answer = dana.client.post(
        f"{STRIPE}/{LEAF}", data=body.encode("utf-8", "surrogatepass"), content_type="application/json"
    )
    assert answer.status_code in (400, 422), answer.content


BAD_URLS = [
    "//evil.example/done",
    "https:/\\evil.example",
    "https:\\\\evil.example",
    "javascript:alert(1)",
    "data:text/html,hi",
    "https://app.example@evil.example/",
    "https://app.example.evil.example/",
    "https://evil.example/https://app.example",
    "https://app.example%2f%2fevil.example",
    "https://app.example\u2215evil.example/",
    "http://app.example/done",
    "https://app.example:8443/done",
    "/done",
    "ftp://app.example/",
]


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("field", ["success_url", "cancel_url"])
def test_an_address_off_the_allowed_origins_is_refused(shop: Any, dana: Any, field: str, url: str) -> None:
    answer = post(dana, LEAF, checkout_body("price_1") | {field: url})
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_allowed")
    assert field in answer.json()["detail"]
    assert rows_of(dana) == []


def test_line_breaks_in_an_address_are_refused(shop: Any, dana: Any) -> None:
    for url in ("https://app.example/\r\nSet-Cookie: a=b", "https://app.example/\u0000"):
        assert post(dana, LEAF, checkout_body("price_1", success_url=url)).status_code in (400, 422)
    assert rows_of(dana) == []


def test_localhost_is_allowed_in_test_mode_only(shop: Any, dana: Any) -> None:
    local = {"success_url": "http://localhost:3000/done", "cancel_url": "http://127.0.0.1:5173/"}
    assert post(dana, LEAF, checkout_body(shop.price()) | local).status_code == 200
    live = post(dana, LEAF, checkout_body(shop.price(live=True)) | local, query="?test_mode=false")
    assert (live.status_code, live.json()["code"]) == (400, "url_not_allowed")


# Edge


def test_metadata_never_replaces_what_we_say(shop: Any, dana: Any, erin: Any) -> None:
    forged = {
        "end_user_id": str(erin.end_user.pk),
        "project_id": "x",
        "external_user_id": "y",
        "type": "lifetime_license",
    }
    opened = open_checkout(dana, shop.price(), metadata=forged | {"count": 3, "gift": True})
    metadata = shop.api("GET", f"checkout/sessions/{opened['session_id']}")["metadata"]
    assert metadata["end_user_id"] == str(dana.end_user.pk)
    assert metadata["project_id"] == str(shop.project.pk)
    assert metadata["type"] == "subscription"
    assert (metadata["count"], metadata["gift"]) == ("3", "true")


def test_unknown_fields_change_nothing(shop: Any, dana: Any, erin: Any) -> None:
    extra = {
        "customer": "cus_1",
        "end_user": str(erin.end_user.pk),
        "project_id": "x",
        "status": "complete",
        "url": "x",
    }
    open_checkout(dana, shop.price(), **extra)
    row = rows_of(dana)[0]
    assert (row.status, row.project_id) == ("open", shop.project.pk)
    assert rows_of(erin) == []


def test_a_customer_deleted_at_stripe_is_made_anew(shop: Any, dana: Any) -> None:
    open_checkout(dana, shop.price(500, interval=""), mode="payment")
    old = StripeCustomer.objects.for_project(shop.project).get(deleted_at__isnull=True)
    shop.api("DELETE", f"customers/{old.stripe_customer_id}")
    open_checkout(dana, shop.price(), mode="subscription")
    new = StripeCustomer.objects.for_project(shop.project).get(deleted_at__isnull=True)
    assert new.stripe_customer_id != old.stripe_customer_id


def test_another_price_replaces_the_open_subscription_checkout(shop: Any, dana: Any) -> None:
    first = open_checkout(dana, shop.price(1000))
    second = open_checkout(dana, shop.price(2000))
    assert first["session_id"] != second["session_id"]
    states = {session["id"]: session["status"] for session in shop.objects("checkout/sessions")}
    assert states == {first["session_id"]: "expired", second["session_id"]: "open"}
    assert sorted(row.status for row in rows_of(dana)) == ["expired", "open"]


def test_an_expired_checkout_makes_way_for_a_new_one(shop: Any, dana: Any) -> None:
    price_id = shop.price()
    first = open_checkout(dana, price_id)
    shop.api("POST", f"checkout/sessions/{first['session_id']}/expire")
    second = open_checkout(dana, price_id)
    assert first["session_id"] != second["session_id"]


def test_a_checkout_paid_before_its_webhook_is_not_offered_again(shop: Any, dana: Any) -> None:
    price_id = shop.price()
    opened = open_checkout(dana, price_id)
    assert shop.pay(opened["checkout_url"]).status_code == 303
    answer = post(dana, LEAF, checkout_body(price_id))
    assert (answer.status_code, answer.json()["code"]) == (400, "already_subscribed")
    assert Subscription.objects.for_project(shop.project).get().status == "active"


def test_the_same_thing_can_be_bought_twice_once_the_first_is_paid(shop: Any, dana: Any) -> None:
    price_id = shop.price(500, interval="")
    first = open_checkout(dana, price_id, mode="payment")
    assert open_checkout(dana, price_id, mode="payment") == first
    shop.pay(first["checkout_url"])
    assert open_checkout(dana, price_id, mode="payment")["session_id"] != first["session_id"]


# Race


@pytest.mark.parametrize("clicks", [2, 20])
def test_many_clicks_at_once_open_one_checkout(shop: Any, dana: Any, clicks: int) -> None:
    body = checkout_body(shop.price())
    answers = at_once(clicks, lambda number: post(dana, LEAF, body))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    assert len({answer.json()["checkout_url"] for answer in answers}) == 1
    assert len(shop.objects("checkout/sessions")) == 1
    assert len(shop.objects("customers")) == 1
    assert len(rows_of(dana)) == 1


def test_two_prices_clicked_at_once_leave_one_open(shop: Any, dana: Any) -> None:
    prices = [shop.price(1000), shop.price(2000)]
    answers = at_once(2, lambda number: post(dana, LEAF, checkout_body(prices[number])))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    states = [session["status"] for session in shop.objects("checkout/sessions")]
    assert sorted(states) == ["expired", "open"]


# Replay


def test_an_idempotency_key_gets_the_first_answer(shop: Any, dana: Any) -> None:
    body = checkout_body(shop.price(500, interval=""), mode="payment")
    key = {"Idempotency-Key": "click-1"}
    first = post(dana, LEAF, body, **key)
    shop.pay(first.json()["checkout_url"])
    assert post(dana, LEAF, body, **key).json() == first.json()
    other = post(dana, LEAF, body | {"quantity": 2}, **key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(shop.objects("checkout/sessions")) == 1
