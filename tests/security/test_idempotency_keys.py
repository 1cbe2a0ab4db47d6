"""Every POST with a caller honours Idempotency-Key, or is listed here with the reason why it does not."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import override_settings

from entitlements.models import Connection, CreditPack, CreditPackPrice, Plan, PlanPrice
from entitlements.services import ledger
from entitlements.services.token_budget import reserve_tokens
from licenses.models import GitHubConnection
from notifications.event_types import TEST_EVENT
from notifications.models import WebhookEndpoint
from notifications.services.endpoints import create_endpoint
from notifications.services.outbound import send_test
from payments.models import WebhookEvent
from payments.services.webhook_endpoints import check_endpoint
from projects.models import IdempotencyRecord, Project
from tests.cast import AppServer, AppUser, Developer
from tests.entitlements.tokens import Holder
from tests.entitlements.tokens import create_plan as create_budget
from tests.licenses.licensing import license_in_hand, link_of
from tests.payments.rows import create_plan
from tests.payments.shop import CANCEL_URL, RETURN_URL, SUCCESS_URL, Shop, buy, checkout_body, connect_stripe
from tests.security.matrix import DEV, ENDPOINT, LICENSE, PROJECT, ROWS, USER, P, Row
from tests.security.test_route_matrix import address, call

HANDS_OUT = f"{PROJECT}/users/{{end_user_id}}/personal-data"
MOVES_NOTHING = "neither money nor state moves; a portal link is never stored (ADR 0005)"
EXCEPTIONS = {
    f"{DEV}/validate-credentials": "reads Stripe, stores nothing; with the key its body would leave a digest of a secret",
    f"{P}/credits/check": "answers a question, stores nothing",
    f"{P}/tokens/check": "answers a question, stores nothing",
    f"{USER}/customer-portal": MOVES_NOTHING,
    f"{USER}/preview-update": MOVES_NOTHING,
    f"{PROJECT}/connections/litellm/check": "asks the proxy, and may not answer what it said before",
    f"{PROJECT}/connections/github/check": "asks GitHub, and may not answer what it said before",
    f"{P}/portal": MOVES_NOTHING,
    f"{P}/entitlements/token": "each call signs anew; nothing is stored",
    HANDS_OUT: "reads, and is in the log each time; a stored answer would be one more copy of somebody's data",
    "portal/{app}": MOVES_NOTHING,
    f"{P}/usage/can-execute": "only answers: nothing is counted or kept back by asking",
}
# What their answers show is shown once: a repeat is told so.
SHOWN_ONCE = {
    f"{LICENSE}/license-key",
    "api/v1/auth/clients",
    f"{PROJECT}/api-keys",
    f"{PROJECT}/end-user-tokens",
    f"{P}/hosted-links",
    f"{PROJECT}/webhook-endpoints",
    f"{ENDPOINT}/rotate-secret",
}
# Kept in Redis with the count that they move, and in PostgreSQL with its journal (docs/tokens.md).
KEPT_WITH_THE_COUNT = {f"{P}/tokens/{leaf}" for leaf in ("consume", "reserve", "commit", "release")}
POSTS = sorted(
    path
    for (method, path), row in ROWS.items()
    if method == "POST" and row.audience in {"developer", "end_user", "server", "end_user_or_server", "license_holder"}
)
ERASES = f"{PROJECT}/users/{{end_user_id}}/anonymize"
NEEDS_A_USER = f"{PROJECT}/users/{{end_user_id}}/plan"
NEEDS_A_CONNECTION = {f"{PROJECT}/connections/{peer}/check" for peer in ("litellm", "github")}
NEEDS_AN_EVENT = {f"{DEV}/webhook-events/{{event_id}}/replay"}
NEEDS_A_PLAN = {f"{PROJECT}/plans/{{plan_id}}/prices"}
NEEDS_A_SUBSCRIPTION = {f"{USER}/{leaf}-subscription" for leaf in ("cancel", "resume", "update")} | {
    f"{USER}/preview-update"
}


@pytest.fixture
def shop(acme: Project, sandbox: Any) -> Shop:
    """Acme sells a tier and has its default addresses set."""
    account = sandbox.create_account("Acme")
    connect_stripe(acme, account)
    acme.default_success_url, acme.default_cancel_url, acme.default_return_url = SUCCESS_URL, CANCEL_URL, RETURN_URL
    acme.save()
    return Shop(acme, account, sandbox)


@pytest.fixture
def send(
    shop: Shop, alice: Developer, dana: AppUser, acme_server: AppServer
) -> Callable[[str, dict[str, Any], str], Any]:
    """Call a row's path as the caller that it is for."""
    callers = {"developer": alice.headers, "end_user": dana.headers, "server": acme_server.headers}
    callers["end_user_or_server"] = dana.headers
    callers["license_holder"] = {"Authorization": f"Bearer {link_of(license_in_hand(shop.project))}"}

    def post(path: str, body: dict[str, Any], key: str) -> Any:
        row: Row = ROWS["POST", path]
        if path in NEEDS_AN_EVENT:
            row = replace(row, path={"event_id": dead_letter(shop)})
        if path in (NEEDS_A_USER, HANDS_OUT, ERASES):
            row = replace(row, path={"end_user_id": str(dana.end_user.pk)})
        if path.startswith(ENDPOINT):
            row = replace(row, path=delivered(shop))
        if path in NEEDS_A_PLAN:
            row = replace(row, path={"plan_id": str(create_or_find_plan(shop).pk)})
        return call(callers[row.audience] | {"Idempotency-Key": key}, "POST", address(path, row, shop.project), body)

    return post


