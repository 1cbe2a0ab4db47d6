"""The admin's main pages of a project in which a month has passed: what is on them, and their addresses."""

import datetime as dt
from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from entitlements.models import CreditDay, CreditWallet
from entitlements.services.credit_days import sum_credit_days
from entitlements.services.holdings import give_plan
from entitlements.services.ledger import grant_credits, spend_credits
from moderation.services.action_log import log_action
from notifications.models import AlertIncident, Brand, OutboxRow, WebhookDelivery, WebhookEndpoint
from payments.models import Dispute, StripeConfig, StripeCredentials, StripeCustomer, WebhookEvent
from projects.models import EndUser, Membership
from projects.services.api_keys import create_api_key
from tests.admin.desk import Desk
from tests.payments.rows import (
    create_dispute,
    create_end_user,
    create_payment,
    create_plan,
    create_refund,
    create_subscription,
)

FAILURE = "No plan has the price price_maker_month_2 that the subscription is on."


def fill(desk: Desk) -> None:
    """Let a month pass in the project."""
    now = timezone.now()
    buyers = [
        create_end_user(
            desk.project, external_id=f"user_{1180 + number}", email=f"{name}@example.com", last_seen_at=now
        )
        for number, name in enumerate(("erin", "frank", "grace", "heidi", "ivan", "judy", "mallory"))
    ]
    for back in range(29):
        at = now - dt.timedelta(days=back)
        for number in range(1 + (back * 7) % 4):
            buyer = buyers[(back * 3 + number) % len(buyers)]
            paid = create_payment(
                desk.project, end_user=buyer, amount_cents=1200 + 600 * ((back + number) % 3), created_at=at
            )
        if back % 6 == 1:
            create_refund(paid, created_at=at)
            create_payment(desk.project, status="failed", created_at=at)
        if back % 9 == 2:
            create_subscription(desk.project, status="canceled", ended_at=at)
    for buyer, status in zip(buyers, ("active", "active", "trialing", "past_due"), strict=False):
        create_subscription(desk.project, end_user=buyer, status=status, stripe_price_id="price_maker_month")
    findings = [
        {"permission": "Customers", "ok": True, "message": "May write.", "features": "Every purchase."},
        {"permission": "Charges and Refunds", "ok": False, "message": "Give the key “Charges and Refunds: write”.",
         "features": "Refunds by staff."},
    ]  # fmt: skip
    StripeCredentials.objects.filter(project=desk.project).update(diagnosis=findings, diagnosed_at=now)
    name_everybody(desk)
    let_webhooks_fail(desk, now)
    let_staff_work(desk, buyers)
    sum_credit_days()
    CreditDay.objects.bulk_create(
        CreditDay(project=desk.project, mode="test", day=(now - dt.timedelta(days=back)).date(), given=200 + back % 3 * 90,
                  used=70 + back * 37 % 110)
        for back in range(2, 29)
    )  # fmt: skip


def name_everybody(desk: Desk) -> None:
    """Give the people names that one can read on a picture."""
    desk.user.external_id, desk.user.email = "user_2043", "dana@example.com"
    desk.user.save()
    StripeCustomer.objects.filter(end_user=desk.user).update(email="dana@example.com")
    type(desk.license).objects.filter(pk=desk.license.pk).update(email="dana@example.com", username="dana-codes")
    body = {"id": desk.dead.event_id, "type": desk.dead.type, "data": {"object": {"status": "active", "quantity": 2}}}
    WebhookEvent.objects.filter(pk=desk.dead.pk).update(error=FAILURE, payload=body)
    Brand.objects.create(project=desk.project, from_name="Acme", color="#0f766e", footer_text="Acme GmbH, Berlin")


