"""Test clocks: made, advanced, refused, deleted; what lives on one sees its time and nobody else does."""

from __future__ import annotations

import itertools
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from tests.conftest import SandboxAccount
from tests.sandbox.lives import control, event_types, item_of, latest_invoice
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page, until

DAY = 86400
# Midnight of 1 January 2027.
NEW_YEAR = 1_798_761_600
CLOCKS = "/v1/test_helpers/test_clocks"


def make_clock(api: Api, frozen_time: int = NEW_YEAR, **params: Any) -> Any:
    return api.post(CLOCKS, frozen_time=frozen_time, **params)


def advance(api: Api, clock: Any, to: int) -> Any:
    """Advance by the API and wait for `ready`, as a client has to."""
    moved = api.post(f"{CLOCKS}/{clock['id']}/advance", frozen_time=to)
    assert moved["status"] == "advancing"
    assert moved["status_details"] == {"advancing": {"target_frozen_time": to}}
    return until(lambda: (now := api.get(f"{CLOCKS}/{clock['id']}"))["status"] == "ready" and now)


def subscriber(api: Api, clock: Any, unit_amount: int = 2000, card: str = "pm_card_visa", **params: Any) -> Any:
    """Start a monthly subscription of a customer on a clock."""
    customer = api.post("/v1/customers", test_clock=clock["id"])
    method = api.post(f"/v1/payment_methods/{card}/attach", customer=customer["id"])
    api.post(f"/v1/customers/{customer['id']}", invoice_settings={"default_payment_method": method["id"]})
    price = create_price(api, unit_amount)
    return api.post("/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}], **params)


def read(api: Api, subscription: Any) -> Any:
    return api.get(f"/v1/subscriptions/{subscription['id']}")


def test_a_clock_is_made_read_listed_and_deleted(api: Api) -> None:
    clock = make_clock(api, name="A year")
    assert (clock["status"], clock["frozen_time"], clock["name"]) == ("ready", NEW_YEAR, "A year")
    assert abs(clock["deletes_after"] - time.time() - 30 * DAY) < 60
    assert api.get(f"{CLOCKS}/{clock['id']}") == clock
    assert [entry["id"] for entry in api.get(CLOCKS)["data"]] == [clock["id"]]
    assert api.delete(f"{CLOCKS}/{clock['id']}")["deleted"] is True
    api.get(f"{CLOCKS}/{clock['id']}", 404)
    assert event_types(api) == ["test_helpers.test_clock.created", "test_helpers.test_clock.deleted"]


def test_what_is_made_on_a_clock_carries_its_time(api: Api) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock)
    assert subscription["test_clock"] == clock["id"]
    assert (subscription["created"], item_of(subscription)["current_period_start"]) == (NEW_YEAR, NEW_YEAR)
    assert item_of(subscription)["current_period_end"] == NEW_YEAR + 31 * DAY
    invoice = latest_invoice(api, subscription)
    assert (invoice["test_clock"], invoice["created"]) == (clock["id"], NEW_YEAR)
    assert abs(api.post("/v1/customers")["created"] - time.time()) < 60


def test_lists_hide_what_is_on_a_clock_unless_asked_for_it(api: Api) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock)
    for path in ("customers", "subscriptions", "invoices"):
        assert api.get(f"/v1/{path}")["data"] == []
    for path in ("customers", "subscriptions"):
        assert len(api.get(f"/v1/{path}", test_clock=clock["id"])["data"]) == 1
    assert len(api.get("/v1/subscriptions", customer=subscription["customer"])["data"]) == 1
    assert len(api.get("/v1/invoices", subscription=subscription["id"])["data"]) == 1


def test_a_renewal_is_drafted_at_the_boundary_and_charged_an_hour_later(api: Api) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock, 1500)
    boundary = NEW_YEAR + 31 * DAY
    advance(api, clock, boundary - 1)
    assert read(api, subscription)["latest_invoice"] == subscription["latest_invoice"]
    seen = len(event_types(api))
    advance(api, clock, boundary)
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["created"], invoice["amount_due"]) == ("draft", boundary, 1500)
    assert (invoice["automatically_finalizes_at"], invoice["next_payment_attempt"]) == (
        boundary + 3601,
        boundary + 3600,
    )
    assert item_of(read(api, subscription))["current_period_start"] == boundary
    assert event_types(api, seen) == [
        "test_helpers.test_clock.advancing",
        "customer.subscription.updated",
        "invoice.created",
        "test_helpers.test_clock.ready",
    ]
    seen = len(event_types(api))
    advance(api, clock, boundary + 3601)
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["amount_paid"], invoice["attempt_count"]) == ("paid", 1500, 1)
    assert invoice["status_transitions"]["finalized_at"] == boundary + 3601
    assert event_types(api, seen)[1:-1] == [
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "payment_intent.created",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
    ]


