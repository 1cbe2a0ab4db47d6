"""The sweep compares what users are to have with what they have at LiteLLM, and makes good what differs."""

import datetime as dt
import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from django.utils import timezone

from common import clock
from entitlements.models import Connection, Entitlement, Plan, ProvisionedUser
from entitlements.services import provisioning_sweep
from entitlements.services.plans import update_plan
from entitlements.services.provisioning_sweep import Swept, plan_missing, read_back, sweep_all
from entitlements.tasks import sweep_provisioning
from projects.models import EndUser
from projects.services.end_users import ensure_end_user, set_end_user_active
from tests.cast import AppUser, create_app_user
from tests.entitlements.provisioned import BLOCKED, World
from tests.litellm import create_proxy
from tests.payments.shop import at_once

PRO = {"compute_budget_cents": 2000, "requests_per_minute": 60, "tokens_per_minute": 9000, "rank": 2}
PRO_LIMITS = (20, "30d", 9000, 60)


def sweep(world: World, mode: str = "test", *, seconds: float = 30, all_due: bool = True) -> Swept:
    """Let a round go by, an hour after the last one."""
    if all_due:
        ProvisionedUser.objects.for_project(world.project).update(last_read_at=None)
    swept = Swept()
    connection, until = world.connection(mode), time.monotonic() + seconds
    if plan_missing(connection=connection, until=until, swept=swept):
        read_back(connection=connection, until=until, swept=swept)
    return swept


@pytest.fixture
def pro(world: World) -> Plan:
    """Dana holds Pro, and LiteLLM knows it."""
    plan = world.plan("pro", **PRO)
    world.hold(plan)
    world.run()
    assert world.limits() == PRO_LIMITS
    return plan


def test_what_was_changed_by_hand_is_put_back_and_counted(world: World, pro: Plan) -> None:
    assert sweep(world) == Swept(read=1)
    hands: list[dict[str, Any]] = [
        {"max_budget": 1000},
        {"max_budget": None},
        {"rpm_limit": None},
        {"tpm_limit": 0},
        {"budget_duration": "1d"},
        {"metadata": {"payments": {"plan": "free"}}},
    ]
    for number, change in enumerate(hands, start=1):
        world.proxy.update(user_id=world.user_id(), **change)
        assert sweep(world) == Swept(read=1, drifted=1), change
        # Nothing is changed by the sweep itself, and a second round waits for the first one's effect.
        assert world.limits() != PRO_LIMITS or "metadata" in change
        assert sweep(world).drifted == 0
        world.run()
        assert (world.limits(), world.provisioned().drift_count) == (PRO_LIMITS, number)
    assert sweep(world) == Swept(read=1)
    there = world.there()
    assert there is not None and there["metadata"]["payments"]["plan"] == "pro"


def test_a_user_who_was_deleted_or_made_by_an_update_is_made_good(world: World, pro: Plan) -> None:
    world.proxy.ask("POST", "/user/delete", {"user_ids": [world.user_id()]})
    assert sweep(world).drifted == 1
    world.run()
    assert world.limits() == PRO_LIMITS
    world.proxy.ask("POST", "/user/delete", {"user_ids": [world.user_id()]})
    world.proxy.update(user_id=world.user_id(), max_budget=20, budget_duration="30d", tpm_limit=9000, rpm_limit=60)
    assert sweep(world).drifted == 1
    world.run()
    there = world.there()
    assert there is not None and (there["user_role"], world.limits()) == ("internal_user", PRO_LIMITS)


def test_edited_figures_of_a_plan_and_the_end_of_a_grace_reach_everybody(
    world: World, pro: Plan, erin: AppUser
) -> None:
    world.hold(pro, user=erin.end_user, active_until=clock.now() + dt.timedelta(hours=1))
    world.run()
    ended = clock.now() - dt.timedelta(seconds=1)
    Entitlement.objects.for_project(world.project).filter(end_user=erin.end_user).update(active_until=ended)
    # Nobody is due to be read: only the grace that has ended is followed at once.
    assert sweep(world, all_due=False) == Swept(planned=1)
    update_plan(project=world.project, plan_id=pro.pk, actor=None, fields={"compute_budget_cents": 2500})
    assert sweep(world, all_due=False).planned == 1
    world.run()
    assert (world.limits()[0], world.limits(user=erin.end_user)) == (25, BLOCKED)


