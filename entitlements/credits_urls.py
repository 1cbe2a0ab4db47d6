"""Paths of credits. Packs and buying one are in `payments/credit_urls.py`."""

from django.urls import path

from entitlements.views import credits

CREDITS = "api/v1/payments/credits"

urlpatterns = [
    path(f"{CREDITS}/balance", credits.CreditBalanceView.as_view(), name="credit-balance"),
    path(f"{CREDITS}/history", credits.CreditHistoryView.as_view(), name="credit-history"),
    path(f"{CREDITS}/check", credits.CreditCheckView.as_view(), name="credit-check"),
    path(f"{CREDITS}/spend", credits.CreditSpendView.as_view(), name="credit-spend"),
    path(f"{CREDITS}/reserve", credits.CreditReserveView.as_view(), name="credit-reserve"),
    path(f"{CREDITS}/commit", credits.CreditCommitView.as_view(), name="credit-commit"),
    path(f"{CREDITS}/release", credits.CreditReleaseView.as_view(), name="credit-release"),
]