def let_webhooks_fail(desk: Desk, now: dt.datetime) -> None:
    """Two endpoints of the app, of which one answers 500, and an incident about it."""
    whose = {"project": desk.project, "mode": "test"}
    good, bad = (
        WebhookEndpoint.objects.create(**whose, url=f"https://app.example/{path}", event_types=["*"], answered_at=now)
        for path in ("hooks/payments", "hooks/old")
    )
    for kind in ("subscription.created", "payment.succeeded"):
        event = OutboxRow.objects.create(
            **whose, end_user=desk.user, kind="app_event", effect_key=f"app:{kind}:{desk.subscription.pk}", status="done",
            cause=desk.handled.event_id, payload={"type": kind, "data": {}}, done_at=now,
        )  # fmt: skip
        for endpoint, status, code in ((good, "delivered", 200), (bad, "pending", 500)):
            WebhookDelivery.objects.create(
                **whose, endpoint=endpoint, event=event, event_type=kind, status=status, status_code=code, attempts=1,
                give_up_at=now + dt.timedelta(days=3), done_at=now if status == "delivered" else None,
                error="" if status == "delivered" else "It answered 500.",
            )  # fmt: skip
    hour = dt.timedelta(hours=1)
    AlertIncident.objects.create(
        **whose, kind="outbound_failures", threshold=10, peak=14, value=12, opened_at=now - hour
    )
    AlertIncident.objects.create(
        **whose, kind="inbound_failures", threshold=5, peak=9, value=0, opened_at=now - 5 * hour, resolved_at=now - hour
    )


def let_staff_work(desk: Desk, buyers: list[EndUser]) -> None:
    """Credits given, plans held, a dispute, keys and members, and what was done about them."""
    project = desk.project
    plan = desk.subscription.plan
    boss = User.objects.create_user(f"grace-{project.pk.hex[-4:]}@example.com", "x" * 12, full_name="Grace Miller")
    for number, buyer in enumerate(buyers):
        whose: dict[str, Any] = {"project_id": project.pk, "mode": "test", "end_user_id": buyer.pk}
        grant_credits(**whose, bucket="bonus", amount=60 + 30 * number, key=f"seen:{buyer.pk}")
        spend_credits(**whose, amount=7 + 11 * number, key=f"used:{buyer.pk}")
        if number % 3:
            with transaction.atomic():
                give_plan(**whose, plan=plan, cause="seen")
    create_plan(project, code="pro", name="Pro", rank=2)
    paid = create_payment(project, end_user=buyers[0], amount_cents=3900)
    due = timezone.now() + dt.timedelta(days=6)
    create_dispute(paid, status="needs_response", evidence_due_by=due)
    Membership.objects.get_or_create(project=project, user=boss, defaults={"role": "developer"})
    for name, is_test_mode in (("web server", False), ("staging", True)):
        create_api_key(project=project, created_by=boss, name=name, is_test_mode=is_test_mode)
    told: dict[str, Any] = {"actor": boss, "project_id": project.pk, "mode": "test"}
    details = {"amount_cents": 400, "currency": "usd", "access": "keep"}
    log_action(
        action="payment.refund", subject=desk.payment.payment_intent_id, reason="Paid twice.", details=details, **told
    )
    log_action(action="credits.adjust", subject=str(buyers[1].pk), reason="Sorry for the outage.", **told)


def let_staff_change(desk: Desk, client: Client) -> None:
    """What the audit log is about: a project, its sender, a colleague and a member are changed by hand."""
    project, member = (
        desk.project,
        Membership.objects.for_project(desk.project).exclude(role="owner").earliest("created_at"),
    )
    support = Group.objects.get(name="Support")
    colleague = User.objects.get(full_name="Mark Moore", email__startswith=f"mark-{project.pk.hex[-4:]}")
    origins = '["https://app.example", "https://shop.example"]'
    sent: list[tuple[Any, dict[str, Any]]] = [
        (project, {"name": project.name, "slug": project.slug, "allowed_origins": origins, "is_active": "on"}),
        (Brand.objects.get(project=project), {"from_name": "Acme", "reply_to": "help@acme.example", "color": "#0f766e",
                                              "footer_text": "Acme GmbH, Berlin"}),
        (colleague, {"email": colleague.email, "full_name": colleague.full_name, "is_active": "on", "is_staff": "on",
                     "groups": [str(support.pk)]}),
        (member, {"role": "viewer"}),
    ]  # fmt: skip
    for row, form in sent:
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        answer = client.post(reverse(name, args=[row.pk]), form)
        assert answer.status_code == 302, (name, answer.content.decode()[:2000])


