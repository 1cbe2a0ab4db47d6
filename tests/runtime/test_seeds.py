"""`manage.py seed`, `seed demo` and `bootstrap`: safe to repeat, and nothing for an instance that is no demo."""

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from backoffice.demo_seed import ADMIN_EMAIL, DEMO_SLUG, DEVELOPER_EMAIL, MODERATOR_EMAIL, SUPPORT_EMAIL, seed_demo
from backoffice.sandbox_wiring import MODEL_BUDGETS
from entitlements.models import Plan, PlanPrice
from payments.models import StripeCredentials
from payments.services.webhook_address import webhook_urls
from payments.stripe_api import stripe_account
from projects.models import ApiKey, EndUser, Membership, Project
from tests.conftest import Sandbox

CAST = ("alice@example.com", "bob@example.com", "charlie@example.com")


@pytest.fixture
def demo_instance(settings: Any, tmp_path: Path, sandbox: Sandbox) -> Iterator[Path]:
    """An instance that may be seeded, with a directory of its own; what the seed made is renamed away afterwards."""
    settings.DEMO = True
    settings.VAR_DIR = tmp_path
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:8000"
    yield tmp_path
    for slug in (DEMO_SLUG, "acme", "other"):
        for project in Project.objects.filter(slug=slug):
            Project.objects.filter(pk=project.pk).update(slug=f"seeded-{project.pk}")
    for email in (*CAST, DEVELOPER_EMAIL, SUPPORT_EMAIL, MODERATOR_EMAIL, ADMIN_EMAIL):
        for user in User.objects.filter(email=email):
            User.objects.filter(pk=user.pk).update(email=f"{user.pk}@example.com")


def seed(*arguments: str) -> str:
    """Run the command and return what it printed."""
    output = io.StringIO()
    call_command("seed", *arguments, stdout=output)
    return output.getvalue()


def test_the_demo_is_a_project_with_plans_prices_and_an_endpoint_in_both_modes(demo_instance: Path) -> None:
    project = seed_demo()
    plans = {plan.code: plan for plan in Plan.objects.for_project(project)}
    assert {code: plan.compute_budget_cents for code, plan in plans.items()} == MODEL_BUDGETS
    assert (plans["maker"].credits_per_day, plans["maker"].file_size_mb, plans["maker"].trial_days) == (30, 50, 3)
    for mode in ("test", "live"):
        account = stripe_account(project.pk, mode)
        at_stripe = {price["id"]: price["unit_amount"] for price in account.list("prices", {"limit": 100})["data"]}
        ours = PlanPrice.objects.for_project(project).filter(mode=mode).values_list("stripe_price_id", "amount_cents")
        assert dict(ours) == at_stripe
        (endpoint,) = account.list("webhook_endpoints", {"limit": 100})["data"]
        assert endpoint["url"] == webhook_urls(project=project)[f"{mode}_webhook_url"]
        credentials = StripeCredentials.objects.for_project(project).get(mode=mode)
        assert credentials.get_secret("webhook_secret").startswith("whsec_")


def test_seeding_the_demo_again_makes_nothing_twice_and_keeps_passwords(demo_instance: Path) -> None:
    first = seed_demo()
    Plan.objects.for_project(first).filter(code="maker").update(credits_per_day=31)
    passwords = json.loads((demo_instance / "demo-passwords.json").read_text())
    counts = (Plan.objects.for_project(first).count(), PlanPrice.objects.for_project(first).count())
    assert seed_demo() == first
    assert json.loads((demo_instance / "demo-passwords.json").read_text()) == passwords
    assert (Plan.objects.for_project(first).count(), PlanPrice.objects.for_project(first).count()) == counts
    assert Plan.objects.for_project(first).get(code="maker").credits_per_day == 31
    account = stripe_account(first.pk, "test")
    assert len(account.list("webhook_endpoints", {"limit": 100})["data"]) == 1
    assert len(account.list("prices", {"limit": 100})["data"]) == counts[1] // 2
    for email, password in passwords.items():
        user = User.objects.get(email=email)
        assert user.check_password(password)
    assert [group.name for group in User.objects.get(email=MODERATOR_EMAIL).groups.all()] == ["Moderator"]
    assert stat.S_IMODE((demo_instance / "demo-passwords.json").stat().st_mode) == 0o600


def test_the_endpoint_follows_the_instance_to_another_port(demo_instance: Path, settings: Any) -> None:
    project = seed_demo()
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:8001"
    seed_demo()
    (endpoint,) = stripe_account(project.pk, "test").list("webhook_endpoints", {"limit": 100})["data"]
    assert endpoint["url"].startswith("http://127.0.0.1:8001/")


def test_the_cast_can_sign_in_and_its_tokens_work(demo_instance: Path, client: Any) -> None:
    printed = seed().splitlines()
    by_name = {who: line.partition(": ")[2] for who, line in zip(printed[::2], printed[1::2], strict=True)}
    for email in CAST:
        answer = client.post(
            "/api/v1/auth/login", {"email": email, "password": by_name[email]}, content_type="application/json"
        )
        assert answer.status_code == 200
    acme = Project.objects.get(slug="acme")
    roles = Membership.objects.for_project(acme).values_list("user__email", "role")
    assert dict(roles) == {"alice@example.com": "owner", "bob@example.com": "developer"}
    dana = client.get(
        "/api/v1/payments/stripe/my-subscription?test_mode=true",
        headers={"Authorization": f"Bearer {by_name['end user dana of acme']}"},
    )
    assert (dana.status_code, dana.json()) == (200, None)
    (server,) = (key for who, key in by_name.items() if who.startswith("server of acme"))
    status = client.get("/status/acme/dana", headers={"Authorization": f"Bearer {server}"})
    assert status.status_code == 200


def test_seeding_the_cast_again_replaces_secrets_and_doubles_nobody(demo_instance: Path) -> None:
    first = seed()
    assert seed() != first
    assert User.objects.filter(email__in=CAST).count() == len(CAST)
    acme = Project.objects.get(slug="acme")
    assert ApiKey.objects.for_project(acme).count() == 1
    assert EndUser.objects.for_project(acme).count() == 2


def test_an_instance_that_is_no_demo_is_not_seeded(settings: Any) -> None:
    settings.DEMO = False
    before = User.objects.count()
    with pytest.raises(CommandError, match="no demo instance"):
        seed()
    assert User.objects.count() == before


def test_without_a_sandbox_the_demo_has_people_and_a_project_and_no_plans(demo_instance: Path, settings: Any) -> None:
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    project = seed_demo()
    assert not Plan.objects.for_project(project).exists()
    assert User.objects.filter(email=DEVELOPER_EMAIL, is_superuser=False).exists()


def test_the_sandbox_of_the_demo_hands_out_no_key_twice(demo_instance: Path, sandbox: Sandbox) -> None:
    project = seed_demo()
    key = StripeCredentials.objects.for_project(project).get(mode="test").get_secret("secret_key")
    listed = httpx.get(f"{sandbox.url}/_sandbox/api/accounts", timeout=10).text
    assert key not in listed