def dead_letter(shop: Shop) -> str:
    event, _ = WebhookEvent.objects.get_or_create(
        project=shop.project, mode="test", event_id="evt_dead", defaults={"type": "invoice.paid", "status": "dead"}
    )
    return event.event_id


def delivered(shop: Shop) -> dict[str, str]:
    """Have an endpoint, at which nobody listens, and something that was delivered to it."""
    endpoint = WebhookEndpoint.objects.for_project(shop.project).first()
    if endpoint is None:
        fields = {"url": "https://127.0.0.1:8443/hook"}
        with override_settings(WEBHOOK_ALLOWED_HOSTS=["127.0.0.1:8443"]):
            endpoint = create_endpoint(project=shop.project, mode="test", fields=fields).endpoint
        send_test(endpoint=endpoint, event_type=TEST_EVENT)
    return {"endpoint_id": str(endpoint.pk), "delivery_id": str(endpoint.deliveries.earliest("created_at").pk)}


def create_or_find_plan(shop: Shop) -> Plan:
    return Plan.objects.get_or_create(project=shop.project, code="maker", defaults={"name": "Maker"})[0]


def sell_plan(shop: Shop) -> Plan:
    plan = create_plan(shop.project, code="maker", name="Maker")
    PlanPrice.objects.create(
        project=shop.project, plan=plan, mode="test", interval="month", stripe_price_id=shop.price(1299)
    )
    return plan


def connect(shop: Shop) -> None:
    row = Connection(project=shop.project, mode="test", base_url="https://127.0.0.1")
    row.set_master_key("nobody-asks-for-it")
    row.save()
    github = GitHubConnection(project=shop.project, mode="test", organization="acme", team_slug="customers")
    github.set_token("nobody-asks-for-it")
    github.save()


def sell_pack(shop: Shop) -> str:
    pack = CreditPack.objects.create(project=shop.project, code="small", name="Small", credits=100)
    CreditPackPrice.objects.create(project=shop.project, pack=pack, mode="test", amount_cents=500)
    return pack.code


def credit_body(path: str, dana: AppUser) -> dict[str, Any]:
    wallet: Any = {"project_id": dana.end_user.project_id, "mode": "test", "end_user_id": dana.end_user.pk}
    ledger.grant_credits(**wallet, bucket="bonus", amount=10, key=f"test:{uuid.uuid4()}")
    if path.endswith(("spend", "reserve")):
        return {"amount": 3}
    reserved = ledger.reserve_credits(**wallet, amount=5, key=f"test:{uuid.uuid4()}", actor=ledger.END_USER)
    return {"reservation_id": str(reserved.reservation_id)}


