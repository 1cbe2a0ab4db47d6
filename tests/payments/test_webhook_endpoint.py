"""The webhook endpoint in the customer's Stripe account: made when keys are saved, mended, and never doubled."""

import datetime as dt
import json
from typing import Any

import pytest

from payments.models import StripeCredentials, StripeIntent
from payments.secret_cache import forget_secrets
from payments.services.intents import reconcile_open_intents
from payments.services.webhook_address import webhook_url, why_unreachable
from payments.services.webhook_endpoints import event_types
from projects.models import Project, Role
from tests.conftest import Sandbox
from tests.payments.actors import Developer, config_path, create_developer, create_project
from tests.payments.deliveries import an_event, send
from tests.payments.endpoints import (
    A_SIGNING_SECRET,
    ENDPOINTS,
    check,
    creations,
    credentials,
    delivers_everything,
    endpoint_by_hand,
    pass_time,
    restricted_key,
    save_keys,
)
from tests.payments.shop import Shop, at_once


@pytest.fixture
def project() -> Project:
    return create_project()


@pytest.fixture
def owner(project: Project) -> Developer:
    return create_developer(project)


@pytest.fixture
def shop(project: Project, sandbox: Sandbox) -> Shop:
    """A project that knows nothing of its Stripe account yet."""
    return Shop(project, sandbox.create_account("Acme"), sandbox)


def test_saving_a_key_makes_an_endpoint_whose_deliveries_verify(owner: Developer, shop: Shop, project: Project) -> None:
    body = save_keys(owner, shop)
    (endpoint,) = shop.objects(ENDPOINTS)
    assert (body["test_webhook_status"], body["test_webhook_error"]) == ("managed", None)
    assert delivers_everything(shop, endpoint)
    assert endpoint["api_version"] == "2026-08-26.dahlia"
    assert (endpoint["metadata"]["project_id"], endpoint["metadata"]["mode"]) == (str(project.pk), "test")
    row = credentials(shop)
    secret = row.get_secret("webhook_secret")
    assert row.webhook_endpoint_id == endpoint["id"]
    assert body["test_webhook_secret_masked"] == f"whsec_...{secret[-4:]}"
    assert secret not in json.dumps({field.attname: str(getattr(row, field.attname)) for field in row._meta.fields})
    assert not StripeIntent.objects.for_project(project).filter(params__icontains=secret).exists()
    assert send(project, an_event(), secret=secret).status_code == 200
    assert body["live_webhook_status"] is None
    assert save_keys(owner, shop, mode="live")["live_webhook_status"] == "managed"
    (live,) = shop.objects(ENDPOINTS, live=True)
    assert delivers_everything(shop, live, "live")


def test_a_key_of_the_same_account_keeps_its_endpoint(owner: Developer, shop: Shop) -> None:
    save_keys(owner, shop)
    before = credentials(shop).get_secret("webhook_secret")
    save_keys(owner, shop)
    key = restricted_key(shop, webhook="write")
    owner.put(config_path(shop.project), {"test_secret_key": key})
    assert len(shop.objects(ENDPOINTS)) == len(creations(shop)) == 1
    assert credentials(shop).get_secret("webhook_secret") == before


def test_two_saves_at_once_make_one_endpoint(owner: Developer, shop: Shop) -> None:
    bodies = at_once(4, lambda _: save_keys(owner, shop))
    (endpoint,) = shop.objects(ENDPOINTS)
    row = credentials(shop)
    assert (row.webhook_endpoint_id, row.webhook_status) == (endpoint["id"], "managed")
    assert {body["test_webhook_secret_masked"] for body in bodies} == {row.webhook_secret_masked}
    assert delivers_everything(shop, endpoint)