def main_pages(desk: Desk) -> dict[str, str]:
    """Where the back office's own pages are."""
    user = reverse("backoffice:end-user-in-mode", args=[desk.user.pk, "test"])
    return {
        "dashboard": f"/admin/?mode=test&project={desk.project.pk}",
        "search": f"/admin/search/?q={desk.customer_id}",
        "end-user": user,
        "preview": f"{user}preview/",
        "event": reverse("backoffice:event", args=[desk.dead.pk]),
        "project": reverse("backoffice:project", args=[desk.project.pk]) + "?mode=test",
    }


def pictured_lists() -> dict[str, str]:
    """Where more lists are: of the same make, looked at where pictures are taken."""

    def listed(model: str) -> str:
        return reverse(f"admin:{model}_changelist")

    return {
        "list-disputes": listed("payments_dispute"),
        "list-refunds": listed("payments_refund"),
        "list-credits": listed("entitlements_creditwallet"),
        "list-ledger": listed("entitlements_credittransaction"),
        "list-entitlements": listed("entitlements_entitlement"),
        "list-plans": listed("entitlements_plan"),
        "list-prices": listed("entitlements_planprice"),
        "list-members": listed("projects_membership"),
        "list-api-keys": listed("projects_apikey"),
        "list-users": listed("accounts_user"),
        "list-action-log": listed("moderation_actionlog"),
        "list-audit-log": listed("auditlog_logentry") + "?action__exact=1&q=grace",
    }


def more_pages(desk: Desk) -> dict[str, str]:
    """Where the lists and the forms are that staff meet most."""
    wallet = CreditWallet.objects.get(end_user=desk.user)
    config = StripeConfig.objects.get(project=desk.project)
    colleague = User.objects.create_user(
        f"mark-{desk.project.pk.hex[-4:]}@example.com", "x" * 12, full_name="Mark Moore"
    )
    brand = Brand.objects.get(project=desk.project)

    def listed(model: str) -> str:
        return reverse(f"admin:{model}_changelist")

    def deed(name: str, row: Any, *more: Any) -> str:
        return reverse(name, args=[row.pk, *more])

    return {
        "list-end-users": listed("projects_enduser"),
        "payment": deed("admin:payments_transaction_change", desk.payment),
        "dispute": deed("admin:payments_dispute_change", Dispute.objects.for_project(desk.project).get()),
        "plan": deed("admin:entitlements_plan_change", desk.subscription.plan),
        "personal-data": deed("backoffice:personal-data", desk.user),
        "list-subscriptions": listed("payments_subscription"),
        "list-payments": listed("payments_transaction") + "?status=failed",
        "list-licences": listed("licenses_license"),
        "list-effects": listed("notifications_outboxrow"),
        "list-events": listed("payments_webhookevent"),
        "list-webhooks": listed("notifications_webhookdelivery"),
        "list-webhook-endpoints": listed("notifications_webhookendpoint"),
        "list-incidents": listed("notifications_alertincident"),
        "list-alert-rules": listed("notifications_alertrule"),
        "refund": deed("admin:payments_transaction_refund", desk.payment),
        "cancel": deed("admin:payments_subscription_cancel", desk.subscription),
        "credits": deed("admin:entitlements_creditwallet_adjust", wallet),
        "licence": deed("admin:licenses_license_act", desk.license),
        "plan-by-hand": deed("backoffice:give-plan", desk.user, "test"),
        "replace-secret": deed("backoffice:roll-secret", desk.project, "test"),
        "stripe-keys": deed("admin:payments_stripeconfig_change", config),
        "mail-brand": deed("admin:notifications_brand_change", brand),
        "hosted-settings": reverse("admin:hosted_hostedpages_add"),
        "account": deed("admin:accounts_user_change", colleague),
        "nothing-here": "/admin/nothing-here/",
    }
