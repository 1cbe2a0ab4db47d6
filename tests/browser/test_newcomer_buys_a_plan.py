"""The main job, from a running service to a plan that was bought, changed, cancelled, resumed and ended."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, keep_screenshot
from tests.live import LiveService, wait_until
from tests.whole.newcomer import STRIPE, Caller, Shop

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

MAKER_CENTS, PRO_CENTS = 1299, 2499
VISA, DECLINED, INSUFFICIENT_FUNDS, ASKS = (
    "4242 4242 4242 4242",
    "4000 0000 0000 0002",
    "4000 0000 0000 9995",
    "4000 0025 0000 3155",
)
WAIT_SECONDS = 30


@dataclass(frozen=True)
class Store:
    """The newcomer's shop with its prices, and the app that buyers come back to."""

    shop: Shop
    maker: str
    pro: str
    app_url: str

    def checkout(self, buyer: Caller, price_id: str) -> dict[str, Any]:
        """Open a checkout as the app's frontend does."""
        body = {
            "price_id": price_id,
            "success_url": f"{self.app_url}/done?session={{CHECKOUT_SESSION_ID}}",
            "cancel_url": f"{self.app_url}/pricing",
        }
        opened: dict[str, Any] = buyer.post(f"{STRIPE}/checkout-session", body)
        return opened


@pytest.fixture(scope="module")
def store(service: LiveService, sandbox: Any, app_url: str) -> Store:
    """Everything that a newcomer does before the first buyer comes."""
    shop = Shop(service.url, sandbox.url)
    return Store(shop, shop.stripe.price("Maker", MAKER_CENTS), shop.stripe.price("Pro", PRO_CENTS), app_url)


def fill_in(page: Page, card: str) -> None:
    """Type what the page asks for; the address of the buyer is there already."""
    page.get_by_label("Card number").fill(card)
    page.get_by_label("Expiry date").fill("12 / 34")
    page.get_by_label("Security code").fill("123")
    page.get_by_label("Name on card").fill("Dana Buyer")
    page.get_by_label("Country or region").select_option("US")
    page.get_by_label("Address line 1").fill("1 Main Street")
    page.get_by_label("Postal code").fill("62701")
    page.get_by_label("City").fill("Springfield")


def subscription_of(buyer: Caller) -> dict[str, Any] | None:
    found: dict[str, Any] | None = buyer.get(f"{STRIPE}/my-subscription")
    return found


def payments_of(buyer: Caller) -> list[dict[str, Any]]:
    return list(buyer.get(f"{STRIPE}/my-payments")["payments"])


def wait_for_subscription(buyer: Caller, what: str, **wanted: Any) -> dict[str, Any]:
    """Wait until the webhook has brought the subscription into a state."""

    def as_wanted() -> dict[str, Any] | None:
        now = subscription_of(buyer)
        return now if now and all(now[name] == value for name, value in wanted.items()) else None

    found: dict[str, Any] = wait_until(as_wanted, seconds=WAIT_SECONDS, what=what, interval=0.3)
    return found


def test_a_buyer_pays_switches_cancels_resumes_in_the_portal_and_leaves(store: Store, page: Page) -> None:
    buyer = store.shop.end_user("dana")
    assert subscription_of(buyer) is None and payments_of(buyer) == []

    opened = store.checkout(buyer, store.maker)
    page.goto(opened["checkout_url"])
    expect(page.get_by_role("heading", name="Subscribe to Maker")).to_be_visible()
    expect(page.locator("#total")).to_have_text("$12.99")
    fill_in(page, VISA)
    keep_screenshot(page, "checkout", whole=True)
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url(f"{store.app_url}/done?*")
    assert parse_qs(urlsplit(page.url).query)["session"] == [opened["session_id"]]
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()

    bought = wait_for_subscription(buyer, "the subscription is active", status="active", price_id=store.maker)
    assert bought["plan_active"] is True and bought["cancel_at"] is None and bought["quantity"] == 1
    payment = wait_until(lambda: payments_of(buyer), seconds=WAIT_SECONDS, what="the payment is listed")
    assert [(row["status"], row["amount_cents"], row["currency"]) for row in payment] == [
        ("succeeded", MAKER_CENTS, "usd")
    ]
    assert payment[0]["subscription_id"] == bought["id"]
    told = buyer.get(f"{STRIPE}/checkout-session/{opened['session_id']}")
    assert (told["status"], told["payment_status"]) == ("complete", "paid")
    assert told["subscription"]["id"] == bought["id"] and told["payment"]["id"] == payment[0]["id"]

    switched = buyer.post(f"{STRIPE}/update-subscription", {"new_price_id": store.pro})
    assert (switched["status"], switched["price_id"]) == ("active", store.pro)
    wait_for_subscription(buyer, "the new price is seen", price_id=store.pro, status="active")

    leaving = buyer.post(f"{STRIPE}/cancel-subscription", {"cancel_immediately": False})
    assert leaving["status"] == "active" and leaving["cancel_at"] == bought["current_period_end"]
    wait_for_subscription(buyer, "the end is set", cancel_at=leaving["cancel_at"], cancel_at_period_end=True)

    portal = buyer.post(f"{STRIPE}/customer-portal", {"return_url": f"{store.app_url}/account"})
    page.goto(portal["portal_url"])
    expect(page.get_by_text("Your plan ends on")).to_be_visible()
    keep_screenshot(page, "portal")
    page.get_by_role("button", name="Don't cancel").click()
    expect(page.get_by_text("Your plan renews on")).to_be_visible()
    wait_for_subscription(buyer, "it was resumed", cancel_at=None, cancel_at_period_end=False, status="active")
    page.get_by_role("link", name="Return").click()
    page.wait_for_url(f"{store.app_url}/account")

    ended = buyer.post(f"{STRIPE}/cancel-subscription", {"cancel_immediately": True})
    assert (ended["status"], ended["cancel_at"]) == ("canceled", None)
    last = subscription_of(buyer)
    assert last is None or last["status"] == "canceled"
    assert [(row["status"], row["amount_cents"]) for row in payments_of(buyer)][-1] == ("succeeded", MAKER_CENTS)