def test_a_secret_that_was_put_in_by_hand_is_kept_and_no_endpoint_is_made(owner: Developer, shop: Shop) -> None:
    body = save_keys(owner, shop, test_webhook_secret=A_SIGNING_SECRET)
    assert body["test_webhook_status"] == "by_hand"
    assert save_keys(owner, shop)["test_webhook_status"] == "by_hand"
    assert credentials(shop).get_secret("webhook_secret") == A_SIGNING_SECRET
    assert shop.objects(ENDPOINTS) == []


def test_a_secret_by_hand_takes_over_from_a_managed_endpoint_which_goes_after_a_day(
    owner: Developer, shop: Shop, project: Project
) -> None:
    save_keys(owner, shop)
    managed = credentials(shop).get_secret("webhook_secret")
    mine = endpoint_by_hand(shop)
    body = owner.put(config_path(project), {"test_webhook_secret": mine["secret"]}).json()
    assert body["test_webhook_status"] == "by_hand"
    for secret in (managed, mine["secret"]):
        assert send(project, an_event(), secret=secret).status_code == 200
    pass_time(shop, hours=2)
    assert len(shop.objects(ENDPOINTS)) == 2
    StripeCredentials.objects.for_project(project).update(previous_webhook_secret_expires_at="2020-01-01T00:00:00Z")
    pass_time(shop, hours=0)
    assert [endpoint["id"] for endpoint in shop.objects(ENDPOINTS)] == [mine["id"]]
    assert credentials(shop).previous_webhook_secret == ""
    forget_secrets(project.pk)
    assert send(project, an_event(), secret=managed).status_code == 400


def test_a_key_of_another_account_leaves_no_endpoint_behind(owner: Developer, shop: Shop, sandbox: Sandbox) -> None:
    save_keys(owner, shop)
    old = credentials(shop).get_secret("webhook_secret")
    other = Shop(shop.project, sandbox.create_account("Another"), sandbox)
    body = save_keys(owner, other, confirm_account_change=True)
    assert body["test_webhook_status"] == "managed"
    assert shop.objects(ENDPOINTS) == []
    (endpoint,) = other.objects(ENDPOINTS)
    row = credentials(other)
    assert row.webhook_endpoint_id == endpoint["id"]
    assert row.get_secret("previous_webhook_secret") == old != row.get_secret("webhook_secret")


def test_deactivating_disables_the_endpoint_and_saving_enables_it_again(owner: Developer, shop: Shop) -> None:
    save_keys(owner, shop)
    secret = credentials(shop).get_secret("webhook_secret")
    assert owner.delete(config_path(shop.project)).status_code == 204
    assert [endpoint["status"] for endpoint in shop.objects(ENDPOINTS)] == ["disabled"]
    assert owner.put(config_path(shop.project), {}).json()["test_webhook_status"] == "managed"
    assert [endpoint["status"] for endpoint in shop.objects(ENDPOINTS)] == ["enabled"]
    assert credentials(shop).get_secret("webhook_secret") == secret


def test_deactivating_works_while_stripe_fails_and_the_endpoint_is_disabled_later(owner: Developer, shop: Shop) -> None:
    save_keys(owner, shop)
    shop.fault("POST /v1/webhook_endpoints/*", "status:500", times=3)
    assert owner.delete(config_path(shop.project)).status_code == 204
    assert [endpoint["status"] for endpoint in shop.objects(ENDPOINTS)] == ["enabled"]
    shop.clear_faults()
    pass_time(shop, hours=2)
    assert [endpoint["status"] for endpoint in shop.objects(ENDPOINTS)] == ["disabled"]