def test_the_next_invoice_is_announced_a_week_ahead(api: Api) -> None:
    clock = make_clock(api)
    subscriber(api, clock, 1500)
    advance(api, clock, NEW_YEAR + 24 * DAY - 1)
    assert "invoice.upcoming" not in event_types(api)
    advance(api, clock, NEW_YEAR + 25 * DAY)
    (told,) = api.get("/v1/events", type="invoice.upcoming")["data"]
    coming = told["data"]["object"]
    assert (coming["amount_due"], coming["period_end"]) == (1500, NEW_YEAR + 31 * DAY)
    assert told["created"] == NEW_YEAR + 24 * DAY


def test_twelve_months_by_steps_of_two_make_twelve_renewals(api: Api) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock, 1500)
    for month in (3, 5, 7, 9, 11):
        advance(api, clock, int(datetime(2027, month, 1, tzinfo=UTC).timestamp()))
    advance(api, clock, NEW_YEAR + 365 * DAY)
    advance(api, clock, NEW_YEAR + 365 * DAY + 3601)
    invoices = api.get("/v1/invoices", subscription=subscription["id"], limit=100)["data"]
    assert [invoice["amount_paid"] for invoice in invoices] == [1500] * 13
    ends = [invoice["lines"]["data"][0]["period"] for invoice in reversed(invoices)]
    assert all(one["end"] == two["start"] for one, two in itertools.pairwise(ends))
    assert ends[-1]["start"] == NEW_YEAR + 365 * DAY


def test_a_clock_only_goes_forward_and_not_too_far(api: Api) -> None:
    clock = make_clock(api)
    path = f"{CLOCKS}/{clock['id']}/advance"
    for wrong in (NEW_YEAR - 1, NEW_YEAR, NEW_YEAR + 731 * DAY + 1):
        api.post(path, 400, frozen_time=wrong)
    api.post(path, 400)
    subscriber(api, clock)
    # Two months from 1 January end on 1 March.
    api.post(path, 400, frozen_time=NEW_YEAR + 59 * DAY + 1)
    assert api.get(f"{CLOCKS}/{clock['id']}")["frozen_time"] == NEW_YEAR
    assert advance(api, clock, NEW_YEAR + 59 * DAY)["frozen_time"] == NEW_YEAR + 59 * DAY


def test_a_clock_holds_three_customers_with_three_subscriptions_each(api: Api) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock)
    for _ in range(2):
        api.post("/v1/customers", test_clock=clock["id"])
    api.post("/v1/customers", 400, test_clock=clock["id"])
    again = {"customer": subscription["customer"], "items": [{"price": item_of(subscription)["price"]["id"]}]}
    for _ in range(2):
        api.post("/v1/subscriptions", **again)
    api.post("/v1/subscriptions", 400, **again)
    assert len(api.get("/v1/subscriptions", test_clock=clock["id"])["data"]) == 3


def test_an_unknown_clock_is_refused(api: Api) -> None:
    api.post("/v1/customers", 400, test_clock="clock_x")
    api.post(f"{CLOCKS}/clock_x/advance", 404, frozen_time=NEW_YEAR)
    assert api.get("/v1/customers")["data"] == []


def test_live_mode_has_no_clocks(api: Api, account: SandboxAccount) -> None:
    live = Api(api.url, account.live_secret_key)
    live.post(CLOCKS, 400, frozen_time=NEW_YEAR)


def test_an_existing_customer_is_put_on_a_clock_with_all_it_has(api: Api) -> None:
    pay_on_page(create_session(api, create_price(api, 900)["id"]))
    (subscription,) = api.get("/v1/subscriptions")["data"]
    now = int(time.time())
    clock = make_clock(api, now, customer=subscription["customer"])
    assert read(api, subscription)["test_clock"] == clock["id"]
    assert latest_invoice(api, subscription)["test_clock"] == clock["id"]
    make = f"{api.url}{CLOCKS}"
    again = httpx.post(make, data={"frozen_time": now, "customer": subscription["customer"]}, auth=(api.key, ""))
    assert again.status_code == 400
    end = item_of(subscription)["current_period_end"]
    advance(api, clock, end + 3601)
    assert latest_invoice(api, subscription)["amount_paid"] == 900
    assert len(api.get("/v1/invoices", subscription=subscription["id"])["data"]) == 2


