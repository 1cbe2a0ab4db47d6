"""What a user holds becomes their limits at LiteLLM: once, in order, read back, and never forgotten."""

import datetime as dt
from typing import Any

import pytest
from django.db import transaction

from entitlements.models import Connection, PlanPrice, ProvisionedUser
from entitlements.services import litellm_client
from entitlements.services.holdings import give_plan, take_given_plan
from entitlements.services.litellm_client import Budget
from entitlements.services.provisioning import follow_plan
from entitlements.services.provisioning_sweep import sweep_all
from notifications.models import OutboxRow
from notifications.tasks import run_outbox
from projects.models import EndUser
from tests.entitlements.provisioned import BLOCKED, World
from tests.litellm import Proxy
from tests.payments.deliveries import deliver, events_of, set_webhook_secret, stored
from tests.payments.shop import Shop, at_once, buy, connect_stripe

PRO = {"compute_budget_cents": 2000, "requests_per_minute": 60, "tokens_per_minute": 9000, "rank": 2}
MAKER = {"compute_budget_cents": 550, "requests_per_minute": 10, "tokens_per_minute": None, "rank": 1}
PRO_LIMITS, MAKER_LIMITS = (20, "30d", 9000, 60), (5.5, "30d", None, 10)


# Works


def test_a_plan_makes_a_user_with_its_limits_and_without_a_key(world: World) -> None:
    world.hold(world.plan("pro", **PRO))
    assert (world.there(), world.provisioned().status) == (None, "pending")
    world.run()
    made = world.there()
    assert made is not None and (world.limits(), made["keys"]) == (PRO_LIMITS, [])
    assert (made["user_role"], made["user_email"]) == ("internal_user", world.user.end_user.email)
    assert made["metadata"]["payments"] == {
        "project_id": str(world.project.pk), "mode": "test", "user_id": world.user.user_id, "plan": "pro",
    }  # fmt: skip
    row, effect = world.provisioned(), world.effects().get()
    assert (row.status, row.applied_revision, row.desired_revision, row.error) == ("applied", 1, 1, "")
    assert row.observed is not None and row.observed["max_budget"] == 20 and row.last_read_at is not None
    assert (effect.status, effect.result) == ("done", {"user_id": world.user_id(), "revision": 1, "done": "made"})
    assert [entry["path"] for entry in world.proxy.requests()][2:] == ["/v2/user/info", "/user/new", "/v2/user/info"]


def test_upgrade_downgrade_and_the_end_change_limits_and_keep_what_was_spent(world: World) -> None:
    maker, pro = world.plan("maker", **MAKER), world.plan("pro", **PRO)
    world.hold(maker)
    world.run()
    key = world.proxy.key_of(world.user_id())
    assert world.proxy.call_model(key, 5.5).status_code == 200
    assert world.proxy.call_model(key).json()["error"]["type"] == "budget_exceeded"
    for plan, limits in ((pro, PRO_LIMITS), (maker, MAKER_LIMITS), (None, BLOCKED)):
        world.hold(plan)
        world.run()
        there = world.there()
        assert there is not None and (world.limits(), there["enforced_spend"], len(there["keys"])) == (limits, 5.5, 1)
    assert world.proxy.call_model(key).status_code == 422
    assert world.states() == ["done"] * 4
    world.plan("free", free=True, compute_budget_cents=100, requests_per_minute=5, compute_budget_duration="1d")
    world.hold(maker)
    world.hold(None)
    world.run()
    assert world.limits() == (1, "1d", None, 5)


def test_a_purchase_and_its_end_go_through_to_the_proxy(world: World, sandbox: Any) -> None:
    account = sandbox.create_account("Acme")
    connect_stripe(world.project, account)
    shop = Shop(world.project, account, sandbox)
    set_webhook_secret(world.project)
    price = shop.price(1299)
    PlanPrice.objects.create(
        project=world.project, plan=world.plan("pro", **PRO), mode="test", stripe_price_id=price, amount_cents=1299
    )
    buy(shop, world.user, price)
    deliver(shop, events_of(shop))
    world.run()
    assert world.limits() == PRO_LIMITS
    subscription = shop.objects("subscriptions")[0]["id"]
    shop.api("DELETE", f"subscriptions/{subscription}")
    known = set(stored(world.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])
    world.run()
    assert world.limits() == BLOCKED