def test_what_somebody_broke_at_stripe_is_found_and_mended(owner: Developer, shop: Shop, settings: Any) -> None:
    save_keys(owner, shop)
    (endpoint,) = shop.objects(ENDPOINTS)
    path = f"{ENDPOINTS}/{endpoint['id']}"
    broken: dict[str, Any] = {"enabled_events[]": ["invoice.paid"], "disabled": "true"}
    shop.api("POST", path, **broken)
    found = check(owner, shop)
    assert (found["status"], found["mended"], found["endpoint_id"]) == ("managed", True, endpoint["id"])
    assert found["missing_events"] == [name for name in event_types() if name != "invoice.paid"]
    assert delivers_everything(shop, shop.api("GET", path))
    assert check(owner, shop) | {"endpoint_id": ""} == {
        "status": "managed", "error": None, "endpoint_id": "", "missing_events": [], "mended": False,
    }  # fmt: skip
    settings.PUBLIC_BASE_URL = "https://payments.example"
    shop.api("POST", path, **broken)
    pass_time(shop, minutes=30)
    assert not delivers_everything(shop, shop.api("GET", path)), "looked at too early"
    pass_time(shop, minutes=31)
    assert delivers_everything(shop, shop.api("GET", path))


def test_an_endpoint_that_was_deleted_at_stripe_is_made_again(owner: Developer, shop: Shop) -> None:
    save_keys(owner, shop)
    before = credentials(shop)
    shop.api("DELETE", f"{ENDPOINTS}/{before.webhook_endpoint_id}")
    assert check(owner, shop)["mended"] is True
    (endpoint,) = shop.objects(ENDPOINTS)
    after = credentials(shop)
    assert after.webhook_endpoint_id == endpoint["id"] != before.webhook_endpoint_id
    assert after.get_secret("webhook_secret") != before.get_secret("webhook_secret")
    assert delivers_everything(shop, endpoint)


def test_an_endpoint_by_hand_is_reported_and_mended_only_when_asked(owner: Developer, shop: Shop) -> None:
    mine = endpoint_by_hand(shop, events=["invoice.paid", "account.updated"])
    save_keys(owner, shop, test_webhook_secret=mine["secret"])
    pass_time(shop, hours=2)
    body = owner.get(config_path(shop.project)).json()
    assert body["test_webhook_status"] == "missing_events"
    assert "customer.subscription.updated" in body["test_webhook_error"]
    assert shop.api("GET", f"{ENDPOINTS}/{mine['id']}")["enabled_events"] == mine["enabled_events"]
    found = check(owner, shop)
    assert (found["status"], found["mended"]) == ("by_hand", True)
    assert set(shop.api("GET", f"{ENDPOINTS}/{mine['id']}")["enabled_events"]) == {*event_types(), "account.updated"}
    assert check(owner, shop)["missing_events"] == []
    assert credentials(shop).get_secret("webhook_secret") == mine["secret"]


def test_a_strangers_endpoint_at_the_address_is_left_alone_and_named(owner: Developer, shop: Shop) -> None:
    mine = endpoint_by_hand(shop)
    body = save_keys(owner, shop)
    assert body["test_webhook_status"] == "managed"
    assert mine["id"] in body["test_webhook_error"]
    assert len(shop.objects(ENDPOINTS)) == 2


def test_a_restricted_key_without_the_permission_is_saved_and_told(owner: Developer, shop: Shop) -> None:
    body = owner.put(config_path(shop.project), {"test_secret_key": restricted_key(shop, customer="write")}).json()
    assert (body["has_test_credentials"], body["test_webhook_status"]) == (True, "missing_permission")
    assert "rak_webhook_read" in body["test_webhook_error"]
    assert shop.objects(ENDPOINTS) == []


def test_a_full_account_is_told_and_the_keys_are_saved(owner: Developer, shop: Shop) -> None:
    for number in range(16):
        endpoint_by_hand(shop, url=f"https://elsewhere.example/{number}")
    body = save_keys(owner, shop)
    assert (body["has_test_credentials"], body["test_webhook_status"]) == (True, "limit_reached")
    assert "16" in body["test_webhook_error"]
    shop.api("DELETE", f"{ENDPOINTS}/{shop.objects(ENDPOINTS)[0]['id']}")
    assert check(owner, shop)["status"] == "managed"


