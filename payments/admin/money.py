"""Payments, invoices, refunds and disputes, as this service knows them, and the page on which staff refund a payment."""

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from common.errors import ApiError, FieldError
from common.money import decimals_of, money_text
from payments.admin.display import link
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import BillingPolicy, Dispute, Invoice, Refund, Transaction
from payments.services.objects.refund import KEEP, REVOKE
from payments.services.refunds import (
    REASON_CHARS,
    RefundRequest,
    check_refund,
    refundable_cents,
    request_refund,
    why_not_refundable,
)
from payments.services.revocation import is_of_older_invoice

GOOD, WAITING, BAD = "success", "warning", "danger"
PAYMENT_COLORS = {
    "succeeded": GOOD,
    "pending": WAITING,
    "partially_refunded": WAITING,
    "refunded": WAITING,
    "failed": BAD,
    "canceled": BAD,
}
INVOICE_COLORS = {"paid": GOOD, "open": WAITING, "draft": WAITING, "void": "default", "uncollectible": BAD}
REFUND_COLORS = {
    "succeeded": GOOD,
    "pending": WAITING,
    "requires_action": WAITING,
    "failed": BAD,
    "canceled": "default",
}
DISPUTE_COLORS = {"won": GOOD, "warning_closed": GOOD, "lost": BAD, "needs_response": BAD, "under_review": WAITING}
RIGHT = "payments.refund_transaction"


class RefundForm(forms.Form):
    """What to give back of one payment. The hidden request makes pressing twice one refund."""

    # So many digits hold every amount that there is; arithmetic with more of them fails.
    amount = forms.DecimalField(required=False, max_digits=15, widget=UnfoldAdminDecimalFieldWidget)
    access = forms.ChoiceField(
        label="What was bought",
        choices=[(KEEP, "The customer keeps it"), (REVOKE, "It is taken away")],
        widget=UnfoldAdminRadioSelectWidget,
    )
    cancel_subscription = forms.BooleanField(
        label="Cancel the subscription now", required=False, widget=UnfoldBooleanSwitchWidget
    )
    reason = forms.CharField(label="Why", max_length=REASON_CHARS, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}))
    request = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, payment: Transaction, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decimals = decimals_of(payment.currency)
        left = money_text(refundable_cents(payment), payment.currency)
        self.fields["amount"].help_text = f"At most {left}. Left blank: all of it."
        self.fields["reason"].help_text = "Kept in the action log."
        self.fields["access"].help_text = _what_the_policy_does(payment)
        if payment.subscription_id is None:
            del self.fields["cancel_subscription"]
        else:
            self.fields["access"].help_text += " Taken away without canceling, the subscription goes on billing."

    def clean_amount(self) -> Decimal | None:
        """Refuse what the currency cannot express."""
        amount: Decimal | None = self.cleaned_data["amount"]
        if amount is not None and amount.scaleb(self._decimals) % 1:
            raise forms.ValidationError(f"This currency has {self._decimals or 'no'} decimals.")
        return amount

    def to_request(self) -> RefundRequest:
        """Return what was asked for, in minor units."""
        amount: Decimal | None = self.cleaned_data["amount"]
        return RefundRequest(
            key=self.cleaned_data["request"],
            amount_cents=None if amount is None else int(amount.scaleb(self._decimals)),
            access=self.cleaned_data["access"],
            cancel_subscription=bool(self.cleaned_data.get("cancel_subscription")),
            reason=self.cleaned_data["reason"],
        )

    def refuse(self, error: ApiError) -> None:
        """Show a refusal at the field that it names."""
        if not isinstance(error, FieldError):
            self.add_error(None, error.detail)
            return
        for problem in error.errors:
            name = str(problem["loc"][-1]).removesuffix("_cents")
            self.add_error(name if name in self.fields else None, str(problem["msg"]))


class AmountColumn:
    """The column that says how much a row is about."""

    money_fields: Mapping[str, str] = {"amount_cents": "amount"}

    @display(description="Amount", ordering="amount_cents")
    def amount(self, row: Transaction | Refund | Dispute) -> str:
        """Show the amount in its currency."""
        return money_text(row.amount_cents, row.currency)


