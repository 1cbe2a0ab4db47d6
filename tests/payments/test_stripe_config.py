"""GET, PUT and DELETE of a project's Stripe configuration."""

import datetime as dt
import json
import threading
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from payments.models import StripeConfig, StripeCredentials
from payments.services.reconcile.accounts import follow_account
from payments.services.stripe_config import KEY_FIELDS
from projects.models import Project, Role
from tests.conftest import Sandbox, SandboxAccount
from tests.payments.actors import Developer, config_path, create_developer, create_project

CONFIG_FIELDS = {
    "id", "project_id", "is_active", "has_test_credentials", "has_live_credentials", "test_secret_key_masked",
    "test_publishable_key_masked", "test_webhook_secret_masked", "live_secret_key_masked",
    "live_publishable_key_masked", "live_webhook_secret_masked", "test_configured_at", "live_configured_at",
    "created_at", "updated_at",
    "test_account_id", "live_account_id", "test_last_event_at", "live_last_event_at", "test_webhook_status",
    "live_webhook_status",
    "test_webhook_error", "live_webhook_error", "test_last_failure_at", "live_last_failure_at", "test_oldest_pending_at",
    "live_oldest_pending_at", "test_dead_events", "live_dead_events",
}  # fmt: skip


@pytest.fixture
def project() -> Project:
    return create_project()


@pytest.fixture
def owner(project: Project) -> Developer:
    return create_developer(project)


@pytest.fixture
def account(sandbox: Sandbox) -> SandboxAccount:
    return sandbox.create_account()


def keys_of_test_mode(account: SandboxAccount) -> dict[str, str]:
    return {
        "test_secret_key": account.test_secret_key,
        "test_publishable_key": account.test_publishable_key,
        "test_webhook_secret": f"whsec_{uuid.uuid4().hex}",
    }


def last_four(value: str) -> str:
    return value[-4:]


def test_a_config_that_was_never_set_is_null(owner: Developer, project: Project) -> None:
    response = owner.get(config_path(project))
    assert (response.status_code, response.content) == (200, b"null")


def test_keys_are_saved_masked_and_encrypted(owner: Developer, project: Project, account: SandboxAccount) -> None:
    keys = keys_of_test_mode(account)
    response = owner.put(config_path(project), keys)
    body = response.json()
    assert response.status_code == 200
    assert set(body) == CONFIG_FIELDS
    assert body["is_active"] is True
    assert body["has_test_credentials"] is True
    assert body["has_live_credentials"] is False
    assert body["test_secret_key_masked"] == f"sk_test_...{last_four(keys['test_secret_key'])}"
    assert body["test_publishable_key_masked"] == f"pk_test_...{last_four(keys['test_publishable_key'])}"
    assert body["test_webhook_secret_masked"] == f"whsec_...{last_four(keys['test_webhook_secret'])}"
    assert body["test_account_id"] == account.account_id
    assert body["live_secret_key_masked"] is None
    assert body["test_configured_at"].endswith("Z")
    assert body["live_configured_at"] is None
    assert body["updated_at"] is None
    assert owner.get(config_path(project)).json() == body
    row = StripeCredentials.objects.for_project(project).get()
    stored = json.dumps({field.attname: str(getattr(row, field.attname)) for field in row._meta.concrete_fields})
    assert not [secret for secret in keys.values() if secret in stored or secret in response.content.decode()]
    assert {name: row.get_secret(name.removeprefix("test_")) for name in keys} == keys


def test_absent_and_null_keep_what_is_stored(owner: Developer, project: Project, account: SandboxAccount) -> None:
    keys = keys_of_test_mode(account)
    before = owner.put(config_path(project), keys).json()
    live = {"live_secret_key": account.live_secret_key, "test_secret_key": None, "test_webhook_secret": None}
    after = owner.put(config_path(project), live).json()
    for name in ("test_secret_key_masked", "test_publishable_key_masked", "test_webhook_secret_masked"):
        assert after[name] == before[name]
    assert after["has_live_credentials"] is True
    assert after["live_account_id"] == account.account_id
    assert after["updated_at"] is not None
    row = StripeCredentials.objects.for_project(project).get(mode="test")
    assert row.get_secret("secret_key") == keys["test_secret_key"]


