"""The sandbox's pages for everybody: text that can be read, controls that have names, and a purchase without a mouse."""

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.sandbox.stripe_api import CARD, Api, create_price, create_session

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

# Source: https://www.w3.org/TR/WCAG22/#contrast-minimum (4.5:1, large text 3:1). What is disabled is exempt.
HARD_TO_READ = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = (top, below) => {
    const a = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a));
  };
  const light = (rgb) => {
    const part = rgb.map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const style = getComputedStyle(element);
    const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const field = element.matches("input:not([type=hidden]):not([type=checkbox]):not([type=radio]), select, textarea");
    if ((!own && !field) || !shown || element.closest(":disabled, [hidden], svg, script, style, option")) continue;
    const back = ground(element);
    const [a, b] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${element.tagName} ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""
NAMELESS = """() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea")]
  .filter((e) => e.checkVisibility())
  .filter((e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby")
    && !e.textContent.trim())
  .map((e) => e.outerHTML.slice(0, 120))"""
# Everything that the Tab key must reach; of radio buttons one a group.
REACHABLE = """() => {
  const groups = new Set();
  return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
    .filter((e) => e.checkVisibility() && !e.disabled)
    .filter((e) => e.type !== "radio" || (!groups.has(e.name) && groups.add(e.name)))
    .map((e, i) => { e.dataset.stop = i; return e.name || e.textContent.trim(); });
}"""
FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  const marked = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  return [at.dataset.stop ? Number(at.dataset.stop) : -1, marked];
}"""


@pytest.fixture
def account(sandbox: Any) -> Any:
    return sandbox.create_account("Acme Notes")


@pytest.fixture
def api(sandbox: Any, account: Any) -> Api:
    return Api(sandbox.url, account.test_secret_key)


def check(page: Page, url: str) -> None:
    """Look at one page: contrast, names, and that the Tab key visits every control, each of them visibly."""
    page.goto(url)
    assert page.evaluate(HARD_TO_READ) == [], url
    assert page.evaluate(NAMELESS) == [], url
    stops = page.evaluate(REACHABLE)
    visited, unmarked = set(), set()
    for _ in range(len(stops) + 2):
        page.keyboard.press("Tab")
        stop, marked = page.evaluate(FOCUSED)
        visited.add(stop)
        unmarked |= {stops[stop]} if stop >= 0 and not marked else set()
    assert [name for number, name in enumerate(stops) if number not in visited] == [], url
    assert unmarked == set(), url


def test_every_page_can_be_read_and_reached_by_the_keyboard(sandbox: Any, account: Any, api: Api, page: Page) -> None:
    price = create_price(api, 2499)["id"]
    create_price(api, 4999, product=api.get(f"/v1/prices/{price}")["product"])
    customer = api.post("/v1/customers", email="dana@example.com", payment_method="pm_card_visa")["id"]
    card = api.get("/v1/payment_methods", customer=customer)["data"][0]["id"]
    subscription = api.post(
        "/v1/subscriptions", customer=customer, items=[{"price": price}], default_payment_method=card
    )["id"]
    portal = api.post("/v1/billing_portal/sessions", customer=customer, return_url="https://shop.example")["url"]
    everything: dict[str, Any] = {
        "allow_promotion_codes": True, "automatic_tax": {"enabled": True}, "billing_address_collection": "required",
        "phone_number_collection": {"enabled": True}, "tax_id_collection": {"enabled": True},
        "consent_collection": {"terms_of_service": "required"}, "subscription_data": {"trial_period_days": 7},
    }  # fmt: skip
    check(page, create_session(api, price, **everything)["url"])
    for leaf in (
        "",
        f"/subscriptions/{subscription}/cancel",
        f"/subscriptions/{subscription}/update",
        "/payment-method",
    ):
        check(page, portal + leaf)
    check(page, api.get("/v1/invoices")["data"][0]["hosted_invoice_url"])
    control = f"{sandbox.url}/_sandbox/accounts/{account.account_id}/test"
    for tab in ("", f"/objects/{subscription}", "/deliveries", "/clocks", "/faults", "/settings"):
        check(page, control + tab)


def test_a_wrong_form_can_be_read_and_says_at_each_field_what_is_wrong(api: Api, page: Page) -> None:
    page.goto(create_session(api, create_price(api)["id"])["url"])
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("alert")).to_be_visible()
    number = page.get_by_label("Card number")
    expect(number).to_have_attribute("aria-invalid", "true")
    explained = number.get_attribute("aria-describedby")
    assert explained and page.locator(f"#{explained.split()[0]}").inner_text().strip()
    assert page.evaluate(HARD_TO_READ) == []
    # That this would be seen.
    page.evaluate("document.querySelector('[role=alert]').style.color = '#e99'")
    assert len(page.evaluate(HARD_TO_READ)) == 1


def test_a_subscription_is_bought_without_a_mouse(api: Api, page: Page, app_url: str) -> None:
    page.goto(create_session(api, create_price(api)["id"], success_url=f"{app_url}/done")["url"])
    typed = {name: CARD[name] for name in ("email", "cardNumber", "cardExpiry", "cardCvc", "billingName")}
    give_up_at = time.monotonic() + 20
    while typed and time.monotonic() < give_up_at:
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name")
        if name in typed:
            page.keyboard.type(typed.pop(name))
    page.keyboard.press("Enter")
    page.wait_for_url(f"{app_url}/done")
    assert [each["status"] for each in api.get("/v1/subscriptions")["data"]] == ["active"]
