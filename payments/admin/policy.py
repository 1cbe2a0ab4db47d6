"""A project's billing policy, set by those who may configure it, and why a subscription is as it is."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.models import User
from common.errors import FieldError
from payments.admin.display import pretty_json
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import BillingPolicy, Subscription, SubscriptionChange
from payments.models.policy import default_entitled_statuses
from payments.services.billing_policy import (
    ENTITLEABLE,
    FIELDS,
    check_entitled_statuses,
    check_grace_hours,
    log_policy_change,
    values_of,
)
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role

SHOWN_CHANGES = 20
HELP_TEXTS = {
    "grace_hours": "How long access goes on after a failed renewal, from the oldest invoice that is unpaid. 0: not at all.",
    "full_refund_revokes": "A refund of the whole payment takes away what it bought, unless whoever refunds says otherwise.",
    "dispute_revokes": "When a payment that the cardholder's bank questions takes away what it bought.",
    "billing_address_collection": "Checkout always asks for the address; tax is worked out from it.",
    "tax_id_collection": "Checkout lets businesses enter a tax id, which Stripe puts on their invoices.",
    "automatic_tax": "Stripe works out the tax. Set up Stripe Tax in the account first: without it checkouts are refused.",
    "allow_promotion_codes": "Checkout has a field for promotion codes made in the Stripe account.",
}


class BillingPolicyForm(forms.ModelForm):
    """The policy; the statuses that give access are ticked."""

    entitled_statuses = forms.MultipleChoiceField(
        choices=[(status, status.replace("_", " ")) for status in ENTITLEABLE],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        initial=default_entitled_statuses,
        help_text="past_due gives access for the hours of grace and is not named here.",
    )

    class Meta:
        model = BillingPolicy
        fields = ["project", *FIELDS]
        help_texts = HELP_TEXTS

    def clean_entitled_statuses(self) -> list[str]:
        """Refuse what the API refuses."""
        statuses: list[str] = self.cleaned_data["entitled_statuses"]
        _refuse(check_entitled_statuses, statuses)
        return statuses

    def clean_grace_hours(self) -> int:
        """Refuse what the API refuses."""
        hours: int = self.cleaned_data["grace_hours"]
        _refuse(check_grace_hours, hours)
        return hours


def _refuse(check: Any, value: Any) -> None:
    try:
        check(value)
    except FieldError as error:
        raise forms.ValidationError(error.detail) from error


@admin.register(BillingPolicy)
class BillingPolicyAdmin(ProjectScopedAdmin):
    form = BillingPolicyForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_display = ["project", "grace_hours", "full_refund_revokes", "dispute_revokes", "automatic_tax", "updated_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]
    list_before_template = "payments/admin/billing_policy_intro.html"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a policy is changed, and each change is in the log."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave a policy with its project."""
        return ["project"] if obj is not None else []

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and append to the log who changed what."""
        stored = BillingPolicy.objects.for_project(obj.project_id).first() if change else None
        before = values_of(stored or BillingPolicy(project_id=obj.project_id))
        super().save_model(request, obj, form, change)
        actor = request.user
        if isinstance(actor, User):
            log_policy_change(obj, actor=actor, before=before)


@admin.register(SubscriptionChange)
class SubscriptionChangeAdmin(ReadOnlyAdmin):
    list_display = ["subscription", "kind", "what", "source", "event_type", "happened_at", "recorded_at", "project"]
    list_filter = ["mode", "kind", "source", "recorded_at"]
    list_select_related = ["project", "subscription"]
    search_fields = ["subscription__stripe_subscription_id", "event_id", "subscription__end_user__external_id"]
    date_hierarchy = "recorded_at"
    exclude = ["before", "after"]
    readonly_fields = ["state_before", "state_after"]

    @display(description="What changed")
    def what(self, row: SubscriptionChange) -> str:
        """Say it in a line."""
        return change_in_words(row)

    @display(description="Before")
    def state_before(self, row: SubscriptionChange) -> SafeString | str:
        """Show the fields that differ, as they were."""
        return pretty_json(row.before)

    @display(description="After")
    def state_after(self, row: SubscriptionChange) -> SafeString | str:
        """Show the fields that differ, as they became."""
        return pretty_json(row.after)


def change_in_words(change: SubscriptionChange) -> str:
    """Write what changed in a line: `status: active → past_due`."""
    names = [name for name in change.after if change.kind != "created" or name in ("status", "plan_code", "price_id")]
    return "; ".join(f"{name}: {_word(change.before.get(name))} → {_word(change.after[name])}" for name in names)


def _word(value: Any) -> str:
    return "–" if value is None else str(value)


def history_table(row: Subscription) -> SafeString | str:
    """List the newest changes of a subscription, with the way to the others."""
    changes = SubscriptionChange.objects.for_project(row.project_id).filter(subscription=row)
    newest = list(changes.order_by("-recorded_at", "-id")[:SHOWN_CHANGES])
    if not newest:
        return "-"
    lines = format_html_join(
        "\n",
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        [
            (
                one.recorded_at.strftime("%Y-%m-%d %H:%M:%S"),
                one.kind,
                change_in_words(one),
                one.event_type or one.source,
            )
            for one in newest
        ],
    )
    everything = reverse("admin:payments_subscriptionchange_changelist") + f"?q={row.stripe_subscription_id}"
    head = "<tr><th>Noted (UTC)</th><th>Kind</th><th>What changed</th><th>Because of</th></tr>"
    return format_html('<table>{}{}</table><a href="{}">All changes</a>', SafeString(head), lines, everything)
