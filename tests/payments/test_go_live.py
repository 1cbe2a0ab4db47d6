"""Live mode sells nothing before its checks were green, and the key doctor names what a restricted key lacks and switches off."""

import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from django.test import Client

from config.wsgi import application
from entitlements.models import PlanPrice
from licenses.models import LicenseProduct, LicenseProductPrice
from moderation.models import ActionLog
from payments.models import CheckoutSession, StripeCredentials, WebhookEvent
from payments.services.go_live import PROBE_TYPE, probe_address, try_to_open
from payments.services.key_doctor import NEEDS
from projects.models import Role
from tests.cast import AppUser, create_app_user
from tests.conftest import Sandbox
from tests.payments.actors import config_path, create_developer, create_project
from tests.payments.endpoints import ENDPOINTS, save_keys
from tests.payments.rows import create_plan
from tests.payments.shop import TIMEOUT, Shop, checkout_body, post

LIVE = "?test_mode=false"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def public(settings: Any) -> Iterator[str]:
    """The service answers at its public address."""
    server = make_server("127.0.0.1", 0, application, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.PUBLIC_BASE_URL = f"http://127.0.0.1:{server.server_address[1]}"
    yield settings.PUBLIC_BASE_URL
    server.shutdown()
    server.server_close()


@pytest.fixture
def shop(sandbox: Sandbox) -> Shop:
    return Shop(create_project(allowed_origins=["https://app.example"]), sandbox.create_account("Acme"), sandbox)


def restricted(shop: Shop, **granted: str) -> str:
    """Make a restricted live key in the account."""
    url = f"{shop.sandbox.url}/_sandbox/api/accounts/{shop.account.account_id}/keys"
    answer = httpx.post(url, json={"permissions": granted, "livemode": True}, timeout=TIMEOUT)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["key"])


def names(checks: list[dict[str, Any]], *, ok: bool) -> set[str]:
    return {check["name"] for check in checks if check["ok"] is ok}


def sell(user: AppUser, shop: Shop, price_id: str) -> Any:
    return post(user, "checkout-session", checkout_body(price_id), query=LIVE)


def test_live_opens_when_key_endpoint_probe_and_plans_are_right_and_not_before(shop: Shop, public: str) -> None:
    owner, user = create_developer(shop.project), create_app_user(shop.project, "dana")
    save_keys(owner, shop, mode="live")
    price_id = shop.price(1000, live=True)
    path = config_path(shop.project, "go-live")
    refused = sell(user, shop, price_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "live_not_open")
    assert refused.json()["action"] == "configure_stripe"
    assert not CheckoutSession.objects.for_project(shop.project).exists() and shop.objects("customers", live=True) == []
    before = owner.get(path).json()
    assert (before["is_open"], before["opened_at"], before["is_green"]) == (False, None, False)
    assert names(before["checks"], ok=True) == {"endpoint"}
    # Nothing to sell yet: everything else is right, and it stays closed.
    tried = owner.post(path, {}).json()
    assert names(tried["checks"], ok=False) == {"plans"} and tried["is_open"] is False
    assert sell(user, shop, price_id).status_code == 409
    plan = create_plan(shop.project)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="live", stripe_price_id=price_id, amount_cents=1000)
    opened = owner.post(path, {}).json()
    assert (opened["is_open"], opened["is_green"]) == (True, True) and opened["opened_at"]
    assert sell(user, shop, price_id).status_code == 200
    probes = WebhookEvent.objects.for_project(shop.project).filter(mode="live", type=PROBE_TYPE)
    assert probes.count() == 2
    logged = ActionLog.objects.get(project_id=shop.project.pk, action="live.open")
    assert logged.actor_label == owner.user.email
    # Opened once, what turns red later stops nobody, and is not opened a second time.
    plan.prices.all().delete()
    again = owner.post(path, {}).json()
    assert (again["is_open"], again["is_green"]) == (True, False)
    assert ActionLog.objects.filter(project_id=shop.project.pk, action="live.open").count() == 1
    # Another account is another matter.
    other = shop.sandbox.create_account("Other")
    moved = {"live_secret_key": other.live_secret_key, "confirm_account_change": True}
    assert owner.put(config_path(shop.project), moved).status_code == 200
    assert owner.get(path).json()["is_open"] is False and sell(user, shop, price_id).status_code == 409


