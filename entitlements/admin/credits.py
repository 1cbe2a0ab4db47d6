"""Credits in the admin: wallets with what is in them, the ledger as it was written, and the page on which somebody adjusts them."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, Func, JSONField, Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from common import clock
from common.errors import ApiError, FieldError
from entitlements.models import Bucket, CreditPolicy, CreditTransaction, CreditWallet
from entitlements.services.credit_adjustments import REASON_CHARS_MAX, adjust_credits, log_policy_change
from entitlements.services.ledger import AMOUNT_MAX, Wallet, read_balance
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin
from projects.models import Role

SHOWN_TRANSACTIONS = 20
RIGHT = "entitlements.adjust_creditwallet"


class AdjustForm(forms.Form):
    """How many credits, and why. The hidden request makes pressing twice one adjustment."""

    amount = forms.IntegerField(
        min_value=-AMOUNT_MAX,
        max_value=AMOUNT_MAX,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Above zero gives bonus credits, below zero takes credits away.",
    )
    reason = forms.CharField(
        label="Why",
        max_length=REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="Kept in the action log, and shown in the user's history.",
    )
    request = forms.UUIDField(widget=forms.HiddenInput)

    def clean_amount(self) -> int:
        """Refuse an adjustment that changes nothing."""
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError("Give a number above or below zero.")
        return amount

    def refuse(self, error: ApiError) -> None:
        """Show a refusal at the field that it names."""
        if not isinstance(error, FieldError):
            missing = error.extra.get("deficit")
            self.add_error(None, error.detail if missing is None else f"{error.detail} {missing} are missing.")
            return
        for problem in error.errors:
            name = str(problem["loc"][-1])
            self.add_error(name if name in self.fields else None, str(problem["msg"]))


@admin.register(CreditWallet)
class CreditWalletAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    list_display = ["end_user", "available", "transactions_count", "daily_on", "created_at", "mode", "project"]
    list_filter = ["mode", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["end_user__external_id", "end_user__email", "project__slug"]
    fields = ["project", "mode", "end_user", "balances", "daily_on", "daily_granted", "history"]
    readonly_fields = ["balances", "history"]
    actions_detail = ["adjust"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read with the rows of a page what is in each: one statement."""
        whose = (F("project_id"), F("mode"), F("end_user_id"))
        balance = Func(*whose, Value(clock.now()), function="credit_balance", output_field=JSONField())
        return super().get_queryset(request).annotate(balance=balance)

    @display(description="Available")
    def available(self, row: CreditWallet) -> int:
        """Show what can be spent now."""
        return int(row.balance["available"])  # type: ignore[attr-defined]

    @display(description="Credits")
    def balances(self, row: CreditWallet) -> SafeString:
        """Show what is in it."""
        balance = read_balance(**_named(row))
        lines = [("Available", balance.available), ("Reserved", balance.reserved), ("Owed", balance.debt)]
        lines += [(Bucket(name).label, held) for name, held in balance.buckets.items()]
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {}</li>", lines))

    @display(description="Latest transactions")
    def history(self, row: CreditWallet) -> SafeString:
        """Show the latest transactions, newest first."""
        rows = CreditTransaction.objects.for_project(row.project_id).filter(wallet=row).order_by("-number")
        lines = [
            (
                reverse("admin:entitlements_credittransaction_change", args=[one.pk]),
                f"{one.created_at:%Y-%m-%d %H:%M}",
                str(one),
                one.available_after,
                one.description,
            )
            for one in rows[:SHOWN_TRANSACTIONS]
        ]
        line = '<li><a href="{}">{}</a> {} → {} {}</li>'
        return format_html("<ul>{}</ul>", format_html_join("", line, lines)) if lines else format_html("None yet.")

    def has_adjust_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Staff with the right to adjust, and developers; whose wallet it is decides the page itself."""
        return self.has_right(request, RIGHT)

    @action(description="Adjust credits", url_path="adjust", permissions=["adjust"])
    def adjust(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how many and why, then once more whether it is meant; only then are credits moved."""
        wallet = self.get_object(request, object_id)
        if wallet is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        if not self.has_right(request, RIGHT, wallet):
            raise PermissionDenied
        form = AdjustForm(request.POST or None, initial={"request": uuid.uuid4()})
        meant = request.method == "POST" and form.is_valid()
        if meant and request.POST.get("confirmed") == "yes" and self._carry_out(request, wallet, form):
            return HttpResponseRedirect(reverse("admin:entitlements_creditwallet_change", args=[wallet.pk]))
        amount = (form.cleaned_data.get("amount") or 0) if meant else 0
        context = {
            **self.admin_site.each_context(request),
            "title": f"Adjust credits of {wallet.end_user}",
            "opts": self.opts,
            "wallet": wallet,
            "balance": read_balance(**_named(wallet)),
            "form": form,
            "confirming": meant and form.is_valid(),
            "gives": max(amount, 0),
            "takes": max(-amount, 0),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "entitlements/admin/adjust_credits.html", context)

    def _carry_out(self, request: HttpRequest, wallet: CreditWallet, form: AdjustForm) -> bool:
        actor: Any = request.user
        amount, reason = form.cleaned_data["amount"], form.cleaned_data["reason"]
        key = f"adjust:{wallet.pk}:{form.cleaned_data['request']}"
        try:
            posted = adjust_credits(**_named(wallet), amount=amount, reason=reason, actor=actor, key=key)
        except ApiError as error:
            form.refuse(error)
            return False
        if not posted.replayed:
            self.log_change(request, wallet, f"Adjusted by {amount:+d}: {reason}")
        messages.success(request, f"Adjusted by {amount:+d}. {posted.available} can be spent now.")
        return True


