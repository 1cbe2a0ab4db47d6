"""Billing data follows the Stripe customer: address, tax ids, the card that is charged; the sign-in e-mail never changes."""

from typing import Any

import pytest

from payments.models import StripeCustomer, WebhookEvent
from payments.services.objects.customer import customer_values, locate_customer
from tests.cast import AppUser, Developer, create_project
from tests.payments.deliveries import an_event, deliver, events_of, next_second, purchase, set_webhook_secret, stored
from tests.payments.shop import Shop, connect_stripe


@pytest.fixture
def row(shop: Shop, dana: AppUser) -> StripeCustomer:
    """Dana's customer, after a purchase whose events were all processed."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return StripeCustomer.objects.for_project(shop.project).get()


def deliver_new(shop: Shop, *types: str) -> list[str]:
    """Deliver what has happened since, or the given types of it; returns the types."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    events = [event for event in events_of(shop) if event["id"] not in known and (not types or event["type"] in types)]
    deliver(shop, events)
    return [event["type"] for event in events]


def attach(shop: Shop, row: StripeCustomer, card: str = "pm_card_mastercard") -> dict[str, Any]:
    return shop.api("POST", f"payment_methods/{card}/attach", customer=row.stripe_customer_id)


def billing(row: StripeCustomer) -> dict[str, Any]:
    row.refresh_from_db()
    return dict(row.billing)


# Works


def test_a_purchase_leaves_the_card_and_the_address_that_were_given(shop: Shop, row: StripeCustomer) -> None:
    method = billing(row)["payment_method"]
    assert (method["type"], method["brand"], method["last4"], method["expires"]) == ("card", "visa", "4242", "2034-12")
    address = billing(row)["address"]
    assert (address["line1"], address["city"], address["country"]) == ("1 Main Street", "Springfield", "US")
    assert not stored(shop.project).exclude(status__in=["processed", "ignored"]).exists()


def test_an_update_changes_billing_data_and_never_the_sign_in_address(
    shop: Shop, row: StripeCustomer, dana: AppUser
) -> None:
    signed_in_as = dana.end_user.email
    change: dict[str, Any] = {"email": "bills@example.com", "name": "Dana Ltd", "phone": "+1 555"}
    change |= {"address[city]": "Graz", "address[country]": "AT"}
    shop.api("POST", f"customers/{row.stripe_customer_id}", **change)
    assert deliver_new(shop) == ["customer.updated"]
    found = billing(row)
    assert (row.email, row.name, found["phone"], found["address"]["city"]) == (
        "bills@example.com", "Dana Ltd", "+1 555", "Graz",
    )  # fmt: skip
    dana.end_user.refresh_from_db()
    assert dana.end_user.email == signed_in_as


def test_tax_ids_come_change_and_go(shop: Shop, row: StripeCustomer) -> None:
    path = f"customers/{row.stripe_customer_id}/tax_ids"
    made = shop.api("POST", path, type="eu_vat", value="ATU12345678")
    assert "customer.tax_id.created" in deliver_new(shop)
    (kept,) = billing(row)["tax_ids"]
    assert (kept["id"], kept["type"], kept["value"], kept["country"]) == (made["id"], "eu_vat", "ATU12345678", "AT")
    shop.api("DELETE", f"{path}/{made['id']}")
    assert "customer.tax_id.deleted" in deliver_new(shop)
    assert billing(row)["tax_ids"] == []


def test_the_default_card_counts_and_without_one_the_newest(shop: Shop, row: StripeCustomer) -> None:
    first = billing(row)["payment_method"]["id"]
    next_second()
    second = attach(shop, row)
    assert deliver_new(shop) == ["payment_method.attached"]
    customer = shop.api("GET", f"customers/{row.stripe_customer_id}")
    has_default = customer["invoice_settings"]["default_payment_method"]
    assert billing(row)["payment_method"]["id"] == (has_default or second["id"])
    shop.api(
        "POST",
        f"customers/{row.stripe_customer_id}",
        **{"invoice_settings[default_payment_method]": second["id"]},
    )
    deliver_new(shop)
    assert billing(row)["payment_method"]["id"] == second["id"]
    shop.api("POST", f"payment_methods/{second['id']}/detach")
    types = deliver_new(shop)
    assert "payment_method.detached" in types
    assert billing(row)["payment_method"]["id"] == first


