"""The hosted checkout page: what it shows, what it refuses, and that money moves once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import Sandbox
from tests.sandbox.stripe_api import CARD, Api, create_price, create_session, pay_on_page, visible_text


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    return Api(sandbox.url, sandbox.create_account("Acme & Sons").test_secret_key)


def charges(api: Api) -> list[str]:
    return [charge["status"] for charge in api.get("/v1/charges")["data"]]


def test_the_page_shows_the_price_the_interval_and_the_total_without_script(api: Api) -> None:
    session = create_session(
        api,
        create_price(api)["id"],
        line_items=[{"price": create_price(api)["id"], "quantity": 3}],
        billing_address_collection="required",
        customer_email="dana@example.com",
    )
    page = httpx.get(session["url"])
    text = visible_text(page.text)
    assert page.status_code == 200
    for words in (
        "Acme & Sons",
        "Subscribe to Maker",
        "Qty 3",
        "$12.99 each",
        "$38.97",
        "per month",
        "Billing address",
    ):
        assert words in text
    assert 'value="dana@example.com"' in page.text
    assert "4000 0025 0000 3155" in text
    assert "style=" not in page.text and "onclick" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy


def test_the_pages_files_load_from_the_sandbox_itself(sandbox: Sandbox, api: Api) -> None:
    page = httpx.get(create_session(api, create_price(api)["id"])["url"]).text
    for name in ("pages.css", "card.js", "icon.svg"):
        assert f"/_sandbox/assets/{name}" in page
        assert httpx.get(f"{sandbox.url}/_sandbox/assets/{name}").status_code == 200
    assert "https://" not in page.replace("https://shop.example", "")


def test_a_good_card_subscribes_and_leads_back_with_the_session_id(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    answer = pay_on_page(session)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"https://shop.example/done?session_id={session['id']}"
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert (done["status"], done["payment_status"], done["url"]) == ("complete", "paid", None)
    assert done["customer_details"]["email"] == "dana@example.com"
    assert done["customer_details"]["address"]["city"] == "Berlin"
    assert api.get(f"/v1/subscriptions/{done['subscription']}")["status"] == "active"
    assert charges(api) == ["succeeded"]


def test_the_session_id_is_filled_in_also_when_the_template_was_encoded(api: Api) -> None:
    session = create_session(
        api, create_price(api)["id"], success_url="https://shop.example/done?id=%7BCHECKOUT_SESSION_ID%7D&x=1"
    )
    assert pay_on_page(session).headers["Location"] == f"https://shop.example/done?id={session['id']}&x=1"


def test_a_one_time_payment_is_paid_on_the_page(api: Api) -> None:
    session = create_session(api, create_price(api, 5000, interval=None)["id"], mode="payment")
    assert "Pay $50.00" in visible_text(httpx.get(session["url"]).text)
    assert pay_on_page(session).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert (done["payment_status"], done["amount_total"]) == ("paid", 5000)
    assert api.get(f"/v1/payment_intents/{done['payment_intent']}")["status"] == "succeeded"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("4000000000000002", "Your card was declined."),
        ("4000 0000 0000 9995", "Your card has insufficient funds."),
    ],
)
def test_a_declined_card_gets_stripes_message_and_leaves_nothing(api: Api, number: str, message: str) -> None:
    session = create_session(api, create_price(api)["id"])
    answer = pay_on_page(session, cardNumber=number)
    assert answer.status_code == 402
    assert message in visible_text(answer.text)
    assert 'aria-describedby="cardNumber-problem"' in answer.text
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    assert api.get("/v1/invoices")["data"] == []
    assert pay_on_page(session).status_code == 303


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cardNumber": "4242 4242 4242 4241"}, "Your card number is invalid."),
        ({"cardNumber": "4242"}, "Your card number is incomplete."),
        ({"cardNumber": "४२४२४२४२४२४२४२४२"}, "Your card number is invalid."),
        ({"cardNumber": ""}, "Enter a card number."),
        ({"cardExpiry": "13 / 30"}, "Your card's expiration date is incomplete."),
        ({"cardExpiry": "01 / 20"}, "Your card's expiration date is in the past."),
        ({"cardCvc": "12"}, "Your card's security code is incomplete."),
        ({"billingName": " "}, "Enter the name on the card."),
        ({"email": "dana"}, "Enter a valid email address."),
        ({"billingCountry": "XX"}, "Choose a country from the list."),
        ({"billingPostalCode": ""}, "Enter your postal code."),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_charged(api: Api, fields: dict[str, str], message: str) -> None:
    session = create_session(api, create_price(api)["id"], billing_address_collection="required")
    answer = pay_on_page(session, **fields)
    assert answer.status_code == 400
    assert message in visible_text(answer.text)
    assert 'role="alert"' in answer.text and "aria-invalid" in answer.text
    assert charges(api) == []


def test_neither_card_number_nor_code_comes_back_to_the_browser(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    answer = pay_on_page(session, cardNumber="5555555555554444", cardCvc="987", cardExpiry="01 / 20")
    assert answer.status_code == 400
    assert "5555555555554444" not in answer.text and "987" not in answer.text
    assert 'value="Dana Example"' in answer.text


def test_what_was_typed_is_shown_as_text_and_not_as_markup(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    answer = pay_on_page(session, billingName='"><script>alert(1)</script>', cardCvc="")
    assert "<script>alert" not in answer.text


def test_a_card_that_asks_for_authentication_can_be_confirmed(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    asked = pay_on_page(session, cardNumber="4000002500003155")
    assert asked.status_code == 303 and asked.headers["Location"].endswith("/authenticate")
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    step = session["url"] + "/authenticate"
    assert "Complete authentication" in visible_text(httpx.get(step).text)
    done = httpx.post(step, data={"result": "complete"})
    assert done.status_code == 303 and done.headers["Location"].startswith("https://shop.example/done")
    assert api.get("/v1/subscriptions")["data"][0]["status"] == "active"


def test_a_failed_authentication_leaves_the_session_open_for_another_card(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    failed = httpx.post(session["url"] + "/authenticate", data={"result": "fail"})
    assert failed.status_code == 402
    assert "unable to authenticate your payment method" in visible_text(failed.text)
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    assert pay_on_page(session).status_code == 303


def test_an_abandoned_authentication_leaves_no_subscription(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    page = httpx.get(session["url"])
    assert "waiting for your bank" in visible_text(page.text)
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"


def test_the_authentication_page_without_a_waiting_card_leads_to_the_form(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    for answer in (httpx.get(session["url"] + "/authenticate"), httpx.post(session["url"] + "/authenticate")):
        assert answer.status_code == 303 and answer.headers["Location"].endswith(session["id"])


def test_submitting_twice_at_once_pays_once_and_both_lead_back(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: pay_on_page(session), range(8)))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert charges(api) == ["succeeded"]
    assert len(api.get("/v1/subscriptions", status="all")["data"]) == 1


def test_a_completed_session_has_its_own_view(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session)
    page = httpx.get(session["url"])
    assert "You're all done here" in visible_text(page.text)
    assert "cardNumber" not in page.text


def test_an_expired_session_has_its_own_view_and_takes_no_card(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    api.post(f"/v1/checkout/sessions/{session['id']}/expire")
    assert "has expired" in visible_text(httpx.get(session["url"]).text)
    assert "has expired" in visible_text(pay_on_page(session).text)
    assert charges(api) == []


def test_the_way_back_is_the_cancel_url_and_absent_without_one(api: Api) -> None:
    price = create_price(api)["id"]
    assert 'href="https://shop.example/back"' in httpx.get(create_session(api, price)["url"]).text
    assert 'id="cancel"' not in httpx.get(create_session(api, price, cancel_url=None)["url"]).text


def test_an_unknown_session_is_a_plain_page(sandbox: Sandbox) -> None:
    for answer in (httpx.get(f"{sandbox.url}/c/pay/cs_test_nope"), httpx.post(f"{sandbox.url}/c/pay/x", data=CARD)):
        assert answer.status_code == 404
        assert "wrong, or it has expired" in visible_text(answer.text)


def test_a_trial_shows_nothing_due_today(api: Api) -> None:
    session = create_session(api, create_price(api)["id"], subscription_data={"trial_period_days": 3})
    text = visible_text(httpx.get(session["url"]).text)
    for words in ("Try Maker", "3 days free", "then $12.99 per month", "Total due today $0.00", "Start trial"):
        assert words in text
    assert pay_on_page(session).status_code == 303
    assert api.get("/v1/subscriptions")["data"][0]["status"] == "trialing"
    assert charges(api) == []
