"""GET credits/packs and POST credits/purchase: what is for sale, what a checkout of it asks for, and what is refused."""

import uuid
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from entitlements.models import CreditPack, CreditPackPrice
from payments.models import CheckoutSession, CreditPurchase
from projects.models import EndUser
from tests.cast import AppServer, AppUser
from tests.entitlements.packs import CREDITS, ask_for, create_pack, open_purchase
from tests.payments.shop import CANCEL_URL, SUCCESS_URL, Shop, at_once, checkout_body, post


def sold(shop: Shop) -> list[CreditPurchase]:
    return list(CreditPurchase.objects.for_project(shop.project).order_by("created_at", "id"))


def nothing_was_opened(shop: Shop) -> bool:
    rows = CheckoutSession.objects.for_project(shop.project)
    return not rows.exists() and not sold(shop) and shop.objects("checkout/sessions") == []


# Works


def test_the_list_is_what_is_for_sale_in_the_mode(
    shop: Shop, dana: AppUser, acme_server: AppServer, acme_live_server: AppServer
) -> None:
    create_pack(shop.project, "large", credits=1000, cents=4000)
    create_pack(shop.project, "small", credits=100, cents=500, currency="eur")
    create_pack(shop.project, "live", credits=7, mode="live")
    create_pack(shop.project, "old", active=False)
    create_pack(shop.project, "ours", internal=True)
    create_pack(shop.project, "unpriced").prices.all().update(active=False)
    listed = dana.client.get(f"{CREDITS}/packs")
    assert listed.status_code == 200
    assert listed.json() == {
        "packs": [
            {"code": "small", "name": "100 credits", "credits": 100, "amount_cents": 500, "currency": "eur"},
            {"code": "large", "name": "1000 credits", "credits": 1000, "amount_cents": 4000, "currency": "usd"},
        ]
    }
    assert acme_server.client.get(f"{CREDITS}/packs").json() == listed.json()
    live = dana.client.get(f"{CREDITS}/packs?test_mode=false").json()["packs"]
    assert [pack["code"] for pack in live] == ["live"]
    assert acme_live_server.client.get(f"{CREDITS}/packs").json()["packs"] == live


def test_price_and_credits_are_the_packs_however_many_are_bought(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project, credits=100, cents=500)
    opened = open_purchase(dana, quantity=3, credits=999_999, amount_cents=1, price_id="price_of_something_else")
    assert {name: opened[name] for name in ("pack", "quantity", "credits", "amount_cents", "currency")} == {
        "pack": "small", "quantity": 3, "credits": 300, "amount_cents": 1500, "currency": "usd",
    }  # fmt: skip
    session = shop.api("GET", f"checkout/sessions/{opened['session_id']}")
    assert (session["mode"], session["amount_total"], session["currency"]) == ("payment", 1500, "usd")
    assert session["url"] == opened["checkout_url"] and session["success_url"] == SUCCESS_URL
    assert session["metadata"] == {
        "project_id": str(shop.project.pk), "end_user_id": str(dana.end_user.pk), "external_user_id": dana.user_id,
        "type": "credit_purchase", "credit_pack": "small", "credits": "300",
    }  # fmt: skip
    (row,) = sold(shop)
    assert (row.credits, row.quantity, row.amount_cents, row.granted_at) == (300, 3, 1500, None)
    assert (row.end_user_id, row.pack_code) == (dana.end_user.pk, "small")


@pytest.mark.parametrize("found_by", ["stripe_price_id", "lookup_key"])
def test_a_pack_may_have_a_price_at_stripe(shop: Shop, dana: AppUser, found_by: str) -> None:
    price_id = shop.price(500, interval="")
    key = f"small-{uuid.uuid4().hex[:8]}"
    shop.api("POST", f"prices/{price_id}", lookup_key=key)
    named: dict[str, Any] = {found_by: price_id if found_by == "stripe_price_id" else key}
    create_pack(shop.project, **named)
    opened = open_purchase(dana, quantity=2)
    lines = shop.api("GET", f"checkout/sessions/{opened['session_id']}/line_items")["data"]
    assert [(line["price"]["id"], line["quantity"], line["amount_total"]) for line in lines] == [(price_id, 2, 1000)]


def test_a_server_buys_for_a_user_whom_it_names(shop: Shop, acme_server: AppServer) -> None:
    shop.project.default_success_url, shop.project.default_cancel_url = SUCCESS_URL, CANCEL_URL
    shop.project.save()
    create_pack(shop.project)
    opened = open_purchase(acme_server, user_id="new-user", success_url=None, cancel_url=None)
    user = EndUser.objects.by_external_id(shop.project, "new-user").get()
    assert [row.end_user_id for row in sold(shop)] == [user.pk]
    assert shop.api("GET", f"checkout/sessions/{opened['session_id']}")["cancel_url"] == CANCEL_URL


# Refuses


