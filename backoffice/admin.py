"""Staff pages over several apps: what waits for a person, what leaves the service, and who did what."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from backoffice import audit_pages, export_pages, webhook_pages
from backoffice.review_pages import ReviewDeeds
from backoffice.services.dead_letters import replay_effects
from backoffice.services.resending import resend_mails, resendable
from backoffice.staff_pages import ROWS_MAX, ProjectFilter, StaffActionsAdmin, actor_of
from common.errors import ApiError
from moderation.models import ActionLog, ReviewItem
from moderation.services.review import decide_review_item
from notifications.models import OutboxRow
from payments.admin.display import counted, facts, pretty_json
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import Dispute

__all__ = ["audit_pages", "export_pages", "webhook_pages"]

RESEND = "notifications.resend_mail"
TO_DECIDE = (
    "Approve: the report is right and was dealt with. Dismiss: nothing needs doing. Either closes the item with your reason in the "
    "action log, and changes nothing at Stripe. “Act on it” above warns, bans, refunds, revokes, replays, assigns or takes a note."
)
REVIEW_COLORS = {"Pending": "warning", "Approved": "success", "Dismissed": "default"}
OUTBOX_COLORS = {
    "Pending": "warning", "Processing": "info", "Done": "success", "Dead letter": "danger", "Skipped": "default",
}  # fmt: skip


@admin.register(ReviewItem)
class ReviewItemAdmin(ReviewDeeds):
    list_display = ["title", "kind", "colored_status", "project", "mode", "end_user", "created_at", "assigned_to"]
    list_filter = ["status", "kind", "mode", ProjectFilter, "created_at"]
    list_select_related = ["project", "end_user", "assigned_to"]
    search_fields = ["title", "subject", "cause_key", "project__name", "end_user__external_id"]
    date_hierarchy = "created_at"
    fields = [
        "title", "kind", "status", "project", "mode", "end_user", "shown_details", "shown_notes", "to_decide", "assigned_to",
        "note", "shown_subject", "subject", "created_at", "resolved_at", "cause_key",
    ]  # fmt: skip
    readonly_fields = ["shown_subject", "to_decide", "shown_details", "shown_notes"]
    actions = ["approve_selected", "dismiss_selected", "take_selected", "act_selected"]

    @display(description="Status", ordering="status", label=REVIEW_COLORS)
    def colored_status(self, row: ReviewItem) -> str:
        """Show whether somebody has decided."""
        return str(row.get_status_display())

    @display(description="Details")
    def shown_details(self, row: ReviewItem) -> SafeString | str:
        """Show what is known, without secrets."""
        return facts(row.details)

    @display(description="Page of the subject")
    def shown_subject(self, row: ReviewItem) -> SafeString | str:
        """Link a dispute to its page; anything else is named above."""
        if row.kind != ReviewItem.Kind.DISPUTE:
            return "-"
        rows = Dispute.objects.for_project(row.project_id).filter(mode=row.mode, stripe_dispute_id=row.subject)
        key = rows.values_list("pk", flat=True).first()
        if key is None:
            return "-"
        return format_html('<a href="{}">{}</a>', reverse("admin:payments_dispute_change", args=[key]), row.subject)

    @display(description="To decide")
    def to_decide(self, row: ReviewItem) -> str:
        """Say what the two answers mean, and where they are given."""
        return TO_DECIDE

    @admin.action(description="Approve", permissions=["act"])
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Accept what the items report, with a reason."""
        return self._decide(request, queryset, status=ReviewItem.Status.APPROVED, action="approve_selected")

    @admin.action(description="Dismiss", permissions=["act"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Lay the items aside, with a reason."""
        return self._decide(request, queryset, status=ReviewItem.Status.DISMISSED, action="dismiss_selected")

    def _decide(
        self, request: HttpRequest, queryset: QuerySet[Any], *, status: ReviewItem.Status, action: str
    ) -> HttpResponse | None:
        chosen = list(self.actionable(request, queryset).filter(status="pending").order_by("created_at")[:ROWS_MAX])

        def decide(reason: str) -> None:
            count = 0
            for item in chosen:
                try:
                    decide_review_item(item=item, status=status, actor=actor_of(request), reason=reason)
                    count += 1
                except ApiError as refusal:
                    messages.warning(request, f"{item}: {refusal.detail}")
            messages.success(request, f"{counted(count, 'item')} {status.label.lower()}.")

        return self.when_confirmed(
            request,
            title="Decide about review items",
            action=action,
            question=f"{counted(len(chosen), 'pending item')} will be marked as {status.label.lower()}:",
            rows=chosen,
            carry_out=decide,
        )


@admin.register(OutboxRow)
class OutboxRowAdmin(StaffActionsAdmin):
    act_right = "notifications.replay_outboxrow"
    list_display = ["effect_key", "kind", "colored_status", "attempts", "created_at", "done_at", "mode", "project"]
    list_filter = ["status", "kind", "mode", ProjectFilter, "created_at"]
    search_fields = ["effect_key", "cause", "end_user__external_id", "project__name"]
    date_hierarchy = "created_at"
    exclude = ["payload", "result", "lease_token"]
    readonly_fields = ["shown_payload", "shown_result"]
    actions = ["replay_selected", "resend_selected"]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        """Allow every staff role, support too: a mail is sent again to its own recipient. Developers in their own projects."""
        return self.may_act(request, RESEND)

    @display(description="Status", ordering="status", label=OUTBOX_COLORS)
    def colored_status(self, row: OutboxRow) -> str:
        """Show how far the effect has come."""
        return str(row.get_status_display())

    @display(description="What is to happen")
    def shown_payload(self, row: OutboxRow) -> SafeString | str:
        """Show the payload, without secrets."""
        return pretty_json(row.payload)

    @display(description="What the peer answered")
    def shown_result(self, row: OutboxRow) -> SafeString | str:
        """Show the answer, without secrets."""
        return pretty_json(row.result)

    @admin.action(description="Replay dead letters", permissions=["act"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Carry dead letters out again, after a confirmation. Each is replayed once, however often this is pressed."""
        chosen = list(self.actionable(request, queryset).filter(status="dead").order_by("created_at")[:ROWS_MAX])

        def replay(reason: str) -> None:
            count = replay_effects(rows=chosen, actor=actor_of(request), reason=reason)
            messages.success(request, f"{counted(count, 'effect')} will be carried out again.")

        question = f"{counted(len(chosen), 'dead letter')} will be carried out again:"
        return self.when_confirmed(
            request, title="Replay effects", action="replay_selected", question=question, rows=chosen, carry_out=replay
        )

    @admin.action(description="Send mails again", permissions=["resend"])
    def resend_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Send mails again that were sent, after a confirmation. One that waits to be sent again is not doubled."""
        chosen = list(resendable(self.actionable(request, queryset, RESEND)).order_by("created_at")[:ROWS_MAX])

        def resend(reason: str) -> None:
            count = resend_mails(rows=chosen, actor=actor_of(request), reason=reason)
            messages.success(request, f"{counted(count, 'mail')} will be sent again.")

        where = "to where the recipient is billed now; a licence's to the address it was bought with"
        question = f"{counted(len(chosen), 'mail')} will be sent again, {where}:"
        return self.when_confirmed(
            request,
            title="Send mails again",
            action="resend_selected",
            question=question,
            rows=chosen,
            carry_out=resend,
        )


@admin.register(ActionLog)
class ActionLogAdmin(ReadOnlyAdmin):
    list_display = ["at", "action", "subject", "actor_label", "reason", "project_name", "mode"]
    list_filter = ["action", "mode", "at"]
    search_fields = ["action", "subject", "actor_label", "reason"]
    date_hierarchy = "at"
    # The project and the person may be gone by now: their ids are shown, and nothing is followed.
    fields = ["at", "action", "subject", "actor_label", "reason", "project_name", "mode", "shown_details"]
    readonly_fields = ["project_name", "shown_details"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ActionLog]:
        """Read the projects' names with the rows, where the projects are still there."""
        return super().get_queryset(request).annotate(known_name=F("project__name"))

    @display(description="Project")
    def project_name(self, row: ActionLog) -> str:
        """Name the project, or its id when it was deleted."""
        if row.project_id is None:
            return "-"
        return str(row.known_name or row.project_id)  # type: ignore[attr-defined]

    @display(description="Details")
    def shown_details(self, row: ActionLog) -> SafeString | str:
        """Show what is known, without secrets."""
        return facts(row.details)

    def _project_id(self, obj: Model) -> Any:
        return getattr(obj, "project_id", None)
