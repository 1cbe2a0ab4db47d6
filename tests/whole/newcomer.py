"""A newcomer: knows nothing but the service's address and Stripe's, and does everything over HTTP."""

import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT = 30
PASSWORD = "correct horse battery staple"
PAYMENTS = "/api/v1/payments"
STRIPE = f"{PAYMENTS}/stripe"


class Caller:
    """Somebody with one bearer token, or none; every call asserts the status that the test expects."""

    def __init__(self, http: httpx.Client, token: str = "") -> None:
        self.http = http
        self.token = token

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        """Send JSON and return the decoded answer (None when it has no body)."""
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}"} | headers
        content = {} if body is None else {"json": body}
        answer = self.http.request(method, path, headers=headers, **content)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def get(self, path: str, **options: Any) -> Any:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """POST."""
        return self.call("POST", path, {} if body is None else body, **options)

    def put(self, path: str, body: Any, **options: Any) -> Any:
        """PUT."""
        return self.call("PUT", path, body, **options)


@dataclass
class StripeAccount:
    """The newcomer's account at Stripe (the sandbox), used with its own keys."""

    url: str
    account_id: str
    test_secret_key: str = field(repr=False)
    test_publishable_key: str
    live_secret_key: str = field(repr=False)
    live_publishable_key: str

    def call(self, method: str, path: str, *, live: bool = False, **form: Any) -> dict[str, Any]:
        """Call Stripe's API; a refusal fails the test."""
        key = self.live_secret_key if live else self.test_secret_key
        options = {"params" if method == "GET" else "data": form}
        answer = httpx.request(method, f"{self.url}/v1/{path}", auth=(key, ""), timeout=TIMEOUT, **options)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def price(self, name: str, amount_cents: int, *, interval: str = "month", **options: Any) -> str:
        """Sell something; without an interval, once."""
        product = self.call("POST", "products", name=name, **options)
        recurring: dict[str, Any] = {"recurring[interval]": interval} if interval else {}
        price = self.call(
            "POST", "prices", product=product["id"], unit_amount=amount_cents, currency="usd", **recurring, **options
        )
        return str(price["id"])

    def webhook_endpoint(self, url: str, *, live: bool = False) -> str:
        """Have every event delivered to an address; returns the signing secret."""
        made = self.call("POST", "webhook_endpoints", live=live, url=url, **{"enabled_events[]": "*"})
        return str(made["secret"])

    def fault(self, match: str, do: str, **more: Any) -> None:
        """Make the next matching request of this account go wrong."""
        body = {"account_id": self.account_id, "match": match, "do": do, **more}
        answer = httpx.post(f"{self.url}/_sandbox/api/faults", json=body, timeout=TIMEOUT)
        assert answer.status_code == 201, answer.text


def open_stripe_account(sandbox_url: str, name: str = "Acme") -> StripeAccount:
    """Open an account in the sandbox."""
    answer = httpx.post(f"{sandbox_url}/_sandbox/api/accounts", json={"name": name}, timeout=TIMEOUT)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    keys = {name: body[name] for name in StripeAccount.__dataclass_fields__ if name != "url"}
    return StripeAccount(url=sandbox_url, **keys)


class Shop:
    """A project that the newcomer made and wired to Stripe, with two plans."""

    def __init__(self, service_url: str, sandbox_url: str, *, http: httpx.Client | None = None) -> None:
        """Register, make the project, put the keys, and point Stripe's events at the service."""
        self.http = http or httpx.Client(base_url=service_url, timeout=TIMEOUT)
        self.email = f"newcomer-{uuid.uuid4().hex[:12]}@example.com"
        anyone = Caller(self.http)
        anyone.post("/api/v1/auth/register", {"email": self.email, "password": PASSWORD}, status=201)
        self.tokens = anyone.post("/api/v1/auth/login", {"email": self.email, "password": PASSWORD})
        self.developer = Caller(self.http, self.tokens["access_token"])
        self.project = self.developer.post("/api/v1/projects/", {"name": "My first app"}, status=201)
        self.config_path = f"{STRIPE}/projects/{self.project['id']}"
        self.stripe = open_stripe_account(sandbox_url)
        self._wire()
        self.key = self.developer.post(
            f"/api/v1/projects/{self.project['id']}/api-keys", {"name": "server"}, status=201
        )
        self.server = Caller(self.http, self.key["key"])

    def _wire(self) -> None:
        keys = ("test_secret_key", "test_publishable_key")
        self.developer.put(f"{self.config_path}/config", {name: getattr(self.stripe, name) for name in keys})
        urls = self.developer.get(f"{self.config_path}/webhook-urls")
        self.webhook_secret = self.stripe.webhook_endpoint(urls["test_webhook_url"])
        self.webhook_url = urls["test_webhook_url"]
        config = self.developer.put(f"{self.config_path}/config", {"test_webhook_secret": self.webhook_secret})
        assert config["has_test_credentials"] is True and config["test_account_id"] == self.stripe.account_id

    def end_user(self, user_id: str = "", **more: Any) -> Caller:
        """Mint a token for a user of the app, as its server does."""
        user_id = user_id or f"user-{uuid.uuid4().hex[:12]}"
        body = {"user_id": user_id, "email": f"{user_id}@example.com"} | more
        minted = self.server.post(f"/api/v1/projects/{self.project['id']}/end-user-tokens", body)
        return Caller(self.http, minted["access_token"])
