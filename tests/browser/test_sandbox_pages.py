"""The sandbox's own pages in a browser: checkout with a trial, a code and tax, the portal after it, and the control page."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, keep_screenshot
from tests.sandbox.stripe_api import CARD, Api, create_session

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

# 24.99 a month, a fifth off: 4.998 is 5.00 off, so 19.99; tax is the sandbox's fixed rate on that.
PRO_CENTS = 2499


@pytest.fixture
def account(sandbox: Any) -> Any:
    """A Stripe account of a note-taking app."""
    return sandbox.create_account("Acme Notes")


@pytest.fixture
def api(sandbox: Any, account: Any) -> Api:
    """Its API."""
    return Api(sandbox.url, account.test_secret_key)


@pytest.fixture
def price(api: Api) -> str:
    """What it sells."""
    product = api.post("/v1/products", name="Pro")["id"]
    recurring = {"interval": "month"}
    made: str = api.post("/v1/prices", product=product, currency="usd", unit_amount=PRO_CENTS, recurring=recurring)[
        "id"
    ]
    return made


def session(api: Api, price: str, **params: Any) -> Any:
    """Open a checkout in which codes are taken and tax is worked out."""
    return create_session(
        api, price, allow_promotion_codes=True, automatic_tax={"enabled": True}, billing_address_collection="required",
        **params,
    )  # fmt: skip


def offer_code(api: Api) -> None:
    """Let FRIENDS take a fifth off for three months."""
    coupon = api.post("/v1/coupons", percent_off=20, duration="repeating", duration_in_months=3, name="Friends of Acme")
    api.post("/v1/promotion_codes", promotion={"type": "coupon", "coupon": coupon["id"]}, code="FRIENDS")


def fill_in(page: Page) -> None:
    """Type everything that the page asks for."""
    page.get_by_label("Email").fill(CARD["email"])
    page.get_by_label("Card number").fill(CARD["cardNumber"])
    page.get_by_label("Expiry date").fill(CARD["cardExpiry"])
    page.get_by_label("Security code").fill(CARD["cardCvc"])
    page.get_by_label("Name on card").fill(CARD["billingName"])
    page.get_by_label("Country or region").select_option("DE")
    page.get_by_label("Address line 1").fill(CARD["billingAddressLine1"])
    page.get_by_label("Postal code").fill(CARD["billingPostalCode"])
    page.get_by_label("City").fill(CARD["billingLocality"])


def test_checkout_shows_the_discount_the_tax_and_the_total_that_is_paid(
    api: Api, price: str, page: Page, app_url: str
) -> None:
    offer_code(api)
    opened = session(api, price, success_url=f"{app_url}/done", cancel_url=f"{app_url}/pricing")
    page.goto(opened["url"])
    page.get_by_label("Promotion code").fill("ENEMIES")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#promotionCode-problem")).to_be_visible()
    page.get_by_label("Promotion code").fill("FRIENDS")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#discount")).to_contain_text("-$5.00")
    expect(page.locator("#discount")).to_contain_text("20% off for 3 months")
    expect(page.locator(".lines .value")).to_have_text("$24.99")
    shown = page.locator("#total").inner_text()
    keep_screenshot(page, "checkout-discount", whole=True)
    fill_in(page)
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url(f"{app_url}/done")
    invoice = api.get("/v1/invoices")["data"][0]
    assert (invoice["subtotal"], invoice["total_discount_amounts"][0]["amount"]) == (2499, 500)
    assert invoice["amount_paid"] == invoice["total"] == 1999 + sum(tax["amount"] for tax in invoice["total_taxes"])
    assert shown == f"${invoice['total'] / 100:.2f}"


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_checkout_of_a_trial_says_that_nothing_is_due_today(api: Api, price: str, page: Page) -> None:
    opened = session(api, price, subscription_data={"trial_period_days": 14})
    page.goto(opened["url"])
    expect(page.locator("#what")).to_have_text("Try Pro")
    expect(page.get_by_text("14 days free").first).to_be_visible()
    expect(page.locator("#total")).to_have_text("$0.00")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    keep_screenshot(page, "checkout-trial-phone", whole=True)


def test_checkout_asks_a_business_for_its_tax_id_and_everyone_for_consent(
    api: Api, price: str, page: Page, app_url: str
) -> None:
    opened = session(
        api, price, success_url=f"{app_url}/done", tax_id_collection={"enabled": True},
        phone_number_collection={"enabled": True}, consent_collection={"terms_of_service": "required"},
    )  # fmt: skip
    page.goto(opened["url"])
    fill_in(page)
    page.get_by_label("Phone number").fill("+49 30 1234567")
    page.get_by_label("Business name").fill("Acme GmbH")
    page.get_by_label("Kind of tax ID").select_option("eu_vat")
    page.get_by_label("Tax ID", exact=False).last.fill("DE12")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator("#termsOfService-problem")).to_be_visible()
    assert page.get_by_label("Business name").input_value() == "Acme GmbH"
    fill_in(page)
    page.get_by_label("Tax ID", exact=False).last.fill("DE123456789")  # pragma: allowlist secret
    page.get_by_label("I agree to the terms").check()
    keep_screenshot(page, "checkout-business", whole=True)
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url(f"{app_url}/done")
    done = api.get(f"/v1/checkout/sessions/{opened['id']}", expand=["customer.tax_ids"])
    assert done["consent"]["terms_of_service"] == "accepted"
    assert [each["value"] for each in done["customer"]["tax_ids"]["data"]] == ["DE123456789"]


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_card_is_saved_by_phone_without_a_purchase(api: Api, page: Page, app_url: str) -> None:
    customer = api.post("/v1/customers", email="dana@example.com")["id"]
    opened = api.post(
        "/v1/checkout/sessions", mode="setup", currency="usd", customer=customer, success_url=f"{app_url}/done"
    )
    page.goto(opened["url"])
    expect(page.get_by_text("Nothing is charged now.")).to_be_visible()
    page.get_by_label("Card number").fill(CARD["cardNumber"])
    page.get_by_label("Expiry date").fill(CARD["cardExpiry"])
    page.get_by_label("Security code").fill(CARD["cardCvc"])
    page.get_by_label("Name on card").fill(CARD["billingName"])
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    keep_screenshot(page, "checkout-setup-phone", whole=True)
    page.get_by_role("button", name="Save card").click()
    page.wait_for_url(f"{app_url}/done")
    assert len(api.get(f"/v1/customers/{customer}/payment_methods")["data"]) == 1


def test_the_portal_shows_the_trial_and_the_discount(api: Api, price: str, page: Page) -> None:
    offer_code(api)
    code = api.get("/v1/promotion_codes")["data"][0]["id"]
    customer = api.post("/v1/customers", email="dana@example.com")["id"]
    method = api.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    api.post(f"/v1/customers/{customer}", invoice_settings={"default_payment_method": method})
    api.post(
        "/v1/subscriptions",
        customer=customer,
        items=[{"price": price}],
        trial_period_days=14,
        discounts=[{"promotion_code": code}],
    )
    portal = api.post("/v1/billing_portal/sessions", customer=customer, return_url="https://shop.example/account")
    page.goto(portal["url"])
    expect(page.get_by_text("Your trial ends on")).to_be_visible()
    expect(page.get_by_text("Friends of Acme")).to_be_visible()
    expect(page.get_by_text("20% off for 3 months")).to_be_visible()
    keep_screenshot(page, "portal-trial")


def test_a_demo_by_hand_on_the_control_page(sandbox: Any, account: Any, api: Api, price: str, page: Page) -> None:
    clock = api.post("/v1/test_helpers/test_clocks", frozen_time=int(time.time()), name="A year of Dana")["id"]
    customer = api.post("/v1/customers", name="Dana Example", email="dana@example.com", test_clock=clock)["id"]
    method = api.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    api.post(f"/v1/customers/{customer}", invoice_settings={"default_payment_method": method})
    api.post("/v1/webhook_endpoints", url=f"{sandbox.url}/_sandbox/health", enabled_events=["*"])
    subscription = api.post("/v1/subscriptions", customer=customer, items=[{"price": price}])
    page.goto(f"{sandbox.url}/_sandbox")
    page.get_by_role("link", name="Acme Notes").first.click()
    expect(page.get_by_role("heading", name="Latest events")).to_be_visible()
    keep_screenshot(page, "control-page")

    page.get_by_role("link", name="Clocks").click()
    keep_screenshot(page, "control-clocks")
    page.get_by_role("button", name=re.compile("next renewal")).click()
    expect(page.get_by_role("status")).to_have_text("The clock has been moved.")
    renewed = api.get(f"/v1/subscriptions/{subscription['id']}")
    assert renewed["items"]["data"][0]["current_period_start"] == subscription["items"]["data"][0]["current_period_end"]

    page.get_by_label("Find by id").fill(subscription["id"])
    page.get_by_role("button", name="Find").click()
    keep_screenshot(page, "control-object")
    page.get_by_role("button", name="Fail its renewal").click()
    expect(page.get_by_role("status")).to_have_text("Done: Fail its renewal.")
    expect(page.get_by_text("past due")).to_be_visible()

    page.get_by_role("link", name="Faults").click()
    page.get_by_label("What happens").select_option("timeout_after_effect")
    page.get_by_role("button", name="Put in force").click()
    expect(page.get_by_role("status")).to_have_text("The fault is in force.")
    keep_screenshot(page, "control-faults")
    page.get_by_role("button", name=re.compile("^Lift")).click()
    expect(page.get_by_text("None: everything works.")).to_be_visible()

    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Customer", exact=True).select_option("write")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_text("The new key, shown this once")).to_be_visible()
    page.get_by_role("link", name="Settings").click()
    keep_screenshot(page, "control-settings")

    page.get_by_role("link", name="Deliveries").click()
    keep_screenshot(page, "control-deliveries")
    page.get_by_role("link", name="customer.subscription.created").first.click()
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("by hand")).to_be_visible()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
@pytest.mark.parametrize(
    "tab", ["", "/objects", "/events", "/deliveries", "/clocks", "/faults", "/requests", "/settings"]
)
def test_the_control_page_fits_a_phone(sandbox: Any, account: Any, api: Api, price: str, page: Page, tab: str) -> None:
    page.goto(f"{sandbox.url}/_sandbox/accounts/{account.account_id}/test{tab}")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
