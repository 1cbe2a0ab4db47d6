"""Every documented operation, called with generated input and a valid token, answers as /openapi.json says.

No operation is left out. Most examples get ids that exist where the document only says "an id", so that not only refusals
are seen; each operation has a project, tokens and buyer of its own, so that deleting or signing out harms no other.
`SOAK=1` calls each operation many times more, and with every boundary of every field.
"""

import io
import itertools
import os
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import application
from tests import cast
from tests.entitlements.packs import create_pack
from tests.github import TEAM, create_organization
from tests.licenses.licensing import license_in_hand, link_of
from tests.litellm import create_proxy
from tests.payments.deliveries import an_event, set_webhook_secret, signature
from tests.payments.shop import CANCEL_URL, RETURN_URL, SUCCESS_URL, Shop, buy, connect_stripe

SOAK = os.environ.get("SOAK") == "1"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if SOAK else 180)]

EXAMPLES = 400 if SOAK else 12
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# Acme's signing secret was put in by hand, and such a one is not rolled: tests/payments/test_roll_webhook_secret.py rolls others.
NEVER_POSSIBLE_HERE = {"POST /api/v1/payments/stripe/projects/{project_id}/webhook-endpoint/roll-secret"}
# Stripe said no, or was away: documented, and no failure of this service (a made-up key makes the sandbox say no).
UPSTREAM = (502, 503)
DELIVERED_BY_STRIPE = ("/webhook/stripe", "/api/v1/payments/stripe/webhooks/{project_id}/{mode}")
PROVIDER = {"kind": "hs256", "issuer": "https://idp.example", "audience": "app", "hs256_secret": "0123456789abcdef" * 3}
HOOK = "http://127.0.0.1:9/hook"
WEBHOOK_BODY = {"url": HOOK, "event_types": ["*"], "since": "2026-01-01T00:00:00Z", "until": None}
NO_PROJECT = "00000000-0000-4000-8000-000000000000"
_addresses = itertools.count(1)
answered: dict[str, Counter[int]] = {}
plainly_called: set[str] = set()
# Two ways to say what is wanted, of which a body holds one.
NOT_TOGETHER = {"interval", "tier", "pack", "promo_code"}


