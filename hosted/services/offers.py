"""What a project has on sale, as its pricing page shows it: one price a plan, in one currency, for one interval.

Invariant: what is shown is what a checkout or a change is asked for, by the id of the price.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Prefetch

from common.errors import NotFound
from entitlements.models import Plan, PlanPrice
from payments.models import Subscription
from payments.services.trials import TrialUsed, refuse_second_trial
from projects.models import EndUser, Project

MONTH, YEAR = PlanPrice.Interval.MONTH.value, PlanPrice.Interval.YEAR.value
INTERVALS = (MONTH, YEAR)
# What a plan gives besides its features, in the order of the card: (field, one, several). Zero says nothing, null is no limit.
LIMITS = (
    ("credits_per_day", "credit each day", "credits each day"),
    ("credits_per_period", "credit each billing period", "credits each billing period"),
    ("token_budget", "token each billing period", "tokens each billing period"),
    ("file_size_mb", "MB for a file", "MB for a file"),
    ("requests_per_minute", "request a minute", "requests a minute"),
)
UNLIMITED = {"token_budget": "Unlimited tokens"}


class OfferNotFound(NotFound):
    """404: no such price is on sale here."""

    code = "price_not_found"
    detail = "This plan is not on sale any more."


@dataclass(frozen=True)
class Offer:
    """A plan on its card. `price` is None for a free plan. Units: `saving_percent` is what a year saves against twelve months."""

    plan: Plan
    price: PlanPrice | None
    saving_percent: int = 0
    trial_days: int = 0
    # What the visitor is on, and what they have chosen for the next period. Both are at this price where it is theirs.
    is_current: bool = False
    is_next: bool = False
    is_paid: bool = False
    gives: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Offers:
    """The page's cards, and what its switches choose between."""

    offers: list[Offer]
    interval: str
    intervals: list[str]
    currency: str
    currencies: list[str]
    saving_percent: int = 0


def read_offers(
    *,
    project: Project,
    mode: str,
    interval: str = "",
    currency: str = "",
    end_user: EndUser | None = None,
    subscription: Subscription | None = None,
    held_code: str = "",
) -> Offers:
    """Return what is on sale. A subscriber's currency cannot be changed, and their interval comes first.

    `held_code` is the plan of whoever has no subscription: the free one, or one that was given by hand.

    Two queries, and two more to know whether a visitor may still try a plan that offers it.
    """
    plans = _plans_with_prices(project, mode)
    prices = [price for plan in plans for price in plan.sold]  # type: ignore[attr-defined]
    paid = next((one for one in prices if subscription and one.stripe_price_id == subscription.stripe_price_id), None)
    currencies = sorted({price.currency for price in prices})
    intervals = [one for one in INTERVALS if any(price.interval == one for price in prices)]
    if paid is not None:
        currencies = [paid.currency]
    if currency not in currencies:
        currency = paid.currency if paid else _main_currency(prices)
    if interval not in intervals:
        interval = paid.interval if paid else intervals[0] if intervals else MONTH
    may_try = subscription is None and (
        end_user is None or (any(plan.trial_days for plan in plans) and _may_try(project, mode, end_user))
    )
    visitor = _Visitor(subscription, paid, held_code, may_try)
    offers = [_offer(plan, interval, currency, visitor) for plan in plans]
    shown = [offer for offer in offers if offer is not None]
    saving = max((_saving(offer.plan.sold, currency) for offer in shown), default=0)  # type: ignore[attr-defined]
    return Offers(shown, interval, intervals, currency, currencies, saving)


def find_price(*, project: Project, mode: str, price_id: str) -> PlanPrice:
    """Return a price that is on sale. Raises: OfferNotFound (404)."""
    try:
        wanted = uuid.UUID(price_id)
    except ValueError:
        raise OfferNotFound() from None
    offered = Plan.objects.for_project(project).on_offer().filter(free=False)
    rows = PlanPrice.objects.for_project(project).on_sale().filter(mode=mode, pk=wanted, plan__in=offered)
    found = rows.select_related("plan").first()
    if found is None:
        raise OfferNotFound()
    return found