@pytest.mark.parametrize("pack", ["unknown", "old", "ours", "live-only", "unpriced", "theirs", "Small", ""])
def test_what_is_not_for_sale_here_is_not_found(shop: Shop, dana: AppUser, other_project: Any, pack: str) -> None:
    create_pack(shop.project)
    create_pack(shop.project, "old", active=False)
    create_pack(shop.project, "ours", internal=True)
    create_pack(shop.project, "live-only", mode="live")
    CreditPack.objects.create(project=shop.project, code="unpriced", name="Unpriced", credits=5)
    create_pack(other_project, "theirs")
    answer = ask_for(dana, pack)
    assert answer.status_code == (404 if pack else 422), answer.content
    if pack:
        assert answer.json()["code"] == "credit_pack_not_found"
    assert nothing_was_opened(shop)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": "2"}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": 1001}, "quantity"),
        ({"pack": None}, "pack"),
        ({"pack": 7}, "pack"),
        ({"success_url": None}, "success_url"),
    ],
)
def test_a_wrong_field_is_named(shop: Shop, dana: AppUser, body: dict[str, Any], field: str) -> None:
    create_pack(shop.project)
    answer = ask_for(dana, **{"pack": "small"} | body)
    assert answer.status_code == 422, answer.content
    assert [problem["loc"][-1] for problem in answer.json()["detail"]] == [field]
    assert nothing_was_opened(shop)


def test_nobody_buys_for_somebody_else(
    shop: Shop, dana: AppUser, erin: AppUser, acme_server: AppServer, other_server: AppServer
) -> None:
    create_pack(shop.project)
    assert ask_for(dana, user_id=erin.user_id).status_code == 404
    unnamed = ask_for(acme_server)
    assert unnamed.status_code == 422 and unnamed.json()["detail"][0]["loc"] == ["body", "user_id"]
    assert ask_for(other_server, user_id=dana.user_id).status_code == 404
    EndUser.objects.filter(pk=erin.end_user.pk).update(banned_at=erin.end_user.created_at)
    assert ask_for(acme_server, user_id=erin.user_id).status_code == 403
    refused = ask_for(erin)
    assert (refused.status_code, refused.json()["code"]) == (403, "end_user_banned")
    assert nothing_was_opened(shop)


def test_addresses_must_be_the_projects(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project)
    answer = ask_for(dana, success_url="https://evil.example/")
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_allowed")
    assert nothing_was_opened(shop)


def test_a_price_that_stripe_charges_otherwise_is_not_sold(shop: Shop, dana: AppUser) -> None:
    """A pack whose price was edited on one side only would give its credits for another amount."""
    price_id = shop.price(1, interval="")
    create_pack(shop.project, cents=500, stripe_price_id=price_id)
    answer = ask_for(dana)
    assert (answer.status_code, answer.json()["code"]) == (400, "price_does_not_fit")
    CreditPackPrice.objects.for_project(shop.project).update(amount_cents=1, currency="eur")
    assert ask_for(dana).json()["code"] == "price_does_not_fit"
    shop.api("POST", f"prices/{price_id}", active="false")
    assert ask_for(dana).json()["code"] == "price_not_found"
    assert nothing_was_opened(shop)


def test_a_packs_price_is_not_sold_without_its_credits(shop: Shop, dana: AppUser) -> None:
    price_id = shop.price(500, interval="")
    create_pack(shop.project, stripe_price_id=price_id)
    answer = post(dana, "checkout-session", checkout_body(price_id, mode="payment"))
    assert (answer.status_code, answer.json()["code"]) == (400, "price_does_not_fit")
    assert nothing_was_opened(shop)


# Edge


def test_an_edited_pack_is_another_purchase(shop: Shop, dana: AppUser) -> None:
    pack = create_pack(shop.project, credits=100)
    first = open_purchase(dana)
    CreditPack.objects.filter(pk=pack.pk).update(credits=150)
    second = open_purchase(dana)
    assert first["session_id"] != second["session_id"]
    assert [row.credits for row in sold(shop)] == [100, 150]


# Race


def test_more_than_can_be_given_is_not_sold(shop: Shop, dana: AppUser) -> None:
    pack = create_pack(shop.project, credits=2_000_000_000)
    with pytest.raises(ValidationError, match="1000000000"):
        pack.full_clean()
    refused = ask_for(dana, quantity=501)
    assert (refused.status_code, refused.json()["detail"][0]["type"]) == (422, "too_many_credits")
    assert refused.json()["detail"][0]["loc"] == ["body", "quantity"]
    assert not CheckoutSession.objects.for_project(shop.project).exists()


def test_many_clicks_open_one_checkout(shop: Shop, dana: AppUser) -> None:
    create_pack(shop.project)
    answers = at_once(6, lambda _: open_purchase(dana))
    assert len({answer["session_id"] for answer in answers}) == 1
    assert len(shop.objects("checkout/sessions")) == 1 and len(sold(shop)) == 1
