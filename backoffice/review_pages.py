"""Acting on review items, one or many at once: what can be done, who may do it, and the page that asks before it is done.

Invariant: nothing is done by a GET, without a reason or without the right for it; each item is acted on by itself, so that one
which somebody else decided meanwhile does not keep the others.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from accounts.models import ROLE_ADMIN, ROLE_MODERATOR, User
from backoffice.services import review_actions as deeds
from backoffice.services.review_subjects import Subject, subjects_of
from backoffice.staff_pages import ROWS_MAX, StaffActionsAdmin, actor_of
from common.errors import ApiError
from licenses.nudge import nudge_outbox
from moderation.models import ReviewItem, ReviewNote
from moderation.services.review import (
    NOTE_CHARS_MAX,
    REASON_CHARS_MAX,
    assign_review_item,
    decide_review_item,
    note_review_item,
)
from payments.admin.display import counted
from projects.models import Role

Subjects = Mapping[uuid.UUID, Subject]
DECIDE = "moderation.decide_reviewitem"
# Each is acted on in a transaction of its own while somebody waits, and what is left of a payment is looked up for each.
ACTED_MAX = 200
APPROVE, DISMISS, ASSIGN, NOTE = "approve", "dismiss", "assign", "note"
# What can be done: how it is called, what it leads to, and the right that staff need for it. Developers of the project may do
# all of it in their own, but for refunds.
DEEDS: dict[str, tuple[str, str, str]] = {
    APPROVE: ("Approve", "The report is right and was dealt with; nothing else happens.", DECIDE),
    DISMISS: ("Dismiss", "Nothing needs doing.", DECIDE),
    NOTE: ("Write a note", "The note stands beside the item, for whoever looks at it next.", DECIDE),
    ASSIGN: ("Assign", "Somebody takes care of it; it stays pending.", DECIDE),
    deeds.WARN: ("Warn the user", "The user is mailed what you write, and the item is approved.", DECIDE),
    deeds.BAN: ("Ban the user", "Their token is refused from the next request on; the item is approved.", "projects.ban_enduser"),
    deeds.REFUND: (
        "Refund the payment",
        "What is left of it goes back, what it bought is taken away (of a subscription the running plan); the item is approved.",
        "payments.refund_transaction",
    ),
    deeds.REVOKE_LICENSE: (
        "Revoke the licence", "The licence ends and its holder is taken out of GitHub; the item is approved.",
        "licenses.act_on_license",
    ),
    deeds.REVOKE_SUBSCRIPTION: (
        "End the subscription", "It ends at Stripe at once, and what it gives with it; the item is approved.",
        "payments.cancel_subscription",
    ),
    deeds.REPLAY: (
        "Replay the dead letter", "It is carried out again; the item is approved.", "notifications.replay_outboxrow",
    ),
}  # fmt: skip


class ActForm(forms.Form):
    """What is done about the items, and why."""

    deed = forms.ChoiceField(label="What", widget=UnfoldAdminSelectWidget)
    message = forms.CharField(
        label="To the user",
        max_length=deeds.MESSAGE_CHARS_MAX,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Only for a warning: this is what they are mailed.",
    )
    assignee = forms.ModelChoiceField(
        label="To whom",
        queryset=User.objects.none(),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Only for assigning; nobody takes it back into the queue.",
    )
    reason = forms.CharField(
        label="Why, or the note",
        max_length=min(REASON_CHARS_MAX, NOTE_CHARS_MAX),
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the action log.",
    )

    def clean(self) -> dict[str, Any] | None:
        """Ask for the message of a warning."""
        cleaned = super().clean()
        if self.cleaned_data.get("deed") == deeds.WARN and not self.cleaned_data.get("message", "").strip():
            self.add_error("message", "Write what the user is to read.")
        return cleaned


class ReviewDeeds(StaffActionsAdmin):
    """The part of the queue's pages on which something is done."""

    act_right = DECIDE
    actions_detail = ["act"]

    def has_act_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Allow whoever may decide somewhere; whose item it is decides the page itself."""
        return self.may_act(request)

    @display(description="Notes")
    def shown_notes(self, row: ReviewItem) -> SafeString | str:
        """Show what others wrote beside it, oldest first."""
        lines = [(f"{note.created_at:%Y-%m-%d %H:%M}", note.author_label, note.text) for note in self._notes(row)]
        if not lines:
            return "None yet."
        return format_html("<ul>{}</ul>", format_html_join("", "<li><strong>{} {}</strong>: {}</li>", lines))

    @admin.action(description="Take care of them myself", permissions=["act"])
    def take_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Assign pending items to whoever presses it."""
        count, me = 0, actor_of(request)
        for item in self.actionable(request, queryset).filter(status="pending")[:ROWS_MAX]:
            count += self._one(request, item, partial(assign_review_item, item=item, to=me, actor=me))
        messages.success(request, f"{counted(count, 'item')} assigned to you.")
        return None

    @admin.action(description="Do something about them…", permissions=["act"])
    def act_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask what and why, then once more whether it is meant, for all chosen items."""
        rows = self.actionable(request, queryset).select_related("project", "end_user", "assigned_to")
        items = list(rows.order_by("created_at")[: ACTED_MAX + 1])
        if len(items) > ACTED_MAX:
            messages.warning(
                request, f"These are the {ACTED_MAX} oldest of what you chose. Choose the others afterwards."
            )
        return self._ask_and_act(request, items[:ACTED_MAX], action="act_selected")

    @action(description="Act on it", url_path="act", permissions=["act"])
    def act(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The same for one item, from its page."""
        item = self.get_object(request, object_id)
        if item is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        if not self.has_right(request, DECIDE, item):
            raise PermissionDenied
        answer = self._ask_and_act(request, [item])
        return answer or HttpResponseRedirect(reverse("admin:moderation_reviewitem_change", args=[item.pk]))

    def _ask_and_act(self, request: HttpRequest, items: Sequence[ReviewItem], action: str = "") -> HttpResponse | None:
        asked = request.method == "POST" and "deed" in request.POST
        subjects = subjects_of(items)
        form = ActForm(request.POST if asked else None)
        form.fields["deed"].choices = [(name, DEEDS[name][0]) for name in self._possible(request, items, subjects)]  # type: ignore[attr-defined]
        form.fields["assignee"].queryset = self._assignees(request)  # type: ignore[attr-defined]
        form.fields["assignee"].empty_label = "Nobody"  # type: ignore[attr-defined]
        meant = asked and form.is_valid()
        if meant and request.POST.get("confirmed") == "yes":
            self._carry_out(request, items, form.cleaned_data)
            return None
        label, leads_to, _ = DEEDS[form.cleaned_data["deed"]] if meant else ("", "", "")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Act on {counted(len(items), 'review item')}",
            "opts": self.opts,
            "items": items,
            "chosen": [str(item.pk) for item in items],
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "action_name": action,
            "form": form,
            "confirming": meant,
            "label": label,
            "leads_to": leads_to,
            "named": self._named(request, items, subjects, form.cleaned_data["deed"]) if meant else {},
            "request_key": uuid.uuid4(),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "backoffice/review_act.html", context)

    def _possible(self, request: HttpRequest, items: Sequence[ReviewItem], subjects: Subjects) -> list[str]:
        """Name what the viewer may do to at least one of these items."""
        if not items:
            return []
        open_items = [item for item in items if item.status == ReviewItem.Status.PENDING]
        found = {NOTE} | ({APPROVE, DISMISS, ASSIGN} if open_items else set())
        for item in open_items:
            found |= deeds.deeds_for(item, subjects[item.pk])
        return [name for name in DEEDS if name in found and any(self._may(request, name, item) for item in items)]

    def _may(self, request: HttpRequest, deed: str, item: ReviewItem) -> bool:
        # Money goes back by staff only, as on the payment's own page.
        developers = None if deed == deeds.REFUND else Role.DEVELOPER
        return self.has_right(request, DEEDS[deed][2], item, developers=developers)

    def _named(
        self, request: HttpRequest, items: Sequence[ReviewItem], subjects: Subjects, deed: str
    ) -> dict[str, deeds.Named]:
        """Name each payment, licence or subscription that is meant, by the field that says it again with the yes."""
        acted_on = [
            item for item in items if item.status == ReviewItem.Status.PENDING and self._may(request, deed, item)
        ]
        found = {_named_field(item): deeds.named_for(subjects[item.pk], deed) for item in acted_on}
        return {field: named for field, named in found.items() if named is not None}

    def _assignees(self, request: HttpRequest) -> QuerySet[User]:
        """Offer who works for the operator and may decide; to a developer only themselves."""
        staff = User.objects.filter(is_active=True, is_staff=True)
        if not getattr(request.user, "has_perm", lambda right: False)(DECIDE):
            return staff.filter(pk=actor_of(request).pk)
        deciders = Q(is_superuser=True) | Q(groups__name__in=[ROLE_ADMIN, ROLE_MODERATOR])
        return staff.filter(deciders | Q(pk=actor_of(request).pk)).distinct().order_by("email")

    def _carry_out(self, request: HttpRequest, items: Sequence[ReviewItem], asked: dict[str, Any]) -> None:
        actor, deed, reason = actor_of(request), str(asked["deed"]), str(asked["reason"])
        key = _request_key(request)

        def carry_out(item: ReviewItem) -> None:
            given: dict[str, Any] = {"item": item, "actor": actor, "reason": reason}
            meant = given | {"named": request.POST.get(_named_field(item), "")}
            plain: dict[str, Callable[[], Any]] = {
                APPROVE: lambda: decide_review_item(**given, status=ReviewItem.Status.APPROVED),
                DISMISS: lambda: decide_review_item(**given, status=ReviewItem.Status.DISMISSED),
                NOTE: lambda: note_review_item(item=item, text=reason, actor=actor),
                ASSIGN: lambda: assign_review_item(**given, to=asked["assignee"]),
                deeds.WARN: lambda: deeds.warn(**given, message=asked["message"]),
                # Of the form's own key and the item: pressing twice asks for one refund.
                deeds.REFUND: lambda: deeds.refund(**meant, request=uuid.uuid5(key, str(item.pk))),
                deeds.BAN: lambda: deeds.ban(**given),
                deeds.REVOKE_LICENSE: lambda: deeds.revoke(**meant),
                deeds.REVOKE_SUBSCRIPTION: lambda: deeds.revoke_subscription(
                    **meant, request=uuid.uuid5(key, str(item.pk))
                ),
                deeds.REPLAY: lambda: deeds.replay(**given),
            }
            plain[deed]()

        count = 0
        for item in items:
            if self._may(request, deed, item):
                count += self._one(request, item, partial(carry_out, item))
        nudge_outbox()
        messages.success(request, f"{DEEDS[deed][0]}: {counted(count, 'item')}.")

    def _one(self, request: HttpRequest, item: ReviewItem, carry_out: Callable[[], Any]) -> int:
        try:
            carry_out()
        except ApiError as refusal:
            messages.warning(request, f"{item}: {refusal.detail}")
            return 0
        return 1

    def _notes(self, row: ReviewItem) -> QuerySet[ReviewNote]:
        return ReviewNote.objects.for_project(row.project_id).filter(item=row).order_by("created_at", "id")


def _named_field(item: ReviewItem) -> str:
    return f"named_{item.pk}"


def _request_key(request: HttpRequest) -> uuid.UUID:
    try:
        return uuid.UUID(request.POST.get("request", ""))
    except ValueError:
        return uuid.uuid4()