def what_is_named(price: PlanPrice) -> dict[str, Any]:
    """Name a price as checkout and change take it: by its id, or by what it sells while only a lookup key is known."""
    if price.stripe_price_id:
        return {"price_id": price.stripe_price_id}
    return {"plan": price.plan.code, "interval": price.interval}


def _plans_with_prices(project: Project, mode: str) -> list[Plan]:
    # An amount of zero is one that nobody has looked up at Stripe yet.
    sold = PlanPrice.objects.for_project(project).on_sale().filter(mode=mode, amount_cents__gt=0)
    newest_first = sold.order_by("interval", "-created_at", "-id")
    plans = Plan.objects.for_project(project).on_offer().order_by("rank", "code")
    return list(plans.prefetch_related(Prefetch("prices", queryset=newest_first, to_attr="sold")))


@dataclass(frozen=True)
class _Visitor:
    subscription: Subscription | None
    paid: PlanPrice | None
    held_code: str
    may_try: bool

    def is_on(self, plan: Plan, price: PlanPrice | None) -> bool:
        if self.subscription is None:
            return bool(self.held_code) and plan.code == self.held_code
        # Another plan than that of the price is one that stays until the period ends.
        waits = self.paid is not None and self.paid.plan_id != self.subscription.plan_id
        return plan.pk == self.subscription.plan_id and (waits or price is self.paid)


def _offer(plan: Plan, interval: str, currency: str, visitor: _Visitor) -> Offer | None:
    price = None if plan.free else _pick(plan.sold, interval, currency)  # type: ignore[attr-defined]
    if price is None and not plan.free:
        return None
    is_current = visitor.is_on(plan, price)
    is_paid = price is not None and price is visitor.paid
    return Offer(
        plan=plan,
        price=price,
        saving_percent=_saving(plan.sold, currency) if price and price.interval == YEAR else 0,  # type: ignore[attr-defined]
        trial_days=plan.trial_days if visitor.may_try else 0,
        is_current=is_current,
        is_next=is_paid and not is_current,
        is_paid=is_paid,
        gives=_gives(plan),
    )


def _pick(prices: list[PlanPrice], interval: str, currency: str) -> PlanPrice | None:
    """Choose the plan's price in a currency: of the interval, else of the other one."""
    fitting = [price for price in prices if price.currency == currency]
    return next((price for price in fitting if price.interval == interval), fitting[0] if fitting else None)


def _saving(prices: list[PlanPrice], currency: str) -> int:
    month, year = _only(prices, MONTH, currency), _only(prices, YEAR, currency)
    if month is None or year is None:
        return 0
    twelve = 12 * month.amount_cents
    return max(0, (twelve - year.amount_cents) * 100 // twelve)


def _main_currency(prices: list[PlanPrice]) -> str:
    """Choose what most plans are sold in; among equals, what was there first."""
    plans: dict[str, set[uuid.UUID]] = {}
    for price in sorted(prices, key=lambda price: price.created_at):
        plans.setdefault(price.currency, set()).add(price.plan_id)
    return max(plans, key=lambda currency: len(plans[currency]), default="")


def _only(prices: list[PlanPrice], interval: str, currency: str) -> PlanPrice | None:
    return next((price for price in prices if (price.interval, price.currency) == (interval, currency)), None)


def _may_try(project: Project, mode: str, end_user: EndUser) -> bool:
    try:
        refuse_second_trial(project=project, mode=mode, end_user=end_user)
    except TrialUsed:
        return False
    return True


def _gives(plan: Plan) -> list[str]:
    """Say what a plan gives: its limits, then its features by their names."""
    lines = []
    for name, one, several in LIMITS:
        amount = getattr(plan, name)
        if amount:
            lines.append(f"{amount:,} {one if amount == 1 else several}")
        elif amount is None and name in UNLIMITED:
            lines.append(UNLIMITED[name])
    for name, value in plan.features.items():
        label = name.replace("_", " ").replace("-", " ").strip().capitalize()
        if value is True:
            lines.append(label)
        elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            lines.append(f"{label}: {value}")
    return lines
