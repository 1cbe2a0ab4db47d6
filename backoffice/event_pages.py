"""One event of Stripe as a line of time: when it was made, came and was tried, what it changed and what left the service for it."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from backoffice.visible import page_of, row_or_404
from moderation.models import ActionLog
from notifications.models import OutboxRow
from payments.admin.display import pretty_json
from payments.admin.policy import change_in_words
from payments.models import StripeCustomer, Subscription, SubscriptionChange, WebhookEvent

SHOWN = 50
# An event that lay dead for long caused things when it was replayed, not in all the days between.
WINDOW = dt.timedelta(days=2)
SLACK = dt.timedelta(minutes=5)
GOOD, BAD, PLAIN = "good", "bad", ""
REPLAYABLE = ("dead", "ignored")


@dataclass(frozen=True)
class Moment:
    """One thing that happened."""

    at: dt.datetime
    title: str
    text: str = ""
    tone: str = PLAIN
    link: str = ""


@require_safe
def event_page(request: HttpRequest, event_id: Any) -> HttpResponse:
    """Show one event. Seven queries besides the sign-in's."""
    row = row_or_404(request, WebhookEvent, event_id, "project")
    customers = StripeCustomer.objects.for_project(row.project_id).filter(mode=row.mode, stripe_customer_id=row.root)
    customer = customers.select_related("end_user").first()
    effects = _effects(row)
    siblings = WebhookEvent.objects.for_project(row.project_id).filter(mode=row.mode, object_id=row.object_id)
    context = {
        **admin.site.each_context(request),
        "title": f"Event {row.type}",
        "event": row,
        "customer": customer,
        "timeline": sorted([*_own_moments(row), *_changes(row), *map(_effect, effects), *_log(row)], key=lambda one: one.at),
        "waits_until": row.next_attempt_at if row.status in WebhookEvent.UNFINISHED_STATUSES else None,
        "body": pretty_json(row.payload) if row.emptied_at is None else "",
        "siblings": siblings.exclude(pk=row.pk).defer("payload").order_by("-received_at")[:10] if row.object_id else [],
        "may_replay": row.status in REPLAYABLE
        and page_of(WebhookEvent).has_right(request, "payments.replay_webhookevent", row),
    }  # fmt: skip
    return TemplateResponse(request, "backoffice/event.html", context)


event = admin.site.admin_view(event_page)


def _own_moments(row: WebhookEvent) -> list[Moment]:
    how = (
        "Stripe delivered it."
        if row.source == "webhook"
        else "Found in Stripe's list of events: it was never delivered."
    )
    found = [Moment(row.received_at, "Received", how)]
    if row.stripe_created_at is not None:
        found.append(Moment(row.stripe_created_at, "Happened at Stripe"))
    if row.failed_at is not None:
        given_up = " It was given up." if row.status == WebhookEvent.Status.DEAD else ""
        # A replay counts anew.
        told = {0: "It is tried anew.", 1: "One attempt so far."}
        tries = told.get(row.attempts, f"{row.attempts} attempts so far.")
        found.append(Moment(row.failed_at, "Last attempt failed", f"{row.error} {tries}{given_up}".strip(), BAD))
    if row.handled_at is not None:
        done = {"processed": "Processed: everything that it causes is committed.", "ignored": f"Ignored. {row.error}"}
        found.append(Moment(row.handled_at, "Handled", done.get(row.status, row.get_status_display()), GOOD))
    return found


def _changes(row: WebhookEvent) -> list[Moment]:
    """Find what it changed on subscriptions: those of its customer, since history is found by subscription."""
    if not row.root:
        return []
    subscriptions = Subscription.objects.for_project(row.project_id).filter(mode=row.mode, stripe_customer_id=row.root)
    rows = SubscriptionChange.objects.for_project(row.project_id).filter(
        subscription__in=subscriptions.values("pk"), event_id=row.event_id
    )
    return [
        Moment(one.recorded_at, f"Subscription: {one.kind}", change_in_words(one), GOOD,
               reverse("admin:payments_subscription_change", args=[one.subscription_id]))
        for one in rows.order_by("recorded_at")[:SHOWN]
    ]  # fmt: skip


def _effects(row: WebhookEvent) -> list[OutboxRow]:
    until = (row.handled_at or row.failed_at or timezone.now()) + SLACK
    since = max(row.received_at - SLACK, until - WINDOW)
    rows = OutboxRow.objects.for_project(row.project_id).filter(
        mode=row.mode, created_at__gte=since, created_at__lte=until, cause=row.event_id
    )
    return list(rows.defer("payload", "result").order_by("-created_at")[:SHOWN])


def _effect(row: OutboxRow) -> Moment:
    tone = {"done": GOOD, "dead": BAD}.get(row.status, PLAIN)
    when = f", {row.done_at:%H:%M:%S}" if row.done_at else ""
    text = f"{row.effect_key}: {row.get_status_display()}{when}. {row.error}".strip()
    return Moment(
        row.created_at,
        f"Effect: {row.kind}",
        text,
        tone,
        reverse("admin:notifications_outboxrow_change", args=[row.pk]),
    )


def _log(row: WebhookEvent) -> list[Moment]:
    rows = ActionLog.objects.for_project(row.project_id).filter(subject__in=[row.event_id, str(row.pk)])
    return [
        Moment(one.at, one.action, f"{one.actor_label}: {one.reason}".strip(": "))
        for one in rows.order_by("-at")[:SHOWN]
    ]
