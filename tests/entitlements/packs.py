"""Credit packs in tests: packs on sale, buying them on Stripe's page, and what the ledger then says."""

from typing import Any

from entitlements.models import CreditPack, CreditPackPrice
from projects.models import Project
from tests.cast import AppUser
from tests.payments.deliveries import deliver, events_of, stored
from tests.payments.shop import CANCEL_URL, SUCCESS_URL, Shop

CREDITS = "/api/v1/payments/credits"


def create_pack(
    project: Project, code: str = "small", *, credits: int = 100, cents: int = 500, **more: Any
) -> CreditPack:
    """Put a pack on sale in test mode; `mode`, `currency`, `stripe_price_id` and `lookup_key` are its price's."""
    names = {"mode", "currency", "stripe_price_id", "lookup_key"}
    price = {name: value for name, value in more.items() if name in names}
    fields = {name: value for name, value in more.items() if name not in names}
    pack = CreditPack.objects.create(
        project=project, code=code, credits=credits, **{"name": f"{credits} credits"} | fields
    )
    CreditPackPrice.objects.create(project=project, pack=pack, amount_cents=cents, **{"mode": "test"} | price)
    return pack


def purchase_body(pack: str = "small", **more: Any) -> dict[str, Any]:
    """Write a purchase's body."""
    return {"pack": pack, "success_url": SUCCESS_URL, "cancel_url": CANCEL_URL} | more


def ask_for(user: Any, pack: str = "small", *, query: str = "", **more: Any) -> Any:
    """Ask for a checkout of a pack."""
    body = purchase_body(pack, **more)
    return user.client.post(f"{CREDITS}/purchase{query}", data=body, content_type="application/json")


def open_purchase(user: Any, pack: str = "small", *, query: str = "", **more: Any) -> dict[str, Any]:
    """Open a checkout of a pack; a refusal fails the test."""
    answer = ask_for(user, pack, query=query, **more)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def buy_pack(shop: Shop, user: AppUser, pack: str = "small", **more: Any) -> dict[str, Any]:
    """Open a checkout of a pack and pay it; nothing is delivered."""
    opened = open_purchase(user, pack, **more)
    paid = shop.pay(opened["checkout_url"])
    assert paid.status_code == 303, paid.text
    return opened


def deliver_new(shop: Shop) -> None:
    """Deliver what the account sent since the last time, oldest first."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])