@admin.register(CreditTransaction)
class CreditTransactionAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    list_display = [
        "created_at",
        "kind",
        "amount",
        "available_after",
        "owner",
        "description",
        "actor",
        "mode",
        "project",
    ]
    list_filter = ["mode", "kind", "created_at"]
    list_select_related = ["project", "wallet__end_user"]
    search_fields = ["key", "source", "wallet__end_user__external_id", "wallet__end_user__email"]
    date_hierarchy = "created_at"
    readonly_fields = ["lines"]
    show_full_result_count = False

    @display(description="End user")
    def owner(self, row: CreditTransaction) -> str:
        """Name whose credits they are."""
        return str(row.wallet.end_user)

    @display(description="Entries")
    def lines(self, row: CreditTransaction) -> SafeString:
        """Show what it did to each account."""
        entries = row.entries.select_related("account").order_by("number", "id")
        lines = ((str(one.account), f"{one.amount:+d}", one.balance_after) for one in entries)
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {} → {}</li>", lines))


class CreditPolicyForm(forms.ModelForm):
    """What a project decides about credits."""

    class Meta:
        model = CreditPolicy
        fields = ["project", "shortfall", "low_at"]
        help_texts = {
            "shortfall": "When a refund takes back more credits than are left.",
            "low_at": "A spend that leaves fewer credits than this is told of, once a day and user. 0: never.",
        }


@admin.register(CreditPolicy)
class CreditPolicyAdmin(ProjectScopedAdmin):
    form = CreditPolicyForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_display = ["project", "shortfall", "low_at", "updated_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a policy with its project."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: changing it back does the same and is written down."""
        return False

    def save_model(self, request: HttpRequest, obj: CreditPolicy, form: Any, change: bool) -> None:
        """Save, and write down who changed what."""
        super().save_model(request, obj, form, change)
        actor: Any = request.user
        log_policy_change(policy=obj, actor=actor, changed=form.changed_data)


def _named(row: CreditWallet) -> Wallet:
    return {"project_id": row.project_id, "mode": row.mode, "end_user_id": row.end_user_id}
