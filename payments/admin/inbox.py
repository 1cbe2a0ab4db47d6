"""The inbox of Stripe's events: what came, what became of it, and sending dead ones through again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import display

from payments.admin.actions import ProjectActionsAdmin
from payments.admin.display import pretty_json
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import MirrorFailure, SyncLease, WebhookEvent
from payments.nudge import nudge_worker
from payments.services.inbox import replay_events

REPLAY_MAX = 1000
STATUS_COLORS = {
    "Pending": "warning",
    "Processing": "info",
    "Processed": "success",
    "Ignored": "default",
    "Dead letter": "danger",
}


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin, ProjectActionsAdmin):
    list_display = ["type", "event_id", "colored_status", "attempts", "received_at", "handled_at", "mode", "project"]
    list_filter = ["status", "mode", "received_at"]
    list_select_related = ["project"]
    search_fields = ["event_id", "type", "object_id", "root"]
    date_hierarchy = "received_at"
    exclude = ["payload", "lease_token"]
    readonly_fields = ["body"]
    actions = ["replay_selected"]

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def colored_status(self, row: WebhookEvent) -> str:
        """Show how far the event has come."""
        return str(row.get_status_display())

    @display(description="What Stripe sent")
    def body(self, row: WebhookEvent) -> SafeString | str:
        """Show the event without the secrets that Stripe puts into some objects."""
        return pretty_json(row.payload)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whoever may change the project's events: not support, who only read."""
        return self.may_act(request)

    @admin.action(description="Replay dead and ignored events", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Send events through again, after a confirmation. Each is replayed once, however often this is pressed."""
        rows = self.actionable(request, queryset)
        chosen = list(rows.filter(status__in=["dead", "ignored"]).order_by("received_at")[:REPLAY_MAX])
        if request.POST.get("confirmed") != "yes":
            question = f"{len(chosen)} dead or ignored events will be processed again:"
            return self.ask_first(
                request, title="Replay events", action="replay_selected", question=question, rows=chosen
            )
        count = replay_events(WebhookEvent.objects.filter(pk__in=[event.pk for event in chosen]))
        for event in chosen:
            self.log_change(request, event, "Replayed.")
        nudge_worker()
        messages.success(request, f"{count} events will be processed again.")
        return None


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