def test_an_address_that_stripe_cannot_reach_is_known_before_stripe_is_asked(settings: Any) -> None:
    settings.STRIPE_API_BASE = ""
    for url, mode, is_reachable in (
        ("http://localhost:8000/x", "test", False),
        ("https://127.0.0.1/x", "live", False),
        ("https://10.1.2.3/x", "test", False),
        ("https://payments.internal/x", "test", False),
        ("http://payments.example.com/x", "live", False),
        ("http://payments.example.com/x", "test", True),
        ("https://payments.example.com/x", "live", True),
    ):
        assert (why_unreachable(url, mode) == "") is is_reachable, url


def test_stripe_failing_leaves_the_keys_saved_and_the_endpoint_is_made_later(owner: Developer, shop: Shop) -> None:
    shop.fault("GET /v1/webhook_endpoints", "status:503", times=3)
    body = save_keys(owner, shop)
    assert (body["has_test_credentials"], body["test_webhook_status"]) == (True, "failed")
    shop.clear_faults()
    pass_time(shop, minutes=6)
    (endpoint,) = shop.objects(ENDPOINTS)
    assert credentials(shop).webhook_endpoint_id == endpoint["id"]


@pytest.mark.parametrize("do", ["timeout_after_effect", "reset_after_effect", "status:500"])
def test_a_lost_answer_never_doubles_the_endpoint(
    owner: Developer, shop: Shop, short_patience: None, do: str, settings: Any
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    shop.fault("POST /v1/webhook_endpoints", do, seconds=2)
    body = save_keys(owner, shop)
    assert body["test_webhook_status"] == "failed"
    shop.clear_faults()
    found = check(owner, shop)
    assert found["status"] == "managed", found
    (endpoint,) = shop.objects(ENDPOINTS)
    row = credentials(shop)
    assert row.webhook_endpoint_id == endpoint["id"]
    assert send(shop.project, an_event(), secret=row.get_secret("webhook_secret")).status_code == 200
    assert not StripeIntent.objects.for_project(shop.project).filter(status="open").exists()


def test_an_answer_that_a_killed_process_never_read_is_asked_for_with_the_same_key(
    owner: Developer, shop: Shop, short_patience: None, settings: Any
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    shop.fault("POST /v1/webhook_endpoints", "timeout_after_effect", seconds=2)
    save_keys(owner, shop)
    shop.clear_faults()
    reconcile_open_intents(min_age=dt.timedelta(0))
    (endpoint,) = shop.objects(ENDPOINTS)
    assert credentials(shop).webhook_endpoint_id == endpoint["id"]
    assert len({entry["idempotency_key"] for entry in creations(shop)}) == 1


def test_an_endpoint_whose_secret_was_lost_for_good_is_replaced(owner: Developer, shop: Shop, project: Project) -> None:
    save_keys(owner, shop)
    lost = credentials(shop).webhook_endpoint_id
    StripeCredentials.objects.for_project(project).update(
        webhook_endpoint_id="", webhook_secret="", webhook_secret_masked=""
    )
    assert check(owner, shop)["status"] == "managed"
    (endpoint,) = shop.objects(ENDPOINTS)
    assert endpoint["id"] == credentials(shop).webhook_endpoint_id != lost


def test_a_check_needs_keys_and_a_developer(shop: Shop, project: Project, owner: Developer) -> None:
    path = config_path(project, "webhook-endpoint/check")
    assert (owner.post(path, {}).status_code, owner.post(path, {}).json()["code"]) == (404, "stripe_not_configured")
    viewer = create_developer(project, role=Role.VIEWER)
    save_keys(owner, shop)
    assert viewer.post(path, {}).status_code == 403
    assert create_developer().post(path, {}).status_code == 404
    assert owner.post(f"{path}?test_mode=perhaps", {}).status_code == 422
    assert webhook_url(project.pk, "test") == shop.objects(ENDPOINTS)[0]["url"]
