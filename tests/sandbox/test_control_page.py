"""The control page and its JSON: everything is shown, buttons do what they say, and no secret is given away."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config.embedded import stop_process
from tests.conftest import Sandbox, SandboxAccount, start_sandbox
from tests.sandbox.lives import event_types, latest_invoice, make_customer, start
from tests.sandbox.receiver import Receiver
from tests.sandbox.stripe_api import Api, create_price, create_session, subscribe, until, visible_text

TABS = ("", "/objects", "/events", "/deliveries", "/clocks", "/faults", "/requests", "/settings")


class Forms(HTMLParser):
    """Collects the forms of a page: where each goes and what its button says."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._action, self._in_button, self._label = "", False, ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self._action = dict(attributes).get("action") or ""
        self._in_button = self._in_button or tag == "button"

    def handle_data(self, data: str) -> None:
        if self._in_button:
            self._label += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self.found[self._label.strip()] = self._action
            self._in_button, self._label = False, ""


class Page:
    """The control page of one account's test mode."""

    def __init__(self, sandbox: Sandbox, account: SandboxAccount) -> None:
        self.base = sandbox.url
        self.root = f"/_sandbox/accounts/{account.account_id}/test"
        self.http = httpx.Client(base_url=sandbox.url, timeout=20)

    def get(self, path: str, expect: int = 200, **query: Any) -> str:
        answer = self.http.get(self.root + path, params=query, follow_redirects=True)
        assert answer.status_code == expect, answer.text
        return answer.text

    def post(self, path: str, expect: int = 200, **fields: Any) -> str:
        address = path if path.startswith("/_sandbox") else self.root + path
        answer = self.http.post(address, data=fields, follow_redirects=True)
        assert answer.status_code == expect, answer.text
        return answer.text

    def press(self, object_id: str, label: str, **fields: Any) -> str:
        """Open an object's page and press one of its buttons."""
        return self.post(Forms(self.get(f"/objects/{object_id}")).found[label], **fields)


@pytest.fixture
def page(sandbox: Sandbox, account: SandboxAccount) -> Page:
    return Page(sandbox, account)


def as_json(sandbox: Sandbox, path: str, expect: int = 200, **body: Any) -> Any:
    """Use the JSON beside the page."""
    answer = httpx.post(f"{sandbox.url}/_sandbox/api/{path}", json=body, timeout=20)
    assert answer.status_code == expect, answer.text
    return answer.json()


# Accounts and objects


def test_an_account_is_made_and_its_keys_are_shown_this_once(sandbox: Sandbox) -> None:
    made = httpx.post(f"{sandbox.url}/_sandbox/accounts", data={"name": "From the page"}, timeout=20)
    assert made.status_code == 201
    key = re.search(r"sk_test_\w+", made.text)
    assert key
    assert httpx.get(f"{sandbox.url}/v1/account", auth=(key.group(), ""), timeout=20).status_code == 200
    account = re.search(r"acct_\w+", made.text)
    assert account
    overview = httpx.get(f"{sandbox.url}/_sandbox/accounts/{account.group()}/test", timeout=20).text
    assert f"sk_test_…{key.group()[-4:]}" in overview and key.group() not in overview
    assert "From the page" in httpx.get(f"{sandbox.url}/_sandbox", timeout=20).text


def test_a_bad_name_is_refused_beside_the_form(sandbox: Sandbox) -> None:
    answer = httpx.post(f"{sandbox.url}/_sandbox/accounts", data={"name": " "}, timeout=20)
    assert answer.status_code == 400 and 'role="alert"' in answer.text


def test_every_page_answers_without_scripts_styles_or_secrets(
    sandbox: Sandbox, account: SandboxAccount, api: Api, page: Page
) -> None:
    endpoint = api.post("/v1/webhook_endpoints", url=f"{sandbox.url}/nowhere", enabled_events=["*"])
    subscription = subscribe(api)
    intent = api.get("/v1/payment_intents")["data"][0]
    secrets = [account.test_secret_key, endpoint["secret"], intent["client_secret"]]
    addresses = [*TABS, f"/objects/{subscription['id']}", f"/objects/{intent['id']}", f"/objects/{endpoint['id']}"]
    addresses += [f"/objects/{event['id']}" for event in api.all_events()[-12:]]
    for address in addresses:
        answer = page.http.get(page.root + address)
        assert answer.status_code == 200, address
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
        assert "<script" not in answer.text and " style=" not in answer.text and "<style" not in answer.text
        assert not [secret for secret in secrets if secret in answer.text], address
    assert f"{intent['id']}_secret_" in page.get(f"/objects/{intent['id']}")


