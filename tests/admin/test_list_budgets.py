"""Every list of the admin answers in a fixed number of queries and counts nothing without a limit, however many rows there are."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

import common.admin_lists
from accounts.models import User
from backoffice import large_seed
from entitlements.services.ledger import grant_credits
from moderation.services.action_log import log_action
from payments.models import Invoice, RevenueDay, Subscription, Transaction, WebhookEvent
from payments.services.rollups import find_rollup_differences
from projects.models import EndUser, Project

QUERIES_MAX = 15
SUBSCRIPTIONS, TRANSACTIONS = 120, 360
# Rows enough of these for a query per row to show.
MANY = {
    "projects.EndUser", "payments.StripeCustomer", "payments.Subscription", "entitlements.Entitlement",
    "payments.SubscriptionChange", "payments.Transaction", "payments.Invoice", "payments.WebhookEvent",
    "notifications.OutboxRow",
}  # fmt: skip
_COUNT = re.compile(r"\bCOUNT\(", re.IGNORECASE)


@pytest.fixture(scope="module")
def shops(run_database: str, django_db_blocker: Any) -> Iterator[list[str]]:
    """A shop that has run for years, on a small scale; returns what the command said."""
    said: list[str] = []
    with django_db_blocker.unblock():
        large_seed.seed_large(subscriptions=SUBSCRIPTIONS, transactions=TRANSACTIONS, tell=said.append, size=50)
        for number in range(QUERIES_MAX):
            project = Project.objects.get(slug=f"large-{1 + number % large_seed.PROJECTS}")
            log_action(action="budget.looked_at", subject=str(number), actor=None, project_id=project.pk)
        yield said
        large_seed.remove_large(tell=said.append)
        assert not Project.objects.filter(slug__startswith="large-").exists()
        assert not Transaction.objects.filter(payment_intent_id__startswith="pi_large").exists()
        assert find_rollup_differences() == []


def staff(kind: str) -> Client:
    """A browser of a superuser, or of the developer who owns the shops."""
    client = Client()
    if kind == "developer":
        client.force_login(User.objects.get(email=large_seed.OWNER), backend="accounts.backends.LimitedBackend")
        return client
    user = User.objects.filter(email="budget-admin@example.com").first()
    user = user or User.objects.create_user("budget-admin@example.com", None, is_staff=True, is_superuser=True)
    client.force_login(user, backend="accounts.backends.LimitedBackend")
    return client


def read(client: Client, path: str) -> tuple[Any, list[str]]:
    """Return a page and the statements that it took, the session's own included."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page = client.get(path)
    return page, [query["sql"] for query in captured.captured_queries]


def problems_of(path: str, statements: list[str]) -> list[str]:
    """Say what is wrong with how a page was read."""
    found = [f"{path}: {len(statements)} queries"] if len(statements) > QUERIES_MAX else []
    return found + [f"{path}: {sql[:300]}" for sql in statements if _COUNT.search(sql) and "LIMIT" not in sql]


def test_the_seed_writes_what_it_says_and_refuses_politely_the_second_time(shops: list[str]) -> None:
    ours = Project.objects.filter(slug__startswith="large-")
    assert ours.count() == large_seed.PROJECTS
    counts = [model.objects.filter(project__in=ours).count() for model in (Subscription, EndUser, Transaction, Invoice)]
    assert counts == [SUBSCRIPTIONS, SUBSCRIPTIONS, TRANSACTIONS, TRANSACTIONS]
    assert WebhookEvent.objects.filter(project__in=ours).count() == 2 * SUBSCRIPTIONS
    # The roll-ups are what the rows say.
    assert sum(RevenueDay.objects.filter(project__in=ours).values_list("payments", flat=True)) == TRANSACTIONS
    assert find_rollup_differences() == []
    assert [line.split(" after")[0] for line in shops[:3]] == [
        "50 subscriptions and 150 transactions",
        "100 subscriptions and 300 transactions",
        "120 subscriptions and 360 transactions",
    ]
    with pytest.raises(CommandError, match=r"are here already.*--remove"):
        call_command("seed_large", "--outside-the-demo")
    with pytest.raises(CommandError, match="no demo instance"):
        call_command("seed_large")
    assert Transaction.objects.filter(project__in=ours).count() == TRANSACTIONS


