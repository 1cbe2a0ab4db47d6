"""Customers, subscriptions, checkouts and calls to Stripe, as this service knows them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from common import clock
from payments.admin.display import pretty_json
from payments.admin.policy import history_table
from payments.admin.read_only import ReadOnlyAdmin
from payments.admin.subscription_deeds import SubscriptionDeeds
from payments.models import CheckoutSession, StripeCustomer, StripeIntent, Subscription, Trial
from payments.models.billing import STATUS_PRECEDENCE
from payments.services.access import access_of

GOOD, WAITING, BAD = "success", "warning", "danger"
SUBSCRIPTION_COLORS = {
    "active": GOOD,
    "trialing": GOOD,
    "past_due": WAITING,
    "paused": WAITING,
    "incomplete": WAITING,
    "unpaid": BAD,
    "canceled": BAD,
    "incomplete_expired": BAD,
}


@admin.register(StripeCustomer)
class StripeCustomerAdmin(ReadOnlyAdmin):
    list_display = ["stripe_customer_id", "project", "mode", "end_user", "email", "created_at"]
    list_filter = ["mode", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["stripe_customer_id", "email", "name", "end_user__external_id"]
    date_hierarchy = "created_at"


class SubscriptionStatusFilter(admin.SimpleListFilter):
    """Stripe's statuses, named without asking the table which of them occur."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [(status, status.replace("_", " ")) for status in STATUS_PRECEDENCE]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep what was chosen."""
        return queryset.filter(status=self.value()) if self.value() in STATUS_PRECEDENCE else queryset


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin, SubscriptionDeeds):
    list_display = ["stripe_subscription_id", "colored_status", "plan", "end_user", "period_end", "mode", "project"]
    list_filter = ["mode", SubscriptionStatusFilter, "cancel_at_period_end", "created_at"]
    list_select_related = ["project__billing_policy", "plan", "end_user"]
    search_fields = ["stripe_subscription_id", "stripe_customer_id", "end_user__external_id", "end_user__email"]
    date_hierarchy = "created_at"
    readonly_fields = ["access", "history"]

    @display(description="Status", ordering="status", label=SUBSCRIPTION_COLORS)
    def colored_status(self, row: Subscription) -> str:
        """Show Stripe's status."""
        return row.status

    @display(description="Period ends", ordering="current_period_end")
    def period_end(self, row: Subscription) -> Any:
        """Show when the paid period ends."""
        return row.current_period_end

    @display(description="Access now", boolean=True)
    def access(self, row: Subscription) -> bool:
        """Show whether the plan gives access at this moment."""
        return access_of(row, clock.now()).plan_active

    @display(description="Why it is so")
    def history(self, row: Subscription) -> SafeString | str:
        """List what changed, and because of which event."""
        return history_table(row)


@admin.register(CheckoutSession)
class CheckoutSessionAdmin(ReadOnlyAdmin):
    list_display = ["stripe_session_id", "status", "payment_status", "end_user", "created_at", "mode", "project"]
    list_filter = ["mode", "status", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["stripe_session_id", "stripe_subscription_id", "payment_intent_id", "end_user__external_id"]
    date_hierarchy = "created_at"
    # The address lets its holder pay in the user's name.
    exclude = ["url", "request", "purchase_key"]
    readonly_fields = ["what_was_asked_for"]

    @display(description="What was asked for")
    def what_was_asked_for(self, row: CheckoutSession) -> SafeString | str:
        """Show the request to Stripe."""
        return pretty_json(row.request)


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    """Why a user is refused a trial: which checkout holds it, or which subscription used it."""

    list_display = ["end_user", "reserved_at", "used_at", "stripe_subscription_id", "mode", "project"]
    list_filter = ["mode", "used_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["stripe_subscription_id", "end_user__external_id", "checkout_session__stripe_session_id"]
    date_hierarchy = "reserved_at"


@admin.register(StripeIntent)
class StripeIntentAdmin(ReadOnlyAdmin):
    list_display = ["operation", "target", "status", "end_user", "created_at", "mode", "project"]
    list_filter = ["mode", "status", "created_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["operation", "target", "result_id", "stripe_idempotency_key", "end_user__external_id"]
    date_hierarchy = "created_at"
    exclude = ["params"]
    readonly_fields = ["what_was_asked_for"]

    @display(description="What was asked for")
    def what_was_asked_for(self, row: StripeIntent) -> SafeString | str:
        """Show the request to Stripe."""
        return pretty_json(row.params)
