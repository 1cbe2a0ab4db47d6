"""manage.py reconcile --kind import: an account that sold before it came here (D4)."""

import datetime as dt
from typing import Any

from django.utils import timezone

from entitlements.models import PlanPrice
from notifications.models import OutboxRow
from payments.models import Invoice, StripeCredentials, StripeCustomer, Subscription, Transaction
from payments.services.invariants import check_invariants
from tests.cast import AppUser
from tests.payments.rows import create_plan
from tests.payments.shop import Shop
from tests.reconcile.runs import all_rows, reconcile, runs
from tests.scenarios.lifecycle import Life

TOKEN = "pm_card_visa"


def sold_elsewhere(shop: Shop, price: str, **customer: Any) -> str:
    """Sell a subscription as the owner did before; returns the customer's id."""
    buyer = shop.api("POST", "customers", **customer)
    method = shop.api("POST", f"payment_methods/{TOKEN}/attach", customer=buyer["id"])
    sold: dict[str, Any] = {"default_payment_method": method["id"], "items[0][price]": price}
    shop.api("POST", "subscriptions", customer=buyer["id"], **sold)
    return str(buyer["id"])


def test_customers_and_subscriptions_come_in_and_nothing_is_sent(life: Life, erin: AppUser) -> None:
    shop, project = life.shop, life.shop.project
    plan = create_plan(project)
    PlanPrice.objects.create(project=project, plan=plan, mode="test", stripe_price_id=life.prices[0])
    erin.end_user.email = "erin@example.com"
    erin.end_user.save()
    user_id = str(life.user.end_user.pk)
    named = sold_elsewhere(shop, life.prices[0], email="dana@example.com", **{"metadata[end_user_id]": user_id})
    guessed = sold_elsewhere(shop, life.prices[0], email="erin@example.com")
    StripeCredentials.objects.for_project(project).update(configured_at=timezone.now() + dt.timedelta(minutes=1))
    code, said = reconcile(shop, "--kind", "import", "--dry-run")
    assert code == 1 and not Subscription.objects.for_project(project).exists()
    code, said = reconcile(shop, "--kind", "import")
    assert code == 0, said
    mine = Subscription.objects.for_project(project).get(stripe_customer_id=named)
    assert (mine.end_user_id, mine.plan_id, mine.status) == (life.user.end_user.pk, plan.pk, "active")
    assert Subscription.objects.for_project(project).get(stripe_customer_id=guessed).end_user_id is None
    assert StripeCustomer.objects.for_project(project).get(stripe_customer_id=guessed).end_user_id is None
    assert "1 customers name no end user" in said and guessed in said and named not in said.rpartition("1 customers")[2]
    assert Transaction.objects.for_project(project).count() == Invoice.objects.for_project(project).count() == 2
    effects = OutboxRow.objects.for_project(project).exclude(kind="stripe_customer")
    assert set(effects.values_list("status", flat=True)) <= {"skipped"}
    assert check_invariants(project_id=project.pk) == []


def test_importing_again_changes_nothing(life: Life) -> None:
    sold_elsewhere(life.shop, life.prices[0])
    reconcile(life.shop, "--kind", "import")
    before = all_rows(life.shop)
    assert reconcile(life.shop, "--kind", "import")[0] == 0
    assert all_rows(life.shop) == before and runs(life.shop).last().differences == 0


def test_a_customer_that_is_named_later_is_bound_by_the_next_import(life: Life) -> None:
    shop = life.shop
    customer = sold_elsewhere(shop, life.prices[0])
    reconcile(shop, "--kind", "import")
    named: dict[str, Any] = {"metadata[end_user_id]": str(life.user.end_user.pk)}
    shop.api("POST", f"customers/{customer}", **named)
    reconcile(shop, "--kind", "import")
    assert StripeCustomer.objects.for_project(shop.project).get().end_user_id == life.user.end_user.pk
    assert Subscription.objects.for_project(shop.project).get().end_user_id == life.user.end_user.pk
    assert Transaction.objects.for_project(shop.project).get().end_user_id == life.user.end_user.pk


def test_nobody_elses_end_user_is_bound(life: Life, frank: AppUser) -> None:
    """Metadata that name another project's end user bind nobody."""
    sold_elsewhere(life.shop, life.prices[0], **{"metadata[end_user_id]": str(frank.end_user.pk)})
    reconcile(life.shop, "--kind", "import")
    assert StripeCustomer.objects.for_project(life.shop.project).get().end_user_id is None