@pytest.mark.parametrize(
    ("kind", "large"), [("superuser", True), ("developer", False)], ids=["superuser_large", "developer_small"]
)
def test_every_list_answers_in_few_queries_and_counts_nothing_without_a_limit(
    shops: list[str], monkeypatch: pytest.MonkeyPatch, kind: str, large: bool
) -> None:
    if large:
        monkeypatch.setattr(common.admin_lists, "LARGE_ROWS", -1)
    client, problems, seen = staff(kind), [], set()
    client.get("/admin/")
    for model in admin.site._registry:
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        page, statements = read(client, path)
        if page.status_code == 403 and kind == "developer":
            continue
        assert page.status_code == 200, path
        seen.add(model._meta.label)
        problems += problems_of(path, statements)
        if model._meta.label in MANY:
            assert len(page.context["cl"].result_list) >= 50, path
            problems += problems_of(f"{path}?q=", read(client, f"{path}?q=large-user-7@example.com")[1])
            # The facets of filters would count every row for each of them.
            problems += problems_of(f"{path}?_facets", read(client, f"{path}?_facets=True")[1])
    assert problems == []
    assert seen >= MANY


def test_large_tables_are_searched_by_index_and_give_the_same_rows(
    shops: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = staff("superuser")
    asked = {
        "payments_subscription": ["sub_large7", "large-user-7@example.com", "cus_large7"],
        "payments_transaction": ["pi_large7x1", "ch_large7x1", "in_large7x1", "LARGE-USER-7@example"],
        "payments_stripecustomer": ["cus_large7", "large-user-7@example.com"],
        "payments_invoice": ["in_large7x1", "large-user-7@example.com"],
        "payments_webhookevent": ["evt_large7c", "sub_large7"],
        "projects_enduser": ["large-user-7@", "large-user-119"],
        "notifications_outboxrow": ["mail:large:7"],
    }

    def found(page: str, term: str) -> tuple[set[str], list[str]]:
        answer, statements = read(client, f"{reverse(f'admin:{page}_changelist')}?q={term}")
        return {str(row.pk) for row in answer.context["cl"].result_list}, statements

    for page, terms in asked.items():
        for term in terms:
            monkeypatch.setattr(common.admin_lists, "LARGE_ROWS", 10**9)
            small, _ = found(page, term)
            monkeypatch.setattr(common.admin_lists, "LARGE_ROWS", -1)
            large, statements = found(page, term)
            # A whole id is found as such, and a word within a text on a small table also elsewhere.
            assert large and large <= small, (page, term)
            assert not any("LIKE UPPER('%" in sql for sql in statements), (page, term)
    assert found("payments_transaction", "Subscription update")[0] == set()


def test_a_large_list_is_sorted_by_an_index_and_paged_within_bounds(
    shops: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common.admin_lists, "COUNT_MAX", 150)
    monkeypatch.setattr(common.admin_lists, "PAGES_MAX", 3)
    client, path = staff("superuser"), reverse("admin:payments_transaction_changelist")
    first = client.get(path)
    times = [row.created_at for row in first.context["cl"].result_list]
    assert times == sorted(times, reverse=True), "the newest first"
    assert "more than 150 rows" in first.content.decode()
    assert len(client.get(f"{path}?p=3").context["cl"].result_list) == 100
    beyond = client.get(f"{path}?p=4")
    assert beyond.status_code == 302 and "e=1" in beyond["Location"], [
        str(one) for one in get_messages(beyond.wsgi_request)
    ]
    counted = staff("developer").get(f"{path}?mode__exact=test").content.decode()
    assert re.search(r"18\s+rows", counted), "what was counted to the end"
    monkeypatch.setattr(common.admin_lists, "LARGE_ROWS", -1)
    columns = first.context["cl"].list_display
    by_amount = columns.index("amount")
    _, statements = read(client, f"{path}?o=-{by_amount}")
    assert not any('ORDER BY "payments_transaction"."amount_cents"' in sql for sql in statements)
    assert any('ORDER BY "payments_transaction"."created_at" DESC' in sql for sql in statements)
    # No grouping of all rows by their dates.
    assert not any("DATE_TRUNC" in sql for sql in statements)


def test_what_is_in_each_wallet_of_a_page_is_read_at_once(acme: Project) -> None:
    for number in range(1, QUERIES_MAX + 2):
        user = EndUser.objects.create(project=acme, external_id=f"saver-{number}")
        whose: Any = {"project_id": acme.pk, "mode": "test", "end_user_id": user.pk}
        grant_credits(bucket="bonus", amount=number, key=f"budget-{number}", **whose)
    page, statements = read(staff("superuser"), reverse("admin:entitlements_creditwallet_changelist"))
    assert problems_of("wallets", statements) == []
    held = {row.end_user.external_id: row.balance["available"] for row in page.context["cl"].result_list}
    assert held["saver-1"] == 1 and held["saver-16"] == 16
