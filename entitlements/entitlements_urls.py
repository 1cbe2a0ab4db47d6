"""Paths of entitlements and their tokens."""

from django.urls import path

from entitlements.views import entitlements

PAYMENTS = "api/v1/payments"

urlpatterns = [
    path(".well-known/entitlements/jwks.json", entitlements.entitlement_keys, name="entitlement-keys"),
    path(f"{PAYMENTS}/entitlement-epochs", entitlements.EntitlementEpochsView.as_view(), name="entitlement-epochs"),
    path(f"{PAYMENTS}/entitlements/token", entitlements.EntitlementTokenView.as_view(), name="entitlement-token"),
    path(
        f"{PAYMENTS}/entitlements/<path:user_id>",
        entitlements.UserEntitlementsView.as_view(),
        name="entitlements-of-user",
    ),
]
