"""GET my-payments: own payments only, newest first, by page or by cursor."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from payments.models import StripeConfig, StripeCredentials
from projects.models import Project
from tests.cast import create_app_user
from tests.payments.rows import create_payment, create_subscription
from tests.payments.shop import STRIPE, get

pytestmark = pytest.mark.usefixtures("configured")
LEAF = "my-payments"


@pytest.fixture
def configured(acme: Project) -> None:
    """Acme has keys for both modes; nothing here reaches Stripe with them."""
    config = StripeConfig.objects.create(project=acme)
    for mode in ("test", "live"):
        row = StripeCredentials(config=config, project=acme, mode=mode)
        row.set_secret("secret_key", f"sk_{mode}_neverSentAnywhere")
        row.save()


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [payment["id"] for payment in answer.json()["payments"]]


def several(project: Project, user: Any, count: int) -> list[str]:
    """Make payments one minute apart, some in the same second; newest first."""
    now = clock.now()
    rows = [
        create_payment(project, end_user=user.end_user, created_at=now - dt.timedelta(minutes=number // 2))
        for number in range(count)
    ]
    return [str(row.pk) for row in sorted(rows, key=lambda row: (row.created_at, row.pk), reverse=True)]


def test_it_lists_whole_payments(acme: Project, dana: Any) -> None:
    subscription = create_subscription(acme, end_user=dana.end_user)
    row = create_payment(
        acme,
        end_user=dana.end_user,
        subscription=subscription,
        amount_cents=1299,
        currency="eur",
        receipt_url="https://pay.example/receipt",
        invoice_pdf="https://pay.example/invoice.pdf",
        stripe_invoice_id="in_1",
    )
    body = get(dana, LEAF).json()
    assert (body["total"], body["page"], body["page_size"]) == (1, 1, 50)
    payment = body["payments"][0]
    assert payment["id"] == str(row.pk)
    assert (payment["amount_cents"], payment["currency"], payment["refunded_amount_cents"]) == (1299, "eur", 0)
    assert payment["subscription_id"] == str(subscription.pk)
    assert (payment["user_id"], payment["external_user_id"]) == (str(dana.end_user.pk), dana.user_id)
    assert (payment["receipt_url"], payment["invoice_pdf"]) == (
        "https://pay.example/receipt",
        "https://pay.example/invoice.pdf",
    )


def test_pages_and_cursors_show_every_payment_once(acme: Project, dana: Any) -> None:
    wanted = several(acme, dana, 7)
    assert ids(get(dana, LEAF, "?page_size=3")) + ids(get(dana, LEAF, "?page_size=3&page=2")) == wanted[:6]
    shown: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = get(dana, LEAF, f"?page_size=3&cursor={cursor}")
        shown += ids(answer)
        assert "total" not in answer.json()
        cursor = answer.json()["next_cursor"]
    assert shown == wanted


def test_only_ones_own_payments_are_shown(acme: Project, other_project: Project, dana: Any, erin: Any) -> None:
    mine = create_payment(acme, end_user=dana.end_user)
    create_payment(acme, end_user=erin.end_user)
    create_payment(acme)
    create_payment(acme, end_user=dana.end_user, mode="live")
    create_payment(other_project)
    assert ids(get(dana, LEAF)) == [str(mine.pk)]
    assert get(dana, LEAF).json()["total"] == 1


def test_the_number_of_queries_does_not_grow(acme: Project, dana: Any) -> None:
    counts = []
    for amount in (1, 20):
        several(acme, dana, amount)
        with CaptureQueriesContext(connection) as queries:
            get(dana, LEAF)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 4


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=1.5", "page_size=0", "page_size=101", "cursor=x", "test_mode=x"]
)
def test_odd_parameters_are_422_and_named(dana: Any, query: str) -> None:
    answer = get(dana, LEAF, f"?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_mode_without_keys_is_404(acme: Project, dana: Any) -> None:
    StripeCredentials.objects.for_project(acme).filter(mode="live").delete()
    answer = get(dana, LEAF, "?test_mode=false")
    assert (answer.status_code, answer.json()["code"]) == (404, "stripe_not_configured")


def test_a_test_only_token_never_reaches_live(acme: Project) -> None:
    tester = create_app_user(acme, "tester", test_only=True)
    assert get(tester, LEAF).status_code == 200
    assert get(tester, LEAF, "?test_mode=false").status_code == 401


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        assert client.get(f"{STRIPE}/{LEAF}", headers=headers).status_code == 401
