"""What the admin costs with many rows: python -m benchmarks.admin_lists (BENCH_ROWS transactions, a tenth as many subscriptions).

Seeds a database of its own with seed_large, then reads every list, searches and the dashboard as a superuser and as the owner of
the projects. Prints queries and milliseconds of each page, and how PostgreSQL carries out the statements of the largest tables.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import urlencode

from benchmarks.harness import ROWS, plan_of, running_stores, table

QUERIES_MAX = 15
PLANS_SHOWN = ("payments.Transaction", "payments.Subscription", "projects.EndUser")
SEARCHES = {
    "projects.EndUser": ["large-user-777@", "large-user-4242"],
    "payments.Subscription": ["sub_large777", "large-user-777@example.com"],
    "payments.Transaction": ["pi_large777x1", "large-user-777@example.com"],
    "payments.Invoice": ["in_large777x1"],
    "payments.StripeCustomer": ["cus_large777"],
    "payments.WebhookEvent": ["evt_large777c"],
    "notifications.OutboxRow": ["mail:large:777"],
}
EVERYWHERE = ["large-user-777@example.com", "pi_large777x1", "large-user-42"]
FILTERS = {
    "payments.Transaction": [
        {"status__exact": "failed"},
        {"mode__exact": "test"},
        {"disputed__exact": "1"},
        {"p": "100"},
    ],
    "payments.Subscription": [{"status": "past_due"}, {"p": "100"}],
    "payments.Invoice": [{"status": "open"}],
}


def pages() -> list[tuple[str, str]]:
    """Name the pages to read: every list, with searches and filters for the large ones, and the dashboard."""
    from django.contrib import admin
    from django.urls import reverse

    found = [("dashboard", "/admin/")]
    for model in admin.site._registry:
        label = model._meta.label
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        found.append((label, path))
        found += [(f"{label} ?q={term}", f"{path}?{urlencode({'q': term})}") for term in SEARCHES.get(label, [])]
        found += [(f"{label} ?{urlencode(one)}", f"{path}?{urlencode(one)}") for one in FILTERS.get(label, [])]
    found += [(f"search {term}", f"{reverse('backoffice:search')}?{urlencode({'q': term})}") for term in EVERYWHERE]
    return found + _single_pages()


def _single_pages() -> list[tuple[str, str]]:
    """Name the pages about one thing, each of somebody or something in the middle of the rows."""
    from django.urls import reverse

    from payments.models import Subscription, Transaction, WebhookEvent

    row = Subscription.objects.get(stripe_subscription_id="sub_large777")
    payment = Transaction.objects.filter(subscription=row).latest("created_at")
    event = WebhookEvent.objects.for_project(row.project_id).latest("received_at")
    return [
        ("end user", reverse("backoffice:end-user", args=[row.end_user_id])),
        ("end user in a mode", reverse("backoffice:end-user-in-mode", args=[row.end_user_id, row.mode])),
        ("what the user sees", reverse("backoffice:preview", args=[row.end_user_id, row.mode])),
        ("event", reverse("backoffice:event", args=[event.pk])),
        ("project", reverse("backoffice:project", args=[row.project_id])),
        ("subscription", reverse("admin:payments_subscription_change", args=[row.pk])),
        ("payment", reverse("admin:payments_transaction_change", args=[payment.pk])),
    ]


def export_everything(email: str) -> None:
    """Make one file of all payments as a worker does, and say how long it took and how large it is."""
    from accounts.models import User
    from backoffice.models import Export
    from backoffice.services.exports.listings import Wanted
    from backoffice.services.exports.making import make_due_exports, request_export

    maker = User.objects.get(email=email)
    asked = request_export(actor=maker, wanted=Wanted(what="payments"), file_format="csv")
    began = time.monotonic()
    make_due_exports()
    asked = Export.objects.get(pk=asked.pk)
    print(
        f"export of payments as CSV: {asked.status}, {asked.rows_written:,} rows, {asked.size_bytes / 1e6:.0f} MB in "
        f"{time.monotonic() - began:.0f} s {asked.error}\n"
    )


def measure(email: str) -> list[list[Any]]:
    """Read every page as somebody; returns name, queries, milliseconds, the slowest statement and its own milliseconds."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User

    client = Client()
    client.force_login(User.objects.get(email=email), backend="accounts.backends.LimitedBackend")
    rows: list[list[Any]] = []
    for name, path in pages():
        client.get(path)
        with CaptureQueriesContext(connection) as captured:
            began = time.perf_counter()
            answer = client.get(path)
            taken = (time.perf_counter() - began) * 1000
        if answer.status_code == 403:
            continue
        queries = captured.captured_queries
        slowest = max(queries, key=lambda query: float(query["time"]))
        rows.append(
            [name, answer.status_code, len(queries), round(taken), round(float(slowest["time"]) * 1000), slowest["sql"]]
        )
    return rows


def main() -> None:
    """Seed, measure and report."""
    with running_stores():
        from django.contrib import admin
        from django.test import RequestFactory

        from accounts.models import User
        from backoffice import large_seed

        began = time.monotonic()
        large_seed.seed_large(
            subscriptions=ROWS // 10, transactions=ROWS, tell=lambda line: print(line, file=sys.stderr, flush=True)
        )
        print(f"seeded {ROWS // 10:,} subscriptions and {ROWS:,} transactions in {time.monotonic() - began:.0f} s\n")
        root = User.objects.create_user("root@example.com", None, is_staff=True, is_superuser=True)
        for who, email in (("superuser", root.email), ("owner of the projects", large_seed.OWNER)):
            measured = measure(email)
            single = {name for name, _ in _single_pages()}
            lists = [row for row in measured if row[0] not in single]
            # A search that finds one thing leads to it.
            over = [row[:3] for row in lists if row[2] > QUERIES_MAX or row[1] not in (200, 302)]
            print(
                f"## {who}: {len(lists)} lists, searches and the dashboard, over {QUERIES_MAX} queries or refused: {over}\n"
            )
            about_one = [[row[0], *row[2:5]] for row in measured if row[0] in single]
            print(table(["page about one thing", "queries", "ms", "slowest statement, ms"], about_one), "\n")
            shown = sorted(measured, key=lambda row: -row[3])[:25]
            print(
                table(["page", "queries", "ms", "slowest statement, ms"], [[row[0], *row[2:5]] for row in shown]), "\n"
            )
            for row in shown[:6]:
                print(f"{row[0]}: {row[4]} ms\n{row[5][:1500]}\n")
        export_everything(root.email)
        request = RequestFactory().get("/")
        request.user = root
        for model, model_admin in admin.site._registry.items():
            if model._meta.label in PLANS_SHOWN:
                rows = model_admin.get_queryset(request).order_by(*(model_admin.get_ordering(request) or ["-pk"]))[:100]
                sql, values = rows.query.sql_with_params()
                print(f"### {model._meta.label}, first page\n\n```\n{plan_of(sql, values)}\n```\n")
                for term in SEARCHES[model._meta.label]:
                    found, _ = model_admin.get_search_results(request, model_admin.get_queryset(request), term)
                    ordered = found.order_by(*(model_admin.get_ordering(request) or ["-pk"]))[:100]
                    sql, values = ordered.query.sql_with_params()
                    print(f"### {model._meta.label}, search for {term}\n\n```\n{plan_of(sql, values)}\n```\n")


if __name__ == "__main__":
    main()