def test_delete_deactivates_and_put_activates_again(
    owner: Developer, project: Project, account: SandboxAccount
) -> None:
    keys = keys_of_test_mode(account)
    owner.put(config_path(project), keys)
    deleted = owner.delete(config_path(project))
    assert (deleted.status_code, deleted.content) == (204, b"")
    body = owner.get(config_path(project)).json()
    assert body["is_active"] is False
    assert body["has_test_credentials"] is True
    assert not StripeCredentials.objects.for_project(project).usable().exists()
    assert owner.put(config_path(project), {}).json()["is_active"] is True
    row = StripeCredentials.objects.for_project(project).usable().get()
    assert row.get_secret("secret_key") == keys["test_secret_key"]


def test_delete_of_what_was_never_set_is_404(owner: Developer, project: Project) -> None:
    response = owner.delete(config_path(project))
    assert response.status_code == 404
    assert response.json()["code"] == "stripe_not_configured"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("test_secret_key", "sk_live_0123456789abcdef"),
        ("live_secret_key", "sk_test_0123456789abcdef"),
        ("test_secret_key", "rk_live_0123456789abcdef"),
        ("test_secret_key", "pk_test_0123456789abcdef"),
        ("live_publishable_key", "sk_live_0123456789abcdef"),
        ("test_publishable_key", "pk_live_0123456789abcdef"),
        ("test_webhook_secret", "sk_test_0123456789abcdef"),
        ("live_webhook_secret", "0123456789abcdef"),
        ("test_secret_key", ""),
        ("test_webhook_secret", ""),
        ("test_webhook_secret", "whsec_"),
        ("test_secret_key", "sk_test_"),
        ("test_secret_key", "sk_test_0123 456789"),
        ("test_secret_key", "sk_test_0123\u0000456789"),
        ("test_secret_key", "sk_test_\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"),
        ("test_secret_key", "sk_test_\ud800"),
        ("test_secret_key", "sk_test_" + "a" * 300),
        ("test_secret_key", 12345),
        ("test_secret_key", ["sk_test_0123456789abcdef"]),
        ("test_secret_key", {"value": "sk_test_0123456789abcdef"}),
        ("test_secret_key", True),
        ("confirm_account_change", "perhaps"),
    ],
)
def test_a_wrong_value_is_422_and_names_the_field(owner: Developer, project: Project, name: str, value: Any) -> None:
    response = owner.put(config_path(project), json.dumps({name: value}))
    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["body", name]]
    assert all(set(problem) == {"loc", "msg", "type"} for problem in response.json()["detail"])
    assert not StripeConfig.objects.for_project(project).exists()
    if isinstance(value, str) and len(value) > 12:
        assert value not in response.content.decode()


def test_every_wrong_field_is_named_at_once(owner: Developer, project: Project) -> None:
    body = {"test_secret_key": "sk_live_0123456789", "live_publishable_key": "x", "test_webhook_secret": "whsec_good"}
    detail = owner.put(config_path(project), body).json()["detail"]
    assert [problem["loc"][1] for problem in detail] == ["test_secret_key", "live_publishable_key"]
    assert not StripeCredentials.objects.for_project(project).exists()


def test_a_key_that_stripe_rejects_is_422_and_nothing_is_written(
    owner: Developer, project: Project, account: SandboxAccount
) -> None:
    keys = keys_of_test_mode(account)
    owner.put(config_path(project), keys)
    change = {"test_secret_key": "sk_test_unknown0123456789", "test_publishable_key": "pk_test_new0123456"}
    response = owner.put(config_path(project), change)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "test_secret_key"]
    row = StripeCredentials.objects.for_project(project).get()
    assert row.get_secret("secret_key") == keys["test_secret_key"]
    assert row.get_secret("publishable_key") == keys["test_publishable_key"]


def test_another_account_is_refused_unless_confirmed(
    owner: Developer, project: Project, account: SandboxAccount, sandbox: Sandbox
) -> None:
    owner.put(config_path(project), keys_of_test_mode(account))
    other = sandbox.create_account("Another")
    change = {"test_secret_key": other.test_secret_key}
    refused = owner.put(config_path(project), change)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "test_secret_key"]
    assert refused.json()["detail"][0]["type"] == "account_changed"
    assert owner.get(config_path(project)).json()["test_account_id"] == account.account_id
    accepted = owner.put(config_path(project), change | {"confirm_account_change": True})
    assert accepted.status_code == 200
    assert accepted.json()["test_account_id"] == other.account_id