def token_body(path: str, dana: AppUser) -> dict[str, Any]:
    holder = Holder(dana)
    holder.buys(create_budget(dana.end_user.project, "tokens", 100))
    if path.endswith(("consume", "reserve")):
        return {"tokens": 3}
    return {"reservation_id": reserve_tokens(**holder.keys, tokens=5, by_user=True).reservation_id}


def good_body(path: str, shop: Shop, dana: AppUser, charlie: Developer) -> dict[str, Any]:
    """Make what the path is called with so that it succeeds."""
    if path.endswith("roll-secret"):
        check_endpoint(project=shop.project, mode="test")
    if path == ERASES:
        return {"confirm": dana.user_id, "reason": "They asked."}
    if path == NEEDS_A_USER:
        return {"plan": sell_plan(shop).code, "reason": "staff"}
    if path in NEEDS_A_CONNECTION:
        connect(shop)
    if path in NEEDS_A_SUBSCRIPTION:
        buy(shop, dana, shop.price(1000))
    if path.endswith(("update-subscription", "preview-update")):
        return {"new_price_id": shop.price(2000)}
    if path.endswith("credits/purchase"):
        return {"pack": sell_pack(shop)}
    if path.endswith(("credits/spend", "credits/reserve", "credits/commit", "credits/release")):
        return credit_body(path, dana)
    if path in KEPT_WITH_THE_COUNT:
        return token_body(path, dana)
    if path.endswith("checkout-session"):
        return checkout_body(shop.price(1000))
    if "checkout" in path:
        return {"user_id": dana.user_id, "email": "dana@example.com", "tier": sell_plan(shop).code}
    if path == f"{PROJECT}/members":
        return {"email": charlie.user.email, "role": "viewer"}
    if "portal" in path:
        buy(shop, dana, shop.price(1000))
        return {"return_url": RETURN_URL} | ({} if path.startswith(USER) else {"user_id": dana.user_id})
    return dict(ROWS["POST", path].body)


@pytest.mark.no_db
def test_every_exception_is_a_route() -> None:
    assert set(EXCEPTIONS) | SHOWN_ONCE | KEPT_WITH_THE_COUNT <= set(POSTS)
    assert all(EXCEPTIONS.values())


@pytest.mark.parametrize("path", [path for path in POSTS if path not in EXCEPTIONS])
def test_a_key_gets_its_first_answer_and_takes_no_other_body(
    path: str, send: Any, shop: Shop, dana: AppUser, charlie: Developer
) -> None:
    body, key = good_body(path, shop, dana, charlie), uuid.uuid4().hex
    first = send(path, body, key)
    assert first.status_code in (200, 201), first.content
    other = send(path, {**body, "another": "body"}, key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    again = send(path, body, key)
    kept = IdempotencyRecord.objects.filter(key=key).first()
    assert (kept is None) == (path in KEPT_WITH_THE_COUNT)
    if path in SHOWN_ONCE and kept is not None:
        assert (again.status_code, again.json()["code"]) == (409, "already_created")
        assert (kept.holds_secret, kept.response_body) == (True, None)
    else:
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("path", sorted(EXCEPTIONS))
def test_an_exception_keeps_nothing_under_a_key(
    path: str, send: Any, shop: Shop, dana: AppUser, charlie: Developer
) -> None:
    body, key = good_body(path, shop, dana, charlie), uuid.uuid4().hex
    for given in (body, {**body, "another": "body"}):
        assert send(path, given, key).status_code == 200
    assert not IdempotencyRecord.objects.filter(key=key).exists()


def test_one_client_is_registered_however_often_it_is_sent(alice: Developer, send: Any) -> None:
    path, key = "api/v1/auth/clients", uuid.uuid4().hex
    for _ in range(3):
        send(path, {"name": "cli", "redirect_uris": ["http://127.0.0.1/cb"]}, key)
    assert alice.client.get(f"/{path}").json()["total"] == 1


def test_a_public_client_has_no_secret_so_its_answer_comes_back(send: Any) -> None:
    path, key = "api/v1/auth/clients", uuid.uuid4().hex
    body = {"name": "app", "type": "public", "redirect_uris": ["http://127.0.0.1/cb"]}
    first, again = send(path, body, key), send(path, body, key)
    assert first.json()["client_secret"] is None
    assert (again.status_code, again.json()) == (201, first.json())