def test_objects_are_listed_newest_first_by_type_and_page(api: Api, page: Page) -> None:
    made = [api.post("/v1/customers", name=f"Customer {number}")["id"] for number in range(52)]
    first = page.get("/objects", type="customer")
    listed = re.findall(r">(cus_\w+)</a>", first)
    assert listed == made[:1:-1]
    older = re.search(r'href="[^"]*(before=\d+)"', first)
    assert older
    assert (
        re.findall(r">(cus_\w+)</a>", page.get("/objects", type="customer", before=older.group(1)[7:])) == made[1::-1]
    )


def test_what_people_typed_stays_text(api: Api, page: Page) -> None:
    api.post("/v1/customers", name="<script>alert(1)</script>", email="a@example.com")
    text = page.get("/objects", type="customer")
    assert "<script" not in text and "&lt;script&gt;" in text
    found = re.search(r">(cus_\w+)</a>", text)
    assert found and "<script" not in page.get(f"/objects/{found.group(1)}")


def test_an_object_is_found_by_its_id_and_links_to_others(api: Api, page: Page) -> None:
    subscription = start(api)
    text = page.get("/find", id=f" {subscription['id']} ")
    for other in (subscription["customer"], subscription["latest_invoice"]):
        assert f'{page.root}/objects/{other}">{other}</a>' in text
    assert "customer.subscription.created" in text


def test_another_accounts_objects_and_modes_are_not_there(sandbox: Sandbox, api: Api, page: Page) -> None:
    customer = api.post("/v1/customers")["id"]
    stranger = Page(sandbox, sandbox.create_account("Other"))
    stranger.get(f"/objects/{customer}", 404)
    stranger.post(f"/objects/{customer}/cancel", 404)
    page.http.base_url = httpx.URL(sandbox.url)
    assert page.http.get(page.root.replace("/test", "/live") + f"/objects/{customer}").status_code == 404
    assert page.http.get("/_sandbox/accounts/acct_nobody/test").status_code == 404
    assert page.http.get(page.root.replace("/test", "/both")).status_code == 404


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:1"}]
)
def test_another_site_cannot_press_a_button(api: Api, page: Page, headers: dict[str, str]) -> None:
    subscription = start(api)
    address = f"{page.root}/objects/{subscription['id']}/cancel"
    assert page.http.post(address, headers=headers).status_code == 403
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"


# Buttons


def test_a_renewal_fails_and_the_open_invoice_is_paid(api: Api, page: Page) -> None:
    subscription = start(api, 2000)
    text = page.press(subscription["id"], "Fail its renewal")
    assert "Fail its renewal" in visible_text(text) and "past due" in text
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["amount_due"]) == ("open", 2000)
    page.press(invoice["id"], "Pay")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"


def test_a_charge_is_refunded_in_part_then_disputed_and_lost(api: Api, page: Page) -> None:
    start(api, 2000)
    charge = api.get("/v1/charges")["data"][0]["id"]
    page.press(charge, "Refund", amount="700")
    assert api.get(f"/v1/charges/{charge}")["amount_refunded"] == 700
    too_much = page.post(f"/objects/{charge}/refund", 400, amount="1301")
    assert "greater than unrefunded amount" in too_much
    assert "whole number" in page.post(f"/objects/{charge}/refund", 400, amount="seven")
    page.press(charge, "Dispute it")
    dispute = api.get("/v1/disputes")["data"][0]
    assert dispute["charge"] == charge
    page.press(dispute["id"], "Decide for the cardholder")
    assert api.get(f"/v1/disputes/{dispute['id']}")["status"] == "lost"
    types = event_types(api)
    assert {"charge.refunded", "charge.dispute.created", "charge.dispute.closed"} <= set(types)