def test_an_internal_plan_without_limits_is_given_by_hand(world: World) -> None:
    sovereign = world.plan("sovereign", internal=True, compute_budget_cents=None, rank=9)
    keys: dict[str, Any] = {"project_id": world.project.pk, "mode": "test", "end_user_id": world.user.end_user.pk}
    with transaction.atomic():
        give_plan(**keys, plan=sovereign, cause="staff")
    # A proxy's own default is not what was wanted: it is put right at once.
    world.proxy.settings(default_max_budget=3)
    world.run()
    assert (world.limits(), world.effects().get().result["done"]) == ((None, "30d", None, None), "made")
    with transaction.atomic():
        take_given_plan(**keys, cause="staff")
    world.run()
    assert world.limits() == BLOCKED


# Refuses, and nothing changes


def test_test_mode_never_touches_live(world: World) -> None:
    world.hold(world.plan("pro", **PRO), mode="live")
    world.run()
    assert (world.effects().count(), world.proxy.users()) == (0, {})
    world.connect(live=True)
    world.hold(world.plan("pro"), period=dt.datetime(2026, 11, 2, tzinfo=dt.UTC))
    world.run()
    world.hold(world.plan("maker", **MAKER), mode="live")
    world.run()
    assert (world.limits("test"), world.limits("live")) == (PRO_LIMITS, MAKER_LIMITS)


def test_nobody_is_made_who_has_nothing(world: World) -> None:
    world.hold(world.plan("pro", **PRO), active=False, status="incomplete")
    world.hold(None)
    world.run()
    assert (world.effects().count(), world.proxy.users()) == (0, {})


def test_a_negative_limit_is_refused_here_since_litellm_takes_it() -> None:
    for wrong in ((-1, None, None, None), (None, None, -1, None), (None, None, None, -1)):
        with pytest.raises(ValueError, match="not negative"):
            Budget(*wrong)


# Edge


def test_a_user_who_is_there_already_keeps_what_is_not_ours(world: World) -> None:
    world.proxy.new(
        user_id=world.user_id(),
        user_role="proxy_admin_viewer",
        metadata={"team": "red"},
        models=["small"],
        user_alias="D",
    )
    world.hold(world.plan("pro", **PRO))
    world.run()
    there = world.there()
    assert there is not None and world.limits() == PRO_LIMITS
    assert (there["user_role"], there["models"], there["user_alias"]) == ("proxy_admin_viewer", ["small"], "D")
    assert (there["metadata"]["team"], there["metadata"]["payments"]["plan"]) == ("red", "pro")
    assert world.proxy.requests("/user/new") == world.proxy.requests("/user/new")[:1]


def test_an_address_that_somebody_else_has_there_is_left_out(world: World) -> None:
    world.proxy.new(user_id="somebody", user_email=(world.user.end_user.email or "").upper())
    world.hold(world.plan("pro", **PRO))
    world.run()
    there = world.there()
    assert there is not None and (there["user_email"], world.limits()) == (None, PRO_LIMITS)
    assert (world.provisioned().email_refused, world.states()) == (True, ["done"])
    world.hold(world.plan("maker", **MAKER))
    world.run()
    assert (world.limits(), world.states()) == (MAKER_LIMITS, ["done", "done"])


def test_ids_with_signs_and_addresses_that_are_not_shared(world: World) -> None:
    world.connect(share_email=False)
    odd = EndUser.objects.create(project=world.project, external_id="a+b c&d=é/%2F?#", email="odd@example.com")
    world.hold(world.plan("pro", **PRO), user=odd)
    world.run()
    there = world.there(user=odd)
    assert there is not None and (there["user_email"], world.limits(user=odd)) == (None, PRO_LIMITS)
    world.hold(None, user=odd)
    world.run()
    assert (world.limits(user=odd), len(world.proxy.users())) == (BLOCKED, 1)


def test_a_release_whose_newer_address_leaves_the_rates_out_is_read_at_the_older(world: World) -> None:
    world.proxy.settings(thin_info=True)
    world.hold(world.plan("pro", **PRO))
    world.run()
    assert (world.states(), world.limits()) == (["done"], PRO_LIMITS)
    assert world.proxy.requests("/user/info") != []