def test_stripe_away_is_503_and_nothing_is_written(owner: Developer, project: Project, settings: Any) -> None:
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    response = owner.put(config_path(project), {"test_secret_key": "sk_test_0123456789abcdef"})
    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
    assert not StripeConfig.objects.for_project(project).exists()


def test_a_replaced_webhook_secret_verifies_for_another_day(
    owner: Developer, project: Project, account: SandboxAccount
) -> None:
    keys = keys_of_test_mode(account)
    owner.put(config_path(project), keys)
    new = f"whsec_{uuid.uuid4().hex}"
    owner.put(config_path(project), {"test_webhook_secret": new})
    row = StripeCredentials.objects.for_project(project).get()
    now = clock.now()
    assert row.webhook_secrets(now) == [new, keys["test_webhook_secret"]]
    assert row.webhook_secrets(now + dt.timedelta(hours=23, minutes=59)) == [new, keys["test_webhook_secret"]]
    assert row.webhook_secrets(now + dt.timedelta(hours=24, seconds=1)) == [new]
    version = row.version
    owner.put(config_path(project), {"test_webhook_secret": new})
    row.refresh_from_db()
    assert row.webhook_secrets(now) == [new, keys["test_webhook_secret"]]
    assert row.version > version


def test_two_projects_may_not_share_a_secret_on_the_shared_webhook_address() -> None:
    first, second = create_project(shared_webhook=True), create_project(shared_webhook=True)
    apart = create_project()
    developer = create_developer(first, second, apart)
    secret = {"test_webhook_secret": f"whsec_{uuid.uuid4().hex}"}
    assert developer.put(config_path(first), secret).status_code == 200
    refused = developer.put(config_path(second), secret)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["type"] == "secret_in_use"
    assert not StripeCredentials.objects.for_project(second).exists()
    assert developer.put(config_path(first), secret).status_code == 200
    assert developer.put(config_path(apart), secret).status_code == 200


def test_fields_that_are_not_keys_change_nothing(owner: Developer, project: Project, account: SandboxAccount) -> None:
    other = create_project("Other")
    owner.put(config_path(project), keys_of_test_mode(account))
    before = owner.get(config_path(project)).json()
    extra = {
        "id": str(uuid.uuid4()), "project": str(other.pk), "project_id": str(other.pk), "is_active": False,
        "mode": "live",
        "stripe_account_id": "acct_evil", "test_account_id": "acct_evil", "version": 999, "owner": 1, "is_staff": True,
        "test_secret_key_masked": "sk_test_...evil", "webhook_secret_fingerprint": "0", "configured_at": "2000-01-01",
        "previous_webhook_secret": "whsec_evil0000", "livemode": True, "status": "x", "balance": 1,
    }  # fmt: skip
    after = owner.put(config_path(project), extra).json()
    assert {name: value for name, value in after.items() if name != "updated_at"} == {
        name: value for name, value in before.items() if name != "updated_at"
    }
    assert not StripeConfig.objects.for_project(other).exists()


def test_a_viewer_reads_and_may_not_write(project: Project, owner: Developer, account: SandboxAccount) -> None:
    owner.put(config_path(project), keys_of_test_mode(account))
    viewer = create_developer(project, role=Role.VIEWER)
    before = StripeCredentials.objects.for_project(project).values().get()
    assert viewer.get(config_path(project)).status_code == 200
    for response in (
        viewer.put(config_path(project), {"test_publishable_key": "pk_test_0123456789"}),
        viewer.delete(config_path(project)),
        viewer.post(config_path(project, "validate-credentials"), {"secret_key": "sk_test_0123456789"}),
    ):
        assert (response.status_code, response.json()["code"]) == (403, "role_too_low")
    assert StripeCredentials.objects.for_project(project).values().get() == before
    assert StripeConfig.objects.for_project(project).get().is_active


