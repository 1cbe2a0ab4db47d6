"""A whole life of a project with all its failures, recorded: every answer, every broker message, every log.

`Journey` knows the real value of each secret that took part, and which single answer was meant to show it.
"""

import base64
import codecs
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.github import TEAM, create_organization
from tests.security.scan import find_canaries
from tests.whole.newcomer import STRIPE, TIMEOUT, Caller, StripeAccount, open_stripe_account

VISA, DECLINED = "4242424242424242", "4000000000000002"
SUCCESS_URL = "http://127.0.0.1:9/done?session={CHECKOUT_SESSION_ID}"
BACK_URL = "http://127.0.0.1:9/back"


class Monitor:
    """Everything that anybody asks of one Redis, as MONITOR tells it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((str(parts.hostname), int(parts.port or 6379)), timeout=5)
        self._socket.sendall(f"AUTH {parts.password}\r\nMONITOR\r\n".encode())
        self._seen = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self._socket.settimeout(None)
        while chunk := self._read_some():
            self._seen += chunk

    def _read_some(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""

    def stop(self) -> bytes:
        """End it and return what was seen."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
        return bytes(self._seen)


def unescaped(seen: bytes) -> bytes:
    """Undo MONITOR's quoting, so that what was sent is searched as it was sent."""
    return bytes(codecs.escape_decode(seen)[0])


def task_messages(seen: bytes) -> Iterator[dict[str, Any]]:
    """Return the Celery messages among what MONITOR saw."""
    for line in seen.split(b"\r\n"):
        command = line.partition(b"] ")[2]
        # The counters of rate limits are lists, too; they hold times.
        if not command.upper().startswith(b'"LPUSH"') or b'"{' not in command:
            continue
        message = json.loads(unescaped(command[command.index(b'"{') + 1 : command.rindex(b'}"') + 1]))
        message["decoded"] = json.loads(base64.b64decode(message["body"]))
        yield message


@dataclass(frozen=True)
class Answer:
    """One recorded answer."""

    label: str
    status: int
    content: bytes


