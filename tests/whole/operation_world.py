"""Who calls the documented operations, and ids that exist: one project with something of everything."""

import uuid
import zlib
from dataclasses import dataclass
from typing import Any

from tests import cast
from tests.entitlements.packs import create_pack
from tests.github import TEAM, create_organization
from tests.licenses.licensing import license_in_hand, link_of
from tests.litellm import create_proxy
from tests.payments.deliveries import an_event, set_webhook_secret
from tests.payments.shop import CANCEL_URL, RETURN_URL, SUCCESS_URL, Shop, buy, connect_stripe

PROVIDER = {"kind": "hs256", "issuer": "https://idp.example", "audience": "app", "hs256_secret": "0123456789abcdef" * 3}
HOOK = "http://127.0.0.1:9/hook"
REPORT = {"category": "abuse", "text": "Spam.", "about_user_id": None, "reference": None}
SETTINGS: dict[str, dict[str, Any]] = {
    "/mail-brand": {
        "from_name": "Acme", "from_address": None, "reply_to": "a@acme.example", "color": "#0f766e", "logo_url": None,
        "footer_text": "Acme GmbH",
    },
    "/hosted-pages": {
        "sign_in_url": "https://app.example/sign-in", "return_url": "https://app.example/home", "time_zone": "Europe/Berlin",
    },
    "/alert-settings": {
        "rules": [{"kind": "failed_payments"}], "mail_to": ["ops@acme.example"], "webhook_url": None, "webhook_secret": None,
    },
}  # fmt: skip
WEBHOOK_BODY = {"url": HOOK, "event_types": ["*"], "since": "2026-01-01T00:00:00Z", "until": None}

# By how a path ends.
PLAIN_BODIES: dict[str, dict[str, Any]] = {
    "/auth/clients": {"name": "App", "grant_types": ["client_credentials"]},
    "/projects/": {"name": "Another"},
    "/api-keys": {"name": "Another"},
    "/members/{user_id}": {"role": "viewer"},
    "/users/{end_user_id}": {"is_active": True, "reason": "works here"},
    "/plans/{plan_id}/prices": {"interval": "year", "currency": "usd", "amount_cents": 12000},
    "/submit-username": {"github_username": "mona", "replace": True},
}


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
        # Dana's subscription still runs, so that somebody else is erased.
        path |= {"end_user_id": path["spare_end_user_id"]} if case.path.endswith("/anonymize") else {}
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
        """Return what the body of a call of this path may hold."""
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

    def plain_body_of(self, path: str) -> dict[str, Any]:
        """Return what a call that surely succeeds needs in its body besides what exists."""
        if path.endswith("/checkout-session"):
            return {"price_id": self.body["price_id"]}
        if path.endswith("/plans"):
            return {"code": f"plan-{uuid.uuid4().hex[:12]}", "name": "Another"}
        return next((dict(body) for end, body in PLAIN_BODIES.items() if path.endswith(end)), {})

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
    found: dict[str, Any] = operation.schema.raw_schema["components"]["schemas"].get(name, {})
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


def leave_shared_address(project: Any) -> None:
    """Make room: the address that projects may share has its bound, and each operation has a project of its own."""
    project.shared_webhook = False
    project.save()


def create_world(sandbox: Any) -> tuple[World, Any]:
    """Make the project and everybody in it; return how to call it, and the project."""
    from entitlements.models import Plan, PlanPrice
    from payments.models import Subscription
    from projects.models import ApiKey
    from projects.services.identity_providers import put_identity_provider

    alice, bob, charlie = (cast.create_developer(name) for name in ("alice", "bob", "charlie"))
    acme = cast.create_project(alice, "Acme")
    cast.add_member(acme, bob, "developer")
    dana = cast.create_app_user(acme, "dana")
    server = cast.create_server(acme, alice, is_test_mode=True)
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
    spare = cast.create_app_user(acme, "spare")
    tokens = {
        "developerToken": alice.access_token,
        "endUserToken": dana.access_token,
        "projectApiKey": server.key,
        "licenseLink": link_of(held),
    }
    path = {
        "project_id": str(acme.pk),
        "app": acme.slug,
        "user_id": dana.user_id,
        "end_user_id": str(dana.end_user.pk),
        "spare_end_user_id": str(spare.end_user.pk),
        "api_key_id": str(key.pk),
        "client_id": client_id,
        "session_id": session,
        "subscription_id": str(Subscription.objects.for_project(acme).get().pk),
        "event_id": str(dead_letter_of(acme).pk),
        "mode": "test",
        **plan_paths(acme),
        **listening_endpoint(acme),
    }
    body = {**purchase_body(other_price, dana.user_id), **keys, **PROVIDER, **connected(acme, sandbox.url)}
    bodies = license_bodies(held) | {
        "/anonymize": {"confirm": spare.user_id, "reason": "They asked."},
        "/payments/reports": {"user_id": dana.user_id} | REPORT,
        "/reports": REPORT,
        "/connections/github": connected_to_github(acme, sandbox.url),
        **SETTINGS,
    }
    tokens_body, credits_body = token_bodies(dana.end_user), credit_bodies(dana.end_user)
    return World(tokens, str(bob.user.pk), path, body, tokens_body, credits_body, bodies, secret), acme