@pytest.mark.parametrize(
    ("method", "leaf", "body"),
    [
        ("get", "config", None),
        ("put", "config", {"test_publishable_key": "pk_test_0123456789"}),
        ("delete", "config", None),
        ("get", "webhook-urls", None),
        ("post", "validate-credentials", {"secret_key": "sk_test_0123456789"}),
        ("get", "subscriptions", None),
        ("get", "payments", None),
    ],
)
def test_a_strangers_project_answers_like_one_that_does_not_exist(
    project: Project, owner: Developer, method: str, leaf: str, body: Any
) -> None:
    owner.put(config_path(project), {"test_publishable_key": "pk_test_mine012345"})
    before = StripeCredentials.objects.for_project(project).values().get()
    stranger = create_developer(create_project("Stranger"))
    theirs = stranger.request(method, config_path(project, leaf), body)
    missing = stranger.request(method, config_path(uuid.uuid4(), leaf), body)
    malformed = stranger.request(method, config_path("not-an-id", leaf), body)
    assert theirs.status_code == missing.status_code == malformed.status_code == 404
    assert theirs.content == missing.content == malformed.content
    assert StripeCredentials.objects.for_project(project).values().get() == before
    anonymous = Developer(owner.user, "")
    assert anonymous.request(method, config_path(project, leaf), body).status_code == 401


def test_two_changes_at_once_are_both_kept(owner: Developer, project: Project, account: SandboxAccount) -> None:
    owner.put(config_path(project), {})
    live = {"live_secret_key": account.live_secret_key, "live_publishable_key": "pk_live_0123456789"}
    keys = keys_of_test_mode(account) | live
    start = threading.Barrier(len(keys))
    statuses: list[int] = []

    def put(name: str, value: str) -> None:
        start.wait()
        statuses.append(owner.put(config_path(project), {name: value}).status_code)
        connection.close()

    threads = [threading.Thread(target=put, args=item) for item in keys.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert statuses == [200] * len(keys)
    stored: dict[str, str] = {}
    for row in StripeCredentials.objects.for_project(project):
        stored |= {f"{row.mode}_{field}": row.get_secret(field) for field in KEY_FIELDS}
    assert {name: stored[name] for name in keys} == keys


def test_the_first_two_changes_at_once_make_one_configuration(owner: Developer, project: Project) -> None:
    bodies = [{"test_publishable_key": "pk_test_0123456789"}, {"live_publishable_key": "pk_live_0123456789"}]
    start = threading.Barrier(2)
    statuses: list[int] = []

    def put(body: dict[str, str]) -> None:
        start.wait()
        statuses.append(owner.put(config_path(project), body).status_code)
        connection.close()

    threads = [threading.Thread(target=put, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert statuses == [200, 200]
    assert StripeConfig.objects.for_project(project).count() == 1
    assert StripeCredentials.objects.for_project(project).count() == 2


def test_reading_takes_a_constant_number_of_queries(
    owner: Developer, project: Project, account: SandboxAccount
) -> None:
    owner.put(config_path(project), keys_of_test_mode(account))
    with CaptureQueriesContext(connection) as captured:
        owner.get(config_path(project))
    assert len(captured) <= 5


def test_webhook_urls_work_before_any_config(owner: Developer, project: Project, settings: Any) -> None:
    base = f"{settings.PUBLIC_BASE_URL}/api/v1/payments/stripe/webhooks/{project.pk}"
    assert owner.get(config_path(project, "webhook-urls")).json() == {
        "test_webhook_url": f"{base}/test",
        "live_webhook_url": f"{base}/live",
    }


def test_saving_keys_again_does_not_move_since_when_the_account_is_followed(
    owner: Developer, project: Project, account: SandboxAccount, sandbox: Sandbox
) -> None:
    def row() -> StripeCredentials:
        return StripeCredentials.objects.for_project(project).get()

    owner.put(config_path(project), keys_of_test_mode(account))
    first = row()
    assert first.followed_since is not None
    owner.put(config_path(project), {"test_secret_key": account.test_secret_key})
    again = row()
    assert again.configured_at != first.configured_at and again.followed_since == first.followed_since
    assert follow_account(project_id=project.pk, mode="test").since == first.followed_since
    other = sandbox.create_account("Another")
    key = {"test_secret_key": other.test_secret_key}
    assert owner.put(config_path(project), key).status_code == 422
    assert row().followed_since == first.followed_since
    assert owner.put(config_path(project), key | {"confirm_account_change": True}).status_code == 200
    assert (row().followed_since or first.followed_since) > first.followed_since, "another account is another beginning"