@dataclass
class Journey:
    """Walks through the service at an address; what it says is kept."""

    service_url: str
    sandbox_url: str
    answers: list[Answer] = field(default_factory=list)
    canaries: dict[str, str] = field(default_factory=dict)
    shown_by: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open a client that records."""
        self.http = httpx.Client(base_url=self.service_url, timeout=TIMEOUT, event_hooks={"response": [self._record]})
        self.anyone = Caller(self.http)

    def _record(self, response: httpx.Response) -> None:
        response.read()
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items()).encode()
        label = f"answer {len(self.answers)} {response.request.method} {response.request.url.path}"
        self.answers.append(Answer(label, response.status_code, headers + b"\n\n" + response.content))

    def secret(self, name: str, value: str, *, just_shown: bool = False) -> str:
        """Note a secret. `just_shown`: the answer that just came was meant to show it, no other may."""
        self.canaries[name] = value
        if just_shown:
            self.shown_by[name] = len(self.answers) - 1
        return value

    def ask(self, method: str, path: str, body: Any = None, token: str = "", **options: Any) -> httpx.Response:
        """Call without minding the status; the service must not fail."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        content: dict[str, Any] = {} if body is None else {"json": body}
        answer = self.http.request(method, path, headers=headers, **content, **options)
        assert answer.status_code != 500, f"{method} {path}: {answer.text}"
        return answer

    # ---- the life

    def walk(self) -> None:
        """Everything, in order."""
        self.register()
        self.configure()
        self.make_keys_and_clients()
        self.listen()
        self.connect_litellm()
        self.connect_github()
        self.buy_and_change()
        self.fail_at_stripe()
        self.refuse_webhooks()
        self.put_secrets_in_wrong_places()
        self.end_tokens()

    def register(self) -> None:
        """Register, sign in, refresh."""
        self.email = f"walker-{uuid.uuid4().hex[:12]}@example.com"
        password = self.secret("developer's password", f"pw-{secrets.token_urlsafe(18)}")
        credentials = {"email": self.email, "password": password}
        self.anyone.post("/api/v1/auth/register", credentials, status=201)
        self.ask("POST", "/api/v1/auth/register", credentials)
        wrong = self.secret("mistyped password", f"pw-{secrets.token_urlsafe(18)}")
        self.anyone.post("/api/v1/auth/login", {"email": self.email, "password": wrong}, status=401)
        first = self._tokens("first", self.anyone.post("/api/v1/auth/login", credentials))
        self._tokens("second", self.anyone.post("/api/v1/auth/refresh", {"refresh_token": first["refresh_token"]}))
        # A refresh token used twice ends its family; somebody who signs in again has nothing to do with it.
        self.anyone.post("/api/v1/auth/refresh", {"refresh_token": first["refresh_token"]}, status=401)
        self.ask("GET", "/api/v1/auth/me", token=first["access_token"])
        third = self._tokens("third", self.anyone.post("/api/v1/auth/login", credentials))
        self.developer = Caller(self.http, third["access_token"])
        self.password = password

    def _tokens(self, name: str, answer: dict[str, Any]) -> dict[str, Any]:
        for kind in ("access_token", "refresh_token"):
            self.secret(f"{name} {kind}", answer[kind], just_shown=True)
        return answer

    def configure(self) -> None:
        """Make a project with its Stripe keys and identity provider."""
        self.project = self.developer.post("/api/v1/projects/", {"name": "Canary"}, status=201)
        self.stripe: StripeAccount = open_stripe_account(self.sandbox_url, "Canary")
        for mode in ("test", "live"):
            self.secret(f"{mode} secret key", getattr(self.stripe, f"{mode}_secret_key"))
        self.config = f"{STRIPE}/projects/{self.project['id']}/config"
        names = [f"{mode}_{kind}" for mode in ("test", "live") for kind in ("secret_key", "publishable_key")]
        self.developer.put(self.config, {name: getattr(self.stripe, name) for name in names})
        self.urls = self.developer.get(self.config.replace("/config", "/webhook-urls"))
        for mode in ("test", "live"):
            signing = self.stripe.webhook_endpoint(self.urls[f"{mode}_webhook_url"], live=mode == "live")
            self.secret(f"{mode} webhook secret", signing)
            self.developer.put(self.config, {f"{mode}_webhook_secret": signing})
        self.developer.get(self.config)
        self.identity = f"/api/v1/projects/{self.project['id']}/identity-provider"
        hs256 = self.secret("identity secret", secrets.token_urlsafe(48))
        provider = {"kind": "hs256", "issuer": "https://idp.example", "audience": "app", "hs256_secret": hs256}
        self.developer.put(self.identity, provider)
        self.developer.get(self.identity)

    def make_keys_and_clients(self) -> None:
        """Make what is shown once, and ask for it again."""
        path = f"/api/v1/projects/{self.project['id']}/api-keys"
        once = {"Idempotency-Key": uuid.uuid4().hex}
        made = self.developer.post(path, {"name": "server"}, status=201, **once)
        key = self.secret("API key", made["key"], just_shown=True)
        self.ask("POST", path, {"name": "server"}, self.developer.token, headers=once)
        self.developer.get(path)
        self.server = Caller(self.http, key)
        client = self.developer.post(
            "/api/v1/auth/clients",
            {"name": "App", "redirect_uris": [BACK_URL], "grant_types": ["client_credentials"]},
            status=201,
        )
        secret = self.secret("OAuth client's secret", client["client_secret"], just_shown=True)
        self.developer.get("/api/v1/auth/clients")
        form = {"grant_type": "client_credentials", "client_id": client["client_id"], "client_secret": secret}
        granted = self.http.post("/oauth/token", data=form)
        assert granted.status_code == 200, granted.text
        token = self.secret("client's access token", granted.json()["access_token"], just_shown=True)
        pair = {"client_id": client["client_id"], "client_secret": secret, "token": token}
        self.http.post("/oauth/introspect", data=pair)
        self.http.post("/oauth/token", data=form | {"client_id": "nobody"})
        self.http.post("/oauth/token", data=form | {"grant_type": secret})
        self.http.post("/oauth/revoke", data=pair)

    def listen(self) -> None:
        """Make an endpoint for the app's events, at which nobody takes them, rotate its secret, and try it."""
        path = f"/api/v1/projects/{self.project['id']}/webhook-endpoints"
        once = {"Idempotency-Key": uuid.uuid4().hex}
        body = {"url": f"{self.sandbox_url}/nowhere"}
        made = self.developer.post(path, body, status=201, **once)
        first = self.secret("endpoint's secret", made["secret"], just_shown=True)
        self.ask("POST", path, body, self.developer.token, headers=once)
        one = f"{path}/{made['id']}"
        self.secret("endpoint's new secret", self.developer.post(f"{one}/rotate-secret", {})["secret"], just_shown=True)
        tried = self.developer.post(f"{one}/test", {})
        for given in ({"url": first}, {"event_types": [first]}, {"is_active": first}, {first: first}):
            self.ask("PUT", one, given, self.developer.token)
        for leaf in ("", "/deliveries", f"/deliveries/{tried['id']}"):
            self.developer.get(f"{one}{leaf}")

    def connect_litellm(self) -> None:
        """Connect a proxy whose key is refused, taken, and refused again when everybody's budget is to be set there."""
        path = f"/api/v1/projects/{self.project['id']}/connections/litellm"
        switches = f"{self.sandbox_url}/_sandbox/api/litellm"
        proxy = httpx.post(switches, json={"name": "Canary"}, timeout=TIMEOUT).json()
        key = self.secret("LiteLLM master key", proxy["master_key"])
        wrong = self.secret("mistyped LiteLLM key", f"sk-{secrets.token_urlsafe(24)}")
        body = {"base_url": f"{self.sandbox_url}/_litellm"}
        for given in ({"master_key": wrong}, {"master_key": [key]}, {"base_url": key, "master_key": key}, {key: key}):
            self.ask("PUT", path, body | given, self.developer.token)
        self.developer.put(path, body | {"master_key": key})
        self.developer.get(path)
        self.ask("POST", f"{path}/check", {}, self.developer.token)
        free = {"code": "free", "name": "Free", "free": True, "limits": {"compute_budget_cents": 100}}
        self.developer.post(f"/api/v1/projects/{self.project['id']}/plans", free, status=201)
        self.end_user("first-at-litellm")
        deadline = time.monotonic() + 60
        while not httpx.get(f"{switches}/{proxy['proxy_id']}/users", timeout=TIMEOUT).json()["data"]:
            assert time.monotonic() < deadline, "the first user did not come to LiteLLM"
            time.sleep(0.3)
        rolled = httpx.post(f"{switches}/{proxy['proxy_id']}/roll", json={}, timeout=TIMEOUT).json()
        self.secret("rolled LiteLLM master key", rolled["master_key"])
        self.end_user("too-late-at-litellm")

    def connect_github(self) -> None:
        """Connect an organisation with a token that is refused, taken, put into wrong fields and revoked."""
        path = f"/api/v1/projects/{self.project['id']}/connections/github"
        org = create_organization(self.sandbox_url)
        token = self.secret("GitHub token", org.token)
        wrong = self.secret("mistyped GitHub token", f"github_pat_{secrets.token_urlsafe(24)}")
        body = {"organization": org.login, "team_slug": TEAM}
        for given in (
            {"token": wrong},
            {"token": [token]},
            {"organization": token},
            {"team_slug": token},
            {token: token},
        ):
            self.ask("PUT", path, {**body, **given}, self.developer.token)
        self.developer.put(path, body | {"token": token})
        self.developer.get(path)
        self.ask("POST", f"{path}/check", {}, self.developer.token)
        another = self.secret("other GitHub token", org.new_token())
        self.developer.put(path, body | {"token": another})
        org.fault("GET /user", "status:500")
        self.ask("POST", f"{path}/check", {}, self.developer.token)
        org.revoke_tokens()
        self.ask("POST", f"{path}/check", {}, self.developer.token)

    def buy_and_change(self) -> None:
        """A buyer pays, changes, cancels, resumes; another one's card is declined."""
        self.price = self.stripe.price("Maker", 1299)
        other = self.stripe.price("Pro", 2499)
        buyer = self.end_user("buyer")
        self.pay(self.checkout(buyer), VISA)
        self.wait_active(buyer)
        self.ask("POST", f"{STRIPE}/update-subscription", {"new_price_id": other}, buyer.token)
        self.ask("POST", f"{STRIPE}/cancel-subscription", {}, buyer.token)
        self.ask("POST", f"{STRIPE}/resume-subscription", {}, buyer.token)
        once = {"Idempotency-Key": uuid.uuid4().hex}
        for _ in range(2):
            self.ask("POST", f"{STRIPE}/customer-portal", {"return_url": BACK_URL}, buyer.token, headers=once)
        self.ask("GET", f"{STRIPE}/my-payments", token=buyer.token)
        self.enter_hosted_pages("buyer")
        self.ask("GET", f"/status/{self.project['slug']}/buyer", token=self.server.token)
        self.ask("POST", f"{STRIPE}/cancel-subscription", {"cancel_immediately": True}, buyer.token)
        declined = self.end_user("declined")
        self.pay(self.checkout(declined), DECLINED)
        for path in ("subscriptions", "transactions", "projects", "stats"):
            self.ask("GET", f"/api/v1/payments/{path}", token=self.developer.token)
        for intent in self.stripe.call("GET", "payment_intents", limit="10")["data"]:
            if intent.get("client_secret"):
                self.secret(f"client secret of {intent['id']}", intent["client_secret"])

    def enter_hosted_pages(self, user_id: str) -> None:
        """Come to the account page by a link, twice by the same one, and leave."""
        url = urlsplit(self.server.post("/api/v1/payments/hosted-links", {"user_id": user_id})["url"])
        self.secret("link to the hosted pages", url.query.partition("=")[2], just_shown=True)
        opened = self.ask("GET", f"{url.path}?{url.query}")
        self.secret("cookie of the hosted pages", opened.cookies["hosted"], just_shown=True)
        account = f"{url.path.removesuffix('open')}account"
        page = self.ask("GET", account, headers={"Cookie": f"hosted={opened.cookies['hosted']}"})
        assert page.status_code == 200 and user_id in page.text
        self.http.cookies.clear()
        assert self.ask("GET", f"{url.path}?{url.query}").status_code == 401

    def buy_license(self, product: str) -> None:
        """A guest buys a licence, comes back with the link, names somebody and has the key shown."""
        body = {"project": self.project["slug"], "product": product}
        opened = self.ask("POST", "/api/v1/payments/lifetime-checkout", body).json()
        session = self.stripe.call("GET", f"checkout/sessions/{opened['session_id']}")
        link = session["success_url"].rpartition("token=")[2]
        # What all links to this licence begin with, those in mails too.
        self.secret("link to a licence", link.partition(".")[0][:-1])
        self.pay(opened["checkout_url"], VISA)
        access = "/api/v1/license-access"
        assert self.ask("GET", f"{access}/status", token=link).json()["step"] == "pending"
        self.ask("POST", f"{access}/submit-username", {"github_username": "nobody"}, link)
        made = self.ask("POST", f"{access}/license-key", {}, link).json()
        self.secret("licence key", made["license_key"], just_shown=True)
        for leaf in ("verify", "activate"):
            used = {"project": self.project["slug"], "license_key": made["license_key"], "device_id": "laptop"}
            self.ask("POST", f"/api/v1/license-keys/{leaf}", used)
        self.ask("GET", f"/api/v1/projects/{self.project['id']}/licenses", token=self.developer.token)

    def end_user(self, user_id: str) -> Caller:
        """Mint a token."""
        body = {"user_id": user_id, "email": f"{user_id}@example.com"}
        minted = self.server.post(f"/api/v1/projects/{self.project['id']}/end-user-tokens", body)
        return Caller(self.http, self.secret(f"token of {user_id}", minted["access_token"], just_shown=True))

    def checkout(self, buyer: Caller) -> str:
        """Open a checkout."""
        body = {"price_id": self.price, "success_url": SUCCESS_URL, "cancel_url": BACK_URL}
        return str(buyer.post(f"{STRIPE}/checkout-session", body)["checkout_url"])

    def pay(self, url: str, card: str) -> None:
        """Send Stripe's page, as a browser would."""
        form = {
            "email": "buyer@example.com",
            "cardNumber": card,
            "cardExpiry": "12 / 34",
            "cardCvc": "123",
            "billingName": "Buyer",
            "billingCountry": "US",
            "billingAddressLine1": "1 Main Street",
            "billingLocality": "Springfield",
            "billingPostalCode": "62701",
        }
        answer = httpx.post(url, data=form, timeout=TIMEOUT, follow_redirects=False)
        assert answer.status_code == (303 if card == VISA else 402), answer.text

    def wait_active(self, buyer: Caller) -> None:
        """Wait for the webhook."""
        deadline = time.monotonic() + 60
        while (buyer.get(f"{STRIPE}/my-subscription") or {}).get("status") != "active":
            assert time.monotonic() < deadline, "the webhook did not bring the subscription"
            time.sleep(0.3)

    def wait_held(self) -> None:
        """Wait until events wait for a mended key: one that is saved before they do would leave them waiting for a minute."""
        events = f"{STRIPE}/projects/{self.project['id']}/webhook-events?test_mode=true&status=pending"
        deadline = time.monotonic() + 60
        while not any(event["wait_reason"] for event in self.developer.get(events)["webhook_events"]):
            assert time.monotonic() < deadline, "no event waits for a mended key"
            time.sleep(0.3)

    def fail_at_stripe(self) -> None:
        """Stripe refuses, breaks, hangs; also under the worker's hands."""
        buyer = self.end_user("unlucky")
        body = {"price_id": self.price, "success_url": SUCCESS_URL, "cancel_url": BACK_URL}
        for do in ("status:500", "status:401", "status:402", "status:429", "reset", "reset_after_effect"):
            self.stripe.fault("POST /v1/checkout/sessions", do)
            self.ask("POST", f"{STRIPE}/checkout-session", body, buyer.token)
        self.stripe.fault("POST /v1/checkout/sessions", "hang", seconds=5)
        self.ask("POST", f"{STRIPE}/checkout-session", body, buyer.token)
        self.stripe.fault("GET /v1/subscriptions/*", "status:401")
        self.stripe.fault("GET /v1/invoices/*", "status:500")
        late = self.end_user("late")
        self.pay(self.checkout(late), VISA)
        self.wait_held()
        # A rejected key holds events back until a key is saved.
        self.developer.put(self.config, {"test_secret_key": self.stripe.test_secret_key})
        self.wait_active(late)
        self.stripe.fault("GET /v1/account", "status:500")
        self.ask("PUT", self.config, {"test_secret_key": self.stripe.test_secret_key}, self.developer.token)

    def refuse_webhooks(self) -> None:
        """Deliveries with wrong signatures, whose bodies hold secrets."""
        event = json.dumps({"id": "evt_x", "type": "x", "metadata": self.canaries}).encode()
        moment = int(time.time())
        for secret in ("whsec_wrong", self.canaries["live webhook secret"]):
            digest = hmac.new(secret.encode(), f"{moment}.".encode() + event, hashlib.sha256).hexdigest()
            for header in (f"t={moment},v1={digest}", f"t={moment - 900},v1={digest}", digest, ""):
                headers = {"Stripe-Signature": header, "Content-Type": "application/json"}
                refused = self.http.post(urlsplit(self.urls["test_webhook_url"]).path, content=event, headers=headers)
                assert refused.status_code == 400, refused.text

    def put_secrets_in_wrong_places(self) -> None:
        """What people paste where it does not belong comes back in no answer and no log."""
        developer, stripe = self.developer.token, self.stripe
        invalid = self.secret("invalid secret key", f"sk_test_{secrets.token_hex(24)}")
        validate = self.config.replace("/config", "/validate-credentials")
        for body in (
            {"test_publishable_key": stripe.test_secret_key},
            {"test_secret_key": stripe.live_secret_key},
            {"live_secret_key": stripe.test_secret_key},
            {"test_webhook_secret": stripe.test_secret_key},
            {"test_secret_key": self.canaries["test webhook secret"]},
            {"test_secret_key": invalid},
            {"test_secret_key": {"nested": stripe.test_secret_key}},
            {stripe.test_secret_key: "as a name"},
            [stripe.test_secret_key],
        ):
            self.ask("PUT", self.config, body, developer)
        self.ask("POST", validate, {"secret_key": invalid}, developer)
        self.ask("POST", validate, {"secret_key": stripe.live_secret_key, "is_test_mode": True}, developer)
        self.ask(
            "POST", validate, {"secret_key": stripe.test_secret_key, "is_test_mode": stripe.test_secret_key}, developer
        )
        broken = f'{{"test_secret_key": "{stripe.test_secret_key}", '.encode()
        headers = {"Content-Type": "application/json"}
        self.ask("PUT", self.config, None, developer, content=broken, headers=headers)
        self.ask("PUT", self.config, None, developer, content=broken, headers={"Content-Type": "text/plain"})
        provider = {"kind": "jwks", "issuer": "https://idp.example", "audience": "app"}
        self.ask("PUT", self.identity, provider | {"jwks_url": self.canaries["identity secret"]}, developer)
        self.ask("PUT", self.identity, {"kind": self.canaries["identity secret"]}, developer)
        self.ask("POST", "/api/v1/auth/register", {"email": self.password, "password": self.password})
        self.ask("POST", "/api/v1/auth/login", {"email": self.email, "password": [self.password]})
        self.ask("GET", f"{STRIPE}/projects/{stripe.test_secret_key}/config", token=developer)
        self.ask("GET", f"{STRIPE}/my-subscription", token=stripe.test_secret_key)
        self.ask("GET", f"{STRIPE}/my-subscription?test_mode={self.server.token}", token=self.server.token)
        self.ask("GET", "/api/v1/auth/me", token=self.server.token)
        self.ask("GET", "/api/v1/payments/projects", headers={"Authorization": f"Basic {stripe.test_secret_key}"})
        self.ask("GET", "/api/v1/auth/me", headers={"X-Api-Key": self.server.token, "Cookie": f"k={self.server.token}"})

    def end_tokens(self) -> None:
        """Sign out; what was shown before is refused."""
        self.developer.post("/api/v1/auth/logout", status=204)
        self.developer.get("/api/v1/projects/", status=401)

    def hits_in_answers(self) -> list[str]:
        """Return secrets in answers that were not meant to show them."""
        hits = []
        for number, answer in enumerate(self.answers):
            wanted = {name: value for name, value in self.canaries.items() if self.shown_by.get(name) != number}
            hits += find_canaries({answer.label: answer.content}, wanted)
        return hits
