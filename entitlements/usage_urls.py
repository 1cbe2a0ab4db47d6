"""Paths of metered usage."""

from django.urls import path

from entitlements.views import usage

USAGE = "api/v1/payments/usage"

urlpatterns = [
    path(f"{USAGE}/events", usage.UsageEventsView.as_view(), name="usage-events"),
    path(f"{USAGE}/summary", usage.UsageSummaryView.as_view(), name="usage-summary"),
    path(f"{USAGE}/can-execute", usage.CanExecuteView.as_view(), name="usage-can-execute"),
]