def test_whoever_is_banned_or_of_a_deleted_project_has_nothing(world: World, pro: Plan, erin: AppUser) -> None:
    world.hold(pro, user=erin.end_user)
    world.run()
    set_end_user_active(end_user=world.user.end_user, is_active=False)
    world.run()
    assert (world.limits(), world.limits(user=erin.end_user)) == (BLOCKED, PRO_LIMITS)
    set_end_user_active(end_user=world.user.end_user, is_active=True)
    sweep(world)
    world.run()
    assert world.limits() == PRO_LIMITS
    type(world.project).objects.filter(pk=world.project.pk).update(deleted_at=timezone.now())
    sweep(world)
    world.run()
    assert world.limits() == world.limits(user=erin.end_user) == BLOCKED


def test_a_new_connection_takes_up_those_who_hold_something_already(unconnected: World, erin: AppUser) -> None:
    world = unconnected
    world.hold(world.plan("pro", **PRO))
    world.hold(world.plan("pro"), user=erin.end_user, active_until=clock.now() - dt.timedelta(days=1))
    world.connect()
    assert sweep(world) == Swept(planned=1)
    world.run()
    assert (world.limits(), set(world.proxy.users())) == (PRO_LIMITS, {world.user_id()})
    # With a free plan that is everybody who was ever here, and whoever comes from now on.
    world.plan("free", free=True, compute_budget_cents=50, rank=0)
    EndUser.objects.create(project=world.project, external_id="never-seen")
    banned = EndUser.objects.create(
        project=world.project, external_id="banned", is_active=False, appeared_test_at=timezone.now()
    )
    assert sweep(world).planned == 1
    late = ensure_end_user(project=world.project, external_id="late", email="late@example.com", mode="test")
    world.run()
    assert (world.limits(user=erin.end_user)[0], world.limits(user=late)[0]) == (0.5, 0.5)
    assert world.there(user=banned) is None and len(world.proxy.users()) == 3
    ensure_end_user(project=world.project, external_id="live-one", email=None, mode="live")
    world.run()
    assert len(world.proxy.users()) == 3


def test_a_connection_made_again_takes_up_whom_it_left(world: World, pro: Plan) -> None:
    world.owner.client.delete(world.path)
    world.hold(None)
    world.connect()
    sweep(world, all_due=False)
    world.run()
    assert (world.limits(), world.provisioned().status) == (BLOCKED, "applied")
    # At another proxy everybody is made anew, and a person is told who stays at the first.
    world.hold(pro)
    world.run()
    first, world.proxy = world.proxy, create_proxy(world.proxy.url)
    world.connect(base_url=world.proxy.base_url.replace("127.0.0.1", "localhost") + "/")
    sweep(world, all_due=False)
    world.run()
    assert (world.limits(), first.users()[world.user_id()]["max_budget"]) == (PRO_LIMITS, 20)
    assert len(world.reviews()) == 2


def test_keys_of_a_team_are_told_about_once(world: World, pro: Plan) -> None:
    world.proxy.key_of(world.user_id())
    world.proxy.key_of(world.user_id(), "red")
    world.proxy.key_of(world.user_id(), "litellm-dashboard")
    sweep(world)
    assert world.reviews() == [f"{world.user_id()} has 1 keys of a team, which skip the budget of their plan"]
    sweep(world)
    assert (world.provisioned().team_keys, len(world.reviews())) == (1, 1)
    assert len(world.proxy.requests("/user/info")) == 2  # One by the check when it was connected.
    body = world.owner.client.get(world.path).json()
    assert (body["users"]["total"], body["users"]["applied"], body["users"]["with_team_keys"]) == (1, 1, 1)


def test_a_proxy_that_is_down_is_left_after_one_call_and_an_odd_user_is_passed_over(
    world: World, pro: Plan, erin: AppUser
) -> None:
    world.hold(pro, user=erin.end_user)
    world.run()
    world.proxy.fault("GET *", "status:503", times=1000)
    asked = len(world.proxy.requests())
    assert sweep(world) == Swept(failed_connections=1)
    assert (len(world.proxy.requests()), world.connection().problem) == (asked + 1, "unreachable")
    world.proxy.clear_faults()
    world.proxy.fault("GET *", "list")
    assert sweep(world).failed_connections == 0
    assert (world.connection().problem, world.effects(status="pending").count()) == ("", 0)
    world.proxy.fault("GET *", "html", times=1000)
    provisioning_odd = provisioning_sweep.ODD_ANSWERS_MAX
    for number in range(provisioning_odd + 1):
        world.hold(pro, user=EndUser.objects.create(project=world.project, external_id=f"u{number}"))
    world.effects(status="pending").update(status="done")
    assert (sweep(world).failed_connections, world.connection().problem) == (1, "unexpected")


