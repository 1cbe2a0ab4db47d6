"""The demo is connected to a stand-in of LiteLLM: its plans' budgets are seen there, and a second start mends what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backoffice.demo_seed import DEMO_SLUG, seed_demo
from backoffice.litellm_wiring import wire_to_litellm
from backoffice.sandbox_wiring import MODEL_BUDGETS
from entitlements.models import Connection, ProvisionedUser
from notifications.tasks import run_outbox
from projects.models import Project
from projects.services.end_users import ensure_end_user
from tests.conftest import Sandbox
from tests.litellm import Proxy


@pytest.fixture
def demo(settings: Any, tmp_path: Path, sandbox: Sandbox) -> Iterator[Project]:
    settings.DEMO = True
    settings.VAR_DIR = tmp_path
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:8000"
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    project = seed_demo()
    yield project
    Project.objects.filter(slug=DEMO_SLUG).update(slug=f"seeded-{project.pk}")


def proxy_of(project: Project, mode: str, sandbox: Sandbox) -> Proxy:
    row = Connection.objects.for_project(project).get(mode=mode)
    return Proxy(sandbox.url, "", row.get_master_key())


def test_whoever_comes_to_the_demo_has_the_free_plans_budget_there(demo: Project, sandbox: Sandbox) -> None:
    shopper = ensure_end_user(project=demo, external_id="demo-shopper-1", email="shopper@example.com", mode="test")
    run_outbox()
    row = proxy_of(demo, "test", sandbox).row(ProvisionedUser.objects.for_project(demo).get().litellm_user_id)
    assert row["user_id"].endswith(":test:demo-shopper-1") and row["user_id"].startswith(DEMO_SLUG)
    assert (row["max_budget"], row["budget_duration"]) == (MODEL_BUDGETS["free"] / 100, "1d")
    assert ProvisionedUser.objects.for_project(demo).get(end_user=shopper).status == "applied"
    # Both modes share the proxy, and no user.
    assert proxy_of(demo, "live", sandbox).master_key == proxy_of(demo, "test", sandbox).master_key


def test_another_start_keeps_moves_or_renews_the_connection(demo: Project, sandbox: Sandbox, settings: Any) -> None:
    before = {row.mode: row.get_master_key() for row in Connection.objects.for_project(demo)}
    assert set(before) == {"test", "live"}
    wire_to_litellm(project=demo)
    assert {row.mode: row.get_master_key() for row in Connection.objects.for_project(demo)} == before
    settings.STRIPE_API_BASE = sandbox.url.replace("127.0.0.1", "localhost")
    wire_to_litellm(project=demo)
    rows = list(Connection.objects.for_project(demo))
    assert all(row.base_url == f"{settings.STRIPE_API_BASE}/_litellm" for row in rows)
    assert {row.mode: row.get_master_key() for row in rows} == before
    for row in rows:
        row.set_master_key("a-key-of-a-sandbox-that-was-reset")
        row.save()
    settings.STRIPE_API_BASE = sandbox.url
    wire_to_litellm(project=demo)
    for row in Connection.objects.for_project(demo):
        assert (row.base_url, row.problem) == (f"{sandbox.url}/_litellm", "")


def test_nothing_is_connected_where_the_sandbox_may_not_be_called(demo: Project, settings: Any) -> None:
    Connection.objects.for_project(demo).delete()
    settings.OUTGOING_ALLOWED_HOSTS = []
    wire_to_litellm(project=demo)
    assert not Connection.objects.for_project(demo).exists()
