"""The pages of the app's webhook endpoints and of what was delivered to them. No secret is on any of them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import display

from backoffice.services.webhooks import replay_deliveries, switch_endpoints
from backoffice.staff_pages import ROWS_MAX, ProjectFilter, StaffActionsAdmin, actor_of
from common.logs import redact
from notifications.event_types import EVENT_TYPES
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services.outbound import body_of, message_id_of
from payments.admin.display import counted

DELIVERY_COLORS = {"Pending": "warning", "Processing": "info", "Delivered": "success", "Failed": "danger"}
ENDPOINT_COLORS = {
    "Works": "success",
    "Fails": "warning",
    "Disabled": "danger",
    "Only tested": "info",
    "Not used yet": "default",
}
URL_CHARS = 32
FOR_DEVELOPERS = "Developers of the project see this."
PRE = '<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>'


class EventTypeFilter(admin.SimpleListFilter):
    """Offers every type that there is, without reading the table for those that occur."""

    title = "event type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """List the types."""
        return [(name, name) for name in EVENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep one type."""
        return queryset.filter(event_type=self.value()) if self.value() in EVENT_TYPES else queryset


class WebhooksAdmin(StaffActionsAdmin):
    """Viewers see that events arrive, and neither the path of an address, which may hold a token, nor what was said there."""

    url_lookup = "url"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Say of each row whether all of it is shown."""
        return self.annotate_whole(request, super().get_queryset(request))

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Let staff alone search addresses: a search tells what it finds letter by letter."""
        fields = list(super().get_search_fields(request))
        return [*fields, self.url_lookup] if self._is_staff_for(request, "view") else fields


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(WebhooksAdmin):
    act_right = "notifications.switch_webhookendpoint"
    list_display = ["address", "colored_state", "shown_types", "answered_at", "failing_since", "mode", "project"]
    list_filter = ["mode", "disabled_reason", ProjectFilter]
    search_fields = ["description", "project__name", "project__slug"]
    fields = [
        "project", "mode", "address", "description", "shown_types", "secret_masked", "previous_secret_until", "state",
        "disabled_at", "disabled_reason", "failing_since", "failures_in_row", "held_until", "answered_at", "created_at",
        "updated_at",
    ]  # fmt: skip
    readonly_fields = ["address", "shown_types", "secret_masked", "state"]
    actions = ["switch_on", "switch_off"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Say of each endpoint whether a test has arrived there."""
        arrived = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), is_test=True, status="delivered")
        return super().get_queryset(request).annotate(is_tested=Exists(arrived))

    @display(description="Address")
    def address(self, row: Any) -> str:
        """Show where it is."""
        return row.url if row.is_whole else row.url_masked

    @display(description="State", label=ENDPOINT_COLORS)
    def colored_state(self, row: Any) -> str:
        """Show whether events arrive there."""
        return self.state(row)

    @display(description="State")
    def state(self, row: Any) -> str:
        """Say whether events arrive there."""
        if row.disabled_at:
            return "Disabled"
        if row.failing_since:
            return "Fails"
        if row.answered_at:
            return "Works"
        return "Only tested" if row.is_tested else "Not used yet"

    @display(description="Is told of")
    def shown_types(self, row: WebhookEndpoint) -> str:
        """List the types that it asked for."""
        return "everything" if "*" in row.event_types else ", ".join(row.event_types)

    @admin.action(description="Switch on", permissions=["act"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Deliver to endpoints again, after a confirmation: what waits for them goes on."""
        return self._switch(request, queryset.exclude(disabled_at=None), active=True)

    @admin.action(description="Switch off", permissions=["act"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Deliver nothing to endpoints, after a confirmation."""
        return self._switch(request, queryset.filter(disabled_at=None), active=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Any], *, active: bool) -> HttpResponse | None:
        chosen = list(self.actionable(request, queryset).order_by("created_at")[:ROWS_MAX])
        what = "on" if active else "off"

        def switch(reason: str) -> None:
            count = switch_endpoints(rows=chosen, active=active, actor=actor_of(request), reason=reason)
            messages.success(request, f"{counted(count, 'endpoint')} switched {what}.")

        return self.when_confirmed(
            request,
            title=f"Switch endpoints {what}",
            action=f"switch_{what}",
            question=f"{counted(len(chosen), 'endpoint')} will be switched {what}:",
            rows=chosen,
            carry_out=switch,
        )


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(WebhooksAdmin):
    act_right = "notifications.replay_webhookdelivery"
    url_lookup = "endpoint__url"
    list_display = ["what", "colored_status", "answer", "attempts", "where", "created_at", "mode", "project"]
    list_filter = ["status", EventTypeFilter, "mode", ProjectFilter, "created_at"]
    list_select_related = ["project", "endpoint"]
    search_fields = ["event_type", "project__name"]
    date_hierarchy = "created_at"
    fields = [
        "project", "mode", "endpoint", "event_type", "webhook_id", "is_test", "status", "attempts", "status_code", "error",
        "next_attempt_at", "give_up_at", "created_at", "done_at", "sent", "shown_log",
    ]  # fmt: skip
    readonly_fields = ["webhook_id", "sent", "shown_log"]
    actions = ["replay_selected"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read no log for a list."""
        rows = super().get_queryset(request)
        return rows.defer("log") if request.resolver_match and request.resolver_match.kwargs == {} else rows

    @display(description="Status", ordering="status", label=DELIVERY_COLORS)
    def colored_status(self, row: WebhookDelivery) -> str:
        """Show how far it has come."""
        return str(row.get_status_display())

    @display(description="Answer", ordering="status_code")
    def answer(self, row: WebhookDelivery) -> str:
        """Show what was answered last."""
        return str(row.status_code or "-")

    @display(description="Event type", ordering="event_type")
    def what(self, row: WebhookDelivery) -> str:
        """Name the event, and say of a test that it is one."""
        return f"{row.event_type} (test)" if row.is_test else row.event_type

    @display(description="Endpoint", ordering="endpoint")
    def where(self, row: Any) -> str:
        """Show the address as far as there is room for it."""
        shown = row.endpoint.url if row.is_whole else row.endpoint.url_masked
        return Truncator(shown.partition("://")[2]).chars(URL_CHARS)

    @display(description="webhook-id")
    def webhook_id(self, row: WebhookDelivery) -> str:
        """Show what the app tells the event by."""
        return message_id_of(row.event_id)

    @display(description="Body")
    def sent(self, row: Any) -> SafeString | str:
        """Show what was sent, without secrets."""
        return format_html(PRE, redact(body_of(row.event))) if row.is_whole else FOR_DEVELOPERS

    @display(description="Attempts and answers")
    def shown_log(self, row: Any) -> SafeString | str:
        """Show each attempt with the beginning of its answer."""
        if not row.is_whole:
            return FOR_DEVELOPERS
        lines = [
            (
                f"{one['at']}: {one['status_code'] or 'no answer'} in {one['duration_ms']} ms {one['error']}",
                one["answer"],
            )
            for one in row.log
        ]
        return format_html_join("", "<p>{}</p>" + PRE, lines) if lines else "None yet."

    @admin.action(description="Send again", permissions=["act"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Send deliveries again under the same id, after a confirmation."""
        rows = self.actionable(request, queryset).exclude(status="processing").select_related("endpoint")
        chosen = list(rows.order_by("created_at")[:ROWS_MAX])

        def replay(reason: str) -> None:
            count, refused = replay_deliveries(rows=chosen, actor=actor_of(request), reason=reason)
            messages.success(request, f"{counted(count, 'webhook')} will be sent again.")
            if refused:
                messages.warning(request, f"{refused} stay where they are: their endpoint is disabled.")

        return self.when_confirmed(
            request,
            title="Send webhooks again",
            action="replay_selected",
            question=f"{counted(len(chosen), 'webhook')} will be sent again:",
            rows=chosen,
            carry_out=replay,
        )
