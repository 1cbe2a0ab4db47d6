"""An app whose project is wired to an account of the sandbox: what it sells, and buyers who pay on Stripe's page."""

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.db import connections
from django.utils import timezone

from payments.models import StripeConfig, StripeCredentials
from projects.models import Project
from tests.cast import AppUser

STRIPE = "/api/v1/payments/stripe"
SUCCESS_URL = "https://app.example/done?session={CHECKOUT_SESSION_ID}"
CANCEL_URL = "https://app.example/pricing"
RETURN_URL = "https://app.example/account"
VISA, DECLINED, INSUFFICIENT_FUNDS, ASKS = (
    "4242424242424242",
    "4000000000000002",
    "4000000000009995",
    "4000002500003155",
)
TIMEOUT = 20
NO_TIME = dt.timedelta(0)
# Stripe's API and the sandbox's switches are called thousands of times: connections stay open. No page is, which may set cookies.
stripe_http = httpx.Client(timeout=TIMEOUT)


@dataclass(frozen=True)
class Shop:
    """A project, its Stripe account in the sandbox, and that account's API in one mode."""

    project: Project
    account: Any
    sandbox: Any

    def api(self, method: str, path: str, *, live: bool = False, **form: Any) -> dict[str, Any]:
        """Call Stripe's API as the app's owner would; a refusal fails the test."""
        key = self.account.live_secret_key if live else self.account.test_secret_key
        fields: dict[str, Any] = {"params" if method in ("GET", "DELETE") else "data": form} if form else {}
        answer = stripe_http.request(method, f"{self.sandbox.url}/v1/{path}", auth=(key, ""), **fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def objects(self, path: str, *, live: bool = False, **query: Any) -> list[dict[str, Any]]:
        """List objects of the account, newest first."""
        return list(self.api("GET", path, live=live, limit=100, **query)["data"])

    def price(
        self, amount_cents: int = 1000, *, interval: str = "month", currency: str = "usd", live: bool = False
    ) -> str:
        """Sell something for an amount per interval; without an interval, once."""
        product = self.api("POST", "products", live=live, name=f"Product {uuid.uuid4().hex[:8]}")
        recurring = {"recurring[interval]": interval} if interval else {}
        price = self.api(
            "POST", "prices", live=live, product=product["id"], unit_amount=amount_cents, currency=currency, **recurring
        )
        return str(price["id"])

    def fault(self, match: str, do: str, **more: Any) -> None:
        """Make the next matching request of this account go wrong."""
        body = {"account_id": self.account.account_id, "match": match, "do": do, **more}
        answer = stripe_http.post(f"{self.sandbox.url}/_sandbox/api/faults", json=body)
        assert answer.status_code == 201, answer.text

    def clear_faults(self) -> int:
        """Let this account's requests go well again; returns the control call's status."""
        query = {"account_id": self.account.account_id}
        return stripe_http.delete(f"{self.sandbox.url}/_sandbox/api/faults", params=query).status_code

    def requests(self, path: str) -> list[dict[str, Any]]:
        """Give the requests that Stripe saw on a path."""
        query = {"account_id": self.account.account_id}
        answer = stripe_http.get(f"{self.sandbox.url}/_sandbox/api/requests", params=query)
        return [entry for entry in answer.json()["data"] if entry["path"] == path]

    def pay(self, checkout_url: str, card: str = VISA) -> httpx.Response:
        """Fill in Stripe's page and press the button. A paid one answers with the way back to the app."""
        form = {
            "email": "buyer@example.com",
            "cardNumber": card,
            "cardExpiry": "12 / 34",
            "cardCvc": "123",
            "billingName": "Dana Buyer",
            "billingCountry": "US",
            "billingAddressLine1": "1 Main Street",
            "billingLocality": "Springfield",
            "billingAdministrativeArea": "IL",
            "billingPostalCode": "62701",
        }
        return httpx.post(self.local(checkout_url), data=form, timeout=TIMEOUT, follow_redirects=False)

    def local(self, url: str) -> str:
        """Point a link of the hosted pages at the sandbox of this run."""
        return f"{self.sandbox.url}{urlsplit(url).path}"


def connect_stripe(project: Project, account: Any, *, live: bool = True) -> None:
    """Save an account's keys in a project, as far as the service needs them to call Stripe; it sells in live mode already."""
    config = StripeConfig.objects.create(project=project)
    for mode in ("test", "live") if live else ("test",):
        row = StripeCredentials(config=config, project=project, mode=mode, stripe_account_id=account.account_id)
        row.opened_at = timezone.now() if mode == "live" else None
        row.set_secret("secret_key", getattr(account, f"{mode}_secret_key"))
        row.save()


def post(user: Any, leaf: str, body: Any = None, *, query: str = "", **headers: str) -> Any:
    """Send JSON to an end-user endpoint."""
    return user.client.post(
        f"{STRIPE}/{leaf}{query}", data={} if body is None else body, content_type="application/json", headers=headers
    )


def get(user: Any, leaf: str, query: str = "") -> Any:
    """Read an end-user endpoint."""
    return user.client.get(f"{STRIPE}/{leaf}{query}")


def checkout_body(price_id: str | None, **more: Any) -> dict[str, Any]:
    """Write a checkout's body."""
    return {"price_id": price_id, "success_url": SUCCESS_URL, "cancel_url": CANCEL_URL} | more


def open_checkout(user: AppUser, price_id: str | None, *, query: str = "", **more: Any) -> dict[str, Any]:
    """Open a checkout; a refusal fails the test."""
    answer = post(user, "checkout-session", checkout_body(price_id, **more), query=query)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def buy(shop: Shop, user: AppUser, price_id: str | None, *, query: str = "", **more: Any) -> dict[str, Any]:
    """Open a checkout, pay it, come back, and return what the return page was told."""
    opened = open_checkout(user, price_id, query=query, **more)
    paid = shop.pay(opened["checkout_url"])
    assert paid.status_code == 303, paid.text
    answer = get(user, f"checkout-session/{opened['session_id']}", query)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Call from many threads that start together; returns what each got."""
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait(TIMEOUT)
        try:
            return call(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