def test_a_card_with_a_new_expiry_date(shop: Shop, row: StripeCustomer) -> None:
    card = billing(row)["payment_method"]["id"]
    renewed: dict[str, Any] = {"card[exp_month]": 3, "card[exp_year]": 2040}
    shop.api("POST", f"payment_methods/{card}", **renewed)
    assert deliver_new(shop) == ["payment_method.updated"]
    assert billing(row)["payment_method"]["expires"] == "2040-03"


def test_a_deleted_customer_is_marked_once_and_its_billing_data_goes(shop: Shop, row: StripeCustomer) -> None:
    shop.api("DELETE", f"customers/{row.stripe_customer_id}")
    deliver_new(shop)
    row.refresh_from_db()
    assert row.deleted_at is not None and row.billing == {}
    first = row.deleted_at
    found = {"id": row.stripe_customer_id, "object": "customer"}
    deliver(
        shop,
        [an_event("customer.updated", data={"object": found}), an_event("customer.deleted", data={"object": found})],
    )
    row.refresh_from_db()
    assert row.deleted_at == first


# Edge


def test_a_detached_card_is_grouped_with_its_former_customer(shop: Shop, row: StripeCustomer) -> None:
    card = attach(shop, row)
    shop.api("POST", f"payment_methods/{card['id']}/detach")
    deliver_new(shop, "payment_method.detached")
    event = stored(shop.project).get(type="payment_method.detached")
    assert (event.root, event.status) == (row.stripe_customer_id, "processed")


def test_a_card_that_belongs_to_nobody_changes_nothing(shop: Shop, row: StripeCustomer) -> None:
    wanted: dict[str, Any] = {"type": "card", "card[token]": "tok_visa"}
    card = shop.api("POST", "payment_methods", **wanted)
    before = billing(row)
    event = an_event("payment_method.updated", data={"object": {"id": card["id"], "object": "payment_method"}})
    deliver(shop, [event])
    assert stored(shop.project).get(event_id=event["id"]).status == "processed"
    assert billing(row) == before


def test_an_event_that_only_names_its_object_is_followed_too(shop: Shop, row: StripeCustomer) -> None:
    card = attach(shop, row)
    thin = {
        "id": "evt_thin_" + card["id"],
        "object": "v2.core.event",
        "type": "v1.payment_method.attached",
        "created": "2026-11-21T10:00:00Z",
        "livemode": False,
        "related_object": {"id": card["id"], "type": "payment_method", "url": f"/v1/payment_methods/{card['id']}"},
    }
    deliver(shop, [thin])
    event = stored(shop.project).get(event_id=thin["id"])
    assert (event.status, event.root) == ("processed", row.stripe_customer_id)


def test_a_customer_of_another_project_on_the_account_is_not_taken(
    shop: Shop, row: StripeCustomer, alice: Developer
) -> None:
    neighbour = create_project(alice, "Neighbour")
    connect_stripe(neighbour, shop.account)
    stranger = shop.api("POST", "customers", email="stranger@example.com")
    shop.api("POST", "payment_methods/pm_card_visa/attach", customer=stranger["id"])
    deliver_new(shop)
    assert StripeCustomer.objects.for_project(shop.project).count() == 1
    assert set(stored(shop.project).filter(root=stranger["id"]).values_list("status", flat=True)) == {"ignored"}


def test_an_emptied_event_names_its_object() -> None:
    assert locate_customer(WebhookEvent(object_id="cus_1", payload=None)) == "cus_1"
    assert locate_customer(WebhookEvent(object_id="cus_1", payload={"data": None})) == "cus_1"


def test_a_bare_customer_has_no_billing_data_and_a_bank_debit_no_expiry() -> None:
    bare = customer_values({"id": "cus_1"}, [])
    assert (bare["email"], bare["billing"]["tax_ids"], bare["billing"]["payment_method"]) == ("", [], None)
    debit = {"id": "pm_1", "customer": "cus_1", "created": 1, "type": "sepa_debit", "sepa_debit": {"last4": "3000"}}
    others = debit | {"id": "pm_2", "customer": "cus_2", "created": 9}
    found = customer_values({"id": "cus_1"}, [debit, others])["billing"]["payment_method"]
    assert (found["id"], found["last4"], found["expires"]) == ("pm_1", "3000", None)
