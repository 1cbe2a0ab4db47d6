"""A Stripe customer is made in the background when an end user first appears in a mode: once, and nobody waits for it."""

import time
import uuid
from typing import Any

import pytest
from django.test import Client

from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, EffectWaits, executor_of
from notifications.services.running import ROWS_PER_ACCOUNT_MAX
from notifications.tasks import run_outbox
from payments.models import StripeConfig, StripeCredentials, StripeCustomer
from payments.services.background_customers import STRIPE_CUSTOMER
from payments.services.stripe_config import put_stripe_config
from payments.stripe_api import StripeUnavailable
from projects.models import EndUser
from tests.payments.shop import STRIPE, Shop, at_once, checkout_body, get, open_checkout, post


def mint(server: Any, project: Any, user_id: str) -> dict[str, Any]:
    """Ask for a token as the app's server does when its user signs in."""
    path = f"/api/v1/projects/{project.pk}/end-user-tokens"
    body = {"user_id": user_id, "email": f"{user_id}@example.com"}
    answer = server.client.post(path, data=body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def visit(token: dict[str, Any], query: str = "") -> Any:
    """Come with a token."""
    return Client(headers={"Authorization": f"Bearer {token['access_token']}"}).get(f"{STRIPE}/my-subscription{query}")


def planned(shop: Any) -> list[OutboxRow]:
    return list(OutboxRow.objects.for_project(shop.project).filter(kind=STRIPE_CUSTOMER).order_by("created_at"))


def carry_out(row: OutboxRow) -> Any:
    executor = executor_of(STRIPE_CUSTOMER)
    assert executor is not None
    return executor(row)


@pytest.fixture
def newcomer() -> str:
    """The id of a user whom nobody has seen yet."""
    return f"new-{uuid.uuid4().hex[:12]}"


def test_a_first_token_plans_a_customer_and_stripe_is_asked_later(shop: Any, acme_server: Any, newcomer: str) -> None:
    token = mint(acme_server, shop.project, newcomer)
    assert shop.requests("/v1/customers") == []
    row = planned(shop)[0]
    assert (row.mode, row.status, row.effect_key) == ("test", "pending", f"customer:{token['end_user_id']}")
    run_outbox()
    row.refresh_from_db()
    customer = StripeCustomer.objects.for_project(shop.project).get()
    assert (row.status, row.result) == ("done", {"stripe_customer_id": customer.stripe_customer_id})
    assert customer.mode == "test"
    assert str(customer.end_user_id) == token["end_user_id"]
    at_stripe = shop.objects("customers")
    assert [(found["id"], found["email"]) for found in at_stripe] == [(customer.stripe_customer_id, customer.email)]
    assert at_stripe[0]["metadata"]["external_user_id"] == newcomer
    assert shop.objects("customers", live=True) == []


def test_a_first_request_does_not_wait_for_a_stripe_that_hangs(shop: Any, acme_server: Any, newcomer: str) -> None:
    shop.fault("* /v1/*", "hang", seconds=5, times=50)
    started = time.monotonic()
    token = mint(acme_server, shop.project, newcomer)
    assert visit(token).status_code == 200
    assert time.monotonic() - started < 2
    assert len(planned(shop)) == 1
    shop.clear_faults()


def test_each_mode_has_its_customer_and_it_is_planned_with_the_first_visit_there(
    shop: Any, acme_live_server: Any, newcomer: str
) -> None:
    token = mint(acme_live_server, shop.project, newcomer)
    assert [row.mode for row in planned(shop)] == ["live"]
    for query in ("", "?test_mode=true", "?test_mode=false"):
        assert visit(token, query).status_code == 200
    assert [row.mode for row in planned(shop)] == ["live", "test"]
    for row in planned(shop):
        carry_out(row)
    customers = StripeCustomer.objects.for_project(shop.project)
    assert sorted(customers.values_list("mode", flat=True)) == ["live", "test"]
    assert len(shop.objects("customers")) == len(shop.objects("customers", live=True)) == 1


def test_a_status_knows_the_customer_of_a_user_who_never_paid(shop: Shop, acme_server: Any, newcomer: str) -> None:
    mint(acme_server, shop.project, newcomer)
    carry_out(planned(shop)[0])
    status = acme_server.client.get(f"/status/{shop.project.slug}/{newcomer}").json()
    assert (status["tier"], status["plan_active"], status["stripe_subscription_id"]) == ("free", False, None)
    assert status["stripe_customer_id"] == shop.objects("customers")[0]["id"]


def test_a_user_whom_nobody_has_seen_since_the_update_counts_as_new(shop: Any, dana: Any) -> None:
    EndUser.objects.for_project(shop.project).filter(pk=dana.end_user.pk).update(appeared_test_at=None)
    for _ in range(2):
        assert get(dana, "my-subscription").status_code == 200
    assert [row.end_user_id for row in planned(shop)] == [dana.end_user.pk]


def test_without_a_key_for_the_mode_nothing_is_planned_and_the_first_checkout_makes_it(
    shop: Any, acme_server: Any, newcomer: str
) -> None:
    config = StripeConfig.objects.get(project=shop.project)
    StripeConfig.objects.filter(pk=config.pk).update(is_active=False)
    token = mint(acme_server, shop.project, newcomer)
    assert planned(shop) == []
    StripeConfig.objects.filter(pk=config.pk).update(is_active=True)
    assert visit(token).status_code == 200
    assert planned(shop) == []
    client = Client(headers={"Authorization": f"Bearer {token['access_token']}"})
    answer = client.post(
        f"{STRIPE}/checkout-session", data=checkout_body(shop.price()), content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    assert len(shop.objects("customers")) == 1


def test_f33_customers_wait_for_a_mended_key_together_and_are_made_once_it_is_there(
    shop: Any, acme_server: Any, newcomer: str
) -> None:
    for number in range(4 * ROWS_PER_ACCOUNT_MAX):
        mint(acme_server, shop.project, f"{newcomer}-{number}")
    shop.fault("* /v1/customers*", "status:401", times=1000)
    run_outbox()
    waiting = OutboxRow.objects.for_project(shop.project).filter(kind=STRIPE_CUSTOMER)
    assert set(waiting.values_list("status", "wait_reason", "attempts")) == {("pending", "config_error", 0)}
    # What was in hand has asked, or was taken while the first refusal was written down; the others have not each tried.
    assert len({entry["idempotency_key"] for entry in shop.requests("/v1/customers")}) <= 2 * ROWS_PER_ACCOUNT_MAX
    shop.clear_faults()
    put_stripe_config(project=shop.project, changes={"test_secret_key": shop.account.test_secret_key})
    run_outbox()
    assert set(waiting.values_list("status", "wait_reason", "attempts")) == {("done", "", 1)}
    assert len(shop.objects("customers")) == 4 * ROWS_PER_ACCOUNT_MAX


def test_a_banned_user_leaves_nothing_to_do_and_a_key_that_is_gone_is_waited_for(
    shop: Any, acme_server: Any, newcomer: str
) -> None:
    token = mint(acme_server, shop.project, newcomer)
    row = planned(shop)[0]
    credentials = StripeCredentials.objects.for_project(shop.project)
    key = credentials.get(mode="test").secret_key
    credentials.filter(mode="test").update(secret_key="")
    with pytest.raises(EffectWaits, match="not configured"):
        carry_out(row)
    credentials.filter(mode="test").update(secret_key=key)
    EndUser.objects.for_project(shop.project).filter(pk=token["end_user_id"]).update(is_active=False)
    with pytest.raises(EffectSkipped, match="banned"):
        carry_out(row)
    assert shop.objects("customers") == []


def test_trouble_at_stripe_is_told_to_the_outbox_which_tries_again(shop: Any, acme_server: Any, newcomer: str) -> None:
    mint(acme_server, shop.project, newcomer)
    row = planned(shop)[0]
    shop.fault("POST /v1/customers", "reset_after_effect")
    with pytest.raises(StripeUnavailable) as trouble:
        carry_out(row)
    assert trouble.value.retryable
    carry_out(row)
    assert len(shop.objects("customers")) == 1


def test_many_first_requests_at_once_plan_one(shop: Any, acme_server: Any, newcomer: str) -> None:
    tokens = at_once(8, lambda number: mint(acme_server, shop.project, newcomer))
    assert len({token["end_user_id"] for token in tokens}) == 1
    EndUser.objects.for_project(shop.project).filter(pk=tokens[0]["end_user_id"]).update(appeared_test_at=None)
    OutboxRow.objects.for_project(shop.project).delete()
    answers = at_once(8, lambda number: visit(tokens[0]))
    assert {answer.status_code for answer in answers} == {200}
    assert len(planned(shop)) == 1


def test_the_background_and_a_first_checkout_at_once_make_one_customer(shop: Any, dana: Any) -> None:
    EndUser.objects.for_project(shop.project).filter(pk=dana.end_user.pk).update(appeared_test_at=None)
    assert get(dana, "my-subscription").status_code == 200
    row, price_id = planned(shop)[0], shop.price()
    calls = [lambda: carry_out(row), lambda: post(dana, "checkout-session", checkout_body(price_id))] * 3
    results = at_once(len(calls), lambda number: calls[number]())
    assert all(result.status_code == 200 for result in results[1::2]), [found.content for found in results[1::2]]
    assert len({result["stripe_customer_id"] for result in results[0::2]}) == 1
    assert len(shop.objects("customers")) == 1
    open_checkout(dana, price_id)


def test_carrying_it_out_again_changes_nothing(shop: Any, acme_server: Any, newcomer: str) -> None:
    mint(acme_server, shop.project, newcomer)
    row = planned(shop)[0]
    assert carry_out(row) == carry_out(row)
    assert len(shop.requests("/v1/customers")) == 1