def test_a_proxy_that_says_what_no_database_holds_ends_no_round(world: World, pro: Plan, sandbox: Any) -> None:
    said = json.dumps("half a letter: \ud800")
    with closing(sqlite3.connect(sandbox.data_dir / "sandbox.sqlite3", timeout=20)) as store, store:
        change = "UPDATE litellm_users SET json = replace(json, '\"internal_user\"', ?) WHERE user_id = ?"
        assert store.execute(change, (said, world.user_id())).rowcount == 1
    assert world.proxy.row(world.user_id())["user_role"] == json.loads(said)
    assert sweep(world).failed_connections == 0
    assert world.provisioned().observed["user_role"] == "internal_user"  # type: ignore[index]


def test_a_round_goes_on_where_the_last_one_ended(world: World, pro: Plan, erin: AppUser) -> None:
    world.hold(pro, user=erin.end_user)
    world.run()
    world.proxy.update(user_id=world.user_id(), max_budget=1)
    assert sweep(world, seconds=0) == Swept()
    now = clock.now()
    rows = ProvisionedUser.objects.for_project(world.project)
    rows.update(last_read_at=now)
    assert sweep(world, all_due=False) == Swept()
    rows.filter(end_user=world.user.end_user).update(last_read_at=now - dt.timedelta(hours=2))
    assert sweep(world, all_due=False) == Swept(read=1, drifted=1)


def test_what_was_given_up_is_tried_again_after_a_day(world: World, pro: Plan) -> None:
    world.proxy.fault("POST /user/update", "status:400", times=1000)
    world.hold(None)
    world.run()
    assert (world.states(), world.provisioned().status) == (["done", "dead"], "failed")
    world.proxy.clear_faults()
    assert sweep(world) == Swept(read=1)
    yesterday = clock.now() - dt.timedelta(days=1, minutes=1)
    ProvisionedUser.objects.for_project(world.project).update(failed_at=yesterday)
    assert sweep(world) == Swept(read=1, drifted=1)
    world.run()
    assert (world.limits(), world.provisioned().status) == (BLOCKED, "applied")


def test_two_rounds_at_once_heal_once(world: World, pro: Plan) -> None:
    world.proxy.update(user_id=world.user_id(), max_budget=1)
    ProvisionedUser.objects.for_project(world.project).update(last_read_at=None)
    rounds: list[Any] = at_once(4, lambda _: sweep(world, all_due=False))
    assert sum(found.drifted for found in rounds) == 1
    assert world.effects(status="pending").count() == 1


def test_all_connections_in_use_are_swept(world: World, pro: Plan) -> None:
    world.proxy.update(user_id=world.user_id(), max_budget=1)
    Connection.objects.exclude(project=world.project).update(is_active=False)
    ProvisionedUser.objects.for_project(world.project).update(last_read_at=None)
    sweep_provisioning()
    world.run()
    assert world.limits() == PRO_LIMITS


def test_a_slow_proxy_keeps_no_other_waiting(
    world: World, pro: Plan, erin: AppUser, other_project: Any, charlie: Any
) -> None:
    """Each answer of acme's proxy takes a second, and a round's time is over before the third."""
    Connection.objects.exclude(project=world.project).update(is_active=False)
    for user in (erin.end_user, EndUser.objects.create(project=world.project, external_id="third")):
        world.hold(pro, user=user)
    world.run()
    other = World(other_project, charlie, create_app_user(other_project, "fay"), create_proxy(world.proxy.url))
    other.connect()
    other.hold(other.plan("pro", **PRO))
    other.run()
    world.proxy.fault("GET /v2/*", "drip", seconds=1, times=1000)
    other.proxy.update(user_id=other.user_id(), max_budget=1)
    new = EndUser.objects.create(project=other_project, external_id="new")
    # What is held without a connection is planned by the sweep. One that had trouble comes after the slow one.
    rows = Connection.objects.for_project(other_project)
    rows.update(is_active=False)
    other.hold(other.plan("pro"), user=new)
    rows.update(is_active=True, problem="unreachable", problem_since=clock.now())
    ProvisionedUser.objects.filter(project__in=[world.project, other_project]).update(last_read_at=None)
    swept = sweep_all(seconds_max=2.8)
    assert (swept.planned, swept.drifted, swept.failed_connections) == (1, 1, 0)
    other.run()
    assert (other.limits(), other.limits(user=new), other.connection().problem) == (PRO_LIMITS, PRO_LIMITS, "")
    # What the other does not need of its part is the slow one's.
    asked = [entry["params"] for entry in world.proxy.requests("/v2/user/info") if entry["fault"]]
    assert len(asked) == 3
