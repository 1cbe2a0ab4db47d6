"""A bare client of the sandbox for its own tests: sends forms as SDKs do and checks every answer's shape."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

from sandbox import schema

CARD = {
    "email": "dana@example.com",
    "cardNumber": "4242 4242 4242 4242",
    "cardExpiry": "12 / 34",
    "cardCvc": "123",
    "billingName": "Dana Example",
    "billingCountry": "DE",
    "billingAddressLine1": "Hauptstr. 1",
    "billingLocality": "Berlin",
    "billingPostalCode": "10115",
}


def flatten(params: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Write nested parameters in Stripe's bracket syntax."""
    for name, value in params.items():
        path = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, dict):
            yield from flatten(value, path)
        elif isinstance(value, list):
            yield from flatten({str(index): entry for index, entry in enumerate(value)}, path)
        elif value is not None:
            yield path, str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class Api:
    """One account's key in one mode. A lenient one only collects answers, for a test that judges them all."""

    url: str
    key: str
    lenient: bool = False
    answers: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=20, headers={"Authorization": f"Bearer {self.key}"})

    def call(
        self, method: str, path: str, expect: int = 200, headers: dict[str, str] | None = None, **params: Any
    ) -> Any:
        """Call an operation, insist on the status, and check the body against Stripe's published shape."""
        encoded = urlencode(list(flatten(params)))
        if method == "POST":
            form_headers = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
            response = self.http.post(path, content=encoded, headers=form_headers)
        else:
            response = self.http.request(method, path + (f"?{encoded}" if encoded else ""), headers=headers)
        body = response.json()
        assert response.status_code == expect, body
        if expect == 200:
            template = template_of(method, path)
            problems = schema.validate_answer(method, template, body)
            self.answers.append((f"{method} {template}", body))
        else:
            problems = schema.validate_error(body)
        errors = [str(problem) for problem in schema.errors_of(problems)]
        assert self.lenient or errors == [], f"{method} {path}"
        return body

    def get(self, path: str, expect: int = 200, **params: Any) -> Any:
        """GET a path."""
        return self.call("GET", path, expect, **params)

    def post(self, path: str, expect: int = 200, **params: Any) -> Any:
        """POST to a path."""
        return self.call("POST", path, expect, **params)

    def delete(self, path: str, expect: int = 200, **params: Any) -> Any:
        """DELETE a path."""
        return self.call("DELETE", path, expect, **params)

    def all_events(self) -> list[dict[str, Any]]:
        """Read all events of the account, oldest first."""
        found: list[dict[str, Any]] = []
        page = self.get("/v1/events", limit=100)
        while True:
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]
            page = self.get("/v1/events", limit=100, starting_after=found[-1]["id"])


def template_of(method: str, path: str) -> str:
    """Find the published template of a concrete path."""
    from sandbox.params import match_route

    matched = match_route(method, path)
    assert matched is not None, f"Stripe has no {method} {path}"
    return matched[0].path


def create_price(api: Api, unit_amount: int = 1299, interval: str | None = "month", product: str | None = None) -> Any:
    """Make a price, and its product unless one is given."""
    product = product or api.post("/v1/products", name="Maker")["id"]
    recurring = {"interval": interval} if interval else None
    return api.post("/v1/prices", product=product, currency="usd", unit_amount=unit_amount, recurring=recurring)


def create_session(api: Api, price: str, mode: str = "subscription", **params: Any) -> Any:
    """Open a checkout session for one price."""
    wanted = {
        "mode": mode,
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "https://shop.example/done?session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/back",
        **params,
    }
    return api.post("/v1/checkout/sessions", **wanted)


def pay_on_page(session: Any, **fields: str) -> httpx.Response:
    """Submit the hosted page's form without following the redirect."""
    return httpx.post(session["url"], data={**CARD, **fields}, timeout=20)


def subscribe(api: Api, unit_amount: int = 1299, **params: Any) -> Any:
    """Buy a subscription on the hosted page and return it."""
    session = create_session(api, create_price(api, unit_amount)["id"], **params)
    assert pay_on_page(session).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    return api.get(f"/v1/subscriptions/{done['subscription']}")


def visible_text(page: str) -> str:
    """Give what a reader of the page sees."""
    without_tags = re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<head>.*?</head>", "", page))
    return re.sub(r"\s+", " ", without_tags.replace("&#39;", "'").replace("&amp;", "&"))


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something that happens in the background, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
