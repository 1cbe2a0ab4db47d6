"""What was bought once: credits, with what refunds and disputes took back of them, and licences."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from common.money import money_text
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import CreditClawback, CreditPurchase, LicensePurchase
from projects.admin_scope import ReadOnlyMixin


class CreditClawbackInline(ReadOnlyMixin, TabularInline):
    """What went back, by which refund or dispute."""

    model = CreditClawback
    fields = readonly_fields = ["cause", "credits", "taken", "debt", "created_at", "restored_at"]
    extra = 0
    hide_title = True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the purchase."""
        return bool(self.admin_site._registry[CreditPurchase].has_view_permission(request, obj))


@admin.register(CreditPurchase)
class CreditPurchaseAdmin(ReadOnlyAdmin):
    list_display = [
        "pack_name",
        "quantity",
        "credits",
        "price",
        "end_user",
        "granted_at",
        "created_at",
        "mode",
        "project",
    ]
    list_filter = ["mode", "granted_at", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["pack_code", "payment_intent_id", "end_user__external_id", "checkout_session__stripe_session_id"]
    date_hierarchy = "created_at"
    money_fields = {"amount_cents": "price"}
    inlines = [CreditClawbackInline]

    @display(description="Price", ordering="amount_cents")
    def price(self, row: CreditPurchase) -> str:
        """Show the price of all of it, before discounts and taxes."""
        return money_text(row.amount_cents, row.currency)


LICENSE_PURCHASE_COLORS = {
    "Being opened": "warning", "Open": "info", "Complete": "success", "Expired": "default", "Failed": "danger",
}  # fmt: skip


@admin.register(LicensePurchase)
class LicensePurchaseAdmin(ReadOnlyAdmin):
    """Checkouts of licences: one that is complete, and whose licence was not issued, is what a buyer calls about."""

    list_display = [
        "product", "colored_status", "price", "end_user", "issued_at", "stripe_session_id", "created_at", "mode", "project",
    ]  # fmt: skip
    list_filter = ["mode", "status", "issued_at", "created_at"]
    list_select_related = ["project", "end_user", "product"]
    search_fields = ["stripe_session_id", "payment_intent_id", "end_user__external_id", "product__code"]
    date_hierarchy = "created_at"
    money_fields = {"amount_cents": "price"}

    @display(description="Status", ordering="status", label=LICENSE_PURCHASE_COLORS)
    def colored_status(self, row: LicensePurchase) -> str:
        """Show how far the checkout has come."""
        return str(row.get_status_display())

    @display(description="Price", ordering="amount_cents")
    def price(self, row: LicensePurchase) -> str:
        """Show the price, before discounts and taxes."""
        return money_text(row.amount_cents, row.currency)
