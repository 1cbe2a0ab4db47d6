"""The inbox of Stripe's events: what came, what became of it, and sending dead ones through again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import display

from accounts.models import User
from payments.admin.actions import ProjectActionsAdmin
from payments.admin.display import counted, pretty_json
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import MirrorFailure, SyncLease, WebhookEvent
from payments.nudge import nudge_worker
from payments.services.dead_letters import replay_chosen

REPLAY_MAX = 1000
ERROR_CHARS_SHOWN = 80
STATUS_COLORS = {
    "Pending": "warning",
    "Processing": "info",
    "Processed": "success",
    "Ignored": "default",
    "Dead letter": "danger",
}


class HasErrorFilter(admin.SimpleListFilter):
    """Events whose last attempt failed: dead letters, and those that are tried again."""

    title = "trouble"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the choices."""
        return [("dead", "Dead letters"), ("retrying", "Failed and tried again"), ("waiting", "Waiting for a key")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep what was chosen."""
        waiting = queryset.filter(status__in=WebhookEvent.UNFINISHED_STATUSES)
        if self.value() == "dead":
            return queryset.filter(status=WebhookEvent.Status.DEAD)
        if self.value() == "retrying":
            return waiting.exclude(error="")
        if self.value() == "waiting":
            return waiting.exclude(wait_reason="")
        return queryset


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin, ProjectActionsAdmin):
    act_right = "payments.replay_webhookevent"
    list_display = [
        "type", "story", "colored_status", "attempts", "short_error", "received_at", "mode", "project", "event_id", "handled_at",
    ]  # fmt: skip
    list_filter = [HasErrorFilter, "status", "mode", "wait_reason", "received_at", "failed_at"]
    list_select_related = ["project"]
    search_fields = ["event_id", "type", "object_id", "root"]
    date_hierarchy = "received_at"
    exclude = ["payload", "lease_token"]
    readonly_fields = ["story", "body"]
    actions = ["replay_selected"]

    @display(description="What happened")
    def story(self, row: WebhookEvent) -> SafeString:
        """Lead to the event as a line of time."""
        return format_html('<a href="{}">As a timeline</a>', reverse("backoffice:event", args=[row.pk]))

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def colored_status(self, row: WebhookEvent) -> str:
        """Show how far the event has come."""
        return str(row.get_status_display())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave bodies out of the list: they are large, and one page shows a hundred rows."""
        rows: QuerySet[Any] = super().get_queryset(request)
        match = request.resolver_match
        is_list = bool(match and match.url_name and match.url_name.endswith("_changelist"))
        return rows.defer("payload") if is_list else rows

    @display(description="Error", ordering="error")
    def short_error(self, row: WebhookEvent) -> str:
        """Show why the last attempt failed, as far as a list has room for it."""
        return Truncator(row.error).chars(ERROR_CHARS_SHOWN) or "-"

    @display(description="What Stripe sent")
    def body(self, row: WebhookEvent) -> SafeString | str:
        """Show the event without the secrets that Stripe puts into some objects."""
        if row.emptied_at:
            return f"Emptied by retention at {row.emptied_at:%Y-%m-%d %H:%M} UTC."
        return pretty_json(row.payload)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whoever may change the project's events: not support, who only read."""
        return self.may_act(request)

    @admin.action(description="Replay dead and ignored events", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Send events through again, after a confirmation. Each is replayed once, however often this is pressed."""
        rows = self.actionable(request, queryset)
        chosen = list(rows.filter(status__in=["dead", "ignored"]).order_by("received_at")[:REPLAY_MAX])
        if not chosen:
            messages.warning(request, "None of the chosen events is dead or ignored; nothing was replayed.")
            return None

        def replay(reason: str) -> None:
            count = 0
            for project_id, mode in sorted({(event.project_id, event.mode) for event in chosen}):
                keys = [event.pk for event in chosen if (event.project_id, event.mode) == (project_id, mode)]
                count += replay_chosen(
                    rows=WebhookEvent.objects.for_project(project_id).filter(pk__in=keys),
                    project_id=project_id,
                    mode=mode,
                    actor=request.user if isinstance(request.user, User) else None,
                    reason=reason,
                )
            for event in chosen:
                self.log_change(request, event, "Replayed.")
            nudge_worker()
            messages.success(request, f"{counted(count, 'event')} will be processed again.")

        question = f"{counted(len(chosen), 'dead or ignored event')} will be processed again:"
        return self.when_confirmed(
            request, title="Replay events", action="replay_selected", question=question, rows=chosen, carry_out=replay
        )


@admin.register(SyncLease)
class SyncLeaseAdmin(ReadOnlyAdmin):
    list_display = ["root", "project", "mode", "until"]
    list_filter = ["mode"]
    list_select_related = ["project"]
    search_fields = ["root"]
    exclude = ["token"]


@admin.register(MirrorFailure)
class MirrorFailureAdmin(ReadOnlyAdmin):
    list_display = ["stripe_object_id", "project", "mode", "error", "failed_at"]
    list_filter = ["mode", "failed_at"]
    list_select_related = ["project"]
    search_fields = ["stripe_object_id", "error"]
