"""Credit packs in the admin: made with their prices on one page, by those who may, and told apart."""

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from entitlements.models import CreditPack, CreditPackPrice
from payments.models import CheckoutSession
from projects.models import Membership, Project, Role
from tests.payments.actors import create_project
from tests.payments.rows import create_credit_purchase, create_end_user

ADD = "admin:entitlements_creditpack_add"


def sign_in(project: Project, role: str) -> Client:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    Membership.objects.create(project=project, user=user, role=role)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def form(project: Project, *prices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write what the page sends: a pack and its prices."""
    sent: dict[str, Any] = {
        "project": str(project.pk),
        "code": "small",
        "name": "Small",
        "credits": "100",
        "active": "on",
    }
    sent |= {"prices-TOTAL_FORMS": len(prices), "prices-INITIAL_FORMS": 0} | fields
    for number, price in enumerate(prices):
        values = {"mode": "test", "amount_cents": "500", "currency": "USD", "active": "on"} | price
        sent |= {f"prices-{number}-{name}": value for name, value in values.items()}
    return sent


def said(answer: Any) -> str:
    assert answer.status_code == 200
    return " ".join(re.findall(r"[^<>]*(?:Give|Another|Please|already)[^<>]*", answer.content.decode()))


def test_a_developer_makes_a_pack_with_its_prices() -> None:
    project = create_project()
    client = sign_in(project, Role.DEVELOPER)
    made = client.post(reverse(ADD), form(project, {}, {"mode": "live", "stripe_price_id": "price_1"}))
    assert made.status_code == 302, said(made)
    pack = CreditPack.objects.for_project(project).get()
    rows = CreditPackPrice.objects.for_project(project).order_by("-mode")
    assert [(row.pack, row.mode, row.amount_cents, row.currency, row.stripe_price_id) for row in rows] == [
        (pack, "test", 500, "usd", ""), (pack, "live", 500, "usd", "price_1"),
    ]  # fmt: skip
    listed = client.get(reverse("admin:entitlements_creditpack_changelist")).content.decode()
    assert "5.00 USD (test)" in listed and "5.00 USD (live)" in listed


@pytest.mark.parametrize(
    ("fields", "prices", "message"),
    [
        ({"credits": "0"}, [{}], "1 or more"),
        ({"code": "taken"}, [{}], "Another pack"),
        ({}, [{"amount_cents": "0"}], "1 or more"),
        ({}, [{"amount_cents": "1000000000000"}], "at most 999,999,999,999"),
        ({}, [{"currency": "u$"}], "three letters"),
        ({}, [{"lookup_key": "taken"}], "Another pack"),
        ({}, [{}, {}], "already"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    fields: dict[str, Any], prices: list[dict[str, Any]], message: str
) -> None:
    project = create_project()
    taken = CreditPack.objects.create(project=project, code="taken", name="Taken", credits=1)
    CreditPackPrice.objects.create(project=project, pack=taken, mode="test", amount_cents=1, lookup_key="taken")
    answer = sign_in(project, Role.DEVELOPER).post(reverse(ADD), form(project, *prices, **fields))
    if message == "already":
        assert answer.status_code == 200
    else:
        assert message in said(answer), answer.content.decode()[-3000:]
    assert CreditPack.objects.for_project(project).count() == 1


def test_only_those_who_may_change_a_project_make_packs_of_it() -> None:
    project, other = create_project(), create_project("Other")
    assert sign_in(project, Role.VIEWER).post(reverse(ADD), form(project, {})).status_code == 403
    assert sign_in(other, Role.OWNER).post(reverse(ADD), form(project, {})).status_code == 200
    assert not CreditPack.objects.filter(project__in=[project, other]).exists()


def test_a_purchase_shows_what_was_taken_back() -> None:
    project = create_project()
    session = CheckoutSession.objects.create(
        project=project, mode="test", end_user=create_end_user(project), purchase_key="k",
        stripe_idempotency_key=uuid.uuid4().hex,
    )  # fmt: skip
    bought = create_credit_purchase(session)
    page = sign_in(project, Role.VIEWER).get(reverse("admin:payments_creditpurchase_change", args=[bought.pk]))
    assert page.status_code == 200
    assert bought.clawbacks.get().cause in page.content.decode()