def test_spend_is_set_back_by_payments_only_where_that_was_chosen(world: World) -> None:
    pro = world.plan("pro", **PRO)
    first, second = dt.datetime(2026, 11, 1, tzinfo=dt.UTC), dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    world.hold(pro, period=first)
    world.run()
    key = world.proxy.key_of(world.user_id())
    world.proxy.call_model(key, 7)
    world.hold(pro, period=second)
    world.run()
    # LiteLLM's own calendar resets; a renewal is nothing new to it.
    assert (world.proxy.users()[world.user_id()]["enforced_spend"], world.states()) == (7, ["done"])
    world.connect(spend_reset="payment")
    world.hold(world.plan("maker", **MAKER), period=second)
    world.run()
    assert world.limits() == (5.5, None, None, 10)
    assert world.proxy.users()[world.user_id()]["enforced_spend"] == 0
    world.proxy.call_model(key, 1)
    # Another plan within the period sets nothing back, the next period does, once.
    world.hold(pro, period=second)
    world.run()
    assert world.proxy.users()[world.user_id()]["enforced_spend"] == 1
    for _ in range(2):
        world.hold(pro, period=second + dt.timedelta(days=31))
        world.run()
    assert world.proxy.users()[world.user_id()]["enforced_spend"] == 0
    spends = [entry["params"]["spend"] for entry in world.proxy.requests("/user/update") if "spend" in entry["params"]]
    assert spends == [0, 0]


def test_spend_is_set_back_once_however_often_the_rest_is_tried(world: World) -> None:
    world.connect(spend_reset="payment")
    pro, first = world.plan("pro", **PRO), dt.datetime(2026, 11, 1, tzinfo=dt.UTC)

    def spent(cost: float) -> None:
        assert world.proxy.call_model(key, cost).status_code == 200

    def enforced() -> float:
        return float(world.proxy.users()[world.user_id()]["enforced_spend"])

    # Who is made has spent nothing: a read-back that fails is no reason to set back what they spend meanwhile.
    world.proxy.fault("GET /v2/user/info", "status:503", nth=2)
    world.hold(pro, period=first)
    world.run()
    key = world.proxy.key_of(world.user_id())
    spent(3)
    world.run()
    assert (world.states(), enforced()) == (["done"], 3)
    # The read-back after the reset fails.
    world.proxy.fault("GET /v2/user/info", "status:503", nth=2)
    world.hold(pro, period=first + dt.timedelta(days=31))
    world.run()
    assert (world.states(), enforced()) == (["done", "pending"], 0)
    spent(2)
    world.run()
    assert (world.states(), enforced()) == (["done", "done"], 2)
    # A field never becomes what it should be.
    world.proxy.settings(ignored_fields=["rpm_limit"])
    world.hold(world.plan("maker", **MAKER), period=first + dt.timedelta(days=62))
    for number in range(3):
        world.run()
        assert (world.states()[-1], enforced()) == ("pending", number)
        spent(1)
    spends = [entry["params"] for entry in world.proxy.requests("/user/update") if "spend" in entry["params"]]
    assert len(spends) == 2


# Trouble


@pytest.mark.parametrize("trouble", ["status:500", "reset", "reset_after_effect", "html", "huge", "list", "redirect"])
def test_f37_down_at_creation_is_tried_again_and_makes_one_user(world: World, trouble: str) -> None:
    world.proxy.fault("POST /user/new", trouble)
    world.hold(world.plan("pro", **PRO))
    world.run()
    effect, row = world.effects().get(), world.provisioned()
    assert (effect.status, effect.attempts, row.status) == ("pending", 1, "pending")
    assert row.error and "169.254" not in row.error + effect.error
    assert world.connection().problem in ("unreachable", "unexpected")
    world.run()
    assert (world.states(), world.limits(), len(world.proxy.users())) == (["done"], PRO_LIMITS, 1)
    assert (world.connection().problem, world.provisioned().error) == ("", "")


def test_f37_a_revocation_outlives_an_outage_and_the_newest_state_wins(world: World) -> None:
    world.hold(world.plan("pro", **PRO))
    world.run()
    world.proxy.fault("* *", "status:503", times=1000)
    world.hold(world.plan("maker", **MAKER))
    world.run()
    world.hold(None)
    # The older state waits for its next attempt; the newer one does not wait for it.
    waiting = world.effects(status="pending")
    assert len({row.lane for row in waiting}) == 1 and waiting[0].attempts == 1
    assert waiting[0].next_attempt_at <= waiting[1].created_at + dt.timedelta(seconds=1)
    world.run()
    assert world.limits() == PRO_LIMITS
    world.proxy.clear_faults()
    world.run()
    world.run()
    assert (world.limits(), world.states()) == (BLOCKED, ["done", "skipped", "done"])
    assert all(
        entry["params"]["max_budget"] != 5.5 for entry in world.proxy.requests("/user/update") if not entry["fault"]
    )