def test_a_button_that_makes_no_sense_any_more_is_refused_and_nothing_changes(api: Api, page: Page) -> None:
    subscription = start(api)
    page.press(subscription["id"], "Cancel now")
    assert Forms(page.get(f"/objects/{subscription['id']}")).found.keys() == {"Find"}
    before = len(api.all_events())
    page.post(f"/objects/{subscription['id']}/renew", 409)
    page.post(f"/objects/{subscription['id']}/explode", 409)
    assert len(api.all_events()) == before


def test_a_declined_payment_by_button_leaves_its_traces(api: Api, page: Page) -> None:
    subscription = start(api, 2000)
    page.press(subscription["id"], "Fail its renewal")
    invoice = latest_invoice(api, subscription)
    customer = subscription["customer"]
    bad = api.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)
    api.post(f"/v1/customers/{customer}", invoice_settings={"default_payment_method": bad["id"]})
    api.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=bad["id"])
    failed = len([kind for kind in event_types(api) if kind == "charge.failed"])
    assert "declined" in page.post(f"/objects/{invoice['id']}/pay", 402)
    assert len([kind for kind in event_types(api) if kind == "charge.failed"]) == failed + 1


def test_a_rolled_secret_is_shown_this_once(api: Api, page: Page, receiver: Receiver) -> None:
    endpoint = api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["*"])
    shown = re.search(r"whsec_\w+", page.press(endpoint["id"], "Roll its secret"))
    assert shown and shown.group() != endpoint["secret"]
    assert "whsec_" not in page.get(f"/objects/{endpoint['id']}")


def test_a_checkout_is_expired_and_an_endpoint_disabled(api: Api, page: Page, receiver: Receiver) -> None:
    session = create_session(api, create_price(api)["id"])
    assert session["url"] in page.get(f"/objects/{session['id']}")
    page.press(session["id"], "Expire")
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "expired"
    endpoint = api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["*"])["id"]
    page.press(endpoint, "Disable")
    assert api.get(f"/v1/webhook_endpoints/{endpoint}")["status"] == "disabled"
    page.press(endpoint, "Enable")
    assert api.get(f"/v1/webhook_endpoints/{endpoint}")["status"] == "enabled"


def test_the_same_buttons_by_json(sandbox: Sandbox, api: Api) -> None:
    start(api, 2000)
    charge = api.get("/v1/charges")["data"][0]["id"]
    shown = httpx.get(f"{sandbox.url}/_sandbox/api/objects/{charge}", timeout=20).json()
    assert {"refund", "dispute", "warn"} <= set(shown["actions"])
    assert (shown["object"]["amount"], shown["mode"]) == (2000, "test")
    assert as_json(sandbox, f"objects/{charge}/refund", amount=500)["amount"] == 500
    assert "greater than" in as_json(sandbox, f"objects/{charge}/refund", 400, amount=1501)["error"]["message"]
    as_json(sandbox, f"objects/{charge}/nothing", 409)
    as_json(sandbox, "objects/ch_nowhere/refund", 404)


# Deliveries


def test_a_delivery_shows_each_attempt_its_answer_and_body(
    sandbox: Sandbox, api: Api, page: Page, receiver: Receiver
) -> None:
    receiver.statuses = [503]
    api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["customer.created"])
    customer = api.post("/v1/customers", name="Dana")["id"]
    until(lambda: len(receiver.received) == 2)
    event = next(event for event in api.all_events() if event["type"] == "customer.created")
    link = re.search(r"/deliveries/(\d+)", page.get(f"/objects/{event['id']}"))
    assert link
    found: dict[str, Any] = until(
        lambda: (
            (row := httpx.get(f"{sandbox.url}/_sandbox/api/deliveries/{link.group(1)}").json())["state"] == "succeeded"
            and row
        )
    )
    assert [attempt["response_status"] for attempt in found["history"]] == [503, 200]
    assert found["history"][1]["response_excerpt"] == "ok"
    assert json.loads(found["body"])["data"]["object"]["id"] == customer
    text = page.get(f"/deliveries/{link.group(1)}")
    assert "HTTP 503" in text and customer in text


