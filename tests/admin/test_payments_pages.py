"""The admin of payments and plans: who sees which row, what nobody may change, and that no secret is on any page."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from accounts.models import User
from common import clock
from common.ids import stripe_row_id
from entitlements.models import Plan, PlanPrice
from moderation.models import ActionLog
from payments.mirror import MODELS, mirrored, write_mirror_rows
from payments.models import (
    BillingPolicy,
    CheckoutSession,
    CreditPurchase,
    Dispute,
    Drift,
    Invoice,
    LicensePurchase,
    MirrorFailure,
    ReconcileRun,
    Refund,
    StripeConfig,
    StripeCredentials,
    StripeCustomer,
    StripeIntent,
    Subscription,
    SubscriptionChange,
    SyncLease,
    Transaction,
    Trial,
    WebhookEvent,
)
from payments.services.ownership import Scope
from projects.models import Membership, Project, Role
from tests.conftest import Sandbox
from tests.licenses.licensing import create_product
from tests.payments.actors import create_project
from tests.payments.rows import (
    create_credit_purchase,
    create_end_user,
    create_money_around,
    create_payment,
    create_subscription,
    stripe_id,
)

CANARIES = {
    "secret_key": "sk_test_CANARYsecretkey0001",
    "publishable_key": "pk_test_CANARYpublishable02",
    "webhook_secret": "whsec_CANARYwebhooksecret03",
    "previous_webhook_secret": "whsec_CANARYprevious00004",
}
PATTERN = re.compile(r"CANARY\w{4,}")
READ_ONLY = [StripeCustomer, Subscription, Transaction, CheckoutSession, StripeIntent, WebhookEvent, SyncLease]
READ_ONLY += [MirrorFailure, StripeCredentials, SubscriptionChange, Trial, CreditPurchase, LicensePurchase]
READ_ONLY += [Invoice, Refund, Dispute, ReconcileRun, Drift]
EDITABLE = [StripeConfig, Plan, PlanPrice, BillingPolicy]
MIRRORED = ["customer", "subscription", "invoice", "charge", "refund", "payment_intent", "product", "price", "coupon"]
MIRRORED += ["promotion_code"]


@dataclass
class World:
    """One project with a row of every kind."""

    project: Project
    rows: dict[Any, Any]


def work_rows(project: Project, user: Any) -> list[Any]:
    """Make what is under way: a checkout, a call to Stripe, a dead event that holds canaries."""
    checkout = CheckoutSession.objects.create(
        project=project,
        mode="test",
        end_user=user,
        purchase_key="k",
        stripe_idempotency_key=uuid.uuid4().hex,
        url="https://checkout.example/CANARYcheckouturl",
        request={"price": "p"},
    )
    return [
        checkout,
        create_credit_purchase(checkout),
        LicensePurchase.objects.create(
            project=project, mode="test", product=create_product(project, "box"), amount_cents=4900, currency="usd"
        ),
        Trial.objects.create(project=project, mode="test", end_user=user),
        StripeIntent.objects.create(
            project=project,
            mode="test",
            operation="cancel",
            target=stripe_id("sub"),
            stripe_idempotency_key=uuid.uuid4().hex,
        ),
        WebhookEvent.objects.create(
            project=project,
            mode="test",
            event_id=stripe_id("evt"),
            type="invoice.paid",
            status="dead",
            payload={"data": {"object": {"client_secret": "pi_CANARYclientsecret", "key": CANARIES["secret_key"]}}},
        ),
    ]


def reconciliation_rows(project: Project) -> list[Any]:
    """Make a run that has found a difference, in which canaries stand."""
    run = ReconcileRun.objects.create(
        project=project, mode="test", kind="objects", status="done", differences=1, cursors={"customers": "done"}
    )
    found = Drift.objects.create(
        project=project,
        mode="test",
        run=run,
        object_type="customer",
        object_id=stripe_id("cus"),
        field="name",
        ours="<script>alert(1)</script>",
        stripes={"client_secret": "pi_CANARYclientsecret", "key": CANARIES["secret_key"]},
    )
    return [run, found]


def create_world(name: str) -> World:
    project = create_project(name)
    user = create_end_user(project)
    plan = Plan.objects.create(project=project, code="maker", name="Maker")
    price = PlanPrice.objects.create(project=project, plan=plan, mode="test", stripe_price_id=stripe_id("price"))
    config = StripeConfig.objects.create(project=project)
    credentials = StripeCredentials(
        config=config, project=project, mode="test", stripe_account_id=stripe_id("acct"), configured_at=clock.now()
    )
    for field, secret in CANARIES.items():
        credentials.set_secret(field, secret)
    credentials.save()
    customer_id = stripe_id("cus")
    subscription = create_subscription(project, end_user=user, plan=plan)
    payment = create_payment(
        project, end_user=user, receipt_url="javascript:alert(1)", description="<script>alert(1)</script>"
    )
    rows: list[Any] = [
        plan,
        subscription,
        SubscriptionChange.objects.create(
            project=project,
            mode="test",
            subscription=subscription,
            kind="created",
            source="sync",
            after={"x": "<b>name</b>"},
        ),
        BillingPolicy.objects.create(project=project),
        price,
        config,
        credentials,
        StripeCustomer.objects.create(
            id=stripe_row_id(project.pk, "test", customer_id),
            project=project,
            mode="test",
            end_user=user,
            stripe_customer_id=customer_id,
        ),
        *work_rows(project, user),
        payment,
        *create_money_around(payment, reason="<script>alert(1)</script>"),
        *reconciliation_rows(project),
        SyncLease.objects.create(project=project, mode="test", root=customer_id, token=uuid.uuid4(), until=clock.now()),
        MirrorFailure.objects.create(project=project, mode="test", stripe_object_id="prod_1", error="x"),
    ]
    scope = Scope(project_id=project.pk, mode="test", account_id=credentials.stripe_account_id)
    write_mirror_rows(scope, mirror_objects())
    found = {type(row): row for row in rows}
    for kind in MIRRORED:
        found[MODELS[kind]] = mirrored(kind, account_ids=[credentials.stripe_account_id]).get()
    return World(project, found)


def mirror_objects() -> Iterator[dict[str, Any]]:
    ids = {kind: stripe_id(kind[:3]) for kind in MIRRORED}
    for kind, object_id in ids.items():
        found = {
            "object": kind, "id": object_id, "created": 1_760_000_000, "livemode": False, "amount": 100, "currency": "usd",
            "client_secret": "CANARYclientsecretinmirror", "name": "<b>name</b>", "email": "a@example.com",
        }  # fmt: skip
        if kind in ("subscription", "invoice", "charge", "payment_intent"):
            found["customer"] = ids["customer"]
        if kind == "charge":
            found |= {"payment_intent": ids["payment_intent"], "status": "succeeded"}
        yield (
            found
            | ({"charge": ids["charge"]} if kind == "refund" else {})
            | ({"product": ids["product"]} if kind == "price" else {})
        )


@pytest.fixture(scope="module")
def worlds(run_database: str, django_db_blocker: Any) -> tuple[World, World]:
    with django_db_blocker.unblock():
        return create_world("Acme"), create_world("Other")


def sign_in(
    *, superuser: bool = False, staff: bool = True, project: Project | None = None, role: str = "", group: str = ""
) -> Client:
    user = User.objects.create_user(
        f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=staff, is_superuser=superuser
    )
    if project is not None:
        Membership.objects.create(project=project, user=user, role=role)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def url(model: Any, page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


ALL = [*READ_ONLY, *EDITABLE, *(MODELS[kind] for kind in MIRRORED)]


def test_every_model_of_payments_and_plans_is_registered_and_nothing_else_of_the_library() -> None:
    # What is bought with a plan (credits, tokens, usage, connections) has pages and tests of its own.
    registered = {model for model in admin.site._registry if model._meta.app_label in ("payments", "djstripe")}
    assert registered | {Plan, PlanPrice} == set(ALL)


def test_the_search_for_secrets_finds_each_of_them() -> None:
    assert all(PATTERN.search(f"<td>{secret}</td>") for secret in CANARIES.values())


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_lists_and_pages_open_for_a_superuser_and_show_no_secret(worlds: tuple[World, World], model: Any) -> None:
    """S35: rows full of what Stripe, sellers and buyers wrote as code."""
    client = sign_in(superuser=True)
    pages = {
        url(model, "changelist"): 200,
        url(model, "changelist") + "?q=a": 200,
        url(model, "change", worlds[0].rows[model].pk): 200,
        url(model, "history", worlds[0].rows[model].pk): 200,
        url(model, "add"): 200 if model in (StripeConfig, Plan, BillingPolicy) else 403,
        url(model, "delete", worlds[0].rows[model].pk): 200 if model in (Plan, PlanPrice) else 403,
    }
    for address, status in pages.items():
        response = client.get(address)
        assert response.status_code == status, address
        html = response.content.decode()
        assert not PATTERN.search(html), address
        assert "<script>alert(1)" not in html
        assert 'href="javascript:' not in html
        assert "<b>name</b>" not in html


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_a_developer_sees_the_rows_of_their_own_projects_only(worlds: tuple[World, World], model: Any) -> None:
    mine, theirs = worlds
    client = sign_in(project=mine.project, role=Role.VIEWER)
    listing = client.get(url(model, "changelist"))
    assert listing.status_code == 200
    html = listing.content.decode()
    assert f"/{mine.rows[model].pk}/change/" in html
    assert f"/{theirs.rows[model].pk}/change/" not in html
    assert str(theirs.project.pk) not in html
    page = client.get(url(model, "change", mine.rows[model].pk))
    assert page.status_code == 200
    assert not PATTERN.search(page.content.decode())
    for name in ("change", "history", "delete"):
        assert client.get(url(model, name, theirs.rows[model].pk)).status_code in (302, 403)
    searched = client.get(url(model, "changelist") + f"?q={theirs.project.slug}")
    assert f"/{theirs.rows[model].pk}/change/" not in searched.content.decode()


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_support_reads_and_changes_nothing(worlds: tuple[World, World], model: Any) -> None:
    client = sign_in(group="Support")
    row = worlds[0].rows[model]
    assert client.get(url(model, "changelist")).status_code == 200
    assert client.get(url(model, "change", row.pk)).status_code == 200
    assert client.post(url(model, "change", row.pk), {}).status_code == 403
    assert client.get(url(model, "add")).status_code == 403
    assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert type(row)._base_manager.filter(pk=row.pk).exists()


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_nobody_else_gets_in(worlds: tuple[World, World], model: Any) -> None:
    stranger = sign_in(staff=False, project=worlds[0].project, role=Role.OWNER)
    for client in (Client(), stranger):
        assert client.get(url(model, "changelist")).status_code == 302
        assert client.get(url(model, "change", worlds[0].rows[model].pk)).status_code == 302


@pytest.mark.parametrize("model", [*READ_ONLY, *(MODELS[kind] for kind in MIRRORED)], ids=lambda model: model.__name__)
def test_rows_that_follow_stripe_are_changed_by_nobody(worlds: tuple[World, World], model: Any) -> None:
    row = worlds[0].rows[model]
    before = type(row)._base_manager.filter(pk=row.pk).values().get()
    for client in (sign_in(superuser=True), sign_in(project=worlds[0].project, role=Role.OWNER)):
        assert client.post(url(model, "change", row.pk), {"status": "active"}).status_code == 403
        assert client.post(url(model, "add"), {}).status_code == 403
        assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        data = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
        client.post(url(model, "changelist"), data)
    assert type(row)._base_manager.filter(pk=row.pk).values().get() == before


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (StripeCredentials, "secret_key__startswith=v1"),
        (StripeCredentials, "webhook_secret_fingerprint__startswith=a"),
        (StripeConfig, "credentials__secret_key__startswith=v1"),
        (Subscription, "project__memberships__user__password__startswith=a"),
        (Transaction, "end_user__project__api_keys__key_hash__startswith=a"),
        (WebhookEvent, "payload__data__contains=x"),
    ],
)
def test_a_filter_that_the_page_does_not_offer_is_refused(worlds: tuple[World, World], model: Any, query: str) -> None:
    for client in (sign_in(superuser=True), sign_in(project=worlds[0].project, role=Role.OWNER)):
        assert client.get(f"{url(model, 'changelist')}?{query}").status_code in (302, 400)


def test_keys_are_typed_in_and_never_shown(sandbox: Sandbox) -> None:
    """S47, S13: who changed which keys, when and why is in the log, and none of the keys."""
    project = create_project()
    client = sign_in(project=project, role=Role.DEVELOPER)
    account = sandbox.create_account()
    data = {
        "project": str(project.pk),
        "test_secret_key": account.test_secret_key,
        "test_publishable_key": account.test_publishable_key,
        "test_webhook_secret": "whsec_typedin0123456789",
    }
    assert client.post(url(StripeConfig, "add"), data).status_code == 200
    assert not StripeCredentials.objects.for_project(project).exists()
    saved = client.post(url(StripeConfig, "add"), data | {"reason": "The first keys"})
    assert saved.status_code == 302
    line = ActionLog.objects.for_project(project).get(action="stripe_config.keys_saved")
    assert (line.reason, line.details) == ("The first keys", {"fields": sorted(list(data)[1:])})
    assert str(line.actor_id) == client.session["_auth_user_id"] and line.at
    row = StripeCredentials.objects.for_project(project).get()
    assert row.get_secret("secret_key") == account.test_secret_key
    assert row.stripe_account_id == account.account_id
    config = StripeConfig.objects.for_project(project).get()
    page = client.get(url(StripeConfig, "change", config.pk)).content.decode()
    assert row.secret_key_masked in page
    for secret in list(data.values())[1:]:
        assert secret not in page
    # Left blank keeps; a refusal names the field and puts nothing typed back on the page.
    other = {"test_publishable_key": "pk_test_another0123456", "reason": "Rolled"}
    kept = client.post(url(StripeConfig, "change", config.pk), other)
    assert kept.status_code == 302
    row.refresh_from_db()
    assert row.get_secret("secret_key") == account.test_secret_key
    assert row.get_secret("publishable_key") == "pk_test_another0123456"
    wrong = {"test_secret_key": "sk_live_wrongslot0123456", "reason": "Rolled"}
    refused = client.post(url(StripeConfig, "change", config.pk), wrong)
    assert refused.status_code == 200
    assert "This is a live key" in refused.content.decode()
    assert "wrongslot0123456" not in refused.content.decode()
    entry = LogEntry.objects.filter(object_id=str(config.pk)).latest("action_time")
    assert "test_publishable_key" in entry.change_message
    assert "another0123456" not in entry.change_message


def test_keys_of_another_developers_project_cannot_be_set(worlds: tuple[World, World]) -> None:
    unset = create_project("Unset")
    client = sign_in(project=worlds[0].project, role=Role.OWNER)
    assert client.post(url(StripeConfig, "add"), {"project": str(unset.pk)}).status_code == 200
    assert not StripeConfig.objects.for_project(unset).exists()
    theirs = worlds[1].rows[StripeConfig]
    key = {"test_publishable_key": "pk_test_0123456789"}
    assert client.post(url(StripeConfig, "change", theirs.pk), key).status_code in (302, 403)
    assert (
        StripeCredentials.objects.for_project(worlds[1].project).get().get_secret("publishable_key")
        == CANARIES["publishable_key"]
    )
    viewer = sign_in(project=worlds[0].project, role=Role.VIEWER)
    mine = worlds[0].rows[StripeConfig]
    assert viewer.post(url(StripeConfig, "change", mine.pk), key).status_code == 403
    assert (
        StripeCredentials.objects.for_project(worlds[0].project).get().get_secret("publishable_key")
        == CANARIES["publishable_key"]
    )


def test_a_form_without_its_token_changes_nothing(worlds: tuple[World, World]) -> None:
    client = Client(enforce_csrf_checks=True)
    user = User.objects.create_superuser(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12)
    client.force_login(user)
    row = worlds[0].rows[StripeConfig]
    assert (
        client.post(url(StripeConfig, "change", row.pk), {"test_publishable_key": "pk_test_0123456789"}).status_code
        == 403
    )


def dead_event(project: Project) -> WebhookEvent:
    return WebhookEvent.objects.create(
        project=project, mode="test", event_id=stripe_id("evt"), type="customer.created", status="dead", error="x"
    )


def replay(client: Client, *events: WebhookEvent, **extra: str) -> Any:
    data: dict[str, Any] = {"action": "replay_selected", "_selected_action": [str(event.pk) for event in events]}
    return client.post(url(WebhookEvent, "changelist"), data | extra)


def status_of(event: WebhookEvent) -> str:
    event.refresh_from_db()
    return event.status


def test_dead_events_are_replayed_after_a_confirmation() -> None:
    project = create_project()
    client = sign_in(project=project, role=Role.DEVELOPER)
    dead, done = dead_event(project), dead_event(project)
    WebhookEvent.objects.filter(pk=done.pk).update(status="processed")
    asked = replay(client, dead, done)
    assert asked.status_code == 200
    assert f'value="{dead.pk}"' in asked.content.decode()
    assert f'value="{done.pk}"' not in asked.content.decode()
    assert "1 dead or ignored event will be" in asked.content.decode()
    for more in ({}, {"confirmed": "yes", "reason": "Mended"}):
        assert replay(client, done, **more).status_code == 302
        listed = client.get(url(WebhookEvent, "changelist")).content.decode()
        assert "None of the chosen events is dead or ignored; nothing was replayed." in listed
    assert status_of(dead) == "dead"
    client.get(f"{url(WebhookEvent, 'changelist')}?action=replay_selected&confirmed=yes")
    assert status_of(dead) == "dead"
    assert replay(client, dead, done, confirmed="yes", reason="Mended").status_code == 302
    assert status_of(dead) != "dead"
    assert status_of(done) == "processed"
    assert LogEntry.objects.filter(object_id=str(dead.pk), change_message__contains="Replayed").count() == 1


def test_who_may_not_act_cannot_replay() -> None:
    project, other = create_project(), create_project()
    event, theirs = dead_event(project), dead_event(other)
    for client in (sign_in(group="Support"), sign_in(project=project, role=Role.VIEWER)):
        replay(client, event, confirmed="yes", reason="Mended")
        assert status_of(event) == "dead"
    replay(sign_in(project=project, role=Role.OWNER), theirs, confirmed="yes", reason="Mended")
    assert status_of(theirs) == "dead"


def test_a_configuration_is_deactivated_after_a_confirmation() -> None:
    project = create_project()
    config = StripeConfig.objects.create(project=project)
    client = sign_in(project=project, role=Role.DEVELOPER)
    data: dict[str, Any] = {"action": "deactivate_selected", "_selected_action": [str(config.pk)]}
    assert client.post(url(StripeConfig, "changelist"), data).status_code == 200
    config.refresh_from_db()
    assert config.is_active
    assert (
        client.post(url(StripeConfig, "changelist"), data | {"confirmed": "yes", "reason": "Closed"}).status_code == 302
    )
    config.refresh_from_db()
    assert not config.is_active