def test_an_address_that_leads_elsewhere_keeps_live_closed(shop: Shop, settings: Any) -> None:
    save_keys(create_developer(shop.project), shop, mode="live")
    row = StripeCredentials.objects.for_project(shop.project).filter(mode="live")
    for elsewhere in ("http://127.0.0.1:9", f"{shop.sandbox.url}/_sandbox/health?"):
        settings.PUBLIC_BASE_URL = elsewhere
        found = try_to_open(project=shop.project, actor=None)
        assert {"probe", "plans"} == {check.name for check in found.checks if not check.ok} and found.opened_at is None
        assert row.get().probed_at is None
    # A listener that says yes to everything is not this service either: the event has to arrive here.
    server = make_server("127.0.0.1", 0, _says_yes, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.PUBLIC_BASE_URL = f"http://127.0.0.1:{server.server_address[1]}"
    assert probe_address(project=shop.project) == "The public address answered, and the event did not arrive here."
    server.shutdown()
    server.server_close()


def _says_yes(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"{}"]


def test_a_licence_of_live_mode_is_not_sold_either(shop: Shop, public: str) -> None:
    owner = create_developer(shop.project)
    save_keys(owner, shop, mode="live")
    product = LicenseProduct.objects.create(project=shop.project, code="pro", name="Pro")
    LicenseProductPrice.objects.create(project=shop.project, product=product, mode="live", amount_cents=9900)
    body = {"project": shop.project.slug, "product": "pro"}
    answer = Client().post(f"/api/v1/payments/lifetime-checkout{LIVE}", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "live_not_open")


def test_the_doctor_names_each_missing_permission_and_what_it_switches_off(shop: Shop) -> None:
    owner = create_developer(shop.project)
    granted = {
        "customer": "write",
        "checkout_session": "write",
        "plan": "read",
        "subscription": "read",
        "event": "read",
    }
    save_keys(owner, shop, mode="live", live_secret_key=restricted(shop, **granted), confirm_account_change=True)
    made = len(shop.objects("customers", live=True)), len(shop.objects(ENDPOINTS, live=True))
    answer = owner.post(config_path(shop.project, f"key-doctor{LIVE}"), {})
    findings = {one["permission"]: one for one in answer.json()["findings"]}
    assert {name for name, one in findings.items() if one["ok"]} == {
        "Key", "Customers", "Checkout Sessions", "Prices", "Events",
    }  # fmt: skip
    assert set(findings) == {"Key", *(need.permission for need in NEEDS)}
    lacking = findings["Charges and Refunds"]
    assert "Refunds by staff" in lacking["features"] and "Charges and Refunds: write" in lacking["message"]
    # Reading alone is not enough where something is written.
    assert findings["Subscriptions"]["ok"] is False
    assert made == (len(shop.objects("customers", live=True)), len(shop.objects(ENDPOINTS, live=True)))
    row = StripeCredentials.objects.for_project(shop.project).get(mode="live")
    assert row.diagnosed_at is not None and len(row.diagnosis) == len(findings)
    checks = owner.get(config_path(shop.project, "go-live")).json()["checks"]
    keys = next(check for check in checks if check["name"] == "keys")
    assert keys["message"] == "The key lacks: Subscriptions, Invoices, PaymentIntents."


def test_a_full_key_is_told_that_a_restricted_one_is_safer_and_a_revoked_one_that_it_is(shop: Shop) -> None:
    owner = create_developer(shop.project)
    path = config_path(shop.project, "key-doctor")
    assert owner.post(path, {}).json()["code"] == "stripe_not_configured"
    save_keys(owner, shop)
    (finding,) = owner.post(path, {}).json()["findings"]
    assert finding["ok"] and "A restricted key" in finding["message"]
    shop.fault("GET /v1/account", "status:401", times=50)
    shop.fault("POST /v1/customers/*", "status:401", times=50)
    (finding,) = owner.post(path, {}).json()["findings"]
    assert not finding["ok"] and "rejects" in finding["message"]
    shop.fault("POST /v1/customers/*", "status:503", times=50)
    viewer = create_developer(shop.project, role=Role.VIEWER)
    assert (
        viewer.post(path, {}).status_code == 403 and viewer.get(config_path(shop.project, "go-live")).status_code == 200
    )
    assert create_developer().post(path, {}).status_code == 404
