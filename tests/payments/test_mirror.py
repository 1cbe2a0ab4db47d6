"""dj-stripe's tables as a mirror: fenced by account and mode, without secrets, and never in the way of the product's rows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from payments import mirror
from payments.mirror import mirrored, without_client_secrets, write_mirror_rows
from payments.models import MirrorFailure, StripeCredentials, Subscription
from payments.services.ownership import Scope
from tests.cast import AppUser
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.rows import stripe_id
from tests.payments.shop import Shop

SECRET_TABLES = ("djstripe_apikey", "djstripe_webhookendpoint")


def scope_of(shop: Shop, mode: str = "test", account_id: str = "") -> Scope:
    return Scope(shop.project.pk, mode, account_id or shop.account.account_id)


def a_product(product_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": product_id, "object": "product", "name": "Pro", "active": True, "created": 1_790_000_000} | fields


def failures(shop: Shop) -> list[str]:
    return list(MirrorFailure.objects.filter(project=shop.project).values_list("stripe_object_id", flat=True))


# Works


def test_a_purchase_is_mirrored_with_its_parents(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    accounts = [shop.account.account_id]
    subscription = mirrored("subscription", account_ids=accounts).get()
    assert subscription.stripe_data["status"] == "active" and subscription.livemode is False
    assert subscription.customer.id == subscription.stripe_data["customer"]["id"]
    assert subscription.djstripe_owner_account.id == shop.account.account_id
    item = mirrored("subscription_item", account_ids=accounts).get()
    assert item.subscription == subscription and item.price.product_id is not None
    invoice = mirrored("invoice", account_ids=accounts).get()
    assert invoice.subscription == subscription and invoice.customer == subscription.customer
    charge = mirrored("charge", account_ids=accounts).get()
    assert (charge.amount, charge.currency, charge.status) == (10, "usd", "succeeded")
    assert charge.payment_intent == mirrored("payment_intent", account_ids=accounts).get()
    assert mirrored("checkout.session", account_ids=accounts).count() == 1
    assert failures(shop) == []


def test_the_mirror_follows_a_renewal(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    subscription = Subscription.objects.for_project(shop.project).get()
    control(shop, f"subscriptions/{subscription.stripe_subscription_id}/renew", outcome="declined")
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])
    rows = mirrored("subscription", account_ids=[shop.account.account_id])
    assert rows.get().stripe_data["status"] == "past_due"
    assert mirrored("invoice", account_ids=[shop.account.account_id]).count() == 2


# Fences


def test_no_key_and_no_client_secret_is_kept(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    with connection.cursor() as cursor:
        for table in SECRET_TABLES:
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (0,)
    for kind in mirror.MODELS:
        for row in mirrored(kind, account_ids=[shop.account.account_id]):
            text = json.dumps(row.stripe_data)
            assert "client_secret" not in text and "_secret_" not in text
            assert shop.account.test_secret_key not in text
    assert without_client_secrets({"a": [{"client_secret": "x", "b": 1}]}) == {"a": [{"b": 1}]}


def test_another_accounts_row_of_the_same_id_is_never_overwritten(shop: Shop, other_project: Any) -> None:
    product_id = stripe_id("prod")
    write_mirror_rows(scope_of(shop), [a_product(product_id)])
    theirs = Scope(other_project.pk, "test", stripe_id("acct"))
    write_mirror_rows(theirs, [a_product(product_id, name="Stolen")])
    row = mirrored("product", account_ids=None).get(id=product_id)
    assert (row.name, row.djstripe_owner_account.id) == ("Pro", shop.account.account_id)
    failure = MirrorFailure.objects.get(project=other_project)
    assert failure.stripe_object_id == product_id and "Another account" in failure.error
    assert failures(shop) == []


def test_test_and_live_rows_of_the_same_id_do_not_mix(shop: Shop) -> None:
    product_id = stripe_id("prod")
    write_mirror_rows(scope_of(shop), [a_product(product_id)])
    write_mirror_rows(scope_of(shop, "live"), [a_product(product_id, name="Live")])
    row = mirrored("product", account_ids=None).get(id=product_id)
    assert (row.name, row.livemode) == ("Pro", False)
    assert MirrorFailure.objects.get(project=shop.project).mode == "live"


def test_a_reader_sees_the_rows_of_its_own_accounts_only(shop: Shop, other_project: Any) -> None:
    mine, theirs = stripe_id("prod"), stripe_id("prod")
    other = Scope(other_project.pk, "test", stripe_id("acct"))
    write_mirror_rows(scope_of(shop), [a_product(mine)])
    write_mirror_rows(other, [a_product(theirs)])
    assert list(mirrored("product", account_ids=[other.account_id]).values_list("id", flat=True)) == [theirs]
    assert not mirrored("product", account_ids=[]).exists()
    assert not mirrored("product", account_ids=[""]).exists()
    assert mirrored("account", account_ids=[other.account_id]).count() == 1


# Trouble


def test_a_failure_is_recorded_until_a_later_write_succeeds(shop: Shop) -> None:
    product_id = stripe_id("prod")
    write_mirror_rows(scope_of(shop), [a_product(product_id, created="yesterday")])
    assert failures(shop) == [product_id]
    write_mirror_rows(scope_of(shop), [a_product(product_id)])
    assert failures(shop) == []
    assert mirrored("product", account_ids=None).filter(id=product_id).exists()


def test_one_object_that_fails_does_not_keep_the_others_out(shop: Shop) -> None:
    bad, good = stripe_id("prod"), stripe_id("prod")
    write_mirror_rows(scope_of(shop), [a_product(bad, name=["no", "name"], active="perhaps"), a_product(good)])
    assert mirrored("product", account_ids=None).filter(id=good).exists()
    assert good not in failures(shop)


def test_a_project_whose_account_is_unknown_has_no_mirror_and_working_events(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    StripeCredentials.objects.for_project(shop.project).update(stripe_account_id="")
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    assert Subscription.objects.for_project(shop.project).get().status == "active"
    assert failures(shop) and not mirrored("subscription", account_ids=[shop.account.account_id]).exists()


@pytest.fixture
def mirror_out_of_order() -> Iterator[None]:
    """The mirror's account table cannot be written."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE djstripe_account RENAME TO djstripe_account_away")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE djstripe_account_away RENAME TO djstripe_account")


def test_a_broken_mirror_never_fails_an_event(shop: Shop, dana: AppUser, mirror_out_of_order: None) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    assert Subscription.objects.for_project(shop.project).get().status == "active"
    assert set(stored(shop.project).values_list("status", flat=True)) == {"processed", "ignored"}
    assert failures(shop)