def test_f37_a_revocation_whose_effect_was_lost_is_found_by_the_sweep(world: World) -> None:
    world.hold(world.plan("pro", **PRO))
    world.run()
    world.hold(None)
    world.effects(status="pending").update(status="dead")
    sweep_all()
    assert world.limits() == PRO_LIMITS
    ProvisionedUser.objects.for_project(world.project).update(last_read_at=None)
    sweep_all()
    world.run()
    assert world.limits() == BLOCKED


def test_silence_ends_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_client, "TIMEOUT_SECONDS", 0.4)
    for silence in ("hang", "drip", "timeout_after_effect"):
        world.proxy.fault("POST /user/*", silence, seconds=1)
        world.hold(world.plan(silence, **PRO))
        world.run()
        assert world.effects().last().status == "pending"
        world.run()
        assert (world.effects().last().status, world.limits()) == ("done", PRO_LIMITS)


def test_a_refused_key_waits_without_using_attempts_until_another_is_saved(world: World, erin: Any) -> None:
    rolled = world.proxy.roll()
    for user in (world.user.end_user, erin.end_user):
        world.hold(world.plan("pro", **PRO), user=user)
    world.run()
    rows = set(world.effects().values_list("status", "wait_reason", "attempts"))
    assert rows == {("pending", "connection_error", 0)}
    assert (world.connection().problem, len(world.reviews())) == ("key_rejected", 1)
    world.put(master_key=rolled.master_key)
    run_outbox()
    assert world.states() == ["done", "done"] and world.connection().problem == ""
    assert Proxy(world.proxy.url, world.proxy.proxy_id, rolled.master_key).row(world.user_id())["max_budget"] == 20


def test_what_litellm_will_not_do_is_laid_aside_and_put_before_a_person(world: World) -> None:
    world.proxy.fault("POST /user/new", "status:422", times=1000)
    world.hold(world.plan("pro", **PRO))
    world.run()
    row = world.provisioned()
    assert (world.states(), row.status, row.failed_at is not None) == (["dead"], "failed", True)
    assert world.reviews() == [f"{world.user_id()} does not have at LiteLLM what their plan gives"]


def test_limits_that_litellm_does_not_keep_are_tried_again_and_then_reviewed(world: World) -> None:
    world.hold(world.plan("maker", **MAKER))
    world.run()
    world.proxy.settings(ignored_fields=["rpm_limit"])
    world.hold(world.plan("pro", **PRO))
    for _ in range(3):
        assert world.reviews() == []
        world.run()
    assert (world.states(), len(world.reviews())) == (["done", "pending"], 1)
    assert "rpm_limit" in world.provisioned().error and world.provisioned().applied_revision == 1
    world.proxy.settings(ignored_fields=[])
    world.run()
    assert (world.states(), world.limits()) == (["done", "done"], PRO_LIMITS)


# Race and replay


def test_changes_at_once_end_in_what_is_held(world: World) -> None:
    plans = [world.plan(f"p{number}", compute_budget_cents=100 * number, rank=number) for number in range(1, 7)]
    at_once(len(plans), lambda number: world.hold(plans[number]))
    world.run()
    world.run()
    holding = world.entitlement().plan
    assert holding is not None and world.limits()[0] == (holding.compute_budget_cents or 0) / 100
    revisions = [row.payload["revision"] for row in world.effects()]
    assert sorted(revisions) == list(range(1, world.provisioned().desired_revision + 1))


def test_the_same_again_causes_nothing(world: World) -> None:
    for _ in range(3):
        world.hold(world.plan("pro", **PRO))
        world.run()
    assert (world.states(), len(world.proxy.requests("/user/new"))) == (["done"], 1)
    # An effect that is replayed finds everything as it should be.
    world.effects().update(status=OutboxRow.Status.PENDING)
    world.run()
    assert (world.effects().get().result["done"], world.proxy.requests("/user/update")) == ("nothing", [])


def test_a_project_without_a_connection_is_asked_once(world: World, django_assert_num_queries: Any) -> None:
    world.hold(world.plan("pro", **PRO))
    entitlement, plan = world.entitlement(), world.plan("pro")
    Connection.objects.for_project(world.project).update(is_active=False)
    with django_assert_num_queries(1):
        follow_plan(entitlement, plan, entitlement.changed_at)
