"""What plans are sold for: our rows of prices are compared with Stripe's, and what differs is a warning for a person.

Invariant: what Stripe charges is what is shown; a difference that somebody may have to mend stays visible until the price is saved
again. A price and its product are one root, so that news of either never overwrites newer news of the other.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from common.money import money_text
from entitlements.models import PlanPrice
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from payments.services.ownership import Scope
from payments.services.snapshot import Snapshot, StripeObject, id_of

PRODUCTS, PRICES, COUPONS, PROMOTION_CODES = "products", "prices", "coupons", "promotion_codes"
GONE = "Stripe has no such price."
INACTIVE = "The price is inactive at Stripe."
PRODUCT_INACTIVE = "The product is inactive at Stripe."
# What takes a price off sale here; it comes back by itself when Stripe sells it again.
OFF_SALE = (GONE, INACTIVE, PRODUCT_INACTIVE)


@dataclass(frozen=True)
class Verdict:
    """What a row should say, and a name for the difference: the same difference is reported once."""

    amount_cents: int
    currency: str
    active: bool
    warning: str
    difference: str


def collect_price(snapshot: Snapshot, price_id: str) -> StripeObject | None:
    """Read a price and its product. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/prices/retrieve
    """
    found = snapshot.read(PRICES, price_id)
    if found is not None and id_of(found.get("product")):
        snapshot.read(PRODUCTS, id_of(found["product"]))
    return found


def collect_product(snapshot: Snapshot, product_id: str) -> StripeObject | None:
    """Read a product and all its prices. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/products/retrieve
    """
    found = snapshot.read(PRODUCTS, product_id)
    if found is not None and not found.get("deleted"):
        snapshot.read_all(PRICES, product=product_id)
    return found


def collect_coupon(snapshot: Snapshot, coupon_id: str) -> StripeObject | None:
    """Read a coupon, for the mirror alone: checkout asks Stripe for codes itself. Raises: StripeFailure."""
    return snapshot.read(COUPONS, coupon_id)


def collect_promotion_code(snapshot: Snapshot, promotion_code_id: str) -> StripeObject | None:
    """Read a promotion code, for the mirror alone. Raises: StripeFailure."""
    return snapshot.read(PROMOTION_CODES, promotion_code_id)


def write_catalogue(scope: Scope, snapshot: Snapshot) -> None:
    """Bring the project's plan prices up to what was read: one statement for each price, more where something differs."""
    products = snapshot.of_kind(PRODUCTS)
    for price_id, price in snapshot.of_kind(PRICES).items():
        product = products.get(id_of((price or {}).get("product")))
        for row in _rows_of(scope, price_id, price):
            _apply(scope, row, price_id, judge_price(row, price, product))


def judge_price(row: PlanPrice, price: StripeObject | None, product: StripeObject | None) -> Verdict:
    """Compare a row with Stripe's price and product; None is a price that Stripe does not have."""
    if price is None:
        return Verdict(row.amount_cents, row.currency, False, GONE, "gone")
    charged, currency = price.get("unit_amount"), str(price.get("currency") or row.currency)
    # A price by tiers, or by a decimal amount, has no single amount.
    amount = charged if isinstance(charged, int) else row.amount_cents
    if not row.active and not row.warning and not price.get("active"):
        # Taken off sale here first: that Stripe says the same is no news.
        return Verdict(row.amount_cents, row.currency, False, "", "")
    product_off = product is not None and (product.get("deleted") or product.get("active") is False)
    if not price.get("active"):
        return Verdict(row.amount_cents, row.currency, False, INACTIVE, "inactive")
    if product_off:
        return Verdict(row.amount_cents, row.currency, False, PRODUCT_INACTIVE, "product_inactive")
    active = True if row.warning in OFF_SALE else row.active
    interval = (price.get("recurring") or {}).get("interval")
    if interval and interval != row.interval:
        return Verdict(amount, currency, active, f"Stripe bills it each {interval}.", f"interval:{interval}")
    # An amount of 0 was never entered.
    if row.amount_cents and (amount, currency) != (row.amount_cents, row.currency):
        said = (
            f"Stripe charges {money_text(amount, currency)}; here it was {money_text(row.amount_cents, row.currency)}."
        )
        return Verdict(amount, currency, active, said, f"amount:{amount}:{currency}")
    known = "" if row.warning in OFF_SALE else row.warning
    return Verdict(amount, currency, active, known, "")


def _rows_of(scope: Scope, price_id: str, price: StripeObject | None) -> list[PlanPrice]:
    """Find the rows that a price sells: by its id, or by its lookup key where a row names no id."""
    wanted = Q(stripe_price_id=price_id)
    if price and price.get("lookup_key"):
        wanted |= Q(stripe_price_id="", lookup_key=price["lookup_key"])
    rows = PlanPrice.objects.for_project(scope.project_id).filter(wanted, mode=scope.mode)
    return list(rows.select_related("plan"))


def _apply(scope: Scope, row: PlanPrice, price_id: str, verdict: Verdict) -> None:
    wanted: dict[str, Any] = {
        "amount_cents": verdict.amount_cents,
        "currency": verdict.currency,
        "active": verdict.active,
        "warning": verdict.warning[:255],
    }
    if any(getattr(row, name) != value for name, value in wanted.items()):
        PlanPrice.objects.for_project(scope.project_id).filter(pk=row.pk).update(**wanted)
    if verdict.difference:
        open_review_item(
            project_id=scope.project_id,
            mode=scope.mode,
            kind=ReviewItem.Kind.PRICE_DRIFT,
            cause_key=f"price_drift:{row.pk}:{price_id}:{verdict.difference}",
            title=f"{row.plan.name}: {verdict.warning}",
            subject=price_id,
            details={"plan": row.plan.code, "interval": row.interval, "warning": verdict.warning},
        )
