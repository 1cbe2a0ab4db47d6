"""Failed renewals: the schedule of retries, recovery, and what becomes of a subscription at its end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import SandboxAccount
from tests.sandbox.lives import control, event_types, latest_invoice
from tests.sandbox.stripe_api import Api
from tests.sandbox.test_clocks import DAY, NEW_YEAR, make_clock, read, subscriber

HOUR = 3600
BOUNDARY = NEW_YEAR + 31 * DAY
FIRST_CHARGE = BOUNDARY + HOUR + 1


def use_card(api: Api, subscription: Any, card: str) -> None:
    """Give a subscription another card."""
    method = api.post(f"/v1/payment_methods/{card}/attach", customer=subscription["customer"])
    api.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=method["id"])


def failing(api: Api, unit_amount: int = 1500) -> Any:
    """Start a subscription whose card is declined from now on."""
    subscription = subscriber(api, make_clock(api), unit_amount)
    use_card(api, subscription, "pm_card_chargeCustomerFail")
    return subscription


def go(api: Api, subscription: Any, to: str = "next") -> int:
    """Advance to an event of the subscription and give the time that it is then."""
    reached: int = control(api, f"subscriptions/{subscription['id']}/advance", to=to)["frozen_time"]
    return reached


def prefer(api: Api, account: SandboxAccount, **wanted: Any) -> Any:
    return control(api, f"accounts/{account.account_id}/billing", **wanted)


def test_a_failed_renewal_is_tried_again_eight_times_in_two_weeks_and_then_canceled(api: Api) -> None:
    subscription = failing(api)
    assert go(api, subscription, "payment") == FIRST_CHARGE
    invoice = latest_invoice(api, subscription)
    assert (read(api, subscription)["status"], invoice["status"], invoice["attempt_count"]) == ("past_due", "open", 1)
    assert (invoice["attempted"], invoice["auto_advance"]) == (True, True)
    assert invoice["next_payment_attempt"] == FIRST_CHARGE + 32 * HOUR
    times = [go(api, subscription, "retry") for _ in range(8)]
    assert times[0] == FIRST_CHARGE + 32 * HOUR
    assert times[-1] == FIRST_CHARGE + 14 * DAY
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["attempt_count"], invoice["next_payment_attempt"]) == ("open", 9, None)
    ended = read(api, subscription)
    assert (ended["status"], ended["cancellation_details"]["reason"]) == ("canceled", "payment_failed")
    assert ended["ended_at"] == FIRST_CHARGE + 14 * DAY
    told = event_types(api)
    assert told.count("invoice.payment_failed") == told.count("charge.failed") == 9
    assert told.count("customer.subscription.deleted") == 1


def test_the_events_of_a_failed_renewal_and_of_a_retry(api: Api) -> None:
    subscription = failing(api)
    go(api, subscription, "renewal")
    seen = len(event_types(api))
    go(api, subscription, "payment")
    assert event_types(api, seen)[1:-1] == [
        "invoice.finalized",
        "charge.failed",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "invoice.payment_failed",
        "invoice.updated",
        "customer.subscription.updated",
    ]
    seen = len(event_types(api))
    go(api, subscription, "retry")
    assert event_types(api, seen)[1:-1] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.payment_failed",
        "invoice.updated",
    ]


def test_a_good_card_recovers_at_the_next_retry(api: Api) -> None:
    subscription = failing(api)
    go(api, subscription, "payment")
    use_card(api, subscription, "pm_card_visa")
    go(api, subscription, "retry")
    invoice = latest_invoice(api, subscription)
    assert (read(api, subscription)["status"], invoice["status"]) == ("active", "paid")
    assert (invoice["attempt_count"], invoice["amount_paid"]) == (2, 1500)
    go(api, subscription, "renewal")
    assert len(api.get("/v1/charges")["data"]) == 3


def test_paying_by_hand_recovers_and_stops_the_retries(api: Api) -> None:
    subscription = failing(api)
    go(api, subscription, "payment")
    invoice = latest_invoice(api, subscription)
    api.post(f"/v1/invoices/{invoice['id']}/pay", 402)
    assert latest_invoice(api, subscription)["attempt_count"] == 1, "only the schedule counts further attempts"
    api.post(f"/v1/invoices/{invoice['id']}/pay", payment_method="pm_card_visa")
    assert read(api, subscription)["status"] == "active"
    answer = httpx.post(
        f"{api.url}/_sandbox/api/subscriptions/{subscription['id']}/advance", json={"to": "retry"}, timeout=20
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(("wanted", "status"), [("unpaid", "unpaid"), ("past_due", "past_due"), ("cancel", "canceled")])
def test_the_owner_says_what_follows_the_last_retry(
    api: Api, account: SandboxAccount, wanted: str, status: str
) -> None:
    prefer(api, account, retry_hours=[24, 48], after_retries=wanted)
    subscription = failing(api)
    go(api, subscription, "payment")
    assert go(api, subscription, "retry") == FIRST_CHARGE + 24 * HOUR
    assert read(api, subscription)["status"] == "past_due"
    assert go(api, subscription, "retry") == FIRST_CHARGE + 72 * HOUR
    assert read(api, subscription)["status"] == status
    assert latest_invoice(api, subscription)["status"] == "open"


def test_an_unpaid_subscription_goes_on_with_drafts_and_recovers_by_paying_the_latest(
    api: Api, account: SandboxAccount
) -> None:
    prefer(api, account, retry_hours=[24], after_retries="unpaid")
    subscription = failing(api)
    go(api, subscription, "payment")
    go(api, subscription, "retry")
    go(api, subscription, "renewal")
    draft = latest_invoice(api, subscription)
    assert (draft["status"], draft["auto_advance"]) == ("draft", False)
    go(api, subscription, "renewal")
    assert read(api, subscription)["status"] == "unpaid"
    assert api.get(f"/v1/invoices/{draft['id']}")["status"] == "draft"
    use_card(api, subscription, "pm_card_visa")
    api.post(f"/v1/invoices/{latest_invoice(api, subscription)['id']}/pay")
    assert read(api, subscription)["status"] == "active"


def test_without_retries_the_first_failure_is_the_last(api: Api, account: SandboxAccount) -> None:
    prefer(api, account, retry_hours=[])
    subscription = failing(api)
    go(api, subscription, "payment")
    assert read(api, subscription)["status"] == "canceled"


def test_a_card_that_is_lost_for_good_is_not_charged_again(api: Api, account: SandboxAccount) -> None:
    prefer(api, account, retry_hours=[24, 24])
    subscription = subscriber(api, make_clock(api))
    control(api, f"subscriptions/{subscription['id']}/renew", outcome="lost_card")
    charges = len(api.get("/v1/charges")["data"])
    go(api, subscription, "retry")
    invoice = latest_invoice(api, subscription)
    assert (invoice["attempt_count"], len(api.get("/v1/charges")["data"])) == (2, charges)
    use_card(api, subscription, "pm_card_mastercard")
    go(api, subscription, "retry")
    assert read(api, subscription)["status"] == "active"


def test_canceling_stops_the_retries_and_leaves_the_invoice_open(api: Api) -> None:
    subscription = failing(api)
    go(api, subscription, "payment")
    api.delete(f"/v1/subscriptions/{subscription['id']}")
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["auto_advance"], invoice["next_payment_attempt"]) == ("open", False, None)
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=60 * DAY)
    assert latest_invoice(api, subscription)["attempt_count"] == 1


def test_a_renewal_that_wants_authentication_waits_for_it(api: Api) -> None:
    subscription = subscriber(api, make_clock(api))
    use_card(api, subscription, "pm_card_authenticationRequired")
    go(api, subscription, "payment")
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["attempt_count"], invoice["next_payment_attempt"]) == ("open", 0, None)
    assert read(api, subscription)["status"] == "past_due"
    (payment,) = api.get("/v1/invoice_payments", invoice=invoice["id"])["data"]
    control(api, f"payment_intents/{payment['payment']['payment_intent']}/authenticate", success=True)
    assert (read(api, subscription)["status"], latest_invoice(api, subscription)["status"]) == ("active", "paid")


@pytest.mark.parametrize(
    "wrong",
    [
        {"retry_hours": [0]},
        {"retry_hours": "daily"},
        {"retry_hours": [1] * 21},
        {"after_retries": "forget"},
        {"upcoming_days": -1},
        {"upcoming_days": True},
        {"retries": 3},
        [],
    ],
)
def test_a_preference_that_makes_no_sense_is_refused(api: Api, account: SandboxAccount, wrong: Any) -> None:
    url = f"{api.url}/_sandbox/api/accounts/{account.account_id}/billing"
    before = httpx.get(url).json()
    assert httpx.post(url, json=wrong).status_code == 400
    assert httpx.get(url).json() == before
    assert httpx.post(f"{api.url}/_sandbox/api/accounts/acct_x/billing", json={}).status_code == 404


def test_no_notice_is_given_where_the_owner_wants_none(api: Api, account: SandboxAccount) -> None:
    assert prefer(api, account, upcoming_days=0)["upcoming_days"] == 0
    subscription = subscriber(api, make_clock(api))
    go(api, subscription, "renewal")
    assert "invoice.upcoming" not in event_types(api)