def test_an_event_is_sent_again_and_doubled(api: Api, page: Page, receiver: Receiver) -> None:
    api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["customer.created"])
    api.post("/v1/customers", name="Dana")
    until(lambda: len(receiver.received) == 1)
    event = json.loads(receiver.received[0][1])["id"]
    page.press(event, "Send again")
    until(lambda: len(receiver.received) == 2)
    page.press(event, "Send 5 times at once")
    until(lambda: len(receiver.received) == 7)
    assert {body for _, body in receiver.received} == {receiver.received[0][1]}


def test_the_last_events_are_sent_again_newest_first(
    sandbox: Sandbox, api: Api, page: Page, receiver: Receiver
) -> None:
    api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["*"])
    for name in ("A", "B", "C"):
        api.post("/v1/customers", name=name)
    until(lambda: len(receiver.received) == 3)
    receiver.received.clear()
    page.post("/deliveries/replay", last="3", order="reverse")
    until(lambda: len(receiver.received) == 3)
    assert [json.loads(body)["data"]["object"]["name"] for _, body in receiver.received] == ["C", "B", "A"]
    assert "must be" in page.post("/deliveries/replay", 400, last="0")


def test_held_deliveries_arrive_in_the_order_that_was_asked_for(tmp_path: Path, receiver: Receiver) -> None:
    """On a sandbox of its own, since holding back holds for all."""
    running, process = start_sandbox(tmp_path / "own")
    try:
        account = running.create_account("Held")
        api, page = Api(running.url, account.test_secret_key), Page(running, account)
        api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["*"])
        assert "held back" in visible_text(page.post("/deliveries/hold"))
        for name in ("A", "B", "C"):
            api.post("/v1/customers", name=name)
        time.sleep(0.5)
        assert receiver.received == []
        page.post("/deliveries/release", order="reverse")
        until(lambda: len(receiver.received) == 3)
    finally:
        stop_process(psutil.Process(process.pid))
    assert [json.loads(body)["data"]["object"]["name"] for _, body in receiver.received] == ["C", "B", "A"]


def test_json_refuses_orders_that_make_no_sense(sandbox: Sandbox, account: SandboxAccount) -> None:
    as_json(sandbox, "deliveries/replay", 400, account_id=account.account_id, order="sideways")
    as_json(sandbox, "deliveries/replay", 400, account_id="acct_nobody")
    as_json(sandbox, "deliveries/replay", 400, account_id=account.account_id, gap_seconds=-1)
    as_json(sandbox, "deliveries/replay", 400, account_id=account.account_id, last="many")


# Clocks and faults


def test_a_clock_is_advanced_to_the_next_renewal(api: Api, page: Page) -> None:
    clock = api.post("/v1/test_helpers/test_clocks", frozen_time=int(time.time()), name="Danas year")
    customer = make_customer(api, test_clock=clock["id"])
    price = create_price(api, 900)["id"]
    subscription = api.post("/v1/subscriptions", customer=customer["id"], items=[{"price": price}])
    text = page.get("/clocks")
    assert "Danas year" in text and "Advance to next renewal" in visible_text(text)
    page.post(f"/clocks/{clock['id']}/advance", to="renewal")
    renewed = api.get(f"/v1/subscriptions/{subscription['id']}")
    assert renewed["items"]["data"][0]["current_period_start"] == subscription["items"]["data"][0]["current_period_end"]
    page.post(f"/clocks/{clock['id']}/advance", seconds="86400")
    assert "nothing of that kind" in page.post(f"/clocks/{clock['id']}/advance", 400, to="trial_end")
    page.post("/clocks/clock_nowhere/advance", 404, to="renewal")


def test_a_customer_is_put_on_a_clock(api: Api, page: Page) -> None:
    subscription = start(api, 900)
    page.post("/clocks", customer=subscription["customer"])
    assert api.get(f"/v1/customers/{subscription['customer']}")["test_clock"]
    assert "Choose a customer" in page.post("/clocks", 400, customer="cus_nobody")