def test_deleting_a_clock_deletes_its_customers_and_ends_their_subscriptions(api: Api) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock)
    api.delete(f"{CLOCKS}/{clock['id']}")
    assert api.get(f"/v1/customers/{subscription['customer']}")["deleted"] is True
    assert read(api, subscription)["status"] == "canceled"
    assert event_types(api)[-3:] == [
        "customer.subscription.deleted",
        "customer.deleted",
        "test_helpers.test_clock.deleted",
    ]


def test_a_checkout_session_of_a_customer_on_a_clock_expires_by_it(api: Api) -> None:
    clock = make_clock(api)
    customer = api.post("/v1/customers", test_clock=clock["id"], email="c@example.com")
    session = create_session(api, create_price(api)["id"], customer=customer["id"])
    assert session["expires_at"] == NEW_YEAR + DAY
    paid = create_session(api, create_price(api)["id"], customer=customer["id"])
    assert pay_on_page(paid).status_code == 303
    (subscription,) = api.get("/v1/subscriptions", customer=customer["id"])["data"]
    assert (subscription["created"], subscription["test_clock"]) == (NEW_YEAR, clock["id"])
    advance(api, clock, NEW_YEAR + DAY)
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "expired"


def test_the_sdk_advances_a_clock(client: stripe.StripeClient) -> None:
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": NEW_YEAR})
    client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": NEW_YEAR + 5})
    done = until(lambda: (now := client.v1.test_helpers.test_clocks.retrieve(clock.id)).status == "ready" and now)
    assert done.frozen_time == NEW_YEAR + 5


def test_changes_are_refused_while_a_clock_advances(tmp_path: Path) -> None:
    from sandbox.accounts import create_account
    from sandbox.app import open_store
    from sandbox.billing import engine
    from sandbox.dispatch import Router
    from sandbox.errors import StripeError
    from sandbox.store import Context

    store = open_store(tmp_path)
    account = create_account(store, "Acme", NEW_YEAR)["account_id"]
    ctx, router = Context(account, False, NEW_YEAR), Router()

    def post(path: str, **params: Any) -> Any:
        match = router.match("POST", path)
        with store.transaction() as tx:
            return match.handler(tx, ctx, params, **match.path_params)

    clock = post(CLOCKS, frozen_time=NEW_YEAR)
    customer = post("/v1/customers", test_clock=clock["id"])
    post(f"{CLOCKS}/{clock['id']}/advance", frozen_time=NEW_YEAR + 60)
    for path in (f"/v1/customers/{customer['id']}", f"{CLOCKS}/{clock['id']}/advance"):
        with pytest.raises(StripeError):
            post(path, frozen_time=NEW_YEAR + 90) if "advance" in path else post(path, name="New")
    assert engine.advance_clocks(store) == 1
    assert post(f"/v1/customers/{customer['id']}", name="New")["name"] == "New"
    store.close()


def test_a_clock_on_which_something_breaks_says_so(tmp_path: Path) -> None:
    from sandbox.accounts import create_account
    from sandbox.app import open_store
    from sandbox.billing import engine
    from sandbox.dispatch import Router
    from sandbox.store import Context

    store = open_store(tmp_path)
    account = create_account(store, "Acme", NEW_YEAR)["account_id"]
    ctx, router = Context(account, False, NEW_YEAR), Router()
    with store.transaction() as tx:
        make = router.match("POST", CLOCKS).handler
        clock, healthy = (make(tx, ctx, {"frozen_time": NEW_YEAR}) for _ in range(2))
        # An object without any of the fields of an invoice, as a defect would leave it.
        on_clock = Context(account, False, NEW_YEAR, clock=clock["id"])
        tx.insert(on_clock, {"id": "in_broken", "object": "invoice"})
        tx.schedule(on_clock, "invoice", "in_broken", NEW_YEAR + 1)
        for each in (clock, healthy):
            move = router.match("POST", f"{CLOCKS}/{each['id']}/advance")
            move.handler(tx, ctx, {"frozen_time": NEW_YEAR + 60}, **move.path_params)
    engine.advance_clocks(store)
    with store.read() as tx:
        states = {entry["id"]: entry["status"] for entry in tx.find(ctx, "test_helpers.test_clock")}
        told = [event["type"] for event in tx.find(ctx, "event")]
    assert states == {clock["id"]: "internal_failure", healthy["id"]: "ready"}
    assert "test_helpers.test_clock.internal_failure" in told
    store.close()