@pytest.mark.parametrize(
    ("card", "message"),
    [(DECLINED, "Your card was declined."), (INSUFFICIENT_FUNDS, "Your card has insufficient funds.")],
    ids=["declined", "insufficient_funds"],
)
def test_a_refused_card_shows_stripes_message_and_leaves_no_subscription(
    store: Store, page: Page, card: str, message: str
) -> None:
    buyer = store.shop.end_user()
    opened = store.checkout(buyer, store.maker)
    page.goto(opened["checkout_url"])
    fill_in(page, card)
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator("#alert")).to_have_text(re.compile(re.escape(message)))
    assert page.url.startswith(opened["checkout_url"].split("#")[0])
    if card == DECLINED:
        keep_screenshot(page, "declined")

    told = buyer.get(f"{STRIPE}/checkout-session/{opened['session_id']}")
    assert (told["status"], told["payment_status"]) == ("open", "unpaid")
    assert not told.get("subscription") and subscription_of(buyer) is None
    assert [row for row in payments_of(buyer) if row["status"] == "succeeded"] == []

    fill_in(page, VISA)
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url(f"{store.app_url}/done?*")
    wait_for_subscription(buyer, "another card works on the same page", status="active")


def test_a_card_that_asks_for_authentication_pays_when_the_buyer_confirms(store: Store, page: Page) -> None:
    buyer = store.shop.end_user()
    page.goto(store.checkout(buyer, store.pro)["checkout_url"])
    fill_in(page, ASKS)
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("heading", name="Confirm this payment")).to_be_visible()
    keep_screenshot(page, "authentication")
    assert subscription_of(buyer) is None
    page.get_by_role("button", name="Complete authentication").click()
    page.wait_for_url(f"{store.app_url}/done?*")
    wait_for_subscription(buyer, "the confirmed plan is active", status="active", price_id=store.pro)
    paid = wait_until(lambda: payments_of(buyer), seconds=WAIT_SECONDS, what="the payment is listed")
    assert [(row["status"], row["amount_cents"]) for row in paid] == [("succeeded", PRO_CENTS)]


def test_a_card_that_asks_for_authentication_buys_nothing_when_the_buyer_walks_away(store: Store, page: Page) -> None:
    buyer = store.shop.end_user()
    opened = store.checkout(buyer, store.pro)
    page.goto(opened["checkout_url"])
    fill_in(page, ASKS)
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("heading", name="Confirm this payment")).to_be_visible()
    page.goto(f"{store.app_url}/pricing")

    told = buyer.get(f"{STRIPE}/checkout-session/{opened['session_id']}")
    assert (told["status"], told["payment_status"]) == ("open", "unpaid")
    assert not told.get("subscription")
    assert subscription_of(buyer) is None
    assert [row for row in payments_of(buyer) if row["status"] == "succeeded"] == []


def test_a_failed_authentication_says_so_and_buys_nothing(store: Store, page: Page) -> None:
    buyer = store.shop.end_user()
    page.goto(store.checkout(buyer, store.maker)["checkout_url"])
    fill_in(page, ASKS)
    page.get_by_role("button", name="Subscribe").click()
    page.get_by_role("button", name="Fail authentication").click()
    expect(page.locator("#alert")).to_have_text(re.compile("We are unable to authenticate your payment method"))
    assert subscription_of(buyer) is None


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_the_checkout_fits_a_phone_and_is_paid_there(store: Store, page: Page) -> None:
    buyer = store.shop.end_user("erin")
    page.goto(store.checkout(buyer, store.maker)["checkout_url"])
    keep_screenshot(page, "checkout-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    fill_in(page, VISA)
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url(f"{store.app_url}/done?*")
    wait_for_subscription(buyer, "the subscription is active", status="active")


def test_two_buyers_in_two_windows_get_one_plan_each(store: Store, chromium: Browser) -> None:
    buyers = [store.shop.end_user(), store.shop.end_user()]
    windows = [chromium.new_context(locale="en-US").new_page() for _ in buyers]
    for buyer, window in zip(buyers, windows, strict=True):
        window.goto(store.checkout(buyer, store.maker)["checkout_url"])
        fill_in(window, VISA)
    for window in windows:
        window.get_by_role("button", name="Subscribe").click(no_wait_after=True)
    for window in windows:
        window.wait_for_url(f"{store.app_url}/done?*")
    ids = {wait_for_subscription(buyer, "each has a plan", status="active")["subscription_id"] for buyer in buyers}
    assert len(ids) == 2
    for window in windows:
        window.context.close()
