"""Bills of usage in tests: a subscriber at the sandbox, periods that are over, and what becomes of their charges."""

import datetime as dt
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

from django.db.models.functions import Now

from common import clock
from common.clock import from_unix
from entitlements.models import Meter, Plan, PlanPrice, UsageCharge, UsagePeriod
from entitlements.services.overage import USAGE_BILL
from notifications.models import OutboxRow
from notifications.services.running import carry_out_row, lease_due_rows
from payments.models import Subscription
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.metering import plan_with
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.shop import Shop

QUOTAS = {
    "searches": {"included": 100, "block_at_percent": "never"},
    "tokens": {"included": 1000, "block_at_percent": 200},
}
HOUR = dt.timedelta(hours=1)


def create_maker(shop: Shop) -> Plan:
    """Make a plan that is sold in test mode, with these quotas."""
    set_webhook_secret(shop.project)
    plan = plan_with(shop.project, QUOTAS, code="maker")
    PlanPrice.objects.create(
        project=shop.project,
        plan=plan,
        mode="test",
        interval="month",
        stripe_price_id=shop.price(1000),
        amount_cents=1000,
    )
    return plan


def fresh(shop: Shop) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [one for one in events_of(shop) if one["id"] not in known]


def subscribed(shop: Shop, dana: AppUser, plan: Plan) -> dict[str, Any]:
    """Let dana buy the plan; returns her subscription at Stripe."""
    purchase(shop, dana, plan.prices.get().stripe_price_id)
    deliver(shop, fresh(shop))
    return shop.objects("subscriptions")[0]


def turn(shop: Shop, time_machine: Any, to: str = "renewal") -> dict[str, Any]:
    """Let the subscription come to its renewal, or an hour behind it, at Stripe and here; returns it as it is then."""
    subscription_id = Subscription.objects.for_project(shop.project).get().stripe_subscription_id
    control(shop, f"subscriptions/{subscription_id}/advance", to=to)
    subscription = shop.api("GET", f"subscriptions/{subscription_id}")
    begins = from_unix(subscription["items"]["data"][0]["current_period_start"])
    assert begins is not None
    time_machine.move_to(begins + dt.timedelta(minutes=20) + (HOUR if to != "renewal" else dt.timedelta(0)))
    deliver(shop, fresh(shop))
    return subscription


def lines_of(shop: Shop) -> list[dict[str, Any]]:
    """Return the customer's lines; what is on a test clock is in no list but its customer's."""
    return shop.objects(
        "invoiceitems", customer=Subscription.objects.for_project(shop.project).get().stripe_customer_id
    )


def bills(project: Project) -> Any:
    return OutboxRow.objects.for_project(project).filter(kind=USAGE_BILL)


def run_bills(project: Project) -> list[str]:
    """Carry out the project's bills that wait, and return what became of each."""
    bills(project).unfinished().update(next_attempt_at=Now())
    for _ in range(20):
        rows = lease_due_rows(limit=100)
        for row in rows:
            carry_out_row(row)
        if not rows:
            break
    return list(bills(project).order_by("created_at").values_list("status", flat=True))


def charges(project: Project) -> dict[str, UsageCharge]:
    return {one.meter.code: one for one in UsageCharge.objects.for_project(project).select_related("meter")}


def ended_period(shop: Shop, dana: AppUser, plan: Plan, searches: str = "150", **fields: Any) -> UsagePeriod:
    """Leave a period behind that is over, of a subscription that runs at Stripe."""
    now = clock.now()
    subscription = shop.objects("subscriptions", status="all")[0]
    times = {"starts_at": now - dt.timedelta(days=32), "ends_at": now - dt.timedelta(days=2)}
    period = UsagePeriod.objects.create(
        project=shop.project, end_user=dana.end_user, plan=plan,
        **{"mode": "test", "subscription_id": subscription["id"]} | times | fields,
    )  # fmt: skip
    meter = Meter.objects.for_project(shop.project).get(code="searches")
    period.totals.create(project=shop.project, mode=period.mode, meter=meter, used=Decimal(searches), events=1)
    return period


def forget_keys(shop: Shop) -> None:
    """Let Stripe forget the account's idempotency keys, as it may after a day."""
    with closing(sqlite3.connect(shop.sandbox.data_dir / "sandbox.sqlite3", timeout=20)) as store, store:
        store.execute("DELETE FROM idempotency WHERE account = ?", (shop.account.account_id,))


def go_back(period: UsagePeriod) -> None:
    """Put a period back as a backup has it that was made before it was closed."""
    UsageCharge.objects.filter(period=period).delete()
    bills(period.project).delete()
    UsagePeriod.objects.filter(pk=period.pk).update(closed_at=None, bill_to="")


def metered(shop: Shop) -> str:
    """Make a billing meter at Stripe, and let the project's searches be billed by it; returns its id."""
    form: dict[str, Any] = {"default_aggregation[formula]": "sum"}
    meter = shop.api("POST", "billing/meters", display_name="Searches", event_name="searches", **form)
    Meter.objects.for_project(shop.project).filter(code="searches").update(stripe_event_name="searches")
    return str(meter["id"])


def counted(shop: Shop, meter_id: str) -> float:
    customer = shop.objects("customers")[0]["id"]
    minute = int(clock.now().timestamp()) // 60 * 60
    query = {"customer": customer, "start_time": minute - 3600, "end_time": minute + 3600}
    found = shop.objects(f"billing/meters/{meter_id}/event_summaries", **query)
    return sum(one["aggregated_value"] for one in found)


def paid_of(shop: Shop, invoice_id: str) -> tuple[str, int]:
    found = shop.api("GET", f"invoices/{invoice_id}")
    return found["status"], found["amount_paid"]


def own_invoices(shop: Shop) -> list[dict[str, Any]]:
    return [one for one in shop.objects("invoices") if one["billing_reason"] == "manual"]
