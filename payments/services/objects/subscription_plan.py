"""Which plan a subscription is on: the one that its price sells, or for the rest of a paid period the one that was paid for."""

from payments.services.snapshot import StripeObject

# Set by a change to another plan without proration (payments/services/kept_plans.py): the plan that stays, and the end of the
# period that it stays for, in Unix seconds, with a word behind it when the plan after it has to be paid first.
KEPT_PLAN_KEY, KEPT_UNTIL_KEY = "plan_until_period_end", "plan_until"
MUST_BE_PAID = "paid"
# The period has begun, and what it costs is owed.
OWING_STATUSES = ("past_due", "unpaid")


def first_item(found: StripeObject) -> StripeObject:
    """Return the item that a subscription's plan, quantity and period are told by: its first.

    A metered one is passed over where there are others: it bills what is used beside the plan, and comes first as soon as somebody
    puts another item in the plan's place in Stripe's dashboard.
    """
    items = (found.get("items") or {}).get("data") or []
    chosen = next((one for one in items if not _is_metered(one)), items[0] if items else {})
    return dict(chosen)


def _is_metered(item: StripeObject) -> bool:
    price = item.get("price")
    recurring = price.get("recurring") if isinstance(price, dict) else None
    return (recurring or {}).get("usage_type") == "metered"


def period_edge(found: StripeObject, name: str) -> int | None:
    """Return an edge of the current period from the item, where it is since 2025-03-31, or from the top, where it was before.

    Source: https://docs.stripe.com/changelog/basil/2025-03-31/deprecate-subscription-current-period-start-and-end
    """
    return first_item(found).get(name) or found.get(name)


def kept_until(end: int | None, *, must_be_paid: bool) -> str:
    """Write until when a plan stays: until a period ends, or until the one after it is paid."""
    return f"{end} {MUST_BE_PAID}" if must_be_paid else str(end)


def kept_until_moved(found: StripeObject, end: int) -> str:
    """Write until when the plan that stays does so when the end of its period is moved; on the same condition."""
    _, _, condition = str((found.get("metadata") or {}).get(KEPT_UNTIL_KEY) or "").partition(" ")
    return kept_until(end, must_be_paid=condition == MUST_BE_PAID)


def kept_plan_code(found: StripeObject) -> str:
    """Return the code of the plan that stays until the present period ends, or is paid; "" when none does."""
    metadata = found.get("metadata") or {}
    until, _, condition = str(metadata.get(KEPT_UNTIL_KEY) or "").partition(" ")
    edges = [period_edge(found, "current_period_end")]
    if condition == MUST_BE_PAID and found.get("status") in OWING_STATUSES:
        edges.append(period_edge(found, "current_period_start"))
    if until not in [str(edge) for edge in edges if edge]:
        return ""
    return str(metadata.get(KEPT_PLAN_KEY) or "")
