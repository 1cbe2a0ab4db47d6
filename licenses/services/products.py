"""Which licence products are for sale, and what one of them costs. A request names a product, nothing else."""

from dataclasses import dataclass
from typing import Any, cast

from common.errors import NotFound
from licenses.models import LicenseProduct, LicenseProductPrice
from projects.models import Project


class LicenseProductNotFound(NotFound):
    """404: there is no such product on sale in this mode, or no such project."""

    code = "license_product_not_found"
    detail = "There is no such licence on sale."


@dataclass(frozen=True)
class LicenseOrder:
    """One licence at its price. Units: `amount_cents` is minor units of `currency`."""

    product: LicenseProduct
    price: LicenseProductPrice

    @property
    def title(self) -> str:
        """What it is called on a receipt."""
        return self.product.name


def find_license_order(*, project: Project, mode: str, code: str) -> LicenseOrder:
    """Return an order of a product that is on sale in a mode. Raises: LicenseProductNotFound (404)."""
    found = LicenseProduct.objects.for_project(project).on_sale(mode).filter(code=code).first()
    if found is None:
        raise LicenseProductNotFound()
    return LicenseOrder(found, price_of(found))


def licenses_on_sale(*, project: Project, mode: str) -> list[LicenseOrder]:
    """List what is on sale in a mode. Two queries."""
    rows = LicenseProduct.objects.for_project(project).on_sale(mode)
    return [LicenseOrder(product, price_of(product)) for product in rows]


def sells_a_license(*, project: Project, mode: str, stripe_price: dict[str, Any]) -> bool:
    """Say whether a Stripe price is that of a licence product, on sale or not."""
    rows = LicenseProductPrice.objects.for_project(project).filter(mode=mode)
    if rows.filter(stripe_price_id=stripe_price["id"]).exists():
        return True
    key = stripe_price.get("lookup_key")
    return bool(key) and rows.filter(lookup_key=key).exists()


def price_of(product: LicenseProduct) -> LicenseProductPrice:
    """Return the price of a product that was read as being on sale."""
    return cast(LicenseProductPrice, cast(Any, product).current_prices[0])
