"""Which credit packs are for sale, and what an order of one comes to.

Invariant: price and credits both come from the pack; a request names a pack and how many of it, nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from common.errors import FieldError, NotFound
from entitlements.models import CreditPack, CreditPackPrice
from entitlements.services.ledger import AMOUNT_MAX
from projects.models import Project


class CreditPackNotFound(NotFound):
    """404: this project sells no such pack in this mode."""

    code = "credit_pack_not_found"
    detail = "There is no such credit pack on sale."


@dataclass(frozen=True)
class PackOrder:
    """So many of one pack at its price. Units: `amount_cents` is minor units of `currency`."""

    pack: CreditPack
    price: CreditPackPrice
    quantity: int = 1

    @property
    def title(self) -> str:
        """What it is called on a receipt."""
        return self.pack.name if self.quantity == 1 else f"{self.quantity} × {self.pack.name}"

    @property
    def credits(self) -> int:
        """What it gives altogether."""
        return self.pack.credits * self.quantity

    @property
    def amount_cents(self) -> int:
        """What it costs altogether, before discounts and taxes."""
        return self.price.amount_cents * self.quantity

    @property
    def currency(self) -> str:
        """What it is paid in."""
        return self.price.currency


def find_order(*, project: Project, mode: str, code: str, quantity: int = 1) -> PackOrder:
    """Return an order of a pack that is on sale in a mode. Raises: CreditPackNotFound (404), FieldError (422) for too many."""
    pack = CreditPack.objects.for_project(project).on_sale(mode).filter(code=code).first()
    if pack is None:
        raise CreditPackNotFound()
    order = PackOrder(pack, price_of(pack), quantity)
    if order.credits > AMOUNT_MAX:
        # Sold, it could never be given.
        raise FieldError("body", "quantity", msg=f"At most {AMOUNT_MAX} credits at once.", type="too_many_credits")
    return order


def packs_on_sale(*, project: Project, mode: str) -> Sequence[PackOrder]:
    """List one of each pack that is on sale in a mode, the smallest first. Two queries."""
    rows = CreditPack.objects.for_project(project).on_sale(mode)
    return [PackOrder(pack, price_of(pack)) for pack in rows]


def price_of(pack: CreditPack) -> CreditPackPrice:
    """Return the price of a pack that was read as being on sale."""
    return cast(CreditPackPrice, cast(Any, pack).current_prices[0])


def sells_a_pack(*, project: Project, mode: str, stripe_price: dict[str, Any]) -> bool:
    """Say whether a Stripe price is that of a pack, on sale or not."""
    rows = CreditPackPrice.objects.for_project(project).filter(mode=mode)
    if rows.filter(stripe_price_id=stripe_price["id"]).exists():
        return True
    key = stripe_price.get("lookup_key")
    return bool(key) and rows.filter(lookup_key=key).exists()
