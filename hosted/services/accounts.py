"""What somebody's account page shows, read from our own rows in a bounded number of queries: no call to Stripe."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from common import clock
from entitlements.models import PlanPrice
from entitlements.services.entitled import Entitled, read_entitled
from entitlements.services.packs import PackOrder, packs_on_sale
from hosted.models import HostedSession
from hosted.services.charts import Chart, credits_by_day, tokens_by_period
from hosted.services.holdings import UsageShown, licenses_of, read_meters
from licenses.models import License
from payments.models import Invoice, Subscription, Transaction
from payments.services.access import Access, access_of
from payments.services.checkout import BLOCKING_STATUSES

PAYMENTS_SHOWN = 10
PAGES_MAX = 100


@dataclass(frozen=True)
class PlanHeld:
    """The subscription that somebody has, and what follows of it. Units: `amount_cents` is minor units of `currency`."""

    subscription: Subscription
    access: Access
    # What it pays, when the price is one of the project's plans.
    price: PlanPrice | None
    # What is owed, with Stripe's page to pay it at.
    owed: Invoice | None = None

    @property
    def status(self) -> str:
        """Stripe's status."""
        return self.subscription.status

    @property
    def amount_cents(self) -> int | None:
        """What is charged each time, before discounts and taxes."""
        return self.price.amount_cents * self.subscription.quantity if self.price else None

    @property
    def next_plan_name(self) -> str:
        """The plan that follows when this period ends; "" when it is the same."""
        other = self.price is not None and self.price.plan_id != self.subscription.plan_id
        return self.price.plan.name if other and self.price else ""

    @property
    def ends_at(self) -> dt.datetime | None:
        """When it ends, once it was canceled."""
        row = self.subscription
        if row.cancel_at is not None:
            return row.cancel_at
        return row.current_period_end if row.cancel_at_period_end else None

    @property
    def is_revoked(self) -> bool:
        """Whether a refund or a dispute took its access away."""
        return self.subscription.access_revoked_at is not None


@dataclass(frozen=True)
class PaymentShown:
    """A payment, with those of its links that a browser may follow."""

    payment: Transaction
    receipt_url: str
    invoice_pdf: str


@dataclass(frozen=True)
class AccountShown:
    """Everything on the page."""

    held: PlanHeld | None
    entitled: Entitled
    payments: list[PaymentShown]
    page: int
    has_older: bool
    credits: Chart
    tokens: Chart
    packs: list[PackOrder]
    usage: UsageShown | None
    licenses: list[License]

    @property
    def tokens_percent(self) -> int | None:
        """How much of the token budget is used; None without a limit or a budget."""
        limit = self.entitled.tokens.limit
        return min(100, self.entitled.tokens.used * 100 // limit) if limit else None

    @property
    def has_credits(self) -> bool:
        """Whether credits are anything to this user."""
        balance = self.entitled.credits
        given = self.entitled.limits["credits_per_day"] or self.entitled.limits["credits_per_period"]
        return bool(given or balance.available or balance.debt or self.credits.total or self.packs)

    @property
    def has_tokens(self) -> bool:
        """Whether tokens are anything to this user."""
        return self.entitled.tokens.limit != 0 or bool(self.tokens.total)


def running_subscription(session: HostedSession) -> Subscription | None:
    """Return the subscription that the user has and that has not ended. One query."""
    found = Subscription.objects.for_project(session.project_id).current_for(session.end_user, session.mode)
    return found if found is not None and found.status in BLOCKING_STATUSES else None


def read_plan_held(session: HostedSession) -> PlanHeld | None:
    """Return what the user is subscribed to. Two queries, three when something is owed."""
    subscription = running_subscription(session)
    if subscription is None:
        return None
    prices = PlanPrice.objects.for_project(session.project_id).filter(mode=session.mode)
    price = prices.filter(stripe_price_id=subscription.stripe_price_id).select_related("plan").first()
    owed = None
    if subscription.status in ("past_due", "unpaid"):
        invoices = Invoice.objects.for_project(session.project_id).filter(mode=session.mode, subscription=subscription)
        owed = invoices.filter(status="open").order_by("created_at").first()
    return PlanHeld(subscription, access_of(subscription, clock.now()), price, owed)


def read_account(*, session: HostedSession, page: int = 1) -> AccountShown:
    """Return the page's content; `page` counts the payments' pages."""
    whose: dict[str, Any] = {
        "project_id": session.project_id, "mode": session.mode, "end_user_id": session.end_user_id,
    }  # fmt: skip
    page = min(max(page, 1), PAGES_MAX)
    start = (page - 1) * PAYMENTS_SHOWN
    rows = (
        Transaction.objects.for_project(session.project_id).in_mode(session.mode).filter(end_user=session.end_user_id)
    )
    found = list(rows.order_by("-created_at", "-id")[start : start + PAYMENTS_SHOWN + 1])
    return AccountShown(
        held=read_plan_held(session),
        entitled=read_entitled(**whose),
        payments=[_shown(row) for row in found[:PAYMENTS_SHOWN]],
        page=page,
        has_older=len(found) > PAYMENTS_SHOWN,
        credits=credits_by_day(**whose),
        tokens=tokens_by_period(**whose),
        packs=list(packs_on_sale(project=session.project, mode=session.mode)),
        usage=read_meters(**whose),
        licenses=licenses_of(session),
    )


def web_link(url: str) -> str:
    """Return an address that a browser may follow, and "" for anything else: it came from outside."""
    return url if url.startswith(("https://", "http://")) else ""


def _shown(row: Transaction) -> PaymentShown:
    return PaymentShown(row, web_link(row.receipt_url), web_link(row.invoice_pdf))
