"""How a purchase stands that is no licence yet. Payments are above this app: they say who can be asked."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class PurchaseStanding:
    """A checkout: `status` is open, complete (its payment is under way), expired or failed."""

    session_id: str
    status: str
    product_name: str
    mode: str


# Takes the project and the purchase; None when there is no such purchase.
PurchaseReader = Callable[[uuid.UUID, uuid.UUID], PurchaseStanding | None]

_reader: PurchaseReader | None = None


def register_purchase_reader(read: PurchaseReader) -> None:
    """Say who knows purchases; once per process, in `AppConfig.ready`."""
    global _reader
    _reader = read


def find_purchase(*, project_id: uuid.UUID, purchase_id: uuid.UUID) -> PurchaseStanding | None:
    """Return how a purchase stands; None when there is none. May ask Stripe, so no transaction may be open."""
    return _reader(project_id, purchase_id) if _reader else None
