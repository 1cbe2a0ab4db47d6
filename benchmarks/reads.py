"""What reads cost as tables grow: python -m benchmarks.reads (BENCH_ROWS=1000000).

The same calls through the whole service (URL, authentication, query, JSON) on a project with few rows and again when it has
BENCH_ROWS more: my-subscription, the first and the 10,000th page of a list, and the statistics.
"""

from __future__ import annotations

import uuid
from typing import Any

from benchmarks.harness import ROWS, milliseconds, plan_of, running_stores, table

PAGE_SIZE = 50
DEEP_PAGE = 10_000
SMALL = 10_000


def seed(project_id: Any, subscriptions: int, payments: int) -> None:
    """Write rows in bulk, as a service that has run for years would hold them; half of them of other end users."""
    from django.db import connection

    from common.long_statements import long_statements

    with long_statements() as cursor:
        cursor.execute(
            """
            INSERT INTO payments_subscription (id, project_id, mode, stripe_subscription_id, stripe_customer_id, status,
                stripe_price_id, quantity, cancel_at_period_end, created_at)
            SELECT gen_random_uuid(), %s, 'test', 'sub_' || gen_random_uuid(), 'cus_' || n,
                (ARRAY['active', 'active', 'canceled', 'past_due'])[1 + n %% 4], '', 1, false, now() - n * interval '1 second'
            FROM generate_series(1, %s) n
            """,
            [project_id, subscriptions],
        )
        cursor.execute(
            """
            INSERT INTO payments_transaction (id, project_id, mode, payment_intent_id, status, amount_cents, currency, created_at,
                stripe_invoice_id, stripe_charge_id, stripe_customer_id, description, receipt_url, invoice_pdf, failure_code,
                failure_message, refunded_amount_cents, disputed)
            SELECT gen_random_uuid(), %s, 'test', 'pi_' || gen_random_uuid(), 'succeeded', 1000 + n %% 7,
                (ARRAY['usd', 'eur'])[1 + n %% 2], now() - n * interval '20 seconds', '', '', '', '', '', '', '', '', 0, false
            FROM generate_series(1, %s) n
            """,
            [project_id, payments],
        )
    from payments.services.rollups import fold_rollups

    fold_rollups()
    with connection.cursor() as cursor:
        cursor.execute(
            "VACUUM ANALYZE payments_subscription, payments_transaction, payments_revenueday, payments_revenuedelta"
        )


class Caller:
    """A developer and an end user of one project, calling the service in this process."""

    def __init__(self) -> None:
        from django.test import Client

        from accounts.models import User
        from accounts.services.tokens import issue_login_tokens
        from payments.models import Subscription
        from projects.models import EndUser, Membership, Project
        from projects.principals import ServerPrincipal
        from projects.services.api_keys import create_api_key
        from projects.services.end_user_tokens import mint_end_user_token

        user = User.objects.create_user(f"bench-{uuid.uuid4().hex[:8]}@example.com", "long enough password")
        self.project = Project.objects.create(name="Bench", slug=f"bench-{uuid.uuid4().hex[:8]}")
        Membership.objects.create(project=self.project, user=user, role="owner")
        end_user = EndUser.objects.create(project=self.project, external_id="user-1")
        self._configure()
        Subscription.objects.create(
            id=uuid.uuid4(), project=self.project, mode="test", end_user=end_user, stripe_subscription_id=f"sub_{uuid.uuid4().hex}",
            status="active", created_at=end_user.created_at,
        )  # fmt: skip
        self._developer = Client(headers={"Authorization": f"Bearer {issue_login_tokens(user=user).access_token}"})
        key, _ = create_api_key(project=self.project, created_by=user, name="Bench", is_test_mode=True)
        server = ServerPrincipal(api_key=key, project=self.project, mode="test")
        token = mint_end_user_token(server=server, user_id="user-1", email=None, ttl_seconds=3600, test_only=False)
        self._end_user = Client(headers={"Authorization": f"Bearer {token.access_token}"})

    def _configure(self) -> None:
        """Save a key that nobody asks Stripe about: reads never call Stripe."""
        from payments.models import StripeConfig, StripeCredentials

        row = StripeCredentials(
            config=StripeConfig.objects.create(project=self.project), project=self.project, mode="test"
        )
        row.set_secret("secret_key", "sk_test_" + "benchmark" * 3)
        row.save()

    def my_subscription(self) -> None:
        """Ask what the end user is on."""
        self._checked(self._end_user.get("/api/v1/payments/stripe/my-subscription"), "status")

    def stats(self) -> None:
        """Ask for the developer's figures."""
        self._checked(self._developer.get("/api/v1/payments/stats?test_mode=true"), "total_payments")

    def page(self, cursor: str) -> str:
        """Read a page of payments and return the cursor of the next one."""
        path = f"/api/v1/payments/stripe/projects/{self.project.pk}/payments"
        answer = self._developer.get(path, {"page_size": PAGE_SIZE, "cursor": cursor})
        return str(self._checked(answer, "payments")["next_cursor"] or "")

    def _checked(self, answer: Any, name: str) -> Any:
        body = answer.json()
        if answer.status_code != 200 or name not in body:
            raise RuntimeError(f"{answer.status_code}: {answer.content[:300]!r}")
        return body


def deep_cursor(project_id: Any) -> str:
    """Name the position of page DEEP_PAGE, or of the last one there is, as the pages before it would."""
    from common.paging import encode_cursor
    from payments.models import Transaction

    rows = Transaction.objects.for_project(project_id).order_by("-created_at", "-pk")
    row = rows[min(DEEP_PAGE * PAGE_SIZE, rows.count() - PAGE_SIZE - 1)]
    return encode_cursor(row.created_at, row.pk)


def main() -> None:
    """Measure before and after the rows came, and print."""
    with running_stores(DATABASE_POOL="false"):
        caller = Caller()
        seed(caller.project.pk, SMALL // 10, SMALL)
        before = {"my-subscription": milliseconds(caller.my_subscription), "statistics": milliseconds(caller.stats)}
        seed(caller.project.pk, ROWS, ROWS)
        after = {"my-subscription": milliseconds(caller.my_subscription), "statistics": milliseconds(caller.stats)}
        first = milliseconds(lambda: caller.page(""))
        cursor = deep_cursor(caller.project.pk)
        deep = milliseconds(lambda: caller.page(cursor))
        rows: list[list[Any]] = [
            [name, f"{SMALL:,} rows", before[name], f"{ROWS:,} rows more", after[name], after[name] / before[name]]
            for name in before
        ]
        rows.append(
            [
                "payments, a page of 50",
                "page 1",
                first,
                f"page {min(DEEP_PAGE, ROWS // PAGE_SIZE):,}",
                deep,
                deep / first,
            ]
        )
        print(table(["what", "floor", "ms", "measured at", "ms", "ratio"], rows))
        print("\nThe deep page:\n" + deep_plan(caller.project.pk, cursor))


def deep_plan(project_id: Any, cursor: str) -> str:
    """Explain the deep page's query."""
    from common.paging import decode_cursor

    at, pk = decode_cursor(cursor)
    sql = """SELECT * FROM payments_transaction WHERE project_id = %s AND mode = 'test' AND created_at <= %s
        AND NOT (created_at = %s AND id >= %s) ORDER BY created_at DESC, id DESC LIMIT 51"""
    return plan_of(sql, [project_id, at, at, pk])


if __name__ == "__main__":
    main()
