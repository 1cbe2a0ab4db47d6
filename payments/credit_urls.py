"""Paths of credit packs. The others below /credits/ are the ledger's."""

from django.urls import path

from payments.views import credits

CREDITS = "api/v1/payments/credits"

urlpatterns = [
    path(f"{CREDITS}/packs", credits.CreditPacksView.as_view(), name="credit-packs"),
    path(f"{CREDITS}/purchase", credits.CreditPurchaseView.as_view(), name="credit-purchase"),
]