def test_a_clock_that_was_on_its_way_arrives_after_a_restart(tmp_path: Path) -> None:
    from sandbox.accounts import create_account
    from sandbox.app import open_store
    from sandbox.billing import engine
    from sandbox.dispatch import Router
    from sandbox.store import Context

    store = open_store(tmp_path)
    ctx, router = Context(create_account(store, "Acme", NEW_YEAR)["account_id"], False, NEW_YEAR), Router()
    with store.transaction() as tx:
        clock = router.match("POST", CLOCKS).handler(tx, ctx, {"frozen_time": NEW_YEAR})
        move = router.match("POST", f"{CLOCKS}/{clock['id']}/advance")
        move.handler(tx, ctx, {"frozen_time": NEW_YEAR + 60}, **move.path_params)
    store.close()
    store = open_store(tmp_path)
    assert engine.advance_clocks(store) == 1
    with store.read() as tx:
        (moved,) = tx.find(ctx, "test_helpers.test_clock")
    assert (moved["status"], moved["frozen_time"]) == ("ready", NEW_YEAR + 60)
    store.close()


def test_a_clock_is_deleted_after_thirty_days(tmp_path: Path) -> None:
    from sandbox.accounts import create_account
    from sandbox.app import open_store
    from sandbox.billing import engine
    from sandbox.dispatch import Router
    from sandbox.store import Context

    store = open_store(tmp_path)
    ctx, router = Context(create_account(store, "Acme", NEW_YEAR)["account_id"], False, NEW_YEAR), Router()
    with store.transaction() as tx:
        clock = router.match("POST", CLOCKS).handler(tx, ctx, {"frozen_time": NEW_YEAR})
    assert engine.advance(store, clock["deletes_after"] - 1) == 0
    assert engine.advance(store, clock["deletes_after"]) == 1
    with store.read() as tx:
        assert tx.find(ctx, "test_helpers.test_clock") == []
    assert engine.advance(store, clock["deletes_after"] + 1) == 0
    store.close()


def test_the_state_of_an_older_sandbox_is_taken_over(tmp_path: Path) -> None:
    from sandbox.app import DATABASE_NAME, open_store

    old = sqlite3.connect(tmp_path / DATABASE_NAME)
    old.execute(
        "CREATE TABLE due (account TEXT NOT NULL, livemode INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,"
        " at INTEGER NOT NULL, PRIMARY KEY (account, livemode, type, id))"
    )
    old.execute("INSERT INTO due VALUES ('acct_1', 0, 'subscription', 'sub_1', 5)")
    old.commit()
    old.close()
    store = open_store(tmp_path)
    with store.read() as tx:
        assert [tuple(row) for row in tx.execute("SELECT id, at, clock FROM due")] == [("sub_1", 5, "")]
    store.close()


def test_the_switch_advances_to_what_comes_next(api: Api, account: SandboxAccount) -> None:
    clock = make_clock(api)
    subscription = subscriber(api, clock, trial_period_days=14)
    path = f"subscriptions/{subscription['id']}/advance"
    reached = [
        control(api, path, to=event)["frozen_time"]
        for event in ("trial_will_end", "trial_end", "finalization", "upcoming", "renewal", "next")
    ]
    end, month = NEW_YEAR + 14 * DAY, 31 * DAY
    assert reached == [end - 3 * DAY, end, end + 3601, end + month - 7 * DAY, end + month, end + month + 3601]
    (listed,) = httpx.get(f"{api.url}/_sandbox/api/test_clocks", params={"account_id": account.account_id}).json()[
        "data"
    ]
    assert listed["agenda"][0]["event"] == "upcoming"
    for wrong in ({}, {"to": "never"}, {"to": "next", "seconds": 1}, {"seconds": "1"}, {"seconds": -5}):
        answer = httpx.post(f"{api.url}/_sandbox/api/test_clocks/{clock['id']}/advance", json=wrong, timeout=20)
        assert answer.status_code == 400
    assert api.get(f"{CLOCKS}/{clock['id']}")["frozen_time"] == reached[-1]


def test_the_switch_puts_a_customer_on_a_clock_of_its_own(api: Api) -> None:
    pay_on_page(create_session(api, create_price(api, 900)["id"]))
    (subscription,) = api.get("/v1/subscriptions")["data"]
    moved = control(api, f"subscriptions/{subscription['id']}/advance", to="renewal")
    assert moved["frozen_time"] == item_of(subscription)["current_period_end"]
    assert read(api, subscription)["test_clock"] == moved["id"]