def _from_anywhere(environ: dict[str, Any], start_response: Any) -> Any:
    """Call the service from an address that nobody used before, so that limits per address do not hide what is behind.

    A delivery is signed here, where its bytes are known.
    """
    number = next(_addresses)
    environ["REMOTE_ADDR"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    secret = environ.pop("HTTP_X_SIGN_WITH", "")
    if secret:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["HTTP_STRIPE_SIGNATURE"] = signature(body, secret)
    return application(environ, start_response)


schema = schemathesis.openapi.from_wsgi("/openapi.json", _from_anywhere, base_url="http://testserver")
# Every boundary of every field, besides random input: working them out takes as long as collecting all other tests.
schema.config.phases.coverage.enabled = SOAK


@dataclass
class World:
    """Who calls, and ids that exist."""

    tokens: dict[str, str]
    member_id: str
    path: dict[str, str]
    body: dict[str, Any]
    tokens_body: dict[str, Any]
    credits_body: dict[str, Any]
    license_bodies: dict[str, dict[str, Any]]
    webhook_secret: str

    def fill_in(self, case: Any, *, surely: bool = False) -> None:
        """Put what exists into most examples. The choice follows the input, so that a failure can be repeated."""
        whole = repr((case.path_parameters, case.query, case.body))

        def chance(name: str) -> int:
            return zlib.crc32((name + whole).encode(errors="replace")) % 8

        all_of_it = surely or chance("") > 2
        path = self.path | ({"user_id": self.member_id} if "/members/" in case.path else {})
        slug = {"project": self.path["project"]}
        body = self.body_of(case.path)
        for place, known in (
            (case.path_parameters, path),
            (case.query, slug),
            (case.body, body),
        ):
            if isinstance(place, dict):
                for name in known.keys() & place.keys():
                    if all_of_it or chance(name) > 3:
                        place[name] = known[name]
        if all_of_it:
            if isinstance(case.body, dict):
                # What a body must hold is there, too, unless this example is about bodies that lack it.
                case.body |= {name: value for name, value in body.items() if name in required_fields(case.operation)}
            # A minted token names its project: the header may be left out, and another one is refused.
            case.headers.pop("X-Project-ID", None)
            if "Webhooks" in case.operation.definition.raw.get("tags", []) and isinstance(case.body, dict):
                case.body = an_event() | case.body
            if case.path.endswith("/webhook-events/replay"):
                case.body = {"all_dead": True}
            if case.path.endswith("/usage/events") and isinstance(case.body, dict):
                event = {"meter": "searches", "quantity": "0.5", "idempotency_key": uuid.uuid4().hex}
                case.body = {"user_id": self.body["user_id"], "events": [event]}
            if case.path.endswith("/credits/spend") and isinstance(case.body, dict):
                case.body.pop("items", None)
            if case.path.endswith("/checkout-session") and isinstance(case.body, dict):
                case.body |= {"allow_existing_subscription": True, "mode": "subscription"}
                for name in ("plan", "trial"):
                    case.body.pop(name, None)

    def body_of(self, path: str) -> dict[str, Any]:
        if path.endswith("/register"):
            return self.body | {"email": f"{uuid.uuid4().hex}@example.com"}
        if "/payments/tokens/" in path:
            return self.body | self.tokens_body
        if "/payments/usage/" in path:
            return self.body | {"meter": "searches", "quantity": "2"}
        if "/payments/credits/" in path:
            return self.body | self.credits_body
        if "/webhook-endpoints" in path:
            return WEBHOOK_BODY
        for part, found in self.license_bodies.items():
            if part in path:
                return found
        if path.endswith("/{end_user_id}/plan"):
            return {"plan": "pro", "reason": "works here"}
        # Dana has a subscription already.
        return self.body | ({"user_id": f"new-{uuid.uuid4().hex}"} if "/checkout" in path else {})

    def headers(self, case: Any) -> dict[str, str]:
        """Return a valid token of the kind that the operation asks for, or have the delivery signed."""
        definition = case.operation.definition.raw
        for scheme in definition.get("security") or []:
            for name in scheme:
                return {"Authorization": f"Bearer {self.tokens[name]}"}
        return {"X-Sign-With": self.webhook_secret} if "Webhooks" in definition.get("tags", []) else {}


def body_schema(operation: Any) -> dict[str, Any]:
    """Return the schema of the operation's body; empty when it takes none."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schema.raw_schema["components"]["schemas"].get(name, {})
    return found


def required_fields(operation: Any) -> set[str]:
    """Name the fields that the operation's body must hold."""
    return set(body_schema(operation).get("required", []))


def purchase_body(price_id: str, user_id: str) -> dict[str, Any]:
    """What the bodies about buying may hold."""
    return {
        "price_id": price_id,
        "new_price_id": price_id,
        "success_url": SUCCESS_URL,
        "cancel_url": CANCEL_URL,
        "return_url": RETURN_URL,
        "user_id": user_id,
        "allow_existing_subscription": True,
        "tier": "pro",
        "pack": "small",
        "interval": "month",
        "promo_code": None,
        "quantity": 1,
        "metadata": {},
        "proration_date": None,
    }


def plan_paths(project: Any) -> dict[str, str]:
    """Name the project's plan and its price."""
    price = project.plan_prices.get()
    return {"project": project.slug, "plan_id": str(price.plan_id), "price_id": str(price.pk)}


def open_to_everything(project: Any) -> None:
    """Let the project take part in what it must opt in to, with addresses to return to."""
    project.shared_webhook = True
    project.default_success_url, project.default_cancel_url = SUCCESS_URL, CANCEL_URL
    project.default_return_url = RETURN_URL
    project.save()


def token_bodies(end_user: Any) -> dict[str, Any]:
    """What the bodies about token budgets may hold: there is a free plan with a budget, and a reservation is open."""
    from entitlements.models import Plan
    from entitlements.services.token_budget import reserve_tokens

    Plan.objects.create(project=end_user.project, code="free", name="Free", free=True, token_budget=1000)
    account = {"project_id": end_user.project_id, "mode": "test", "end_user_id": end_user.pk}
    reserved = reserve_tokens(**account, tokens=10, by_user=True)
    return {"tokens": 1, "ttl_seconds": 60, "reservation_id": reserved.reservation_id}


def credit_bodies(end_user: Any) -> dict[str, Any]:
    """What the bodies about credits may hold: there are credits, and a reservation is open."""
    from entitlements.services import ledger

    wallet: Any = {"project_id": end_user.project_id, "mode": "test", "end_user_id": end_user.pk}
    ledger.grant_credits(**wallet, bucket="bonus", amount=1000, key=f"test:{end_user.pk}")
    reserved = ledger.reserve_credits(**wallet, amount=10, key=f"test:reserve:{end_user.pk}", actor=ledger.END_USER)
    return {"amount": 1, "ttl_seconds": 60, "reservation_id": str(reserved.reservation_id)}


def connected(project: Any, sandbox_url: str) -> dict[str, Any]:
    """Connect the project to a stand-in of LiteLLM, and return what the bodies about that may hold."""
    from entitlements.models import Connection

    proxy = create_proxy(sandbox_url)
    row = Connection(project=project, mode="test", base_url=proxy.base_url, user_id_prefix=f"{project.slug}:test:")
    row.set_master_key(proxy.master_key)
    row.save()
    kept = dict.fromkeys(("user_id_prefix", "spend_reset", "share_email"))
    return {"base_url": proxy.base_url, "master_key": proxy.master_key, **kept}


def listening_endpoint(project: Any) -> dict[str, str]:
    """Have an address that an event failed to reach; return how paths name both. Nobody listens there."""
    from notifications.event_types import TEST_EVENT
    from notifications.services.endpoints import create_endpoint
    from notifications.services.outbound import send_test

    made = create_endpoint(project=project, mode="test", fields={"url": HOOK})
    sent = send_test(endpoint=made.endpoint, event_type=TEST_EVENT)
    return {"endpoint_id": str(made.endpoint.pk), "delivery_id": str(sent.pk)}


def license_bodies(holder: Any) -> dict[str, dict[str, Any]]:
    """What the bodies about licences may hold, by a part of the path: a licence is on sale, and one has a key."""
    from licenses.services.keys import make_key

    key = make_key(project_id=holder.project_id, license_id=holder.pk)
    slug = {"project": holder.project.slug}
    return {
        "/lifetime-checkout": slug | {"product": "kit", "promo_code": None, "cancel_url": CANCEL_URL},
        "/license-access/": {"github_username": "mona", "replace": True, "revision": None},
        "/license-keys/": slug | {"license_key": key, "device_id": "device", "device_name": "Laptop"},
    }


def connected_to_github(project: Any, sandbox_url: str) -> dict[str, Any]:
    """Connect the project to an organisation at the stand-in, and return what the bodies about that may hold."""
    from licenses.models import GitHubConnection

    org = create_organization(sandbox_url)
    row = GitHubConnection(project=project, mode="test", organization=org.login, team_slug=TEAM)
    row.set_token(org.token)
    row.save()
    return {"organization": org.login, "team_slug": TEAM, "token": org.token}


def dead_letter_of(project: Any) -> Any:
    """Leave an event of the project dead."""
    from payments.models import WebhookEvent

    event_id = f"evt_{uuid.uuid4().hex}"
    facts = {"event_id": event_id, "type": "customer.updated", "payload": {}, "status": "dead"}
    return WebhookEvent.objects.create(project=project, mode="test", **facts)


def key_bodies(account: Any, webhook_secret: str, *, email: str, refresh_token: str) -> dict[str, Any]:
    """What the bodies about signing in and about keys may hold."""
    return {
        "email": email,
        "password": cast.PASSWORD,
        "refresh_token": refresh_token,
        "secret_key": account.test_secret_key,
        "test_secret_key": account.test_secret_key,
        "live_secret_key": account.live_secret_key,
        "test_publishable_key": account.test_publishable_key,
        "test_webhook_secret": webhook_secret,
    }


def client_and_session(developer: Any) -> tuple[str, str]:
    """Make an OAuth client and sign in; return the client's id and a refresh token."""
    body = {"name": "App", "grant_types": ["client_credentials"]}
    made = developer.client.post("/api/v1/auth/clients", body, content_type="application/json")
    body = {"email": developer.user.email, "password": cast.PASSWORD}
    login = developer.client.post("/api/v1/auth/login", body, content_type="application/json")
    return made.json()["client_id"], login.json()["refresh_token"]


@pytest.fixture
def loopback_is_opened(monkeypatch: pytest.MonkeyPatch, sandbox: Any) -> None:
    """Let connections lead to the sandbox, which is GitHub, too."""
    from django.conf import settings as service_settings

    monkeypatch.setattr(service_settings, "OUTGOING_ALLOWED_HOSTS", ["127.0.0.1"])
    monkeypatch.setattr(service_settings, "WEBHOOK_ALLOWED_HOSTS", ["127.0.0.1"])
    monkeypatch.setattr(service_settings, "GITHUB_API_BASE", f"{sandbox.url}/_github")


def leave_shared_address(project: Any) -> None:
    """Make room: the address that projects may share has its bound, and each operation has a project of its own."""
    project.shared_webhook = False
    project.save()


@pytest.fixture
def world(
    sandbox: Any, acme: Any, alice: Any, bob: Any, dana: Any, acme_server: Any, charlie: Any, loopback_is_opened: None
) -> Iterator[World]:
    """Acme with keys, a plan that Dana bought, a member, a key, a client."""
    from entitlements.models import Plan, PlanPrice
    from payments.models import Subscription
    from projects.models import ApiKey
    from projects.services.identity_providers import put_identity_provider

    account = sandbox.create_account("Acme")
    connect_stripe(acme, account, live=False)
    secret = f"whsec_{uuid.uuid4().hex}"
    set_webhook_secret(acme, secret=secret)
    shop = Shop(acme, account, sandbox)
    price, other_price = shop.price(1000), shop.price(2000)
    plan = Plan.objects.create(project=acme, code="pro", name="Pro")
    PlanPrice.objects.create(project=acme, plan=plan, mode="test", stripe_price_id=other_price, amount_cents=2000)
    create_pack(acme)
    session = buy(shop, dana, price)["session_id"]
    open_to_everything(acme)
    put_identity_provider(project=acme, fields=PROVIDER)
    client_id, refresh_token = client_and_session(alice)
    key = ApiKey.objects.for_project(acme).latest("created_at")
    keys = key_bodies(account, secret, email=charlie.user.email, refresh_token=refresh_token)
    held = license_in_hand(acme)
    world = World(
        tokens={
            "developerToken": alice.access_token,
            "endUserToken": dana.access_token,
            "projectApiKey": acme_server.key,
            "licenseLink": link_of(held),
        },
        member_id=str(bob.user.pk),
        path={
            "project_id": str(acme.pk),
            "app": acme.slug,
            "user_id": dana.user_id,
            "end_user_id": str(dana.end_user.pk),
            "api_key_id": str(key.pk),
            "client_id": client_id,
            "session_id": session,
            "subscription_id": str(Subscription.objects.for_project(acme).get().pk),
            "event_id": str(dead_letter_of(acme).pk),
            "mode": "test",
            **plan_paths(acme),
            **listening_endpoint(acme),
        },
        body={**purchase_body(other_price, dana.user_id), **keys, **PROVIDER, **connected(acme, sandbox.url)},
        tokens_body=token_bodies(dana.end_user),
        credits_body=credit_bodies(dana.end_user),
        license_bodies=license_bodies(held) | {"/connections/github": connected_to_github(acme, sandbox.url)},
        webhook_secret=secret,
    )
    # Keep the database's connection between requests, as Django's own test client does.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield world
    leave_shared_address(acme)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def call_plainly(case: Any, world: World) -> None:
    """Send one example with nothing in it but what is known to exist, whatever was generated."""
    body = world.body_of(case.path)
    wanted = required_fields(case.operation) or body_schema(case.operation).get("properties", {}).keys() - NOT_TOGETHER
    generated = (case.body, case.query, dict(case.headers))
    if isinstance(case.body, dict):
        case.body = {name: body[name] for name in body.keys() & wanted}
    case.query = {name: value for name, value in (case.query or {}).items() if name == "project"}
    case.headers.clear()
    world.fill_in(case, surely=True)
    call(case, world)
    case.body, case.query = generated[:2]
    case.headers.update(generated[2])


def call(case: Any, world: World) -> None:
    """Send one example and check its answer against the document."""
    response = case.call(headers=world.headers(case))
    answered.setdefault(case.operation.label, Counter())[response.status_code] += 1
    expected = [] if response.status_code in UPSTREAM else [not_a_server_error]
    case.validate_response(response, checks=[*CHECKS, *expected])


def _test_of(operation_id: str) -> Any:
    """Make the test of one operation."""

    @schema.include(operation_id=operation_id).parametrize()
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not SOAK,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def test(case: Any, world: World) -> None:
        world.fill_in(case)
        project_id = (case.path_parameters or {}).get("project_id")
        if project_id and case.operation.label not in answered:
            # One example more asks for a project that is not there, so that every operation is seen to refuse.
            case.path_parameters["project_id"] = NO_PROJECT
            call(case, world)
            case.path_parameters["project_id"] = project_id
        if case.operation.label not in plainly_called:
            plainly_called.add(case.operation.label)
            call_plainly(case, world)
        call(case, world)

    return test


# A function each: pytest names the operations of one function alike, and of equal names pytest-xdist runs one.
FOUND = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
OPERATION_IDS = [one.definition.raw["operationId"] for one in FOUND]
globals().update({f"test_{each}_answers_as_documented": _test_of(each) for each in OPERATION_IDS})


def test_every_operation_was_seen_to_succeed_and_to_refuse() -> None:
    assert len(set(OPERATION_IDS)) == len(OPERATION_IDS) > 50
    if len(answered) < len(OPERATION_IDS):
        pytest.skip("only some of the operations were called")
    kinds = {label: {status // 100 for status in statuses} for label, statuses in answered.items()}
    assert {label for label, seen in kinds.items() if 2 not in seen} == NEVER_POSSIBLE_HERE
    assert [label for label, seen in kinds.items() if 4 not in seen] == []