@admin.register(Transaction)
class TransactionAdmin(AmountColumn, ReadOnlyAdmin):
    list_display = [
        "payment_intent_id", "colored_status", "amount", "refunded", "end_user", "created_at", "mode", "project",
    ]  # fmt: skip
    list_filter = ["mode", "status", "disputed", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = [
        "payment_intent_id", "stripe_invoice_id", "stripe_charge_id", "stripe_customer_id", "end_user__external_id",
        "end_user__email",
    ]  # fmt: skip
    date_hierarchy = "created_at"
    exclude = ["receipt_url", "invoice_pdf"]
    money_fields = {"amount_cents": "amount", "refunded_amount_cents": "refunded"}
    readonly_fields = ["going_back", "receipt", "invoice_document"]
    actions_detail = ["refund"]

    @display(description="Status", ordering="status", label=PAYMENT_COLORS)
    def colored_status(self, row: Transaction) -> str:
        """Show the payment's status."""
        return row.status

    @display(description="Refunded", ordering="refunded_amount_cents")
    def refunded(self, row: Transaction) -> str:
        """Show what was given back."""
        return money_text(row.refunded_amount_cents, row.currency) if row.refunded_amount_cents else "-"

    @display(description="Going back now")
    def going_back(self, row: Transaction) -> str:
        """Show what was asked to be given back and Stripe has not done yet: the figures above are those of before."""
        asked = row.amount_cents - row.refunded_amount_cents - refundable_cents(row)
        return money_text(asked, row.currency) if asked else "-"

    @display(description="Receipt")
    def receipt(self, row: Transaction) -> SafeString | str:
        """Link to Stripe's receipt."""
        return link(row.receipt_url)

    @display(description="Invoice (PDF)")
    def invoice_document(self, row: Transaction) -> SafeString | str:
        """Link to Stripe's PDF."""
        return link(row.invoice_pdf)

    def has_refund_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Staff with the right to refund; not support, who read, and not the project's own developers."""
        user: Any = request.user
        return bool(user.is_active and user.is_staff and user.has_perm(RIGHT))

    @action(description="Refund", url_path="refund", permissions=["refund"])
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how much and why, then once more whether it is meant; only then is the refund requested."""
        payment = self.get_object(request, object_id)
        if payment is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        if not self.has_view_permission(request, payment):
            raise PermissionDenied
        form = RefundForm(payment, request.POST or None, initial={"request": uuid.uuid4()})
        meant = request.method == "POST" and form.is_valid()
        if meant and request.POST.get("confirmed") != "yes":
            _check(payment, form, request.user)
        elif meant and self._request_refund(request, payment, form):
            return HttpResponseRedirect(reverse("admin:payments_transaction_change", args=[payment.pk]))
        return self._refund_page(request, payment, form, confirming=meant and form.is_valid())

    def _request_refund(self, request: HttpRequest, payment: Transaction, form: RefundForm) -> bool:
        actor: Any = request.user
        try:
            row = request_refund(payment=payment, request=form.to_request(), actor=actor)
        except ApiError as error:
            form.refuse(error)
            return False
        amount = money_text(row.payload["amount_cents"], payment.currency)
        self.log_change(request, payment, f"Requested a refund of {amount}: {form.cleaned_data['reason']}")
        said = '{} is going back. This page shows it when Stripe has done it, within seconds: <a href="">load it again</a>.'
        messages.success(request, format_html(said, amount))
        return True

    def _refund_page(
        self, request: HttpRequest, payment: Transaction, form: RefundForm, *, confirming: bool
    ) -> HttpResponse:
        wanted = form.to_request() if confirming else None
        left = refundable_cents(payment)
        amount = left if wanted is None or wanted.amount_cents is None else wanted.amount_cents
        context = {
            **self.admin_site.each_context(request),
            "title": f"Refund {payment.payment_intent_id}",
            "opts": self.opts,
            "payment": payment,
            "paid": money_text(payment.amount_cents, payment.currency),
            "left": money_text(left, payment.currency),
            "why_not": why_not_refundable(payment),
            "form": form,
            "wanted": wanted,
            "amount": money_text(amount, payment.currency),
            "takes_away": wanted is not None and wanted.access == REVOKE,
            "bills_on": wanted is not None and payment.subscription_id is not None and not wanted.cancel_subscription,
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "payments/admin/refund.html", context)


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = ["stripe_invoice_id", "number", "colored_status", "due", "end_user", "created_at", "mode", "project"]
    list_filter = ["mode", "status", "billing_reason", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["stripe_invoice_id", "number", "stripe_customer_id", "end_user__external_id", "end_user__email"]
    date_hierarchy = "created_at"
    exclude = ["hosted_invoice_url", "invoice_pdf"]
    money_fields = {"amount_due_cents": "due", "amount_paid_cents": "paid", "amount_remaining_cents": "remaining"}
    readonly_fields = ["page_to_pay_on", "document"]

    @display(description="Status", ordering="status", label=INVOICE_COLORS)
    def colored_status(self, row: Invoice) -> str:
        """Show Stripe's status."""
        return row.status

    @display(description="Due", ordering="amount_due_cents")
    def due(self, row: Invoice) -> str:
        """Show the amount in its currency."""
        return money_text(row.amount_due_cents, row.currency)

    @display(description="Paid")
    def paid(self, row: Invoice) -> str:
        """Show what was paid of it."""
        return money_text(row.amount_paid_cents, row.currency)

    @display(description="Remaining")
    def remaining(self, row: Invoice) -> str:
        """Show what is still to be paid."""
        return money_text(row.amount_remaining_cents, row.currency)

    @display(description="Page to pay on")
    def page_to_pay_on(self, row: Invoice) -> SafeString | str:
        """Link to Stripe's page."""
        return link(row.hosted_invoice_url)

    @display(description="Document (PDF)")
    def document(self, row: Invoice) -> SafeString | str:
        """Link to Stripe's PDF."""
        return link(row.invoice_pdf)


@admin.register(Refund)
class RefundAdmin(AmountColumn, ReadOnlyAdmin):
    list_display = ["stripe_refund_id", "colored_status", "amount", "revokes_access", "created_at", "mode", "project"]
    list_filter = ["mode", "status", "revokes_access", "created_at"]
    list_select_related = ["project"]
    search_fields = ["stripe_refund_id", "payment_intent_id", "stripe_charge_id"]
    date_hierarchy = "created_at"

    @display(description="Status", ordering="status", label=REFUND_COLORS)
    def colored_status(self, row: Refund) -> str:
        """Show Stripe's status."""
        return row.status


@admin.register(Dispute)
class DisputeAdmin(AmountColumn, ReadOnlyAdmin):
    list_display = ["stripe_dispute_id", "colored_status", "reason", "amount", "evidence_due_by", "mode", "project"]
    list_filter = ["mode", "status", "reason", "created_at"]
    list_select_related = ["project"]
    search_fields = ["stripe_dispute_id", "payment_intent_id", "stripe_charge_id"]
    date_hierarchy = "created_at"

    @display(description="Status", ordering="status", label=DISPUTE_COLORS)
    def colored_status(self, row: Dispute) -> str:
        """Show Stripe's status."""
        return row.status


def _check(payment: Transaction, form: RefundForm, actor: Any) -> None:
    """Show at the form what the request itself would be refused for, before anybody confirms it."""
    try:
        check_refund(payment=payment, request=form.to_request(), actor=actor)
    except ApiError as error:
        form.refuse(error)


def _what_the_policy_does(payment: Transaction) -> str:
    if is_of_older_invoice(payment):
        return (
            "Something newer was paid for this subscription since: by the project's policy nothing is taken away. "
            "Chosen here, access to the plan ends all the same, until something newer still is paid."
        )
    policy = BillingPolicy.objects.for_project(payment.project_id).first() or BillingPolicy()
    does = "is taken away" if policy.full_refund_revokes else "is kept"
    return f"By the project's policy it {does} after a full refund; what is chosen here goes before the policy."
