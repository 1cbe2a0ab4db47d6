"""What a checkout asks of the buyer follows the project's billing policy, and what is typed is kept at the customer."""

from typing import Any

import httpx
import pytest

from payments.models import BillingPolicy
from tests.payments.shop import Shop, checkout_body, get, open_checkout, post

BUSINESS = {"businessName": "Buyer GmbH", "taxIdType": "eu_vat", "taxId": "DE123456789"}  # pragma: allowlist secret


def set_policy(shop: Shop, **choices: bool) -> None:
    BillingPolicy.objects.update_or_create(project=shop.project, defaults=choices)


def session_of(shop: Shop, opened: dict[str, Any]) -> dict[str, Any]:
    return shop.api("GET", f"checkout/sessions/{opened['session_id']}")


def pay(shop: Shop, opened: dict[str, Any], **more: str) -> None:
    """Fill in the page as a buyer in Germany."""
    form = {
        "email": "buyer@example.com", "cardNumber": "4242424242424242", "cardExpiry": "12 / 34", "cardCvc": "123",
        "billingName": "Dana Buyer", "billingCountry": "DE", "billingAddressLine1": "Hauptstr. 1",
        "billingLocality": "Berlin", "billingPostalCode": "10115", **more,
    }  # fmt: skip
    page = httpx.post(shop.local(opened["checkout_url"]), data=form, timeout=20)
    assert page.status_code == 303, page.text


@pytest.mark.parametrize("mode", ["subscription", "payment"])
def test_the_address_is_asked_for_and_kept_unless_the_project_says_otherwise(shop: Shop, dana: Any, mode: str) -> None:
    price_id = shop.price(1000, interval="month" if mode == "subscription" else "")
    opened = open_checkout(dana, price_id, mode=mode)
    assert session_of(shop, opened)["billing_address_collection"] == "required"
    pay(shop, opened)
    customer = shop.objects("customers")[0]
    if mode == "subscription":
        assert (customer["name"], customer["address"]["country"]) == ("Dana Buyer", "DE")
    # Whatever is typed there is billing data: nobody signs in with it.
    dana.end_user.refresh_from_db()
    assert dana.end_user.email == f"{dana.user_id}@example.com"


def test_a_policy_without_the_address_leaves_it_to_the_page(shop: Shop, dana: Any) -> None:
    set_policy(shop, billing_address_collection=False)
    assert session_of(shop, open_checkout(dana, shop.price()))["billing_address_collection"] == "auto"


def test_tax_ids_are_asked_for_where_the_policy_says_so(shop: Shop, dana: Any) -> None:
    price_id = shop.price()
    assert session_of(shop, open_checkout(dana, price_id))["tax_id_collection"]["enabled"] is False
    set_policy(shop, tax_id_collection=True)
    opened = open_checkout(dana, price_id)
    assert session_of(shop, opened)["tax_id_collection"]["enabled"] is True
    pay(shop, opened, **BUSINESS)
    done = session_of(shop, opened)
    assert [tax_id["value"] for tax_id in done["customer_details"]["tax_ids"]] == ["DE123456789"]
    assert len(shop.api("GET", f"customers/{done['customer']}/tax_ids")["data"]) == 1


@pytest.mark.parametrize("mode", ["subscription", "payment"])
def test_automatic_tax_is_added_where_the_policy_says_so(shop: Shop, dana: Any, mode: str) -> None:
    set_policy(shop, automatic_tax=True, billing_address_collection=False)
    opened = open_checkout(dana, shop.price(1000, interval="month" if mode == "subscription" else ""), mode=mode)
    assert session_of(shop, opened)["automatic_tax"]["enabled"] is True
    pay(shop, opened)
    read = get(dana, f"checkout-session/{opened['session_id']}").json()
    assert read["payment"]["amount_cents"] == session_of(shop, opened)["amount_total"] == 1100


def test_a_change_of_policy_replaces_the_open_page(shop: Shop, dana: Any) -> None:
    price_id = shop.price()
    first = open_checkout(dana, price_id)
    set_policy(shop, automatic_tax=True)
    second = open_checkout(dana, price_id)
    assert first["session_id"] != second["session_id"]
    assert session_of(shop, first)["status"] == "expired"


def test_another_projects_policy_changes_nothing(shop: Shop, dana: Any, other_project: Any) -> None:
    BillingPolicy.objects.create(project=other_project, automatic_tax=True, billing_address_collection=False)
    session = session_of(shop, open_checkout(dana, shop.price()))
    assert (session["automatic_tax"]["enabled"], session["billing_address_collection"]) == (False, "required")


def test_a_body_cannot_choose_what_is_collected(shop: Shop, dana: Any) -> None:
    wishes = {"automatic_tax": {"enabled": True}, "billing_address_collection": "auto", "allow_promotion_codes": False}
    answer = post(dana, "checkout-session", checkout_body(shop.price(), **wishes))
    session = session_of(shop, answer.json())
    assert session["billing_address_collection"] == "required"
    assert (session["automatic_tax"]["enabled"], session["allow_promotion_codes"]) == (False, True)