def test_a_fault_is_forced_shown_and_lifted(api: Api, page: Page) -> None:
    page.post("/faults", match="POST /v1/customers", do="status:429:endpoint-rate", nth="1", times="5", seconds="30")
    answer = api.http.post("/v1/customers")
    assert (answer.status_code, answer.headers["Stripe-Rate-Limited-Reason"]) == (429, "endpoint-rate")
    text = page.get("/faults")
    assert "status:429:endpoint-rate" in text
    lift = re.search(r'action="([^"]+/remove)"', text)
    assert lift
    page.post(lift.group(1))
    api.post("/v1/customers")
    assert "429" in page.get("/requests")


def test_a_fault_that_makes_no_sense_is_said_and_what_was_typed_stays(page: Page) -> None:
    text = page.post("/faults", 400, match="POST /v1/prices", do="status:200", nth="1", times="1")
    assert 'role="alert"' in text and "POST /v1/prices" in text


def test_a_limit_of_the_page_lasts_until_it_is_lifted(api: Api, page: Page) -> None:
    page.post("/faults", match="GET /v1/customers", do="limit:25", nth="1", times="1")
    statuses = {api.http.get("/v1/customers").status_code for _ in range(40)}
    assert statuses == {200, 429}


# Settings, astray deliveries and rates


def test_a_restricted_key_made_on_the_page_may_what_was_ticked_until_it_expires(sandbox: Sandbox, page: Page) -> None:
    assert "at least one permission" in page.post("/keys", 400, customer="none")
    shown = page.post("/keys", 201, customer="write", charge="read", invoice="none")
    key = re.search(r"rk_test_\w+", shown)
    assert key and key.group() not in page.get("/settings")
    restricted = Api(sandbox.url, key.group())
    restricted.post("/v1/customers")
    restricted.get("/v1/charges")
    restricted.get("/v1/invoices", 403)
    expire = Forms(page.get("/settings")).found["Expire"]
    text = visible_text(page.get("/settings"))
    assert "read charge, write customer" in text or "write customer, read charge" in text
    # The last key of the list is the newest; its button is the last one.
    assert "not accepted any more" in page.post(expire)
    assert (
        page.http.get(f"{sandbox.url}/v1/charges", headers={"Authorization": f"Bearer {key.group()}"}).status_code
        == 401
    )


def test_retries_and_notices_are_set_on_the_page(sandbox: Sandbox, account: SandboxAccount, page: Page) -> None:
    page.post("/billing", retry_hours="24, 72", after_retries="unpaid", upcoming_days="3")
    kept = httpx.get(f"{sandbox.url}/_sandbox/api/accounts/{account.account_id}/billing").json()
    assert kept == {"retry_hours": [24, 72], "after_retries": "unpaid", "upcoming_days": 3}
    refused = page.post("/billing", 400, retry_hours="soon", after_retries="unpaid", upcoming_days="3")
    assert "must be numbers" in refused and 'value="soon"' in refused
    assert httpx.get(f"{sandbox.url}/_sandbox/api/accounts/{account.account_id}/billing").json() == kept


def test_one_accounts_deliveries_are_held_and_go_astray_by_buttons(api: Api, page: Page, receiver: Receiver) -> None:
    api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["customer.created"])
    assert "held back" in visible_text(page.post("/deliveries/hold", whose="this"))
    api.post("/v1/customers")
    page.post("/deliveries/release", order="recorded")
    until(lambda: len(receiver.received) == 1)
    assert "in force" in visible_text(page.post("/deliveries/disorder", drop="100", seed="3"))
    api.post("/v1/customers")
    assert "1 lost so far" in visible_text(page.get("/deliveries?state=lost"))
    page.post("/deliveries/disorder", 400, drop="101")
    page.post("/deliveries/order")
    api.post("/v1/customers")
    until(lambda: len(receiver.received) == 2)


def test_the_rate_is_shown_and_limited_by_the_page(api: Api, page: Page) -> None:
    api.get("/v1/customers")
    assert "1 requests in test mode, 1 at most in one second" in visible_text(page.get("/faults"))
    page.post("/rate", endpoint_per_second="1")
    statuses = [api.http.get("/v1/prices").status_code for _ in range(4)]
    assert 429 in statuses
    page.post("/rate", 400, per_second="fast")
    page.post("/rate")
    assert api.http.get("/v1/prices").status_code == 200
    page.post("/rate/reset")
    assert "0 requests in test mode" in visible_text(page.get("/faults"))
