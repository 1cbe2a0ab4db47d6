"""What an event costs at the database, besides the mirror."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from entitlements.models import Connection, Plan
from payments.models import Subscription, Transaction
from payments.services.inbox import lease_due_groups
from payments.services.processing import process_group
from payments.webhooks import HANDLERS
from tests.cast import AppUser
from tests.litellm import create_proxy
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.rows import create_plan
from tests.payments.shop import Shop

OF_A_STATUS = 8
OF_A_RENEWAL = 20


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription, with everything that led to it delivered and processed."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Subscription.objects.for_project(shop.project).get()


def new_events(shop: Shop, *, type: str = "") -> list[dict[str, Any]]:
    """Return the events that were not delivered yet, oldest first."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known and event["type"].startswith(type)]


def statements_of(shop: Shop) -> dict[str, list[str]]:
    """Process what is due of this shop; give the statements of each group up to those of the mirror."""
    found = {}
    for group in [group for group in lease_due_groups(limit=200) if group.project_id == shop.project.pk]:
        with CaptureQueriesContext(connection) as queries:
            process_group(group, HANDLERS)
        said = [query["sql"] for query in queries]
        own = [sql for sql in said if not sql.startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))]
        mirror = next(number for number, sql in enumerate(own) if "payments_synclease SET until" in sql)
        found[group.root] = own[:mirror]
    return found


def sell(shop: Shop, bought: Subscription, **gives: Any) -> Plan:
    """Put what was bought on a plan."""
    plan = create_plan(shop.project, **gives)
    plan.prices.create(project=shop.project, mode="test", stripe_price_id=bought.stripe_price_id)
    return plan


def renew(shop: Shop, bought: Subscription) -> dict[str, list[str]]:
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="paid")
    deliver(shop, new_events(shop), process=False)
    return statements_of(shop)


def test_an_event_that_changes_a_status_takes_eight_statements(shop: Shop, bought: Subscription) -> None:
    shop.api("POST", f"subscriptions/{bought.stripe_subscription_id}", cancel_at_period_end="true")
    deliver(shop, new_events(shop, type="customer.subscription.updated"), process=False)
    ((_, statements),) = statements_of(shop).items()
    assert len(statements) <= OF_A_STATUS, "\n".join(statements)
    bought.refresh_from_db()
    assert bought.cancel_at_period_end and bought.cancel_at == bought.current_period_end


def test_a_renewal_is_one_group_and_takes_at_most_twenty_statements(shop: Shop, bought: Subscription) -> None:
    sell(shop, bought, credits_per_period=100, token_budget=1000)
    # Also the event of the invoice's payment, which names no customer: others about that invoice do.
    ((root, statements),) = renew(shop, bought).items()
    assert root == bought.stripe_customer_id and len(statements) <= OF_A_RENEWAL, "\n".join(statements)
    assert Transaction.objects.for_project(shop.project).filter(status="succeeded").count() == 2
    assert not stored(shop.project).unfinished().exists()


def test_so_does_the_renewal_of_a_plan_that_everything_follows(
    shop: Shop, bought: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credits by day and period, a token budget, and a LiteLLM proxy that is told of each plan."""
    monkeypatch.setattr("django.conf.settings.OUTGOING_ALLOWED_HOSTS", ["127.0.0.1"])
    proxy = create_proxy(shop.sandbox.url)
    row = Connection(
        project=shop.project, mode="test", base_url=proxy.base_url, user_id_prefix=f"{shop.project.slug}:test:"
    )
    row.set_master_key(proxy.master_key)
    row.save()
    sell(shop, bought, credits_per_period=100, credits_per_day=5, token_budget=1000, compute_budget_cents=1000)
    # The first one finds another plan than before, and is a change of plan besides.
    renew(shop, bought)
    ((_, statements),) = renew(shop, bought).items()
    assert len(statements) <= OF_A_RENEWAL, "\n".join(statements)
    assert not stored(shop.project).unfinished().exists()
